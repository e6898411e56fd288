//! Elementary functions that give the same bits on every host: those of the crate `libm`.

use std::ops::{Add, Div, Mul, Neg, Sub};

macro_rules! math {
    ($($f:ident, $f32:ident;)*) => {
        /// Arithmetic and elementary functions of f32 and f64.
        pub(crate) trait Math:
            Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
            + Neg<Output = Self>
        {
            /// The nearest value to `x`.
            fn from_f64(x: f64) -> Self;
            fn is_nan(self) -> bool;
            fn abs(self) -> Self;
            fn pow(self, b: Self) -> Self;
            fn fmod(self, b: Self) -> Self;
            $(fn $f(self) -> Self;)*
        }

        impl Math for f32 {
            fn from_f64(x: f64) -> f32 { x as f32 }
            fn is_nan(self) -> bool { self.is_nan() }
            fn abs(self) -> f32 { libm::fabsf(self) }
            fn pow(self, b: f32) -> f32 { libm::powf(self, b) }
            fn fmod(self, b: f32) -> f32 { libm::fmodf(self, b) }
            $(fn $f(self) -> f32 { libm::$f32(self) })*
        }

        impl Math for f64 {
            fn from_f64(x: f64) -> f64 { x }
            fn is_nan(self) -> bool { self.is_nan() }
            fn abs(self) -> f64 { libm::fabs(self) }
            fn pow(self, b: f64) -> f64 { libm::pow(self, b) }
            fn fmod(self, b: f64) -> f64 { libm::fmod(self, b) }
            $(fn $f(self) -> f64 { libm::$f(self) })*
        }
    };
}

math! {
    floor, floorf;
    ceil, ceilf;
    rint, rintf;
    sqrt, sqrtf;
    exp, expf;
    log, logf;
    log1p, log1pf;
    erf, erff;
    sin, sinf;
    cos, cosf;
    tan, tanf;
    asin, asinf;
    acos, acosf;
    atan, atanf;
    sinh, sinhf;
    cosh, coshf;
    tanh, tanhf;
    asinh, asinhf;
    acosh, acoshf;
    atanh, atanhf;
}
