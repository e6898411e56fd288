//! The outer loops of integer contractions: threads, cache blocks, tiles.
//!
//! As in f32 contractions each thread has a rectangle of rows by panels. All of K is summed at once, as partial sums
//! would not fit in a narrow result.

#[cfg(target_arch = "x86_64")]
use super::amx::{TileRows, matrices_bytes};
use super::finish::{Chain, Finish, Stored, divide};
use super::microkernel::TileArgs;
use super::tiles::{IntTiles, MAX_ROWS};
use super::zero_points::{Corrections, row_sum};
use crate::abi::{Call, EpilogueOp, Parallel};
use crate::cache::caches;
use crate::epilogue::{Columns, finish_rows};
use crate::gemm::{Ahead, Division, Rows, SERIAL, part};
use crate::pack::{PANEL, Segments};
use std::ops::Range;

/// Tiles of rows from which there is time to bring a block of any size.
const MANY_TILES: usize = 32;

/// What the least product of the matrix unit is divided by for its fewest rows, and for its shortest K.
const LONGEST: usize = 256;
const TALLEST: usize = 32;

/// Most bytes of a segment that are copied at a time.
const LINE: usize = 64;

/// `y[row, column] = epilogue(sum over k of (a[row, k] - a_zero) * (b[k, column] - b_zero[column]))`.
pub(crate) struct Contraction<'a, R> {
    /// The call whose epilogue this applies.
    pub(crate) call: &'a Call<'a>,
    /// The rows: unsigned bytes.
    pub(crate) rows: R,
    /// Number of rows.
    pub(crate) n_rows: usize,
    /// K.
    pub(crate) k: Segments,
    /// Elements of each segment that tiles read: all, or up to the next four where so many are readable.
    pub(crate) read: usize,
    /// Packed B.
    pub(crate) b: *const u8,
    /// Columns of the result: those of B, from this column of the result on.
    pub(crate) columns: Range<usize>,
    /// What zero points add, from the first of these columns on.
    pub(crate) corrections: Corrections,
    /// Start of the result.
    pub(crate) y: *mut u8,
    /// Its element type.
    pub(crate) stored: Stored,
    /// Scratch, of [`scratch_bytes`] for all threads.
    pub(crate) scratch: *mut u8,
    /// Bytes of copies that [`Rows::locate`] needs.
    pub(crate) copy_len: usize,
}

// SAFETY: threads write disjoint parts of the result and of the scratch, and only read the rest.
unsafe impl<R: Sync> Sync for Contraction<'_, R> {}

/// Bytes of the pointers to a tile's rows.
fn pointers_bytes(k: Segments) -> usize {
    k.count * MAX_ROWS * size_of::<*const u8>()
}

/// Bytes of scratch of one thread: pointers, copies, what the matrix unit needs.
fn thread_scratch<D: IntTiles>(k: Segments, copy_len: usize) -> usize {
    let matrices = if D::MATRICES.is_some() { matrices_bytes(k) } else { 0 };
    pointers_bytes(k) + copy_len.next_multiple_of(64) + matrices
}

#[cfg(not(target_arch = "x86_64"))]
fn matrices_bytes(_: Segments) -> usize {
    0
}

/// Bytes of scratch of a contraction on `threads` threads.
pub(crate) fn scratch_bytes<D: IntTiles>(k: Segments, copy_len: usize, threads: usize) -> usize {
    thread_scratch::<D>(k, copy_len) * threads
}

impl<R: Rows<u8>> Contraction<'_, R> {
    /// Runs on the threads of the call.
    ///
    /// # Safety
    /// The machine has `D`; rows, B, result, scratch and the call's epilogue are valid.
    pub(crate) unsafe fn run<D: IntTiles>(&self) {
        let panels = self.columns.len().div_ceil(PANEL);
        // Bytes are multiplied about four times as fast as floats.
        let work = self.n_rows * self.columns.len() * self.k.count * self.k.len / 4;
        let threads = if work < SERIAL { 1 } else { self.call.pool.threads() };
        let height = self.height::<D>();
        let wide = D::tile(self.n_rows.clamp(1, D::ROWS), usize::MAX).0;
        let (row_tiles, groups) = (self.n_rows.div_ceil(height), panels.div_ceil(wide));
        let k = self.k.count * self.k.len;
        let division = Division { row_tiles, groups, rows: height, columns: wide * PANEL, k };
        let (row_parts, column_parts) = division.grid(threads);
        let run = |range: Range<usize>, thread: usize| {
            for index in range {
                let tiles = part(row_tiles, row_parts, index / column_parts);
                let groups = part(groups, column_parts, index % column_parts);
                let row = |tile: usize| part(self.n_rows, row_tiles.max(1), tile).start;
                let panels = groups.start * wide..(groups.end * wide).min(panels);
                // SAFETY: the caller's pointers are valid; parts are disjoint.
                unsafe { self.run_part::<D>(row(tiles.start)..row(tiles.end), panels, thread) };
            }
        };
        let parallel: &dyn Parallel = if threads == 1 { &crate::abi::Serial } else { self.call.pool };
        parallel.run(row_parts * column_parts, &run);
    }

    /// Whether the matrix unit multiplies. With few rows it waits for B, with a short K for itself, and rows of several
    /// segments are copied for it a segment at a time, which few columns do not make good.
    fn is_on_matrices<D: IntTiles>(&self) -> bool {
        let k = 4 * self.k.quads();
        let is_large = |least: usize| {
            let is_copied_in_vain = self.k.count > 1 && self.k.len.min(LINE).saturating_mul(self.columns.len()) < least;
            let is_wide = self.n_rows >= least / LONGEST && k >= least / TALLEST;
            is_wide && self.n_rows.saturating_mul(k) >= least && !is_copied_in_vain
        };
        k > 0 && D::MATRICES.is_some_and(is_large)
    }

    /// Rows that are multiplied at once.
    fn height<D: IntTiles>(&self) -> usize {
        if self.is_on_matrices::<D>() { MAX_ROWS } else { D::ROWS }
    }

    /// Runs the part of `rows` by `panels` on the calling thread.
    ///
    /// # Safety
    /// As for [`run`](Self::run); `thread` is the caller's own.
    pub(crate) unsafe fn run_part<D: IntTiles>(&self, rows: Range<usize>, panels: Range<usize>, thread: usize) {
        let widest = D::tile(D::ROWS, usize::MAX).0;
        let n_tiles = rows.len().div_ceil(self.height::<D>());
        // Half of the cache holds panels of B. With few tiles blocks are smaller: the first is waited for, and the others
        // are brought by the tiles of the one before.
        let share = if n_tiles < MANY_TILES { caches().l2 / 16 } else { caches().l2 / 2 };
        let width = (share / self.k.panel_bytes().max(1)).max(1).next_multiple_of(widest);
        let (in_registers, rest) = divide(self.call.epilogue, self.stored);
        let epilogue = (&Chain::of(in_registers), rest);
        for first in panels.clone().step_by(width) {
            let block = first..(first + width).min(panels.end);
            for index in 0..n_tiles {
                let tile = part(rows.len(), n_tiles, index);
                let tile = rows.start + tile.start..rows.start + tile.end;
                let next = (block.end < panels.end).then_some((index, n_tiles));
                // SAFETY: the caller's pointers are valid.
                unsafe { self.run_tile::<D>(tile, block.clone(), epilogue, next, thread) };
            }
        }
    }

    /// What a tile of `width` panels from `panel` on brings of the block after its own, as tile `index` of so many.
    fn ahead(&self, panel: usize, width: usize, block: &Range<usize>, next: Option<(usize, usize)>) -> Option<Ahead> {
        let at = |part: usize| self.b.wrapping_add((panel + block.len() + part) * self.k.panel_bytes());
        Ahead::share(next?, width, self.k.panel_bytes() / (4 * PANEL), at)
    }

    /// One tile of rows by a block of panels, with an epilogue that has been [divided](divide).
    unsafe fn run_tile<D: IntTiles>(
        &self,
        rows: Range<usize>,
        block: Range<usize>,
        (chain, rest): (&Chain, &[EpilogueOp]),
        next: Option<(usize, usize)>,
        thread: usize,
    ) {
        let own = self.scratch.wrapping_add(thread_scratch::<D>(self.k, self.copy_len) * thread);
        let pointers = own.cast::<*const u8>();
        let copies = own.wrapping_add(pointers_bytes(self.k));
        let (mut offsets, mut sums) = ([0; MAX_ROWS], [0; MAX_ROWS]);
        let offsets = &mut offsets[..rows.len()];
        // SAFETY: the scratch has room for this thread's pointers and copies; each row has a pointer for each segment.
        unsafe {
            self.rows.locate(rows.start, pointers, offsets, copies);
            if !self.corrections.zeros.is_null() {
                for (row, sum) in sums.iter_mut().enumerate().take(rows.len()) {
                    *sum = row_sum::<D>(pointers.add(row), rows.len(), self.k);
                }
            }
        }
        let mut panel = block.start;
        #[cfg(target_arch = "x86_64")]
        let matrices = self.is_on_matrices::<D>().then(|| {
            let scratch = copies.wrapping_add(self.copy_len.next_multiple_of(64));
            // SAFETY: the machine has the matrix unit if `D` has it; the scratch has room.
            unsafe { TileRows::new(pointers, rows.len(), (self.k, self.read), scratch) }
        });
        while panel < block.end {
            let (width, tile) = D::tile(rows.len().min(D::ROWS), block.end - panel);
            #[cfg(target_arch = "x86_64")]
            let width = matrices.as_ref().map_or(width, |rows| rows.panels(block.end - panel));
            let column = self.columns.start + panel * PANEL;
            let b = self.b.wrapping_add(panel * self.k.panel_bytes());
            let args = TileArgs {
                a: pointers,
                segments: self.k.count,
                segment_len: self.read,
                b,
                b_panel: self.k.panel_bytes(),
                finish: Finish {
                    start: self.corrections.start.wrapping_add(panel * PANEL),
                    zeros: self.corrections.zeros_from(panel * PANEL),
                    row_sums: sums.as_ptr(),
                    y: self.y,
                    stored: self.stored,
                    offsets: offsets.as_ptr(),
                    columns: Columns { column, n: (width * PANEL).min(self.columns.end - column) },
                    chain,
                },
                ahead: self.ahead(panel, width, &block, next).unwrap_or(Ahead::nothing(b)),
            };
            // SAFETY: the pointers cover the tile.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                match &matrices {
                    Some(rows) => rows.multiply::<D>(&args, width),
                    None => tile(&args),
                }
                #[cfg(not(target_arch = "x86_64"))]
                tile(&args);
            }
            panel += width;
        }
        if !rest.is_empty() {
            let start = self.columns.start;
            let columns = start + block.start * PANEL..(start + block.end * PANEL).min(self.columns.end);
            // SAFETY: the rows are stored as floats, and this thread's own.
            unsafe { finish_rows::<D::Vector>(rest, self.y.cast(), offsets, columns) };
        }
    }
}
