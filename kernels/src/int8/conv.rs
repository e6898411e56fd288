//! `int8_conv_nhwc`: a matrix product whose rows of A are read from the image.
//!
//! A tap is a segment of K. Where its channels are no multiple of four, a row of the filter is one instead, read from a
//! copy of the image whose columns are padded.

use super::contraction::{Contraction, scratch_bytes};
use super::finish::Stored;
use super::image::Copy;
use super::tiles::IntTiles;
use super::zero_points::{bytes_of, corrections, corrections_bytes, unsigned_zero};
use crate::abi::{Call, KernelError, Operand};
use crate::conv::{Attrs, Image, PixelRows, Taps, check};
use crate::pack::{Bytes, ConvWeightShape, Int8ConvShape, PANEL, Segments};

/// How a convolution runs.
struct Plan {
    attrs: Attrs,
    x: Image<u8>,
    bytes: Bytes,
    shape: Int8ConvShape,
    k: Segments,
    /// Columns of the copy: as many as the taps reach, or those of the image.
    width: usize,
}

impl Plan {
    fn new(x: &Operand, y: &Operand, attrs: Attrs) -> Result<Plan, KernelError> {
        let bytes = bytes_of(x)?;
        let (x, y): (Image<u8>, Image<u8>) = (Image::of(x)?, Image::of(y)?);
        check(&x, &y, attrs.groups)?;
        let [kernel_h, kernel_w] = attrs.kernel;
        let weights = ConvWeightShape {
            outputs: y.channels,
            inputs: x.channels / attrs.groups,
            kernel_h,
            kernel_w,
            groups: attrs.groups,
        };
        let shape = Int8ConvShape { weights, dilation_w: attrs.dilation[1] };
        let reach = (y.extent[1].max(1) - 1) * attrs.stride[1] + kernel_w;
        let width = if shape.joins_rows() { reach } else { x.extent[1] };
        Ok(Plan { attrs, x, bytes, shape, k: shape.segments(), width })
    }

    fn is_copied(&self) -> bool {
        self.shape.joins_rows() || self.bytes == Bytes::Signed
    }

    /// Bytes that stand for pixels outside.
    fn outside_len(&self) -> usize {
        self.k.len.next_multiple_of(64)
    }

    /// Elements of a segment that tiles read. What rows of a copy are short of fours is read from what follows, and
    /// multiplied by the zeros that pad the weights.
    fn read(&self) -> usize {
        if self.shape.joins_rows() { self.k.len.next_multiple_of(4) } else { self.k.len }
    }

    /// Bytes of the copy, with those that are read past its end.
    fn copy_len(&self) -> usize {
        let len = self.x.n * self.x.extent[0] * self.width * self.x.channels + 4;
        if self.is_copied() { len.next_multiple_of(64) } else { 0 }
    }

    /// Bytes of the corrections of all groups.
    fn corrections_len(&self) -> usize {
        self.attrs.groups * corrections_bytes(self.shape.weights.group_outputs())
    }

    /// The taps on height and width, on the image that rows are read from.
    fn taps(&self) -> [Taps; 2] {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let taps = [0, 1].map(|axis| Taps {
            count: kernel[axis],
            first: -pad[axis],
            step: dilation[axis] as isize,
            stride: stride[axis] as isize,
        });
        if self.shape.joins_rows() { [taps[0], Taps { count: 1, first: 0, ..taps[1] }] } else { taps }
    }
}

/// Bytes of scratch: pixels outside, the copy, corrections, the contraction's.
pub(crate) fn scratch<D: IntTiles>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let Ok(plan) = Attrs::of(attrs).and_then(|attrs| Plan::new(&operands[0], &operands[5], attrs)) else { return 0 };
    plan.outside_len() + plan.copy_len() + plan.corrections_len() + scratch_bytes::<D>(plan.k, 0, threads)
}

/// `int8_conv_nhwc`.
///
/// # Safety
/// The machine has `D`; the call is as the kernel's description says.
pub(crate) unsafe fn conv<D: IntTiles>(call: &Call) -> Result<(), KernelError> {
    let [x, w, x_zero, w_zero, bias, y] = call.operands else {
        return Err(KernelError(format!("convolution: expected 6 operands, found {}", call.operands.len())));
    };
    let attrs = Attrs::of(call.attrs)?;
    let plan = Plan::new(x, y, attrs)?;
    let stored = Stored::of(y.dtype, call.epilogue)
        .ok_or_else(|| KernelError(format!("convolution: this epilogue does not give {}", y.dtype)))?;
    let y_image: Image<u8> = Image::of(y)?;
    if y.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller vouches for the operand.
    let zero = unsafe { unsigned_zero(x, x_zero)? };
    let outside = call.scratch;
    let copy = outside.wrapping_add(plan.outside_len());
    let lists = copy.wrapping_add(plan.copy_len());
    let joined = plan.shape.joins_rows();
    let before = if joined { attrs.pad[1] } else { 0 };
    let copy = Copy { from: plan.x, bytes: plan.bytes, width: plan.width, before, outside: zero as u8, to: copy };
    // SAFETY: the scratch has room for the pixels outside and for the copy.
    unsafe {
        outside.write_bytes(zero as u8, plan.outside_len());
        if plan.is_copied() {
            copy.make(call);
        }
    }
    let source = if plan.is_copied() { copy.image() } else { plan.x };
    let (columns, inputs) = (plan.shape.weights.group_outputs(), plan.shape.weights.inputs);
    let (k_len, matrix) = (plan.k.count * plan.k.len, plan.k.packed_bytes(columns));
    for group in 0..attrs.groups {
        let b = w.data.wrapping_add(group * matrix);
        let sums = b.wrapping_add(columns.div_ceil(PANEL) * plan.k.panel_bytes());
        let to = lists.wrapping_add(group * corrections_bytes(columns));
        // SAFETY: the caller vouches for the operands; the scratch has room for the corrections.
        let corrections = unsafe {
            let zeros = (bytes_of(w)?, w_zero, bias, group * columns);
            corrections(columns, k_len, zero, zeros, sums.cast(), to.cast())?
        };
        let contraction = Contraction {
            call,
            rows: PixelRows {
                x: Image { data: source.data.wrapping_add(group * inputs), ..source },
                taps: plan.taps(),
                zeros: outside,
                y: y_image,
                y_offset: 0,
            },
            n_rows: y_image.pixels(),
            k: plan.k,
            read: plan.read(),
            b,
            columns: group * columns..(group + 1) * columns,
            corrections,
            y: y.data,
            stored,
            scratch: lists.wrapping_add(plan.corrections_len()),
            copy_len: 0,
        };
        // SAFETY: the caller vouches for the operands.
        unsafe { contraction.run::<D>() };
    }
    Ok(())
}
