//! ONNX `SequenceProto` and `OptionalProto`: sequences and optionals of tensors in files.
//!
//! Both messages have the same fields (onnx-data.proto), so an optional reads as a sequence of at most one element; one of
//! undefined element type is an optional without one.

use super::proto::{tensor_from_proto, tensor_to_proto};
use ic_types::Object;
use onnx_protobuf::TensorProto;
use protobuf::rt::WireType;
use protobuf::{CodedInputStream, CodedOutputStream, Message};

const NAME: u32 = 1;
const ELEMENT_TYPE: u32 = 2;
const TENSOR: u32 = 3;
const SEQUENCE: u32 = 5;
const OPTIONAL: u32 = 7;

/// Depth of nested sequences from which on a file is refused.
const MAX_DEPTH: usize = 16;

/// The object in the bytes of a message.
///
/// # Errors
/// If they are no such message, or hold maps or sparse tensors.
pub(super) fn decode(bytes: &[u8]) -> Result<Object, String> {
    decode_at(bytes, 0)
}

fn decode_at(bytes: &[u8], depth: usize) -> Result<Object, String> {
    if depth > MAX_DEPTH {
        return Err(format!("sequences are nested more than {MAX_DEPTH} deep"));
    }
    let text = |e: protobuf::Error| e.to_string();
    let mut input = CodedInputStream::from_bytes(bytes);
    let (mut element_type, mut elements) = (0, Vec::new());
    while let Some(tag) = input.read_raw_tag_or_eof().map_err(text)? {
        let wire = WireType::new(tag & 7).ok_or("not a valid message")?;
        match (tag >> 3, wire) {
            (ELEMENT_TYPE, WireType::Varint) => element_type = input.read_int32().map_err(text)?,
            (TENSOR, WireType::LengthDelimited) => {
                let proto = TensorProto::parse_from_bytes(&input.read_bytes().map_err(text)?).map_err(text)?;
                elements.push(Object::Tensor(tensor_from_proto(&proto)?));
            }
            (SEQUENCE | OPTIONAL, WireType::LengthDelimited) => {
                elements.push(decode_at(&input.read_bytes().map_err(text)?, depth + 1)?);
            }
            (4 | 6, _) => return Err("maps and sparse tensors are not supported".into()),
            (_, wire) => input.skip_field(wire).map_err(text)?,
        }
    }
    Ok(if element_type == 0 && elements.is_empty() { Object::Optional(None) } else { Object::Sequence(elements) })
}

/// The bytes of the message of an object.
///
/// # Errors
/// Never for messages of plausible size.
pub(super) fn encode(name: &str, object: &Object) -> Result<Vec<u8>, String> {
    let text = |e: protobuf::Error| e.to_string();
    let mut bytes = Vec::new();
    let mut output = CodedOutputStream::vec(&mut bytes);
    output.write_string(NAME, name).map_err(text)?;
    let elements = object.elements();
    let element_type = match (object, elements.first()) {
        (Object::Optional(_), None) => 0,
        (_, None | Some(Object::Tensor(_))) => 1,
        (_, Some(Object::Sequence(_))) => 3,
        (_, Some(Object::Optional(_))) => 5,
    };
    output.write_int32(ELEMENT_TYPE, element_type).map_err(text)?;
    for element in elements {
        let (field, bytes) = match element {
            Object::Tensor(tensor) => (TENSOR, tensor_to_proto("", tensor).write_to_bytes().map_err(text)?),
            Object::Sequence(_) => (SEQUENCE, encode("", element)?),
            Object::Optional(_) => (OPTIONAL, encode("", element)?),
        };
        output.write_bytes(field, &bytes).map_err(text)?;
    }
    output.flush().map_err(text)?;
    drop(output);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::Tensor;

    #[test]
    fn objects_round_trip() {
        let tensors = [Tensor::scalar(1.5f32), Tensor::from_elements(vec![2], vec![String::from("a"), String::new()])];
        let list = Object::Sequence(tensors.map(Object::Tensor).into());
        let nested = Object::Sequence(vec![list.clone(), Object::Sequence(Vec::new())]);
        for object in [list, nested, Object::Sequence(Vec::new()), Object::Optional(None)] {
            assert_eq!(decode(&encode("x", &object).unwrap()), Ok(object));
        }
        assert!(decode(&[0xff; 20]).is_err());
    }
}
