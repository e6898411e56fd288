//! `e^x` and what follows from it.

use super::{abs, clamp, polynomial, with_sign};
use crate::vector::Vector;

/// `2^n` for the integers `n` from -126 to 127, and 0 for -127.
#[inline(always)]
fn power_of_two<V: Vector>(n: V) -> V {
    n.add_int(V::splat_bits(127)).shift_left::<23>()
}

/// `e^x`, within 1 ULP; denormal results included.
///
/// `x = n ln 2 + r`; `2^n` is applied as two factors, because it may be out of range where the result is not.
#[inline(always)]
pub(crate) fn exp<V: Vector>(x: V) -> V {
    let (p, n) = reduced(clamp(x, -104.0, 89.0));
    let half = n.shift_right::<1>();
    p.mul(power_of_two(half)).mul(power_of_two(n.sub_int(half)))
}

/// `e^x` for `x <= 0`, within 1 ULP of results down to `2^-126`, below which it is 0.
#[inline(always)]
pub(crate) fn exp_below_zero<V: Vector>(x: V) -> V {
    let (p, n) = reduced(V::splat(-88.0).max(x));
    p.mul(power_of_two(n))
}

/// `e^x` for `x` from -87 to 88, within 1 ULP.
#[inline(always)]
pub(crate) fn exp_in_range<V: Vector>(x: V) -> V {
    let (p, n) = reduced(x);
    p.mul(power_of_two(n))
}

/// `e^r` and the integer `n` for which `x = n ln 2 + r`.
#[inline(always)]
fn reduced<V: Vector>(x: V) -> (V, V) {
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    let r = n.mul_add(V::splat(-0.693_359_4), x);
    let r = n.mul_add(V::splat(2.121_944_4e-4), r);
    let p = polynomial(r, [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
    (p.mul_add(r.mul(r), r).add(V::splat(1.0)), n.to_int())
}

/// `1 / (1 + e^-x)`, within 3 ULP.
#[inline(always)]
pub(crate) fn sigmoid<V: Vector>(x: V) -> V {
    // Of e^x and e^-x, the one that does not overflow.
    let e = exp(abs(x).xor(V::splat_bits(0x8000_0000)));
    let one = V::splat(1.0);
    V::select(x.less(V::splat(0.0)), e, one).div(one.add(e))
}

/// `x * sigmoid(x)`, within 4 ULP.
#[inline(always)]
pub(crate) fn silu<V: Vector>(x: V) -> V {
    x.mul(sigmoid(x))
}

/// Hyperbolic tangent, within 2 ULP.
#[inline(always)]
pub(crate) fn tanh<V: Vector>(x: V) -> V {
    // Beyond 10, the result is 1.
    let (t, s, one) = (V::splat(10.0).min(abs(x)), x.mul(x), V::splat(1.0));
    let p = polynomial(s, [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1]);
    let near = p.mul(s).mul_add(x, x);
    let far = one.sub(V::splat(2.0).div(exp_in_range(t.add(t)).add(one)));
    V::select(V::splat(0.625).less(t), with_sign(far, x), near)
}

/// `x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`. The sum cancels where `x` is far below 0: the absolute
/// error is at most `2^-22 * |x|`.
#[inline(always)]
pub(crate) fn gelu_tanh<V: Vector>(x: V) -> V {
    let inner = x.mul(x).mul(x).mul_add(V::splat(0.044_715), x).mul(V::splat(0.797_884_6));
    x.mul(V::splat(0.5)).mul(V::splat(1.0).add(tanh(inner)))
}
