//! `int8_depthwise_conv_nhwc`: every channel has a filter of its own, so vectors run over channels.
//!
//! The bytes under up to four rows of a column of the filter are put together in the lane of their channel; one
//! instruction multiplies them. Along a line these columns slide: each is put together once for all pixels that it is
//! under.

use super::finish::{Chain, Finish, Stored, divide, finish_rows};
use super::image::Copy;
use super::zero_points::{Corrections, bytes_of, corrections, corrections_bytes, unsigned_zero};
use crate::abi::{Call, EpilogueOp, KernelError, Operand};
use crate::conv::{Attrs, Image, check};
use crate::epilogue::{self, Columns};
use crate::gemm::part;
use crate::pack::{Bytes, PANEL, Segments, int8_depthwise_segments};
use crate::vector::{Dot, DotTask, LANES, Vector};
use std::ops::Range;

/// Most pixels of a tile, which lie in one line.
const WIDE: usize = 16;

/// Bytes that one thread needs for the image rows under a filter.
fn rows_bytes(attrs: &Attrs) -> usize {
    (attrs.kernel[0] * size_of::<Row>()).next_multiple_of(64)
}

/// Bytes of the copy that makes signed bytes unsigned.
fn copy_len(x: &Image<u8>, bytes: Bytes) -> usize {
    let len = x.n * x.extent[0] * x.extent[1] * x.channels;
    if bytes == Bytes::Signed { len.next_multiple_of(64) } else { 0 }
}

/// Bytes of scratch: pixels outside, the copy, corrections, each thread's rows.
pub(crate) fn scratch(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let (Ok(x), Ok(bytes), Ok(attrs)) = (Image::of(&operands[0]), bytes_of(&operands[0]), Attrs::of(attrs)) else {
        return 0;
    };
    let outside = x.channels.next_multiple_of(64);
    outside + copy_len(&x, bytes) + corrections_bytes(x.channels) + rows_bytes(&attrs) * threads
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
    let copy = outside.wrapping_add(channels.next_multiple_of(64));
    let lists = copy.wrapping_add(copy_len(&x, bytes));
    let sums = w.data.wrapping_add(channels.div_ceil(PANEL) * k.panel_bytes());
    // SAFETY: the caller vouches for the operands; the scratch has room.
    let (corrections, copy) = unsafe {
        let zero = unsigned_zero(x_operand, x_zero)?;
        let zeros = (bytes_of(w)?, w_zero, bias, 0);
        let corrections = corrections(channels, attrs.taps(), zero, zeros, sums.cast(), lists.cast())?;
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
    let (in_registers, rest) = divide(call.epilogue, stored);
    let chain = &Chain::of(in_registers);
    let scratch = lists.wrapping_add(corrections_bytes(channels));
    let depthwise = Depthwise { attrs, x, y, weights: w.data, k, corrections, outside, stored, chain, rest, scratch };
    let body = |groups: Range<usize>, thread: usize| {
        for (n, lines, strip) in depthwise.y.strips(groups) {
            // SAFETY: the caller vouches for the operands.
            lines.for_each(|line| unsafe { depthwise.line::<D>([n, line], strip.clone(), thread) });
        }
    };
    call.pool.run(depthwise.y.groups(), &body);
    Ok(())
}

impl Depthwise<'_> {
    /// Some columns (`strip`) of a line of an image.
    unsafe fn line<D: Dot>(&self, [n, line]: [usize; 2], strip: Range<usize>, thread: usize) {
        let Attrs { kernel, stride, pad, dilation, .. } = self.attrs;
        let rows = self.scratch.wrapping_add(rows_bytes(&self.attrs) * thread).cast::<Row>();
        for kh in 0..kernel[0] {
            let h = (line * stride[0] + kh * dilation[0]) as isize - pad[0];
            let offset = n as isize * self.x.n_stride + h * self.x.stride[0];
            let row = match (h as usize) < self.x.extent[0] {
                true => Row { data: self.x.data.wrapping_offset(offset), step: self.x.stride[1] },
                false => Row { data: self.outside, step: 0 },
            };
            // SAFETY: the scratch has room for a row for each of the filter's.
            unsafe { rows.add(kh).write(row) };
        }
        // SAFETY: they have just been written.
        let rows = unsafe { std::slice::from_raw_parts(rows, kernel[0]) };
        let start = n as isize * self.y.n_stride + line as isize * self.y.stride[0];
        let tiles = strip.len().div_ceil(WIDE);
        for tile in 0..tiles {
            let pixels = part(strip.len(), tiles, tile);
            let column = strip.start + pixels.start;
            let offsets = std::array::from_fn(|i| start + (column + i) as isize * self.y.stride[1]);
            let first = (column * stride[1]) as isize - pad[1];
            // SAFETY: the caller vouches for the operands.
            unsafe {
                D::vectorize(Tile { depthwise: self, rows, first, offsets, width: pixels.len() });
                if !self.rest.is_empty() {
                    let (rest, y) = (self.rest, self.y.data.cast());
                    epilogue::finish_rows::<D::Vector>(rest, y, &offsets[..pixels.len()], 0..self.y.channels);
                }
            }
        }
    }
}

/// A row of the image under a row of the filter.
#[derive(Clone, Copy)]
struct Row {
    data: *const u8,
    /// Bytes between pixels; 0 if the row is outside.
    step: isize,
}

/// Some pixels of a line.
struct Tile<'a> {
    depthwise: &'a Depthwise<'a>,
    rows: &'a [Row],
    /// Column of the image under the first column of the filter, for the first pixel.
    first: isize,
    offsets: [isize; WIDE],
    /// How many pixels.
    width: usize,
}

impl DotTask for Tile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let Depthwise { y, attrs, corrections, .. } = *self.depthwise;
        let (kernel, slides) = (attrs.kernel, attrs.dilation[1] == 1 && corrections.zeros.is_null());
        for column in (0..y.channels).step_by(LANES) {
            let columns = Columns { column, n: LANES.min(y.channels - column) };
            let mut sums = [[D::Vector::splat(0.0)]; WIDE];
            // SAFETY: the rows and weights cover the channels.
            unsafe {
                match (kernel, attrs.stride[1]) {
                    ([3, 3], 1) if slides => self.slide::<D, 3, 3, 1>(columns, &mut sums),
                    ([3, 3], 2) if slides => self.slide::<D, 3, 3, 2>(columns, &mut sums),
                    ([5, 5], 1) if slides => self.slide::<D, 5, 5, 1>(columns, &mut sums),
                    ([5, 5], 2) if slides => self.slide::<D, 5, 5, 2>(columns, &mut sums),
                    _ => self.apart::<D>(columns, &mut sums),
                }
                self.store(columns, &sums[..self.width]);
            }
        }
    }
}

/// In each lane the bytes of a channel at the first `n` pointers.
///
/// # Safety
/// They cover the channels.
#[inline(always)]
unsafe fn gathered<V: Vector>(pointers: [*const u8; 4], n: usize, columns: Columns) -> V {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        if columns.n == LANES {
            return V::load_quads(pointers, n);
        }
        let mut lanes = V::splat(0.0);
        for pointer in pointers[..n].iter().rev() {
            lanes = lanes.shift_left::<8>().or(V::load_bytes_partial::<false>(*pointer, columns.n));
        }
        lanes
    }
}

/// The rows under a filter, at a column of the image.
struct Cursor<const KH: usize> {
    column: isize,
    /// Where the channels are in the column.
    rows: [*const u8; KH],
    /// Bytes from one column to the next.
    steps: [isize; KH],
}

/// Most groups of four rows of the filters that slide.
const QUADS: usize = 2;

impl Tile<'_> {
    /// The weights of 16 channels.
    #[inline(always)]
    fn panel(&self, columns: Columns) -> *const u8 {
        let Depthwise { weights, k, .. } = *self.depthwise;
        weights.wrapping_add(columns.column / PANEL * k.panel_bytes())
    }

    /// The bytes of `n` rows from row `row` on in column `column` of the image, or zero points outside.
    #[inline(always)]
    unsafe fn quad<V: Vector>(&self, column: isize, (row, n): (usize, usize), columns: Columns) -> V {
        let Depthwise { x, outside, .. } = *self.depthwise;
        let is_inside = (column as usize) < x.extent[1];
        let mut pointers = [outside.wrapping_add(columns.column); 4];
        for (pointer, row) in pointers.iter_mut().zip(&self.rows[row..row + n]) {
            if is_inside {
                *pointer = row.data.wrapping_offset(column * row.step + columns.column as isize);
            }
        }
        // SAFETY: the pointers cover the channels.
        unsafe { gathered(pointers, n, columns) }
    }

    /// The bytes of `KH` rows in the column at `cursor`, and the cursor's next column.
    #[inline(always)]
    unsafe fn quads<V: Vector, const KH: usize>(&self, cursor: &mut Cursor<KH>, columns: Columns) -> [V; QUADS] {
        let is_inside = (cursor.column as usize) < self.depthwise.x.extent[1];
        let outside = self.depthwise.outside.wrapping_add(columns.column);
        let mut quads = [V::splat(0.0); QUADS];
        for (i, quad) in quads.iter_mut().enumerate().take(const { KH.div_ceil(4) }) {
            let n = (KH - 4 * i).min(4);
            let mut pointers = [outside; 4];
            if is_inside {
                pointers[..n].copy_from_slice(&cursor.rows[4 * i..4 * i + n]);
            }
            // SAFETY: the rows cover the channels.
            *quad = unsafe { gathered(pointers, n, columns) };
        }
        for (row, step) in cursor.rows.iter_mut().zip(&cursor.steps) {
            *row = row.wrapping_offset(*step);
        }
        cursor.column += 1;
        quads
    }

    /// The rows of the image, at a column.
    #[inline(always)]
    fn cursor<const KH: usize>(&self, column: isize, columns: Columns) -> Cursor<KH> {
        let mut cursor = Cursor { column, rows: [std::ptr::null(); KH], steps: [0; KH] };
        for (i, row) in self.rows.iter().take(KH).enumerate() {
            cursor.rows[i] = row.data.wrapping_offset(column * row.step + columns.column as isize);
            cursor.steps[i] = row.step;
        }
        cursor
    }

    /// The sums of each pixel, for filters of `KH` by `KW` that move by `STRIDE`.
    #[inline(always)]
    unsafe fn slide<D: Dot, const KH: usize, const KW: usize, const STRIDE: usize>(
        &self,
        columns: Columns,
        sums: &mut [[D::Vector; 1]; WIDE],
    ) {
        let zero = D::Vector::splat(0.0);
        let (mut weights, mut window) = ([[zero; QUADS]; KW], [[zero; QUADS]; KW]);
        let n_quads = const { KH.div_ceil(4) };
        let panel = self.panel(columns);
        let mut cursor = self.cursor::<KH>(self.first, columns);
        // SAFETY: the rows and weights cover the channels.
        unsafe {
            for (kw, weights) in weights.iter_mut().enumerate() {
                for (quad, weight) in weights.iter_mut().enumerate().take(n_quads) {
                    *weight = D::Vector::load(panel.add((kw * n_quads + quad) * 4 * PANEL).cast());
                }
            }
            // The window holds the columns that the first pixel shares with the one before it.
            for (kw, quads) in window.iter_mut().enumerate().skip(STRIDE) {
                debug_assert_eq!(cursor.column, self.first + (kw - STRIDE) as isize);
                *quads = self.quads::<D::Vector, KH>(&mut cursor, columns);
            }
            let start = D::Vector::load(self.depthwise.corrections.start.add(columns.column).cast());
            for sums in sums.iter_mut().take(self.width) {
                for kw in 0..KW - STRIDE {
                    window[kw] = window[kw + STRIDE];
                }
                for quads in &mut window[KW - STRIDE..] {
                    *quads = self.quads::<D::Vector, KH>(&mut cursor, columns);
                }
                let mut sum = start;
                for kw in 0..KW {
                    for quad in 0..n_quads {
                        sum = D::dot(sum, window[kw][quad], weights[kw][quad]);
                    }
                }
                *sums = [sum];
            }
        }
    }

    /// The sums of each pixel, each on its own, less the weights' zero points times the sums of the image.
    #[inline(always)]
    unsafe fn apart<D: Dot>(&self, columns: Columns, sums: &mut [[D::Vector; 1]; WIDE]) {
        let Depthwise { attrs, corrections, k, .. } = *self.depthwise;
        let ones = D::Vector::splat_bits(0x0101_0101);
        let (panel, n_quads) = (self.panel(columns), k.len.div_ceil(4));
        // SAFETY: the list has whole panels.
        let start = unsafe { D::Vector::load(corrections.start.add(columns.column).cast()) };
        for (i, sums) in sums.iter_mut().enumerate().take(self.width) {
            let (mut sum, mut row_sum) = (start, D::Vector::splat(0.0));
            for kw in 0..k.count {
                let column = self.first + (i * attrs.stride[1] + kw * attrs.dilation[1]) as isize;
                for quad in 0..n_quads {
                    // SAFETY: the rows and weights cover the channels.
                    unsafe {
                        let x: D::Vector = self.quad(column, (4 * quad, (k.len - 4 * quad).min(4)), columns);
                        let weight = D::Vector::load(panel.add((kw * n_quads + quad) * 4 * PANEL).cast());
                        sum = D::dot(sum, x, weight);
                        row_sum = D::dot(row_sum, x, ones);
                    }
                }
            }
            if !corrections.zeros.is_null() {
                // SAFETY: as above.
                let zeros = unsafe { D::Vector::load(corrections.zeros.add(columns.column).cast()) };
                sum = sum.sub_int(row_sum.mul_int(zeros));
            }
            *sums = [sum];
        }
    }

    /// Stores the sums of some channels.
    #[inline(always)]
    unsafe fn store<V: Vector>(&self, columns: Columns, sums: &[[V; 1]]) {
        let Depthwise { corrections, y, stored, chain, .. } = *self.depthwise;
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
        // SAFETY: there is an offset for each pixel.
        unsafe { finish_rows(&to, sums) };
    }
}
