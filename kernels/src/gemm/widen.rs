//! Panels of 16-bit floats, or of integers with scales: widened to f32, a block at a time, into scratch that the tiles
//! then read.
//!
//! A block fits half of the second-level cache, so B crosses the memory bus at its stored size. The sums are those of the
//! widened elements: the same bits as with a B of f32 that holds the same numbers.

use super::scaled::row_of;
use crate::pack::{PANEL, Scaled, Width};
use crate::vector::{LANES, Task, Vector};
use ic_types::DType;
use std::ops::Range;

/// What the elements of panels are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// f32, read in place.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
    /// Integers with scales.
    Scaled(Width),
}

impl Stored {
    /// The kind of an operand's element type.
    pub(crate) fn of(dtype: DType) -> Stored {
        match dtype {
            DType::F16 => Stored::F16,
            DType::BF16 => Stored::BF16,
            DType::I8 => Stored::Scaled(Width::Eight),
            DType::I4 => Stored::Scaled(Width::Four),
            _ => Stored::F32,
        }
    }
}

/// Widens rows of the panel of integers that begins at `panel` to `to`.
///
/// # Safety
/// The machine has `V`; the panel is readable and there is room for the rows.
pub(crate) unsafe fn widen_scaled<V: Vector>(shape: Scaled, panel: *const u8, rows: Range<usize>, to: *mut f32) {
    // SAFETY: the caller vouches for the instruction set and the rows.
    unsafe { V::vectorize(WidenScaled { shape, panel, rows, to }) };
}

struct WidenScaled {
    shape: Scaled,
    panel: *const u8,
    rows: Range<usize>,
    to: *mut f32,
}

impl Task for WidenScaled {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Scaled { group, width, .. } = self.shape;
        let scales = self.panel.cast::<f32>();
        let integers = scales.wrapping_add(self.shape.groups() * PANEL).cast::<u8>();
        let mut row = self.rows.start;
        while row < self.rows.end {
            let end = ((row / group + 1) * group).min(self.rows.end);
            // SAFETY: the caller vouches for the panel and the room.
            unsafe {
                let scale = V::load(scales.add(row / group * PANEL));
                for row in row..end {
                    let lanes = match width {
                        Width::Eight => V::load_bytes::<true>(integers.add(row * PANEL)).int_to_float(),
                        Width::Four => row_of(V::load_bytes::<true>(integers.add(row / 2 * PANEL)), row),
                    };
                    lanes.mul(scale).store(self.to.add((row - self.rows.start) * PANEL));
                }
            }
            row = end;
        }
    }
}

/// Widens `rows` rows of a panel of 16-bit floats of kind `stored` from `from` to `to`.
///
/// # Safety
/// The machine has `V`; the rows are readable and writable.
pub(crate) unsafe fn widen<V: Vector>(stored: Stored, from: *const u16, to: *mut f32, rows: usize) {
    // SAFETY: the caller vouches for the instruction set and the rows.
    unsafe { V::vectorize(Widen { stored, from, to, rows }) };
}

struct Widen {
    stored: Stored,
    from: *const u16,
    to: *mut f32,
    rows: usize,
}

impl Task for Widen {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        const { assert!(PANEL == LANES) };
        for row in 0..self.rows {
            let from = self.from.wrapping_add(row * PANEL);
            // SAFETY: the caller vouches for the rows.
            unsafe {
                let lanes = if self.stored == Stored::F16 { V::load_f16(from) } else { V::load_bf16(from) };
                lanes.store(self.to.wrapping_add(row * PANEL));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::vector::for_isa;

    #[test]
    fn every_half_widens_as_the_definition_says() {
        let halves: Vec<u16> = (0..=u16::MAX).collect();
        type Definition = fn(u16) -> f32;
        let definitions: [Definition; 2] = [ic_types::f16_to_f32, ic_types::bf16_to_f32];
        let kinds = [Stored::F16, Stored::BF16].into_iter().zip(definitions);
        for (stored, expected) in kinds {
            for isa in Isa::supported() {
                let mut wide = vec![0.0f32; halves.len()];
                let rows = halves.len() / PANEL;
                // SAFETY: the instruction set is supported; both arrays have these rows.
                for_isa!(isa, V => unsafe { widen::<V>(stored, halves.as_ptr(), wide.as_mut_ptr(), rows) });
                for (&bits, &found) in halves.iter().zip(&wide) {
                    let expected = expected(bits);
                    let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                    assert!(same, "{stored:?} {bits:#06x} on {}: {found:e}, not {expected:e}", isa.name());
                }
            }
        }
    }
}
