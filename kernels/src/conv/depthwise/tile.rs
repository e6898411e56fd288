//! A tile of a depthwise convolution: neighbouring pixels of a line, 16 channels at a time, in registers.
//!
//! For each line of the kernel its taps and the inputs under it are loaded once; every input meets the outputs that use
//! it. The common filters have bodies of their own, whose inputs stay in registers.

use super::Depthwise;
use crate::abi::EpilogueOp;
use crate::epilogue::{Columns, in_registers};
use crate::pack::PANEL;
use crate::vector::{LANES, Task, Vector};
use std::ops::Range;

/// Most pixels of a tile.
pub(super) const WIDEST: usize = 8;

/// Pixels of a narrow tile: of all where registers are few.
const NARROW: usize = 4;

/// Inputs of one line under the widest tile of any body with a fixed filter.
const MOST_INPUTS: usize = (WIDEST - 1) * 2 + 5;

/// Pixels of the tile for the first of `columns` columns.
pub(super) fn width<V: Vector>(columns: usize) -> usize {
    if V::REGISTERS >= 32 && columns > NARROW { WIDEST } else { NARROW }
}

/// A tile.
pub(super) struct Tile<'a> {
    /// The call.
    pub(super) depthwise: &'a Depthwise<'a>,
    /// What happens to the sums, in registers.
    pub(super) epilogue: &'a [EpilogueOp],
    /// The input under the first pixel's first tap; it may lie outside.
    pub(super) input: *const f32,
    /// Columns of the image, from that input on.
    pub(super) inside: Range<isize>,
    /// Lines of the kernel that lie inside of the image.
    pub(super) taps: Range<usize>,
    /// Offsets of the pixels from the start of the result.
    pub(super) offsets: &'a [isize; WIDEST],
    /// Pixels that exist.
    pub(super) width: usize,
    /// The channels.
    pub(super) channels: Range<usize>,
}

impl Tile<'_> {
    /// Computes the tile.
    ///
    /// # Safety
    /// The operands are valid, the pixels exist and are the calling thread's own.
    pub(super) unsafe fn run<V: Vector>(&self) {
        let attrs = &self.depthwise.attrs;
        // SAFETY: the caller vouches for the operands.
        unsafe {
            match (attrs.kernel[1], attrs.stride[1], attrs.dilation[1]) {
                (3, 1, 1) => self.filtered::<V, 3, 1>(),
                (3, 2, 1) => self.filtered::<V, 3, 2>(),
                (5, 1, 1) => self.filtered::<V, 5, 1>(),
                (5, 2, 1) => self.filtered::<V, 5, 2>(),
                (7, 1, 1) => self.filtered::<V, 7, 1>(),
                _ => self.filtered::<V, 0, 0>(),
            }
        }
    }

    /// [`run`](Self::run) under a kernel of `SIZE` columns and stride `STRIDE`, if they are not 0.
    unsafe fn filtered<V: Vector, const SIZE: usize, const STRIDE: usize>(&self) {
        let is_inside = self.inside.start <= 0 && self.inside.end >= self.reach();
        // SAFETY: the caller vouches for the operands. No tile is wider than `width` has it.
        unsafe {
            match (width::<V>(self.width), is_inside) {
                (WIDEST, true) if const { V::REGISTERS >= 32 } => {
                    V::vectorize(Body::<'_, SIZE, STRIDE, WIDEST, false>(self));
                }
                (WIDEST, false) if const { V::REGISTERS >= 32 } => {
                    V::vectorize(Body::<'_, SIZE, STRIDE, WIDEST, true>(self));
                }
                (_, true) => V::vectorize(Body::<'_, SIZE, STRIDE, NARROW, false>(self)),
                (_, false) => V::vectorize(Body::<'_, SIZE, STRIDE, NARROW, true>(self)),
            }
        }
    }

    /// How far the tile's inputs reach if all its pixels exist; else further than any image.
    fn reach(&self) -> isize {
        let attrs = &self.depthwise.attrs;
        match self.width {
            WIDEST | NARROW => {
                ((self.width - 1) * attrs.stride[1] + (attrs.kernel[1] - 1) * attrs.dilation[1] + 1) as isize
            }
            _ => isize::MAX,
        }
    }
}

/// A tile of `WIDTH` pixels, some of whose inputs lie outside of the image if it has an `EDGE`.
struct Body<'a, const SIZE: usize, const STRIDE: usize, const WIDTH: usize, const EDGE: bool>(&'a Tile<'a>);

impl<const SIZE: usize, const STRIDE: usize, const WIDTH: usize, const EDGE: bool> Task
    for Body<'_, SIZE, STRIDE, WIDTH, EDGE>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Range { start, end } = self.0.channels;
        let whole = end - (end - start) % LANES;
        // SAFETY: the inputs and weights cover the channels.
        unsafe {
            for column in (start..whole).step_by(LANES) {
                self.block::<V>(Columns { column, n: LANES });
            }
            if whole < end {
                self.block::<V>(Columns { column: whole, n: end - whole });
            }
        }
    }
}

impl<const SIZE: usize, const STRIDE: usize, const WIDTH: usize, const EDGE: bool> Body<'_, SIZE, STRIDE, WIDTH, EDGE> {
    /// Up to 16 channels of the tile.
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, block: Columns) {
        let tile = self.0;
        let Depthwise { attrs, x, y, weights, .. } = tile.depthwise;
        let row = y.channels.next_multiple_of(PANEL);
        let mut filter = weights.wrapping_add(tile.taps.start * attrs.kernel[1] * row + block.column);
        let mut line = tile.input;
        let mut sums = [[V::splat(0.0)]; WIDTH];
        // SAFETY: the inputs and weights cover the block's channels.
        unsafe {
            for _ in tile.taps.clone() {
                if SIZE == 0 {
                    self.any_line(line, filter, block, &mut sums);
                } else {
                    self.fixed_line(line, filter, block, &mut sums);
                }
                line = line.wrapping_offset(attrs.dilation[0] as isize * x.stride[0]);
                filter = filter.wrapping_add(attrs.kernel[1] * row);
            }
            if !tile.epilogue.is_empty() {
                // A copy, so that the sums stay in registers until here.
                let mut finished = sums;
                for op in tile.epilogue {
                    in_registers(op, &mut finished, block, tile.offsets.as_ptr());
                }
                sums = finished;
            }
            for (pixel, sum) in sums.iter().enumerate() {
                if !EDGE || pixel < tile.width {
                    block.store(sum[0], y.data, tile.offsets[pixel] + block.column as isize);
                }
            }
        }
    }

    /// Input `column` from a line's first on, or zeros outside.
    #[inline(always)]
    unsafe fn input<V: Vector>(&self, line: *const f32, column: usize, block: Columns) -> V {
        let Depthwise { x, zeros, .. } = self.0.depthwise;
        let mut pixel = line.wrapping_offset(column as isize * x.stride[1]);
        if EDGE && !self.0.inside.contains(&(column as isize)) {
            pixel = *zeros;
        }
        // SAFETY: the caller vouches for what is inside.
        unsafe { block.load(pixel, block.column as isize) }
    }

    /// One line of a kernel of `SIZE` columns.
    #[inline(always)]
    unsafe fn fixed_line<V: Vector>(
        &self,
        line: *const f32,
        filter: *const f32,
        block: Columns,
        sums: &mut [[V; 1]; WIDTH],
    ) {
        let row = self.0.depthwise.y.channels.next_multiple_of(PANEL);
        let mut inputs = [V::splat(0.0); MOST_INPUTS];
        // SAFETY: the inputs and weights cover the block's channels.
        unsafe {
            for (column, input) in inputs.iter_mut().enumerate().take((WIDTH - 1) * STRIDE + SIZE) {
                *input = self.input(line, column, block);
            }
            for tap in 0..SIZE {
                let weight = V::load(filter.add(tap * row));
                for (pixel, sum) in sums.iter_mut().enumerate() {
                    sum[0] = inputs[pixel * STRIDE + tap].mul_add(weight, sum[0]);
                }
            }
        }
    }

    /// One line of any kernel.
    #[inline(always)]
    unsafe fn any_line<V: Vector>(
        &self,
        line: *const f32,
        filter: *const f32,
        block: Columns,
        sums: &mut [[V; 1]; WIDTH],
    ) {
        let Depthwise { attrs, y, .. } = self.0.depthwise;
        let row = y.channels.next_multiple_of(PANEL);
        for tap in 0..attrs.kernel[1] {
            // SAFETY: the inputs and weights cover the block's channels.
            unsafe {
                let weight = V::load(filter.add(tap * row));
                for (pixel, sum) in sums.iter_mut().enumerate() {
                    let input = self.input(line, pixel * attrs.stride[1] + tap * attrs.dilation[1], block);
                    sum[0] = V::mul_add(input, weight, sum[0]);
                }
            }
        }
    }
}
