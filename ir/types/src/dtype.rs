//! Element types: every type of ONNX's `TensorProto.DataType`.

use std::fmt;
use std::str::FromStr;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $code:literal, $bits:literal;)*) => {
        /// The element type of a tensor.
        ///
        /// The discriminant is ONNX's `TensorProto.DataType` number and is what artifacts store.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum DType {
            $($(#[$doc])* $variant = $code,)*
        }

        impl DType {
            /// Every element type, in ONNX's numbering, and objects.
            pub const ALL: &[DType] = &[$(DType::$variant,)*];

            /// The type with ONNX number `code`, if there is one.
            pub fn from_code(code: u8) -> Option<DType> {
                match code {
                    $($code => Some(DType::$variant),)*
                    _ => None,
                }
            }

            /// The name in IR text.
            pub fn name(self) -> &'static str {
                match self {
                    $(DType::$variant => $text,)*
                }
            }

            /// Bits of one element as ONNX packs it; 0 for strings and objects.
            pub fn bits(self) -> usize {
                match self {
                    $(DType::$variant => $bits,)*
                }
            }
        }

        impl FromStr for DType {
            type Err = ();
            fn from_str(text: &str) -> Result<DType, ()> {
                match text {
                    $($text => Ok(DType::$variant),)*
                    _ => Err(()),
                }
            }
        }
    };
}

dtypes! {
    /// IEEE 754 binary32.
    F32 = "f32", 1, 32;
    /// Unsigned 8-bit integer.
    U8 = "u8", 2, 8;
    /// Signed 8-bit integer.
    I8 = "i8", 3, 8;
    /// Unsigned 16-bit integer.
    U16 = "u16", 4, 16;
    /// Signed 16-bit integer.
    I16 = "i16", 5, 16;
    /// Signed 32-bit integer.
    I32 = "i32", 6, 32;
    /// Signed 64-bit integer.
    I64 = "i64", 7, 64;
    /// UTF-8 string.
    String = "string", 8, 0;
    /// Boolean, one byte, 0 or 1.
    Bool = "bool", 9, 8;
    /// IEEE 754 binary16.
    F16 = "f16", 10, 16;
    /// IEEE 754 binary64.
    F64 = "f64", 11, 64;
    /// Unsigned 32-bit integer.
    U32 = "u32", 12, 32;
    /// Unsigned 64-bit integer.
    U64 = "u64", 13, 64;
    /// Complex number of two f32.
    C64 = "c64", 14, 64;
    /// Complex number of two f64.
    C128 = "c128", 15, 128;
    /// bfloat16: the upper half of an f32.
    BF16 = "bf16", 16, 16;
    /// 8-bit float, 4 exponent bits, finite.
    F8E4M3FN = "f8e4m3fn", 17, 8;
    /// 8-bit float, 4 exponent bits, finite, no negative zero.
    F8E4M3FNUZ = "f8e4m3fnuz", 18, 8;
    /// 8-bit float, 5 exponent bits.
    F8E5M2 = "f8e5m2", 19, 8;
    /// 8-bit float, 5 exponent bits, finite, no negative zero.
    F8E5M2FNUZ = "f8e5m2fnuz", 20, 8;
    /// Unsigned 4-bit integer.
    U4 = "u4", 21, 4;
    /// Signed 4-bit integer.
    I4 = "i4", 22, 4;
    /// 4-bit float, 2 exponent bits.
    F4E2M1 = "f4e2m1", 23, 4;
    /// 8-bit exponent-only float.
    F8E8M0 = "f8e8m0", 24, 8;
    /// Unsigned 2-bit integer.
    U2 = "u2", 25, 2;
    /// Signed 2-bit integer.
    I2 = "i2", 26, 2;
    /// A sequence or an optional. Not an element type of ONNX: its number is this project's.
    Object = "object", 200, 0;
}

impl DType {
    /// Bytes of one element in memory at run time, where sub-byte types take one byte, and strings and objects are handles
    /// of what the run holds.
    pub fn size(self) -> Option<usize> {
        match self {
            DType::String | DType::Object => Some(8),
            _ => Some(self.bits().div_ceil(8)),
        }
    }

    /// Whether elements are handles of what the run holds: strings and objects.
    pub fn is_handle(self) -> bool {
        matches!(self, DType::String | DType::Object)
    }

    /// Whether this is a real floating-point type.
    pub fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F64 | F32 | F16 | BF16 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F4E2M1)
    }

    /// Whether this is a signed integer type.
    pub fn is_signed_int(self) -> bool {
        use DType::*;
        matches!(self, I64 | I32 | I16 | I8 | I4 | I2)
    }

    /// Whether this is an unsigned integer type.
    pub fn is_unsigned_int(self) -> bool {
        use DType::*;
        matches!(self, U64 | U32 | U16 | U8 | U4 | U2)
    }

    /// Whether this is an integer type, signed or not.
    pub fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned_int()
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DType;

    #[test]
    fn codes_and_names_round_trip() {
        for &dtype in DType::ALL {
            assert_eq!(DType::from_code(dtype as u8), Some(dtype));
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        assert_eq!(DType::from_code(0), None);
    }
}
