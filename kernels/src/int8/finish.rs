//! From sums to stored results: zero points, scales, the epilogue, the narrow store.

use super::requantize::{requantize, requantize_arranged};
use crate::abi::{EpilogueOp, Strip};
use crate::epilogue::{Columns, Quantizer, in_registers, is_short, split};
use crate::strips;
use crate::vector::{LANES, Vector};
use ic_types::DType;

/// The element type of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// The sums themselves.
    Sum,
    /// Floats.
    Float,
    /// Bytes, which the epilogue's last operation made: [`EpilogueOp::Quantize`].
    Byte,
}

impl Stored {
    /// How a result of `dtype` is stored after `epilogue`; `None` if it cannot be.
    pub(crate) fn of(dtype: DType, epilogue: &[EpilogueOp]) -> Option<Stored> {
        let quantized = matches!(epilogue.last(), Some(EpilogueOp::Quantize { .. }));
        match dtype {
            DType::I32 if epilogue.is_empty() => Some(Stored::Sum),
            DType::F32 => Some(Stored::Float),
            DType::U8 | DType::I8 if quantized => Some(Stored::Byte),
            _ => None,
        }
    }
}

/// What of an epilogue a tile does before it stores the result, and what follows on stored rows: bytes are stored once, when
/// all is done.
pub(crate) fn divide(epilogue: &[EpilogueOp], stored: Stored) -> (&[EpilogueOp], &[EpilogueOp]) {
    if stored == Stored::Byte { (epilogue, &[]) } else { split(epilogue) }
}

/// An epilogue, taken apart once for all tiles.
pub(crate) struct Chain<'a> {
    /// The scale: one for each column of the result, or one.
    scale: Option<(*const f32, bool)>,
    /// The bias of each column of the result.
    bias: Option<*const f32>,
    /// What follows, of which there are `n_steps`.
    steps: [Step<'a>; STEPS],
    n_steps: usize,
    /// The last operation.
    pub(super) quantizer: Option<Quantizer>,
}

/// Most rows that are finished together.
const MOST_ROWS: usize = 16;

/// Most steps of a chain, the last of which may be a list; residual blocks have two or three.
const STEPS: usize = 6;

/// What happens between the first and the last operations of an epilogue.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// To a number of steps and back: quantized, then `(q + offset) * scale`.
    Round { quantizer: Quantizer, offset: f32, scale: f32 },
    /// [`EpilogueOp::AddQuantized`].
    AddQuantized { tensor: *const u8, signed: bool, scale: f32, zero: f32 },
    /// A strip of more than a few instructions.
    Strip(Strip),
    /// Any others.
    Others(&'a [EpilogueOp]),
}

impl<'a> Step<'a> {
    /// The first step of a list, and what it leaves of it.
    fn first(list: &'a [EpilogueOp]) -> Option<(Step<'a>, &'a [EpilogueOp])> {
        let (first, rest) = list.split_first()?;
        Some(match (*first, rest) {
            (
                EpilogueOp::Quantize { scale: step, zero, low, high },
                [EpilogueOp::Offset(offset), EpilogueOp::Scale(scale), rest @ ..],
            ) => {
                let quantizer = Quantizer::new(step, zero, low, high);
                (Step::Round { quantizer, offset: *offset, scale: *scale }, rest)
            }
            (EpilogueOp::AddQuantized { tensor, signed, scale, zero }, _) => {
                (Step::AddQuantized { tensor, signed, scale, zero }, rest)
            }
            (EpilogueOp::Strip(strip), _) if !is_short(strip) => (Step::Strip(strip), rest),
            _ => (Step::Others(&list[..1]), rest),
        })
    }
}

impl<'a> Chain<'a> {
    /// Takes an epilogue apart.
    pub(crate) fn of(epilogue: &'a [EpilogueOp]) -> Chain<'a> {
        let mut chain =
            Chain { scale: None, bias: None, steps: [Step::Others(&[]); STEPS], n_steps: 0, quantizer: None };
        let mut middle = epilogue;
        if let [first, rest @ ..] = middle
            && let Some(scale) = match first {
                EpilogueOp::MulColumn(v) => Some((*v, true)),
                EpilogueOp::MulScalar(v) => Some((*v, false)),
                EpilogueOp::Scale(factor) => Some((&raw const *factor, false)),
                _ => None,
            }
        {
            (chain.scale, middle) = (Some(scale), rest);
        }
        if let [EpilogueOp::AddColumn(bias), rest @ ..] = middle {
            (chain.bias, middle) = (Some(*bias), rest);
        }
        if let [rest @ .., EpilogueOp::Quantize { scale, zero, low, high }] = middle {
            chain.quantizer = Some(Quantizer::new(*scale, *zero, *low, *high));
            middle = rest;
        }
        while let Some((step, rest)) = Step::first(middle) {
            let is_last = chain.n_steps + 1 == STEPS;
            chain.steps[chain.n_steps] = if is_last { Step::Others(middle) } else { step };
            chain.n_steps += 1;
            middle = if is_last { &[] } else { rest };
        }
        chain
    }

    /// What happens between the first and the last operations.
    #[inline(always)]
    pub(super) fn steps(&self) -> &[Step<'a>] {
        &self.steps[..self.n_steps]
    }
}

/// How to finish a tile.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// What each column's sums start from, from the tile's first column on: whole panels.
    pub(crate) start: *const i32,
    /// B's zero points, likewise; null if they are 0.
    pub(crate) zeros: *const i32,
    /// The sum of A's elements in each row of the tile, where B's zero points are not 0.
    pub(crate) row_sums: *const i32,
    /// Start of the result.
    pub(crate) y: *mut u8,
    /// Its element type.
    pub(crate) stored: Stored,
    /// Offset of each row of the tile from the start of the result, in elements.
    pub(crate) offsets: *const isize,
    /// The columns of the tile: all its panels, but the last may be cut.
    pub(crate) columns: Columns,
    /// The epilogue.
    pub(crate) chain: &'a Chain<'a>,
}

/// Stores a tile of sums that began with [`Finish::start`], of at most 16 rows.
///
/// # Safety
/// The pointers cover the tile.
#[inline(always)]
pub(crate) unsafe fn finish<V: Vector, const PANELS: usize>(to: &Finish, sums: &mut [[V; PANELS]]) {
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        correct(to, sums);
        finish_rows(to, sums);
    }
}

/// Stores rows of sums to which zero points have been added.
///
/// # Safety
/// As for [`finish`].
#[inline(always)]
pub(crate) unsafe fn finish_rows<V: Vector, const PANELS: usize>(to: &Finish, sums: &[[V; PANELS]]) {
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        match to.stored {
            Stored::Sum => {
                for (row, sums) in sums.iter().enumerate() {
                    store_bits(to, row, sums);
                }
            }
            _ => finish_floats(to, sums),
        }
    }
}

/// Takes B's zero points times the sums of A's rows from the sums.
#[inline(always)]
unsafe fn correct<V: Vector, const PANELS: usize>(to: &Finish, sums: &mut [[V; PANELS]]) {
    if to.zeros.is_null() {
        return;
    }
    for panel in 0..PANELS {
        // SAFETY: the lists have whole panels.
        let zeros = unsafe { V::load(to.zeros.add(panel * 16).cast()) };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: there is a sum for each row.
            let row_sum = V::splat_bits(unsafe { *to.row_sums.add(row) } as u32);
            sums[panel] = sums[panel].sub_int(row_sum.mul_int(zeros));
        }
    }
}

/// Stores a row of sums or floats. Closures would not be compiled with the instruction set's features.
#[inline(always)]
unsafe fn store_bits<V: Vector, const PANELS: usize>(to: &Finish, row: usize, values: &[V; PANELS]) {
    for (panel, &value) in values.iter().enumerate() {
        let columns = to.columns.panel(panel);
        // SAFETY: there is an offset for each row, and the row is writable.
        unsafe { columns.store(value, to.y.cast(), *to.offsets.add(row) + columns.column as isize) };
    }
}

/// Quantizes a row of floats and stores the bytes.
#[inline(always)]
unsafe fn store_bytes<V: Vector, const PANELS: usize>(
    to: &Finish,
    row: usize,
    values: &[V; PANELS],
    quantizer: &Quantizer,
) {
    for (panel, &value) in values.iter().enumerate() {
        let columns = to.columns.panel(panel);
        // SAFETY: there is an offset for each row, and the row is writable.
        unsafe { columns.store_bytes(quantizer.integer(value), to.y, *to.offsets.add(row) + columns.column as isize) };
    }
}

/// Applies a strip to all rows at once, lanes beyond the result's last column included.
#[inline(always)]
fn over_strip<V: Vector, const PANELS: usize>(strip: Strip, values: &mut [[V; PANELS]]) {
    let mut lanes = [[[0.0f32; LANES]; PANELS]; MOST_ROWS];
    for (row, lanes) in values.iter().zip(&mut lanes) {
        for panel in 0..PANELS {
            // SAFETY: the array has room for the lanes.
            unsafe { row[panel].store(lanes[panel].as_mut_ptr()) };
        }
    }
    let (first, n) = (lanes.as_mut_ptr().cast::<f32>(), values.len() * PANELS * LANES);
    // SAFETY: the strip reads and writes the elements of the array, and the machine has `V`.
    unsafe { strips::table_of::<V>().strips[strip as usize](first, first, n) };
    for (row, lanes) in values.iter_mut().zip(&lanes) {
        for panel in 0..PANELS {
            // SAFETY: the array has the lanes.
            row[panel] = unsafe { V::load(lanes[panel].as_ptr()) };
        }
    }
}

/// Stores rows of sums whose vectors are [arranged](Vector::arrange).
///
/// # Safety
/// As for [`finish`].
#[inline(always)]
pub(crate) unsafe fn finish_arranged<V: Vector, const VECTORS: usize>(to: &Finish, sums: &[[V; VECTORS]]) {
    // SAFETY: the caller's pointers cover the tile.
    unsafe {
        if VECTORS == 1 {
            return finish_rows(to, sums);
        }
        let (scale, bias) = parameters(to);
        if requantize_arranged(to, sums, (scale, bias)) {
            return;
        }
        let mut rows = [[V::splat(0.0); VECTORS]; MOST_ROWS];
        for (row, &sums) in rows.iter_mut().zip(sums) {
            *row = V::arrange(sums);
        }
        for panel in 0..to.columns.n.div_ceil(LANES) {
            let mut of_panel = [[V::splat(0.0)]; MOST_ROWS];
            for (sum, row) in of_panel.iter_mut().zip(&rows) {
                *sum = [row[panel]];
            }
            finish_rows(&Finish { columns: to.columns.panel(panel), ..*to }, &of_panel[..sums.len()]);
        }
    }
}

/// The scale and the bias of each column.
///
/// # Safety
/// The epilogue's vectors cover the columns.
#[inline(always)]
unsafe fn parameters<V: Vector, const PANELS: usize>(to: &Finish) -> ([V; PANELS], [V; PANELS]) {
    // What is absent multiplies by 1 and adds -0, which change nothing.
    let (mut scale, mut bias) = ([V::splat(1.0); PANELS], [V::splat(-0.0); PANELS]);
    for panel in 0..PANELS.min(to.columns.n.div_ceil(LANES)) {
        let columns = to.columns.panel(panel);
        // SAFETY: the vectors cover the columns.
        unsafe {
            match to.chain.scale {
                Some((v, true)) => scale[panel] = columns.load(v, columns.column as isize),
                Some((v, false)) => scale[panel] = V::splat(*v),
                None => {}
            }
            if let Some(v) = to.chain.bias {
                bias[panel] = columns.load(v, columns.column as isize);
            }
        }
    }
    (scale, bias)
}

#[inline(always)]
unsafe fn finish_floats<V: Vector, const PANELS: usize>(to: &Finish, sums: &[[V; PANELS]]) {
    // SAFETY: the caller's pointers cover the rows.
    unsafe {
        let (scale, bias) = parameters(to);
        if requantize(to, sums, (scale, bias)) {
            return;
        }
        // A strip takes many elements at a time.
        if !to.chain.steps().iter().any(|step| matches!(step, Step::Strip(_))) {
            // Rows are not unrolled: the sums have left the registers.
            for (row, sums) in sums.iter().enumerate() {
                let mut values = scaled(sums, &scale, &bias);
                for step in to.chain.steps() {
                    apply(step, to, row, &mut values);
                }
                store(to, row, &mut values);
            }
            return;
        }
        let mut rows = [[V::splat(0.0); PANELS]; MOST_ROWS];
        let rows = &mut rows[..sums.len()];
        for (values, sums) in rows.iter_mut().zip(sums) {
            *values = scaled(sums, &scale, &bias);
        }
        for step in to.chain.steps() {
            if let Step::Strip(strip) = step {
                over_strip(*strip, rows);
                continue;
            }
            for (row, values) in rows.iter_mut().enumerate() {
                apply(step, to, row, values);
            }
        }
        for (row, values) in rows.iter_mut().enumerate() {
            store(to, row, values);
        }
    }
}

#[inline(always)]
fn scaled<V: Vector, const PANELS: usize>(sums: &[V; PANELS], scale: &[V; PANELS], bias: &[V; PANELS]) -> [V; PANELS] {
    let mut values = *sums;
    for panel in 0..PANELS {
        values[panel] = sums[panel].int_to_float().mul(scale[panel]).add(bias[panel]);
    }
    values
}

/// Applies a step to a row.
///
/// # Safety
/// The step's tensors cover the row.
#[inline(always)]
unsafe fn apply<V: Vector, const PANELS: usize>(step: &Step, to: &Finish, row: usize, values: &mut [V; PANELS]) {
    // SAFETY: the caller vouches for the tensors; there is an offset for each row.
    unsafe {
        match step {
            Step::Round { quantizer, offset, scale } => {
                let (offset, scale) = (V::splat(*offset), V::splat(*scale));
                for value in values {
                    *value = quantizer.quantize(*value).add(offset).mul(scale);
                }
            }
            Step::AddQuantized { tensor, signed, scale, zero } => {
                let (scale, zero) = (V::splat(*scale), V::splat(*zero));
                for (panel, value) in values.iter_mut().enumerate() {
                    let columns = to.columns.panel(panel);
                    let at = *to.offsets.add(row) + columns.column as isize;
                    let added: V = columns.load_bytes(*tensor, at, *signed);
                    *value = value.add(added.int_to_float().sub(zero).mul(scale));
                }
            }
            Step::Strip(strip) => over_strip(*strip, std::slice::from_mut(values)),
            Step::Others(ops) => {
                for op in *ops {
                    match op {
                        EpilogueOp::Strip(strip) if !is_short(*strip) => {
                            over_strip(*strip, std::slice::from_mut(values));
                        }
                        op => {
                            let mut rows = [*values];
                            in_registers(op, &mut rows, to.columns, to.offsets.add(row));
                            *values = rows[0];
                        }
                    }
                }
            }
        }
    }
}

/// Quantizes a row of finished values, if it is to be, and stores it.
///
/// # Safety
/// The row is writable.
#[inline(always)]
unsafe fn store<V: Vector, const PANELS: usize>(to: &Finish, row: usize, values: &mut [V; PANELS]) {
    // SAFETY: the caller vouches for the row.
    unsafe {
        match (&to.chain.quantizer, to.stored) {
            (Some(quantizer), Stored::Byte) => store_bytes(to, row, values, quantizer),
            (Some(quantizer), _) => {
                for value in &mut *values {
                    *value = quantizer.quantize(*value);
                }
                store_bits(to, row, values);
            }
            (None, _) => store_bits(to, row, values),
        }
    }
}
