//! From sums to unsigned bytes: what most epilogues of quantized models do, for whole tiles at a time.
//!
//! A [`Quotient`] gives the float to be rounded for each sum; rounding, zero point, limits and stores are those of four
//! vectors at once.

use super::finish::{Finish, Step, Stored};
use crate::epilogue::{Quantizer, VectorQuantizer};
use crate::vector::{LANES, Vector};

/// How many vectors are stored at once.
const FOUR: usize = 4;

/// What is rounded for a sum.
trait Quotient<V: Vector> {
    /// That of a vector of sums, in a panel of the tile; the result's lanes begin `at` elements from its start. With `UNIT`
    /// all scales of quantizations are 1.
    ///
    /// # Safety
    /// The tensors cover the lanes.
    unsafe fn of<const UNIT: bool>(&self, to: &Finish, sum: V, panel: usize, at: isize) -> V;
}

/// `(sum * scale + bias) / quantizer.scale`.
struct Scaled<V, const PANELS: usize> {
    scale: [V; PANELS],
    bias: [V; PANELS],
    quantizer: VectorQuantizer<V>,
}

impl<V: Vector, const PANELS: usize> Scaled<V, PANELS> {
    #[inline(always)]
    fn value(&self, sum: V, panel: usize) -> V {
        sum.int_to_float().mul(self.scale[panel]).add(self.bias[panel])
    }

    /// What is limited and rounded next: the limits are those of what is stored.
    #[inline(always)]
    fn quotient<const UNIT: bool>(&self, value: V) -> V {
        if UNIT { value } else { self.quantizer.quotient::<false>(value) }
    }
}

impl<V: Vector, const PANELS: usize> Quotient<V> for Scaled<V, PANELS> {
    #[inline(always)]
    unsafe fn of<const UNIT: bool>(&self, _: &Finish, sum: V, panel: usize, _: isize) -> V {
        self.quotient::<UNIT>(self.value(sum, panel))
    }
}

/// The same of what is rounded before and has a residual added: the end of a residual block. The sign of a zero that is
/// rounded to has no part in it.
struct Added<V, const PANELS: usize> {
    sum: Scaled<V, PANELS>,
    rounded: VectorQuantizer<V>,
    rounded_scale: V,
    tensor: *const u8,
    signed: bool,
    added_scale: V,
    added_zero: V,
}

impl<V: Vector, const PANELS: usize> Quotient<V> for Added<V, PANELS> {
    #[inline(always)]
    unsafe fn of<const UNIT: bool>(&self, to: &Finish, sum: V, panel: usize, at: isize) -> V {
        let steps = self.rounded.quotient::<UNIT>(self.sum.value(sum, panel)).round();
        // SAFETY: the caller vouches for the tensor.
        let added: V = unsafe { to.columns.panel(panel).load_bytes(self.tensor, at, self.signed) };
        let added = added.int_to_float().sub(self.added_zero).mul(self.added_scale);
        self.sum.quotient::<UNIT>(steps.mul(self.rounded_scale).add(added))
    }
}

/// Stores `rounded + zero`, limited to unsigned bytes.
#[inline(always)]
unsafe fn store<V: Vector, const PANELS: usize, const UNIT: bool>(
    to: &Finish,
    sums: &[[V; PANELS]],
    quotient: &impl Quotient<V>,
    zero: u8,
) {
    let rows = const { FOUR / PANELS };
    for first in (0..sums.len()).step_by(rows) {
        let n = rows.min(sums.len() - first);
        let (mut values, mut pointers) = ([V::splat(0.0); FOUR], [to.y; FOUR]);
        for row in 0..n {
            // SAFETY: there is an offset for each row; the result and the tensors have the columns.
            unsafe {
                let at = *to.offsets.add(first + row) + to.columns.column as isize;
                pointers[row] = to.y.offset(at);
                for panel in 0..PANELS {
                    let at = at + (panel * LANES) as isize;
                    values[row * PANELS + panel] = quotient.of::<UNIT>(to, sums[first + row][panel], panel, at);
                }
            }
        }
        // SAFETY: as above.
        unsafe { V::store_saturated::<PANELS>(values, zero, &pointers[..n], to.columns.n) };
    }
}

/// The last operation of an epilogue whose results are unsigned bytes, its numbers in vectors and its zero point.
#[inline(always)]
fn quantizer_of<'a, V: Vector>(to: &Finish<'a>) -> Option<(&'a Quantizer, VectorQuantizer<V>, u8)> {
    let last = to.chain.quantizer.as_ref().filter(|last| to.stored == Stored::Byte && last.is_unsigned())?;
    Some((last, last.in_vectors()?, last.zero() as u8))
}

/// [`requantize`] without residuals, of sums whose vectors are [arranged](Vector::arrange); scale and bias are not.
///
/// # Safety
/// As for [`finish`](super::finish::finish).
#[inline(always)]
pub(super) unsafe fn requantize_arranged<V: Vector, const VECTORS: usize>(
    to: &Finish,
    sums: &[[V; VECTORS]],
    (scale, bias): ([V; VECTORS], [V; VECTORS]),
) -> bool {
    let Some((last, quantizer, zero)) = quantizer_of(to).filter(|_| to.chain.steps().is_empty()) else { return false };
    let scaled = Scaled { scale: V::arrange(scale), bias: V::arrange(bias), quantizer };
    let is_unit = last.is_unit();
    for (row, sums) in sums.iter().enumerate() {
        let mut values = *sums;
        for (vector, value) in values.iter_mut().enumerate() {
            *value = scaled.value(*value, vector);
            if !is_unit {
                *value = scaled.quotient::<false>(*value);
            }
        }
        // SAFETY: there is an offset for each row; the result has the columns.
        unsafe {
            let at = *to.offsets.add(row) + to.columns.column as isize;
            V::store_arranged(values, zero, to.y.offset(at), to.columns.n);
        }
    }
    true
}

/// Stores the rows of a tile whose epilogue is `quantize(sum * scale + bias)`, perhaps with a rounded residual block's sum
/// before, and whose results are unsigned bytes. Says whether it is one.
///
/// # Safety
/// As for [`finish`](super::finish::finish).
#[inline(always)]
pub(super) unsafe fn requantize<V: Vector, const PANELS: usize>(
    to: &Finish,
    sums: &[[V; PANELS]],
    (scale, bias): ([V; PANELS], [V; PANELS]),
) -> bool {
    let Some((last, quantizer, zero)) = quantizer_of(to) else { return false };
    // SAFETY: the caller's pointers cover the rows.
    unsafe {
        match *to.chain.steps() {
            [] => {
                let scaled = Scaled { scale, bias, quantizer };
                match last.is_unit() {
                    true => store::<V, PANELS, true>(to, sums, &scaled, zero),
                    false => store::<V, PANELS, false>(to, sums, &scaled, zero),
                }
            }
            [
                Step::Round { quantizer: first, offset, scale: rounded_scale },
                Step::AddQuantized { tensor, signed, scale: added_scale, zero: added_zero },
            ] => {
                let Some(rounded) = first.in_vectors().filter(|_| offset == -first.zero()) else { return false };
                let [rounded_scale, added_scale, added_zero] = [rounded_scale, added_scale, added_zero].map(V::splat);
                let sum = Scaled { scale, bias, quantizer };
                let added = Added { sum, rounded, rounded_scale, tensor, signed, added_scale, added_zero };
                match first.is_unit() && last.is_unit() {
                    true => store::<V, PANELS, true>(to, sums, &added, zero),
                    false => store::<V, PANELS, false>(to, sums, &added, zero),
                }
            }
            _ => return false,
        }
    }
    true
}
