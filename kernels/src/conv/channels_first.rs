//! `f32_conv` and `f32_conv_transpose`: channels-first images with 1 to 3 spatial axes, weights as ONNX has them.
//!
//! A matrix product for each image and group: its rows are filters, read where they are, its columns are output pixels.
//! The inputs under the taps of 16 pixels are gathered into a panel, a chunk of panels at a time for each thread. A bias is one
//! more element of every filter, which meets a row of ones: the last link of the chain.

use super::gather::GatherPanel;
use super::geometry::Geometry;
use super::planes::{self, Planes};
use crate::abi::{Call, KernelError, Operand};
use crate::epilogue::own_scratch;
use crate::gemm::{Contraction, Following, Panels, Rows, Tiles, chunk, part, scratch_bytes};
use crate::pack::PANEL;
use crate::vector::Vector;
use std::ops::Range;

/// The attributes: groups, then strides, dilations and pads before, a list each.
pub(crate) const ATTRS: &[&str] = &["groups", "window[]"];

/// The filters of one group; y has a row of pixels for each.
struct FilterRows {
    filters: *const f32,
    segments: usize,
    /// Elements between segments of a filter, and between filters.
    strides: [usize; 2],
    /// First element of the first row of the result, and elements of a row.
    y_offset: usize,
    pixels: usize,
}

// SAFETY: filters are only read.
unsafe impl Sync for FilterRows {}

impl Rows for FilterRows {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], _copies: *mut f32) {
        for (row, offset) in offsets.iter_mut().enumerate() {
            *offset = (self.y_offset + (first + row) * self.pixels) as isize;
        }
        for segment in 0..self.segments {
            for row in 0..offsets.len() {
                let at = segment * self.strides[0] + (first + row) * self.strides[1];
                // SAFETY: there is room for a pointer for each row and segment.
                unsafe { *pointers.add(segment * offsets.len() + row) = self.filters.wrapping_add(at) };
            }
        }
    }
}

/// One call.
struct Convolution<'a> {
    call: &'a Call<'a>,
    geometry: Geometry,
    x: *const f32,
    filters: *const f32,
    /// A bias that is added to the finished sums.
    bias: Option<*const f32>,
    /// Multiply-adds for each element of the result: one more than the filters' if these have the bias.
    k: usize,
    y: *mut f32,
    scratch: *mut u8,
}

// SAFETY: threads write disjoint parts of the result and of the scratch.
unsafe impl Sync for Convolution<'_> {}

/// Bytes of scratch: the contraction's, a chunk of panels for each thread, and filters with their biases.
fn scratch<const TRANSPOSED: bool>(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    let Ok(geometry) = Geometry::of(operands, attrs, TRANSPOSED) else { return 0 };
    if let Some(planes) = Planes::of(&geometry) {
        return planes.band_bytes() * threads;
    }
    let joins = joins_bias(&geometry, operands);
    let k = geometry.k() + usize::from(joins);
    let filters = if joins { geometry.groups * geometry.outputs * k * 4 } else { 0 };
    scratch_bytes(geometry.segments(), 0, threads).next_multiple_of(64) + panel_bytes(&geometry, k) * threads + filters
}

/// Bytes of the panels of one thread.
fn panel_bytes(geometry: &Geometry, k: usize) -> usize {
    chunk(k, geometry.pixels()) * k * PANEL * 4
}

/// Whether filters are copied with their biases: worth it if each is used for many pixels.
fn joins_bias(geometry: &Geometry, operands: &[Operand]) -> bool {
    const MANY: usize = 256;
    !geometry.transposed && geometry.pixels() * geometry.images >= MANY && operands[2].is_present()
}

/// Bytes of scratch of `f32_conv`.
pub(crate) fn conv_scratch(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    scratch::<false>(operands, attrs, threads)
}

/// Bytes of scratch of `f32_conv_transpose`.
pub(crate) fn conv_transpose_scratch(operands: &[Operand], attrs: &[i64], threads: usize) -> usize {
    scratch::<true>(operands, attrs, threads)
}

/// `f32_conv`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    // SAFETY: the caller's promise.
    unsafe { run::<V>(call, false) }
}

/// `f32_conv_transpose`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv_transpose<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    // SAFETY: the caller's promise.
    unsafe { run::<V>(call, true) }
}

unsafe fn run<V: Tiles>(call: &Call, transposed: bool) -> Result<(), KernelError> {
    let geometry = Geometry::of(call.operands, call.attrs, transposed)?;
    let [x, w, b, y] = call.operands else { return Err(KernelError("convolution: expected 4 operands".into())) };
    if y.is_empty() {
        return Ok(());
    }
    let bias = b.is_present().then_some(b.data.cast::<f32>().cast_const());
    let (x, filters, y) = (x.data.cast::<f32>().cast_const(), w.data.cast::<f32>().cast_const(), y.data.cast());
    let (scratch, k) = (own_scratch(call), geometry.k());
    if let Some(planes) = Planes::of(&geometry) {
        // SAFETY: the scratch has room for a band of each thread; the caller vouches for the operands.
        unsafe { run_planes::<V>(call, &planes, planes::Operands { x, filters, bias, y }, scratch) };
        return Ok(());
    }
    let mut convolution = Convolution { call, geometry, x, filters, bias, k, y, scratch };
    if let (Some(bias), true) = (bias, joins_bias(&geometry, call.operands)) {
        convolution = Convolution { bias: None, k: k + 1, ..convolution };
        // SAFETY: the scratch has room behind the panels; the caller vouches for the operands.
        convolution.filters = unsafe { convolution.join(bias) };
    }
    for image in 0..geometry.images {
        for group in 0..geometry.groups {
            // SAFETY: the caller vouches for the operands.
            unsafe { convolution.group::<V>(image, group) };
        }
    }
    Ok(())
}

unsafe fn run_planes<V: Vector>(call: &Call, planes: &Planes, operands: planes::Operands, scratch: *mut u8) {
    let shared = Shared((operands, scratch));
    let body = |tasks: Range<usize>, thread: usize| {
        let (operands, scratch) = shared.get();
        let own = scratch.wrapping_add(planes.band_bytes() * thread).cast();
        // SAFETY: the caller's promise; each task writes its own part of the result, and its thread's scratch.
        tasks.for_each(|task| unsafe { planes.run::<V>(operands, task, own) });
    };
    call.pool.run(planes.tasks(), &body);
}

impl Convolution<'_> {
    /// Where panels are packed.
    fn panels(&self) -> *mut f32 {
        let own = scratch_bytes(self.geometry.segments(), 0, self.call.pool.threads()).next_multiple_of(64);
        self.scratch.wrapping_add(own).cast()
    }

    /// The filters, each followed by its bias.
    unsafe fn join(&self, bias: *const f32) -> *const f32 {
        let bytes = panel_bytes(&self.geometry, self.k) * self.call.pool.threads();
        let to = self.panels().wrapping_byte_add(bytes);
        for filter in 0..self.geometry.groups * self.geometry.outputs {
            let (from, to) = (self.filters.wrapping_add(filter * (self.k - 1)), to.wrapping_add(filter * self.k));
            // SAFETY: the caller vouches for the filters, the biases and the room.
            unsafe {
                to.copy_from_nonoverlapping(from, self.k - 1);
                *to.add(self.k - 1) = *bias.add(filter);
            }
        }
        to
    }

    /// One group of one image.
    unsafe fn group<V: Tiles>(&self, image: usize, group: usize) {
        let Geometry { inputs, outputs, .. } = self.geometry;
        let (k, pixels, pool) = (self.k, self.geometry.pixels(), self.call.pool);
        let threads = pool.threads();
        let packed = self.panels();
        let x = self.x.wrapping_add((image * self.geometry.groups + group) * inputs * self.geometry.area());
        let width = chunk(k, pixels) * threads;
        for first in (0..pixels.div_ceil(PANEL)).step_by(width) {
            let panels = first..(first + width).min(pixels.div_ceil(PANEL));
            let shared = Shared((x, packed));
            let pack = |parts: Range<usize>, _: usize| {
                for index in parts {
                    let range = part(panels.len(), threads, index);
                    let (x, packed) = shared.get();
                    let to = packed.wrapping_add(range.start * k * PANEL);
                    // SAFETY: threads pack disjoint panels.
                    unsafe { self.pack::<V>(x, panels.start + range.start..panels.start + range.end, to) };
                }
            };
            pool.run(threads, &pack);
            let contraction = Contraction {
                call: self.call,
                rows: self.rows(image, group),
                n_rows: outputs,
                first_row: 0,
                segments: self.geometry.segments(),
                segment_len: k / self.geometry.segments().max(1),
                b: Panels::packed(packed, k),
                columns: panels.start * PANEL..(panels.end * PANEL).min(pixels),
                width: chunk(k, pixels) * PANEL,
                y: self.y,
                scratch: self.scratch,
                copy_len: 0,
                widened_bytes: 0,
                following: Following::Unknown,
            };
            // SAFETY: the caller vouches for the operands; the panels are packed.
            unsafe { contraction.run::<V>() };
        }
        // SAFETY: as above.
        unsafe { self.add_bias(image, group) };
    }

    fn rows(&self, image: usize, group: usize) -> FilterRows {
        let Geometry { inputs, outputs, groups, transposed, .. } = self.geometry;
        let (taps, k) = (self.geometry.taps(), self.k);
        let strides = if transposed { [outputs * taps, taps] } else { [k, k] };
        FilterRows {
            filters: self.filters.wrapping_add(group * if transposed { outputs * inputs * taps } else { outputs * k }),
            segments: self.geometry.segments(),
            strides,
            y_offset: (image * groups + group) * outputs * self.geometry.pixels(),
            pixels: self.geometry.pixels(),
        }
    }

    /// Packs the inputs under the taps of `panels` to `to`: `[panel][channel, tap][pixel]`.
    unsafe fn pack<V: Vector>(&self, x: *const f32, panels: Range<usize>, to: *mut f32) {
        let (taps, k, area) = (self.geometry.taps(), self.k, self.geometry.area());
        if !self.geometry.transposed {
            for (i, panel) in panels.enumerate() {
                let to = to.wrapping_add(i * k * PANEL);
                let ones = k > self.geometry.k();
                // SAFETY: the caller vouches for the image and the room.
                unsafe { V::vectorize(GatherPanel { geometry: &self.geometry, x, panel, to, ones }) };
            }
            return;
        }
        for (i, panel) in panels.enumerate() {
            for tap in 0..taps {
                let places: [Option<usize>; PANEL] =
                    std::array::from_fn(|j| self.geometry.source(panel * PANEL + j, tap));
                for channel in 0..self.geometry.inputs {
                    let to = to.wrapping_add((i * k + channel * taps + tap) * PANEL);
                    for (j, place) in places.iter().enumerate() {
                        // SAFETY: a place lies in the image; the panel has room.
                        unsafe { *to.add(j) = place.map_or(0.0, |place| *x.add(channel * area + place)) };
                    }
                }
            }
        }
    }

    unsafe fn add_bias(&self, image: usize, group: usize) {
        let (Some(bias), pixels, outputs) = (self.bias, self.geometry.pixels(), self.geometry.outputs) else { return };
        for output in group * outputs..(group + 1) * outputs {
            let row = (image * self.geometry.groups * outputs + output) * pixels;
            // SAFETY: the caller vouches for the operands.
            unsafe {
                let bias = *bias.add(output);
                let row = std::slice::from_raw_parts_mut(self.y.add(row), pixels);
                row.iter_mut().for_each(|y| *y += bias);
            }
        }
    }
}

/// Pointers that threads share.
#[derive(Clone, Copy)]
struct Shared<T>(T);

// SAFETY: threads write disjoint parts of what it points to.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn get(&self) -> T {
        self.0
    }
}
