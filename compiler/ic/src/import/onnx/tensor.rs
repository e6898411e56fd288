//! `TensorProto` to [`Literal`]: typed, raw, out-of-line and external payloads.
//!
//! The number of elements that a tensor claims is compared with the payload before anything is allocated.

use super::error::{Result, invalid, unsupported};
use super::files::Files;
use super::wire::{INLINE_BYTES, PAYLOAD_BYTES, PAYLOAD_FIELD, PAYLOAD_OFFSET};
use crate::import::FileSource;
use crate::tensors::{elements_from_raw, tensor_from_proto};
use ic_ir::{Literal, LiteralData, MAX_TENSOR_BYTES, Source};
use ic_types::{DType, Data};
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataLocation;
use protobuf::UnknownValueRef;
use std::sync::Arc;

/// The element type with ONNX's number `code`.
///
/// # Errors
/// If there is none.
pub(crate) fn dtype(code: i32) -> Result<DType> {
    let known = u8::try_from(code).ok().and_then(DType::from_code);
    known.ok_or_else(|| {
        if code == 0 { invalid!("has no element type") } else { unsupported!("element type {code} is unknown") }
    })
}

/// The constant that `tensor` describes. Large ones stay in their file.
///
/// # Errors
/// If the payload does not fit type and shape, or cannot be read.
pub(crate) fn literal(tensor: &TensorProto, files: &mut Files) -> Result<Literal> {
    let dtype = dtype(tensor.data_type)?;
    let (shape, len) = shape_of(tensor, dtype)?;
    if tensor.segment.is_some() {
        return Err(unsupported!("tensor `{}` is split into segments", tensor.name));
    }
    let packed = (len as u64 * dtype.bits() as u64).div_ceil(8);
    if tensor.data_location.enum_value() == Ok(DataLocation::EXTERNAL) {
        let (source, offset) = files.external(tensor, packed)?;
        return from_file(dtype, shape, &source, offset, packed);
    }
    if let Some((offset, bytes)) = payload_range(tensor)? {
        let fits = dtype != DType::String && bytes == packed;
        return if fits {
            from_file(dtype, shape, &files.model.clone(), offset, packed)
        } else {
            Err(wrong_size(tensor, dtype, packed, bytes))
        };
    }
    let data = inline_data(tensor, dtype, packed)?;
    Ok(Literal { dtype, shape, data: LiteralData::Inline(Arc::new(data)) })
}

/// Extents and number of elements.
fn shape_of(tensor: &TensorProto, dtype: DType) -> Result<(Vec<usize>, usize)> {
    let size = dtype.size().unwrap_or(1) as i64;
    let shape: Option<Vec<usize>> = tensor.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let len = if tensor.dims.contains(&0) {
        Some(0)
    } else {
        tensor.dims.iter().try_fold(1i64, |product, &d| product.checked_mul(d))
    };
    let plausible = len.filter(|&len| len.checked_mul(size).is_some_and(|bytes| bytes <= MAX_TENSOR_BYTES));
    match (shape, plausible) {
        (Some(shape), Some(len)) => Ok((shape, len as usize)),
        _ => Err(invalid!("tensor `{}` has the impossible shape {:?}", tensor.name, tensor.dims)),
    }
}

/// Where the scan of the model file found the payload, if it is out of line.
fn payload_range(tensor: &TensorProto) -> Result<Option<(u64, u64)>> {
    let (mut fields, mut offset, mut bytes) = (0, 0, 0);
    for (number, value) in tensor.special_fields.unknown_fields().iter() {
        match (number, value) {
            (PAYLOAD_FIELD, _) => fields += 1,
            (PAYLOAD_OFFSET, UnknownValueRef::Varint(value)) => offset = value,
            (PAYLOAD_BYTES, UnknownValueRef::Varint(value)) => bytes = value,
            _ => {}
        }
    }
    match fields {
        0 => Ok(None),
        1 => Ok(Some((offset, bytes))),
        _ => Err(unsupported!("tensor `{}` has its elements in several pieces", tensor.name)),
    }
}

fn from_file(dtype: DType, shape: Vec<usize>, source: &Arc<FileSource>, offset: u64, packed: u64) -> Result<Literal> {
    let data = if packed <= INLINE_BYTES || dtype.bits() < 8 {
        let bytes = source.read(offset, packed as usize)?;
        let len = shape.iter().product();
        let data = elements_from_raw(dtype, &bytes, len)
            .ok_or_else(|| invalid!("elements of type {dtype} cannot be in a file"))?;
        LiteralData::Inline(Arc::new(data))
    } else {
        LiteralData::File { source: source.clone(), offset }
    };
    Ok(Literal { dtype, shape, data })
}

fn wrong_size(tensor: &TensorProto, dtype: DType, expected: u64, found: u64) -> super::error::Refusal {
    invalid!(
        "tensor `{}` of type {dtype} and shape {:?} takes {expected} bytes, found {found}",
        tensor.name,
        tensor.dims
    )
}

/// The elements of a tensor that holds them itself.
fn inline_data(tensor: &TensorProto, dtype: DType, packed: u64) -> Result<Data> {
    let found = tensor.raw_data.len() as u64;
    if found != 0 && found != packed {
        return Err(wrong_size(tensor, dtype, packed, found));
    }
    let read = tensor_from_proto(tensor).map_err(|e| invalid!("tensor `{}`: {e}", tensor.name))?;
    Ok(read.data().clone())
}
