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

/// How many ways to split (rows, columns) so that `threads` threads have equal work: the least work of the busiest
/// thread, in tiles, then the least memory to read.
pub(crate) fn grid(threads: usize, row_tiles: usize, groups: usize) -> (usize, usize) {
    let cost = |rows: usize| {
        let columns = threads / rows;
        let (tall, wide) = (row_tiles.div_ceil(rows), groups.div_ceil(columns));
        (tall * wide, tall + wide)
    };
    let rows = (1..=threads).filter(|rows| threads.is_multiple_of(*rows)).min_by_key(|&rows| cost(rows)).unwrap_or(1);
    (rows, threads / rows)
}

/// Part `index` of `parts` nearly equal parts of `0..len`.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// Multiply-adds below which one thread is faster than several.
pub(crate) const SERIAL: usize = 1 << 15;
