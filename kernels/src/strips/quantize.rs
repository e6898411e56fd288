//! Floats to 8-bit integers with one scale.

use crate::vector::{LANES, Task, Vector};

/// [`QuantizeFn`](crate::abi::QuantizeFn).
///
/// # Safety
/// The machine has `V`; both arrays hold `n` elements and are apart.
pub(super) unsafe extern "C" fn quantize<V: Vector>(
    dst: *mut u8,
    src: *const f32,
    n: usize,
    scale: f32,
    zero: f32,
    low: f32,
    high: f32,
) {
    // SAFETY: the caller vouches for the instruction set and the arrays.
    unsafe { V::vectorize(Quantize { dst, src, n, scale, zero, low, high }) };
}

struct Quantize {
    dst: *mut u8,
    src: *const f32,
    n: usize,
    scale: f32,
    zero: f32,
    low: f32,
    high: f32,
}

impl Task for Quantize {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let scale = V::splat(self.scale);
        let zero = V::splat_bits(self.zero as i32 as u32);
        // The limits are integers, so it is the same to limit before the sum with the zero point and before rounding.
        let (low, high) = (V::splat(self.low - self.zero), V::splat(self.high - self.zero));
        let whole = self.n / LANES * LANES;
        // SAFETY: the caller vouches for `n` elements.
        unsafe {
            for i in (0..whole).step_by(LANES) {
                bytes(V::load(self.src.add(i)), scale, zero, (low, high)).store_bytes(self.dst.add(i));
            }
            if whole < self.n {
                let x = V::load_partial(self.src.add(whole), self.n - whole);
                bytes(x, scale, zero, (low, high)).store_bytes_partial(self.dst.add(whole), self.n - whole);
            }
        }
    }
}

/// Integers whose low bytes are the results.
#[inline(always)]
fn bytes<V: Vector>(x: V, scale: V, zero: V, (low, high): (V, V)) -> V {
    let steps = x.div(scale);
    let integers = steps.max(low).min(high).round_to_int().add_int(zero);
    V::select(steps.equal(steps), integers, V::splat_bits(0))
}
