//! f32 products on a matrix unit that multiplies bf16.
//!
//! A number of 24 significant bits is the sum of three of 8, its *pieces*; a product of two numbers is that of nine products
//! of pieces, which are exact in f32. The three least are below the last bit, so the unit sums the other six (Henry, Tang and
//! Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019). It sums in
//! f32, in blocks of K, which leaves less error than one chain of multiply-adds.
//!
//! A thread cuts a block of its rows for a block of K, then panel after panel, and multiplies tiles of 32 by 32. Blocks of K
//! depend on K alone, and each result on its row and column alone, so bits do not depend on threads. Columns are scaled by
//! powers of 2 to magnitudes a little below 1: trained models have some whose weights have all but vanished, with pieces below the least
//! numbers. Rows and columns that pieces cannot stand for, infinities and NaN, and rows that are all next to 0, are summed by
//! multiply-adds.

use super::blocking::part;
use super::contraction::{Contraction, Rows};
use super::microkernel::Ahead;
use super::tiles::Tiles;
use super::widen::Stored;
use crate::epilogue::{Columns, call_back, finish_rows, in_registers, split};
use crate::pack::PANEL;
use crate::vector::amx::{PIECES, Pieces, ROW, STEP, STEP_BYTES, Shapes, TILE, TILE_BYTES, has_bf16, pieces};
use crate::vector::{LANES, Task, Vector};
use std::arch::x86_64::*;
use std::ops::Range;

/// Most steps of a block of K.
const STEPS: usize = 16;
/// Rows of a product: two tiles.
const TALL: usize = 2 * TILE;
/// Most rows whose pieces are kept, beside those of two panels, in the second-level cache.
const ROWS: usize = 8 * TALL;
/// Panels after which rows are finished, while they are near.
const GROUP: usize = 8;
/// Bytes of the pieces of a block of K of 32 rows or of two panels.
const BLOCK: usize = STEPS * STEP_BYTES;
/// Sums of a product.
const SUMS: usize = TALL * 2 * PANEL;

/// Bytes of the pieces, of the sums and of the scales.
const PIECE_BYTES: usize = (ROWS / TALL + 1) * BLOCK + SUMS * size_of::<f32>() + 2 * size_of::<Scales>();

/// What the sums of the columns of a panel are to be multiplied by.
type Scales = [f32; PANEL];

/// The scales of sums that are scaled.
static SCALED: [Scales; 2] = [[1.0; PANEL]; 2];

/// Bytes of scratch of a thread, where the machine has the unit: pieces, sums and pointers to rows.
pub(super) fn scratch_bytes(segments: usize) -> usize {
    if has_bf16() { PIECE_BYTES + segments * ROWS * size_of::<*const f32>() } else { 0 }
}

/// Steps of K: each begins in a segment and is of it alone.
#[derive(Clone)]
struct Steps {
    range: Range<usize>,
    /// Steps of a segment.
    each: usize,
    segment_len: usize,
}

impl Steps {
    fn len(&self) -> usize {
        self.range.len()
    }

    /// Of each step its segment, where it begins there, and how many elements it has.
    fn iter(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.range.clone().map(|step| {
            let first = step % self.each * STEP;
            (step / self.each, first, STEP.min(self.segment_len - first))
        })
    }
}

/// Rows of a tile, or panels of two, whose sums are not those of pieces, as bits.
type Odd = u32;

/// What pieces take of the time of multiply-adds, as measured: the products with tiles that are not full, cutting a row for
/// all columns, cutting a column for all rows of a block, and finishing the sums of all of K.
fn share(rows: usize, columns: usize, k: usize) -> f32 {
    let each = |cost: f32, n: usize| cost / n as f32;
    let filled = |n: usize, unit: usize| n.next_multiple_of(unit) as f32 / n as f32;
    0.5 * filled(rows, TILE) * filled(columns, 2 * PANEL)
        + each(34.0, columns)
        + each(17.0, rows.min(ROWS))
        + each(30.0, k)
}

impl<R: Rows> Contraction<'_, R> {
    /// Whether this is a product for the matrix unit: B in f32, steps of K of which most are whole, and enough of all extents.
    pub(super) fn has_pieces(&self) -> bool {
        let len = self.segment_len;
        let is_packed = self.b.stored == Stored::F32 && !self.b.transposed && self.b.step == PANEL;
        let is_whole = len.next_multiple_of(STEP) * 4 <= len * 5;
        self.call.pieces
            && has_bf16()
            && is_packed
            && is_whole
            && share(self.n_rows, self.width, self.segments * len) < 1.0
    }

    /// Runs the part of `rows` by `panels` on the calling thread, with `room` for its pieces.
    ///
    /// # Safety
    /// As for [`run_part`](Self::run_part); [`has_pieces`](Self::has_pieces); the room is of [`scratch_bytes`].
    pub(super) unsafe fn run_pieces<V: Tiles>(
        &self,
        rows: Range<usize>,
        panels: Range<usize>,
        located: Located,
        room: *mut u8,
    ) {
        let each = self.segment_len.div_ceil(STEP);
        let (n_steps, n_row_blocks) = (self.segments * each, rows.len().div_ceil(ROWS).max(1));
        let n_blocks = n_steps.div_ceil(STEPS);
        let height = rows.len().div_ceil(n_row_blocks).next_multiple_of(TALL);
        for first in rows.clone().step_by(height.max(1)) {
            let rows = first..(first + height).min(rows.end);
            let mut block = RowBlock { odd: [0; ROWS / TALL], offsets: [0; ROWS], rows };
            for index in 0..n_blocks {
                let steps = Steps { range: part(n_steps, n_blocks, index), each, segment_len: self.segment_len };
                let at = Place { is_first: index == 0, is_last: index + 1 == n_blocks, steps };
                // SAFETY: the caller vouches for the operands and the room.
                unsafe {
                    self.cut_rows::<V>(&mut block, &at, located.copies, room);
                    for group in panels.clone().step_by(GROUP) {
                        let group = group..(group + GROUP).min(panels.end);
                        self.run_group::<V>(&block, &at, (group, panels.end), located, room);
                    }
                }
            }
        }
    }

    /// Cuts all rows of a block. Where rows are not copied, they are located once.
    unsafe fn cut_rows<V: Tiles>(&self, block: &mut RowBlock, at: &Place, copies: *mut f32, room: *mut u8) {
        let table = room.wrapping_add(PIECE_BYTES).cast::<*const f32>();
        block.odd = [0; ROWS / TALL];
        let n = block.rows.len();
        for first in (0..n).step_by(V::ROWS) {
            let end = (first + V::ROWS).min(n);
            let pointers = table.wrapping_add(first * self.segments);
            // SAFETY: the caller vouches for the rows; the room has a place for each.
            unsafe {
                if at.is_first || self.copy_len > 0 {
                    self.rows.locate(block.rows.start + first, pointers, &mut block.offsets[first..end], copies);
                }
                for row in first..end {
                    let segment = |segment: usize| *pointers.add(segment * (end - first) + row - first);
                    let to = room.add(row / TALL * BLOCK + row % TALL / TILE * TILE_BYTES + row % TILE * ROW);
                    block.odd[row / TALL] |= Odd::from(cut_row(segment, &at.steps, to)) << (row % TALL);
                }
            }
        }
    }

    /// A group of panels, of all that end at `end`, by all rows of a block.
    unsafe fn run_group<V: Tiles>(
        &self,
        block: &RowBlock,
        at: &Place,
        (group, end): (Range<usize>, usize),
        located: Located,
        room: *mut u8,
    ) {
        let (in_registers, rest) = split(self.call.epilogue);
        let cut = room.wrapping_add(ROWS / TALL * BLOCK);
        let sums = cut.wrapping_add(BLOCK).cast::<f32>();
        let scales = sums.wrapping_add(SUMS).cast::<Scales>();
        let n_tiles = block.rows.len().div_ceil(TALL);
        let tile_of = |index: usize| index * TALL..((index + 1) * TALL).min(block.rows.len());
        let steps = &at.steps;
        let (segment, first, _) = steps.iter().next().unwrap_or_default();
        let k = segment * self.segment_len + first;
        for panel in group.clone().step_by(2) {
            let odd_panels = (0..2).fold(0, |odd, side| {
                let from = (panel + side < end).then(|| self.b.at(panel + side, 0));
                // SAFETY: the panel exists; the room has a place for it.
                let is_odd =
                    unsafe { cut_panel(from, steps, cut.wrapping_add(side * TILE_BYTES), &mut *scales.add(side)) };
                odd | Odd::from(is_odd) << side
            });
            let column = self.columns.start + panel * PANEL;
            let columns = ((end - panel).min(2) * PANEL).min(self.columns.end - column);
            // All tiles have these shapes but the last.
            let mut shapes: Option<([usize; 2], Shapes)> = None;
            for index in 0..n_tiles {
                let tile = tile_of(index);
                let next = |side: usize| self.b.at((panel + 2 + side).min(end - 1), k).cast();
                let ahead = Ahead::share((index, n_tiles), 2, steps.len() * STEP, next);
                let ahead = ahead.filter(|_| panel + 2 < end).unwrap_or(Ahead::nothing(cut));
                let product = Pieces {
                    a: room.wrapping_add(index * BLOCK),
                    b: cut,
                    n_steps: steps.len(),
                    sums,
                    ahead: ahead.data(),
                    ahead_lines: (ahead.step() * STEP).div_ceil(ROW),
                };
                let sides = if tile.len() > TILE { [TILE, tile.len() - TILE] } else { [tile.len(), 0] };
                let odd = (block.odd[index], odd_panels);
                let offsets = &block.offsets[tile.clone()];
                // SAFETY: the pieces are there, and the caller vouches for the operands.
                unsafe {
                    if shapes.as_ref().is_none_or(|(in_use, _)| *in_use != sides) {
                        drop(shapes.take());
                        shapes = Some((sides, Shapes::new(sides, TILE)));
                    }
                    pieces(&product);
                    let mut scales = scales.cast_const();
                    if odd != (0, 0) {
                        V::vectorize(Scale { sums, scales, rows: tile.len() });
                        scales = SCALED.as_ptr();
                        let first = block.rows.start + tile.start;
                        self.sum_odd::<V>(first..first + tile.len(), odd, (panel, end), steps, located, sums);
                    }
                    let epilogue = if at.is_last { in_registers } else { &[] };
                    let tile = Columns { column, n: columns };
                    V::vectorize(Finish { sums, scales, y: self.y, tile, offsets, is_first: at.is_first, epilogue });
                }
            }
        }
        if at.is_last && !(rest.is_empty() && self.call.callback.is_none_or(|callback| callback.whole_rows)) {
            let columns = self.columns.start + group.start * PANEL
                ..(self.columns.start + group.end * PANEL).min(self.columns.end);
            for tile in (0..n_tiles).map(tile_of) {
                let first = self.first_row + block.rows.start;
                // SAFETY: the rows are finished and this thread's own.
                unsafe {
                    finish_rows::<V>(rest, self.y, &block.offsets[tile.clone()], columns.clone());
                    call_back(self.call, first + tile.start..first + tile.end, columns.clone(), located.thread);
                }
            }
        }
    }

    /// Sums the odd rows and panels of a tile by multiply-adds.
    unsafe fn sum_odd<V: Tiles>(
        &self,
        rows: Range<usize>,
        (odd_rows, odd_panels): (Odd, Odd),
        (panel, end): (usize, usize),
        steps: &Steps,
        Located { pointers, copies, .. }: Located,
        sums: *mut f32,
    ) {
        for (index, row) in rows.enumerate() {
            for side in 0..2 {
                if (odd_rows >> index | odd_panels >> side) & 1 == 0 || panel + side >= end {
                    continue;
                }
                let b = self.b.at(panel + side, 0);
                let to = sums.wrapping_add((2 * index + side) * PANEL);
                // SAFETY: the caller vouches for the rows and panels.
                unsafe {
                    self.rows.locate(row, pointers, &mut [0], copies);
                    V::vectorize(Chain { a: pointers, b, steps, to });
                }
            }
        }
    }
}

/// What a thread locates rows with.
#[derive(Clone, Copy)]
pub(super) struct Located {
    pub(super) pointers: *mut *const f32,
    pub(super) copies: *mut f32,
    pub(super) thread: usize,
}

/// Rows whose pieces are kept.
struct RowBlock {
    rows: Range<usize>,
    /// Offsets of the rows in the result.
    offsets: [isize; ROWS],
    /// The odd rows of each tile.
    odd: [Odd; ROWS / TALL],
}

/// A block of K.
struct Place {
    is_first: bool,
    is_last: bool,
    steps: Steps,
}

/// Adds what earlier blocks of K left in the result to the sums of a tile, and stores them after the epilogue.
struct Finish<'a> {
    sums: *const f32,
    scales: *const Scales,
    y: *mut f32,
    tile: Columns,
    offsets: &'a [isize],
    is_first: bool,
    epilogue: &'a [crate::abi::EpilogueOp],
}

impl Finish<'_> {
    /// `N` rows from `row` on of two panels, of which the second may not be there.
    #[inline(always)]
    unsafe fn rows<V: Vector, const N: usize, const PANELS: usize>(&self, row: usize) {
        let (tile, offsets) = (self.tile, self.offsets[row..].as_ptr());
        let (mut sums, mut scales) = ([[V::splat(0.0); PANELS]; N], [V::splat(1.0); PANELS]);
        // SAFETY: the caller vouches for the rows.
        unsafe {
            for (panel, scale) in scales.iter_mut().enumerate() {
                *scale = V::load(self.scales.add(panel).cast());
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                for (panel, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(self.sums.add((2 * (row + i) + panel) * PANEL)).mul(scales[panel]);
                    if !self.is_first {
                        let columns = tile.panel(panel);
                        *sum = sum.add(columns.load(self.y, *offsets.add(i) + columns.column as isize));
                    }
                }
            }
            for op in self.epilogue {
                in_registers(op, &mut sums, tile, offsets);
            }
            for (i, sums) in sums.iter().enumerate() {
                for (panel, &sum) in sums.iter().enumerate() {
                    let columns = tile.panel(panel);
                    columns.store(sum, self.y, *offsets.add(i) + columns.column as isize);
                }
            }
        }
    }
}

impl Task for Finish<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        const AT_ONCE: usize = 4;
        let (n, is_wide) = (self.offsets.len(), self.tile.n > PANEL);
        let whole = n / AT_ONCE * AT_ONCE;
        // SAFETY: the caller vouches for the rows.
        unsafe {
            for row in (0..whole).step_by(AT_ONCE) {
                if is_wide { self.rows::<V, AT_ONCE, 2>(row) } else { self.rows::<V, AT_ONCE, 1>(row) }
            }
            for row in whole..n {
                if is_wide { self.rows::<V, 1, 2>(row) } else { self.rows::<V, 1, 1>(row) }
            }
        }
    }
}

/// Multiplies the sums of rows by their scales.
struct Scale {
    sums: *mut f32,
    scales: *const Scales,
    rows: usize,
}

impl Task for Scale {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for index in 0..2 * self.rows {
            // SAFETY: the caller vouches for the sums and the scales.
            unsafe {
                let sums = self.sums.add(index * PANEL);
                V::load(sums).mul(V::load(self.scales.add(index % 2).cast())).store(sums);
            }
        }
    }
}

/// One row by one panel, by multiply-adds in the order of K.
struct Chain<'a> {
    /// A pointer for each segment.
    a: *const *const f32,
    b: *const f32,
    steps: &'a Steps,
    to: *mut f32,
}

impl Task for Chain<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut sum = V::splat(0.0);
        for (segment, first, n) in self.steps.iter() {
            // SAFETY: the caller vouches for the row and the panel.
            unsafe {
                let a = (*self.a.add(segment)).add(first);
                let b = self.b.add((segment * self.steps.segment_len + first) * PANEL);
                for k in 0..n {
                    sum = V::splat(*a.add(k)).mul_add(V::load(b.add(k * PANEL)), sum);
                }
            }
        }
        // SAFETY: the caller vouches for the sums.
        unsafe { sum.store(self.to) };
    }
}

/// Largest and least magnitudes, as bits, that pieces stand for: above, the greatest piece may overflow; below, the products
/// of the least ones with those of columns vanish.
const LARGE: u32 = (127 + 110) << 23;
const SMALL: u32 = (127 - 80) << 23;

/// Columns are scaled to 2 to the negated one of this: sums of up to 2^15 products then overflow only where the results do.
const BELOW_ONE: i32 = 16;

const MAGNITUDE: i32 = i32::MAX;

/// Writes the pieces of sixteen elements and of the sixteen that are [`LANES`] later, side by side, to `to` and one and two
/// pairs of tiles behind it.
///
/// # Safety
/// The machine has AVX-512; there is room.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn cut(mut x: [__m512; 2], to: *mut u8) {
    // Rounds to 8 bits: Veltkamp's splitting.
    let round = |x: __m512| {
        let shifted = _mm512_mul_ps(x, _mm512_set1_ps(65537.0));
        _mm512_sub_ps(shifted, _mm512_sub_ps(shifted, x))
    };
    for piece in 0..PIECES {
        let rounded = if piece + 1 < PIECES { x.map(round) } else { x };
        let [low, high] = rounded.map(|x| _mm512_castps_si512(x));
        let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, _mm512_srli_epi32::<16>(low), high);
        // SAFETY: the caller vouches for the room.
        unsafe { _mm512_store_si512(to.add(piece * 2 * TILE_BYTES).cast(), both) };
        x = [_mm512_sub_ps(x[0], rounded[0]), _mm512_sub_ps(x[1], rounded[1])];
    }
}

/// Writes the pieces of a row to `to`, a row of a tile for each step; returns whether the row is odd.
///
/// # Safety
/// The machine has AVX-512; the segments are readable and there is room.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn cut_row(segment_at: impl Fn(usize) -> *const f32, steps: &Steps, to: *mut u8) -> bool {
    let mut largest = _mm512_setzero_si512();
    for (index, (segment, first, n)) in steps.iter().enumerate() {
        let masks = [u16::MAX >> (LANES - n.min(LANES)), mask_of(n.saturating_sub(LANES))];
        // SAFETY: the caller vouches for the segment; what masks leave out is not read.
        unsafe {
            let from = segment_at(segment).wrapping_add(first);
            let x = [_mm512_maskz_loadu_ps(masks[0], from), _mm512_maskz_loadu_ps(masks[1], from.wrapping_add(LANES))];
            for x in x {
                let magnitudes = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(MAGNITUDE));
                largest = _mm512_max_epu32(largest, magnitudes);
            }
            cut(x, to.add(index * STEP_BYTES));
        }
    }
    let largest = _mm512_reduce_max_epu32(largest);
    largest >= LARGE || (largest != 0 && largest < SMALL)
}

/// The first `n` lanes.
fn mask_of(n: usize) -> u16 {
    ((1u32 << n) - 1) as u16
}

/// Writes the pieces of a panel, or zeros if there is none, to `to`, a tile for each step, and its scales; returns whether a
/// column is odd.
///
/// # Safety
/// The machine has AVX-512; the panel is readable and there is room.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn cut_panel(panel: Option<*const f32>, steps: &Steps, to: *mut u8, scales: &mut Scales) -> bool {
    let row = |(segment, first, n): (usize, usize, usize), k: usize| match panel {
        // SAFETY: the caller vouches for the panel.
        Some(panel) if k < n => unsafe {
            _mm512_loadu_ps(panel.add((segment * steps.segment_len + first + k) * PANEL))
        },
        _ => _mm512_setzero_ps(),
    };
    let mut largest = _mm512_setzero_si512();
    for step in steps.iter() {
        for k in 0..step.2 {
            let magnitudes = _mm512_and_si512(_mm512_castps_si512(row(step, k)), _mm512_set1_epi32(MAGNITUDE));
            largest = _mm512_max_epu32(largest, magnitudes);
        }
    }
    let odd = _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(LARGE as i32));
    let before = write_scales(largest, odd, scales);
    for (index, step) in steps.iter().enumerate() {
        for k in 0..LANES {
            let x = [row(step, k), row(step, k + LANES)].map(|x| _mm512_mul_ps(x, before));
            // SAFETY: the caller vouches for the room.
            unsafe { cut(x, to.add(index * STEP_BYTES + k * ROW)) };
        }
    }
    odd != 0
}

/// Writes the scales of columns of these largest magnitudes, 1 for odd ones and for those of zeros; returns what the columns
/// are multiplied by before they are cut.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn write_scales(largest: __m512i, odd: u16, scales: &mut Scales) -> __m512 {
    let exponent = _mm512_srli_epi32::<23>(largest);
    let is_scaled = _mm512_test_epi32_mask(exponent, exponent) & !odd;
    let one = _mm512_set1_ps(1.0);
    // 2 to the negated exponent has an exponent, as it is stored, of 254 less this one's.
    let negated = _mm512_sub_epi32(_mm512_set1_epi32(254 - BELOW_ONE), exponent);
    let restored = _mm512_add_epi32(exponent, _mm512_set1_epi32(BELOW_ONE));
    let before = _mm512_mask_blend_ps(is_scaled, one, _mm512_castsi512_ps(_mm512_slli_epi32::<23>(negated)));
    let after = _mm512_mask_blend_ps(is_scaled, one, _mm512_castsi512_ps(_mm512_slli_epi32::<23>(restored)));
    // SAFETY: there is room for the columns.
    unsafe {
        _mm512_storeu_ps(scales.as_mut_ptr(), after);
    }
    before
}
