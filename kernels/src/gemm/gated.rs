//! `f32_gated_matmul`: two products of the same rows, the first through a function, multiplied.
//!
//! Panels of gates and of what they scale alternate in B, so both sums of a result are computed by the same block. A
//! block of the product lies in scratch, in the second-level cache, until its gates are applied; only the result is
//! written to memory.

use super::blocking::{Division, SERIAL, part};
use super::contraction::{Contraction, Following, Rows, scratch_bytes, widened_bytes};
use super::matmul::{MAX_AXES, copy_len, k_axis, packed_panels, row_axes};
use super::panels::Panels;
use super::tiles::Tiles;
use crate::abi::{Call, EpilogueOp, KernelError, Operand, Parallel, Serial, Strip};
use crate::cache::caches;
use crate::epilogue::own_scratch;
use crate::gemm::matmul::StridedRows;
use crate::pack::PANEL;
use crate::strips::functions;
use crate::vector::{Task, Vector};
use std::ops::Range;

/// Panels of a block at most, so that its rows stay in cache.
const MAX_BLOCK: usize = 32;

/// Rows and panels, an even number, of a block of the product.
fn block(rows: usize, panels: usize) -> (usize, usize) {
    let width = panels.min(MAX_BLOCK);
    let budget = caches().l2 / 4 / (width.max(1) * PANEL * 4);
    (rows.min(budget.max(64)), width)
}

/// Bytes of one thread's block of the product.
fn block_bytes(rows: usize, columns: usize) -> usize {
    let (rows, width) = block(rows, columns.div_ceil(PANEL));
    rows * width * PANEL * 4
}

/// The function of gates that `strip` is.
fn is_gate(strip: Strip) -> bool {
    matches!(strip, Strip::Sigmoid | Strip::Silu | Strip::Gelu | Strip::GeluTanh | Strip::Relu)
}

/// Bytes of scratch of `f32_gated_matmul`.
pub(crate) fn scratch<V: Tiles>(operands: &[Operand], _attrs: &[i64], threads: usize) -> usize {
    let [a, b, _, y] = operands else { return 0 };
    let f = y.shape.last().map_or(1, |&f| f as usize);
    let own = block_bytes(y.len() / f.max(1), 2 * f) + widened_bytes::<V>(b, 1, k_axis(a).0, 2 * f);
    scratch_bytes(1, copy_len::<V>(a), threads) + own * threads
}

/// `f32_gated_matmul`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn gated_matmul<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let ([a, b, bias, y], [strip, group @ ..]) = (call.operands, call.attrs) else {
        return Err(KernelError("gated_matmul: expected 4 operands and a function".into()));
    };
    let (k, k_stride) = k_axis(a);
    let f = y.shape.last().map_or(0, |&f| f as usize);
    let strip = usize::try_from(*strip).ok().and_then(|strip| Strip::ALL.get(strip)).filter(|strip| is_gate(**strip));
    let (Some(&strip), 1..=MAX_AXES, 0) = (strip, y.shape.len(), f % PANEL) else {
        return Err(KernelError("gated_matmul: no such function, rank or number of columns".into()));
    };
    if y.is_empty() {
        return Ok(());
    }
    let mut storage = Default::default();
    let axes = row_axes(a, y, 0..y.shape.len() - 1, &mut storage);
    let bias = bias.is_present().then_some(EpilogueOp::AddColumn(bias.data.cast_const().cast()));
    let gated = Gated {
        call: &Call { epilogue: bias.as_slice(), callback: None, ..*call },
        rows: StridedRows { a: a.data.cast(), axes, k, k_stride, y_offset: 0 },
        n_rows: y.len() / f,
        k,
        b: packed_panels(b, group, k)?,
        f,
        strip,
        y: y.data.cast(),
        scratch: own_scratch(call),
        copy_len: copy_len::<V>(a),
        widened_bytes: widened_bytes::<V>(b, 1, k, 2 * f),
    };
    // SAFETY: the caller vouches for the operands.
    unsafe { gated.run::<V>() };
    Ok(())
}

struct Gated<'a> {
    /// The call, with the bias as its epilogue.
    call: &'a Call<'a>,
    rows: StridedRows<'a>,
    n_rows: usize,
    k: usize,
    b: Panels,
    /// Columns of the result.
    f: usize,
    strip: Strip,
    y: *mut f32,
    scratch: *mut u8,
    copy_len: usize,
    widened_bytes: usize,
}

// SAFETY: threads write disjoint parts of the result and of the scratch, and only read the rest.
unsafe impl Sync for Gated<'_> {}

impl Gated<'_> {
    unsafe fn run<V: Tiles>(&self) {
        let pairs = self.f / PANEL;
        let threads = if self.n_rows * self.f * self.k < SERIAL { 1 } else { self.call.pool.threads() };
        let row_tiles = self.n_rows.div_ceil(V::ROWS);
        let division = Division { row_tiles, groups: pairs, rows: V::ROWS, columns: 2 * PANEL, k: self.k };
        let (row_parts, pair_parts) = division.grid(threads);
        let run = |range: Range<usize>, thread: usize| {
            for index in range {
                let tiles = part(row_tiles, row_parts, index / pair_parts);
                let rows =
                    part(self.n_rows, row_tiles, tiles.start).start..part(self.n_rows, row_tiles, tiles.end).start;
                let pairs = part(pairs, pair_parts, index % pair_parts);
                // SAFETY: the caller's pointers are valid; parts are disjoint.
                unsafe { self.run_part::<V>(rows, pairs, thread) };
            }
        };
        let parallel: &dyn Parallel = if threads == 1 { &Serial } else { self.call.pool };
        parallel.run(row_parts * pair_parts, &run);
    }

    unsafe fn run_part<V: Tiles>(&self, rows: Range<usize>, pairs: Range<usize>, thread: usize) {
        let (height, width) = block(self.n_rows, 2 * self.f / PANEL);
        let threads = self.call.pool.threads();
        let own = scratch_bytes(1, self.copy_len, threads) + self.widened_bytes * threads;
        let to = self.scratch.wrapping_add(own + block_bytes(self.n_rows, 2 * self.f) * thread).cast::<f32>();
        for first in pairs.clone().step_by(width / 2) {
            let panels = 2 * first..2 * (first + width / 2).min(pairs.end);
            let stride = panels.len() * PANEL;
            for top in rows.clone().step_by(height) {
                let is_last = top + height >= rows.end && panels.end < 2 * pairs.end;
                let following = if is_last { Following::Onwards } else { Following::Unknown };
                let rows = top..(top + height).min(rows.end);
                let product = Contraction {
                    call: self.call,
                    rows: BlockRows { rows: &self.rows, top, stride },
                    n_rows: self.n_rows,
                    first_row: 0,
                    segments: 1,
                    segment_len: self.k,
                    b: self.b,
                    columns: 0..2 * self.f,
                    width: width * PANEL,
                    y: to.wrapping_sub(panels.start * PANEL),
                    scratch: self.scratch,
                    copy_len: self.copy_len,
                    widened_bytes: self.widened_bytes,
                    following,
                };
                // SAFETY: the block has room for these rows and panels, and is this thread's own, as these results are.
                unsafe {
                    product.run_part::<V>(rows.clone(), panels.clone(), thread);
                    for row in rows {
                        let from = to.add((row - top) * stride);
                        let to = self.y.add(row * self.f + first * PANEL);
                        V::vectorize(Gate { strip: self.strip, from, to, pairs: panels.len() / 2 });
                    }
                }
            }
        }
    }
}

/// Rows of A whose products lie in a block of `stride` columns, of which `top` is the first.
struct BlockRows<'a> {
    rows: &'a StridedRows<'a>,
    top: usize,
    stride: usize,
}

impl Rows for BlockRows<'_> {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], copies: *mut f32) {
        // SAFETY: the caller vouches for the rows and the room.
        unsafe { self.rows.locate(first, pointers, offsets, copies) };
        let rows = (first - self.top..).map(|row| (row * self.stride) as isize);
        offsets.iter_mut().zip(rows).for_each(|(offset, row)| *offset = row);
    }
}

/// `to[i] = strip(gate[i]) * scaled[i]` for panels that alternate in `from`.
struct Gate {
    strip: Strip,
    from: *const f32,
    to: *mut f32,
    pairs: usize,
}

impl Gate {
    #[inline(always)]
    unsafe fn apply<V: Vector>(&self, function: impl Fn(V) -> V) {
        for pair in 0..self.pairs {
            // SAFETY: the caller vouches for the pairs.
            unsafe {
                let from = self.from.add(2 * pair * PANEL);
                let gate = function(V::load(from));
                gate.mul(V::load(from.add(PANEL))).store(self.to.add(pair * PANEL));
            }
        }
    }
}

impl Task for Gate {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller vouches for the pairs.
        unsafe {
            match self.strip {
                Strip::Sigmoid => self.apply::<V>(functions::sigmoid),
                Strip::Silu => self.apply::<V>(functions::silu),
                Strip::Gelu => self.apply::<V>(functions::gelu),
                Strip::GeluTanh => self.apply::<V>(functions::gelu_tanh),
                _ => self.apply::<V>(functions::relu),
            }
        }
    }
}
