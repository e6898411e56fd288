//! A block of rows against all keys that they may see, one run of keys after the other.

use super::scores::{Finish, Gather, Rows, Soften};
use super::shape::{MaskKind, Offsets, Shape};
use super::{KEYS, Scoring};
use crate::gemm::{Ahead, MAX_ROWS, Matrix, Start, TileArgs, Tiles, pack_panels, part};
use crate::pack::PANEL;
use std::ops::Range;

/// Scores at most this far below the greatest of their row have no part in it.
const VANISHING: f32 = -88.0;

/// A thread's memory.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    /// Scaled queries `[rows][d]`.
    queries: *mut f32,
    /// Scores and their exponentials `[rows][KEYS]`.
    scores: *mut f32,
    /// Weighted sums of values `[rows][columns]`.
    sums: *mut f32,
    /// The greatest score of each row.
    greatest: *mut f32,
    /// The sum of exponentials of each row.
    totals: *mut f32,
    /// Packed keys.
    keys: *mut f32,
    /// Packed values.
    values: *mut f32,
    /// Elements of a row of sums.
    columns: usize,
}

impl Scratch {
    /// Elements of each part.
    fn lens(shape: &Shape) -> [usize; 7] {
        let (rows, columns) = (shape.block_len(), shape.e.next_multiple_of(PANEL));
        let keys = shape.n.min(KEYS).next_multiple_of(PANEL);
        [rows * shape.d, rows * KEYS, rows * columns, rows, rows, keys * shape.d, keys * columns]
            .map(|len| len.next_multiple_of(PANEL))
    }

    /// Bytes of the memory of one thread.
    pub(super) fn bytes(shape: &Shape) -> usize {
        Scratch::lens(shape).iter().sum::<usize>() * 4
    }

    /// The parts of the memory at `start`.
    pub(super) fn new(shape: &Shape, start: *mut u8) -> Scratch {
        let mut next = start.cast::<f32>();
        let parts = Scratch::lens(shape).map(|len| {
            let part = next;
            next = next.wrapping_add(len);
            part
        });
        let [queries, scores, sums, greatest, totals, keys, values] = parts;
        let columns = shape.e.next_multiple_of(PANEL);
        Scratch { queries, scores, sums, greatest, totals, keys, values, columns }
    }
}

/// Some rows of a batch.
pub(super) struct Block<'a> {
    shape: &'a Shape,
    scoring: Scoring,
    scratch: Scratch,
    batch: Offsets,
    rows: Range<usize>,
}

/// Panels of 16 columns of a factor.
struct Panels {
    /// The first element.
    data: *const f32,
    /// Elements between neighbours along the sum; if transposed, between columns.
    step: usize,
    /// Elements between panels.
    panel: usize,
    /// Whether columns are contiguous.
    transposed: bool,
}

/// A factor `[rows][k]` by panels of another.
struct Product {
    a: *const f32,
    a_stride: usize,
    k: usize,
    b: Panels,
    y: *mut f32,
    y_stride: usize,
    columns: usize,
    start: Start,
}

impl<'a> Block<'a> {
    /// Block `index` of batch `batch`.
    pub(super) fn new(shape: &'a Shape, scoring: Scoring, scratch: Scratch, batch: usize, index: usize) -> Block<'a> {
        Block { shape, scoring, scratch, batch: shape.batch(batch), rows: shape.block(index) }
    }

    /// Computes the rows.
    ///
    /// # Safety
    /// The machine has `V`; the operands and the scratch are valid, and the scratch is this thread's own.
    pub(super) unsafe fn run<V: Tiles>(&self) {
        let (shape, scratch) = (self.shape, self.scratch);
        // SAFETY: the caller vouches for the operands and the scratch.
        unsafe {
            V::vectorize(Gather {
                rows: self.rows(),
                scale: self.scoring.scale,
                to: scratch.queries,
                greatest: scratch.greatest,
                totals: scratch.totals,
            });
            let mut start = Start::Zero;
            for first in (0..shape.n).step_by(KEYS) {
                let keys = first..(first + KEYS).min(shape.n);
                if self.are_hidden(&keys) {
                    continue;
                }
                self.products_with_keys::<V>(&keys);
                V::vectorize(Soften {
                    rows: self.rows(),
                    scoring: self.scoring,
                    first: keys.start,
                    n: keys.len(),
                    scores: scratch.scores,
                    greatest: scratch.greatest,
                    totals: scratch.totals,
                    sums: scratch.sums,
                    // Sums that have not begun are not rescaled.
                    columns: if start == Start::Zero { 0 } else { scratch.columns },
                });
                self.products_with_values::<V>(&keys, start);
                start = Start::Stored;
            }
            V::vectorize(Finish {
                rows: self.rows(),
                nan_is_zero: self.scoring.nan_is_zero,
                totals: scratch.totals,
                sums: (start == Start::Stored).then_some(scratch.sums.cast_const()),
                columns: scratch.columns,
            });
        }
    }

    fn rows(&self) -> Rows<'a> {
        Rows { shape: self.shape, batch: self.batch, first: self.rows.start, len: self.rows.len() }
    }

    /// Whether no row sees any of the keys, and their scores vanish beside those that the rows have seen.
    unsafe fn are_hidden(&self, keys: &Range<usize>) -> bool {
        let fill = self.scoring.fill;
        // SAFETY: each row has a greatest score.
        let greatest = |row: usize| unsafe { *self.scratch.greatest.add(row) };
        let vanish =
            |fill: f32| fill == f32::NEG_INFINITY || (0..self.rows.len()).all(|row| fill - greatest(row) < VANISHING);
        if let Some(offset) = self.scoring.causal {
            let last = self.rows.clone().map(|row| (row % self.shape.m) as i64).max().unwrap_or(0);
            if (keys.start as i64) > last.saturating_add(offset) && vanish(fill) {
                return true;
            }
        }
        match self.shape.mask_kind {
            MaskKind::Absent => false,
            // SAFETY: the mask covers the rows and keys.
            MaskKind::Added => unsafe { self.all(keys, |at: *const f32| *at == f32::NEG_INFINITY) },
            // SAFETY: as above.
            MaskKind::Seen => unsafe { self.all(keys, |at: *const u8| *at == 0) && vanish(fill) },
        }
    }

    /// Whether all elements of the mask for these keys are as `is` says.
    unsafe fn all<T>(&self, keys: &Range<usize>, is: impl Fn(*const T) -> bool) -> bool {
        let mask = self.shape.mask.cast::<T>().wrapping_offset(self.batch.mask);
        let step = self.shape.keys.mask;
        self.rows.clone().all(|row| {
            let row = mask.wrapping_offset(self.shape.row(row).mask);
            if step == 0 { is(row) } else { keys.clone().all(|key| is(row.wrapping_offset(key as isize * step))) }
        })
    }

    unsafe fn products_with_keys<V: Tiles>(&self, keys: &Range<usize>) {
        let (shape, scratch) = (self.shape, self.scratch);
        let (key_stride, width) = (shape.keys.k, shape.widths.k);
        let first = shape.k.wrapping_offset(self.batch.k + keys.start as isize * key_stride);
        let in_place = self.rows.len() <= V::TRANSPOSED.len() && width == 1 && key_stride >= 0;
        let b = if in_place {
            Panels { data: first, step: key_stride as usize, panel: key_stride as usize * PANEL, transposed: true }
        } else {
            let matrix =
                Matrix { data: first, k: shape.d, columns: keys.len(), k_stride: width, column_stride: key_stride };
            // SAFETY: the caller vouches for the keys; there is room for a run.
            unsafe { pack_panels::<V>(matrix, 0..keys.len().div_ceil(PANEL), scratch.keys) };
            Panels { data: scratch.keys, step: PANEL, panel: shape.d * PANEL, transposed: false }
        };
        let product = Product {
            a: scratch.queries,
            a_stride: shape.d,
            k: shape.d,
            b,
            y: scratch.scores,
            y_stride: KEYS,
            columns: keys.len(),
            start: Start::Zero,
        };
        // SAFETY: the caller vouches for the operands.
        unsafe { product.run::<V>(self.rows.len()) };
    }

    unsafe fn products_with_values<V: Tiles>(&self, keys: &Range<usize>, start: Start) {
        let (shape, scratch) = (self.shape, self.scratch);
        let (key_stride, width) = (shape.keys.v, shape.widths.v);
        let first = shape.v.wrapping_offset(self.batch.v + keys.start as isize * key_stride);
        let is_whole = width == 1 && key_stride >= 0 && shape.e.is_multiple_of(PANEL);
        let b = if is_whole && self.rows.len() <= V::ROWS {
            Panels { data: first, step: key_stride as usize, panel: PANEL, transposed: false }
        } else {
            let matrix =
                Matrix { data: first, k: keys.len(), columns: shape.e, k_stride: key_stride, column_stride: width };
            // SAFETY: the caller vouches for the values; there is room for a run.
            unsafe { pack_panels::<V>(matrix, 0..shape.e.div_ceil(PANEL), scratch.values) };
            Panels { data: scratch.values, step: PANEL, panel: keys.len() * PANEL, transposed: false }
        };
        let product = Product {
            a: scratch.scores,
            a_stride: KEYS,
            k: keys.len(),
            b,
            y: scratch.sums,
            y_stride: scratch.columns,
            columns: shape.e,
            start,
        };
        // SAFETY: the caller vouches for the operands.
        unsafe { product.run::<V>(self.rows.len()) };
    }
}

impl Product {
    /// Computes all of it: panels outside, so that they stay in the first-level cache while rows pass.
    unsafe fn run<V: Tiles>(&self, rows: usize) {
        let (panels, n_tiles) = (self.columns.div_ceil(PANEL), rows.div_ceil(V::ROWS));
        let tallest = rows.div_ceil(n_tiles);
        let mut panel = 0;
        while panel < panels {
            let width = if self.b.transposed { 1 } else { V::tile(tallest, panels - panel).0 };
            for tile in 0..n_tiles {
                // SAFETY: the caller vouches for the factors.
                unsafe { self.tile::<V>(part(rows, n_tiles, tile), panel, width) };
            }
            panel += width;
        }
    }

    unsafe fn tile<V: Tiles>(&self, rows: Range<usize>, panel: usize, width: usize) {
        let (mut pointers, mut offsets) = ([std::ptr::null(); MAX_ROWS], [0; MAX_ROWS]);
        for (i, row) in rows.clone().enumerate() {
            pointers[i] = self.a.wrapping_add(row * self.a_stride);
            offsets[i] = (row * self.y_stride) as isize;
        }
        let mut done = 0;
        while done < width {
            let (n, tile) = match self.b.transposed {
                true => (1, V::TRANSPOSED[rows.len() - 1]),
                false => V::tile(rows.len(), width - done),
            };
            let column = (panel + done) * PANEL;
            let b = self.b.data.wrapping_add((panel + done) * self.b.panel);
            let args = TileArgs {
                a: pointers.as_ptr(),
                segments: 1,
                segment_len: self.k,
                b,
                b_step: self.b.step,
                b_panel: self.b.panel,
                start: self.start,
                y: self.y,
                offsets: offsets.as_ptr(),
                column,
                columns: (n * PANEL).min(self.columns - column),
                epilogue: &[],
                ahead: Ahead::nothing(b),
            };
            // SAFETY: the pointers cover the tile.
            unsafe { tile(&args) };
            done += n;
        }
    }
}
