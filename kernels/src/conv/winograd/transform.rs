//! The transforms of F(4 x 4, 3 x 3): `Bᵀ d B` of a window of pixels, `Aᵀ m A` of its products, 16 channels at a time.

use crate::abi::EpilogueOp;
use crate::epilogue::{Columns, in_registers};
use crate::pack::{WINOGRAD_POINTS as POINTS, WINOGRAD_TILE as TILE};
use crate::vector::{LANES, Task, Vector};
use std::ops::Range;

/// Pixels of a window along each axis.
pub(super) const WINDOW: usize = TILE + 2;

/// `Bᵀ d` for one column of a window.
#[inline(always)]
fn forward<V: Vector>(d: [V; WINDOW]) -> [V; WINDOW] {
    let [two, four, five] = [V::splat(-2.0), V::splat(-4.0), V::splat(-5.0)];
    let (even, odd) = (d[2].mul_add(four, d[4]), d[1].mul_add(four, d[3]));
    let (near, far) = (d[4].sub(d[2]), d[1].sub(d[3]));
    [
        d[0].mul_add(V::splat(4.0), d[2].mul_add(five, d[4])),
        even.add(odd),
        even.sub(odd),
        far.mul_add(two, near),
        far.mul_add(V::splat(2.0), near),
        d[1].mul_add(V::splat(4.0), d[3].mul_add(five, d[5])),
    ]
}

/// `Aᵀ m` for one column of products.
#[inline(always)]
fn back<V: Vector>(m: [V; WINDOW]) -> [V; TILE] {
    let (near_sum, near_difference) = (m[1].add(m[2]), m[1].sub(m[2]));
    let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
    [
        m[0].add(near_sum).add(far_sum),
        far_difference.mul_add(V::splat(2.0), near_difference),
        far_sum.mul_add(V::splat(4.0), near_sum),
        far_difference.mul_add(V::splat(8.0), near_difference).add(m[5]),
    ]
}

/// Transforms one window.
pub(super) struct Forward {
    /// Its pixels, row by row.
    pub(super) pixels: [*const f32; POINTS],
    /// Channels of each.
    pub(super) channels: usize,
    /// Where the first point goes.
    pub(super) to: *mut f32,
    /// Elements between points.
    pub(super) step: usize,
}

impl Task for Forward {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for channel in (0..self.channels).step_by(LANES) {
            let channels = Columns { column: channel, n: LANES.min(self.channels - channel) };
            let mut half = [[V::splat(0.0); WINDOW]; WINDOW];
            for column in 0..WINDOW {
                let mut d = [V::splat(0.0); WINDOW];
                for (row, d) in d.iter_mut().enumerate() {
                    // SAFETY: each pixel has all channels.
                    *d = unsafe { channels.load(self.pixels[row * WINDOW + column], channel as isize) };
                }
                let d = forward(d);
                for (row, half) in half.iter_mut().enumerate() {
                    half[column] = d[row];
                }
            }
            for (row, half) in half.into_iter().enumerate() {
                let points = forward(half);
                for (column, point) in points.into_iter().enumerate() {
                    let to = self.to.wrapping_add((row * WINDOW + column) * self.step);
                    // SAFETY: there is room for each point's channels.
                    unsafe { channels.store(point, to, channel as isize) };
                }
            }
        }
    }
}

/// Transforms the products of one tile back, and stores its results.
pub(super) struct Back<'a> {
    /// The products at the first point.
    pub(super) from: *const f32,
    /// Elements between points.
    pub(super) step: usize,
    /// Start of the result.
    pub(super) y: *mut f32,
    /// Offset of the tile's first pixel.
    pub(super) corner: isize,
    /// Strides of height and width.
    pub(super) strides: [isize; 2],
    /// Lines and pixels of a line that lie in the result; at least 1.
    pub(super) valid: [usize; 2],
    /// Channels of the result.
    pub(super) columns: Range<usize>,
    /// What to do to the results in registers.
    pub(super) epilogue: &'a [EpilogueOp],
}

impl Task for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for column in self.columns.clone().step_by(LANES) {
            let tile = Columns { column, n: LANES.min(self.columns.end - column) };
            let from = self.from.wrapping_add(column - self.columns.start);
            let mut half = [[V::splat(0.0); WINDOW]; TILE];
            for i in 0..WINDOW {
                let mut m = [V::splat(0.0); WINDOW];
                for (row, m) in m.iter_mut().enumerate() {
                    // SAFETY: products are padded to whole vectors.
                    *m = unsafe { V::load(from.wrapping_add((row * WINDOW + i) * self.step)) };
                }
                let m = back(m);
                for (row, half) in half.iter_mut().enumerate() {
                    half[i] = m[row];
                }
            }
            for (line, half) in half.into_iter().enumerate().take(self.valid[0]) {
                let results = back(half);
                let mut values = [[results[0]], [results[1]], [results[2]], [results[3]]];
                let start = self.corner + line as isize * self.strides[0];
                let mut offsets = [start; TILE];
                // Pixels outside stand in for the first one, and are not stored.
                for (pixel, offset) in offsets.iter_mut().enumerate().take(self.valid[1]) {
                    *offset = start + pixel as isize * self.strides[1];
                }
                // SAFETY: the caller covers the columns and the pixels.
                unsafe {
                    for op in self.epilogue {
                        in_registers(op, &mut values, tile, offsets.as_ptr());
                    }
                    for (pixel, value) in values.into_iter().enumerate().take(self.valid[1]) {
                        tile.store(value[0], self.y, offsets[pixel] + column as isize);
                    }
                }
            }
        }
    }
}
