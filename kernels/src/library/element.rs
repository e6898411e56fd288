//! Element types as Rust types, and choosing among them by dtype.

use ic_types::{DType, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// A plain value for which every bit pattern is valid.
///
/// The unsigned integers also stand for any element of their width, for kernels that only move data.
pub(crate) trait Element: Copy + Default + PartialEq + Send + Sync + 'static {
    /// Whether elements of `dtype` can be read as this type.
    fn accepts(dtype: DType) -> bool;
}

/// 16 bytes: complex numbers of two f64.
pub(crate) type Wide = [u64; 2];

macro_rules! raw {
    ($($ty:ty: $size:literal;)*) => {$(
        impl Element for $ty {
            fn accepts(dtype: DType) -> bool {
                dtype.size() == Some($size)
            }
        }
    )*};
}

raw! { u8: 1; u16: 2; u32: 4; u64: 8; Wide: 16; }

macro_rules! typed {
    ($($ty:ty: $($dtype:ident)|+;)*) => {$(
        impl Element for $ty {
            fn accepts(dtype: DType) -> bool {
                matches!(dtype, $(DType::$dtype)|+)
            }
        }
    )*};
}

/// A binary16 number.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[repr(transparent)]
pub(crate) struct Half(pub(crate) u16);

/// A bfloat16 number.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
#[repr(transparent)]
pub(crate) struct BrainHalf(pub(crate) u16);

typed! {
    f32: F32;
    f64: F64;
    i8: I8 | I4 | I2;
    i16: I16;
    i32: I32;
    i64: I64;
    Half: F16;
    BrainHalf: BF16;
}

/// A number with ordinary arithmetic. Integers wrap; 16-bit floats compute in f32 and round each result.
pub(crate) trait Number: Element {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Below or equal to every number.
    const LOWEST: Self;
    /// Above or equal to every number.
    const HIGHEST: Self;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`; 0 for integers divided by 0.
    fn div(self, other: Self) -> Self;
    /// `self < other`.
    fn less(self, other: Self) -> bool;
    /// Whether this is not a number.
    fn is_nan(self) -> bool;
    /// The nearest f64.
    fn to_f64(self) -> f64;
    /// The nearest number of this type to `x`; towards zero and saturating for integers.
    fn from_f64(x: f64) -> Self;

    /// The larger; NaN if either is.
    fn larger(self, other: Self) -> Self {
        if other.is_nan() || (self.less(other) && !self.is_nan()) { other } else { self }
    }

    /// The smaller; NaN if either is.
    fn smaller(self, other: Self) -> Self {
        if other.is_nan() || (other.less(self) && !self.is_nan()) { other } else { self }
    }
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Number for $ty {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$ty>::MIN;
            const HIGHEST: Self = <$ty>::MAX;
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            fn div(self, other: Self) -> Self { self.checked_div(other).unwrap_or(0) }
            fn less(self, other: Self) -> bool { self < other }
            fn is_nan(self) -> bool { false }
            fn to_f64(self) -> f64 { self as f64 }
            fn from_f64(x: f64) -> Self { x as $ty }
        }
    )*};
}

integers! { i8 i16 i32 i64 u8 u16 u32 u64 }

macro_rules! floats {
    ($($ty:ident)*) => {$(
        impl Number for $ty {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = $ty::NEG_INFINITY;
            const HIGHEST: Self = $ty::INFINITY;
            fn add(self, other: Self) -> Self { self + other }
            fn mul(self, other: Self) -> Self { self * other }
            fn div(self, other: Self) -> Self { self / other }
            fn less(self, other: Self) -> bool { self < other }
            fn is_nan(self) -> bool { $ty::is_nan(self) }
            fn to_f64(self) -> f64 { self as f64 }
            fn from_f64(x: f64) -> Self { x as $ty }
        }
    )*};
}

floats! { f32 f64 }

macro_rules! half_floats {
    ($($ty:ident, $widen:ident, $narrow:ident, $one:literal, $low:literal, $high:literal;)*) => {$(
        impl Number for $ty {
            const ZERO: Self = $ty(0);
            const ONE: Self = $ty($one);
            const LOWEST: Self = $ty($low);
            const HIGHEST: Self = $ty($high);
            fn add(self, other: Self) -> Self { $ty($narrow($widen(self.0) + $widen(other.0))) }
            fn mul(self, other: Self) -> Self { $ty($narrow($widen(self.0) * $widen(other.0))) }
            fn div(self, other: Self) -> Self { $ty($narrow($widen(self.0) / $widen(other.0))) }
            fn less(self, other: Self) -> bool { $widen(self.0) < $widen(other.0) }
            fn is_nan(self) -> bool { $widen(self.0).is_nan() }
            fn to_f64(self) -> f64 { f64::from($widen(self.0)) }
            fn from_f64(x: f64) -> Self { $ty($narrow(x as f32)) }
        }
    )*};
}

half_floats! {
    Half, f16_to_f32, f32_to_f16, 0x3c00, 0xfc00, 0x7c00;
    BrainHalf, bf16_to_f32, f32_to_bf16, 0x3f80, 0xff80, 0x7f80;
}

/// A number with the type that sums and products of it are kept in.
pub(crate) trait Summable: Number {
    /// f32 for 16-bit floats and f32, 64 bits for the others.
    type Sum: Sum;
    /// The same number.
    fn widen(self) -> Self::Sum;
    /// The nearest number of this type; integers wrap.
    fn narrow(sum: Self::Sum) -> Self;
}

/// What sums are kept in.
pub(crate) trait Sum: Number {
    /// `|self|`.
    fn abs(self) -> Self;
    /// The square root; towards zero for integers.
    fn sqrt(self) -> Self;
    /// The natural logarithm; towards zero for integers.
    fn log(self) -> Self;
    /// `e^self`; towards zero for integers.
    fn exp(self) -> Self;
    /// This number, not negative, to the power of `exponent`; towards zero for integers.
    fn power(self, exponent: f64) -> Self {
        Self::from_f64(libm::pow(self.to_f64(), exponent))
    }
    /// The difference.
    fn sub(self, other: Self) -> Self;
    /// Whether this is neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

macro_rules! summable {
    ($($ty:ident as $sum:ty: $value:ident => $widen:expr, $narrow:expr;)*) => {$(
        impl Summable for $ty {
            type Sum = $sum;
            #[inline(always)]
            fn widen(self) -> $sum { let $value = self; $widen }
            #[inline(always)]
            fn narrow($value: $sum) -> Self { $narrow }
        }
    )*};
}

summable! {
    f32 as f32: x => x, x;
    f64 as f64: x => x, x;
    Half as f32: x => f16_to_f32(x.0), Half(f32_to_f16(x));
    BrainHalf as f32: x => bf16_to_f32(x.0), BrainHalf(f32_to_bf16(x));
    i8 as i64: x => i64::from(x), x as i8;
    i16 as i64: x => i64::from(x), x as i16;
    i32 as i64: x => i64::from(x), x as i32;
    i64 as i64: x => x, x;
    u8 as u64: x => u64::from(x), x as u8;
    u16 as u64: x => u64::from(x), x as u16;
    u32 as u64: x => u64::from(x), x as u32;
    u64 as u64: x => x, x;
}

macro_rules! sums {
    ($($ty:ident: $abs:expr, $sqrt:expr, $log:expr, $exp:expr, $sub:expr, $finite:expr;)*) => {$(
        impl Sum for $ty {
            #[inline(always)]
            fn abs(self) -> Self { $abs(self) }
            fn sqrt(self) -> Self { $sqrt(self) }
            fn log(self) -> Self { $log(self) }
            fn exp(self) -> Self { $exp(self) }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { $sub(self, other) }
            #[inline(always)]
            fn is_finite(self) -> bool { $finite(self) }
        }
    )*};
}

sums! {
    f32: f32::abs, f32::sqrt, libm::logf, libm::expf, |a, b| a - b, f32::is_finite;
    f64: f64::abs, f64::sqrt, libm::log, libm::exp, |a, b| a - b, f64::is_finite;
    i64: i64::wrapping_abs, |x| f64::sqrt(x as f64) as i64, |x| libm::log(x as f64) as i64,
        |x| libm::exp(x as f64) as i64, i64::wrapping_sub, |_| true;
    u64: |x| x, |x| f64::sqrt(x as f64) as u64, |x| libm::log(x as f64) as u64,
        |x| libm::exp(x as f64) as u64, u64::wrapping_sub, |_| true;
}

/// Runs `$body` with `$ty` an unsigned type as wide as the elements of `$dtype`; an error for strings.
macro_rules! by_width {
    ($dtype:expr, $ty:ident => $body:expr) => {{
        let dtype: ic_types::DType = $dtype;
        match dtype.size() {
            Some(1) => {
                type $ty = u8;
                $body
            }
            Some(2) => {
                type $ty = u16;
                $body
            }
            Some(4) => {
                type $ty = u32;
                $body
            }
            Some(8) => {
                type $ty = u64;
                $body
            }
            Some(16) => {
                type $ty = $crate::library::element::Wide;
                $body
            }
            _ => Err($crate::library::args::error(format!("not supported: elements of type {dtype}"))),
        }
    }};
}
pub(crate) use by_width;

/// Runs `$body` with `$ty` the [`Number`] type of `$dtype`; an error for types without arithmetic.
macro_rules! by_number {
    ($dtype:expr, $ty:ident => $body:expr) => {{
        use ic_types::DType as D;
        let dtype: D = $dtype;
        match dtype {
            D::F32 => {
                type $ty = f32;
                $body
            }
            D::F64 => {
                type $ty = f64;
                $body
            }
            D::F16 => {
                type $ty = $crate::library::element::Half;
                $body
            }
            D::BF16 => {
                type $ty = $crate::library::element::BrainHalf;
                $body
            }
            D::I64 => {
                type $ty = i64;
                $body
            }
            D::I32 => {
                type $ty = i32;
                $body
            }
            D::I16 => {
                type $ty = i16;
                $body
            }
            D::I8 | D::I4 | D::I2 => {
                type $ty = i8;
                $body
            }
            D::U64 => {
                type $ty = u64;
                $body
            }
            D::U32 => {
                type $ty = u32;
                $body
            }
            D::U16 => {
                type $ty = u16;
                $body
            }
            D::U8 | D::U4 | D::U2 | D::Bool => {
                type $ty = u8;
                $body
            }
            _ => Err($crate::library::args::error(format!("not supported: arithmetic on elements of type {dtype}"))),
        }
    }};
}
pub(crate) use by_number;
