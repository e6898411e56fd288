//! Masks of data: numbers that are added to scores, or bools that say which keys a query sees.

use super::Block;
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Operand, Reg, Space, Ty};
use crate::nvptx::schedule::contraction::{Side, base, is_aligned, side};
use ic_ir::kernel::{Kernel, Operand as View};
use ic_types::{DType, Dim};
use std::f32::consts::LOG2_E;

/// Least score of a hidden key that is a number, so that its product with the logarithm of e is one too.
const LEAST: f32 = -1e38;

/// A mask, by its rows.
pub(super) struct Mask {
    side: Side,
    dtype: DType,
    /// The score of keys where a mask of bools is false, as a power of 2.
    fill: f32,
}

impl Mask {
    pub(super) fn new(view: &View, kernel: &Kernel, batch: &[Dim], [rows, keys]: [&Dim; 2], fill: f32) -> Mask {
        let mut view = view.clone();
        // An axis of extent 1 that is missing or does not move is one that all rows or keys share.
        while view.shape.len() < 2 {
            view.shape.insert(0, Dim::constant(1));
            view.strides.insert(0, Dim::constant(0));
        }
        let (row, key) = (view.shape.len() - 2, view.shape.len() - 1);
        let mut side = side(&view, batch, row, key);
        side.stride = side.stride * view.shape[row].broadcast_factor(rows);
        side.k_stride = side.k_stride * view.shape[key].broadcast_factor(keys);
        side.extent = rows.clone();
        let fill = if fill == f32::NEG_INFINITY { fill } else { fill.max(LEAST) * LOG2_E };
        Mask { side, dtype: kernel.params[view.param as usize].dtype, fill }
    }

    /// Multiplies scores by `scale`, which makes them powers of 2, and masks them: `rows` are those of a row, and of that 8
    /// further, from the tile at `first`.
    pub(super) fn apply(
        &self,
        e: &mut Emitter,
        block: &Block,
        scale: f32,
        (row, first, column): (Operand, Reg, Reg),
        rows: [Vec<Reg>; 2],
    ) {
        let first = e.b.binary(Binary::Add, Ty::S32, first, column);
        let n_keys = &block.flash.product.k;
        let is_full = n_keys.as_const().is_some_and(|n| n % block.keys == 0);
        let all = e.dim(n_keys);
        let rest = (!is_full).then(|| e.b.binary(Binary::Sub, Ty::S32, all, first));
        let starts = self.starts(e, block, row, first);
        let are_pairs = self.are_pairs(e, n_keys);
        let pairs = rows[0].chunks(2).zip(rows[1].chunks(2)).enumerate();
        for (i, (upper, lower)) in pairs {
            let key = i as i64 * 8;
            let of_row = |e: &mut Emitter, start| match are_pairs {
                true => self.pair(e, (start, rest), key),
                false => [0, 1].map(|further| self.element(e, (start, rest), key + further)),
            };
            let elements = of_row(e, starts[0]);
            let lower_elements = starts.get(1).map_or(elements, |&start| of_row(e, start));
            for (&score, element) in upper.iter().zip(elements).chain(lower.iter().zip(lower_elements)) {
                self.apply_element(e, score, element, scale);
            }
        }
    }

    /// Where the thread's elements of both rows begin, or those that both share.
    fn starts(&self, e: &mut Emitter, block: &Block, row: Operand, first: Reg) -> Vec<Reg> {
        let (stride, key_stride) = (e.dim(&self.side.stride), e.dim(&self.side.k_stride));
        let n_rows = e.dim(&self.side.extent);
        let last = e.b.add(n_rows, Operand::Int(-1));
        let of_keys = e.b.mul(first.into(), key_stride);
        let base = base(e, &self.side, &block.place, self.bytes());
        let rows = if self.side.stride.is(0) { 1 } else { 2 };
        let start = |half: i64| {
            // Of rows beyond the last nobody reads what comes of them.
            let row = e.b.add(row, Operand::Int(half * 8));
            let row = e.b.in_register(Ty::B32, row);
            let row = e.b.binary(Binary::Min, Ty::S32, row, last);
            let of_row = e.b.mul(row.into(), stride);
            let index = e.b.add(of_row, of_keys);
            e.b.address(base, index, self.bytes())
        };
        (0..rows).map(start).collect()
    }

    fn bytes(&self) -> u32 {
        if self.dtype == DType::Bool { 1 } else { 2 }
    }

    /// Whether the elements of two neighbouring keys are one access.
    fn are_pairs(&self, e: &Emitter, n_keys: &Dim) -> bool {
        self.dtype != DType::Bool
            && self.side.k_stride.is(1)
            && n_keys.exact_div(&Dim::constant(2)).is_some()
            && is_aligned(&self.side, e.aligned, &self.side.stride, 2)
    }

    /// Loads what is `key` keys after the start, zeros beyond the last of the `rest`.
    fn load(&self, e: &mut Emitter, (start, rest): (Reg, Option<Reg>), key: i64, [ty, held]: [Ty; 2]) -> Reg {
        let guard = rest.map(|rest| e.b.compare(Compare::Gt, Ty::S32, rest, key));
        let stride = e.dim(&self.side.k_stride);
        let further = e.b.mul(Operand::Int(key), stride);
        let from = e.b.address(start, further, self.bytes());
        let dst = if guard.is_some() { e.b.mov(held, 0) } else { e.b.reg(held.class()) };
        e.b.load(Space::Global, ty, &[dst], from, 0, guard);
        dst
    }

    fn element(&self, e: &mut Emitter, from: (Reg, Option<Reg>), key: i64) -> Operand {
        let types = if self.dtype == DType::Bool { [Ty::U8, Ty::B32] } else { [Ty::B16; 2] };
        let element = self.load(e, from, key, types);
        e.loaded(self.dtype, element)
    }

    fn pair(&self, e: &mut Emitter, from: (Reg, Option<Reg>), key: i64) -> [Operand; 2] {
        let src = self.load(e, from, key, [Ty::B32; 2]);
        let parts = [(); 2].map(|()| e.b.reg(Class::B16));
        e.b.push(Instruction::Unpack { parts, src });
        parts.map(|part| e.loaded(self.dtype, part))
    }

    fn apply_element(&self, e: &mut Emitter, score: Reg, element: Operand, scale: f32) {
        if let (DType::Bool, Operand::Reg(p)) = (self.dtype, element) {
            let (op, ty, a, b) = (Binary::Mul, Ty::F32, score.into(), scale.into());
            if scale != 1.0 {
                e.b.push(Instruction::Binary { op, ty, dst: score, a, b });
            }
            e.b.push(Instruction::SelP { ty, dst: score, yes: score.into(), no: self.fill.into(), p });
            return;
        }
        let mut added = element;
        if self.dtype == DType::BF16 {
            let at_least = e.b.binary(Binary::Max, Ty::F32, element, LEAST);
            let is_hidden = e.b.compare(Compare::Eq, Ty::F32, element, f32::NEG_INFINITY);
            added = e.b.select(Ty::F32, is_hidden, f32::NEG_INFINITY, at_least).into();
        }
        let added = e.b.binary(Binary::Mul, Ty::F32, added, LOG2_E).into();
        e.b.push(Instruction::Fma { ty: Ty::F32, dst: score, a: score.into(), b: scale.into(), c: added });
    }
}
