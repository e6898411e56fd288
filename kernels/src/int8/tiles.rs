//! The tiles of integer contractions.

use super::microkernel::{TileFn, tile};
use crate::vector::Dot;
#[cfg(target_arch = "aarch64")]
use crate::vector::dot::NeonDot;
use crate::vector::dot::PortableDot;
#[cfg(target_arch = "x86_64")]
use crate::vector::dot::{Avx2Dot, Avx512Amx, Avx512Dot, Avx512Vnni, AvxVnni};

/// Most rows that any tile has, and that the matrix unit takes at once.
pub(crate) const MAX_ROWS: usize = 32;

/// The tiles of a way to multiply bytes.
pub(crate) trait IntTiles: Dot {
    /// The tiles by number of panels, widest first; each list holds those of 1, 2 … rows.
    const TILES: &'static [(usize, &'static [TileFn])];

    /// Height of the tallest tile.
    const ROWS: usize = Self::TILE.0;

    /// Rows times K of the smallest product that the matrix unit multiplies, if there is one.
    const MATRICES: Option<usize> = None;

    /// Most rows that are multiplied at once.
    const MOST_ROWS: usize = if Self::MATRICES.is_some() { MAX_ROWS } else { Self::ROWS };

    /// The widest tile of `rows` rows and at most `panels` panels, with its number of panels.
    fn tile(rows: usize, panels: usize) -> (usize, TileFn) {
        let mut fitting = Self::TILES.iter().filter(|(width, tiles)| *width <= panels && rows <= tiles.len());
        let (width, tiles) = fitting.next().expect("tiles of one panel come in every height");
        (*width, tiles[rows - 1])
    }
}

macro_rules! tiles {
    ($($(#[$cfg:meta])* $D:ty { $($panels:literal: [$($rows:literal)*],)* })*) => {$(
        $(#[$cfg])*
        impl IntTiles for $D {
            const TILES: &'static [(usize, &'static [TileFn])] =
                &[$(($panels, &[$(tile::<$D, $rows, $panels>),*])),*];
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
impl<const LEAST: usize> IntTiles for Avx512Amx<LEAST> {
    const TILES: &'static [(usize, &'static [TileFn])] = Avx512Vnni::TILES;
    const MATRICES: Option<usize> = Some(LEAST);
}

tiles! {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni {
        4: [1 2 3 4],
        2: [1 2 3 4 5 6 7 8 9 10 11 12],
        1: [1 2 3 4 5 6 7 8 9 10 11 12],
    }
    #[cfg(target_arch = "x86_64")]
    Avx512Dot {
        2: [1 2 3 4 5 6 7 8],
        1: [1 2 3 4 5 6 7 8],
    }
    #[cfg(target_arch = "x86_64")]
    AvxVnni {
        2: [1 2],
        1: [1 2 3 4 5 6],
    }
    #[cfg(target_arch = "x86_64")]
    Avx2Dot {
        1: [1 2 3 4],
    }
    #[cfg(target_arch = "aarch64")]
    NeonDot {
        1: [1 2 3 4],
    }
    PortableDot {
        1: [1 2 3 4],
    }
}
