//! `f32_depthwise_conv_nhwc`: every channel has a filter of its own, so vectors run over channels.
//!
//! A tile is some neighbouring output pixels of a line by 16 channels, in registers. Strips of tiles, so narrow that the
//! input lines under one stay in the first-level cache, go down the image: each input comes there once. Pixels left and right of the image are read from zeros; lines above and below it are left out.

mod tile;

use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, EpilogueOp, KernelError, Operand};
use crate::epilogue::{call_back, finish_rows, own_scratch, split};
use crate::pack::PANEL;
use crate::vector::Vector;
use std::array::from_fn;
use std::ops::Range;
use tile::{Tile, WIDEST};

/// Bytes of input lines under a strip of tiles, and of filters, that the first-level cache keeps beside the rest.
const NEAR_BYTES: usize = 24 << 10;

/// Elements of the zeros that stand for pixels outside.
fn zeros_len(x: &Image) -> usize {
    x.channels.next_multiple_of(PANEL)
}

/// Bytes of scratch: zeros.
pub(crate) fn scratch(operands: &[Operand], _attrs: &[i64], _threads: usize) -> usize {
    Image::<f32>::of(&operands[0]).map_or(0, |x| zeros_len(&x) * 4)
}

/// One call, for all threads.
struct Depthwise<'a> {
    call: &'a Call<'a>,
    attrs: Attrs,
    x: Image,
    y: Image,
    weights: *const f32,
    zeros: *const f32,
    /// What runs in registers, and what on stored results.
    epilogue: (&'a [EpilogueOp], &'a [EpilogueOp]),
}

// SAFETY: threads write disjoint pixels of the result and only read the rest.
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
    let depthwise = Depthwise { call, attrs, x, y, weights: w.data.cast(), zeros, epilogue: split(call.epilogue) };
    let body = |range: Range<usize>, thread: usize| {
        let (groups, channels) = depthwise.y.share(range);
        for (n, lines, strip) in depthwise.y.strips(groups) {
            // SAFETY: the caller vouches for the operands.
            unsafe { depthwise.strip::<V>([n, thread], lines, strip, channels.clone()) };
        }
    };
    call.pool.run(depthwise.y.shares(), &body);
    Ok(())
}

impl Depthwise<'_> {
    /// Pixels of a line of the result, and channels of them, whose inputs under a kernel, and filters, stay near.
    fn near(&self) -> (usize, usize) {
        let Attrs { kernel, stride, dilation, .. } = self.attrs;
        let reach = (kernel[1] - 1) * dilation[1] + 1;
        let elements = NEAR_BYTES / size_of::<f32>() / kernel[0];
        // All channels of as many tiles as there is room for, or some channels of one tile.
        let columns = (elements / self.y.channels).saturating_sub(reach + kernel[1]) / stride[1];
        if columns >= WIDEST {
            return (columns / WIDEST * WIDEST, self.y.channels);
        }
        let channels = elements / ((WIDEST - 1) * stride[1] + reach + kernel[1]);
        (WIDEST, (channels / PANEL).max(1) * PANEL)
    }

    /// Some columns (`strip`) and `channels` of lines of image `n`, on a thread.
    unsafe fn strip<V: Vector>(
        &self,
        [n, thread]: [usize; 2],
        lines: Range<usize>,
        strip: Range<usize>,
        channels: Range<usize>,
    ) {
        let (near_columns, near_channels) = self.near();
        for first in channels.clone().step_by(near_channels) {
            let chunk = first..channels.end.min(first + near_channels);
            for first in strip.clone().step_by(near_columns) {
                let strip = first..strip.end.min(first + near_columns);
                for line in lines.clone() {
                    // SAFETY: the caller vouches for the operands; these pixels are this thread's own.
                    unsafe { self.line::<V>([n, line], strip.clone(), chunk.clone(), thread) };
                }
            }
        }
    }

    /// Some columns (`strip`) and `channels` of a line, `at` an image and a line of it.
    unsafe fn line<V: Vector>(&self, at: [usize; 2], strip: Range<usize>, channels: Range<usize>, thread: usize) {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let ([n, line], [height, width]) = (at, self.x.extent);
        let (in_registers, on_rows) = self.epilogue;
        // The lines of the kernel that lie inside of the image.
        let top = (line * stride[0]) as isize - pad[0];
        let taps_before = |end: isize| (end.max(0) as usize).div_ceil(dilation[0]).min(kernel[0]);
        let taps = taps_before(-top)..taps_before(height as isize - top);
        let first = top + (taps.start * dilation[0]) as isize;
        let input = n as isize * self.x.n_stride + first * self.x.stride[0];
        let start = n as isize * self.y.n_stride + line as isize * self.y.stride[0];
        let row = (n * self.y.extent[0] + line) * self.y.extent[1];
        let mut column = strip.start;
        while column < strip.end {
            // What is left of a line may take a narrower tile.
            let end = strip.end.min(column + tile::width::<V>(strip.end - column));
            let left = (column * stride[1]) as isize - pad[1];
            // The columns of a tile that are not in the result stand for its last one.
            let offsets: [isize; WIDEST] = from_fn(|i| start + (column + i).min(end - 1) as isize * self.y.stride[1]);
            let tile = Tile {
                depthwise: self,
                epilogue: in_registers,
                input: self.x.data.cast_const().wrapping_offset(input + left * self.x.stride[1]),
                inside: -left..width as isize - left,
                taps: taps.start..taps.end.max(taps.start),
                offsets: &offsets,
                width: end - column,
                channels: channels.clone(),
            };
            // SAFETY: the caller vouches for the operands; the rows are finished and this thread's own.
            unsafe {
                tile.run::<V>();
                if !on_rows.is_empty() {
                    finish_rows::<V>(on_rows, self.y.data, &offsets[..end - column], channels.clone());
                }
                call_back(self.call, row + column..row + end, channels.clone(), thread);
            }
            column = end;
        }
    }
}
