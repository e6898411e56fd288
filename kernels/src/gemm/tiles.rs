//! The tiles that each instruction set has registers for.

use super::microkernel::{TileFn, tile, transposed_tile};
use super::scaled::{i4_tile, i8_tile};
use crate::pack::Width;
#[cfg(target_arch = "aarch64")]
use crate::vector::Neon;
#[cfg(target_arch = "x86_64")]
use crate::vector::{Avx2, Avx512};
use crate::vector::{Portable, Vector};

/// The tiles of an instruction set. Few rows take more panels: one row has too few sums to hide the latency of
/// multiply-adds, and streams B faster in several places at once.
pub(crate) trait Tiles: Vector {
    /// Heights of the tiles: every number of rows from 1 to this.
    const ROWS: usize;

    /// The tiles by number of panels, widest first; each list holds those of 1, 2 … rows.
    const TILES: &'static [(usize, &'static [TileFn])];

    /// Tiles of one panel of a B whose columns are contiguous, of 1, 2 … rows.
    const TRANSPOSED: &'static [TileFn] = &[
        transposed_tile::<Self, 1>,
        transposed_tile::<Self, 2>,
        transposed_tile::<Self, 3>,
        transposed_tile::<Self, 4>,
    ];

    /// Tiles that read panels of integers, of 8 bits and of 4, as they are: ordered as [`TILES`](Self::TILES), for at most
    /// [`SCALED_ROWS`] rows.
    const SCALED: &'static [(usize, &'static [[TileFn; 2]])];

    /// The widest of the [`SCALED`](Self::SCALED) tiles of `rows` rows and at most `panels` panels, with its number of
    /// panels.
    fn scaled_tile(width: Width, rows: usize, panels: usize) -> (usize, TileFn) {
        let mut fitting = Self::SCALED.iter().filter(|(n, tiles)| *n <= panels && rows <= tiles.len());
        let (n, tiles) = fitting.next().expect("tiles of one panel come in every height");
        (*n, tiles[rows - 1][usize::from(width == Width::Four)])
    }

    /// The widest tile of `rows` rows and at most `panels` panels, with its number of panels.
    fn tile(rows: usize, panels: usize) -> (usize, TileFn) {
        let mut fitting = Self::TILES.iter().filter(|(width, tiles)| *width <= panels && rows <= tiles.len());
        let (width, tiles) = fitting.next().expect("tiles of one panel come in every height");
        (*width, tiles[rows - 1])
    }

    /// Panels of the widest tile of full height.
    fn panels() -> usize {
        Self::tile(Self::ROWS, usize::MAX).0
    }
}

/// Most rows for which panels of integers are read as they are: with more, widening them once is less work.
pub(crate) const SCALED_ROWS: usize = 4;

/// Tiles of `$panels` panels of integers and each of these heights.
macro_rules! scaled_tiles {
    ($V:ty, $($panels:literal: [$($rows:literal)*],)*) => {
        &[$(($panels, &[$([i8_tile::<$V, $rows, $panels>, i4_tile::<$V, $rows, $panels>]),*])),*]
    };
}

/// Tiles of `$panels` panels and each of these heights.
macro_rules! tiles {
    ($V:ty, $($panels:literal: [$($rows:literal)*],)*) => {
        &[$(($panels, &[$(tile::<$V, $rows, $panels>),*])),*]
    };
}

#[cfg(target_arch = "x86_64")]
impl Tiles for Avx512 {
    const ROWS: usize = 12;
    const TILES: &'static [(usize, &'static [TileFn])] = tiles! { Avx512,
        8: [1],
        4: [1 2 3 4 5],
        2: [1 2 3 4 5 6 7 8 9 10 11 12],
        1: [1 2 3 4 5 6 7 8 9 10 11 12],
    };
    const SCALED: &'static [(usize, &'static [[TileFn; 2]])] =
        scaled_tiles! { Avx512, 8: [1], 4: [1 2 3 4], 1: [1 2 3 4], };
}

#[cfg(target_arch = "x86_64")]
impl Tiles for Avx2 {
    const ROWS: usize = 6;
    const TILES: &'static [(usize, &'static [TileFn])] = tiles! { Avx2,
        4: [1],
        2: [1 2 3],
        1: [1 2 3 4 5 6],
    };
    const SCALED: &'static [(usize, &'static [[TileFn; 2]])] =
        scaled_tiles! { Avx2, 4: [1], 2: [1 2 3 4], 1: [1 2 3 4], };
}

#[cfg(target_arch = "aarch64")]
impl Tiles for Neon {
    const ROWS: usize = 6;
    const TILES: &'static [(usize, &'static [TileFn])] = tiles! { Neon,
        4: [1],
        2: [1 2 3],
        1: [1 2 3 4 5 6],
    };
    const SCALED: &'static [(usize, &'static [[TileFn; 2]])] =
        scaled_tiles! { Neon, 4: [1], 2: [1 2 3 4], 1: [1 2 3 4], };
}

impl Tiles for Portable {
    const ROWS: usize = 4;
    const TILES: &'static [(usize, &'static [TileFn])] = tiles! { Portable,
        1: [1 2 3 4],
    };
    const SCALED: &'static [(usize, &'static [[TileFn; 2]])] = scaled_tiles! { Portable, 1: [1 2 3 4], };
}
