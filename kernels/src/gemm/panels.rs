//! Where panels of B lie and how they are stored.

use super::widen::Stored;
use crate::abi::Operand;
use crate::pack::{PANEL, Scaled, Width};

/// Panels of B.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    /// First element of the first panel.
    pub(crate) data: *const f32,
    /// Elements between neighbours on K. Of integers, how many share a scale.
    pub(crate) step: usize,
    /// Elements between panels: of integers, in units of 4 bytes.
    pub(crate) panel: usize,
    /// Whether columns are contiguous instead of rows: then neighbours on K are 1 apart, and `step` is between columns.
    pub(crate) transposed: bool,
    /// What the elements are; those that are not f32 are packed.
    pub(crate) stored: Stored,
}

impl Panels {
    /// A packed matrix with `k` rows.
    pub(crate) fn packed(data: *const f32, k: usize) -> Panels {
        Panels { data, step: PANEL, panel: k * PANEL, transposed: false, stored: Stored::F32 }
    }

    /// A packed matrix with `k` rows, `skipped` elements after the operand's start.
    pub(crate) fn constant(b: &Operand, skipped: usize, k: usize) -> Panels {
        let stored = Stored::of(b.dtype);
        let size = if stored == Stored::F32 { 4 } else { 2 };
        Panels { stored, ..Panels::packed(b.data.wrapping_add(skipped * size).cast(), k) }
    }

    /// A matrix of `k` rows, packed as integers of which `group` in a column share a scale.
    pub(crate) fn scaled(b: &Operand, width: Width, group: usize, k: usize) -> Panels {
        let shape = Scaled { k, n: PANEL, group, width };
        let (data, panel) = (b.data.cast_const().cast(), shape.panel_bytes() / size_of::<f32>());
        Panels { data, step: group, panel, transposed: false, stored: Stored::Scaled(width) }
    }

    /// Element `k` of the first column of panel `panel`.
    pub(super) fn at(&self, panel: usize, k: usize) -> *const f32 {
        let step = if self.transposed { 1 } else { self.step };
        self.data.wrapping_add(panel * self.panel + k * step)
    }
}
