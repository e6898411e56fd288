//! What is done to rows between the products: queries are scaled, scores become exponentials, sums become results.

use super::shape::{MaskKind, Offsets, Shape};
use super::{KEYS, Scoring};
use crate::strips::functions::{exp_below_zero, tanh};
use crate::vector::{LANES, Task, Vector};

/// Rows of a batch.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) shape: &'a Shape,
    /// Where the batch starts.
    pub(super) batch: Offsets,
    /// The first row.
    pub(super) first: usize,
    /// How many.
    pub(super) len: usize,
}

/// Copies scaled queries to where they are contiguous, and starts the rows' sums.
pub(super) struct Gather<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) scale: f32,
    pub(super) to: *mut f32,
    pub(super) greatest: *mut f32,
    pub(super) totals: *mut f32,
}

impl Task for Gather<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Rows { shape, batch, first, len } = self.rows;
        let (d, step, scale) = (shape.d, shape.widths.q, V::splat(self.scale));
        for row in 0..len {
            let from = shape.q.wrapping_offset(batch.q + shape.row(first + row).q);
            // SAFETY: the caller vouches for the queries and the room.
            unsafe {
                let to = self.to.add(row * d);
                if step == 1 {
                    let whole = d / LANES * LANES;
                    for at in (0..whole).step_by(LANES) {
                        V::load(from.add(at)).mul(scale).store(to.add(at));
                    }
                    if whole < d {
                        V::load_partial(from.add(whole), d - whole).mul(scale).store_partial(to.add(whole), d - whole);
                    }
                } else {
                    for at in 0..d {
                        *to.add(at) = *from.offset(at as isize * step) * self.scale;
                    }
                }
                *self.greatest.add(row) = f32::NEG_INFINITY;
                *self.totals.add(row) = 0.0;
            }
        }
    }
}

/// Makes weights of the scores of a run of keys, and rescales what the rows have summed so far.
pub(super) struct Soften<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) scoring: Scoring,
    /// The first key.
    pub(super) first: usize,
    /// Number of keys.
    pub(super) n: usize,
    /// `[rows][KEYS]`.
    pub(super) scores: *mut f32,
    pub(super) greatest: *mut f32,
    pub(super) totals: *mut f32,
    /// `[rows][columns]`.
    pub(super) sums: *mut f32,
    /// Columns to rescale.
    pub(super) columns: usize,
}

impl Task for Soften<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for row in 0..self.rows.len {
            // SAFETY: the caller vouches for the rows.
            unsafe { self.row::<V>(row) };
        }
    }
}

impl Soften<'_> {
    #[inline(always)]
    unsafe fn row<V: Vector>(&self, row: usize) {
        // SAFETY: the caller vouches for the rows; a row of scores has room for whole vectors.
        unsafe {
            let scores = self.scores.add(row * KEYS);
            let (before, total) = (*self.greatest.add(row), *self.totals.add(row));
            let found = self.masked::<V>(row, scores);
            let greatest = if found > before { found } else { before };
            if greatest == f32::NEG_INFINITY {
                let nan = self.hide::<V>(scores);
                *self.totals.add(row) = total + nan;
                return;
            }
            let (shift, mut lanes) = (V::splat(greatest), V::splat(0.0));
            for at in (0..self.n).step_by(LANES) {
                let weight = exp_below_zero(V::load(scores.add(at)).sub(shift));
                weight.store(scores.add(at));
                lanes = lanes.add(weight);
            }
            let mut kept = 1.0;
            if greatest != before {
                kept = exp_below_zero(V::splat(before).sub(shift)).to_array()[0];
                let factor = V::splat(kept);
                let sums = self.sums.wrapping_add(row * self.columns);
                for at in (0..self.columns).step_by(LANES) {
                    V::load(sums.add(at)).mul(factor).store(sums.add(at));
                }
            }
            *self.greatest.add(row) = greatest;
            *self.totals.add(row) = total * kept + lanes.sum();
        }
    }

    /// Limits and masks the scores of a row, -∞ behind the last key, and returns the greatest; NaN aside.
    #[inline(always)]
    unsafe fn masked<V: Vector>(&self, row: usize, scores: *mut f32) -> f32 {
        let (shape, index) = (self.rows.shape, self.rows.first + row);
        let lowest = V::splat(f32::NEG_INFINITY);
        let step = shape.keys.mask;
        let mask_at = self.rows.batch.mask + shape.row(index).mask + self.first as isize * step;
        // Keys of this run that the row sees.
        let seen = match self.scoring.causal {
            Some(offset) => {
                let end = ((index % shape.m) as i64).saturating_add(offset).saturating_add(1);
                end.saturating_sub(self.first as i64).clamp(0, self.n as i64) as usize
            }
            None => self.n,
        };
        let (cap, fill) = (self.scoring.softcap, V::splat(self.scoring.fill));
        if cap == 0.0 && matches!(shape.mask_kind, MaskKind::Absent) && seen == self.n {
            // SAFETY: the caller vouches for the scores.
            return unsafe { self.greatest::<V>(scores) };
        }
        let mut greatest = lowest;
        for at in (0..self.n).step_by(LANES) {
            let width = LANES.min(self.n - at);
            // SAFETY: the caller vouches for the scores and the mask.
            unsafe {
                let mut score = V::load(scores.add(at));
                if cap != 0.0 {
                    score = tanh(score.mul(V::splat(1.0 / cap))).mul(V::splat(cap));
                }
                match shape.mask_kind {
                    MaskKind::Absent => {}
                    MaskKind::Added => {
                        let mask = shape.mask.cast::<f32>().wrapping_offset(mask_at + at as isize * step);
                        score = score.add(added::<V>(mask, step, width));
                    }
                    MaskKind::Seen => {
                        let mask = shape.mask.wrapping_offset(mask_at + at as isize * step);
                        let hidden = seen_bytes::<V>(mask, step, width).equal(V::splat(0.0));
                        score = V::select(hidden, fill, score);
                    }
                }
                if at + LANES > seen {
                    score = V::select(lanes_below::<V>(seen.saturating_sub(at)), score, fill);
                }
                if width < LANES {
                    score = V::select(lanes_below::<V>(width), score, lowest);
                }
                greatest = score.max(greatest);
                score.store(scores.add(at));
            }
        }
        greatest.greatest()
    }

    /// The greatest of scores that stay as they are, NaN aside; -∞ is written behind the last key.
    #[inline(always)]
    unsafe fn greatest<V: Vector>(&self, scores: *mut f32) -> f32 {
        const AT_A_TIME: usize = 4;
        let lowest = V::splat(f32::NEG_INFINITY);
        let (step, whole) = (AT_A_TIME * LANES, self.n / LANES * LANES);
        let mut greatest = [lowest; AT_A_TIME];
        // SAFETY: the caller vouches for the scores, which have room for whole vectors.
        unsafe {
            if whole < self.n {
                let last = V::load(scores.add(whole));
                let last = V::select(lanes_below::<V>(self.n - whole), last, lowest);
                last.store(scores.add(whole));
                greatest[0] = last.max(lowest);
            }
            for at in (0..whole / step * step).step_by(step) {
                for (i, greatest) in greatest.iter_mut().enumerate() {
                    *greatest = V::load(scores.add(at + i * LANES)).max(*greatest);
                }
            }
            for at in (whole / step * step..whole).step_by(LANES) {
                greatest[0] = V::load(scores.add(at)).max(greatest[0]);
            }
        }
        let [a, b, c, d] = greatest;
        a.max(b).max(c.max(d)).greatest()
    }

    /// Makes all weights of a row without visible keys 0; gives NaN if a score was NaN, else 0.
    #[inline(always)]
    unsafe fn hide<V: Vector>(&self, scores: *mut f32) -> f32 {
        let mut nan = 0.0;
        for at in 0..self.n {
            // SAFETY: the caller vouches for the scores.
            unsafe {
                if (*scores.add(at)).is_nan() {
                    nan = f32::NAN;
                }
                *scores.add(at) = 0.0;
            }
        }
        nan
    }
}

/// The first `n` lanes.
#[inline(always)]
fn lanes_below<V: Vector>(n: usize) -> V::Mask {
    const NUMBERS: [f32; LANES] = {
        let mut numbers = [0.0; LANES];
        let mut i = 0;
        while i < LANES {
            numbers[i] = i as f32;
            i += 1;
        }
        numbers
    };
    V::from_array(NUMBERS).less(V::splat(n as f32))
}

/// `width` terms, `step` apart.
#[inline(always)]
unsafe fn added<V: Vector>(from: *const f32, step: isize, width: usize) -> V {
    // SAFETY: the caller vouches for the terms.
    unsafe {
        match step {
            0 => V::splat(*from),
            1 if width == LANES => V::load(from),
            1 => V::load_partial(from, width),
            _ => {
                let mut lanes = [0.0; LANES];
                for (i, lane) in lanes.iter_mut().enumerate().take(width) {
                    *lane = *from.offset(i as isize * step);
                }
                V::from_array(lanes)
            }
        }
    }
}

/// `width` truth values, `step` apart, as integers: 0 where hidden.
#[inline(always)]
unsafe fn seen_bytes<V: Vector>(from: *const u8, step: isize, width: usize) -> V {
    // SAFETY: the caller vouches for the bytes.
    unsafe {
        match step {
            0 => V::splat(f32::from(*from)),
            1 if width == LANES => V::load_bytes::<false>(from).int_to_float(),
            1 => V::load_bytes_partial::<false>(from, width).int_to_float(),
            _ => {
                let mut lanes = [0.0; LANES];
                for (i, lane) in lanes.iter_mut().enumerate().take(width) {
                    *lane = f32::from(*from.offset(i as isize * step));
                }
                V::from_array(lanes)
            }
        }
    }
}

/// Divides the rows' sums by their totals and writes them to the result.
pub(super) struct Finish<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) nan_is_zero: bool,
    pub(super) totals: *const f32,
    /// `[rows][columns]`, if any key was seen.
    pub(super) sums: Option<*const f32>,
    pub(super) columns: usize,
}

impl Task for Finish<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Rows { shape, batch, first, len } = self.rows;
        let (e, step) = (shape.e, shape.widths.y);
        for row in 0..len {
            let to = shape.y.wrapping_offset(batch.y + shape.row(first + row).y);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let total = *self.totals.add(row);
                // Without keys there is nothing to sum; with nothing but hidden ones, no softmax.
                let is_nan = total.is_nan() || total == 0.0 && shape.n > 0;
                let constant = match (shape.n, is_nan, self.nan_is_zero) {
                    (0, ..) | (_, true, true) => Some(0.0),
                    (_, true, false) => Some(f32::NAN),
                    _ => None,
                };
                let sums = self.sums.map(|sums| sums.add(row * self.columns));
                for at in (0..e).step_by(LANES) {
                    let width = LANES.min(e - at);
                    let value = match (constant, sums) {
                        (None, Some(sums)) => V::load(sums.add(at)).div(V::splat(total)),
                        (constant, _) => V::splat(constant.unwrap_or(f32::NAN)),
                    };
                    if step != 1 {
                        for (i, lane) in value.to_array().into_iter().enumerate().take(width) {
                            *to.offset((at + i) as isize * step) = lane;
                        }
                    } else if width == LANES {
                        value.store(to.add(at));
                    } else {
                        value.store_partial(to.add(at), width);
                    }
                }
            }
        }
    }
}
