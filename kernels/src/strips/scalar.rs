//! Strips that run one lane at a time over portable math.

/// The strip of a scalar function.
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
pub(super) use strip;

/// Inverse hyperbolic cosine; NaN below 1, where libm gives numbers.
pub(super) fn acosh(x: f32) -> f32 {
    if x < 1.0 { f32::NAN } else { libm::acoshf(x) }
}

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
