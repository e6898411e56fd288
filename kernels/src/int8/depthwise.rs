//! `int8_depthwise_conv_nhwc`: every channel has a filter of its own, so vectors run over channels.
//!
//! The bytes under up to four rows of a column of the filter are put together in the lane of their channel; one
//! instruction multiplies them. Each column of the image is put together once for all pixels of a tile that it is under.
//!
//! Channels go by as many vectors as the instruction set puts together best, in its own order
//! ([`Vector::arrange`]).

use super::finish::{Chain, Finish, Stored, divide, finish_arranged};
use super::image::Copy;
use super::zero_points::{Corrections, bytes_of, corrections, corrections_bytes, unsigned_zero};
use crate::abi::{Call, EpilogueOp, KernelError, Operand};
use crate::conv::{Attrs, Image, check};
use crate::epilogue::{self, Columns};
use crate::gemm::part;
use crate::pack::{Bytes, PANEL, Segments, int8_depthwise_segments};
use crate::vector::{Dot, DotTask, LANES, Vector};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Most pixels of a tile, which lie in one line.
const WIDE: usize = 16;

/// Bytes of the image's lines that are computed together: what the first-level cache holds besides.
const LINES: usize = 24 << 10;

/// Bytes that one thread needs for the image rows under a filter.
fn rows_bytes(attrs: &Attrs) -> usize {
    (attrs.kernel[0] * size_of::<*const u8>()).next_multiple_of(64)
}

/// Bytes of a line outside of the image, whose pixels are as far apart as those of the image or of its copy.
fn outside_len(x: &Image<u8>) -> usize {
    (x.extent[1] * x.channels.max(x.stride[1].unsigned_abs())).next_multiple_of(64)
}

/// Bytes of the copy that makes signed bytes unsigned.
fn copy_len(x: &Image<u8>, bytes: Bytes) -> usize {
    let len = x.n * x.extent[0] * x.extent[1] * x.channels;
    if bytes == Bytes::Signed { len.next_multiple_of(64) } else { 0 }
}

/// Bytes of scratch: a line outside, the copy, corrections, each thread's rows.
pub(crate) fn scratch(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let (Ok(x), Ok(bytes), Ok(attrs)) = (Image::of(&operands[0]), bytes_of(&operands[0]), Attrs::of(attrs)) else {
        return 0;
    };
    outside_len(&x) + copy_len(&x, bytes) + corrections_bytes(x.channels) + rows_bytes(&attrs) * threads
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
    chain: &'a Chain<'a>,
    /// The part of the epilogue that runs on stored floats.
    rest: &'a [EpilogueOp],
    scratch: *mut u8,
}

// SAFETY: threads write disjoint pixels of the result and their own scratch.
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
    let k = int8_depthwise_segments(attrs.kernel);
    let outside = call.scratch;
    let copy = outside.wrapping_add(outside_len(&x));
    let lists = copy.wrapping_add(copy_len(&x, bytes));
    let sums = w.data.wrapping_add(channels.div_ceil(PANEL) * k.panel_bytes());
    // SAFETY: the caller vouches for the operands; the scratch has room.
    let (corrections, copy) = unsafe {
        let zero = unsigned_zero(x_operand, x_zero)?;
        let zeros = (bytes_of(w)?, w_zero, bias, 0);
        let corrections = corrections(channels, attrs.taps(), zero, zeros, sums.cast(), lists.cast())?;
        outside.write_bytes(zero as u8, outside_len(&x));
        (corrections, Copy { from: x, bytes, width: x.extent[1], before: 0, outside: zero as u8, to: copy })
    };
    let x = if bytes == Bytes::Signed {
        // SAFETY: the scratch has room for the copy.
        unsafe { copy.make(call) };
        copy.image()
    } else {
        x
    };
    let (in_registers, rest) = divide(call.epilogue, stored);
    let chain = &Chain::of(in_registers);
    let scratch = lists.wrapping_add(corrections_bytes(channels));
    let depthwise = Depthwise { attrs, x, y, weights: w.data, k, corrections, outside, stored, chain, rest, scratch };
    let body = |range: Range<usize>, thread: usize| {
        let (groups, channels) = depthwise.y.share(range);
        for (n, lines, strip) in depthwise.y.strips(groups) {
            // SAFETY: the caller vouches for the operands.
            unsafe { depthwise.lines::<D>([n, thread], lines, strip, channels.clone()) };
        }
    };
    call.pool.run(depthwise.y.shares(), &body);
    Ok(())
}

impl Depthwise<'_> {
    /// Some columns (`strip`) and `channels` of lines of image `n`, on a thread. Lines that fit the first-level cache go
    /// together, so that filters are arranged once for all.
    unsafe fn lines<D: Dot>(
        &self,
        [n, thread]: [usize; 2],
        lines: Range<usize>,
        strip: Range<usize>,
        channels: Range<usize>,
    ) {
        let Attrs { stride, .. } = self.attrs;
        let bytes = strip.len() * stride[0] * stride[1] * channels.len();
        let together = (LINES / bytes.max(1)).max(1);
        for first in lines.clone().step_by(together) {
            let lines = first..(first + together).min(lines.end);
            // SAFETY: the caller vouches for the operands.
            unsafe {
                let [strip_lines, columns, of] = [&lines, &strip, &channels].map(Range::clone);
                D::vectorize(Strip { depthwise: self, n, lines: strip_lines, strip: columns, channels: of, thread });
                if !self.rest.is_empty() {
                    let (rest, y) = (self.rest, self.y.data.cast());
                    for line in lines {
                        for (column, width) in tiles(strip.clone()) {
                            let offsets = self.offsets(n, line, column);
                            epilogue::finish_rows::<D::Vector>(rest, y, &offsets[..width], channels.clone());
                        }
                    }
                }
            }
        }
    }

    /// Where the pixels from `column` of a line on are in the result.
    fn offsets(&self, n: usize, line: usize, column: usize) -> [isize; WIDE] {
        let start = n as isize * self.y.n_stride + line as isize * self.y.stride[0];
        std::array::from_fn(|i| start + (column + i) as isize * self.y.stride[1])
    }

    /// The rows of the image under the filter's, for a line of the result.
    unsafe fn rows(&self, n: usize, line: usize, thread: usize) -> &[*const u8] {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let rows = self.scratch.wrapping_add(rows_bytes(&self.attrs) * thread).cast::<*const u8>();
        for kh in 0..kernel[0] {
            let h = (line * stride[0] + kh * dilation[0]) as isize - pad[0];
            let offset = n as isize * self.x.n_stride + h * self.x.stride[0];
            let is_inside = (h as usize) < self.x.extent[0];
            let row = if is_inside { self.x.data.wrapping_offset(offset) } else { self.outside };
            // SAFETY: the scratch has room for a row for each of the filter's.
            unsafe { rows.add(kh).write(row) };
        }
        // SAFETY: they have just been written.
        unsafe { std::slice::from_raw_parts(rows, kernel[0]) }
    }
}

/// The tiles of some columns of a line: the first column and how many of each.
fn tiles(strip: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let n = strip.len().div_ceil(WIDE);
    (0..n).map(move |tile| {
        let part = part(strip.len(), n, tile);
        (strip.start + part.start, part.len())
    })
}

/// Some columns of lines of an image.
struct Strip<'a> {
    depthwise: &'a Depthwise<'a>,
    n: usize,
    lines: Range<usize>,
    strip: Range<usize>,
    channels: Range<usize>,
    thread: usize,
}

impl DotTask for Strip<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let Depthwise { attrs, corrections, .. } = *self.depthwise;
        let is_near = attrs.stride[1] <= 2 && attrs.dilation[1] == 1 && corrections.zeros.is_null();
        let slides = is_near && [[3; 2], [5; 2], [7; 2]].contains(&attrs.kernel);
        let mut column = self.channels.start;
        while column < self.channels.end {
            let left = self.channels.end - column;
            let is_wide = slides && D::Vector::TOGETHER == MOST && left > MOST / 2 * LANES;
            let columns = Columns { column, n: left.min(if is_wide { MOST * LANES } else { LANES }) };
            // SAFETY: the caller vouches for the operands.
            unsafe {
                match (slides, is_wide) {
                    (false, _) => self.apart::<D>(columns),
                    (true, false) => self.columns::<D, 1>(columns),
                    (true, true) => self.columns::<D, MOST>(columns),
                }
            }
            column += columns.n;
        }
    }
}

/// Most vectors of channels that are computed together.
const MOST: usize = 4;

/// Most columns of the image under a tile of pixels, which are at most two apart.
const REACH: usize = 2 * WIDE + 6;

impl Strip<'_> {
    /// Some channels of all pixels.
    #[inline(always)]
    unsafe fn columns<D: Dot, const VECTORS: usize>(&self, columns: Columns) {
        // SAFETY: the caller vouches for the operands.
        unsafe {
            match self.depthwise.attrs.kernel {
                [3, 3] => self.slide::<D, VECTORS, 3, 3, 1>(columns),
                [5, 5] => self.slide::<D, VECTORS, 5, 5, 2>(columns),
                _ => self.slide::<D, VECTORS, 7, 7, 2>(columns),
            }
        }
    }

    /// Panel `panel` of the weights of some channels, if they have so many.
    #[inline(always)]
    fn panel(&self, columns: Columns, panel: usize) -> Option<*const u8> {
        let Depthwise { weights, k, .. } = *self.depthwise;
        let panels = columns.n.div_ceil(PANEL);
        (panel < panels).then(|| weights.wrapping_add((columns.column / PANEL + panel) * k.panel_bytes()))
    }

    /// A list of whole panels, at some channels.
    #[inline(always)]
    unsafe fn list<V: Vector, const VECTORS: usize>(&self, list: *const i32, columns: Columns) -> [V; VECTORS] {
        let mut found = [V::splat(0.0); VECTORS];
        for (panel, found) in found.iter_mut().enumerate().take(columns.n.div_ceil(PANEL)) {
            // SAFETY: the caller vouches for the list.
            *found = unsafe { V::load(list.add(columns.column + panel * PANEL).cast()) };
        }
        V::arrange(found)
    }

    /// The weights under `n` neighbours of four rows, `[neighbour][vector]`.
    #[inline(always)]
    unsafe fn weights<V: Vector, const VECTORS: usize>(&self, quad: usize, columns: Columns) -> [V; VECTORS] {
        let mut found = [V::splat(0.0); VECTORS];
        for (panel, found) in found.iter_mut().enumerate() {
            if let Some(weights) = self.panel(columns, panel) {
                // SAFETY: panels have the rows.
                *found = unsafe { V::load(weights.add(quad * 4 * PANEL).cast()) };
            }
        }
        V::arrange(found)
    }

    /// The bytes of some rows in column `column` of the image, which is inside.
    #[inline(always)]
    unsafe fn quad<V: Vector, const VECTORS: usize, const ROWS: usize>(
        &self,
        rows: &[*const u8],
        column: isize,
        columns: Columns,
    ) -> [V; VECTORS] {
        let at = column * self.depthwise.x.stride[1] + columns.column as isize;
        let mut pointers = [std::ptr::null(); ROWS];
        for (pointer, row) in pointers.iter_mut().zip(rows) {
            *pointer = row.wrapping_offset(at);
        }
        // SAFETY: the pointers cover the channels.
        unsafe { V::load_arranged_quads(pointers, columns.n) }
    }

    /// The same of the rows from `quad * 4` on of a filter of `kh` rows. Outside are zero points.
    #[inline(always)]
    unsafe fn quad_of<V: Vector, const VECTORS: usize>(
        &self,
        rows: &[*const u8],
        (quad, kh): (usize, usize),
        column: isize,
        columns: Columns,
    ) -> [V; VECTORS] {
        let Depthwise { x, outside, .. } = *self.depthwise;
        // SAFETY: the rows cover the channels; a line outside has a byte.
        unsafe {
            if (column as usize) >= x.extent[1] {
                let one_for_each = 0x0101_0101 >> (8 * (4 - (kh - 4 * quad).min(4)));
                return [V::splat_bits(u32::from(*outside) * one_for_each); VECTORS];
            }
            let rows = &rows[4 * quad..];
            match kh - 4 * quad {
                1 => self.quad::<V, VECTORS, 1>(rows, column, columns),
                2 => self.quad::<V, VECTORS, 2>(rows, column, columns),
                3 => self.quad::<V, VECTORS, 3>(rows, column, columns),
                _ => self.quad::<V, VECTORS, 4>(rows, column, columns),
            }
        }
    }

    /// Filters of `KH` by `KW`, of `QUADS` groups of rows, of neighbouring columns.
    #[inline(always)]
    unsafe fn slide<D: Dot, const VECTORS: usize, const KH: usize, const KW: usize, const QUADS: usize>(
        &self,
        columns: Columns,
    ) {
        let (depthwise, zero) = (self.depthwise, D::Vector::splat(0.0));
        let stride = depthwise.attrs.stride[1];
        let mut weights = [[[zero; VECTORS]; QUADS]; KW];
        // SAFETY: the rows and weights cover the channels; columns of the image are read that have been written.
        unsafe {
            for (kw, weights) in weights.iter_mut().enumerate() {
                for (quad, weights) in weights.iter_mut().enumerate() {
                    *weights = self.weights(kw * QUADS + quad, columns);
                }
            }
            let start: [D::Vector; VECTORS] = self.list(depthwise.corrections.start, columns);
            let mut image = [const { MaybeUninit::<[[D::Vector; VECTORS]; QUADS]>::uninit() }; REACH];
            let mut sums = [[zero; VECTORS]; WIDE];
            for line in self.lines.clone() {
                // An array of known length, so that the pointers are in registers.
                let rows: [*const u8; KH] = *depthwise.rows(self.n, line, self.thread).as_ptr().cast();
                for (column, width) in tiles(self.strip.clone()) {
                    let first = (column * stride) as isize - depthwise.attrs.pad[1];
                    for (i, quads) in image[..(width - 1) * stride + KW].iter_mut().enumerate() {
                        let (mut bytes, column) = ([[zero; VECTORS]; QUADS], first + i as isize);
                        bytes[0] = self.quad_of(&rows, (0, KH), column, columns);
                        if QUADS > 1 {
                            bytes[1] = self.quad_of(&rows, (1, KH), column, columns);
                        }
                        quads.write(bytes);
                    }
                    for vector in 0..VECTORS {
                        let mut filter = [[zero; QUADS]; KW];
                        for (weights, filter) in weights.iter().zip(&mut filter) {
                            for (weight, filter) in weights.iter().zip(filter) {
                                *filter = weight[vector];
                            }
                        }
                        for (i, sums) in sums[..width].iter_mut().enumerate() {
                            let mut sum = start[vector];
                            for (kw, filter) in filter.iter().enumerate() {
                                let bytes = image[i * stride + kw].assume_init_ref();
                                for (bytes, &weight) in bytes.iter().zip(filter) {
                                    sum = D::dot(sum, bytes[vector], weight);
                                }
                            }
                            sums[vector] = sum;
                        }
                    }
                    let offsets = depthwise.offsets(self.n, line, column);
                    self.store(columns, &offsets, &sums[..width]);
                }
            }
        }
    }

    /// Any filters: each pixel on its own, less the weights' zero points times the sums of the image.
    #[inline(always)]
    unsafe fn apart<D: Dot>(&self, columns: Columns) {
        let Depthwise { attrs, corrections, k, .. } = *self.depthwise;
        let (zero, ones) = ([D::Vector::splat(0.0)], D::Vector::splat_bits(0x0101_0101));
        let n_quads = k.len.div_ceil(4);
        // SAFETY: the lists have whole panels; the rows and weights cover the channels.
        unsafe {
            let [start] = self.list::<D::Vector, 1>(corrections.start, columns);
            let mut sums = [zero; WIDE];
            for line in self.lines.clone() {
                let rows = self.depthwise.rows(self.n, line, self.thread);
                for (column, width) in tiles(self.strip.clone()) {
                    let first = (column * attrs.stride[1]) as isize - attrs.pad[1];
                    for (i, sums) in sums[..width].iter_mut().enumerate() {
                        let (mut sum, [mut row_sum]) = (start, zero);
                        for kw in 0..k.count {
                            let column = first + (i * attrs.stride[1] + kw * attrs.dilation[1]) as isize;
                            for quad in 0..n_quads {
                                let [x] = self.quad_of::<D::Vector, 1>(rows, (quad, k.len), column, columns);
                                let [weight] = self.weights(kw * n_quads + quad, columns);
                                sum = D::dot(sum, x, weight);
                                row_sum = D::dot(row_sum, x, ones);
                            }
                        }
                        if !corrections.zeros.is_null() {
                            let [zeros] = self.list::<D::Vector, 1>(corrections.zeros, columns);
                            sum = sum.sub_int(row_sum.mul_int(zeros));
                        }
                        *sums = [sum];
                    }
                    let offsets = self.depthwise.offsets(self.n, line, column);
                    self.store(columns, &offsets, &sums[..width]);
                }
            }
        }
    }

    /// Stores the sums of some channels.
    #[inline(always)]
    unsafe fn store<V: Vector, const VECTORS: usize>(
        &self,
        columns: Columns,
        offsets: &[isize; WIDE],
        sums: &[[V; VECTORS]],
    ) {
        let Depthwise { corrections, y, stored, chain, .. } = *self.depthwise;
        let to = Finish {
            start: corrections.start.wrapping_add(columns.column),
            zeros: std::ptr::null(),
            row_sums: std::ptr::null(),
            y: y.data,
            stored,
            offsets: offsets.as_ptr(),
            columns,
            chain,
        };
        // SAFETY: there is an offset for each pixel.
        unsafe { finish_arranged(&to, sums) };
    }
}
