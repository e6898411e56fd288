//! The inner loop of every f32 contraction: a tile of rows by panels of 16 columns, held in registers.
//!
//! K is walked in *segments*: runs over which each row of A is contiguous. A matrix product has one segment, a
//! convolution one for each tap. For each segment there is one pointer for each row, so rows lie anywhere.

use crate::abi::EpilogueOp;
use crate::cache::prefetch_l2;
use crate::epilogue::{Columns, in_registers, prefetch_operand};
use crate::pack::PANEL;
use crate::vector::{LANES, Task, Vector};

/// Most rows that any tile has.
pub(crate) const MAX_ROWS: usize = 14;

/// Where the sums start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start {
    /// At 0.
    Zero,
    /// At what an earlier block of K left in `y`.
    Stored,
}

/// One tile of work.
pub(crate) struct TileArgs<'a> {
    /// Pointers to A: `[segments][rows of the tile]`.
    pub(crate) a: *const *const f32,
    /// Number of segments.
    pub(crate) segments: usize,
    /// Elements of K in each.
    pub(crate) segment_len: usize,
    /// First element of the first panel of B.
    pub(crate) b: *const f32,
    /// Elements between neighbours of B on K: 16 if B is packed. For a transposed tile, between columns;
    /// for one of integers, how many of them share a scale.
    pub(crate) b_step: usize,
    /// Elements between panels of B.
    pub(crate) b_panel: usize,
    /// Where the sums start.
    pub(crate) start: Start,
    /// Start of the result.
    pub(crate) y: *mut f32,
    /// Offset of each row of the tile from the start of the result, in elements.
    pub(crate) offsets: *const isize,
    /// First column of the tile.
    pub(crate) column: usize,
    /// Columns of the tile: all its panels, but the last may be cut.
    pub(crate) columns: usize,
    /// What to do to the sums, as [`split`](crate::epilogue::split) gave it.
    pub(crate) epilogue: &'a [EpilogueOp],
    /// What is read later.
    pub(crate) ahead: Ahead,
}

/// Memory to bring near while a tile computes, some bytes for each element of K, or for each four of bytes.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    data: *const u8,
    /// Bytes for each element of K; 0 where there is nothing to bring.
    step: usize,
}

impl Ahead {
    /// Nothing: a line that is read anyway, because addresses that are not mapped take long.
    pub(crate) fn nothing<T>(b: *const T) -> Ahead {
        Ahead { data: b.cast(), step: 0 }
    }

    /// Where the memory begins.
    pub(crate) fn data(&self) -> *const u8 {
        self.data
    }

    /// Bytes of it for each element of K, or for each four of bytes.
    pub(crate) fn step(&self) -> usize {
        self.step
    }

    /// Asks for the next bytes.
    #[inline(always)]
    pub(crate) fn bring(&mut self) {
        prefetch_l2(self.data);
        self.data = self.data.wrapping_add(self.step);
    }

    /// What tile `tile` of `tiles` brings of `panels` panels of packed B, of `k` rows each, that are read later. Tiles
    /// share the panels evenly, so that memory has as much time as there is.
    pub(crate) fn share(
        (tile, tiles): (usize, usize),
        panels: usize,
        k: usize,
        panel: impl FnOnce(usize) -> *const u8,
    ) -> Option<Ahead> {
        if tiles <= panels || panels == 0 {
            return (tiles > 1).then(|| Ahead { data: panel(tile * panels / tiles), step: PANEL * size_of::<f32>() });
        }
        let index = tile * panels / tiles;
        // The tiles that bring this panel.
        let (first, end) = ((index * tiles).div_ceil(panels), ((index + 1) * tiles).div_ceil(panels));
        let bytes = PANEL * size_of::<f32>();
        let step = bytes.div_ceil(end - first);
        Some(Ahead { data: panel(index).wrapping_add((tile - first) * step * k), step })
    }
}

/// A tile of fixed height and number of panels.
///
/// # Safety
/// The machine has the instruction set; the pointers cover the tile.
pub(crate) type TileFn = unsafe fn(&TileArgs);

/// The tile of `ROWS` rows and `PANELS` panels.
pub(crate) unsafe fn tile<V: Vector, const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    // SAFETY: the caller vouches for the instruction set and the pointers.
    unsafe { V::vectorize(Body::<'_, ROWS, PANELS, false>(args)) };
}

/// The tile of `ROWS` rows and one panel of a B whose columns are contiguous. One segment.
pub(crate) unsafe fn transposed_tile<V: Vector, const ROWS: usize>(args: &TileArgs) {
    // SAFETY: the caller vouches for the instruction set and the pointers.
    unsafe { V::vectorize(Body::<'_, ROWS, 1, true>(args)) };
}

struct Body<'a, const ROWS: usize, const PANELS: usize, const TRANSPOSED: bool>(&'a TileArgs<'a>);

impl<const ROWS: usize, const PANELS: usize, const TRANSPOSED: bool> Task for Body<'_, ROWS, PANELS, TRANSPOSED> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let args = self.0;
        let tile = Columns { column: args.column, n: args.columns };
        let mut sums = [[V::splat(0.0); PANELS]; ROWS];
        // SAFETY: the caller's pointers cover the tile.
        unsafe {
            if args.start == Start::Stored {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (panel, sum) in sums.iter_mut().enumerate() {
                        let columns = tile.panel(panel);
                        *sum = columns.load(args.y, *args.offsets.add(row) + columns.column as isize);
                    }
                }
            }
            for op in args.epilogue {
                prefetch_operand(op, ROWS, PANELS, tile, args.offsets);
            }
            if TRANSPOSED {
                accumulate_transposed(args, &mut sums);
            } else {
                accumulate(args, &mut sums);
            }
            for op in args.epilogue {
                in_registers(op, &mut sums, tile, args.offsets);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (panel, &sum) in sums.iter().enumerate() {
                    let columns = tile.panel(panel);
                    columns.store(sum, args.y, *args.offsets.add(row) + columns.column as isize);
                }
            }
        }
    }
}

/// `sums += a * b` over all of K, in order.
#[inline(always)]
unsafe fn accumulate<V: Vector, const ROWS: usize, const PANELS: usize>(
    args: &TileArgs,
    sums: &mut [[V; PANELS]; ROWS],
) {
    let (mut a, mut b, mut ahead) = (args.a, args.b, args.ahead);
    for _ in 0..args.segments {
        // SAFETY: the caller's pointers cover the tile.
        unsafe {
            let rows = *a.cast::<[*const f32; ROWS]>();
            for k in 0..args.segment_len {
                let mut panels = [V::splat(0.0); PANELS];
                for (i, panel) in panels.iter_mut().enumerate() {
                    *panel = V::load(b.add(i * args.b_panel));
                }
                for row in 0..ROWS {
                    let x = V::splat(*rows[row].add(k));
                    for panel in 0..PANELS {
                        sums[row][panel] = x.mul_add(panels[panel], sums[row][panel]);
                    }
                }
                b = b.add(args.b_step);
                ahead.bring();
            }
            a = a.add(ROWS);
        }
    }
}

/// Bytes between what is read of a B in place and what is asked for: columns far apart are more streams than a processor
/// follows by itself.
const IN_FLIGHT: usize = 16 << 10;

/// [`accumulate`] for one panel of a B whose columns are contiguous: blocks of it are transposed in registers, so that
/// every element is read once, where it is.
#[inline(always)]
unsafe fn accumulate_transposed<V: Vector, const ROWS: usize, const PANELS: usize>(
    args: &TileArgs,
    sums: &mut [[V; PANELS]; ROWS],
) {
    let whole = if args.columns == LANES { args.segment_len / LANES * LANES } else { 0 };
    let panel_bytes = (args.segment_len * LANES * size_of::<f32>()).max(1);
    let later = args.b.wrapping_add(IN_FLIGHT.div_ceil(panel_bytes) * LANES * args.b_step);
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        let rows = *args.a.cast::<[*const f32; ROWS]>();
        for k in (0..whole).step_by(LANES) {
            let mut block = [V::splat(0.0); LANES];
            for (j, lanes) in block.iter_mut().enumerate() {
                *lanes = V::load(args.b.add(j * args.b_step + k));
                prefetch_l2(later.wrapping_add(j * args.b_step + k));
            }
            V::transpose(&mut block);
            for (i, &lanes) in block.iter().enumerate() {
                for row in 0..ROWS {
                    sums[row][0] = V::splat(*rows[row].add(k + i)).mul_add(lanes, sums[row][0]);
                }
            }
        }
        for k in (whole..args.segment_len).step_by(LANES) {
            let n = LANES.min(args.segment_len - k);
            let mut block = [V::splat(0.0); LANES];
            for (j, lanes) in block.iter_mut().enumerate().take(args.columns) {
                *lanes = V::load_partial(args.b.add(j * args.b_step + k), n);
            }
            V::transpose(&mut block);
            for (i, &lanes) in block.iter().enumerate().take(n) {
                for row in 0..ROWS {
                    sums[row][0] = V::splat(*rows[row].add(k + i)).mul_add(lanes, sums[row][0]);
                }
            }
        }
    }
}
