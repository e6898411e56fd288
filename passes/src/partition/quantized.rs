//! Elements of `quantize` and `dequantize` as scalar expressions.

use super::emit::{Emitter, Misaligned, operand};
use crate::canonicalize::splat;
use ic_ir::Node;
use ic_ir::kernel::{Bound, ExprId, Index};
use ic_ir::ops::{Dequantize, Quantize, axis_of};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim};

impl Emitter<'_> {
    /// `(x - zero_point) * scale`.
    pub(super) fn dequantize(
        &mut self,
        node: &Node,
        op: &Dequantize,
        indices: &[Index],
        guard: &[Bound],
    ) -> Result<ExprId, Misaligned> {
        let wide = DType::F32;
        let x = operand(node, 0)?;
        let mut element = self.value(x, indices, guard)?;
        element = self.cast(element, self.graph.dtype(x), wide);
        if let Some(zero_point) = self.parameter(node, 2, (op.axis, op.block_size), indices, guard)? {
            let zero_point = self.cast(zero_point, self.graph.dtype(x), wide);
            element = self.apply(ScalarOp::Sub, &[element, zero_point]);
        }
        if let Some(scale) = self.parameter(node, 1, (op.axis, op.block_size), indices, guard)? {
            let scale = self.cast(scale, self.graph.dtype(operand(node, 1)?), wide);
            element = self.apply(ScalarOp::Mul, &[element, scale]);
        }
        Ok(self.cast(element, wide, op.to))
    }

    /// `round(x / scale) + zero_point`, saturated. The quotient is of the scale's type.
    pub(super) fn quantize(
        &mut self,
        node: &Node,
        op: &Quantize,
        indices: &[Index],
        guard: &[Bound],
    ) -> Result<ExprId, Misaligned> {
        let wide = DType::F32;
        let (x, scale) = (operand(node, 0)?, operand(node, 1)?);
        let narrow = self.graph.dtype(scale);
        let mut element = self.value(x, indices, guard)?;
        element = self.cast(element, self.graph.dtype(x), narrow);
        let is_one = splat(self.graph, scale) == Some(1.0);
        if let Some(scale) = self.parameter(node, 1, (op.axis, op.block_size), indices, guard)?.filter(|_| !is_one) {
            element = self.apply(ScalarOp::Div, &[element, scale]);
        }
        element = self.cast(element, narrow, wide);
        element = self.apply(ScalarOp::Round, &[element]);
        if let Some(zero_point) = self.parameter(node, 2, (op.axis, op.block_size), indices, guard)? {
            let zero_point = self.cast(zero_point, op.to, wide);
            element = self.apply(ScalarOp::Add, &[element, zero_point]);
        }
        let bits = op.to.bits() as i32;
        let (low, high) = if op.to.is_signed_int() {
            (-f64::from(2).powi(bits - 1), f64::from(2).powi(bits - 1) - 1.0)
        } else {
            (0.0, f64::from(2).powi(bits) - 1.0)
        };
        for (function, limit) in [(ScalarOp::Max, low), (ScalarOp::Min, high)] {
            let limit = self.number(wide, limit);
            element = self.apply(function, &[element, limit]);
        }
        Ok(self.cast(element, wide, op.to))
    }

    /// The scale or zero point of an element: one for all, one per position on an axis, or one per block on it.
    fn parameter(
        &mut self,
        node: &Node,
        i: usize,
        (axis, block_size): (i64, usize),
        indices: &[Index],
        guard: &[Bound],
    ) -> Result<Option<ExprId>, Misaligned> {
        let Some(parameter) = node.operands.get(i).copied().flatten() else { return Ok(None) };
        let rank = self.graph.tensor_ty(parameter).rank();
        let is_one = self.graph.tensor_ty(parameter).elements().is(1) && rank <= 1 && block_size == 0;
        let axis = axis_of(axis, indices.len()).or(if is_one { Ok(0) } else { Err(Misaligned) })?;
        let at = match block_size {
            _ if is_one => vec![Index::default(); rank],
            0 => vec![indices[axis].clone()],
            _ => {
                let mut at = indices.to_vec();
                at[axis] = indices[axis].floor_div(&Dim::constant(block_size as i64), &self.extents);
                at
            }
        };
        self.value(parameter, &at, guard).map(Some)
    }
}
