//! Element types as numbers: ONNX's `TensorProto.DataType`. A C enumeration would be undefined for other numbers.

/// IEEE 754 binary32.
pub const IC_F32: u8 = 1;
/// Unsigned 8-bit integer.
pub const IC_U8: u8 = 2;
/// Signed 8-bit integer.
pub const IC_I8: u8 = 3;
/// Unsigned 16-bit integer.
pub const IC_U16: u8 = 4;
/// Signed 16-bit integer.
pub const IC_I16: u8 = 5;
/// Signed 32-bit integer.
pub const IC_I32: u8 = 6;
/// Signed 64-bit integer.
pub const IC_I64: u8 = 7;
/// String; not supported in C.
pub const IC_STRING: u8 = 8;
/// One byte, 0 or 1.
pub const IC_BOOL: u8 = 9;
/// IEEE 754 binary16.
pub const IC_F16: u8 = 10;
/// IEEE 754 binary64.
pub const IC_F64: u8 = 11;
/// Unsigned 32-bit integer.
pub const IC_U32: u8 = 12;
/// Unsigned 64-bit integer.
pub const IC_U64: u8 = 13;
/// Complex number of two binary32.
pub const IC_C64: u8 = 14;
/// Complex number of two binary64.
pub const IC_C128: u8 = 15;
/// bfloat16.
pub const IC_BF16: u8 = 16;
/// 8-bit float, 4 exponent bits, finite.
pub const IC_F8E4M3FN: u8 = 17;
/// 8-bit float, 4 exponent bits, finite, no negative zero.
pub const IC_F8E4M3FNUZ: u8 = 18;
/// 8-bit float, 5 exponent bits.
pub const IC_F8E5M2: u8 = 19;
/// 8-bit float, 5 exponent bits, finite, no negative zero.
pub const IC_F8E5M2FNUZ: u8 = 20;
/// Unsigned 4-bit integer, one byte each.
pub const IC_U4: u8 = 21;
/// Signed 4-bit integer, one byte each.
pub const IC_I4: u8 = 22;
/// 4-bit float, one byte each.
pub const IC_F4E2M1: u8 = 23;
/// 8-bit exponent-only float.
pub const IC_F8E8M0: u8 = 24;
/// Unsigned 2-bit integer, one byte each.
pub const IC_U2: u8 = 25;
/// Signed 2-bit integer, one byte each.
pub const IC_I2: u8 = 26;
/// Sequence or optional; not supported in C.
pub const IC_OBJECT: u8 = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::DType;

    #[test]
    fn every_element_type_has_its_number() {
        let numbers = [
            (DType::F32, IC_F32),
            (DType::U8, IC_U8),
            (DType::I8, IC_I8),
            (DType::U16, IC_U16),
            (DType::I16, IC_I16),
            (DType::I32, IC_I32),
            (DType::I64, IC_I64),
            (DType::String, IC_STRING),
            (DType::Bool, IC_BOOL),
            (DType::F16, IC_F16),
            (DType::F64, IC_F64),
            (DType::U32, IC_U32),
            (DType::U64, IC_U64),
            (DType::C64, IC_C64),
            (DType::C128, IC_C128),
            (DType::BF16, IC_BF16),
            (DType::F8E4M3FN, IC_F8E4M3FN),
            (DType::F8E4M3FNUZ, IC_F8E4M3FNUZ),
            (DType::F8E5M2, IC_F8E5M2),
            (DType::F8E5M2FNUZ, IC_F8E5M2FNUZ),
            (DType::U4, IC_U4),
            (DType::I4, IC_I4),
            (DType::F4E2M1, IC_F4E2M1),
            (DType::F8E8M0, IC_F8E8M0),
            (DType::U2, IC_U2),
            (DType::I2, IC_I2),
            (DType::Object, IC_OBJECT),
        ];
        assert_eq!(numbers.map(|(dtype, number)| dtype as u8 - number), [0; 27]);
        assert_eq!(numbers.len(), DType::ALL.len());
    }
}
