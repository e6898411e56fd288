//! `f32_depthwise_conv_nhwc`: every channel has a filter of its own, so vectors run over channels.
//!
//! A tile is some output pixels of one or two lines by 16 channels. For the common filters, each input vector is loaded
//! once and meets all outputs of the tile that use it, line by line and column by column, which is the order of the
//! taps for each of them. Pixels outside of the image, where the sum would not change, are read from zeros.
#![expect(clippy::needless_range_loop, reason = "loops over registers that several arrays share an index with")]

use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, EpilogueOp, KernelError, Operand};
use crate::epilogue::{Columns, call_back, finish_rows, in_registers, own_scratch, split};
use crate::pack::PANEL;
use crate::vector::{LANES, Task, Vector};
use std::array::from_fn;
use std::ops::Range;

/// Pixels of a tile in one line.
const WIDE: usize = 4;

/// Elements of the zeros that stand for pixels outside.
fn zeros_len(x: &Image) -> usize {
    x.channels.next_multiple_of(PANEL)
}

/// Bytes of pointers that one thread needs for filters of any size.
fn pointers_bytes(attrs: &Attrs) -> usize {
    (attrs.taps() * WIDE * size_of::<*const f32>()).next_multiple_of(64)
}

/// Bytes of scratch: zeros, and each thread's pointers.
pub(crate) fn scratch(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let (Ok(x), Ok(attrs)) = (Image::of(&operands[0]), Attrs::of(attrs)) else { return 0 };
    zeros_len(&x) * 4 + pointers_bytes(&attrs) * threads
}

/// One call, for all threads.
struct Depthwise<'a> {
    call: &'a Call<'a>,
    attrs: Attrs,
    x: Image,
    y: Image,
    weights: *const f32,
    zeros: *const f32,
    scratch: *mut u8,
}

// SAFETY: threads write disjoint lines of the result and their own scratch.
unsafe impl Sync for Depthwise<'_> {}

/// `f32_depthwise_conv_nhwc`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn depthwise<V: Vector>(call: &Call) -> Result<(), KernelError> {
    let (attrs, (x, w, y)) = (Attrs::of(call.attrs)?, operands(call)?);
    check(&x, &y, 1)?;
    if x.channels != y.channels {
        return Err(KernelError(format!("depthwise convolution: {} channels to {}", x.channels, y.channels)));
    }
    if y.pixels() * y.channels == 0 {
        return Ok(());
    }
    let zeros = own_scratch(call).cast::<f32>();
    // SAFETY: the scratch has room for the zeros.
    unsafe { zeros.write_bytes(0, zeros_len(&x)) };
    let scratch = zeros.wrapping_add(zeros_len(&x)).cast();
    let depthwise = Depthwise { call, attrs, x, y, weights: w.data.cast(), zeros, scratch };
    // Pairs of lines; the last of an image may be alone.
    let pairs = y.extent[0].div_ceil(2);
    let body = |range: Range<usize>, thread: usize| {
        for pair in range {
            let line = pair % pairs * 2;
            // SAFETY: the caller vouches for the operands.
            unsafe { depthwise.lines::<V>(pair / pairs, line..(line + 2).min(y.extent[0]), thread) };
        }
    };
    call.pool.run(y.n * pairs, &body);
    Ok(())
}

impl Depthwise<'_> {
    /// One or two lines of image `n`.
    unsafe fn lines<V: Vector>(&self, n: usize, lines: Range<usize>, thread: usize) {
        // The sums of two lines would fill a small register file: there, each line has tiles of its own.
        let height = if V::REGISTERS >= 32 { 2 } else { 1 };
        for first in lines.clone().step_by(height) {
            let tile = first..(first + height).min(lines.end);
            // SAFETY: the caller vouches for the operands.
            unsafe { self.tiles::<V>(n, tile, thread) };
        }
        for line in lines {
            // SAFETY: the line is stored, and this thread's own.
            unsafe { self.finish_line::<V>(n, line, thread) };
        }
    }

    /// The tiles of one or two lines.
    unsafe fn tiles<V: Vector>(&self, n: usize, lines: Range<usize>, thread: usize) {
        let Attrs { kernel, stride, dilation, .. } = self.attrs;
        // SAFETY: the caller vouches for the operands.
        unsafe {
            match (kernel, stride, dilation) {
                ([3, 3], [1, 1], [1, 1]) => self.fixed_lines::<V, 3, 1, 6, 4>(n, lines),
                ([3, 3], [2, 2], [1, 1]) => self.fixed_lines::<V, 3, 2, 9, 5>(n, lines),
                ([5, 5], [1, 1], [1, 1]) => self.fixed_lines::<V, 5, 1, 8, 6>(n, lines),
                ([5, 5], [2, 2], [1, 1]) => self.fixed_lines::<V, 5, 2, 11, 7>(n, lines),
                _ => lines.for_each(|line| self.any_line::<V>(n, line, thread)),
            }
        }
    }

    /// What follows on a stored line.
    unsafe fn finish_line<V: Vector>(&self, n: usize, line: usize, thread: usize) {
        let (_, rest) = split(self.call.epilogue);
        let width = self.y.extent[1];
        if !rest.is_empty() {
            for first in (0..width).step_by(LANES) {
                let offsets: [isize; LANES] = from_fn(|i| self.offset(n, line, first + i));
                let offsets = &offsets[..LANES.min(width - first)];
                // SAFETY: the caller vouches for the line.
                unsafe { finish_rows::<V>(rest, self.y.data, offsets, 0..self.y.channels) };
            }
        }
        let row = (n * self.y.extent[0] + line) * width;
        // SAFETY: the caller vouches for the line.
        unsafe { call_back(self.call, row..row + width, 0..self.y.channels, thread) };
    }

    /// Offset of an output pixel.
    fn offset(&self, n: usize, line: usize, column: usize) -> isize {
        n as isize * self.y.n_stride + line as isize * self.y.stride[0] + column as isize * self.y.stride[1]
    }

    /// An input pixel, or zeros outside.
    fn pixel(&self, n: usize, h: isize, w: isize) -> *const f32 {
        if (h as usize) < self.x.extent[0] && (w as usize) < self.x.extent[1] {
            let offset = n as isize * self.x.n_stride + h * self.x.stride[0] + w * self.x.stride[1];
            self.x.data.cast_const().wrapping_offset(offset)
        } else {
            self.zeros
        }
    }

    /// Lines under a square filter of `SIZE` taps and stride `STRIDE`; a tile of [`WIDE`] pixels by 2 lines reads
    /// `COLUMNS` by `LINES` input pixels.
    unsafe fn fixed_lines<
        V: Vector,
        const SIZE: usize,
        const STRIDE: usize,
        const COLUMNS: usize,
        const LINES: usize,
    >(
        &self,
        n: usize,
        lines: Range<usize>,
    ) {
        let [pad_top, pad_left] = self.attrs.pad;
        let mut column = 0;
        while column < self.y.extent[1] {
            let width = if column + WIDE <= self.y.extent[1] { WIDE } else { 1 };
            let (h, w) = ((lines.start * STRIDE) as isize - pad_top, (column * STRIDE) as isize - pad_left);
            let inputs: [[*const f32; COLUMNS]; LINES] =
                from_fn(|i| from_fn(|j| self.pixel(n, h + i as isize, w + j as isize)));
            let offsets: [[isize; WIDE]; 2] = from_fn(|i| from_fn(|j| self.offset(n, lines.start + i, column + j)));
            let tile = FixedTile { depthwise: self, inputs: &inputs, offsets: &offsets };
            // SAFETY: the caller vouches for the operands; the tile's pixels exist.
            unsafe {
                match (width, lines.len()) {
                    // Fewer registers take one line at a time, and need no code for two.
                    (WIDE, 2) if const { V::REGISTERS >= 32 } => V::vectorize(tile.sized::<SIZE, STRIDE, WIDE, 2>()),
                    (_, 2) if const { V::REGISTERS >= 32 } => V::vectorize(tile.sized::<SIZE, STRIDE, 1, 2>()),
                    (WIDE, _) => V::vectorize(tile.sized::<SIZE, STRIDE, WIDE, 1>()),
                    _ => V::vectorize(tile.sized::<SIZE, STRIDE, 1, 1>()),
                }
            }
            column += width;
        }
    }

    /// One line under any filter.
    unsafe fn any_line<V: Vector>(&self, n: usize, line: usize, thread: usize) {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let pointers = self.scratch.wrapping_add(pointers_bytes(&self.attrs) * thread).cast::<*const f32>();
        for column in (0..self.y.extent[1]).step_by(WIDE) {
            let width = WIDE.min(self.y.extent[1] - column);
            let mut at = pointers;
            for kh in 0..kernel[0] {
                let h = (line * stride[0] + kh * dilation[0]) as isize - pad[0];
                for kw in 0..kernel[1] {
                    for i in 0..WIDE {
                        let w = ((column + i) * stride[1] + kw * dilation[1]) as isize - pad[1];
                        // SAFETY: the scratch has room for a pointer for each tap and pixel.
                        unsafe { *at = if i < width { self.pixel(n, h, w) } else { self.zeros } };
                        at = at.wrapping_add(1);
                    }
                }
            }
            let offsets = from_fn(|i| self.offset(n, line, column + i));
            let tile = AnyTile { depthwise: self, taps: kernel[0] * kernel[1], pointers, offsets, width };
            // SAFETY: the caller vouches for the operands.
            unsafe { V::vectorize(tile) };
        }
    }

    /// The part of the epilogue that runs in registers.
    fn epilogue(&self) -> &[EpilogueOp] {
        split(self.call.epilogue).0
    }
}

/// Channels of a pixel, 16 at a time.
#[inline(always)]
fn channel_blocks(channels: usize) -> impl Iterator<Item = Columns> {
    (0..channels).step_by(LANES).map(move |column| Columns { column, n: LANES.min(channels - column) })
}

/// A tile under a filter of any size.
struct AnyTile<'a> {
    depthwise: &'a Depthwise<'a>,
    taps: usize,
    /// `[tap][pixel of the tile]`.
    pointers: *const *const f32,
    offsets: [isize; WIDE],
    /// Pixels that exist.
    width: usize,
}

impl Task for AnyTile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Depthwise { y, weights, .. } = *self.depthwise;
        let row = y.channels.next_multiple_of(PANEL);
        for block in channel_blocks(y.channels) {
            let mut sums = [[V::splat(0.0)]; WIDE];
            // SAFETY: the pointers and weights cover the block's channels.
            unsafe {
                for tap in 0..self.taps {
                    let weight = V::load(weights.add(tap * row + block.column));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let x: V = block.load(*self.pointers.add(tap * WIDE + i), block.column as isize);
                        sum[0] = x.mul_add(weight, sum[0]);
                    }
                }
                for (i, sum) in sums.iter().enumerate().take(self.width) {
                    let mut value = [*sum];
                    for op in self.depthwise.epilogue() {
                        in_registers(op, &mut value, block, &self.offsets[i]);
                    }
                    block.store(value[0][0], y.data, self.offsets[i] + block.column as isize);
                }
            }
        }
    }
}

/// A tile under one of the common filters, before its size is fixed.
struct FixedTile<'a, const COLUMNS: usize, const LINES: usize> {
    depthwise: &'a Depthwise<'a>,
    inputs: &'a [[*const f32; COLUMNS]; LINES],
    offsets: &'a [[isize; WIDE]; 2],
}

impl<'a, const COLUMNS: usize, const LINES: usize> FixedTile<'a, COLUMNS, LINES> {
    fn sized<const SIZE: usize, const STRIDE: usize, const WIDTH: usize, const HEIGHT: usize>(
        self,
    ) -> SizedTile<'a, COLUMNS, LINES, SIZE, STRIDE, WIDTH, HEIGHT> {
        SizedTile(self)
    }
}

/// `HEIGHT` lines of `WIDTH` output pixels under a filter of `SIZE` by `SIZE` taps.
struct SizedTile<
    'a,
    const COLUMNS: usize,
    const LINES: usize,
    const SIZE: usize,
    const STRIDE: usize,
    const WIDTH: usize,
    const HEIGHT: usize,
>(FixedTile<'a, COLUMNS, LINES>);

impl<
    const COLUMNS: usize,
    const LINES: usize,
    const SIZE: usize,
    const STRIDE: usize,
    const WIDTH: usize,
    const HEIGHT: usize,
> Task for SizedTile<'_, COLUMNS, LINES, SIZE, STRIDE, WIDTH, HEIGHT>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let channels = self.0.depthwise.y.channels;
        let whole = channels / LANES * LANES;
        // SAFETY: the inputs and weights cover the channels.
        unsafe {
            for column in (0..whole).step_by(LANES) {
                self.block::<V>(Columns { column, n: LANES });
            }
            if whole < channels {
                self.block::<V>(Columns { column: whole, n: channels - whole });
            }
        }
    }
}

impl<
    const COLUMNS: usize,
    const LINES: usize,
    const SIZE: usize,
    const STRIDE: usize,
    const WIDTH: usize,
    const HEIGHT: usize,
> SizedTile<'_, COLUMNS, LINES, SIZE, STRIDE, WIDTH, HEIGHT>
{
    /// Up to 16 channels of the tile.
    #[inline(always)]
    unsafe fn block<V: Vector>(&self, block: Columns) {
        let FixedTile { depthwise, inputs, offsets } = &self.0;
        let Depthwise { y, weights, .. } = **depthwise;
        let row = y.channels.next_multiple_of(PANEL);
        let column = block.column as isize;
        let mut sums = [[[V::splat(0.0)]; WIDTH]; HEIGHT];
        // SAFETY: the inputs and weights cover the block's channels.
        unsafe {
            let mut filter = [[V::splat(0.0); SIZE]; SIZE];
            for kh in 0..SIZE {
                for kw in 0..SIZE {
                    filter[kh][kw] = V::load(weights.add((kh * SIZE + kw) * row + block.column));
                }
            }
            for i in 0..(HEIGHT - 1) * STRIDE + SIZE {
                for j in 0..(WIDTH - 1) * STRIDE + SIZE {
                    let x: V = block.load(inputs[i][j], column);
                    for line in 0..HEIGHT {
                        for pixel in 0..WIDTH {
                            let (kh, kw) = (i.wrapping_sub(line * STRIDE), j.wrapping_sub(pixel * STRIDE));
                            if kh < SIZE && kw < SIZE {
                                sums[line][pixel][0] = x.mul_add(filter[kh][kw], sums[line][pixel][0]);
                            }
                        }
                    }
                }
            }
            if !depthwise.epilogue().is_empty() {
                // A copy, so that the sums stay in registers until here.
                let mut finished = sums;
                for (values, offsets) in finished.iter_mut().zip(offsets.iter()) {
                    for op in depthwise.epilogue() {
                        in_registers(op, values, block, offsets.as_ptr());
                    }
                }
                sums = finished;
            }
            for line in 0..HEIGHT {
                for pixel in 0..WIDTH {
                    block.store(sums[line][pixel][0], y.data, offsets[line][pixel] + column);
                }
            }
        }
    }
}
