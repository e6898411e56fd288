//! Channels-first convolutions whose groups have one channel, depthwise ones above all: vectors run along lines.
//!
//! A band of lines of a plane is copied with its padding, and the columns of strides apart, so that every tap reads
//! neighbours; where nothing is outside and the stride is 1, lines are read where they are.

use super::geometry::Geometry;
use crate::vector::{LANES, Task, Vector};
use std::ops::Range;

/// Most filters of a group; more are a product of matrices.
const MOST_FILTERS: usize = 32;
/// Longest stride along lines whose columns are copied apart.
const MOST_STRIDE: usize = 4;
/// Bytes of a band that stay in the first-level cache, and most bytes of one.
const NEAR_BYTES: usize = 24 << 10;
const MOST_BYTES: usize = 1 << 20;
/// Rows and vectors that are summed at once, in the middle of lines and at their ends.
const MIDDLE: (usize, usize) = (2, 3);
const END: (usize, usize) = (6, 1);

/// A convolution of planes, and how its rows are cut into bands.
pub(super) struct Planes {
    geometry: Geometry,
    /// Input lines and columns under the taps of a window.
    reach: [usize; 2],
    /// Rows of the result of a band.
    rows: usize,
    /// Columns of a line whose indices leave the same rest by the stride.
    phase_len: usize,
    /// Phases, and columns of a phase, from a tap to the next.
    tap_step: [usize; 2],
    /// Of each phase the columns that are those of a line; padding is around them.
    inside: [[usize; 2]; MOST_STRIDE],
    /// Whether lines are copied.
    copies: bool,
}

/// The operands.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) x: *const f32,
    pub(super) filters: *const f32,
    pub(super) bias: Option<*const f32>,
    pub(super) y: *mut f32,
}

impl Planes {
    /// `None` if the convolution is none of planes, or one for which products of matrices are better.
    pub(super) fn of(geometry: &Geometry) -> Option<Planes> {
        let Geometry { from, to, kernel, strides, dilations, pads, .. } = *geometry;
        let is_flat = [from[0], to[0], kernel[0]] == [1; 3] && pads[0] == 0;
        let is_plane = geometry.inputs == 1 && !geometry.transposed && (1..=MOST_FILTERS).contains(&geometry.outputs);
        if !is_flat || !is_plane || strides[2] > MOST_STRIDE || geometry.pixels() == 0 || geometry.taps() == 0 {
            return None;
        }
        let reach = [1, 2].map(|axis| (kernel[axis] - 1) * dilations[axis] + 1);
        let needed = [0, 1].map(|i| (to[i + 1] - 1) * strides[i + 1] + reach[i]);
        let copies = strides[2] > 1 || pads[1..] != [0; 2] || needed[0] > from[1] || needed[1] > from[2];
        let phase_len = needed[1].div_ceil(strides[2]);
        let line_bytes = phase_len * strides[2] * size_of::<f32>();
        let lines = (NEAR_BYTES / line_bytes).max(4 * reach[0]);
        let rows = ((lines - reach[0]) / strides[1] + 1).min(to[1]);
        let tap_step = [dilations[2] % strides[2], dilations[2] / strides[2]];
        let index_of = |phase: usize, column: usize| {
            let index = (column as i64 + pads[2] - phase as i64).max(0).unsigned_abs() as usize;
            index.div_ceil(strides[2]).min(phase_len)
        };
        let inside = std::array::from_fn(|phase| [0, from[2]].map(|column| index_of(phase, column)));
        let planes = Planes { geometry: *geometry, reach, rows, phase_len, tap_step, inside, copies };
        (planes.band_bytes() <= MOST_BYTES).then_some(planes)
    }

    /// Bytes of scratch of each thread.
    pub(super) fn band_bytes(&self) -> usize {
        if self.copies { (self.lines(self.rows) * self.line_len() * size_of::<f32>()).next_multiple_of(64) } else { 0 }
    }

    /// Tasks: bands of planes of images.
    pub(super) fn tasks(&self) -> usize {
        self.geometry.images * self.geometry.groups * self.bands()
    }

    fn bands(&self) -> usize {
        self.geometry.to[1].div_ceil(self.rows)
    }

    /// Input lines under `rows` rows of the result.
    fn lines(&self, rows: usize) -> usize {
        (rows - 1) * self.geometry.strides[1] + self.reach[0]
    }

    /// Floats of a line as the taps read it.
    fn line_len(&self) -> usize {
        if self.copies { self.phase_len * self.geometry.strides[2] } else { self.geometry.from[2] }
    }

    /// Runs a task, with [`band_bytes`](Self::band_bytes) of scratch.
    ///
    /// # Safety
    /// The machine has `V`; the operands are those of the geometry; nothing else writes this part of the result.
    pub(super) unsafe fn run<V: Vector>(&self, operands: Operands, task: usize, scratch: *mut f32) {
        let (plane, band) = (task / self.bands(), task % self.bands());
        let rows = band * self.rows..((band + 1) * self.rows).min(self.geometry.to[1]);
        // SAFETY: the caller's promise.
        unsafe { V::vectorize(Band { planes: self, operands, plane, rows, scratch }) };
    }
}

/// Some rows of the results of a plane.
struct Band<'a> {
    planes: &'a Planes,
    operands: Operands,
    /// Which of all groups of all images.
    plane: usize,
    rows: Range<usize>,
    scratch: *mut f32,
}

impl Task for Band<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let g = &self.planes.geometry;
        let (width, group) = (g.to[2], self.plane % g.groups);
        // SAFETY: the caller vouches for the operands and the scratch.
        unsafe {
            let lines = self.lines::<V>();
            for filter in 0..g.outputs {
                let index = group * g.outputs + filter;
                let results = Results {
                    filter: self.operands.filters.add(index * g.taps()),
                    bias: self.operands.bias.map(|bias| *bias.add(index)),
                    y: self.operands.y.add((self.plane * g.outputs + filter) * g.pixels() + self.rows.start * width),
                };
                let mut column = 0;
                while column + MIDDLE.1 * LANES <= width {
                    self.columns::<V, { MIDDLE.0 }, { MIDDLE.1 }>(lines.add(column), LANES, results.at(column));
                    column += MIDDLE.1 * LANES;
                }
                while column < width {
                    let n = LANES.min(width - column);
                    self.columns::<V, { END.0 }, { END.1 }>(lines.add(column), n, results.at(column));
                    column += n;
                }
            }
        }
    }
}

/// What becomes of a plane under one filter.
#[derive(Clone, Copy)]
struct Results {
    filter: *const f32,
    bias: Option<f32>,
    /// The first row of the band.
    y: *mut f32,
}

impl Results {
    /// From another column on.
    fn at(self, column: usize) -> Results {
        Results { y: self.y.wrapping_add(column), ..self }
    }
}

impl Band<'_> {
    /// The first line under the band, as the taps read it.
    #[inline(always)]
    unsafe fn lines<V: Vector>(&self) -> *const f32 {
        let (planes, g) = (self.planes, &self.planes.geometry);
        let plane = self.operands.x.wrapping_add(self.plane * g.area());
        let first = self.rows.start * g.strides[1];
        if !planes.copies {
            return plane.wrapping_add(first * g.from[2]);
        }
        for line in 0..planes.lines(self.rows.len()) {
            let to = self.scratch.wrapping_add(line * planes.line_len());
            let source = usize::try_from((first + line) as i64 - g.pads[1]).ok().filter(|&source| source < g.from[1]);
            // SAFETY: the scratch has room for the lines of a band; the line exists.
            unsafe {
                match source {
                    Some(source) => self.copy_line::<V>(plane.add(source * g.from[2]), to),
                    None => fill::<V>(to, planes.line_len(), |_, _| V::splat(0.0)),
                }
            }
        }
        self.scratch
    }

    /// Copies a line with its padding, the columns of each phase side by side.
    #[inline(always)]
    unsafe fn copy_line<V: Vector>(&self, from: *const f32, to: *mut f32) {
        let (g, len) = (&self.planes.geometry, self.planes.phase_len);
        let stride = g.strides[2];
        for (phase, &[low, high]) in self.planes.inside[..stride].iter().enumerate() {
            let to = to.wrapping_add(phase * len);
            let from = from.wrapping_offset((low * stride + phase) as isize - g.pads[2] as isize);
            // SAFETY: `low..high` are columns of the line; the caller vouches for it and the room.
            unsafe {
                fill::<V>(to, low, |_, _| V::splat(0.0));
                match stride {
                    1 => fill::<V>(to.add(low), high - low, |i, n| V::load_partial(from.add(i), n)),
                    2 => (low..high).for_each(|i| *to.add(i) = *from.add((i - low) * 2)),
                    _ => (low..high).for_each(|i| *to.add(i) = *from.add((i - low) * stride)),
                }
                fill::<V>(to.add(high), len - high, |_, _| V::splat(0.0));
            }
        }
    }

    /// `VECTORS` vectors of columns of all rows, `ROWS` at a time; of one vector `n` elements.
    #[inline(always)]
    unsafe fn columns<V: Vector, const ROWS: usize, const VECTORS: usize>(
        &self,
        lines: *const f32,
        n: usize,
        results: Results,
    ) {
        let (whole, step) = (self.rows.len() / ROWS * ROWS, self.planes.geometry.strides[1] * self.planes.line_len());
        // SAFETY: the caller vouches for the lines, the filter and the rows.
        unsafe {
            for row in (0..whole).step_by(ROWS) {
                self.sums::<V, ROWS, VECTORS>(lines.add(row * step), n, row, results);
            }
            for row in whole..self.rows.len() {
                self.sums::<V, 1, VECTORS>(lines.add(row * step), n, row, results);
            }
        }
    }

    /// Rows from `row` on: chains of multiply-adds over the taps, then the bias.
    #[inline(always)]
    unsafe fn sums<V: Vector, const ROWS: usize, const VECTORS: usize>(
        &self,
        from: *const f32,
        n: usize,
        first: usize,
        results: Results,
    ) {
        let (planes, g) = (self.planes, &self.planes.geometry);
        let ([_, kernel_h, kernel_w], stride) = (g.kernel, g.strides[2]);
        let [row_step, tap_step] = [g.strides[1], g.dilations[1]].map(|lines| lines * planes.line_len());
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        // SAFETY: the caller vouches for the operands; of one vector no more than `n` elements are read and written.
        unsafe {
            for i in 0..kernel_h {
                let line = from.add(i * tap_step);
                let (mut phase, mut shift) = (0, 0);
                for j in 0..kernel_w {
                    let x = line.add(phase * planes.phase_len + shift);
                    let weight = V::splat(*results.filter.add(i * kernel_w + j));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        for (vector, sum) in sums.iter_mut().enumerate() {
                            let x = x.add(row * row_step + vector * LANES);
                            let x = if VECTORS == 1 { V::load_partial(x, n) } else { V::load(x) };
                            *sum = x.mul_add(weight, *sum);
                        }
                    }
                    phase += planes.tap_step[0];
                    shift += planes.tap_step[1];
                    if phase >= stride {
                        (phase, shift) = (phase - stride, shift + 1);
                    }
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                for (vector, &sum) in sums.iter().enumerate() {
                    let sum = results.bias.map_or(sum, |bias| sum.add(V::splat(bias)));
                    let y = results.y.add((first + row) * g.to[2] + vector * LANES);
                    if VECTORS == 1 { sum.store_partial(y, n) } else { sum.store(y) }
                }
            }
        }
    }
}

/// Stores `len` elements, those from `i` on as `values(i, how many)` gives them. Runs are short here: a call of `memset` or
/// `memcpy` would take longer than they do.
#[inline(always)]
unsafe fn fill<V: Vector>(to: *mut f32, len: usize, values: impl Fn(usize, usize) -> V) {
    for i in (0..len).step_by(LANES) {
        let n = LANES.min(len - i);
        // SAFETY: the caller vouches for the elements.
        unsafe { values(i, n).store_partial(to.add(i), n) };
    }
}
