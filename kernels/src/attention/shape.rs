//! Extents and strides of the operands of attention, and how its rows are cut into blocks.

use super::KEYS;
use crate::abi::{KernelError, Operand};
use crate::cache::caches;
use crate::gemm::{MAX_AXES, part, stride};
use ic_types::DType;
use std::ops::Range;

/// Fewest rows of a block where blocks are cut for the sake of threads.
const FEWEST_ROWS: usize = 24;

/// Blocks that are enough for any number of threads.
const ENOUGH_BLOCKS: usize = 16;

/// Offsets from the starts of the operands, in elements.
#[derive(Clone, Copy, Default)]
pub(super) struct Offsets {
    pub(super) q: isize,
    pub(super) k: isize,
    pub(super) v: isize,
    pub(super) mask: isize,
    pub(super) y: isize,
}

impl Offsets {
    /// `self + other * times`.
    fn plus(self, other: Offsets, times: usize) -> Offsets {
        let sum = |a: isize, b: isize| a + b * times as isize;
        Offsets {
            q: sum(self.q, other.q),
            k: sum(self.k, other.k),
            v: sum(self.v, other.v),
            mask: sum(self.mask, other.mask),
            y: sum(self.y, other.y),
        }
    }
}

/// What a mask holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MaskKind {
    Absent,
    /// f32 that are added.
    Added,
    /// bool: whether a key is seen.
    Seen,
}

/// The operands of a call.
pub(super) struct Shape {
    pub(super) q: *const f32,
    pub(super) k: *const f32,
    pub(super) v: *const f32,
    pub(super) mask: *const u8,
    pub(super) y: *mut f32,
    pub(super) mask_kind: MaskKind,
    /// Rows of M that come one after the other.
    pub(super) m: usize,
    /// Number of keys.
    pub(super) n: usize,
    /// Width of queries and keys.
    pub(super) d: usize,
    /// Width of values.
    pub(super) e: usize,
    /// Distances between neighbours of `q` and `k` on D, of `v` and `y` on E.
    pub(super) widths: Offsets,
    /// Distances between neighbouring keys.
    pub(super) keys: Offsets,
    /// How often there are other keys.
    pub(super) batches: usize,
    /// Rows that share keys.
    pub(super) rows: usize,
    extents: [usize; MAX_AXES],
    strides: [Offsets; MAX_AXES],
    /// Axes that batches walk; those up to the last but one walk rows.
    batch_axes: usize,
    axes: usize,
}

// SAFETY: threads write disjoint rows of `y`, and only read the rest.
unsafe impl Sync for Shape {}

/// Most rows of a block: a quarter of the second-level cache holds their scores. Rows do not depend on one another, but
/// keys and values are packed for each block.
fn most_rows() -> usize {
    (caches().l2 / 4 / (KEYS * size_of::<f32>())).clamp(48, 384)
}

impl Shape {
    pub(super) fn of(operands: &[Operand]) -> Result<Shape, KernelError> {
        let [q, k, v, mask, y] = operands else {
            return Err(KernelError(format!("attention: expected 5 operands, found {}", operands.len())));
        };
        let rank = y.shape.len();
        let has_mask = mask.is_present();
        let ranks = [q, k, v].map(|operand| operand.shape.len());
        let fits = (2..=MAX_AXES).contains(&rank) && ranks.iter().all(|own| (2..=rank).contains(own));
        if !fits || has_mask && mask.shape.len() > rank {
            return Err(KernelError(format!("attention: ranks {ranks:?} and {rank} do not go together")));
        }
        let last = |operand: &Operand, back: usize| operand.shape[operand.shape.len() - back] as usize;
        let [m, d, n, e] = [last(q, 2), last(q, 1), last(k, 2), last(v, 1)];
        if last(k, 1) != d || last(v, 2) != n || last(y, 2) != m || last(y, 1) != e {
            return Err(KernelError(format!("attention: {:?}, {:?} and {:?} disagree", q.shape, k.shape, v.shape)));
        }
        let mask_stride = |axis: usize| if has_mask { stride(mask, axis, rank) } else { 0 };
        let at = |operand: &Operand, back: usize| match operand.shape[operand.shape.len() - back] {
            0 | 1 => 1,
            _ => operand.strides[operand.strides.len() - back] as isize,
        };
        let mut shape = Shape {
            q: q.data.cast(),
            k: k.data.cast(),
            v: v.data.cast(),
            mask: mask.data,
            y: y.data.cast(),
            mask_kind: match mask.dtype {
                _ if !has_mask => MaskKind::Absent,
                DType::Bool => MaskKind::Seen,
                _ => MaskKind::Added,
            },
            m,
            n,
            d,
            e,
            widths: Offsets { q: at(q, 1), k: at(k, 1), v: at(v, 1), mask: 0, y: at(y, 1) },
            keys: Offsets { q: 0, k: at(k, 2), v: at(v, 2), mask: mask_stride(rank - 1), y: 0 },
            batches: 1,
            rows: 1,
            extents: [1; MAX_AXES],
            strides: [Offsets::default(); MAX_AXES],
            batch_axes: 0,
            axes: rank - 1,
        };
        for axis in 0..rank - 1 {
            let is_row = axis == rank - 2;
            let of_keys = |operand: &Operand| if is_row { 0 } else { stride(operand, axis, rank) };
            shape.extents[axis] = y.shape[axis] as usize;
            shape.strides[axis] = Offsets {
                q: stride(q, axis, rank),
                k: of_keys(k),
                v: of_keys(v),
                mask: mask_stride(axis),
                y: y.strides[axis] as isize,
            };
            let Offsets { k, v, .. } = shape.strides[axis];
            if shape.extents[axis] != 1 && (k != 0 || v != 0) {
                shape.batch_axes = axis + 1;
            }
        }
        shape.batches = shape.extents[..shape.batch_axes].iter().product();
        shape.rows = shape.extents[shape.batch_axes..shape.axes].iter().product();
        Ok(shape)
    }

    /// Blocks into which the rows of a batch are cut.
    pub(super) fn blocks(&self) -> usize {
        let fewest = self.rows.div_ceil(most_rows());
        let wanted = ENOUGH_BLOCKS.div_ceil(self.batches.max(1));
        fewest.max(wanted.min(self.rows.div_ceil(FEWEST_ROWS))).max(1)
    }

    /// The rows of block `index`.
    pub(super) fn block(&self, index: usize) -> Range<usize> {
        part(self.rows, self.blocks(), index)
    }

    /// Rows of the largest block.
    pub(super) fn block_len(&self) -> usize {
        self.rows.div_ceil(self.blocks())
    }

    /// Where batch `index` starts.
    pub(super) fn batch(&self, index: usize) -> Offsets {
        self.walk(0..self.batch_axes, index)
    }

    /// Where row `index` of a batch is.
    pub(super) fn row(&self, index: usize) -> Offsets {
        self.walk(self.batch_axes..self.axes, index)
    }

    fn walk(&self, axes: Range<usize>, mut index: usize) -> Offsets {
        let mut offsets = Offsets::default();
        for axis in axes.rev() {
            offsets = offsets.plus(self.strides[axis], index % self.extents[axis]);
            index /= self.extents[axis];
        }
        offsets
    }
}
