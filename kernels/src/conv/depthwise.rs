//! `f32_depthwise_conv_nhwc`: every channel has a filter of its own, so vectors run over channels.
//!
//! A tile is some neighbouring output pixels of a line by 16 channels, in registers. Tiles go down the lines before they
//! go along them, for as many channels as keep the input lines under a tile in the first-level cache: each input comes
//! there once. Pixels left and right of the image are read from zeros; lines above and below it are left out.

mod tile;

use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, KernelError, Operand};
use crate::epilogue::{call_back, finish_rows, own_scratch, split};
use crate::pack::PANEL;
use crate::vector::Vector;
use std::array::from_fn;
use std::ops::Range;
use tile::{Tile, WIDEST};

/// Bytes of input lines under a tile, and of filters, that the first-level cache keeps beside the rest.
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
}

// SAFETY: threads write disjoint lines of the result and only read the rest.
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
    let depthwise = Depthwise { call, attrs, x, y, weights: w.data.cast(), zeros };
    let body = |lines: Range<usize>, thread: usize| {
        let mut first = lines.start;
        while first < lines.end {
            let n = first / y.extent[0];
            let end = lines.end.min((n + 1) * y.extent[0]);
            // SAFETY: the caller vouches for the operands.
            unsafe { depthwise.lines::<V>(n, first - n * y.extent[0]..end - n * y.extent[0], thread) };
            first = end;
        }
    };
    call.pool.run(y.n * y.extent[0], &body);
    Ok(())
}

impl Depthwise<'_> {
    /// Channels whose inputs under one tile, and filters, stay near.
    fn near_channels(&self) -> usize {
        let Attrs { kernel, stride, dilation, .. } = self.attrs;
        let columns = (WIDEST - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1;
        let channel_bytes = kernel[0].saturating_mul(columns + kernel[1]).saturating_mul(size_of::<f32>());
        (NEAR_BYTES / channel_bytes / PANEL).max(1) * PANEL
    }

    /// Lines of image `n`.
    unsafe fn lines<V: Vector>(&self, n: usize, lines: Range<usize>, thread: usize) {
        let (width, channels) = (self.y.extent[1], self.y.channels);
        let near = self.near_channels();
        for first in (0..channels).step_by(near) {
            let chunk = first..channels.min(first + near);
            let mut column = 0;
            while column < width {
                // What is left of a line may take a narrower tile.
                let columns = column..width.min(column + tile::width::<V>(width - column));
                column = columns.end;
                // SAFETY: the caller vouches for the operands; these lines are this thread's own.
                unsafe { self.strip::<V>(n, lines.clone(), columns, chunk.clone(), thread) };
            }
        }
    }

    /// One tile below the other: some `columns` and `channels` of lines of image `n`.
    unsafe fn strip<V: Vector>(
        &self,
        n: usize,
        lines: Range<usize>,
        columns: Range<usize>,
        channels: Range<usize>,
        thread: usize,
    ) {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let [height, width] = self.x.extent;
        let image = self.x.data.cast_const().wrapping_offset(n as isize * self.x.n_stride);
        let left = (columns.start * stride[1]) as isize - pad[1];
        let (epilogue, rest) = split(self.call.epilogue);
        // The columns of a tile that are not in the result stand for its last one.
        let in_line: [isize; WIDEST] =
            from_fn(|i| (columns.start + i).min(columns.end - 1) as isize * self.y.stride[1]);
        for line in lines {
            // The lines of the kernel that lie inside of the image.
            let top = (line * stride[0]) as isize - pad[0];
            let taps_before = |end: isize| (end.max(0) as usize).div_ceil(dilation[0]).min(kernel[0]);
            let taps = taps_before(-top)..taps_before(height as isize - top);
            let first = (top + (taps.start * dilation[0]) as isize) * self.x.stride[0] + left * self.x.stride[1];
            let start = n as isize * self.y.n_stride + line as isize * self.y.stride[0];
            let offsets = in_line.map(|offset| start + offset);
            let tile = Tile {
                depthwise: self,
                epilogue,
                input: image.wrapping_offset(first),
                inside: -left..width as isize - left,
                taps: taps.start..taps.end.max(taps.start),
                offsets: &offsets,
                width: columns.len(),
                channels: channels.clone(),
            };
            let row = (n * self.y.extent[0] + line) * self.y.extent[1];
            // SAFETY: the caller vouches for the operands; the rows are finished and this thread's own.
            unsafe {
                tile.run::<V>();
                if !rest.is_empty() {
                    finish_rows::<V>(rest, self.y.data, &offsets[..columns.len()], channels.clone());
                }
                call_back(self.call, row + columns.start..row + columns.end, channels.clone(), thread);
            }
        }
    }
}
