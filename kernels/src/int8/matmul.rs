//! `int8_matmul` and `int8_matmul_packed`: operands to rows and panels.

use super::contraction::{Contraction, scratch_bytes};
use super::finish::Stored;
use super::pack_b::{Matrix, pack_panels};
use super::tiles::IntTiles;
use super::zero_points::{bytes_of, corrections, corrections_bytes, unsigned_zero};
use crate::abi::{Call, KernelError, Operand};
use crate::gemm::{Axis, MAX_AXES, Rows, batch_axes, k_axis, part, row_axes, stride};
use crate::pack::{Bytes, PANEL, Segments};
use std::ops::Range;

/// Rows of a strided tensor of bytes: all its axes but the last, in order.
#[derive(Clone, Copy)]
struct ByteRows<'a> {
    a: *const u8,
    bytes: Bytes,
    /// Extent of each row axis, with its stride in A and in the result.
    axes: &'a [Axis],
    k: usize,
    /// Stride of A on K.
    k_stride: isize,
    /// Offset of row 0 in the result.
    y_offset: isize,
}

// SAFETY: rows are only read.
unsafe impl Sync for ByteRows<'_> {}

impl Rows<u8> for ByteRows<'_> {
    unsafe fn locate(&self, first: usize, pointers: *mut *const u8, offsets: &mut [isize], copies: *mut u8) {
        for (row, offset) in offsets.iter_mut().enumerate() {
            let (mut index, mut from, mut to) = (first + row, 0, self.y_offset);
            for axis in self.axes.iter().rev() {
                let i = (index % axis.extent) as isize;
                index /= axis.extent;
                from += i * axis.a_stride;
                to += i * axis.y_stride;
            }
            *offset = to;
            // SAFETY: the row exists; there is room for copies of as many rows as a tile has.
            unsafe {
                *pointers.add(row) = self.unsigned(self.a.wrapping_offset(from), copies.wrapping_add(row * self.k));
            }
        }
    }
}

impl ByteRows<'_> {
    /// The row from `from` on as unsigned bytes: itself, or a copy.
    unsafe fn unsigned(&self, from: *const u8, copy: *mut u8) -> *const u8 {
        let flip = if self.bytes == Bytes::Signed { 0x80 } else { 0 };
        if self.k_stride == 1 && flip == 0 {
            return from;
        }
        for k in 0..self.k {
            // SAFETY: the row exists, and the copy has room for it.
            unsafe { *copy.add(k) = *from.offset(k as isize * self.k_stride) ^ flip };
        }
        copy
    }
}

/// Bytes that rows of `a` must be copied to, one tile at a time.
fn copy_len<D: IntTiles>(a: &Operand) -> usize {
    let (k, k_stride) = k_axis(a);
    if k_stride == 1 && bytes_of(a) == Ok(Bytes::Unsigned) { 0 } else { D::MOST_ROWS * k }
}

/// The operands of a call, checked.
struct Operands<'a> {
    a: &'a Operand<'a>,
    b: &'a Operand<'a>,
    zeros: [&'a Operand<'a>; 2],
    bias: &'a Operand<'a>,
    y: &'a Operand<'a>,
    k: Segments,
    k_stride: isize,
    columns: usize,
    a_bytes: Bytes,
    b_bytes: Bytes,
    stored: Stored,
}

impl<'a> Operands<'a> {
    fn of(call: &'a Call<'a>, row_axes: usize) -> Result<Operands<'a>, KernelError> {
        let [a, b, a_zero, b_zero, bias, y] = call.operands else {
            return Err(KernelError(format!("matmul: expected 6 operands, found {}", call.operands.len())));
        };
        let rank = y.shape.len();
        if rank <= row_axes || rank > MAX_AXES || a.shape.len() > rank || !(2..=rank.max(2)).contains(&b.shape.len()) {
            let ranks = (a.shape.len(), b.shape.len(), rank);
            return Err(KernelError(format!("matmul: the ranks {ranks:?} do not go together")));
        }
        let stored = Stored::of(y.dtype, call.epilogue)
            .ok_or_else(|| KernelError(format!("matmul: this epilogue does not give {}", y.dtype)))?;
        let (len, k_stride) = k_axis(a);
        let k = Segments { count: 1, len };
        let (a_bytes, b_bytes) = (bytes_of(a)?, bytes_of(b)?);
        let columns = y.shape[rank - 1] as usize;
        Ok(Operands { a, b, zeros: [a_zero, b_zero], bias, y, k, k_stride, columns, a_bytes, b_bytes, stored })
    }
}

/// Bytes of scratch of `int8_matmul_packed`: corrections, then the contraction's.
pub(crate) fn packed_scratch<D: IntTiles>(operands: &[Operand], _attrs: &[i64], threads: usize) -> usize {
    let columns = operands[5].shape.last().map_or(1, |&n| n as usize);
    let k = Segments { count: 1, len: k_axis(&operands[0]).0 };
    corrections_bytes(columns) + scratch_bytes::<D>(k, copy_len::<D>(&operands[0]), threads)
}

/// `int8_matmul_packed`.
///
/// # Safety
/// The machine has `D`; the call is as the kernel's description says.
pub(crate) unsafe fn matmul_packed<D: IntTiles>(call: &Call) -> Result<(), KernelError> {
    let operands = Operands::of(call, 0)?;
    let Operands { a, b, zeros, y, k, k_stride, columns, .. } = operands;
    if y.is_empty() {
        return Ok(());
    }
    let mut storage = Default::default();
    let axes = row_axes(a, y, 0..y.shape.len() - 1, &mut storage);
    let sums = b.data.wrapping_add(columns.div_ceil(PANEL) * k.panel_bytes());
    // SAFETY: the caller vouches for the operands; the scratch has room for the corrections.
    let corrections = unsafe {
        let a_zero = unsigned_zero(a, zeros[0])?;
        let b = (operands.b_bytes, zeros[1], operands.bias, 0);
        corrections(columns, k.len, a_zero, b, sums.cast(), call.scratch.cast())?
    };
    let contraction = Contraction {
        call,
        rows: ByteRows { a: a.data, bytes: operands.a_bytes, axes, k: k.len, k_stride, y_offset: 0 },
        n_rows: y.len() / columns,
        k,
        read: k.len,
        b: b.data,
        columns: 0..columns,
        corrections,
        y: y.data,
        stored: operands.stored,
        scratch: call.scratch.wrapping_add(corrections_bytes(columns)),
        copy_len: copy_len::<D>(a),
    };
    // SAFETY: the caller vouches for the operands.
    unsafe { contraction.run::<D>() };
    Ok(())
}

/// Bytes that one thread needs for a B that is packed at run time.
fn batch_bytes(k: Segments, columns: usize) -> usize {
    k.packed_bytes(columns) + corrections_bytes(columns)
}

/// Bytes of scratch of `int8_matmul`: a packed B with corrections for each thread, then the contraction's.
pub(crate) fn scratch<D: IntTiles>(operands: &[Operand], _attrs: &[i64], threads: usize) -> usize {
    let columns = operands[5].shape.last().map_or(1, |&n| n as usize);
    let k = Segments { count: 1, len: k_axis(&operands[0]).0 };
    batch_bytes(k, columns) * threads + scratch_bytes::<D>(k, copy_len::<D>(&operands[0]), threads)
}

/// A matrix product whose B is packed at run time.
struct Dynamic<'a> {
    call: &'a Call<'a>,
    operands: Operands<'a>,
    /// Axes of the rows that share one B.
    axes: &'a [Axis],
    rows: usize,
    /// Number of leading axes of `y` that select B.
    batch_axes: usize,
    batches: usize,
    a_zero: i32,
    copy_len: usize,
}

// SAFETY: threads write disjoint parts of the result and of the scratch, and only read the rest.
unsafe impl Sync for Dynamic<'_> {}

/// `int8_matmul`.
///
/// # Safety
/// The machine has `D`; the call is as the kernel's description says.
pub(crate) unsafe fn matmul<D: IntTiles>(call: &Call) -> Result<(), KernelError> {
    let operands = Operands::of(call, 1)?;
    let Operands { a, b, zeros, y, columns, .. } = operands;
    if y.is_empty() {
        return Ok(());
    }
    if zeros[1].is_present() && ![1, columns].contains(&zeros[1].len()) {
        return Err(KernelError(format!("expected {columns} zero points, found {}", zeros[1].len())));
    }
    let rank = y.shape.len();
    let batch_axes = batch_axes(b, y);
    let mut storage = Default::default();
    let axes = row_axes(a, y, batch_axes..rank - 1, &mut storage);
    let rows = y.shape[batch_axes..rank - 1].iter().product::<i64>() as usize;
    let batches = y.shape[..batch_axes].iter().product::<i64>() as usize;
    let copy_len = copy_len::<D>(a);
    // SAFETY: the caller vouches for the operands.
    let a_zero = unsafe { unsigned_zero(a, zeros[0])? };
    let dynamic = Dynamic { call, operands, axes, rows, batch_axes, batches, a_zero, copy_len };
    // SAFETY: the caller vouches for the operands.
    unsafe { dynamic.run::<D>() }
}

impl<'a> Dynamic<'a> {
    unsafe fn run<D: IntTiles>(&self) -> Result<(), KernelError> {
        let pool = self.call.pool;
        let threads = pool.threads();
        if threads > 1 && (self.batches.is_multiple_of(threads) || self.batches >= 4 * threads) {
            let body = |batches: Range<usize>, thread: usize| {
                for batch in batches {
                    let (b, packed) = (self.b(batch), self.packed(thread));
                    let panels = self.operands.columns.div_ceil(PANEL);
                    // SAFETY: the caller vouches for the operands; the packed B is this thread's own.
                    unsafe {
                        pack_panels::<D>(b, 0..panels, packed);
                        if let Ok(contraction) = self.contraction(batch, b, packed) {
                            contraction.run_part::<D>(0..self.rows, 0..panels, thread);
                        }
                    }
                }
            };
            pool.run(self.batches, &body);
            return Ok(());
        }
        for batch in 0..self.batches {
            let (b, packed) = (self.b(batch), Packed(self.packed(0)));
            let panels = self.operands.columns.div_ceil(PANEL);
            let pack = |parts: Range<usize>, _: usize| {
                for index in parts {
                    // SAFETY: threads pack disjoint panels.
                    unsafe { pack_panels::<D>(b, part(panels, threads, index), packed.get()) };
                }
            };
            if threads > 1 && panels * b.k > 1 << 12 {
                pool.run(threads, &pack);
            } else {
                pack(0..threads, 0);
            }
            // SAFETY: the caller vouches for the operands.
            unsafe { self.contraction(batch, b, packed.get())?.run::<D>() };
        }
        Ok(())
    }

    /// Where thread `thread` packs B.
    fn packed(&self, thread: usize) -> *mut u8 {
        self.call.scratch.wrapping_add(batch_bytes(self.operands.k, self.operands.columns) * thread)
    }

    /// Offset of batch `batch` in `operand`.
    fn offset(&self, operand: &Operand, batch: usize) -> isize {
        let y = self.operands.y;
        let (mut index, mut offset) = (batch, 0);
        for axis in (0..self.batch_axes).rev() {
            let extent = y.shape[axis] as usize;
            offset += (index % extent) as isize * stride(operand, axis, y.shape.len());
            index /= extent;
        }
        offset
    }

    fn b(&self, batch: usize) -> Matrix {
        let Operands { b, b_bytes, k, columns, .. } = self.operands;
        let [.., k_stride, column_stride] = b.strides else { unreachable!("b has at least 2 axes") };
        Matrix {
            data: b.data.cast_const().wrapping_offset(self.offset(b, batch)),
            bytes: b_bytes,
            k: k.len,
            columns,
            k_stride: *k_stride as isize,
            column_stride: *column_stride as isize,
        }
    }

    /// # Safety
    /// `b` has been packed to `packed`.
    unsafe fn contraction(
        &self,
        batch: usize,
        b: Matrix,
        packed: *mut u8,
    ) -> Result<Contraction<'a, ByteRows<'a>>, KernelError> {
        let Operands { a, zeros, bias, y, k, k_stride, columns, a_bytes, b_bytes, stored, .. } = self.operands;
        let to = packed.wrapping_add(k.packed_bytes(columns)).cast();
        // SAFETY: the sums have been packed; there is room for the corrections behind them.
        let corrections =
            unsafe { corrections(columns, k.len, self.a_zero, (b_bytes, zeros[1], bias, 0), b.sums(packed), to)? };
        Ok(Contraction {
            call: self.call,
            rows: ByteRows {
                a: a.data.cast_const().wrapping_offset(self.offset(a, batch)),
                bytes: a_bytes,
                axes: self.axes,
                k: k.len,
                k_stride,
                y_offset: self.offset(y, batch),
            },
            n_rows: self.rows,
            k,
            read: k.len,
            b: packed,
            columns: 0..columns,
            corrections,
            y: y.data,
            stored,
            scratch: self.packed(self.call.pool.threads()),
            copy_len: self.copy_len,
        })
    }
}

/// Memory that threads pack disjoint parts of.
#[derive(Clone, Copy)]
struct Packed(*mut u8);

impl Packed {
    fn get(&self) -> *mut u8 {
        self.0
    }
}

// SAFETY: threads write disjoint panels.
unsafe impl Sync for Packed {}
