//! The inner loop of integer contractions: a tile of rows by panels of 16 columns, summed in registers.
//!
//! K is walked in segments, as the f32 tiles do, four bytes at a time; every sum is exact, wrapping at 32 bits.

use super::finish::{Finish, finish};
use crate::gemm::Ahead;
use crate::pack::PANEL;
use crate::vector::{Dot, DotTask, Vector};

/// Neighbours on K that one instruction multiplies.
const QUAD: usize = 4;

/// One tile of work.
pub(crate) struct TileArgs<'a> {
    /// Pointers to A: `[segments][rows of the tile]`.
    pub(crate) a: *const *const u8,
    /// Number of segments.
    pub(crate) segments: usize,
    /// Elements of K in each.
    pub(crate) segment_len: usize,
    /// First panel of B.
    pub(crate) b: *const u8,
    /// Bytes between panels of B.
    pub(crate) b_panel: usize,
    /// Where the tile's results go.
    pub(crate) finish: Finish<'a>,
    /// What is read later.
    pub(crate) ahead: Ahead,
}

/// A tile of fixed height and number of panels.
///
/// # Safety
/// The machine has the instructions; the pointers cover the tile.
pub(crate) type TileFn = unsafe fn(&TileArgs);

/// The tile of `ROWS` rows and `PANELS` panels.
pub(crate) unsafe fn tile<D: Dot, const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    // SAFETY: the caller vouches for the instructions and the pointers.
    unsafe { D::vectorize(Body::<'_, ROWS, PANELS>(args)) };
}

struct Body<'a, const ROWS: usize, const PANELS: usize>(&'a TileArgs<'a>);

impl<const ROWS: usize, const PANELS: usize> DotTask for Body<'_, ROWS, PANELS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let mut start = [D::Vector::splat(0.0); PANELS];
        // SAFETY: the caller's pointers cover the tile.
        unsafe {
            for (panel, start) in start.iter_mut().enumerate() {
                *start = D::Vector::load(self.0.finish.start.add(panel * PANEL).cast());
            }
            let mut sums = [start; ROWS];
            accumulate::<D, ROWS, PANELS>(self.0, &mut sums);
            // A copy, so that the sums stay in registers until here.
            let mut finished = sums;
            finish(&self.0.finish, &mut finished);
        }
    }
}

/// The four bytes at `from`, of which `n` exist, in every lane.
#[inline(always)]
unsafe fn quad<V: Vector>(from: *const u8, n: usize) -> V {
    // SAFETY: the caller vouches for `n <= 4` bytes.
    let bits = unsafe {
        match n {
            QUAD => from.cast::<u32>().read_unaligned(),
            3 => u32::from(from.cast::<u16>().read_unaligned()) | u32::from(*from.add(2)) << 16,
            2 => from.cast::<u16>().read_unaligned().into(),
            _ => (*from).into(),
        }
    };
    V::splat_bits(bits)
}

/// Most chains of sums that a tile has.
const MAX_CHAINS: usize = 4;

/// Into how many chains the sums of a tile are split, so that a small one does not wait for its own sums.
const fn chains<V: Vector>(tile: usize) -> usize {
    let fitting = V::REGISTERS / 2 / tile;
    if fitting >= MAX_CHAINS && tile <= 2 {
        MAX_CHAINS
    } else if fitting >= 2 && tile <= 4 {
        2
    } else {
        1
    }
}

/// `sums += a * b` over all of K.
#[inline(always)]
unsafe fn accumulate<D: Dot, const ROWS: usize, const PANELS: usize>(
    args: &TileArgs,
    sums: &mut [[D::Vector; PANELS]; ROWS],
) {
    let (mut a, mut b, mut ahead) = (args.a, args.b, args.ahead);
    let chains = const { chains::<D::Vector>(ROWS * PANELS) };
    let mut chained = [[[D::Vector::splat(0.0); PANELS]; ROWS]; MAX_CHAINS];
    chained[0] = *sums;
    let (whole, rest) = (args.segment_len / QUAD, args.segment_len % QUAD);
    for _ in 0..args.segments {
        // SAFETY: the caller's pointers cover the tile.
        unsafe {
            let rows = *a.cast::<[*const u8; ROWS]>();
            let together = whole - whole % chains;
            for k in (0..together).step_by(chains) {
                for (chain, sums) in chained.iter_mut().enumerate().take(chains) {
                    step::<D, ROWS, PANELS>(args, b, sums, |row| quad(rows[row].add((k + chain) * QUAD), QUAD));
                    b = b.add(QUAD * PANEL);
                    ahead.bring();
                }
            }
            for k in together..whole {
                step::<D, ROWS, PANELS>(args, b, &mut chained[0], |row| quad(rows[row].add(k * QUAD), QUAD));
                b = b.add(QUAD * PANEL);
                ahead.bring();
            }
            if rest > 0 {
                step::<D, ROWS, PANELS>(args, b, &mut chained[0], |row| quad(rows[row].add(whole * QUAD), rest));
                b = b.add(QUAD * PANEL);
            }
            a = a.add(ROWS);
        }
    }
    *sums = chained[0];
    for more in &chained[1..chains] {
        for (sums, more) in sums.iter_mut().zip(more) {
            for (sum, &more) in sums.iter_mut().zip(more) {
                *sum = sum.add_int(more);
            }
        }
    }
}

/// One group of four on K.
#[inline(always)]
unsafe fn step<D: Dot, const ROWS: usize, const PANELS: usize>(
    args: &TileArgs,
    b: *const u8,
    sums: &mut [[D::Vector; PANELS]; ROWS],
    x: impl Fn(usize) -> D::Vector,
) {
    let mut panels = [D::Vector::splat(0.0); PANELS];
    for (i, panel) in panels.iter_mut().enumerate() {
        // SAFETY: the caller's pointers cover the tile.
        *panel = unsafe { D::Vector::load(b.add(i * args.b_panel).cast()) };
    }
    for (row, sums) in sums.iter_mut().enumerate() {
        let x = x(row);
        for (sum, &panel) in sums.iter_mut().zip(&panels) {
            *sum = D::dot(*sum, x, panel);
        }
    }
}
