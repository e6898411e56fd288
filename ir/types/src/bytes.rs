//! Elements as little-endian bytes, in the layout that memory, files and artifacts share: one element after the other,
//! sub-byte types one element per byte, complex numbers as (real, imaginary).

use crate::{DType, Data};

macro_rules! numbers {
    ($($variant:ident: $element:ty,)*) => {
        fn numbers_from(dtype: DType, bytes: &[u8]) -> Option<Data> {
            match dtype {
                $(DType::$variant => {
                    let (chunks, rest) = bytes.as_chunks::<{ size_of::<$element>() }>();
                    rest.is_empty().then(|| {
                        Data::$variant(chunks.iter().map(|c| <$element>::from_le_bytes(*c)).collect())
                    })
                })*
                _ => None,
            }
        }

        fn numbers_to(data: &Data) -> Option<Vec<u8>> {
            match data {
                $(Data::$variant(v) => Some(v.iter().flat_map(|x| x.to_le_bytes()).collect()),)*
                _ => None,
            }
        }
    };
}

numbers! {
    F64: f64, F32: f32, F16: u16, BF16: u16, F8E4M3FN: u8, F8E4M3FNUZ: u8, F8E5M2: u8, F8E5M2FNUZ: u8, F8E8M0: u8,
    F4E2M1: u8, I64: i64, I32: i32, I16: i16, I8: i8, I4: i8, I2: i8, U64: u64, U32: u32, U16: u16, U8: u8, U4: u8,
    U2: u8,
}

impl Data {
    /// Reads elements; `None` if the length is not a multiple of the element's size or the type is string.
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> Option<Data> {
        match dtype {
            DType::String | DType::Object => None,
            DType::Bool => Some(Data::Bool(bytes.iter().map(|&b| b != 0).collect())),
            DType::C64 => match numbers_from(DType::F32, bytes)? {
                Data::F32(v) => {
                    let (pairs, rest) = v.as_chunks::<2>();
                    rest.is_empty().then(|| Data::C64(pairs.to_vec()))
                }
                _ => None,
            },
            DType::C128 => match numbers_from(DType::F64, bytes)? {
                Data::F64(v) => {
                    let (pairs, rest) = v.as_chunks::<2>();
                    rest.is_empty().then(|| Data::C128(pairs.to_vec()))
                }
                _ => None,
            },
            _ => numbers_from(dtype, bytes),
        }
    }

    /// The elements as bytes; strings as UTF-8, each ended by a zero byte, objects as text that tells them apart.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            Data::Bool(v) => v.iter().map(|&b| u8::from(b)).collect(),
            Data::C64(v) => v.iter().flatten().flat_map(|x| x.to_le_bytes()).collect(),
            Data::C128(v) => v.iter().flatten().flat_map(|x| x.to_le_bytes()).collect(),
            Data::Object(v) => format!("{v:?}").into_bytes(),
            Data::String(v) => v.iter().flat_map(|s| s.bytes().chain([0])).collect(),
            _ => numbers_to(self).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip() {
        for &dtype in DType::ALL.iter().filter(|&&d| !d.is_handle()) {
            let size = dtype.size().unwrap();
            let bytes: Vec<u8> = (0..size * 3).map(|i| (i % 2) as u8).collect();
            let data = Data::from_le_bytes(dtype, &bytes).unwrap();
            assert_eq!((data.dtype(), data.len(), data.to_le_bytes()), (dtype, 3, bytes.clone()));
            assert_eq!(size > 1, Data::from_le_bytes(dtype, &bytes[1..]).is_none());
        }
    }
}
