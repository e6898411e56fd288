//! Strips that run one lane at a time over portable math.

use crate::abi::{Strip, StripFn};

macro_rules! strip {
    ($function:expr) => {{
        unsafe extern "C" fn strip(dst: *mut f32, src: *const f32, n: usize) {
            for i in 0..n {
                // SAFETY: both arrays hold `n` elements.
                unsafe { *dst.add(i) = $function(*src.add(i)) };
            }
        }
        strip
    }};
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

fn gelu(x: f32) -> f32 {
    x * 0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

fn gelu_tanh(x: f32) -> f32 {
    x * 0.5 * (1.0 + libm::tanhf(0.797_884_6 * (x + 0.044_715 * x * x * x)))
}

fn softplus(x: f32) -> f32 {
    if x > 0.0 { x + libm::log1pf(libm::expf(-x)) } else { libm::log1pf(libm::expf(x)) }
}

pub(super) const STRIPS: [StripFn; Strip::ALL.len()] = [
    strip!(libm::expf),
    strip!(libm::logf),
    strip!(libm::erff),
    strip!(libm::tanhf),
    strip!(sigmoid),
    strip!(|x| x * sigmoid(x)),
    strip!(gelu),
    strip!(gelu_tanh),
    strip!(|x: f32| x * x.mul_add(1.0 / 6.0, 0.5).clamp(0.0, 1.0)),
    strip!(|x: f32| if x < 0.0 { 0.0 } else { x }),
    strip!(libm::sinf),
    strip!(libm::cosf),
    strip!(f32::sqrt),
    strip!(softplus),
    strip!(libm::tanf),
    strip!(libm::asinf),
    strip!(libm::acosf),
    strip!(libm::atanf),
    strip!(libm::sinhf),
    strip!(libm::coshf),
    strip!(libm::asinhf),
    strip!(libm::acoshf),
    strip!(libm::atanhf),
];

/// `dst[i] = a[i]^b[i]`.
///
/// # Safety
/// The arrays hold `n` elements each; `dst` may equal either source.
pub(super) unsafe extern "C" fn pow(dst: *mut f32, a: *const f32, b: *const f32, n: usize) {
    for i in 0..n {
        // SAFETY: the arrays hold `n` elements.
        unsafe { *dst.add(i) = libm::powf(*a.add(i), *b.add(i)) };
    }
}
