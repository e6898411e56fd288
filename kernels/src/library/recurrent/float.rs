//! Weights of f32.

use super::super::args::Args;
use super::{Extents, States, Weights};
use crate::abi::{Call, EpilogueOp, KernelError, Parallel};
use crate::gemm::{Contraction, Following, Panels, Rows, Tiles, scratch_bytes};
use crate::host::Host;
use crate::pack::{pack_recurrent_weights, recurrent_weights_len};
use std::marker::PhantomData;
use std::ops::Range;

/// Packed weights, multiplied with the vectors of `V`.
pub(crate) struct Floats<'a, V> {
    extents: Extents,
    x: &'a [f32],
    w: &'a [f32],
    r: &'a [f32],
    vectors: PhantomData<fn() -> V>,
}

/// Floats of scratch of the weights that `k` inputs are multiplied with.
fn packed_len(e: &Extents, is_packed: bool, k: usize) -> usize {
    if is_packed { 0 } else { recurrent_weights_len(e.directions, e.gates, e.hidden, k) }
}

/// The weights of operand `index` in the packed layout: themselves, or packed to `to`.
fn packed<'a>(
    args: &Args<'a>,
    index: usize,
    e: &Extents,
    (is_packed, k): (bool, usize),
    to: &'a mut [f32],
) -> Result<&'a [f32], KernelError> {
    let weights = args.input::<f32>(index)?;
    if is_packed {
        return Ok(weights);
    }
    let row = |i: usize, to: &mut [f32]| to.copy_from_slice(&weights[i * k..(i + 1) * k]);
    pack_recurrent_weights(e.directions, e.gates, e.hidden, k, row, to);
    Ok(to)
}

impl<'a, V: Tiles> Weights<'a> for Floats<'a, V> {
    const JOINT: bool = false;

    fn floats(e: &Extents) -> usize {
        packed_len(e, e.w_packed, e.input) + packed_len(e, e.r_packed, e.hidden)
    }

    fn own_bytes(_: &Extents, threads: usize) -> usize {
        scratch_bytes(1, 0, threads)
    }

    fn new(args: &Args<'a>, e: Extents, scratch: &'a mut [f32]) -> Result<Self, KernelError> {
        let (to_w, to_r) = scratch.split_at_mut(packed_len(&e, e.w_packed, e.input));
        let w = packed(args, 1, &e, (e.w_packed, e.input), to_w)?;
        let r = packed(args, 2, &e, (e.r_packed, e.hidden), to_r)?;
        Ok(Floats { extents: e, x: args.input(0)?, w, r, vectors: PhantomData })
    }

    fn project(&self, direction: usize, bias: &[f32], to: &mut [f32], pool: &dyn Parallel, own: *mut u8) {
        let e = &self.extents;
        let width = e.width();
        let epilogue = [EpilogueOp::AddColumn(bias.as_ptr())];
        let b = &self.w[direction * width * e.input..];
        let n_rows = e.steps * e.batch;
        let product = Product { a: self.x, a_stride: e.input, k: e.input, b, n_rows, columns: width, y_stride: width };
        // SAFETY: The instruction set was detected; the buffers have these extents; `own` is for all threads.
        unsafe { product.run::<V>(to.as_mut_ptr(), pool, &epilogue, own) };
    }

    fn step(&self, states: &States, columns: Range<usize>, sums: &mut [f32], pool: &dyn Parallel, own: *mut u8) {
        let e = &self.extents;
        let (width, padded) = (e.width(), e.padded());
        let b = &self.r[(states.direction * width + columns.start) * e.hidden..];
        let product = Product {
            a: states.rows,
            a_stride: padded,
            k: e.hidden,
            b,
            n_rows: states.len(padded),
            columns: columns.len(),
            y_stride: width,
        };
        // SAFETY: The instruction set was detected; sums have room; `own` is for the threads of `pool`.
        unsafe { product.run::<V>(sums[columns.start..].as_mut_ptr(), pool, &[], own) };
    }
}

/// `y[i] = a[i] x b` for rows `i`, where `b` is packed.
struct Product<'a> {
    a: &'a [f32],
    a_stride: usize,
    k: usize,
    b: &'a [f32],
    n_rows: usize,
    columns: usize,
    y_stride: usize,
}

/// Rows at constant distances.
struct EvenRows {
    a: *const f32,
    a_stride: usize,
    y_stride: usize,
}

// SAFETY: Rows are only read.
unsafe impl Sync for EvenRows {}

impl Rows for EvenRows {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], _: *mut f32) {
        for (i, offset) in offsets.iter_mut().enumerate() {
            *offset = ((first + i) * self.y_stride) as isize;
            // SAFETY: There is room for a pointer per row; the row exists.
            unsafe { *pointers.add(i) = self.a.add((first + i) * self.a_stride) };
        }
    }
}

impl Product<'_> {
    /// # Safety
    /// The machine has `V`; `y` has room for the rows, and `own` is scratch for all threads of `pool`.
    unsafe fn run<V: Tiles>(&self, y: *mut f32, pool: &dyn Parallel, epilogue: &[EpilogueOp], own: *mut u8) {
        let call = Call {
            operands: &[],
            attrs: &[],
            epilogue,
            callback: None,
            scratch: own,
            pool,
            pieces: false,
            host: Host::none(),
        };
        let contraction = Contraction {
            call: &call,
            rows: EvenRows { a: self.a.as_ptr(), a_stride: self.a_stride, y_stride: self.y_stride },
            n_rows: self.n_rows,
            first_row: 0,
            segments: 1,
            segment_len: self.k,
            b: Panels::packed(self.b.as_ptr(), self.k),
            columns: 0..self.columns,
            width: self.columns,
            y,
            scratch: own,
            copy_len: 0,
            widened_bytes: 0,
            following: Following::Unknown,
        };
        // SAFETY: The caller's promise.
        unsafe { contraction.run::<V>() };
    }
}
