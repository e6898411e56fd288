//! The engine of data movement: a dense output copied from an input that is read by strides.
//!
//! Slices, transpositions, broadcasts and tilings are such copies. Axes are merged first; what remains runs as long
//! copies, fills, or transposed tiles where the input is contiguous along another axis than the output.

use super::args::{MAX_RANK, Shape, error};
use super::element::Element;
use super::split::rows;
use crate::abi::{KernelError, Parallel};
use crate::isa::Isa;
use crate::vector::{LANES, Task, Vector, for_isa};

/// An input read by strides.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    /// All elements that may be read.
    pub(crate) data: &'a [T],
    /// Where the element of the output's first index is.
    pub(crate) first: usize,
}

/// The extents of the copy with the input's stride on each axis, outermost first.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    extents: Shape,
    strides: [isize; MAX_RANK],
}

impl Walk {
    /// A walk of no axes: one element.
    pub(crate) fn new() -> Walk {
        Walk { extents: Shape::zeros(0), strides: [0; MAX_RANK] }
    }

    /// Adds an axis inside of the others. Extents of 1 vanish and axes that continue one another merge.
    pub(crate) fn push(&mut self, extent: usize, stride: isize) -> Result<(), KernelError> {
        if extent == 1 {
            return Ok(());
        }
        let rank = self.extents.len();
        if rank > 0 && self.strides[rank - 1] == stride.wrapping_mul(extent as isize) {
            self.extents[rank - 1] *= extent;
            self.strides[rank - 1] = stride;
            return Ok(());
        }
        let mut extents = [0; MAX_RANK + 1];
        extents[..rank].copy_from_slice(&self.extents);
        extents[rank] = extent;
        self.extents = Shape::new(&extents[..rank + 1])?;
        self.strides[rank] = stride;
        Ok(())
    }

    fn rank(&self) -> usize {
        self.extents.len()
    }

    /// Lowest and highest offset that the walk reaches, relative to its first element.
    fn reach(&self) -> (isize, isize) {
        let (mut low, mut high) = (0isize, 0isize);
        for (&extent, &stride) in self.extents.iter().zip(&self.strides) {
            let last = stride.saturating_mul(extent as isize - 1);
            low = low.saturating_add(last.min(0));
            high = high.saturating_add(last.max(0));
        }
        (low, high)
    }

    /// The offset of position `flat` of the first `axes` axes.
    fn offset(&self, axes: usize, mut flat: usize) -> isize {
        let mut offset = 0;
        for axis in (0..axes).rev() {
            offset += (flat % self.extents[axis]) as isize * self.strides[axis];
            flat /= self.extents[axis];
        }
        offset
    }
}

/// Copies what `walk` visits of `source` to `out`, in order.
pub(crate) fn copy_walk<T: Element>(
    pool: &dyn Parallel,
    out: &mut [T],
    source: Source<T>,
    walk: &Walk,
) -> Result<(), KernelError> {
    if walk.extents.count() != out.len() {
        return Err(error(format!("expected {} output elements, found {}", walk.extents.count(), out.len())));
    }
    if out.is_empty() {
        return Ok(());
    }
    let (low, high) = walk.reach();
    let (first, len) = (source.first as isize, source.data.len() as isize);
    if first.saturating_add(low) < 0 || first.saturating_add(high) >= len {
        return Err(error(format!("the copy reaches outside of the input's {len} elements")));
    }
    let Some(last) = walk.rank().checked_sub(1) else {
        out[0] = source.data[source.first];
        return Ok(());
    };
    let contiguous = (0..last).rev().find(|&axis| walk.strides[axis] == 1);
    match (walk.strides[last], contiguous) {
        (1, _) if last == 0 => copy_dense(pool, out, &source.data[source.first..]),
        (1, _) => copy_runs(pool, out, source, walk),
        (_, Some(axis)) if walk.extents[axis] >= 4 && walk.strides[last] > 0 => {
            copy_transposed(pool, out, source, walk, axis);
        }
        _ => copy_elements(pool, out, source, walk),
    }
    Ok(())
}

/// `out = source[..out.len()]`.
pub(crate) fn copy_dense<T: Element>(pool: &dyn Parallel, out: &mut [T], source: &[T]) {
    rows(pool, out, 1, 1, |first, part| part.copy_from_slice(&source[first..first + part.len()]));
}

/// The innermost axis is contiguous in the input.
fn copy_runs<T: Element>(pool: &dyn Parallel, out: &mut [T], source: Source<T>, walk: &Walk) {
    let last = walk.rank() - 1;
    let run = walk.extents[last];
    each_row(pool, out, walk, |row, offset| {
        let from = source.first.wrapping_add_signed(offset);
        row.copy_from_slice(&source.data[from..from + run]);
    });
}

/// The innermost axis has any stride.
fn copy_elements<T: Element>(pool: &dyn Parallel, out: &mut [T], source: Source<T>, walk: &Walk) {
    let stride = walk.strides[walk.rank() - 1];
    each_row(pool, out, walk, |row, offset| {
        let mut from = source.first.wrapping_add_signed(offset);
        if stride == 0 {
            row.fill(source.data[from]);
            return;
        }
        for to in row {
            *to = source.data[from];
            from = from.wrapping_add_signed(stride);
        }
    });
}

/// Calls `body(row, the input's offset of its first element)` for every run of the innermost axis.
fn each_row<T: Element>(pool: &dyn Parallel, out: &mut [T], walk: &Walk, body: impl Fn(&mut [T], isize) + Sync) {
    let last = walk.rank() - 1;
    let run = walk.extents[last];
    rows(pool, out, run, run, |first, part| {
        let mut outer = Shape::zeros(last);
        outer.copy_from_slice(&walk.extents[..last]);
        let mut index = outer.unravel(first);
        for row in part.chunks_exact_mut(run) {
            let offset = index.iter().zip(&walk.strides).map(|(&i, &stride)| i as isize * stride).sum();
            body(row, offset);
            outer.advance(&mut index);
        }
    });
}

/// Elements on the side of a transposed tile.
const TILE: usize = LANES;

/// The input is contiguous on `axis`, which is not the innermost one: moves tiles of `axis` and the innermost axis.
fn copy_transposed<T: Element>(pool: &dyn Parallel, out: &mut [T], source: Source<T>, walk: &Walk, axis: usize) {
    let last = walk.rank() - 1;
    let row: usize = walk.extents[axis + 1..].iter().product();
    let (width, stride) = (walk.extents[last], walk.strides[last] as usize);
    // Too narrow for tiles: long columns are interleaved.
    let band = if width < TILE { 64 * TILE } else { TILE };
    let mut middle = Walk::new();
    middle.extents = Shape::zeros(last - axis - 1);
    middle.extents.copy_from_slice(&walk.extents[axis + 1..last]);
    middle.strides[..last - axis - 1].copy_from_slice(&walk.strides[axis + 1..last]);
    rows(pool, out, row, row, |first, part| {
        let n_rows = part.len() / row;
        let mut done = 0;
        while done < n_rows {
            let position = (first + done) % walk.extents[axis];
            let height = band.min(walk.extents[axis] - position).min(n_rows - done);
            let outer = walk.offset(axis, (first + done) / walk.extents[axis]) + position as isize;
            let block = &mut part[done * row..(done + height) * row];
            for m in 0..row / width {
                let offset = outer + middle.offset(middle.rank(), m);
                let from = &source.data[source.first.wrapping_add_signed(offset)..];
                transpose_band(&mut block[m * width..], row, height, width, from, stride);
            }
            done += height;
        }
    });
}

/// 16 rows of whole tiles of elements as wide as f32, transposed in registers.
struct Tiles {
    to: *mut f32,
    to_stride: usize,
    from: *const f32,
    from_stride: usize,
    /// Elements of a row: a multiple of the tile.
    width: usize,
}

impl Task for Tiles {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for j in (0..self.width).step_by(TILE) {
            // SAFETY: The caller vouches that the tiles lie in both tensors.
            unsafe {
                let mut rows = std::array::from_fn(|k| V::load(self.from.add((j + k) * self.from_stride)));
                V::transpose(&mut rows);
                for (i, row) in rows.into_iter().enumerate() {
                    row.store(self.to.add(i * self.to_stride + j));
                }
            }
        }
    }
}

/// `out[i][j] = from[j * stride + i]`.
fn interleave<T: Element, const WIDTH: usize>(out: &mut [T], height: usize, from: &[T], stride: usize) {
    let columns: [&[T]; WIDTH] = std::array::from_fn(|j| &from[j * stride..][..height]);
    for (i, row) in out.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate().take(height) {
        *row = std::array::from_fn(|j| columns[j][i]);
    }
}

/// `out[i * out_stride + j] = from[j * stride + i]` for `i < height`, `j < width`.
fn transpose_band<T: Element>(
    out: &mut [T],
    out_stride: usize,
    height: usize,
    width: usize,
    from: &[T],
    stride: usize,
) {
    match width {
        2 if out_stride == width => return interleave::<T, 2>(out, height, from, stride),
        3 if out_stride == width => return interleave::<T, 3>(out, height, from, stride),
        4 if out_stride == width => return interleave::<T, 4>(out, height, from, stride),
        _ => {}
    }
    let mut j = 0;
    if size_of::<T>() == size_of::<f32>() && height == TILE && width >= TILE {
        j = width / TILE * TILE;
        assert!((j - 1) * stride + TILE <= from.len() && (TILE - 1) * out_stride + j <= out.len());
        let (to, from) = (out.as_mut_ptr().cast::<f32>(), from.as_ptr().cast::<f32>());
        let tiles = Tiles { to, to_stride: out_stride, from, from_stride: stride, width: j };
        // SAFETY: The instruction set was detected; the tiles were just found to lie in both slices.
        for_isa!(Isa::detect(), V => unsafe { V::vectorize(tiles) });
    }
    while height == TILE && j + TILE <= width {
        let mut tile = [[T::default(); TILE]; TILE];
        for (k, column) in tile.iter_mut().enumerate() {
            column.copy_from_slice(&from[(j + k) * stride..][..TILE]);
        }
        for i in 0..TILE {
            let to = &mut out[i * out_stride + j..][..TILE];
            for (to, column) in to.iter_mut().zip(&tile) {
                *to = column[i];
            }
        }
        j += TILE;
    }
    for i in 0..height {
        for j in j..width {
            out[i * out_stride + j] = from[j * stride + i];
        }
    }
}
