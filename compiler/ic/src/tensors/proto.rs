//! ONNX `TensorProto`: decoding and encoding of every element type, and files that hold one.

use super::TensorFileError;
use ic_types::{DType, Data, Tensor};
use onnx_protobuf::TensorProto;
use protobuf::Message;
use std::path::Path;

/// Reads a file that holds one `TensorProto`; also gives its name.
///
/// # Errors
/// If the file cannot be read or does not hold a tensor of a supported element type.
pub fn read_proto(path: &Path) -> Result<(String, Tensor), TensorFileError> {
    let bytes = std::fs::read(path).map_err(|e| TensorFileError::new(path, e))?;
    let proto = TensorProto::parse_from_bytes(&bytes).map_err(|e| TensorFileError::new(path, e))?;
    let tensor = tensor_from_proto(&proto).map_err(|e| TensorFileError::new(path, e))?;
    Ok((proto.name, tensor))
}

/// Reads a file that holds one `SequenceProto` or `OptionalProto`, as a tensor of one object.
///
/// # Errors
/// If the file cannot be read or holds something else.
pub fn read_object(path: &Path) -> Result<Tensor, TensorFileError> {
    let bytes = std::fs::read(path).map_err(|e| TensorFileError::new(path, e))?;
    Ok(Tensor::scalar(super::object::decode(&bytes).map_err(|e| TensorFileError::new(path, e))?))
}

/// Writes one tensor as a `TensorProto`, or the one object that it is. The file appears when it is complete.
///
/// # Errors
/// If the file cannot be written.
pub fn write_proto(path: &Path, name: &str, tensor: &Tensor) -> Result<(), TensorFileError> {
    let bytes = match tensor.data() {
        Data::Object(objects) => {
            let object = objects.first().ok_or_else(|| TensorFileError::new(path, "there is no object to write"))?;
            super::object::encode(name, object).map_err(|e| TensorFileError::new(path, e))?
        }
        _ => tensor_to_proto(name, tensor).write_to_bytes().map_err(|e| TensorFileError::new(path, e))?,
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| TensorFileError::new(path, e))?;
    std::io::Write::write_all(&mut file, &bytes).map_err(|e| TensorFileError::new(path, e))?;
    file.persist(path).map_err(|e| TensorFileError::new(path, e.error))?;
    Ok(())
}

/// The tensor that a proto holds inline.
///
/// # Errors
/// If the element type is unknown, or the payload does not fit the shape.
pub fn tensor_from_proto(proto: &TensorProto) -> Result<Tensor, String> {
    let dtype = u8::try_from(proto.data_type).ok().and_then(DType::from_code);
    let dtype = dtype.ok_or_else(|| format!("element type {} is unknown", proto.data_type))?;
    let shape = proto.dims.iter().map(|&d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>();
    let shape = shape.ok_or_else(|| format!("shape {:?} has a negative extent", proto.dims))?;
    let len = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    let len = len.ok_or_else(|| format!("shape {:?} is too large", proto.dims))?;
    let data =
        if proto.raw_data.is_empty() { typed_elements(proto, dtype, len) } else { raw_elements(proto, dtype, len) };
    let data = data.filter(|d| d.len() == len);
    let data = data.ok_or_else(|| format!("the payload does not hold {len} elements of {dtype}"))?;
    Ok(Tensor::new(shape, data))
}

fn raw_elements(proto: &TensorProto, dtype: DType, len: usize) -> Option<Data> {
    elements_from_raw(dtype, &proto.raw_data, len)
}

/// Elements from `raw_data`, where sub-byte types are packed, low bits first.
pub fn elements_from_raw(dtype: DType, raw: &[u8], len: usize) -> Option<Data> {
    match dtype.bits() {
        bits @ (2 | 4) => {
            if raw.len() < (len * bits).div_ceil(8) {
                return None;
            }
            let mask = (1u8 << bits) - 1;
            let bytes: Vec<u8> = (0..len).map(|i| (raw[i * bits / 8] >> (i * bits % 8)) & mask).collect();
            Data::from_le_bytes(dtype, &sign_extended(dtype, bytes))
        }
        _ => Data::from_le_bytes(dtype, raw),
    }
}

/// Signed sub-byte elements widened to bytes.
fn sign_extended(dtype: DType, mut bytes: Vec<u8>) -> Vec<u8> {
    if dtype.is_signed_int() {
        let shift = 8 - dtype.bits();
        bytes.iter_mut().for_each(|b| *b = (((*b << shift) as i8) >> shift) as u8);
    }
    bytes
}

fn typed_elements(proto: &TensorProto, dtype: DType, len: usize) -> Option<Data> {
    let ints = &proto.int32_data;
    let bytes = || ints.iter().map(|&x| x as u8).collect::<Vec<u8>>();
    Some(match dtype {
        DType::F32 => Data::F32(proto.float_data.clone()),
        DType::F64 => Data::F64(proto.double_data.clone()),
        DType::I64 => Data::I64(proto.int64_data.clone()),
        DType::U64 => Data::U64(proto.uint64_data.clone()),
        DType::U32 => Data::U32(proto.uint64_data.iter().map(|&x| x as u32).collect()),
        DType::I32 => Data::I32(ints.clone()),
        DType::I16 => Data::I16(ints.iter().map(|&x| x as i16).collect()),
        DType::U16 => Data::U16(ints.iter().map(|&x| x as u16).collect()),
        DType::F16 => Data::F16(ints.iter().map(|&x| x as u16).collect()),
        DType::BF16 => Data::BF16(ints.iter().map(|&x| x as u16).collect()),
        DType::Bool => Data::Bool(ints.iter().map(|&x| x != 0).collect()),
        DType::String => Data::String(
            proto.string_data.iter().map(|s| String::from_utf8(s.clone()).ok()).collect::<Option<Vec<_>>>()?,
        ),
        DType::C64 => Data::C64(proto.float_data.as_chunks::<2>().0.to_vec()),
        DType::C128 => Data::C128(proto.double_data.as_chunks::<2>().0.to_vec()),
        _ if dtype.bits() < 8 => elements_from_raw(dtype, &bytes(), len)?,
        _ => Data::from_le_bytes(dtype, &bytes())?,
    })
}

/// The proto of a tensor.
pub fn tensor_to_proto(name: &str, tensor: &Tensor) -> TensorProto {
    let mut proto = TensorProto::new();
    proto.name = name.into();
    proto.data_type = tensor.dtype() as i32;
    proto.dims = tensor.shape().iter().map(|&d| d as i64).collect();
    match tensor.data() {
        Data::String(v) => proto.string_data = v.iter().map(|s| s.clone().into_bytes()).collect(),
        data if data.dtype().bits() < 8 => proto.raw_data = packed(data),
        data => proto.raw_data = data.to_le_bytes(),
    }
    proto
}

/// Sub-byte elements packed, low bits first.
fn packed(data: &Data) -> Vec<u8> {
    let bits = data.dtype().bits();
    let elements = data.to_le_bytes();
    let mut packed = vec![0u8; (elements.len() * bits).div_ceil(8)];
    let mask = (1u8 << bits) - 1;
    for (i, element) in elements.into_iter().enumerate() {
        packed[i * bits / 8] |= (element & mask) << (i * bits % 8);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_round_trip() {
        let tensors = [
            Tensor::from_elements(vec![2, 2], vec![1.0f32, -2.0, 0.5, f32::INFINITY]),
            Tensor::from_elements(vec![3], vec![String::from("a"), String::new(), String::from("ü")]),
            Tensor::new(vec![3], Data::I4(vec![-8, 7, -1])),
            Tensor::new(vec![5], Data::U2(vec![0, 1, 2, 3, 1])),
            Tensor::from_elements(vec![0, 4], Vec::<i64>::new()),
        ];
        for tensor in tensors {
            assert_eq!(tensor_from_proto(&tensor_to_proto("x", &tensor)), Ok(tensor));
        }
    }

    #[test]
    fn payloads_that_do_not_fit_are_errors() {
        let mut proto = tensor_to_proto("x", &Tensor::scalar(1.0f32));
        proto.dims = vec![1 << 40, 1 << 40];
        assert!(tensor_from_proto(&proto).is_err());
        proto.dims = vec![-1];
        assert!(tensor_from_proto(&proto).is_err());
        proto.dims = vec![2];
        assert!(tensor_from_proto(&proto).is_err());
    }
}
