//! Math functions of single elements: those that generated code does not call on arrays.

use crate::abi::{F64Fn, Strip};

macro_rules! function {
    ($function:expr) => {{
        extern "C" fn function(x: f64) -> f64 {
            $function(x)
        }
        function
    }};
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

fn gelu_tanh(x: f64) -> f64 {
    x * 0.5 * (1.0 + libm::tanh(0.797_884_560_802_865_4 * (x + 0.044715 * x * x * x)))
}

fn hard_swish(x: f64) -> f64 {
    x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
}

fn softplus(x: f64) -> f64 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + libm::log1p(libm::exp(-x.abs()))
}

pub(super) const FUNCTIONS: [F64Fn; Strip::ALL.len()] = [
    function!(libm::exp),
    function!(libm::log),
    function!(libm::erf),
    function!(libm::tanh),
    function!(sigmoid),
    function!(|x| x * sigmoid(x)),
    function!(gelu),
    function!(gelu_tanh),
    function!(hard_swish),
    function!(|x: f64| if x < 0.0 { 0.0 } else { x }),
    function!(libm::sin),
    function!(libm::cos),
    function!(f64::sqrt),
    function!(softplus),
    function!(libm::tan),
    function!(libm::asin),
    function!(libm::acos),
    function!(libm::atan),
    function!(libm::sinh),
    function!(libm::cosh),
    function!(libm::asinh),
    function!(libm::acosh),
    function!(libm::atanh),
];

/// `a^b`.
pub(super) extern "C" fn f64_pow(a: f64, b: f64) -> f64 {
    libm::pow(a, b)
}

/// C's `fmod`.
pub(super) extern "C" fn f64_fmod(a: f64, b: f64) -> f64 {
    libm::fmod(a, b)
}

/// C's `fmodf`.
pub(super) extern "C" fn f32_fmod(a: f32, b: f32) -> f32 {
    libm::fmodf(a, b)
}
