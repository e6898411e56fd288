//! `int8_depthwise_conv_nhwc`: every channel has a filter of its own, so vectors run over channels.
//!
//! The bytes under four taps are put together in the lane of their channel; one instruction multiplies them.

use super::finish::{Chain, Finish, Stored, finish};
use super::image::Copy;
use super::zero_points::{Corrections, bytes_of, corrections, corrections_bytes, row_sum_lanes, unsigned_zero};
use crate::abi::{Call, EpilogueOp, KernelError, Operand};
use crate::conv::{Attrs, Image, check};
use crate::epilogue::{Columns, finish_rows, split};
use crate::pack::{Bytes, PANEL, Segments};
use crate::vector::{Dot, DotTask, LANES, Vector};
use std::ops::Range;

/// Pixels of a tile in one line.
const WIDE: usize = 4;

/// Bytes of pointers that one thread needs.
fn pointers_bytes(attrs: &Attrs) -> usize {
    (attrs.taps().next_multiple_of(4) * WIDE * size_of::<*const u8>()).next_multiple_of(64)
}

/// Bytes of the copy that makes signed bytes unsigned.
fn copy_len(x: &Image<u8>, bytes: Bytes) -> usize {
    let len = x.n * x.extent[0] * x.extent[1] * x.channels;
    if bytes == Bytes::Signed { len.next_multiple_of(64) } else { 0 }
}

/// Bytes of scratch: pixels outside, the copy, corrections, each thread's pointers.
pub(crate) fn scratch(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let (Ok(x), Ok(bytes), Ok(attrs)) = (Image::of(&operands[0]), bytes_of(&operands[0]), Attrs::of(attrs)) else {
        return 0;
    };
    let outside = x.channels.next_multiple_of(64);
    outside + copy_len(&x, bytes) + corrections_bytes(x.channels) + pointers_bytes(&attrs) * threads
}

/// One call, for all threads.
struct Depthwise<'a> {
    attrs: Attrs,
    x: Image<u8>,
    y: Image<u8>,
    weights: *const u8,
    k: Segments,
    corrections: Corrections,
    outside: *const u8,
    stored: Stored,
    chain: Chain<'a>,
    /// The part of the epilogue that runs on stored floats.
    rest: &'a [EpilogueOp],
    scratch: *mut u8,
}

// SAFETY: threads write disjoint lines of the result and their own scratch.
unsafe impl Sync for Depthwise<'_> {}

/// `int8_depthwise_conv_nhwc`.
///
/// # Safety
/// The machine has `D`; the call is as the kernel's description says.
pub(crate) unsafe fn depthwise<D: Dot>(call: &Call) -> Result<(), KernelError> {
    let [x_operand, w, x_zero, w_zero, bias, y_operand] = call.operands else {
        return Err(KernelError(format!("convolution: expected 6 operands, found {}", call.operands.len())));
    };
    let attrs = Attrs::of(call.attrs)?;
    let (x, y): (Image<u8>, Image<u8>) = (Image::of(x_operand)?, Image::of(y_operand)?);
    check(&x, &y, 1)?;
    if x.channels != y.channels {
        return Err(KernelError(format!("depthwise convolution: {} channels to {}", x.channels, y.channels)));
    }
    let stored = Stored::of(y_operand.dtype, call.epilogue)
        .ok_or_else(|| KernelError(format!("convolution: this epilogue does not give {}", y_operand.dtype)))?;
    if y_operand.is_empty() {
        return Ok(());
    }
    let (bytes, channels) = (bytes_of(x_operand)?, x.channels);
    let k = Segments { count: 1, len: attrs.taps() };
    let outside = call.scratch;
    let copy = outside.wrapping_add(channels.next_multiple_of(64));
    let lists = copy.wrapping_add(copy_len(&x, bytes));
    let sums = w.data.wrapping_add(channels.div_ceil(PANEL) * k.panel_bytes());
    // SAFETY: the caller vouches for the operands; the scratch has room.
    let (corrections, copy) = unsafe {
        let zero = unsigned_zero(x_operand, x_zero)?;
        let zeros = (bytes_of(w)?, w_zero, bias, 0);
        let corrections = corrections(channels, k.len, zero, zeros, sums.cast(), lists.cast())?;
        outside.write_bytes(zero as u8, channels);
        (corrections, Copy { from: x, bytes, width: x.extent[1], before: 0, outside: zero as u8, to: copy })
    };
    let x = if bytes == Bytes::Signed {
        // SAFETY: the scratch has room for the copy.
        unsafe { copy.make(call) };
        copy.image()
    } else {
        x
    };
    let (in_registers, rest) = split(call.epilogue);
    let chain = Chain::of(in_registers);
    let scratch = lists.wrapping_add(corrections_bytes(channels));
    let depthwise = Depthwise { attrs, x, y, weights: w.data, k, corrections, outside, stored, chain, rest, scratch };
    let body = |lines: Range<usize>, thread: usize| {
        // SAFETY: the caller vouches for the operands.
        lines.for_each(|line| unsafe { depthwise.line::<D>(line, thread) });
    };
    call.pool.run(y.n * y.extent[0], &body);
    Ok(())
}

impl Depthwise<'_> {
    /// One line of the result.
    unsafe fn line<D: Dot>(&self, line: usize, thread: usize) {
        let (n, line) = (line / self.y.extent[0], line % self.y.extent[0]);
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let pointers = self.scratch.wrapping_add(pointers_bytes(&self.attrs) * thread).cast::<*const u8>();
        let start = n as isize * self.y.n_stride + line as isize * self.y.stride[0];
        for column in (0..self.y.extent[1]).step_by(WIDE) {
            let width = WIDE.min(self.y.extent[1] - column);
            for tap in 0..self.k.len.next_multiple_of(4) {
                let (kh, kw) = (tap / kernel[1], tap % kernel[1]);
                let h = (line * stride[0] + kh * dilation[0]) as isize - pad[0];
                for i in 0..WIDE {
                    let w = ((column + i) * stride[1] + kw * dilation[1]) as isize - pad[1];
                    let there = tap < self.k.len && i < width;
                    // SAFETY: the scratch has room for a pointer for each tap and pixel.
                    unsafe { *pointers.add(tap * WIDE + i) = if there { self.pixel(n, h, w) } else { self.outside } };
                }
            }
            let offsets = std::array::from_fn(|i| start + (column + i) as isize * self.y.stride[1]);
            // SAFETY: the caller vouches for the operands.
            unsafe {
                D::vectorize(Tile { depthwise: self, pointers, offsets, width });
                if !self.rest.is_empty() {
                    finish_rows::<D::Vector>(self.rest, self.y.data.cast(), &offsets[..width], 0..self.y.channels);
                }
            }
        }
    }

    /// An input pixel, or zero points outside.
    fn pixel(&self, n: usize, h: isize, w: isize) -> *const u8 {
        if (h as usize) < self.x.extent[0] && (w as usize) < self.x.extent[1] {
            let offset = n as isize * self.x.n_stride + h * self.x.stride[0] + w * self.x.stride[1];
            self.x.data.cast_const().wrapping_offset(offset)
        } else {
            self.outside
        }
    }
}

/// Some pixels of a line.
struct Tile<'a> {
    depthwise: &'a Depthwise<'a>,
    /// `[tap][pixel of the tile]`, the taps rounded up to fours.
    pointers: *const *const u8,
    offsets: [isize; WIDE],
    /// Pixels that exist.
    width: usize,
}

impl DotTask for Tile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let Depthwise { y, .. } = *self.depthwise;
        for column in (0..y.channels).step_by(LANES) {
            let columns = Columns { column, n: LANES.min(y.channels - column) };
            // SAFETY: the pointers and weights cover the channels.
            unsafe { self.block::<D>(columns) };
        }
    }
}

impl Tile<'_> {
    /// Up to 16 channels.
    #[inline(always)]
    unsafe fn block<D: Dot>(&self, columns: Columns) {
        let Depthwise { weights, k, corrections, y, stored, chain, .. } = *self.depthwise;
        let panel = weights.wrapping_add(columns.column / PANEL * k.panel_bytes());
        let mut sums = [[D::Vector::splat(0.0)]; WIDE];
        let mut row_sums = [D::Vector::splat(0.0); WIDE];
        let ones = D::Vector::splat_bits(0x0101_0101);
        // SAFETY: the pointers and weights cover the channels; the corrections have whole panels.
        unsafe {
            for quad in 0..k.quads() {
                let weight = D::Vector::load(panel.add(quad * 4 * PANEL).cast());
                for i in 0..WIDE {
                    let mut x = D::Vector::splat(0.0);
                    for t in (0..4).rev() {
                        let pointer = *self.pointers.add((quad * 4 + t) * WIDE + i);
                        x = x.shift_left::<8>().or(columns.load_bytes(pointer, columns.column as isize, false));
                    }
                    sums[i][0] = D::dot(sums[i][0], x, weight);
                    if !corrections.zeros.is_null() {
                        row_sums[i] = D::dot(row_sums[i], x, ones);
                    }
                }
            }
            if !corrections.zeros.is_null() {
                row_sum_lanes(&corrections, columns.column, k, self.depthwise.outside, &mut sums, &row_sums);
            }
            let to = Finish {
                start: corrections.start.wrapping_add(columns.column),
                zeros: std::ptr::null(),
                row_sums: std::ptr::null(),
                y: y.data,
                stored,
                offsets: self.offsets.as_ptr(),
                columns,
                chain,
            };
            for (i, sum) in sums.into_iter().enumerate().take(self.width) {
                let to = Finish { offsets: self.offsets.as_ptr().add(i), ..to };
                finish(&to, &mut [sum]);
            }
        }
    }
}
