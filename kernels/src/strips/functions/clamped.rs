//! Functions of comparisons and a few exact operations.

use crate::vector::Vector;

/// `min(max(x, low), high)`; NaN gives NaN.
#[inline(always)]
pub(crate) fn clamp<V: Vector>(x: V, low: f32, high: f32) -> V {
    V::splat(high).min(V::splat(low).max(x))
}

/// `max(x, 0)`; NaN gives NaN, -0 gives -0.
#[inline(always)]
pub(crate) fn relu<V: Vector>(x: V) -> V {
    V::splat(0.0).max(x)
}

/// `x * clamp(x / 6 + 0.5, 0, 1)`, within 2 ULP where the clamp is not near 0.
#[inline(always)]
pub(crate) fn hard_swish<V: Vector>(x: V) -> V {
    x.mul(clamp(x.mul_add(V::splat(1.0 / 6.0), V::splat(0.5)), 0.0, 1.0))
}
