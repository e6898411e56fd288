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
    let zeros = to.wrapping_add(n.next_multiple_of(PANEL));
    let mut any = false;
    for column in 0..n.next_multiple_of(PANEL) {
        // SAFETY: the caller vouches for the sums, the zero points and the room.
        unsafe {
            let zero = if column < n { zero_at(zero, first + column) + b.shift() } else { 0 };
            any |= zero != 0;
            let sum = if column < n { *sums.add(column) } else { 0 };
            let product = (k as i32).wrapping_mul(a_zero).wrapping_mul(zero);
            let term = if column < n && bias.is_present() { *bias.data.cast::<i32>().add(first + column) } else { 0 };
            *to.add(column) = product.wrapping_sub(a_zero.wrapping_mul(sum)).wrapping_add(term);
            *zeros.add(column) = zero;
        }
    }
    Ok(Corrections { start: to, zeros: if any { zeros } else { std::ptr::null() } })
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
