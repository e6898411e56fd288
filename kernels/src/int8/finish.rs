//! From sums to stored results: zero points, scales, the epilogue, the narrow store.

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

/// What happens to an epilogue's first and last operations, which are nearly always the same.
#[derive(Clone, Copy)]
pub(crate) struct Chain<'a> {
    /// The scale: one for each column of the result, or one.
    scale: Option<(*const f32, bool)>,
    /// The bias of each column of the result.
    bias: Option<*const f32>,
    /// What follows.
    middle: &'a [EpilogueOp],
    /// The last operation.
    quantizer: Option<Quantizer>,
}

impl<'a> Chain<'a> {
    /// Takes an epilogue apart.
    pub(crate) fn of(epilogue: &'a [EpilogueOp]) -> Chain<'a> {
        let mut chain = Chain { scale: None, bias: None, middle: epilogue, quantizer: None };
        if let [first, rest @ ..] = chain.middle
            && let Some(scale) = match first {
                EpilogueOp::MulColumn(v) => Some((*v, true)),
                EpilogueOp::MulScalar(v) => Some((*v, false)),
                EpilogueOp::Scale(factor) => Some((&raw const *factor, false)),
                _ => None,
            }
        {
            (chain.scale, chain.middle) = (Some(scale), rest);
        }
        if let [EpilogueOp::AddColumn(bias), rest @ ..] = chain.middle {
            (chain.bias, chain.middle) = (Some(*bias), rest);
        }
        if let [rest @ .., EpilogueOp::Quantize { scale, zero, low, high }] = chain.middle {
            chain.quantizer = Some(Quantizer { scale: *scale, zero: *zero, low: *low, high: *high });
            chain.middle = rest;
        }
        chain
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
    pub(crate) chain: Chain<'a>,
}

/// Stores a tile of sums that began with [`Finish::start`].
///
/// # Safety
/// The pointers cover the tile.
#[inline(always)]
pub(crate) unsafe fn finish<V: Vector, const ROWS: usize, const PANELS: usize>(
    to: &Finish,
    sums: &mut [[V; PANELS]; ROWS],
) {
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
unsafe fn correct<V: Vector, const ROWS: usize, const PANELS: usize>(to: &Finish, sums: &mut [[V; PANELS]; ROWS]) {
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
    quantizer: Quantizer,
) {
    for (panel, &value) in values.iter().enumerate() {
        let columns = to.columns.panel(panel);
        // SAFETY: there is an offset for each row, and the row is writable.
        unsafe { columns.store_bytes(quantizer.integer(value), to.y, *to.offsets.add(row) + columns.column as isize) };
    }
}

/// Applies a strip to lanes, those beyond the result's last column included.
#[inline(always)]
fn over_strip<V: Vector, const PANELS: usize>(strip: Strip, values: &mut [V; PANELS]) {
    let mut lanes = [[0.0f32; LANES]; PANELS];
    for panel in 0..PANELS {
        // SAFETY: the array has room for the lanes.
        unsafe { values[panel].store(lanes[panel].as_mut_ptr()) };
    }
    let first = lanes.as_mut_ptr().cast::<f32>();
    // SAFETY: the strip reads and writes the elements of the array, and the machine has `V`.
    unsafe { strips::table_of::<V>().strips[strip as usize](first, first, PANELS * LANES) };
    for panel in 0..PANELS {
        // SAFETY: the array has the lanes.
        values[panel] = unsafe { V::load(lanes[panel].as_ptr()) };
    }
}

#[inline(always)]
unsafe fn finish_floats<V: Vector, const PANELS: usize>(to: &Finish, sums: &[[V; PANELS]]) {
    // What is absent multiplies by 1 and adds -0, which change nothing.
    let (mut scale, mut bias) = ([V::splat(1.0); PANELS], [V::splat(-0.0); PANELS]);
    for panel in 0..PANELS {
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
    // Rows are not unrolled: the sums have left the registers.
    for (row, sums) in sums.iter().enumerate() {
        let mut values = [*sums];
        for panel in 0..PANELS {
            values[0][panel] = sums[panel].int_to_float().mul(scale[panel]).add(bias[panel]);
        }
        // SAFETY: the epilogue's tensors cover the rows.
        unsafe {
            for op in to.chain.middle {
                match op {
                    EpilogueOp::Strip(strip) if !is_short(*strip) => over_strip(*strip, &mut values[0]),
                    op => in_registers(op, &mut values, to.columns, to.offsets.add(row)),
                }
            }
            match (to.chain.quantizer, to.stored) {
                (Some(quantizer), Stored::Byte) => store_bytes(to, row, &values[0], quantizer),
                (Some(quantizer), _) => {
                    for value in &mut values[0] {
                        *value = quantizer.quantize(*value);
                    }
                    store_bits(to, row, &values[0]);
                }
                (None, _) => store_bits(to, row, &values[0]),
            }
        }
    }
}
