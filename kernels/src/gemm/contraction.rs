//! The outer loops of every f32 contraction: threads, cache blocks, tiles.
//!
//! Each thread has a rectangle of rows by panels. It walks blocks of panels that fit a part of the second-level cache;
//! within one, tiles of rows whose part of A stays in the first-level cache; within one, panels. While the tiles compute,
//! they bring the next block, so weights that come from memory are waited for once.

use super::blocking::{Division, SERIAL, blocks, part};
use super::microkernel::{Ahead, MAX_ROWS, Start, TileArgs};
use super::panels::Panels;
#[cfg(target_arch = "x86_64")]
use super::pieces::Located;
use super::tiles::{SCALED_ROWS, Tiles};
use super::widen::{Stored, widen, widen_scaled};
use crate::abi::{Call, Operand, Parallel};
use crate::epilogue::{call_back, call_back_rows, finish_rows, split};
use crate::pack::{PANEL, Scaled};
use std::ops::Range;

/// Where the rows of A and of the result lie.
pub(crate) trait Rows<T = f32>: Sync {
    /// Writes pointers to A of rows `first..first + offsets.len()`, `[segment][row]`, and the rows' offsets in the
    /// result. `copies` has room for [`Contraction::copy_len`] elements, for rows that must be gathered first.
    ///
    /// # Safety
    /// The rows exist; `pointers` has room for all segments of these rows.
    unsafe fn locate(&self, first: usize, pointers: *mut *const T, offsets: &mut [isize], copies: *mut T);
}

/// `y[row, column] = epilogue(sum over k of a[row, k] * b[k, column])`.
pub(crate) struct Contraction<'a, R> {
    /// The call whose epilogue and callback this applies.
    pub(crate) call: &'a Call<'a>,
    /// The rows.
    pub(crate) rows: R,
    /// Number of rows.
    pub(crate) n_rows: usize,
    /// What the callback calls the first row.
    pub(crate) first_row: usize,
    /// Number of segments of K.
    pub(crate) segments: usize,
    /// Elements of each.
    pub(crate) segment_len: usize,
    /// B.
    pub(crate) b: Panels,
    /// Columns of the result: those of B, from this column of the result on.
    pub(crate) columns: Range<usize>,
    /// For how many columns one thread reads a row once.
    pub(crate) width: usize,
    /// Start of the result.
    pub(crate) y: *mut f32,
    /// Scratch, of [`scratch_bytes`] for all threads.
    pub(crate) scratch: *mut u8,
    /// Elements of `copies` that [`Rows::locate`] needs.
    pub(crate) copy_len: usize,
    /// Bytes of each thread's widened panels, as [`widened_bytes`] gave them; they follow the rest of the scratch.
    pub(crate) widened_bytes: usize,
    /// What is read after this contraction.
    pub(crate) following: Following,
}

/// What is known of the panels that are read after a contraction.
#[derive(Clone, Copy)]
pub(crate) enum Following {
    /// Nothing.
    Unknown,
    /// Those behind the ones that it reads.
    Onwards,
    /// As many dense ones from here on are packed in the place of its own, which are near.
    Replaced(*const f32),
}

// SAFETY: threads write disjoint parts of the result and of the scratch, and only read the rest.
unsafe impl<R: Sync> Sync for Contraction<'_, R> {}

/// Bytes of one thread's pointers to rows.
fn pointer_bytes(segments: usize) -> usize {
    (segments * MAX_ROWS * size_of::<*const f32>()).next_multiple_of(64)
}

/// Bytes of one thread's pointers to rows and of its copies of them.
fn row_bytes(segments: usize, copy_len: usize) -> usize {
    pointer_bytes(segments) + (copy_len * 4).next_multiple_of(64)
}

/// Bytes of scratch of one thread: pointers and copies, then pieces.
fn thread_scratch(segments: usize, copy_len: usize) -> usize {
    row_bytes(segments, copy_len) + piece_bytes(segments)
}

/// Bytes of one thread's pieces.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only x86-64 has the unit"))]
fn piece_bytes(segments: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    return super::pieces::scratch_bytes(segments).next_multiple_of(64);
    #[cfg(not(target_arch = "x86_64"))]
    return 0;
}

/// Bytes of scratch of a contraction on `threads` threads.
pub(crate) fn scratch_bytes(segments: usize, copy_len: usize, threads: usize) -> usize {
    thread_scratch(segments, copy_len) * threads
}

/// Bytes of scratch, for each thread, of a contraction with a packed B of `segments * segment_len` rows: those of a
/// block of widened panels, if there is anything to widen.
pub(crate) fn widened_bytes<V: Tiles>(b: &Operand, segments: usize, segment_len: usize, columns: usize) -> usize {
    if Stored::of(b.dtype) == Stored::F32 {
        return 0;
    }
    let (n_blocks, width) = blocks::<V>(segments * segment_len, usize::MAX);
    let longest =
        if segments == 1 { segment_len.div_ceil(n_blocks) } else { segments.div_ceil(n_blocks) * segment_len };
    width.min(columns.div_ceil(PANEL)) * longest * PANEL * 4
}

impl<R: Rows> Contraction<'_, R> {
    /// Runs on the threads of the call.
    ///
    /// # Safety
    /// The machine has `V`; rows, B, result, scratch and the call's epilogue are valid.
    pub(crate) unsafe fn run<V: Tiles>(&self) {
        // SAFETY: the caller vouches for the operands.
        unsafe { self.run_then::<V>(None) };
    }

    /// [`run`](Self::run), then the callback on rows. A thread that computes all columns of some rows finishes them
    /// while they are in its cache.
    ///
    /// # Safety
    /// As for [`run`](Self::run); these are all columns of the result.
    pub(crate) unsafe fn run_whole_rows<V: Tiles>(&self) {
        // SAFETY: `run_then` passes finished rows, each once, and the thread's own number.
        let finish = |rows: Range<usize>, thread: usize| unsafe {
            let rows = self.first_row + rows.start..self.first_row + rows.end;
            call_back_rows(self.call, rows, thread);
        };
        let has_code = self.call.callback.is_some_and(|callback| callback.whole_rows);
        // SAFETY: the caller vouches for the operands.
        unsafe { self.run_then::<V>(has_code.then_some(&finish)) };
    }

    /// Runs, and calls `finish(rows, thread)` on disjoint ranges of rows whose columns are all there.
    unsafe fn run_then<V: Tiles>(&self, finish: Option<&(dyn Fn(Range<usize>, usize) + Sync)>) {
        let panels = self.columns.len().div_ceil(PANEL);
        let k = self.segments * self.segment_len;
        let work = self.n_rows * self.columns.len() * k;
        let threads = if work < SERIAL { 1 } else { self.call.pool.threads() };
        let wide = V::tile(self.n_rows.clamp(1, V::ROWS), usize::MAX).0;
        let (row_tiles, groups) = (self.n_rows.div_ceil(V::ROWS), panels.div_ceil(wide));
        let division = Division { row_tiles, groups, rows: V::ROWS, columns: wide * PANEL, k };
        let (row_parts, column_parts) = division.grid(threads);
        let run = |range: Range<usize>, thread: usize| {
            for index in range {
                let tiles = part(row_tiles, row_parts, index / column_parts);
                let groups = part(groups, column_parts, index % column_parts);
                let rows = part(self.n_rows, row_tiles.max(1), tiles.start).start
                    ..part(self.n_rows, row_tiles.max(1), tiles.end).start;
                let panels = groups.start * wide..(groups.end * wide).min(panels);
                // SAFETY: the caller's pointers are valid; parts are disjoint.
                unsafe { self.run_part::<V>(rows.clone(), panels, thread) };
                if let (Some(finish), 1) = (finish, column_parts) {
                    finish(rows, thread);
                }
            }
        };
        let parallel: &dyn Parallel = if threads == 1 { &crate::abi::Serial } else { self.call.pool };
        parallel.run(row_parts * column_parts, &run);
        if let (Some(finish), 2..) = (finish, column_parts) {
            parallel.run(self.n_rows, finish);
        }
    }

    /// Runs the part of `rows` by `panels` on the calling thread.
    ///
    /// # Safety
    /// As for [`run`](Self::run); `thread` is the caller's own.
    pub(crate) unsafe fn run_part<V: Tiles>(&self, rows: Range<usize>, panels: Range<usize>, thread: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.has_pieces() {
            let own = self.scratch.wrapping_add(thread_scratch(self.segments, self.copy_len) * thread);
            let room = own.wrapping_add(row_bytes(self.segments, self.copy_len));
            let (pointers, copies) = self.row_scratch(thread);
            // SAFETY: the caller's pointers are valid, and the scratch has room for this thread's pieces.
            unsafe { self.run_pieces::<V>(rows, panels, Located { pointers, copies, thread }, room) };
            return;
        }
        let as_stored = matches!(self.b.stored, Stored::Scaled(_)) && rows.len() <= SCALED_ROWS;
        let n_tiles = rows.len().div_ceil(V::ROWS);
        let (n_blocks, width) = match as_stored {
            true => (1, panels.len().max(1)),
            false => blocks::<V>(self.segments * self.segment_len, n_tiles),
        };
        for first in panels.clone().step_by(width) {
            let block = first..(first + width).min(panels.end);
            for k_part in 0..n_blocks {
                let b = match as_stored {
                    true => self.b,
                    // SAFETY: the caller's pointers are valid.
                    false => unsafe { self.f32_panels::<V>(block.clone(), (k_part, n_blocks), thread) },
                };
                let next = self.next(&block, &panels, (k_part, n_blocks));
                for index in 0..n_tiles {
                    let tile = part(rows.len(), n_tiles, index);
                    let tile = rows.start + tile.start..rows.start + tile.end;
                    let ahead = |panel: usize, width: usize| {
                        let next = next.as_ref()?;
                        let at = |part: usize| next.data.wrapping_add((panel - block.start + part) * next.panel).cast();
                        Ahead::share((index, n_tiles), width, next.k, at)
                    };
                    // SAFETY: the caller's pointers are valid.
                    unsafe { self.run_tile::<V>(tile, block.clone(), b, (k_part, n_blocks), &ahead, thread) };
                }
            }
        }
    }

    /// Where a thread's pointers to rows go, and copies of them.
    fn row_scratch(&self, thread: usize) -> (*mut *const f32, *mut f32) {
        let own = self.scratch.wrapping_add(thread_scratch(self.segments, self.copy_len) * thread);
        (own.cast(), own.wrapping_add(pointer_bytes(self.segments)).cast())
    }

    /// What is read after part `index` of `parts` of K of the panels `block`, if it lies in memory as it is read.
    fn next(&self, block: &Range<usize>, panels: &Range<usize>, (index, parts): (usize, usize)) -> Option<Next> {
        if let Following::Replaced(data) = self.following {
            let k = self.segments * self.segment_len;
            return Some(Next { data: data.wrapping_add(block.start * k * PANEL), panel: k * PANEL, k });
        }
        let (first, index) = if index + 1 < parts { (block.start, index + 1) } else { (block.end, 0) };
        let k = self.k_range(index, parts);
        let is_read = first < panels.end || matches!(self.following, Following::Onwards);
        (is_read && self.b.stored == Stored::F32 && !self.b.transposed).then(|| Next {
            data: self.b.at(first, k.start),
            panel: self.b.panel,
            k: k.len(),
        })
    }

    /// Where part `index` of `parts` of K of the panels `block` is in f32: in place, or widened into scratch.
    unsafe fn f32_panels<V: Tiles>(
        &self,
        block: Range<usize>,
        (index, parts): (usize, usize),
        thread: usize,
    ) -> Panels {
        if self.b.stored == Stored::F32 {
            return self.b;
        }
        let k = self.k_range(index, parts);
        let threads = self.call.pool.threads();
        let own = scratch_bytes(self.segments, self.copy_len, threads);
        let to = self.scratch.wrapping_add(own + self.widened_bytes * thread).cast::<f32>();
        let panel_len = k.len() * PANEL;
        for panel in block.clone() {
            let to = to.wrapping_add((panel - block.start) * panel_len);
            if let Stored::Scaled(width) = self.b.stored {
                let shape = Scaled { k: self.segments * self.segment_len, n: PANEL, group: self.b.step, width };
                let from = self.b.data.wrapping_add(panel * self.b.panel).cast();
                // SAFETY: the panels exist; the scratch has room for a block of this thread.
                unsafe { widen_scaled::<V>(shape, from, k.clone(), to) };
                continue;
            }
            let from = self.b.data.cast::<u16>().wrapping_add(panel * self.b.panel + k.start * PANEL);
            // SAFETY: the panels exist; the scratch has room for a block of this thread.
            unsafe { widen::<V>(self.b.stored, from, to, k.len()) };
        }
        Panels {
            data: to.wrapping_sub(block.start * panel_len + k.start * PANEL),
            step: PANEL,
            panel: panel_len,
            transposed: false,
            stored: Stored::F32,
        }
    }

    /// Part `index` of `parts` of K.
    fn k_range(&self, index: usize, parts: usize) -> Range<usize> {
        if self.segments == 1 {
            return part(self.segment_len, parts, index);
        }
        let segments = part(self.segments, parts, index);
        segments.start * self.segment_len..segments.end * self.segment_len
    }

    /// One tile of rows by a block of panels, over part `index` of `parts` of K.
    unsafe fn run_tile<V: Tiles>(
        &self,
        rows: Range<usize>,
        block: Range<usize>,
        b: Panels,
        (index, parts): (usize, usize),
        ahead: &dyn Fn(usize, usize) -> Option<Ahead>,
        thread: usize,
    ) {
        let (pointers, copies) = self.row_scratch(thread);
        let mut offsets = [0; MAX_ROWS];
        let offsets = &mut offsets[..rows.len()];
        // SAFETY: the scratch has room for this thread's pointers and copies.
        unsafe { self.rows.locate(rows.start, pointers, offsets, copies) };
        let segments = self.k_part(pointers, rows.len(), index, parts);
        let last = index + 1 == parts;
        let (in_registers, rest) = split(self.call.epilogue);
        let mut panel = block.start;
        while panel < block.end {
            let (width, tile) = match (b.transposed, b.stored) {
                (true, _) => (1, V::TRANSPOSED[rows.len() - 1]),
                (_, Stored::Scaled(width)) => V::scaled_tile(width, rows.len(), block.end - panel),
                _ => V::tile(rows.len(), block.end - panel),
            };
            let column = self.columns.start + panel * PANEL;
            let data = b.at(panel, segments.k);
            let args = TileArgs {
                a: segments.pointers,
                segments: segments.n,
                segment_len: segments.len,
                b: data,
                b_step: b.step,
                b_panel: b.panel,
                start: if index == 0 { Start::Zero } else { Start::Stored },
                y: self.y,
                offsets: offsets.as_ptr(),
                column,
                columns: (width * PANEL).min(self.columns.end - column),
                epilogue: if last { in_registers } else { &[] },
                ahead: ahead(panel, width).unwrap_or(Ahead::nothing(data)),
            };
            // SAFETY: the pointers cover the tile.
            unsafe { tile(&args) };
            panel += width;
        }
        if last && !(rest.is_empty() && self.call.callback.is_none_or(|callback| callback.whole_rows)) {
            let start = self.columns.start;
            let columns = start + block.start * PANEL..(start + block.end * PANEL).min(self.columns.end);
            let rows = self.first_row + rows.start..self.first_row + rows.end;
            // SAFETY: the rows are finished and this thread's own.
            unsafe {
                finish_rows::<V>(rest, self.y, offsets, columns.clone());
                call_back(self.call, rows, columns, thread);
            }
        }
    }

    /// Part `index` of `parts` of K: whole segments if there are several, else a piece of the one.
    fn k_part(&self, pointers: *mut *const f32, rows: usize, index: usize, parts: usize) -> Segments {
        if self.segments == 1 {
            let k = part(self.segment_len, parts, index);
            for row in 0..rows {
                // SAFETY: `locate` wrote a pointer for each row; the piece lies in the segment.
                unsafe { *pointers.add(row) = (*pointers.add(row)).wrapping_add(k.start) };
            }
            return Segments { pointers, n: 1, len: k.len(), k: k.start };
        }
        let segments = part(self.segments, parts, index);
        let pointers = pointers.wrapping_add(segments.start * rows);
        Segments { pointers, n: segments.len(), len: self.segment_len, k: segments.start * self.segment_len }
    }
}

/// Panels that are read later.
struct Next {
    /// The first one.
    data: *const f32,
    /// Elements between panels.
    panel: usize,
    /// Rows of each.
    k: usize,
}

/// A part of K.
struct Segments {
    pointers: *const *const f32,
    n: usize,
    len: usize,
    /// First index on K.
    k: usize,
}
