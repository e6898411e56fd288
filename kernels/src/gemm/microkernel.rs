//! The inner loop of every f32 contraction: a tile of rows by panels of 16 columns, held in registers.
//!
//! K is walked in *segments*: runs over which each row of A is contiguous. A matrix product has one segment, a
//! convolution one for each tap. For each segment there is one pointer for each row, so rows lie anywhere.

use crate::abi::EpilogueOp;
use crate::epilogue::{Columns, in_registers};
use crate::vector::{Task, Vector};

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
    /// Elements between neighbours of B on K: 16 if B is packed.
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
}

/// A tile of fixed height and number of panels.
///
/// # Safety
/// The machine has the instruction set; the pointers cover the tile.
pub(crate) type TileFn = unsafe fn(&TileArgs);

/// The tile of `ROWS` rows and `PANELS` panels.
pub(crate) unsafe fn tile<V: Vector, const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    // SAFETY: the caller vouches for the instruction set and the pointers.
    unsafe { V::vectorize(Body::<'_, ROWS, PANELS>(args)) };
}

struct Body<'a, const ROWS: usize, const PANELS: usize>(&'a TileArgs<'a>);

impl<const ROWS: usize, const PANELS: usize> Task for Body<'_, ROWS, PANELS> {
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
            accumulate(args, &mut sums);
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
    let (mut a, mut b) = (args.a, args.b);
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
            }
            a = a.add(ROWS);
        }
    }
}
