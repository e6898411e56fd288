//! Epilogues written plainly: the oracle of the tests.

use crate::abi::{Call, EpilogueOp, Strip, Tile};
use crate::isa::Isa;
use crate::table;

/// `strip(x)`, one element at a time.
fn strip(strip: Strip, x: f32) -> f32 {
    let mut y = x;
    // SAFETY: both pointers cover one element.
    unsafe { table::table(Isa::Portable).strips[strip as usize](&mut y, &x, 1) };
    y
}

/// Applies `epilogue` to the result `value` at `column`, whose offset from the start of `y` is `offset` elements.
///
/// # Safety
/// The epilogue's vectors cover `column` and its tensors `offset`.
pub(crate) unsafe fn eval(epilogue: &[EpilogueOp], value: f32, column: usize, offset: usize) -> f32 {
    epilogue.iter().fold(value, |value, op| {
        // SAFETY: the caller covers the column and the offset.
        unsafe {
            match *op {
                EpilogueOp::AddColumn(v) => value + *v.add(column),
                EpilogueOp::MulColumn(v) => value * *v.add(column),
                EpilogueOp::AddTensor(t) => value + *t.add(offset),
                EpilogueOp::MulTensor(t) => value * *t.add(offset),
                EpilogueOp::Clamp(low, high) => {
                    let value = if value < low { low } else { value };
                    if value > high { high } else { value }
                }
                EpilogueOp::Strip(name) => strip(name, value),
                EpilogueOp::MulScalar(v) => value * *v,
                EpilogueOp::Scale(factor) => value * factor,
                EpilogueOp::Offset(term) => value + term,
                EpilogueOp::AddQuantized { tensor, signed, scale, zero } => {
                    let byte = *tensor.add(offset);
                    let number = if signed { f32::from(byte as i8) } else { f32::from(byte) };
                    value + (number - zero) * scale
                }
                EpilogueOp::Quantize { scale, zero, low, high } => {
                    ((value / scale).round_ties_even() + zero).max(low).min(high)
                }
            }
        }
    })
}

/// Calls the generated code, if there is any, on the whole result.
///
/// # Safety
/// The callback's buffers are valid and `call.scratch` has room for it.
pub(crate) unsafe fn finish(call: &Call, rows: usize, columns: usize) {
    if let Some(callback) = call.callback {
        let tile = Tile { begin: [0, 0], end: [rows as i64, columns as i64], scratch: call.scratch };
        // SAFETY: the caller vouches for the callback's buffers.
        unsafe { (callback.function)(callback.buffers.as_ptr(), callback.dims.as_ptr(), callback.table, &tile) };
    }
}
