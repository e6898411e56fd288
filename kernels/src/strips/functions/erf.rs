//! The error function and GELU.

use super::{abs, exp_in_range, polynomial, with_sign};
use crate::vector::Vector;

/// Error function, within 2 ULP. The polynomials are Norbert Juffa's.
#[inline(always)]
pub(crate) fn erf<V: Vector>(x: V) -> V {
    let (t, s) = (abs(x), x.mul(x));
    let p = polynomial(
        s,
        [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1],
    );
    let near = p.mul_add(x, x);
    // Beyond 4, the result is 1.
    let t4 = V::splat(4.0).min(t);
    let s4 = t4.mul(t4);
    let r = V::splat(-1.728_534_7e-5).mul_add(t4, V::splat(3.831_971_3e-4));
    let u = V::splat(-3.883_964_4e-3).mul_add(t4, V::splat(2.425_462_2e-2));
    let r = r.mul_add(s4, u);
    let r = r.mul_add(t4, V::splat(-1.067_778_8e-1));
    let r = r.mul_add(t4, V::splat(-6.348_467e-1));
    let r = r.mul_add(t4, V::splat(-1.287_175_1e-1));
    let r = r.mul_add(t4, V::splat(0.0).sub(t4));
    let far = with_sign(V::splat(1.0).sub(exp_in_range(r)), x);
    V::select(V::splat(0.927_734_4).less(t), far, near)
}

/// `x * 0.5 * (1 + erf(x / sqrt 2))`. The sum cancels where `x` is far below 0: the absolute error is at most
/// `2^-22 * |x|`.
#[inline(always)]
pub(crate) fn gelu<V: Vector>(x: V) -> V {
    let erf = erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2)));
    x.mul(V::splat(0.5)).mul(V::splat(1.0).add(erf))
}
