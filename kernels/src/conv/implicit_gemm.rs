//! `f32_conv_nhwc`: a matrix product whose rows of A are read from the image.
//!
//! K is (kernel row, kernel column, channel). Where the pixels under one kernel row are contiguous and inside of the
//! image, a kernel row is one segment; else a tap is. An image of few channels, whose taps would be short, is first
//! copied with its columns padded.

use super::groups::{GroupPixels, Shared, are_split, kept_bytes, run_groups};
use super::rows::{PixelRows, Taps};
use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, KernelError, Operand};
use crate::epilogue::own_scratch;
use crate::gemm::{Contraction, Following, Panels, Tiles, scratch_bytes, widened_bytes};
use crate::pack::{PANEL, matmul_b_len};
use std::ops::Range;

/// What a segment of K is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Segment {
    /// One tap.
    Tap,
    /// One kernel row, read in place.
    KernelRow,
    /// One kernel row of a copy with padded columns.
    PaddedRow,
}

/// Fewer channels than this are copied with padded columns.
const FEW_CHANNELS: usize = 16;

struct Plan {
    attrs: Attrs,
    x: Image,
    segment: Segment,
    /// Columns of the padded copy: as many as the taps reach.
    padded_width: usize,
}

impl Plan {
    fn new(x: Image, y: &Image, attrs: Attrs) -> Plan {
        let reach = (y.extent[1].max(1) - 1) * attrs.stride[1] + attrs.kernel[1];
        let inside = attrs.pad[1] == 0 && reach <= x.extent[1] && x.stride[1] == x.channels as isize;
        let joins = attrs.groups == 1 && attrs.dilation[1] == 1 && attrs.kernel[1] > 1;
        let segment = match joins {
            true if inside => Segment::KernelRow,
            true if x.channels < FEW_CHANNELS => Segment::PaddedRow,
            _ => Segment::Tap,
        };
        Plan { attrs, x, segment, padded_width: reach }
    }

    fn group_channels(&self) -> usize {
        self.x.channels / self.attrs.groups
    }

    /// Number of segments and elements of each.
    fn segments(&self) -> (usize, usize) {
        match self.segment {
            Segment::Tap => (self.attrs.taps(), self.group_channels()),
            _ => (self.attrs.kernel[0], self.attrs.kernel[1] * self.x.channels),
        }
    }

    /// Elements of the zeros that stand for pixels outside, for all groups.
    fn zeros_len(&self) -> usize {
        (self.segments().1 * self.attrs.groups).next_multiple_of(PANEL)
    }

    /// Bytes of the pixels that a thread keeps for all groups.
    fn kept_bytes<V: Tiles>(&self) -> usize {
        if self.attrs.groups > 1 { kept_bytes::<V>(self.attrs.taps()) } else { 0 }
    }

    /// Elements of the padded copy.
    fn copy_len(&self) -> usize {
        let len = self.x.n * self.x.extent[0] * self.padded_width * self.x.channels;
        if self.segment == Segment::PaddedRow { len.next_multiple_of(PANEL) } else { 0 }
    }

    /// Bytes of one thread's widened panels.
    fn widened_bytes<V: Tiles>(&self, w: &Operand, y: &Image) -> usize {
        let (segments, segment_len) = self.segments();
        widened_bytes::<V>(w, segments, segment_len, y.channels / self.attrs.groups)
    }

    /// The image that rows are read from, and the taps on its height and width.
    fn source(&self, copy: *mut f32) -> (Image, [Taps; 2]) {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let taps = [0, 1].map(|axis| Taps {
            count: kernel[axis],
            first: -pad[axis],
            step: dilation[axis] as isize,
            stride: stride[axis] as isize,
        });
        let row = Taps { count: 1, first: 0, ..taps[1] };
        match self.segment {
            Segment::Tap => (self.x, taps),
            Segment::KernelRow => (self.x, [taps[0], row]),
            Segment::PaddedRow => {
                let line = (self.padded_width * self.x.channels) as isize;
                let padded = Image {
                    data: copy,
                    extent: [self.x.extent[0], self.padded_width],
                    n_stride: self.x.extent[0] as isize * line,
                    stride: [line, self.x.channels as isize],
                    ..self.x
                };
                (padded, [taps[0], row])
            }
        }
    }
}

/// Copies lines `lines` of all images of `x` to `padded`, `before` zero pixels first.
///
/// # Safety
/// `x` is readable and `padded` writable.
unsafe fn pad_lines(x: &Image, padded: &Image, before: isize, lines: Range<usize>) {
    let channels = x.channels;
    for line in lines {
        let (n, h) = ((line / x.extent[0]) as isize, (line % x.extent[0]) as isize);
        let from = x.data.wrapping_offset(n * x.n_stride + h * x.stride[0]);
        let to = padded.data.wrapping_offset(n * padded.n_stride + h * padded.stride[0]);
        // Columns of the copy that lie in the image.
        let first = before.clamp(0, padded.extent[1] as isize) as usize;
        let end = (before + x.extent[1] as isize).clamp(first as isize, padded.extent[1] as isize) as usize;
        // SAFETY: the columns lie in both images.
        unsafe {
            to.write_bytes(0, first * channels);
            let start = from.wrapping_offset((first as isize - before) * x.stride[1]);
            if x.stride[1] == channels as isize {
                to.add(first * channels).copy_from_nonoverlapping(start, (end - first) * channels);
            } else {
                for column in 0..end - first {
                    let pixel = start.offset(column as isize * x.stride[1]);
                    to.add((first + column) * channels).copy_from_nonoverlapping(pixel, channels);
                }
            }
            to.add(end * channels).write_bytes(0, (padded.extent[1] - end) * channels);
        }
    }
}

/// Bytes of scratch: zeros, the padded copy, pixels of groups, the contraction's.
pub(crate) fn scratch<V: Tiles>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let image = |i: usize| Image::of(&operands[i]).ok();
    let (Some(x), Some(y), Ok(attrs)) = (image(0), image(2), Attrs::of(attrs)) else { return 0 };
    let plan = Plan::new(x, &y, attrs);
    let own = scratch_bytes(plan.segments().0, 0, threads) + plan.widened_bytes::<V>(&operands[1], &y) * threads;
    (plan.zeros_len() + plan.copy_len()) * 4 + plan.kept_bytes::<V>() * threads + own
}

/// `f32_conv_nhwc`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let (attrs, (x, w, y)) = (Attrs::of(call.attrs)?, operands(call)?);
    check(&x, &y, attrs.groups)?;
    if y.pixels() * y.channels == 0 {
        return Ok(());
    }
    let plan = Plan::new(x, &y, attrs);
    let zeros = own_scratch(call).cast::<f32>();
    let copy = zeros.wrapping_add(plan.zeros_len());
    // SAFETY: the scratch has room for the zeros.
    unsafe { zeros.write_bytes(0, plan.zeros_len()) };
    let (source, taps) = plan.source(copy);
    if plan.segment == Segment::PaddedRow {
        // SAFETY: the scratch has room for the copy, and threads write disjoint lines.
        let body =
            |lines: Range<usize>, _: usize| unsafe { pad_lines(&plan.x, &plan.source(copy).0, attrs.pad[1], lines) };
        let shared = Shared(&body);
        call.pool.run(x.n * x.extent[0], &|lines, thread| shared.call(lines, thread));
    }
    let (segments, segment_len) = plan.segments();
    let columns = y.channels / attrs.groups;
    let widened_bytes = plan.widened_bytes::<V>(w, &y);
    let kept = copy.wrapping_add(plan.copy_len()).cast::<u8>();
    let pixels = PixelRows { x: source, taps, zeros, y, y_offset: 0 };
    let groups = Groups {
        call,
        n_rows: y.pixels(),
        segments: (segments, segment_len),
        w,
        columns,
        y: y.data,
        scratch: kept.wrapping_add(plan.kept_bytes::<V>() * call.pool.threads()),
        widened_bytes,
    };
    if attrs.groups > 1 && are_split(call, attrs.groups) {
        let channels = plan.group_channels();
        let (n_rows, taps) = (groups.n_rows, attrs.taps());
        let pixels = GroupPixels { call, groups: attrs.groups, rows: pixels, n_rows, taps, channels, scratch: kept };
        // SAFETY: the caller vouches for the operands.
        unsafe { pixels.run::<V>(|index, rows| groups.contraction(index, rows)) };
        return Ok(());
    }
    let group = |index: usize| {
        let data = source.data.wrapping_add(index * plan.group_channels());
        groups.contraction(index, PixelRows { x: Image { data, ..source }, ..pixels })
    };
    // SAFETY: the caller vouches for the operands.
    unsafe { run_groups::<V, _>(call, attrs.groups, group) };
    Ok(())
}

/// What the contractions of all groups have in common.
struct Groups<'a> {
    call: &'a Call<'a>,
    n_rows: usize,
    /// Number of segments and elements of each.
    segments: (usize, usize),
    w: &'a Operand<'a>,
    /// Columns of a group.
    columns: usize,
    y: *mut f32,
    scratch: *mut u8,
    widened_bytes: usize,
}

impl<'a> Groups<'a> {
    /// The contraction of group `index` over rows of its pixels.
    fn contraction<R>(&self, index: usize, rows: R) -> Contraction<'a, R> {
        let (segments, segment_len) = self.segments;
        let k = segments * segment_len;
        Contraction {
            call: self.call,
            rows,
            n_rows: self.n_rows,
            first_row: 0,
            segments,
            segment_len,
            b: Panels::constant(self.w, index * matmul_b_len(k, self.columns), k),
            columns: index * self.columns..(index + 1) * self.columns,
            width: self.columns,
            y: self.y,
            scratch: self.scratch,
            copy_len: 0,
            widened_bytes: self.widened_bytes,
            following: Following::Unknown,
        }
    }
}
