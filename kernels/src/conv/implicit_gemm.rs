//! `f32_conv_nhwc`: a matrix product whose rows of A are read from the image.
//!
//! K is (kernel row, kernel column, channel). Where the pixels under one kernel row are contiguous and inside of the
//! image, a kernel row is one segment; else a tap is. An image of few channels, whose taps would be short, is first
//! copied with its columns padded.

use super::rows::{PixelRows, Taps};
use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, KernelError, Operand};
use crate::epilogue::own_scratch;
use crate::gemm::{Contraction, Panels, Tiles, scratch_bytes, widened_bytes};
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

    /// Elements of the zeros that stand for pixels outside.
    fn zeros_len(&self) -> usize {
        self.segments().1.next_multiple_of(PANEL)
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

/// Bytes of scratch: zeros, the padded copy, the contraction's.
pub(crate) fn scratch<V: Tiles>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let image = |i: usize| Image::of(&operands[i]).ok();
    let (Some(x), Some(y), Ok(attrs)) = (image(0), image(2), Attrs::of(attrs)) else { return 0 };
    let plan = Plan::new(x, &y, attrs);
    let own = scratch_bytes(plan.segments().0, 0, threads) + plan.widened_bytes::<V>(&operands[1], &y) * threads;
    (plan.zeros_len() + plan.copy_len()) * 4 + own
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
    let (k, columns) = (segments * segment_len, y.channels / attrs.groups);
    let widened_bytes = plan.widened_bytes::<V>(w, &y);
    let group = |group: usize| Contraction {
        call,
        rows: PixelRows {
            x: Image { data: source.data.wrapping_add(group * plan.group_channels()), ..source },
            taps,
            zeros,
            y,
            y_offset: 0,
        },
        n_rows: y.pixels(),
        first_row: 0,
        segments,
        segment_len,
        b: Panels::constant(w, group * matmul_b_len(k, columns), k),
        columns: group * columns..(group + 1) * columns,
        y: y.data,
        scratch: copy.wrapping_add(plan.copy_len()).cast(),
        copy_len: 0,
        widened_bytes,
        following: None,
    };
    // SAFETY: the caller vouches for the operands.
    unsafe { run_groups::<V, _>(call, attrs.groups, group) };
    Ok(())
}

/// Runs one contraction for each group: groups on threads if there are enough of them, else each on all threads.
///
/// # Safety
/// The machine has `V`; the contractions are valid.
pub(crate) unsafe fn run_groups<'a, V: Tiles, R: crate::gemm::Rows>(
    call: &Call,
    groups: usize,
    group: impl Fn(usize) -> Contraction<'a, R>,
) {
    let threads = call.pool.threads();
    if groups < 2 * threads {
        // SAFETY: the caller vouches for the contractions.
        (0..groups).for_each(|index| unsafe { group(index).run::<V>() });
        return;
    }
    let body = |range: Range<usize>, thread: usize| {
        for index in range {
            let contraction = group(index);
            let panels = contraction.columns.len().div_ceil(PANEL);
            // SAFETY: the caller vouches for the contractions; groups write disjoint columns.
            unsafe { contraction.run_part::<V>(0..contraction.n_rows, 0..panels, thread) };
        }
    };
    let shared = Shared(&body);
    call.pool.run(groups, &|range, thread| shared.call(range, thread));
}

/// A body that threads may share although it holds raw pointers.
struct Shared<'a>(&'a dyn Fn(Range<usize>, usize));

impl Shared<'_> {
    fn call(&self, range: Range<usize>, thread: usize) {
        (self.0)(range, thread);
    }
}

// SAFETY: bodies write disjoint memory for disjoint ranges and threads.
unsafe impl Sync for Shared<'_> {}
