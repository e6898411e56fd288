//! `f32_softmax`: `exp(x - max) / sum(exp(x - max))` of each row.

use super::rows::{Rows, for_each_vector, store, sum};
use crate::abi::{Call, KernelError};
use crate::strips::functions::exp;
use crate::vector::{LANES, Task, Vector};

/// # Safety
/// The machine has `V`; the call is as the kernel's description says.
pub(super) unsafe fn softmax<V: Vector>(call: &Call) -> Result<(), KernelError> {
    let [x, y] = call.operands else {
        return Err(KernelError(format!("softmax: expected 2 operands, found {}", call.operands.len())));
    };
    let rows = Rows::of(x, y)?;
    // SAFETY: the caller vouches for the operands.
    unsafe { rows.for_each::<V, _>(call, |x, y, n| Row { x, y, n }) };
    Ok(())
}

struct Row {
    x: *const f32,
    y: *mut f32,
    n: usize,
}

impl Task for Row {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Row { x, y, n } = self;
        let lowest = V::splat(f32::NEG_INFINITY);
        let (mut greatest, mut nan) = (lowest, V::splat(0.0));
        // SAFETY: the caller vouches for the row.
        unsafe {
            for_each_vector!(x, n, |element, at, width| {
                let element = if width == LANES { element } else { last(x.add(at), width) };
                greatest = element.max(greatest);
                nan = V::select(element.equal(element), nan, element);
            });
            // A NaN spreads to the whole row.
            let greatest = V::splat(greatest.add(nan).greatest());
            // So does an infinite greatest element, as infinity less infinity is NaN.
            for_each_vector!(x, n, |element, at, width| {
                store(exp(element.sub(greatest)), y.add(at), width);
            });
            let total = V::splat(sum!(y, n, |e| e));
            for_each_vector!(y, n, |e, at, width| {
                store(e.div(total), y.add(at), width);
            });
        }
    }
}

/// The last `n` elements of a row, then the lowest float, so that padding is never the greatest.
#[inline(always)]
unsafe fn last<V: Vector>(x: *const f32, n: usize) -> V {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // SAFETY: `n` elements are readable, and fewer than 16.
    unsafe { std::ptr::copy_nonoverlapping(x, lanes.as_mut_ptr(), n) };
    V::from_array(lanes)
}
