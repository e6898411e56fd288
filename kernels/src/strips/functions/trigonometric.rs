//! Sine and cosine.

use super::{abs, polynomial};
use crate::vector::Vector;

/// Beyond this, lanes go through portable math: the reduction below would lose bits.
const LIMIT: f32 = 65_536.0;

/// Sine, within 2 ULP.
#[inline(always)]
pub(crate) fn sin<V: Vector>(x: V) -> V {
    let result = shifted_sin(x, 0);
    let result = V::select(x.equal(V::splat(0.0)), x, result);
    lanes_beyond_limit(x, result, libm::sinf)
}

/// Cosine, within 2 ULP.
#[inline(always)]
pub(crate) fn cos<V: Vector>(x: V) -> V {
    lanes_beyond_limit(x, shifted_sin(x, 1), libm::cosf)
}

/// `sin(x + quarters * pi / 2)` for `|x| <= LIMIT`.
#[inline(always)]
fn shifted_sin<V: Vector>(x: V, quarters: u32) -> V {
    let n = x.mul(V::splat(std::f32::consts::FRAC_2_PI)).round();
    // pi / 2 in three parts; the first product cancels exactly.
    let r = n.mul_add(V::splat(-std::f32::consts::FRAC_PI_2), x);
    let r = n.mul_add(V::splat(4.371_139e-8), r);
    let r = n.mul_add(V::splat(1.715_125_4e-15), r);
    let z = r.mul(r);
    let sin = polynomial(z, [2.755_731_9e-6, -1.984_127e-4, 8.333_333e-3, -1.666_666_7e-1]).mul(z).mul_add(r, r);
    let cos = polynomial(z, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let cos = cos.mul(z).mul_add(z, V::splat(-0.5).mul_add(z, V::splat(1.0)));
    let quadrant = n.to_int().add_int(V::splat_bits(quarters));
    let odd = quadrant.and(V::splat_bits(1)).int_to_float();
    let magnitude = V::select(odd.equal(V::splat(0.0)), sin, cos);
    magnitude.xor(quadrant.and(V::splat_bits(2)).shift_left::<30>())
}

/// `result`, with `function(x)` where `|x|` is beyond the limit.
#[inline(always)]
fn lanes_beyond_limit<V: Vector>(x: V, result: V, function: fn(f32) -> f32) -> V {
    if !V::any(V::splat(LIMIT).less(abs(x))) {
        return result;
    }
    let mut lanes = result.to_array();
    for (lane, x) in lanes.iter_mut().zip(x.to_array()) {
        if x.abs() > LIMIT {
            *lane = function(x);
        }
    }
    V::from_array(lanes)
}
