//! What zero points add to sums of products of the raw bytes.
//!
//! `sum (a - za) (b - zb) = sum a b - za sum b - zb sum a + K za zb`. The sums of B's columns are packed with it; those
//! of A's rows are only needed where some `zb` is not 0.

use crate::abi::{KernelError, Operand};
use crate::pack::{Bytes, PANEL, Segments};
use crate::vector::{Dot, DotTask, Vector};
use ic_types::DType;

/// The corrections of each column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Corrections {
    /// What each column's sums start from: whole panels.
    pub(crate) start: *const i32,
    /// B's zero point for each column; null if all are 0.
    pub(crate) zeros: *const i32,
}

impl Corrections {
    /// The zero points from a column on.
    pub(crate) fn zeros_from(self, column: usize) -> *const i32 {
        if self.zeros.is_null() { self.zeros } else { self.zeros.wrapping_add(column) }
    }
}

/// Bytes of scratch for the corrections of `n` columns.
pub(crate) fn corrections_bytes(n: usize) -> usize {
    2 * n.next_multiple_of(PANEL) * size_of::<i32>()
}

/// How an operand's bytes are meant.
pub(crate) fn bytes_of(operand: &Operand) -> Result<Bytes, KernelError> {
    match operand.dtype {
        DType::U8 => Ok(Bytes::Unsigned),
        DType::I8 => Ok(Bytes::Signed),
        dtype => Err(KernelError(format!("expected 8-bit integers, found {dtype}"))),
    }
}

/// Element `index` of a zero point that may be absent and may have one element for all.
///
/// # Safety
/// Its elements are readable.
pub(crate) unsafe fn zero_at(zero: &Operand, index: usize) -> i32 {
    if !zero.is_present() {
        return 0;
    }
    let index = if zero.len() == 1 { 0 } else { index };
    // SAFETY: the caller vouches for the elements.
    let byte = unsafe { *zero.data.add(index) };
    if zero.dtype == DType::I8 { i32::from(byte as i8) } else { i32::from(byte) }
}

/// The zero point of A once its bytes are unsigned.
///
/// # Safety
/// The operand's element is readable.
pub(crate) unsafe fn unsigned_zero(a: &Operand, zero: &Operand) -> Result<i32, KernelError> {
    if zero.is_present() && zero.len() != 1 {
        return Err(KernelError(format!("expected one zero point, found {}", zero.len())));
    }
    let shift = if bytes_of(a)? == Bytes::Signed { 128 } else { 0 };
    // SAFETY: the caller vouches for the element.
    Ok(unsafe { zero_at(zero, 0) } + shift)
}

/// Writes the corrections of columns `first..first + n` of the result to `to`.
///
/// # Safety
/// `sums` has the sums of the columns of B, `zero` and `bias` are readable, and `to` has room for [`corrections_bytes`].
pub(crate) unsafe fn corrections(
    n: usize,
    k: usize,
    a_zero: i32,
    (b, zero, bias, first): (Bytes, &Operand, &Operand, usize),
    sums: *const i32,
    to: *mut i32,
) -> Result<Corrections, KernelError> {
    if zero.is_present() && zero.len() != 1 && zero.len() < first + n {
        return Err(KernelError(format!("expected {n} zero points, found {}", zero.len())));
    }
    if bias.is_present() && (bias.dtype != DType::I32 || bias.len() < first + n) {
        return Err(KernelError(format!("expected a bias of {n} i32, found {} {}", bias.len(), bias.dtype)));
    }
    let padded = n.next_multiple_of(PANEL);
    let of_b = to.wrapping_add(padded);
    // SAFETY: the caller vouches for the sums, the zero points and the room.
    let (start, zeros, sums) = unsafe {
        to.write_bytes(0, 2 * padded);
        let [start, zeros] = [to, of_b].map(|list| std::slice::from_raw_parts_mut(list, n));
        (start, zeros, std::slice::from_raw_parts(sums, n))
    };
    // SAFETY: as above; a list of zero points or of biases has `first + n`.
    unsafe {
        match zero.dtype {
            _ if !zero.is_present() || zero.len() == 1 => zeros.fill(zero_at(zero, 0) + b.shift()),
            DType::I8 => {
                let list = std::slice::from_raw_parts(zero.data.add(first).cast::<i8>(), n);
                zeros.iter_mut().zip(list).for_each(|(zero, &byte)| *zero = i32::from(byte) + b.shift());
            }
            _ => {
                let list = std::slice::from_raw_parts(zero.data.add(first), n);
                zeros.iter_mut().zip(list).for_each(|(zero, &byte)| *zero = i32::from(byte) + b.shift());
            }
        }
        if bias.is_present() {
            start.copy_from_slice(std::slice::from_raw_parts(bias.data.cast::<i32>().add(first), n));
        }
    }
    let each = (k as i32).wrapping_mul(a_zero);
    for ((start, &zero), &sum) in start.iter_mut().zip(&*zeros).zip(sums) {
        *start = start.wrapping_add(each.wrapping_mul(zero)).wrapping_sub(a_zero.wrapping_mul(sum));
    }
    let is_any = zeros.iter().any(|&zero| zero != 0);
    Ok(Corrections { start: to, zeros: if is_any { of_b } else { std::ptr::null_mut() } })
}

/// The sum of the bytes of one row: `pointers` are `stride` apart, one for each segment.
///
/// # Safety
/// The machine has `D`; each pointer covers a segment.
pub(crate) unsafe fn row_sum<D: Dot>(pointers: *const *const u8, stride: usize, k: Segments) -> i32 {
    // SAFETY: the caller vouches for the instructions and the pointers.
    unsafe { D::vectorize(RowSum { pointers, stride, k }) }
}

struct RowSum {
    pointers: *const *const u8,
    stride: usize,
    k: Segments,
}

impl DotTask for RowSum {
    type Output = i32;

    #[inline(always)]
    unsafe fn run<D: Dot>(self) -> i32 {
        const STEP: usize = 4 * PANEL;
        let ones = D::Vector::splat_bits(0x0101_0101);
        let (mut lanes, mut sum) = (D::Vector::splat(0.0), 0i32);
        for segment in 0..self.k.count {
            // SAFETY: each pointer covers a segment.
            unsafe {
                let row = *self.pointers.add(segment * self.stride);
                let whole = self.k.len / STEP * STEP;
                for at in (0..whole).step_by(STEP) {
                    lanes = D::dot(lanes, D::Vector::load(row.add(at).cast()), ones);
                }
                for at in whole..self.k.len {
                    sum = sum.wrapping_add(i32::from(*row.add(at)));
                }
            }
        }
        lanes.to_array().iter().fold(sum, |sum, lane| sum.wrapping_add(lane.to_bits() as i32))
    }
}
