//! How work is divided: over threads, and into blocks that stay in a cache.

use super::tiles::Tiles;
use crate::cache::caches;
use crate::pack::PANEL;
use std::ops::Range;

/// Tiles of rows that make good use of a block: with more, there is time to bring the next one whatever its size.
const MANY_TILES: usize = 32;

/// Number of blocks of a K of `k` elements, and panels in a block. A quarter of the second-level cache holds a block; where
/// K is too long for one tile's width, blocks of K follow each other. The fewer rows share a block, the smaller it is: the
/// first is waited for, and the others are brought by the tiles of the one before.
pub(super) fn blocks<V: Tiles>(k: usize, row_tiles: usize) -> (usize, usize) {
    let lines = caches().l2 / 4 / (PANEL * 4);
    let k_block = (lines / V::panels()).clamp(256, 1 << 20);
    let n_blocks = k.div_ceil(k_block).max(1);
    let share = if row_tiles < MANY_TILES { lines / 2 } else { lines };
    let width = (share / k.div_ceil(n_blocks).max(1)).max(1).next_multiple_of(V::panels());
    (n_blocks, width)
}

/// A product to be divided over threads: tiles of rows by groups of columns.
#[derive(Clone, Copy)]
pub(crate) struct Division {
    /// Tiles of rows.
    pub(crate) row_tiles: usize,
    /// Groups of columns.
    pub(crate) groups: usize,
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Columns of a group.
    pub(crate) columns: usize,
    /// Elements of K.
    pub(crate) k: usize,
}

impl Division {
    /// How many ways to split (rows, columns) so that `threads` threads have nearly equal work and what they wait for is
    /// little: constants, which come from afar, and what another thread computed or will read. Neighbours in a graph split
    /// their rows alike, so those stay with a thread, but each reads all of B.
    pub(crate) fn grid(&self, threads: usize) -> (usize, usize) {
        let share = |row_parts: usize| {
            let column_parts = threads / row_parts;
            (self.row_tiles.div_ceil(row_parts), self.groups.div_ceil(column_parts), column_parts)
        };
        let work = |row_parts: usize| {
            let (tall, wide, _) = share(row_parts);
            tall.saturating_mul(wide)
        };
        let far = |row_parts: usize| {
            let (tall, wide, column_parts) = share(row_parts);
            let (rows, columns) = (tall.saturating_mul(self.rows), wide.saturating_mul(self.columns));
            let activations = rows.saturating_mul(self.k.saturating_add(columns));
            columns.saturating_mul(self.k).saturating_add(activations / column_parts * (column_parts - 1))
        };
        let splits = || (1..=threads).filter(|rows| threads.is_multiple_of(*rows));
        let least = splits().map(work).min().unwrap_or(0);
        let even = splits().filter(|&rows| work(rows) <= least.saturating_add(least / UNEVEN));
        let rows = even.min_by_key(|&rows| (far(rows), work(rows))).unwrap_or(1);
        (rows, threads / rows)
    }
}

/// Work may be uneven by one part in so many, if less is waited for.
const UNEVEN: usize = 12;

/// Part `index` of `parts` nearly equal parts of `0..len`.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// Multiply-adds below which one thread is faster than several.
pub(crate) const SERIAL: usize = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_if_there_are_more_of_them_than_weights() {
        let grid = |rows: usize, k: usize, columns: usize, threads: usize| {
            let (row_tiles, groups) = (rows.div_ceil(12), columns.div_ceil(32));
            Division { row_tiles, groups, rows: 12, columns: 32, k }.grid(threads)
        };
        assert_eq!(grid(196, 112, 672, 2), (2, 1));
        assert_eq!(grid(49, 160, 960, 2), (1, 2), "five tiles of rows do not divide by two");
        assert_eq!(grid(128, 768, 3072, 2), (1, 2), "weights are most of what is read");
        assert_eq!(grid(1, 512, 512, 4), (1, 4));
        assert_eq!(grid(0, 0, 0, 3), (1, 3));
        assert_eq!(grid(usize::MAX / 2, usize::MAX, usize::MAX, 1), (1, 1));
    }
}
