//! The smallest and the greatest of many floats.

use crate::vector::{LANES, Task, Vector};

/// Vectors that are compared at a time.
const WIDTH: usize = 4;

/// [`ExtremeFn`](crate::abi::ExtremeFn): the smallest.
///
/// # Safety
/// The machine has `V`; the array holds `n` elements.
pub(super) unsafe extern "C" fn smallest<V: Vector>(src: *const f32, n: usize) -> f32 {
    // SAFETY: the caller vouches for the instruction set and the array.
    unsafe { V::vectorize(Extreme::<false> { src, n }) }
}

/// [`ExtremeFn`](crate::abi::ExtremeFn): the greatest.
///
/// # Safety
/// As for [`smallest`].
pub(super) unsafe extern "C" fn greatest<V: Vector>(src: *const f32, n: usize) -> f32 {
    // SAFETY: as in `smallest`.
    unsafe { V::vectorize(Extreme::<true> { src, n }) }
}

struct Extreme<const GREATEST: bool> {
    src: *const f32,
    n: usize,
}

impl<const GREATEST: bool> Task for Extreme<GREATEST> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<V: Vector>(self) -> f32 {
        let start = if GREATEST { f32::NEG_INFINITY } else { f32::INFINITY };
        if self.n < LANES {
            // SAFETY: the caller vouches for `n` elements.
            return (0..self.n).fold(start, |found, i| either::<GREATEST>(found, unsafe { *self.src.add(i) }));
        }
        let mut lanes = [Seen { found: V::splat(start), lost: V::splat(0.0) }; WIDTH];
        let step = WIDTH * LANES;
        let (steps, vectors) = (self.n / step * step, self.n / LANES * LANES);
        // SAFETY: the caller vouches for `n` elements. The last vector may have elements that were seen before.
        unsafe {
            for i in (0..steps).step_by(step) {
                for (part, lanes) in lanes.iter_mut().enumerate() {
                    *lanes = lanes.and::<GREATEST>(V::load(self.src.add(i + part * LANES)));
                }
            }
            for i in (steps..vectors).step_by(LANES) {
                lanes[0] = lanes[0].and::<GREATEST>(V::load(self.src.add(i)));
            }
            lanes[1] = lanes[1].and::<GREATEST>(V::load(self.src.add(self.n - LANES)));
        }
        let mut joined = lanes[0];
        for lanes in &lanes[1..] {
            joined = joined.and::<GREATEST>(lanes.value());
        }
        let joined = joined.value();
        // The sign turns the one into the other.
        let sign = V::splat_bits(if GREATEST { 0 } else { 0x8000_0000 });
        let greatest = joined.xor(sign).greatest();
        if GREATEST { greatest } else { -greatest }
    }
}

/// What lanes have seen so far.
#[derive(Clone, Copy)]
struct Seen<V> {
    /// The smallest or the greatest.
    found: V,
    /// NaN in lanes that have seen one, as comparisons lose it.
    lost: V,
}

impl<V: Vector> Seen<V> {
    #[inline(always)]
    fn and<const GREATEST: bool>(self, x: V) -> Seen<V> {
        let found = if GREATEST { x.max(self.found) } else { x.min(self.found) };
        Seen { found, lost: V::select(x.equal(x), self.lost, x) }
    }

    #[inline(always)]
    fn value(self) -> V {
        V::select(self.lost.equal(self.lost), self.found, self.lost)
    }
}

/// The smaller or the greater; NaN if either is.
#[inline(always)]
fn either<const GREATEST: bool>(a: f32, b: f32) -> f32 {
    let keeps = a.is_nan() || if GREATEST { a >= b } else { a <= b };
    if keeps { a } else { b }
}
