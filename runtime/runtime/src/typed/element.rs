//! One Rust type per element type.
//!
//! Types that Rust lacks are their bit patterns in a wrapper, so that two dtypes never have the same element.

use ic_types::{DType, Data, DataRef, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// A Rust type that stands for exactly one dtype.
pub trait Element: Clone + Sized + private::Sealed {
    /// The dtype.
    const DTYPE: DType;
    /// Wraps borrowed elements.
    fn wrap_ref(elements: &[Self]) -> DataRef<'_>;
    /// The elements, if they are of this type.
    ///
    /// # Errors
    /// Gives `data` back if they are not.
    fn unwrap(data: Data) -> Result<Vec<Self>, Data>;
}

mod private {
    /// Keeps [`Element`](super::Element) to the types here.
    pub trait Sealed {}
}

macro_rules! natural {
    ($($element:ty => $variant:ident,)*) => {$(
        impl private::Sealed for $element {}

        impl Element for $element {
            const DTYPE: DType = DType::$variant;

            fn wrap_ref(elements: &[Self]) -> DataRef<'_> {
                DataRef::$variant(elements)
            }

            fn unwrap(data: Data) -> Result<Vec<Self>, Data> {
                match data {
                    Data::$variant(elements) => Ok(elements),
                    other => Err(other),
                }
            }
        }
    )*};
}

natural! {
    f64 => F64, f32 => F32, i64 => I64, i32 => I32, i16 => I16, i8 => I8, u64 => U64, u32 => U32, u16 => U16, u8 => U8,
    bool => Bool, String => String, [f32; 2] => C64, [f64; 2] => C128,
}

macro_rules! wrapped {
    ($($(#[$doc:meta])* $name:ident($bits:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub $bits);

        impl private::Sealed for $name {}

        impl Element for $name {
            const DTYPE: DType = DType::$name;

            fn wrap_ref(elements: &[Self]) -> DataRef<'_> {
                // SAFETY: the wrapper is transparent.
                DataRef::$name(unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<$bits>(), elements.len()) })
            }

            fn unwrap(data: Data) -> Result<Vec<Self>, Data> {
                match data {
                    Data::$name(elements) => Ok(elements.into_iter().map($name).collect()),
                    other => Err(other),
                }
            }
        }
    )*};
}

wrapped! {
    /// IEEE 754 binary16, as bits.
    F16(u16);
    /// bfloat16, as bits.
    BF16(u16);
    /// 8-bit float, 4 exponent bits, finite, as bits.
    F8E4M3FN(u8);
    /// 8-bit float, 4 exponent bits, finite, no negative zero, as bits.
    F8E4M3FNUZ(u8);
    /// 8-bit float, 5 exponent bits, as bits.
    F8E5M2(u8);
    /// 8-bit float, 5 exponent bits, finite, no negative zero, as bits.
    F8E5M2FNUZ(u8);
    /// 8-bit exponent-only float, as bits.
    F8E8M0(u8);
    /// 4-bit float, 2 exponent bits, as bits.
    F4E2M1(u8);
    /// Signed 4-bit integer.
    I4(i8);
    /// Signed 2-bit integer.
    I2(i8);
    /// Unsigned 4-bit integer.
    U4(u8);
    /// Unsigned 2-bit integer.
    U2(u8);
}

impl F16 {
    /// The nearest, ties to even.
    pub fn from_f32(x: f32) -> F16 {
        F16(f32_to_f16(x))
    }

    /// The same number.
    pub fn to_f32(self) -> f32 {
        f16_to_f32(self.0)
    }
}

impl BF16 {
    /// The nearest, ties to even.
    pub fn from_f32(x: f32) -> BF16 {
        BF16(f32_to_bf16(x))
    }

    /// The same number.
    pub fn to_f32(self) -> f32 {
        bf16_to_f32(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_survive_wrapping() {
        let halves = [F16::from_f32(0.5), F16::from_f32(-2.0)];
        let data = F16::wrap_ref(&halves).to_owned();
        assert_eq!(data.dtype(), DType::F16);
        assert!(u16::unwrap(data.clone()).is_err());
        assert_eq!(F16::unwrap(data).unwrap(), halves);
        assert_eq!(halves[1].to_f32(), -2.0);
        assert_eq!(BF16::from_f32(1.5).to_f32(), 1.5);
    }
}
