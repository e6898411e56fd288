//! `f32_matmul` and `f32_matmul_packed`: operands to rows and panels.

use super::blocking::part;
use super::contraction::{Contraction, Following, Rows, scratch_bytes, widened_bytes};
use super::pack_b::{Matrix, pack_panels};
use super::panels::Panels;
use super::tiles::Tiles;
use super::widen::Stored;
use crate::abi::{Call, KernelError, Operand};
use crate::cache::caches;
use crate::epilogue::{call_back_rows, own_scratch};
use crate::isa::Isa;
use crate::pack::PANEL;
use crate::transpose::Block;
use crate::vector::{Vector, for_isa};
use std::ops::Range;

/// Rows of a strided tensor: all its axes but the last, in order.
pub(super) struct StridedRows<'a> {
    pub(super) a: *const f32,
    /// Extent of each row axis, with its stride in A and in the result.
    pub(super) axes: &'a [Axis],
    /// Elements of a row.
    pub(super) k: usize,
    /// Stride of A on K.
    pub(super) k_stride: isize,
    /// Offset of row 0 in the result.
    pub(super) y_offset: isize,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Axis {
    pub(crate) extent: usize,
    pub(crate) a_stride: isize,
    pub(crate) y_stride: isize,
}

// SAFETY: rows are only read.
unsafe impl Sync for StridedRows<'_> {}

impl Rows for StridedRows<'_> {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], copies: *mut f32) {
        let mut row = 0;
        while row < offsets.len() {
            // Rows of the last axis.
            let (mut index, mut from, mut to) = (first + row, 0, self.y_offset);
            let (mut step, mut end) = (Axis { extent: 1, a_stride: 0, y_stride: 0 }, offsets.len());
            for (depth, axis) in self.axes.iter().rev().enumerate() {
                let i = index % axis.extent;
                index /= axis.extent;
                from += i as isize * axis.a_stride;
                to += i as isize * axis.y_stride;
                if depth == 0 {
                    (step, end) = (*axis, end.min(row + axis.extent - i));
                }
            }
            let mut from = self.a.wrapping_offset(from);
            let (n_rows, k_stride) = (end - row, self.k_stride);
            let neighbours = k_stride != 1 && step.a_stride == 1 && n_rows > 1;
            if neighbours {
                let to = copies.wrapping_add(row * self.k);
                let block =
                    Block { x: from, x_stride: k_stride, y: to, y_stride: self.k, rows: n_rows, columns: self.k };
                // SAFETY: the rows exist; there is room for copies of as many as a tile has; the machine has what is detected.
                for_isa!(Isa::detect(), V => unsafe { V::vectorize(block) });
            }
            for (row, offset) in offsets.iter_mut().enumerate().take(end).skip(row) {
                *offset = to;
                to += step.y_stride;
                // SAFETY: the row exists; there is room for copies of as many rows as a tile has.
                unsafe {
                    let copy = copies.wrapping_add(row * self.k);
                    *pointers.add(row) = if neighbours { copy } else { contiguous(from, self.k, k_stride, copy) };
                };
                from = from.wrapping_offset(step.a_stride);
            }
            row = end;
        }
    }
}

/// The row of `k` elements from `from` on: itself, or a copy of it if its elements are not neighbours.
///
/// # Safety
/// The row exists, and the copy has room for it.
pub(crate) unsafe fn contiguous(from: *const f32, k: usize, k_stride: isize, copy: *mut f32) -> *const f32 {
    if k_stride == 1 {
        return from;
    }
    for i in 0..k {
        // SAFETY: the caller vouches for the row and the copy.
        unsafe { *copy.add(i) = *from.offset(i as isize * k_stride) };
    }
    copy
}

/// Most leading axes of a matrix product.
pub(crate) const MAX_AXES: usize = 12;

/// Stride of `operand` on axis `axis` of a result of rank `rank` (right-aligned); 0 where it is broadcast.
pub(crate) fn stride(operand: &Operand, axis: usize, rank: usize) -> isize {
    let skip = rank - operand.shape.len();
    if axis < skip || operand.shape[axis - skip] == 1 { 0 } else { operand.strides[axis - skip] as isize }
}

/// Row axes of `y` with the strides of `a`, neighbours merged where both are contiguous.
pub(crate) fn row_axes<'s>(
    a: &Operand,
    y: &Operand,
    axes: Range<usize>,
    storage: &'s mut [Axis; MAX_AXES],
) -> &'s [Axis] {
    let rank = y.shape.len();
    let mut n = 0;
    for axis in axes.filter(|&axis| y.shape[axis] != 1) {
        let next = Axis {
            extent: y.shape[axis] as usize,
            a_stride: stride(a, axis, rank),
            y_stride: y.strides[axis] as isize,
        };
        if n > 0 {
            let last = &mut storage[n - 1];
            let extent = next.extent as isize;
            if last.a_stride == next.a_stride * extent && last.y_stride == next.y_stride * extent {
                *last = Axis { extent: last.extent * next.extent, ..next };
                continue;
            }
        }
        storage[n] = next;
        n += 1;
    }
    &storage[..n]
}

/// Length of K, and A's stride on it.
pub(crate) fn k_axis(a: &Operand) -> (usize, isize) {
    match (a.shape, a.strides) {
        ([.., k], [.., stride]) => (*k as usize, if *k > 1 { *stride as isize } else { 1 }),
        _ => (1, 1),
    }
}

/// Elements that rows of `a` must be copied to, one tile at a time.
pub(crate) fn copy_len<V: Tiles>(a: &Operand) -> usize {
    let (k, k_stride) = k_axis(a);
    if k_stride == 1 { 0 } else { V::ROWS * k }
}

fn operands<'a>(call: &'a Call<'a>, row_axes: usize) -> Result<[&'a Operand<'a>; 3], KernelError> {
    let [a, b, y] = call.operands else {
        return Err(KernelError(format!("matmul: expected 3 operands, found {}", call.operands.len())));
    };
    let rank = y.shape.len();
    if rank <= row_axes || rank > MAX_AXES || a.shape.len() > rank || b.shape.len() > rank.max(2) {
        return Err(KernelError(format!(
            "matmul: ranks {}, {} and {rank} do not go together",
            a.shape.len(),
            b.shape.len()
        )));
    }
    Ok([a, b, y])
}

/// Bytes of scratch of `f32_matmul_packed`.
pub(crate) fn packed_scratch<V: Tiles>(operands: &[Operand], _attrs: &[i64], threads: usize) -> usize {
    scratch_bytes(1, copy_len::<V>(&operands[0]), threads) + packed_widened::<V>(operands) * threads
}

/// Bytes of one thread's widened panels.
fn packed_widened<V: Tiles>(operands: &[Operand]) -> usize {
    let columns = operands[2].shape.last().map_or(1, |&n| n as usize);
    widened_bytes::<V>(&operands[1], 1, k_axis(&operands[0]).0, columns)
}

/// The panels of a packed matrix with `k` rows; of integers, `group` of a column share a scale.
pub(super) fn packed_panels(b: &Operand, group: &[i64], k: usize) -> Result<Panels, KernelError> {
    match (Stored::of(b.dtype), group) {
        (Stored::Scaled(width), [group, ..]) if *group > 0 => Ok(Panels::scaled(b, width, *group as usize, k)),
        (Stored::Scaled(_), _) => Err(KernelError("matmul: a group of integers has at least one".into())),
        _ => Ok(Panels::constant(b, 0, k)),
    }
}

/// `f32_matmul_packed`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn matmul_packed<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let [a, b, y] = operands(call, 0)?;
    let (rank, (k, k_stride)) = (y.shape.len(), k_axis(a));
    let columns = y.shape[rank - 1] as usize;
    if y.is_empty() {
        return Ok(());
    }
    let mut storage = Default::default();
    let axes = row_axes(a, y, 0..rank - 1, &mut storage);
    let rows = StridedRows { a: a.data.cast(), axes, k, k_stride, y_offset: 0 };
    let b = packed_panels(b, call.attrs, k)?;
    let contraction = Contraction {
        call,
        rows,
        n_rows: y.len() / columns,
        first_row: 0,
        segments: 1,
        segment_len: k,
        b,
        columns: 0..columns,
        width: columns,
        y: y.data.cast(),
        scratch: own_scratch(call),
        copy_len: copy_len::<V>(a),
        widened_bytes: packed_widened::<V>(call.operands),
        following: Following::Unknown,
    };
    // SAFETY: the caller vouches for the operands.
    unsafe { contraction.run_whole_rows::<V>() };
    Ok(())
}

/// A matrix product whose B is packed at run time, or read in place.
struct Dynamic<'a> {
    call: &'a Call<'a>,
    operands: [&'a Operand<'a>; 3],
    /// Axes of the rows that share one B.
    axes: &'a [Axis],
    rows: usize,
    columns: usize,
    k: usize,
    k_stride: isize,
    /// Number of leading axes of `y` that select B.
    batch_axes: usize,
    batches: usize,
    scratch: *mut u8,
    copy_len: usize,
}

// SAFETY: threads write disjoint parts of the result and of the scratch, and only read the rest.
unsafe impl Sync for Dynamic<'_> {}

/// How many leading axes of `y` select B: up to the last on which B has a stride.
pub(crate) fn batch_axes(b: &Operand, y: &Operand) -> usize {
    let rank = y.shape.len();
    (0..rank - 2).rev().find(|&axis| y.shape[axis] != 1 && stride(b, axis, rank) != 0).map_or(0, |axis| axis + 1)
}

/// Panels of B that are packed at a time for each thread: they are still in its cache when they are multiplied.
pub(crate) fn chunk(k: usize, columns: usize) -> usize {
    const WIDTH: usize = 4;
    let fitting = caches().l2 / 4 / (PANEL * 4) / k.max(1) / WIDTH * WIDTH;
    fitting.max(WIDTH).min(columns.div_ceil(PANEL))
}

/// Bytes of scratch of `f32_matmul`: a chunk of packed B for each thread, and the threads' own.
pub(crate) fn scratch<V: Tiles>(operands: &[Operand], _attrs: &[i64], threads: usize) -> usize {
    let (k, columns) = (k_axis(&operands[0]).0, operands[2].shape.last().map_or(1, |&n| n as usize));
    chunk(k, columns) * k * PANEL * 4 * threads + scratch_bytes(1, copy_len::<V>(&operands[0]), threads)
}

/// `f32_matmul`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn matmul<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let operands @ [a, b, y] = operands(call, 1)?;
    if b.shape.len() < 2 {
        return Err(KernelError("matmul: b has fewer than 2 axes".into()));
    }
    if y.is_empty() {
        return Ok(());
    }
    let (rank, (k, k_stride)) = (y.shape.len(), k_axis(a));
    let columns = y.shape[rank - 1] as usize;
    let batch_axes = batch_axes(b, y);
    let mut storage = Default::default();
    let axes = row_axes(a, y, batch_axes..rank - 1, &mut storage);
    let rows = y.shape[batch_axes..rank - 1].iter().product::<i64>() as usize;
    let batches = y.shape[..batch_axes].iter().product::<i64>() as usize;
    let (scratch, copy_len) = (own_scratch(call), copy_len::<V>(a));
    let dynamic = Dynamic { call, operands, axes, rows, columns, k, k_stride, batch_axes, batches, scratch, copy_len };
    // SAFETY: the caller vouches for the operands.
    unsafe {
        dynamic.run::<V>();
        dynamic.finish_rows();
    }
    Ok(())
}

impl<'a> Dynamic<'a> {
    unsafe fn run<V: Tiles>(&self) {
        let pool = self.call.pool;
        let threads = pool.threads();
        if threads > 1 && (self.batches.is_multiple_of(threads) || self.batches >= 4 * threads) {
            let body = |batches: Range<usize>, thread: usize| {
                for batch in batches {
                    let b = self.b(batch);
                    let packed = self.packed(thread);
                    for (contraction, panels) in self.pieces::<V>(batch, b, packed, 1) {
                        // SAFETY: the caller vouches for the operands; the packed B is this thread's own.
                        unsafe {
                            pack_panels::<V>(b, panels.clone(), packed);
                            let n = contraction.columns.len().div_ceil(PANEL);
                            contraction.run_part::<V>(0..self.rows, 0..n, thread);
                        }
                    }
                }
            };
            pool.run(self.batches, &body);
            return;
        }
        for batch in 0..self.batches {
            let b = self.b(batch);
            for (contraction, panels) in self.pieces::<V>(batch, b, self.packed(0), threads) {
                let pack = |parts: Range<usize>, _: usize| {
                    for index in parts {
                        let range = part(panels.len(), threads, index);
                        let to = self.packed(0).wrapping_add(range.start * self.k * PANEL);
                        // SAFETY: threads pack disjoint panels.
                        unsafe { pack_panels::<V>(b, panels.start + range.start..panels.start + range.end, to) };
                    }
                };
                if threads > 1 && panels.len() * self.k > 1 << 10 {
                    pool.run(threads, &pack);
                } else {
                    pack(0..threads, 0);
                }
                // SAFETY: the caller vouches for the operands.
                unsafe { contraction.run::<V>() };
            }
        }
    }

    /// Calls the callback, if it is for whole rows, on all rows of the finished result.
    unsafe fn finish_rows(&self) {
        if self.call.callback.is_some_and(|callback| callback.whole_rows) {
            // SAFETY: the caller vouches for the callback; each thread has rows of its own.
            let finish = |rows: Range<usize>, thread: usize| unsafe { self.finish_part(rows, thread) };
            self.call.pool.run(self.batches * self.rows, &finish);
        }
    }

    unsafe fn finish_part(&self, rows: Range<usize>, thread: usize) {
        // SAFETY: as the caller's.
        unsafe { call_back_rows(self.call, rows, thread) };
    }

    /// Where thread `thread` packs B.
    fn packed(&self, thread: usize) -> *mut f32 {
        let own = scratch_bytes(1, self.copy_len, self.call.pool.threads());
        self.scratch.wrapping_add(own).cast::<f32>().wrapping_add(chunk(self.k, self.columns) * self.k * PANEL * thread)
    }

    /// Offsets of batch `batch` in `operand`.
    fn offset(&self, operand: &Operand, batch: usize) -> isize {
        let [_, _, y] = self.operands;
        let mut index = batch;
        let mut offset = 0;
        for axis in (0..self.batch_axes).rev() {
            let extent = y.shape[axis] as usize;
            offset += (index % extent) as isize * stride(operand, axis, y.shape.len());
            index /= extent;
        }
        offset
    }

    fn b(&self, batch: usize) -> Matrix {
        let [_, b, _] = self.operands;
        let [.., row_stride, column_stride] = b.strides else { unreachable!("b has at least 2 axes") };
        Matrix {
            data: b.data.cast::<f32>().cast_const().wrapping_offset(self.offset(b, batch)),
            k: self.k,
            columns: self.columns,
            k_stride: *row_stride as isize,
            column_stride: *column_stride as isize,
        }
    }

    /// What to contract one after the other, each with the panels of B to pack before to `packed`, which has room for
    /// the chunks of `threads` threads. A B that few rows of A meet is read in place: one with contiguous rows but for a
    /// last panel that is cut, one with contiguous columns altogether.
    fn pieces<V: Tiles>(
        &self,
        batch: usize,
        b: Matrix,
        packed: *mut f32,
        threads: usize,
    ) -> impl Iterator<Item = (Contraction<'a, StridedRows<'a>>, Range<usize>)> {
        let panels = self.columns.div_ceil(PANEL);
        let direct = if b.column_stride == 1 && b.k_stride >= 0 && self.rows <= 2 * V::ROWS {
            let rows = Panels {
                data: b.data,
                step: b.k_stride as usize,
                panel: PANEL,
                transposed: false,
                stored: Stored::F32,
            };
            Some((rows, self.columns / PANEL))
        } else if b.k_stride == 1 && b.column_stride >= 0 && self.rows <= V::TRANSPOSED.len() {
            let step = b.column_stride as usize;
            Some((Panels { data: b.data, step, panel: step * PANEL, transposed: true, stored: Stored::F32 }, panels))
        } else {
            None
        };
        let whole = direct.map_or(0, |(_, whole)| whole);
        let in_place = direct.filter(|_| whole > 0).map(|(direct, _)| {
            let columns = 0..(whole * PANEL).min(self.columns);
            (self.contraction(batch, direct, columns, Following::Unknown), 0..0)
        });
        let width = chunk(self.k, self.columns) * threads;
        let chunks = (whole..panels).step_by(width.max(1)).map(move |first| {
            let end = (first + width).min(panels);
            let columns = first * PANEL..(end * PANEL).min(self.columns);
            let is_dense = b.k_stride == 1 && b.column_stride == self.k as isize && end < panels;
            let following = match is_dense {
                true => Following::Replaced(b.data.wrapping_add(end * PANEL * self.k)),
                false => Following::Unknown,
            };
            (self.contraction(batch, Panels::packed(packed, self.k), columns, following), first..end)
        });
        in_place.into_iter().chain(chunks)
    }

    fn contraction(
        &self,
        batch: usize,
        b: Panels,
        columns: Range<usize>,
        following: Following,
    ) -> Contraction<'a, StridedRows<'a>> {
        let [a, _, y] = self.operands;
        Contraction {
            call: self.call,
            rows: StridedRows {
                a: a.data.cast::<f32>().cast_const().wrapping_offset(self.offset(a, batch)),
                axes: self.axes,
                k: self.k,
                k_stride: self.k_stride,
                y_offset: self.offset(y, batch),
            },
            n_rows: self.rows,
            first_row: batch * self.rows,
            segments: 1,
            segment_len: self.k,
            b,
            columns,
            width: (chunk(self.k, self.columns) * PANEL).min(self.columns),
            y: y.data.cast(),
            scratch: self.scratch,
            copy_len: self.copy_len,
            widened_bytes: 0,
            following,
        }
    }
}
