//! What a contraction does to its finished results.
//!
//! The first operations of an epilogue that are a few instructions each run in registers, before the result is
//! stored. From the first other one on, they run over the stored rows while these are in cache ([`finish_rows`]);
//! then comes the generated callback. Elementwise operations in the same order give the same bits wherever they run.

use crate::abi::{Call, EpilogueOp, Strip, StripFn, Tile};
use crate::cache::prefetch;
use crate::strips::{self, functions};
use crate::vector::{LANES, Task, Vector};
use std::ops::Range;

/// Splits an epilogue into what runs in registers and the rest.
pub(crate) fn split(epilogue: &[EpilogueOp]) -> (&[EpilogueOp], &[EpilogueOp]) {
    let is_cheap = |op: &EpilogueOp| match op {
        EpilogueOp::Strip(strip) => is_short(*strip),
        _ => true,
    };
    epilogue.split_at(epilogue.iter().take_while(|op| is_cheap(op)).count())
}

/// Whether a strip is a few instructions, which [`in_registers`] has.
pub(crate) fn is_short(strip: Strip) -> bool {
    matches!(strip, Strip::Relu | Strip::HardSwish)
}

/// Some columns of the result.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    /// First column.
    pub(crate) column: usize,
    /// How many.
    pub(crate) n: usize,
}

impl Columns {
    /// The columns of panel `panel`: up to 16.
    #[inline(always)]
    pub(crate) fn panel(self, panel: usize) -> Columns {
        Columns { column: self.column + panel * LANES, n: LANES.min(self.n - panel * LANES) }
    }

    /// Elements `at..at + n` of `from`, then zeros.
    ///
    /// # Safety
    /// They are readable.
    #[inline(always)]
    pub(crate) unsafe fn load<V: Vector>(self, from: *const f32, at: isize) -> V {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let from = from.offset(at);
            if self.n == LANES { V::load(from) } else { V::load_partial(from, self.n) }
        }
    }

    /// Bytes `at..at + n` of `from` as integers, then zeros.
    ///
    /// # Safety
    /// They are readable.
    #[inline(always)]
    pub(crate) unsafe fn load_bytes<V: Vector>(self, from: *const u8, at: isize, signed: bool) -> V {
        // SAFETY: the caller vouches for the bytes.
        unsafe {
            let from = from.offset(at);
            match (self.n == LANES, signed) {
                (true, false) => V::load_bytes::<false>(from),
                (true, true) => V::load_bytes::<true>(from),
                (false, false) => V::load_bytes_partial::<false>(from, self.n),
                (false, true) => V::load_bytes_partial::<true>(from, self.n),
            }
        }
    }

    /// Stores the low bytes of the first `n` integers at `to + at`.
    ///
    /// # Safety
    /// They are writable.
    #[inline(always)]
    pub(crate) unsafe fn store_bytes<V: Vector>(self, value: V, to: *mut u8, at: isize) {
        // SAFETY: the caller vouches for the bytes.
        unsafe {
            let to = to.offset(at);
            if self.n == LANES { value.store_bytes(to) } else { value.store_bytes_partial(to, self.n) }
        }
    }

    /// Stores the first `n` lanes at `to + at`.
    ///
    /// # Safety
    /// They are writable.
    #[inline(always)]
    pub(crate) unsafe fn store<V: Vector>(self, value: V, to: *mut f32, at: isize) {
        // SAFETY: the caller vouches for the elements.
        unsafe {
            let to = to.offset(at);
            if self.n == LANES { value.store(to) } else { value.store_partial(to, self.n) }
        }
    }
}

/// See [`EpilogueOp::Quantize`]. What does not depend on the operand is computed once.
#[derive(Clone, Copy)]
pub(crate) struct Quantizer {
    scale: f32,
    zero: f32,
    /// `1 / scale`, or 0 where quotients are better divided.
    reciprocal: f32,
    /// Whether the limits are those of unsigned bytes.
    is_unsigned: bool,
    /// Limits of the operand.
    least: f32,
    greatest: f32,
}

impl Quantizer {
    /// The quantizer of the operation's numbers.
    pub(crate) fn new(scale: f32, zero: f32, low: f32, high: f32) -> Quantizer {
        let reciprocal = 1.0 / scale;
        let is_exact = reciprocal.is_normal() && scale.is_normal();
        Quantizer {
            scale,
            zero,
            reciprocal: if is_exact { reciprocal } else { 0.0 },
            is_unsigned: (low, high) == (0.0, 255.0),
            least: (low - zero) * scale,
            greatest: (high - zero) * scale,
        }
    }

    /// The integer for `x`, as a float.
    #[inline(always)]
    pub(crate) fn quantize<V: Vector>(&self, x: V) -> V {
        self.quotient(x).round().add(V::splat(self.zero))
    }

    /// The integer for `x`.
    #[inline(always)]
    pub(crate) fn integer<V: Vector>(&self, x: V) -> V {
        self.quotient(x).round_to_int().add_int(V::splat_bits(self.zero as i32 as u32))
    }

    /// The integer that stands for 0.
    pub(crate) fn zero(&self) -> f32 {
        self.zero
    }

    /// Whether results are unsigned bytes.
    pub(crate) fn is_unsigned(&self) -> bool {
        self.is_unsigned
    }

    /// Whether a quotient is its operand.
    pub(crate) fn is_unit(&self) -> bool {
        self.scale == 1.0
    }

    /// The same for many vectors, if quotients need no division.
    #[inline(always)]
    pub(crate) fn in_vectors<V: Vector>(&self) -> Option<VectorQuantizer<V>> {
        (self.reciprocal != 0.0).then(|| VectorQuantizer {
            least: V::splat(self.least),
            greatest: V::splat(self.greatest),
            divisor: V::splat(-self.scale),
            reciprocal: V::splat(self.reciprocal),
        })
    }

    /// `x / scale`, within the limits.
    ///
    /// The quotient is that of a division, to the bit, without one: a product with the reciprocal, corrected by its
    /// remainder. The operand is limited first, so that nothing overflows.
    #[inline(always)]
    fn quotient<V: Vector>(&self, x: V) -> V {
        let x = x.max(V::splat(self.least)).min(V::splat(self.greatest));
        if self.reciprocal == 0.0 {
            return x.div(V::splat(self.scale));
        }
        corrected_quotient(x, V::splat(-self.scale), V::splat(self.reciprocal))
    }
}

/// `x / -divisor`, from `1 / -divisor`.
#[inline(always)]
fn corrected_quotient<V: Vector>(x: V, divisor: V, reciprocal: V) -> V {
    let quotient = x.mul(reciprocal);
    quotient.mul_add(divisor, x).mul_add(reciprocal, quotient)
}

/// A [`Quantizer`] whose numbers are in every lane.
pub(crate) struct VectorQuantizer<V> {
    least: V,
    greatest: V,
    /// Minus the scale.
    divisor: V,
    reciprocal: V,
}

impl<V: Vector> VectorQuantizer<V> {
    /// `x / scale`, within the limits. With `UNIT` the scale is 1.
    #[inline(always)]
    pub(crate) fn quotient<const UNIT: bool>(&self, x: V) -> V {
        let x = x.max(self.least).min(self.greatest);
        if UNIT { x } else { corrected_quotient(x, self.divisor, self.reciprocal) }
    }
}

/// Applies one operation that [`split`] put first to a tile of results, whose first column is `column` and which has
/// `n` columns. `offsets` are those of the rows from the start of `y`.
///
/// # Safety
/// The operation's vector covers the columns, its tensor the rows.
#[inline(always)]
pub(crate) unsafe fn in_registers<V: Vector, const ROWS: usize, const PANELS: usize>(
    op: &EpilogueOp,
    values: &mut [[V; PANELS]; ROWS],
    tile: Columns,
    offsets: *const isize,
) {
    for panel in 0..PANELS {
        let columns = tile.panel(panel);
        let column = columns.column as isize;
        // A loop, not closures: one that is not inlined is not compiled for the instruction set either.
        macro_rules! each_row {
            (|$x:ident, $at:ident| $result:expr) => {
                for (row, values) in values.iter_mut().enumerate() {
                    let ($x, $at) = (values[panel], *offsets.add(row) + column);
                    values[panel] = $result;
                }
            };
        }
        // SAFETY: the caller covers the columns and rows.
        unsafe {
            match *op {
                EpilogueOp::AddColumn(v) => {
                    let v = columns.load::<V>(v, column);
                    each_row!(|x, _at| x.add(v));
                }
                EpilogueOp::MulColumn(v) => {
                    let v = columns.load::<V>(v, column);
                    each_row!(|x, _at| x.mul(v));
                }
                EpilogueOp::AddTensor(t) => each_row!(|x, at| x.add(columns.load::<V>(t, at))),
                EpilogueOp::MulTensor(t) => each_row!(|x, at| x.mul(columns.load::<V>(t, at))),
                EpilogueOp::Clamp(low, high) => each_row!(|x, _at| functions::clamp(x, low, high)),
                EpilogueOp::Strip(Strip::HardSwish) => each_row!(|x, _at| functions::hard_swish(x)),
                EpilogueOp::Strip(_) => each_row!(|x, _at| functions::relu(x)),
                EpilogueOp::MulScalar(v) => {
                    let v = V::splat(*v);
                    each_row!(|x, _at| x.mul(v));
                }
                EpilogueOp::Scale(factor) => {
                    let factor = V::splat(factor);
                    each_row!(|x, _at| x.mul(factor));
                }
                EpilogueOp::Offset(term) => {
                    let term = V::splat(term);
                    each_row!(|x, _at| x.add(term));
                }
                EpilogueOp::AddQuantized { tensor, signed, scale, zero } => {
                    let (scale, zero) = (V::splat(scale), V::splat(zero));
                    each_row!(|x, at| {
                        let t: V = columns.load_bytes(tensor, at, signed);
                        x.add(t.int_to_float().sub(zero).mul(scale))
                    });
                }
                EpilogueOp::Quantize { scale, zero, low, high } => {
                    let quantizer = Quantizer::new(scale, zero, low, high);
                    each_row!(|x, _at| quantizer.quantize(x));
                }
            }
        }
    }
}

/// Asks for what an operation will read of a tile of `rows` by `panels`, before the sums are there.
///
/// # Safety
/// There are `offsets` for all rows.
#[inline(always)]
pub(crate) unsafe fn prefetch_operand(
    op: &EpilogueOp,
    rows: usize,
    panels: usize,
    tile: Columns,
    offsets: *const isize,
) {
    if let EpilogueOp::AddTensor(t) | EpilogueOp::MulTensor(t) = *op {
        for row in 0..rows {
            // SAFETY: the caller vouches for the offsets.
            let first = t.wrapping_offset(unsafe { *offsets.add(row) } + tile.column as isize);
            (0..panels).for_each(|panel| prefetch(first.wrapping_add(panel * LANES)));
        }
    }
}

/// One operation over `columns` of stored rows.
struct OverRows<'a> {
    op: EpilogueOp,
    strips: &'static [StripFn],
    y: *mut f32,
    offsets: &'a [isize],
    columns: Columns,
}

impl Task for OverRows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller covers the rows.
        unsafe {
            match self.op {
                EpilogueOp::Strip(strip) => self.strip(self.strips[strip as usize]),
                // Apart from the others, whose loop would compute the quantizer's constants first.
                EpilogueOp::Quantize { .. } | EpilogueOp::AddQuantized { .. } => self.each::<V>(self.op),
                op => self.each::<V>(op),
            }
        }
    }
}

impl OverRows<'_> {
    #[inline(always)]
    unsafe fn each<V: Vector>(&self, op: EpilogueOp) {
        let Columns { column, n } = self.columns;
        for offset in self.offsets {
            for i in (0..n).step_by(LANES) {
                let columns = Columns { column: column + i, n: LANES.min(n - i) };
                // SAFETY: the caller covers the row.
                unsafe {
                    let at = *offset + columns.column as isize;
                    let mut value = [[columns.load::<V>(self.y, at)]];
                    in_registers(&op, &mut value, columns, offset);
                    columns.store(value[0][0], self.y, at);
                }
            }
        }
    }

    /// Rows that follow each other in memory are one.
    #[inline(always)]
    unsafe fn strip(&self, strip: StripFn) {
        let Columns { column, n } = self.columns;
        let adjoin = |pair: &[isize]| pair[1] - pair[0] == n as isize;
        let (rows, n) = match self.offsets.windows(2).all(adjoin) {
            true => (1, n * self.offsets.len()),
            false => (self.offsets.len(), n),
        };
        for offset in &self.offsets[..rows] {
            // SAFETY: the caller covers the row.
            unsafe {
                let row = self.y.offset(*offset + column as isize);
                strip(row, row, n);
            }
        }
    }
}

/// Applies what [`split`] put last to stored results: `columns` of the rows at `offsets` from `y`, of which there is at
/// least one.
///
/// # Safety
/// The rows are writable and the operations' vectors and tensors cover them.
pub(crate) unsafe fn finish_rows<V: Vector>(
    epilogue: &[EpilogueOp],
    y: *mut f32,
    offsets: &[isize],
    columns: Range<usize>,
) {
    let strips = &strips::table_of::<V>().strips;
    let columns = Columns { column: columns.start, n: columns.len() };
    for &op in epilogue {
        // SAFETY: the caller covers the rows.
        unsafe { V::vectorize(OverRows { op, strips, y, offsets, columns }) };
    }
}

/// Calls the generated code of `call`, if there is any for tiles, on a finished one.
///
/// # Safety
/// The callback's buffers are valid, `call.scratch` has room for it on every thread, and `thread` is the caller's.
pub(crate) unsafe fn call_back(call: &Call, rows: Range<usize>, columns: Range<usize>, thread: usize) {
    if call.callback.is_some_and(|callback| !callback.whole_rows) {
        // SAFETY: the caller vouches for the callback.
        unsafe { call_generated(call, rows, columns, thread) };
    }
}

/// Calls the generated code of `call`, if there is any for whole rows, on finished ones.
///
/// # Safety
/// As for [`call_back`].
pub(crate) unsafe fn call_back_rows(call: &Call, rows: Range<usize>, thread: usize) {
    if call.callback.is_some_and(|callback| callback.whole_rows) {
        // SAFETY: the caller vouches for the callback.
        unsafe { call_generated(call, rows, 0..1, thread) };
    }
}

unsafe fn call_generated(call: &Call, rows: Range<usize>, columns: Range<usize>, thread: usize) {
    if let Some(callback) = call.callback {
        // SAFETY: scratch has room for every thread.
        let scratch = unsafe { call.scratch.add(thread * callback.scratch_stride()) };
        let tile = Tile {
            begin: [rows.start as i64, columns.start as i64],
            end: [rows.end as i64, columns.end as i64],
            scratch,
        };
        // SAFETY: the caller vouches for the callback's buffers.
        unsafe { (callback.function)(callback.buffers.as_ptr(), callback.dims.as_ptr(), callback.table, &tile) };
    }
}

/// The kernel's own part of the scratch of `call`, which follows the callback's.
pub(crate) fn own_scratch(call: &Call) -> *mut u8 {
    let before = call.callback.map_or(0, |callback| callback.scratch_stride() * call.pool.threads());
    call.scratch.wrapping_add(before)
}
