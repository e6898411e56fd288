//! Tiles of few rows that read panels of integers with scales as they are.
//!
//! With few rows every element of B is used a few times, so memory decides: the integers become floats in registers, and
//! nothing is written but the result. Each element is its integer times its scale, rounded to f32, as where panels are
//! widened first, so both ways give the same bits.

use super::microkernel::{Start, TileArgs};
use crate::epilogue::{Columns, in_registers};
use crate::pack::{PANEL, Width};
use crate::vector::{Task, Vector};

/// Row `row` of a panel of 4-bit integers as floats, from the bytes that hold it and a neighbour.
#[inline(always)]
pub(super) fn row_of<V: Vector>(bytes: V, row: usize) -> V {
    let halves = if row.is_multiple_of(2) { bytes } else { bytes.shift_right::<4>() };
    halves.low_half_to_float()
}

/// The tile of `ROWS` rows and `PANELS` panels of 8-bit integers. One segment; [`TileArgs::b_step`] is the number of rows
/// that share a scale.
pub(crate) unsafe fn i8_tile<V: Vector, const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    // SAFETY: the caller vouches for the instruction set and the pointers.
    unsafe { V::vectorize(Body::<'_, ROWS, PANELS> { args, width: Width::Eight }) };
}

/// [`i8_tile`] of 4-bit integers.
pub(crate) unsafe fn i4_tile<V: Vector, const ROWS: usize, const PANELS: usize>(args: &TileArgs) {
    // SAFETY: the caller vouches for the instruction set and the pointers.
    unsafe { V::vectorize(Body::<'_, ROWS, PANELS> { args, width: Width::Four }) };
}

struct Body<'a, const ROWS: usize, const PANELS: usize> {
    args: &'a TileArgs<'a>,
    width: Width,
}

impl<const ROWS: usize, const PANELS: usize> Task for Body<'_, ROWS, PANELS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let args = self.args;
        debug_assert!(args.segments == 1 && args.start == Start::Zero);
        let tile = Columns { column: args.column, n: args.columns };
        let mut sums = [[V::splat(0.0); PANELS]; ROWS];
        // SAFETY: the caller's pointers cover the tile.
        unsafe {
            match self.width {
                Width::Eight => accumulate_i8(args, &mut sums),
                Width::Four => accumulate_i4(args, &mut sums),
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

/// The scales of a group and where the integers begin, of each panel.
#[inline(always)]
unsafe fn group_of<V: Vector, const PANELS: usize>(
    args: &TileArgs,
    group: usize,
) -> ([V; PANELS], [*const u8; PANELS]) {
    let groups = args.segment_len.div_ceil(args.b_step);
    let (mut scales, mut integers) = ([V::splat(0.0); PANELS], [std::ptr::null(); PANELS]);
    for panel in 0..PANELS {
        let first = args.b.wrapping_add(panel * args.b_panel);
        // SAFETY: every panel has scales for every group.
        scales[panel] = unsafe { V::load(first.add(group * PANEL)) };
        integers[panel] = first.wrapping_add(groups * PANEL).cast();
    }
    (scales, integers)
}

/// `sums += a * b` over all of K, in order.
#[inline(always)]
unsafe fn accumulate_i8<V: Vector, const ROWS: usize, const PANELS: usize>(
    args: &TileArgs,
    sums: &mut [[V; PANELS]; ROWS],
) {
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        let rows = *args.a.cast::<[*const f32; ROWS]>();
        for group in 0..args.segment_len.div_ceil(args.b_step) {
            let (scales, integers) = group_of::<V, PANELS>(args, group);
            let first = group * args.b_step;
            for k in first..(first + args.b_step).min(args.segment_len) {
                let mut b = scales;
                for panel in 0..PANELS {
                    b[panel] = V::load_bytes::<true>(integers[panel].add(k * PANEL)).int_to_float().mul(scales[panel]);
                }
                multiply(&rows, k, &b, sums);
            }
        }
    }
}

/// [`accumulate_i8`] for two rows of B in each byte.
#[inline(always)]
unsafe fn accumulate_i4<V: Vector, const ROWS: usize, const PANELS: usize>(
    args: &TileArgs,
    sums: &mut [[V; PANELS]; ROWS],
) {
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        let rows = *args.a.cast::<[*const f32; ROWS]>();
        for group in 0..args.segment_len.div_ceil(args.b_step) {
            let (scales, integers) = group_of::<V, PANELS>(args, group);
            let first = group * args.b_step;
            let end = (first + args.b_step).min(args.segment_len);
            for k in (first..end).step_by(2) {
                let (mut low, mut high) = (scales, scales);
                for panel in 0..PANELS {
                    let bytes = V::load_bytes::<true>(integers[panel].add(k / 2 * PANEL));
                    low[panel] = row_of(bytes, 0).mul(scales[panel]);
                    high[panel] = row_of(bytes, 1).mul(scales[panel]);
                }
                multiply(&rows, k, &low, sums);
                if k + 1 < end {
                    multiply(&rows, k + 1, &high, sums);
                }
            }
        }
    }
}

/// Adds the products of element `k` of each row.
#[inline(always)]
unsafe fn multiply<V: Vector, const ROWS: usize, const PANELS: usize>(
    rows: &[*const f32; ROWS],
    k: usize,
    b: &[V; PANELS],
    sums: &mut [[V; PANELS]; ROWS],
) {
    for row in 0..ROWS {
        // SAFETY: the caller's rows have an element `k`.
        let x = V::splat(unsafe { *rows[row].add(k) });
        for panel in 0..PANELS {
            sums[row][panel] = x.mul_add(b[panel], sums[row][panel]);
        }
    }
}
