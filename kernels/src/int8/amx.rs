//! A block of rows by panels on the matrix unit.
//!
//! K is walked in chunks of 64 bytes of the packed panels. Rows that are evenly spaced are read where they lie, others from
//! a copy: each piece of a segment that fills a chunk on its own may be either. The last chunk, where it is short, is a copy
//! that ends where K ends and has zeros before, for what the chunk before it has already summed.

use super::finish::{Finish, finish};
use super::microkernel::TileArgs;
use super::tiles::{IntTiles, MAX_ROWS};
use crate::pack::{PANEL, Segments};
use crate::vector::amx::{
    Chunk, Product, ROW, Shapes, Strided, TILE, one_by_four, one_by_one, one_by_two, two_by_one, two_by_two,
};
use crate::vector::{Dot, DotTask};
use std::arch::x86_64::{_mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_setzero_si512, _mm512_storeu_si512};
use std::ops::Range;

/// Most panels of a product.
const MOST_PANELS: usize = 4;

/// Bytes of a copied chunk of a tile's rows.
const BLOCK: usize = TILE * ROW;

/// Bytes of the sums of a product: two tiles of rows by two panels, or one by four.
const SUMS: usize = MAX_ROWS * 2 * PANEL * size_of::<i32>();

/// Chunks of K.
fn n_chunks(k: Segments) -> usize {
    k.quads().div_ceil(TILE)
}

/// Bytes of scratch: sums, copies and the list of chunks.
pub(crate) fn matrices_bytes(k: Segments) -> usize {
    SUMS + n_chunks(k) * (2 * BLOCK + size_of::<Chunk>().next_multiple_of(ROW))
}

/// Rows as the matrix unit reads them.
pub(crate) struct TileRows {
    chunks: *mut Chunk,
    n_chunks: usize,
    /// Rows of each tile.
    rows: [usize; 2],
    sums: *mut u8,
    copies: *mut u8,
    _shapes: Shapes,
}

impl TileRows {
    /// Arranges `n` rows, at least 1, whose pointers are `[segment][row]`; of each segment `read` bytes are there. K is not
    /// empty.
    ///
    /// # Safety
    /// The machine has the matrix unit, and nothing else of this thread uses it while the rows live; the pointers are valid;
    /// `scratch` has room for [`matrices_bytes`] and is aligned to 64 bytes.
    pub(crate) unsafe fn new(
        pointers: *const *const u8,
        n: usize,
        (k, read): (Segments, usize),
        scratch: *mut u8,
    ) -> TileRows {
        let rows = if n <= TILE { [n, 0] } else { [n.div_ceil(2), n / 2] };
        let n_chunks = n_chunks(k);
        let sums = scratch;
        let copies = sums.wrapping_add(SUMS);
        let chunks = copies.wrapping_add(2 * n_chunks * BLOCK).cast::<Chunk>();
        // SAFETY: the caller vouches for the unit, the pointers and the scratch.
        unsafe {
            let _shapes = Shapes::new(rows, k.quads().min(TILE));
            let rows = TileRows { chunks, n_chunks, rows, sums, copies, _shapes };
            rows.arrange(pointers, n, k, read);
            rows
        }
    }

    /// Writes the list of chunks and what must be copied.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn arrange(&self, pointers: *const *const u8, n: usize, k: Segments, read: usize) {
        let len = 4 * k.quads();
        let short = len % ROW;
        // Where the bytes of a short last chunk begin in it.
        let skipped = if short > 0 && len > ROW { ROW - short } else { 0 };
        for index in 0..self.n_chunks {
            let copy = |tile: usize| Strided { first: self.copy(tile, index), stride: ROW as isize };
            let back = if index + 1 == self.n_chunks { skipped } else { 0 };
            // SAFETY: the scratch has room for the chunks.
            unsafe { self.chunks.add(index).write(Chunk { a: [copy(0), copy(1)], b: (index * ROW - back) * PANEL }) };
        }
        let (padded, full) = (k.len.next_multiple_of(4), ROW.min(len));
        for tile in 0..2 {
            let (first, rows) = (tile * self.rows[0], self.rows[tile]);
            if skipped > 0 {
                let last = self.copy(tile, self.n_chunks - 1).cast_mut();
                // SAFETY: the scratch has room for the copy.
                (0..rows)
                    .for_each(|row| unsafe { _mm512_storeu_si512(last.add(row * ROW).cast(), _mm512_setzero_si512()) });
            }
            for segment in 0..k.count {
                // SAFETY: each row has a pointer for each segment.
                let rows = unsafe { std::slice::from_raw_parts(pointers.add(segment * n + first), rows) };
                let stride = even_stride(rows);
                let mut done = 0;
                while done < read {
                    let at = segment * padded + done;
                    let (chunk, within) = (at / ROW, at % ROW);
                    let part = done..read.min(done + ROW - within);
                    match stride {
                        Some(stride) if part.len() == full => {
                            let first = rows[0].wrapping_add(done);
                            // SAFETY: the chunk is in the list.
                            unsafe { (*self.chunks.add(chunk)).a[tile] = Strided { first, stride } };
                        }
                        _ => {
                            let back = if chunk + 1 == self.n_chunks { skipped } else { 0 };
                            let to = self.copy(tile, chunk).cast_mut().wrapping_add(within + back);
                            done = part.end;
                            // SAFETY: the rows have the bytes; the copy has room for them.
                            unsafe { copy_rows(rows, part, to) };
                            continue;
                        }
                    }
                    done = part.end;
                }
            }
        }
    }

    /// The copy of a chunk of a tile's rows.
    fn copy(&self, tile: usize, chunk: usize) -> *const u8 {
        self.copies.wrapping_add((tile * self.n_chunks + chunk) * BLOCK)
    }

    /// The widest product of these rows with at most so many panels.
    pub(crate) fn panels(&self, most: usize) -> usize {
        match (self.rows[1], most) {
            (0, 4..) => 4,
            (_, 2..) => 2,
            _ => 1,
        }
    }

    /// Multiplies the rows with `panels` panels, which are as many as [`panels`](Self::panels) says, and finishes them.
    ///
    /// # Safety
    /// The machine has `D`; the pointers of `args` cover the rows and panels.
    pub(crate) unsafe fn multiply<D: IntTiles>(&self, args: &TileArgs, panels: usize) {
        let row = panels * PANEL;
        let sums: *mut i32 = self.sums.cast();
        let product = Product {
            chunks: self.chunks,
            n_chunks: self.n_chunks,
            b: args.b,
            b_panel: args.b_panel,
            start: args.finish.start,
            sums: [sums, sums.wrapping_add(self.rows[0] * row)],
            sums_stride: row * size_of::<i32>(),
            ahead: args.ahead.data(),
            ahead_lines: (args.ahead.step() * TILE).div_ceil(ROW),
        };
        // SAFETY: the shapes are those of these rows; the caller vouches for the panels.
        unsafe {
            match (self.rows[1], panels) {
                (0, MOST_PANELS) => one_by_four(&product),
                (0, 2) => one_by_two(&product),
                (0, _) => one_by_one(&product),
                (_, 2) => two_by_two(&product),
                _ => two_by_one(&product),
            }
            let mut first = 0;
            for (rows, sums) in self.rows.into_iter().zip(product.sums) {
                let to = Finish {
                    row_sums: args.finish.row_sums.wrapping_add(first),
                    offsets: args.finish.offsets.wrapping_add(first),
                    ..args.finish
                };
                match panels {
                    MOST_PANELS => D::vectorize(Finished::<MOST_PANELS> { to, sums, rows }),
                    2 => D::vectorize(Finished::<2> { to, sums, rows }),
                    _ => D::vectorize(Finished::<1> { to, sums, rows }),
                }
                first += rows;
            }
        }
    }
}

/// Sums to be finished.
struct Finished<'a, const PANELS: usize> {
    to: Finish<'a>,
    sums: *mut i32,
    rows: usize,
}

impl<const PANELS: usize> DotTask for Finished<'_, PANELS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        // SAFETY: the sums are this thread's own, aligned, and as many as `PANELS` vectors for each row; the caller's
        // pointers cover the rows.
        unsafe { finish(&self.to, std::slice::from_raw_parts_mut(self.sums.cast::<[D::Vector; PANELS]>(), self.rows)) };
    }
}

/// The bytes between neighbours, if they are the same everywhere.
#[inline(always)]
fn even_stride(rows: &[*const u8]) -> Option<isize> {
    let at = |row: usize| rows[row] as isize;
    match rows.len() {
        0 => None,
        1 => Some(ROW as isize),
        n => {
            let stride = at(1).wrapping_sub(at(0));
            (2..n).all(|row| at(row).wrapping_sub(at(row - 1)) == stride).then_some(stride)
        }
    }
}

/// Copies bytes `part`, at most 64, of each row to `to`, a line for each.
///
/// # Safety
/// They are readable and writable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn copy_rows(rows: &[*const u8], part: Range<usize>, to: *mut u8) {
    let mask = u64::MAX >> (ROW - part.len());
    for (row, &from) in rows.iter().enumerate() {
        // SAFETY: the caller vouches for the bytes; what the mask leaves out is not touched.
        unsafe {
            let bytes = _mm512_maskz_loadu_epi8(mask, from.add(part.start).cast());
            _mm512_mask_storeu_epi8(to.add(row * ROW).cast(), mask, bytes);
        }
    }
}
