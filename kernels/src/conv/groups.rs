//! The groups of a convolution: a contraction each.

use super::rows::PixelRows;
use crate::abi::Call;
use crate::gemm::{Contraction, Rows, Tiles};
use crate::pack::PANEL;
use std::ops::Range;

/// Pointers that a thread keeps for all groups at a time.
const KEPT_POINTERS: usize = 4096;

/// Runs one contraction for each group: groups on threads if there are enough of them, else each on all threads.
///
/// # Safety
/// The machine has `V`; the contractions are valid.
pub(crate) unsafe fn run_groups<'a, V: Tiles, R: Rows>(
    call: &Call,
    groups: usize,
    group: impl Fn(usize) -> Contraction<'a, R>,
) {
    if !are_split(call, groups) {
        // SAFETY: the caller vouches for the contractions.
        (0..groups).for_each(|index| unsafe { group(index).run::<V>() });
        return;
    }
    let body = |range: Range<usize>, thread: usize| {
        for index in range {
            let contraction = group(index);
            // SAFETY: the caller vouches for the contractions; groups write disjoint columns.
            unsafe { run_rows::<V, R>(&contraction, 0..contraction.n_rows, thread) };
        }
    };
    let shared = Shared(&body);
    call.pool.run(groups, &|range, thread| shared.call(range, thread));
}

/// Whether threads share the groups, and not the rows of each.
pub(crate) fn are_split(call: &Call, groups: usize) -> bool {
    groups >= 2 * call.pool.threads()
}

/// All columns of some rows of a contraction, on the calling thread.
unsafe fn run_rows<V: Tiles, R: Rows>(contraction: &Contraction<R>, rows: Range<usize>, thread: usize) {
    let panels = contraction.columns.len().div_ceil(PANEL);
    // SAFETY: the caller vouches for the contraction.
    unsafe { contraction.run_part::<V>(rows, 0..panels, thread) };
}

/// The pixels of a convolution in groups. Finding them takes a part of the time of a narrow group, so it is done once for
/// all groups of a thread: pixels of a group lie as many elements after those of the one before as it has channels.
pub(crate) struct GroupPixels<'a> {
    /// The call.
    pub(crate) call: &'a Call<'a>,
    /// Number of groups.
    pub(crate) groups: usize,
    /// The pixels of the first group. Their zeros are as long as all groups.
    pub(crate) rows: PixelRows,
    /// Number of pixels of the result.
    pub(crate) n_rows: usize,
    /// Taps of the filters.
    pub(crate) taps: usize,
    /// Channels of a group.
    pub(crate) channels: usize,
    /// Scratch, of [`kept_bytes`] for each thread.
    pub(crate) scratch: *mut u8,
}

// SAFETY: each thread writes its own part of the scratch; the rest is only read.
unsafe impl Sync for GroupPixels<'_> {}

/// Rows of which pointers are kept.
fn kept_rows<V: Tiles>(taps: usize) -> usize {
    (KEPT_POINTERS / taps.max(1) / V::ROWS).max(1) * V::ROWS
}

/// Bytes of scratch of one thread for [`GroupPixels`].
pub(crate) fn kept_bytes<V: Tiles>(taps: usize) -> usize {
    (kept_rows::<V>(taps) * (taps + 1) * size_of::<*const f32>()).next_multiple_of(64)
}

impl GroupPixels<'_> {
    /// Runs `group(index, rows)` for each group: its contraction over these rows.
    ///
    /// # Safety
    /// The machine has `V`; the contractions are valid and have as many segments as there are taps.
    pub(crate) unsafe fn run<'b, V: Tiles>(&self, group: impl Fn(usize, KeptRows) -> Contraction<'b, KeptRows>) {
        let body = |groups: Range<usize>, thread: usize| {
            let pointers = self.scratch.wrapping_add(kept_bytes::<V>(self.taps) * thread).cast::<*const f32>();
            let step = kept_rows::<V>(self.taps);
            let offsets = pointers.wrapping_add(step * self.taps).cast::<isize>();
            for first in (0..self.n_rows).step_by(step) {
                let rows = first..self.n_rows.min(first + step);
                // SAFETY: the scratch has room for pointers and offsets of as many rows; it is this thread's own.
                unsafe {
                    offsets.write_bytes(0, rows.len());
                    let offsets = std::slice::from_raw_parts_mut(offsets, rows.len());
                    self.rows.locate(first, pointers, offsets, std::ptr::null_mut());
                }
                for index in groups.clone() {
                    let (taps, shift) = (self.taps, index * self.channels);
                    let contraction = group(index, KeptRows { pointers, offsets, rows: rows.clone(), taps, shift });
                    // SAFETY: the caller vouches for the contractions; groups write disjoint columns.
                    unsafe { run_rows::<V, KeptRows>(&contraction, rows.clone(), thread) };
                }
            }
        };
        let shared = Shared(&body);
        self.call.pool.run(self.groups, &|range, thread| shared.call(range, thread));
    }
}

/// Rows whose pointers are known for the first group.
pub(crate) struct KeptRows {
    pointers: *const *const f32,
    offsets: *const isize,
    rows: Range<usize>,
    taps: usize,
    /// Elements by which this group's lie further.
    shift: usize,
}

// SAFETY: pointers and offsets are only read.
unsafe impl Sync for KeptRows {}

impl Rows for KeptRows {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], _copies: *mut f32) {
        let (n, at) = (offsets.len(), first - self.rows.start);
        // SAFETY: the rows are among those that are kept; there is room for a pointer for each row and tap.
        unsafe {
            offsets.copy_from_slice(std::slice::from_raw_parts(self.offsets.add(at), n));
            for tap in 0..self.taps {
                let from = std::slice::from_raw_parts(self.pointers.add(tap * self.rows.len() + at), n);
                for (row, &from) in from.iter().enumerate() {
                    *pointers.add(tap * n + row) = from.wrapping_add(self.shift);
                }
            }
        }
    }
}

/// A body that threads may share although it holds raw pointers.
pub(crate) struct Shared<'a>(pub(crate) &'a dyn Fn(Range<usize>, usize));

impl Shared<'_> {
    /// Runs it.
    pub(crate) fn call(&self, range: Range<usize>, thread: usize) {
        (self.0)(range, thread);
    }
}

// SAFETY: bodies write disjoint memory for disjoint ranges and threads.
unsafe impl Sync for Shared<'_> {}
