//! Natural logarithm and softplus.

use super::{abs, exp};
use crate::vector::Vector;

const LN2_HIGH: f32 = 6.931_381e-1;
const LN2_LOW: f32 = 9.058_001e-6;

/// Natural logarithm, within 2 ULP; 0 gives -infinity, less gives NaN.
///
/// `x = 2^k (1 + f)` with `1 + f` from `sqrt(1/2)` to `sqrt 2`; the rest is FreeBSD's `logf`.
#[inline(always)]
pub(crate) fn log<V: Vector>(x: V) -> V {
    let tiny = x.less(V::splat(f32::MIN_POSITIVE));
    let scaled = V::select(tiny, x.mul(V::splat(8_388_608.0)), x);
    let sqrt_half = V::splat_bits(0x3f35_04f3);
    let bits = scaled.sub_int(sqrt_half);
    let k = bits.shift_right::<23>().int_to_float();
    let k = V::select(tiny, k.sub(V::splat(23.0)), k);
    let f = bits.and(V::splat_bits(0x007f_ffff)).add_int(sqrt_half).sub(V::splat(1.0));
    let s = f.div(f.add(V::splat(2.0)));
    let z = s.mul(s);
    let w = z.mul(z);
    let t1 = w.mul(w.mul_add(V::splat(0.242_790_79), V::splat(0.400_009_72)));
    let t2 = z.mul(w.mul_add(V::splat(0.284_987_87), V::splat(0.666_666_6)));
    let half_square = V::splat(0.5).mul(f).mul(f);
    let small = s.mul_add(half_square.add(t1.add(t2)), k.mul(V::splat(LN2_LOW)));
    let result = k.mul_add(V::splat(LN2_HIGH), small.sub(half_square).add(f));
    let zero = V::splat(0.0);
    let result = V::select(x.equal(zero), V::splat(f32::NEG_INFINITY), result);
    let result = V::select(x.less(zero), V::splat(f32::NAN), result);
    // Infinity and NaN give themselves.
    V::select(x.less(V::splat(f32::INFINITY)), result, x)
}

/// `log(1 + e^x)`, within 3 ULP.
#[inline(always)]
pub(crate) fn softplus<V: Vector>(x: V) -> V {
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    let u = exp(abs(x).xor(V::splat_bits(0x8000_0000)));
    let w = one.add(u);
    // log(1 + u) is log(w), and what rounding w lost.
    let log1p = log(w).add(u.sub(w.sub(one)).div(w));
    zero.max(x).add(log1p)
}
