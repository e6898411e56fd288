//! `f32_winograd_conv_nhwc`: 3 by 3 convolutions of stride 1 with a quarter of the multiplications.
//!
//! F(4 x 4, 3 x 3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), with the points 0, ±1,
//! ±2 and infinity. A tile of 4 by 4 results comes from a window of 6 by 6 pixels: window and filter are transformed to
//! 36 points each, a matrix product over channels joins them point by point, and the products are transformed back.
//!
//! A block of tiles is transformed at once, as many as half of the second-level cache holds; columns of the result follow
//! in chunks. Threads share tiles, or columns where there are few tiles.

mod transform;

use super::shape::{Attrs, Image, check, operands};
use crate::abi::{Call, EpilogueOp, KernelError, Operand};
use crate::cache::caches;
use crate::epilogue::{call_back, finish_rows, own_scratch, split};
use crate::gemm::{Ahead, Division, MAX_ROWS, Start, TileArgs, Tiles, part};
use crate::pack::{PANEL, WINOGRAD_POINTS as POINTS, WINOGRAD_TILE as TILE};
use crate::vector::LANES;
use std::ops::Range;
use transform::{Back, Forward, WINDOW};

/// How the work is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Plan {
    /// Tiles along height and width of an image.
    grid: [usize; 2],
    /// Tiles of all images.
    tiles: usize,
    /// Panels of 16 columns.
    panels: usize,
    /// Tiles that are transformed at once, at most.
    block: usize,
    /// Panels that are transformed back at once, at most.
    chunk: usize,
}

impl Plan {
    fn new<V: Tiles>(x: &Image, y: &Image) -> Plan {
        let grid = y.extent.map(|extent| extent.div_ceil(TILE));
        let (tiles, panels) = (y.n * grid[0] * grid[1], y.channels.div_ceil(PANEL));
        let bytes = |channels: usize| POINTS * channels.max(1) * size_of::<f32>();
        let fitting = caches().l2 / 2 / bytes(x.channels) / V::ROWS * V::ROWS;
        let block = fitting.clamp(V::ROWS, 8 * V::ROWS).min(tiles.max(1));
        let chunk = (caches().l2 / 4 / (bytes(PANEL) * block)).max(1).next_multiple_of(V::panels()).min(panels);
        Plan { grid, tiles, panels, block, chunk }
    }

    /// Elements of a transformed block and of the products of a chunk.
    fn lengths(&self, x: &Image) -> [usize; 2] {
        [x.channels, self.chunk * PANEL].map(|row| (POINTS * self.block * row).next_multiple_of(PANEL))
    }

    /// The image, the row and the column of a tile.
    fn place(&self, tile: usize) -> [usize; 3] {
        let [rows, columns] = self.grid;
        [tile / columns / rows, tile / columns % rows, tile % columns]
    }
}

/// Elements of the zeros that stand for pixels outside.
fn zeros_len(x: &Image) -> usize {
    x.channels.next_multiple_of(PANEL)
}

/// Bytes of scratch: zeros, and each thread's transformed block and products.
pub(crate) fn scratch<V: Tiles>(operands: &[Operand], _attrs: &[i64], threads: usize) -> usize {
    let image = |i: usize| Image::of(&operands[i]).ok();
    let (Some(x), Some(y)) = (image(0), image(2)) else { return 0 };
    let own: usize = Plan::new::<V>(&x, &y).lengths(&x).iter().sum();
    (zeros_len(&x) + own * threads) * size_of::<f32>()
}

/// One call, for all threads.
struct Winograd<'a> {
    call: &'a Call<'a>,
    pad: [isize; 2],
    x: Image,
    y: Image,
    weights: *const f32,
    zeros: *const f32,
    scratch: *mut f32,
    plan: Plan,
}

// SAFETY: threads write disjoint results and their own scratch, and only read the rest.
unsafe impl Sync for Winograd<'_> {}

/// `f32_winograd_conv_nhwc`.
///
/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(crate) unsafe fn conv<V: Tiles>(call: &Call) -> Result<(), KernelError> {
    let (attrs, (x, w, y)) = (Attrs::of(call.attrs)?, operands(call)?);
    check(&x, &y, attrs.groups)?;
    let Attrs { kernel, stride, dilation, groups, pad } = attrs;
    if (kernel, stride, dilation, groups) != ([3, 3], [1, 1], [1, 1], 1) {
        return Err(KernelError(format!("Winograd convolution: not of 3 by 3 filters and stride 1: {attrs:?}")));
    }
    if y.pixels() * y.channels == 0 {
        return Ok(());
    }
    let plan = Plan::new::<V>(&x, &y);
    let zeros = own_scratch(call).cast::<f32>();
    // SAFETY: the scratch has room for the zeros.
    unsafe { zeros.write_bytes(0, zeros_len(&x)) };
    let scratch = zeros.wrapping_add(zeros_len(&x));
    let winograd = Winograd { call, pad, x, y, weights: w.data.cast(), zeros, scratch, plan };
    let wide = V::panels().min(plan.panels);
    let (row_tiles, groups) = (plan.tiles.div_ceil(V::ROWS), plan.panels.div_ceil(wide));
    // In units of the 36 products for each element of a filter: a tile has 16 pixels.
    let division = Division { row_tiles, groups, rows: V::ROWS / 2, columns: wide * PANEL, k: x.channels };
    let (row_parts, column_parts) = division.grid(call.pool.threads());
    let body = |range: Range<usize>, thread: usize| {
        for index in range {
            let tiles = part(plan.tiles, row_parts, index / column_parts);
            let groups = part(plan.panels.div_ceil(wide), column_parts, index % column_parts);
            let panels = groups.start * wide..(groups.end * wide).min(plan.panels);
            // SAFETY: the caller vouches for the operands; parts are disjoint.
            unsafe { winograd.run_part::<V>(tiles, panels, thread) };
        }
    };
    call.pool.run(row_parts * column_parts, &body);
    Ok(())
}

impl Winograd<'_> {
    /// The results of `tiles` in `panels`, on the calling thread.
    unsafe fn run_part<V: Tiles>(&self, tiles: Range<usize>, panels: Range<usize>, thread: usize) {
        if panels.is_empty() {
            return;
        }
        let [transformed_len, products_len] = self.plan.lengths(&self.x);
        let transformed = self.scratch.wrapping_add((transformed_len + products_len) * thread);
        let products = transformed.wrapping_add(transformed_len);
        let n_blocks = tiles.len().div_ceil(self.plan.block);
        for index in 0..n_blocks {
            let block = part(tiles.len(), n_blocks, index);
            let block = tiles.start + block.start..tiles.start + block.end;
            // SAFETY: the caller vouches for the operands; the scratch is this thread's own.
            unsafe {
                self.forward::<V>(block.clone(), transformed);
                for first in panels.clone().step_by(self.plan.chunk) {
                    let chunk = first..(first + self.plan.chunk).min(panels.end);
                    self.multiply::<V>(block.len(), transformed, chunk.clone(), products);
                    self.back::<V>(block.clone(), chunk.clone(), products);
                    self.finish::<V>(block.clone(), chunk, thread);
                }
            }
        }
    }

    /// Transforms the windows of a block: `[point][tile][channel]`.
    unsafe fn forward<V: Tiles>(&self, block: Range<usize>, to: *mut f32) {
        let channels = self.x.channels;
        let step = block.len() * channels;
        for (i, tile) in block.enumerate() {
            let task = Forward { pixels: self.window(tile), channels, to: to.wrapping_add(i * channels), step };
            // SAFETY: pixels and zeros have all channels; the scratch has room for the block.
            unsafe { V::vectorize(task) };
        }
    }

    /// The pixels under a tile, zeros outside of the image.
    fn window(&self, tile: usize) -> [*const f32; POINTS] {
        let [n, row, column] = self.plan.place(tile);
        let image = self.x.data.cast_const().wrapping_offset(n as isize * self.x.n_stride);
        let mut pixels = [self.zeros; POINTS];
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let h = (row * TILE + i / WINDOW) as isize - self.pad[0];
            let w = (column * TILE + i % WINDOW) as isize - self.pad[1];
            if (h as usize) < self.x.extent[0] && (w as usize) < self.x.extent[1] {
                *pixel = image.wrapping_offset(h * self.x.stride[0] + w * self.x.stride[1]);
            }
        }
        pixels
    }

    /// Products of a transformed block of `tiles` with the filters of a chunk of panels: `[point][tile][column]`.
    unsafe fn multiply<V: Tiles>(&self, tiles: usize, from: *const f32, chunk: Range<usize>, to: *mut f32) {
        let (channels, row_len) = (self.x.channels, chunk.len() * PANEL);
        let (panel_len, n_row_tiles) = (POINTS * channels * PANEL, tiles.div_ceil(V::ROWS));
        for point in 0..POINTS {
            for row_tile in 0..n_row_tiles {
                let rows = part(tiles, n_row_tiles, row_tile);
                let (mut pointers, mut offsets) = ([from; MAX_ROWS], [0; MAX_ROWS]);
                for (i, row) in rows.clone().enumerate() {
                    pointers[i] = from.wrapping_add((point * tiles + row) * channels);
                    offsets[i] = ((point * tiles + row) * row_len) as isize;
                }
                let mut panel = chunk.start;
                while panel < chunk.end {
                    let (width, tile) = V::tile(rows.len(), chunk.end - panel);
                    let b = self.weights.wrapping_add(panel * panel_len + point * channels * PANEL);
                    // The same panels of the next point.
                    let next = b.wrapping_add(channels * PANEL);
                    let next = |part: usize| next.wrapping_add(part * panel_len).cast();
                    let ahead = Ahead::share((row_tile, n_row_tiles), width, channels, next)
                        .filter(|_| point + 1 < POINTS)
                        .unwrap_or(Ahead::nothing(b));
                    let args = TileArgs {
                        a: pointers.as_ptr(),
                        segments: 1,
                        segment_len: channels,
                        b,
                        b_step: PANEL,
                        b_panel: panel_len,
                        start: Start::Zero,
                        y: to,
                        offsets: offsets.as_ptr(),
                        column: (panel - chunk.start) * PANEL,
                        columns: width * PANEL,
                        epilogue: &[],
                        ahead,
                    };
                    // SAFETY: the pointers cover the tile.
                    unsafe { tile(&args) };
                    panel += width;
                }
            }
        }
    }

    /// Transforms products back and stores the results, finished as far as registers go.
    unsafe fn back<V: Tiles>(&self, block: Range<usize>, chunk: Range<usize>, products: *const f32) {
        let (epilogue, _): (&[EpilogueOp], _) = split(self.call.epilogue);
        let row_len = chunk.len() * PANEL;
        for (i, tile) in block.clone().enumerate() {
            let [n, row, column] = self.plan.place(tile);
            let (h, w) = (row * TILE, column * TILE);
            let task = Back {
                from: products.wrapping_add(i * row_len),
                step: block.len() * row_len,
                y: self.y.data,
                corner: self.offset(n, h, w),
                strides: self.y.stride,
                valid: [TILE.min(self.y.extent[0] - h), TILE.min(self.y.extent[1] - w)],
                columns: chunk.start * PANEL..(chunk.end * PANEL).min(self.y.channels),
                epilogue,
            };
            // SAFETY: the products are there; the tile's results are this thread's own.
            unsafe { V::vectorize(task) };
        }
    }

    /// What follows on the stored results of a block, line by line.
    unsafe fn finish<V: Tiles>(&self, block: Range<usize>, chunk: Range<usize>, thread: usize) {
        let (_, rest) = split(self.call.epilogue);
        if rest.is_empty() && self.call.callback.is_none() {
            return;
        }
        let [height, width] = self.y.extent;
        let columns = chunk.start * PANEL..(chunk.end * PANEL).min(self.y.channels);
        let mut first = block.start;
        while first < block.end {
            let [n, row, column] = self.plan.place(first);
            let end = block.end.min(first + self.plan.grid[1] - column);
            let pixels = column * TILE..((column + end - first) * TILE).min(width);
            for line in row * TILE..((row + 1) * TILE).min(height) {
                // SAFETY: the pixels are stored, and this thread's own.
                unsafe { self.finish_line::<V>(rest, (n, line), pixels.clone(), columns.clone(), thread) };
            }
            first = end;
        }
    }

    unsafe fn finish_line<V: Tiles>(
        &self,
        rest: &[EpilogueOp],
        (n, line): (usize, usize),
        pixels: Range<usize>,
        columns: Range<usize>,
        thread: usize,
    ) {
        for first in pixels.clone().step_by(LANES) {
            let offsets: [isize; LANES] = std::array::from_fn(|i| self.offset(n, line, first + i));
            let offsets = &offsets[..LANES.min(pixels.end - first)];
            // SAFETY: the caller vouches for the pixels.
            unsafe { finish_rows::<V>(rest, self.y.data, offsets, columns.clone()) };
        }
        let row = (n * self.y.extent[0] + line) * self.y.extent[1];
        // SAFETY: as above.
        unsafe { call_back(self.call, row + pixels.start..row + pixels.end, columns, thread) };
    }

    /// Offset of an output pixel.
    fn offset(&self, n: usize, h: usize, w: usize) -> isize {
        n as isize * self.y.n_stride + h as isize * self.y.stride[0] + w as isize * self.y.stride[1]
    }
}
