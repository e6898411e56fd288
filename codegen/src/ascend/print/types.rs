//! Types and numbers in MLIR's text.

use crate::ascend::tree::{Number, TensorType};
use ic_types::{DType, Dim};

/// The name of an element type.
pub(crate) fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I64 => "i64",
        DType::I32 => "i32",
        DType::Bool => "i1",
        DType::F32 => "f32",
        other => unreachable!("{other} is refused when a kernel is lowered"),
    }
}

/// `tensor<?x512xf32>`.
pub(crate) fn tensor_text(ty: &TensorType) -> String {
    let extents: String = ty.shape.iter().map(|extent| fixed(extent) + "x").collect();
    format!("tensor<{extents}{}>", element(ty.dtype))
}

/// A number where it is known, else `?`.
pub(crate) fn fixed(dim: &Dim) -> String {
    dim.as_const().map_or_else(|| "?".into(), |value| value.to_string())
}

/// `2.5 : f32`; floats that have no exact short form are written as their bits.
pub(crate) fn number_text(number: Number) -> String {
    let (bits, ty) = (number.bits, element(number.dtype));
    match number.dtype {
        DType::Bool => if bits == 0 { "false" } else { "true" }.to_string(),
        DType::I64 => format!("{} : {ty}", bits as u64 as i64),
        DType::I32 => format!("{} : {ty}", bits as u32 as i32),
        DType::F16 | DType::BF16 => format!("0x{:04X} : {ty}", bits as u16),
        _ => format!("0x{:08X} : {ty}", bits as u32),
    }
}
