//! Ops that only move elements, or choose among them by size, on integers.

use super::parameters::Parameters;
use super::{Quantized, Site};
use ic_ir::ops::{Pad, PadMode, PoolFn, Reshape};
use ic_ir::{GraphError, Op, ScalarOp, ValueId};

impl Site<'_, '_> {
    /// `op` on the integers of its dequantized operands, dequantized.
    pub(super) fn sink(&mut self, op: &Op, operands: &[Option<ValueId>]) -> Result<Option<ValueId>, GraphError> {
        let Some(first) = operands.first().copied().flatten().and_then(|x| self.quantized(x)) else { return Ok(None) };
        let mut by = first.by.clone();
        let mut on_integers = operands.to_vec();
        on_integers[0] = Some(first.x);
        match op {
            Op::Transpose(op) => by.axis = by.axis.and_then(|axis| op.perm.iter().position(|&from| from == axis)),
            _ if by.axis.is_some() => return Ok(None),
            Op::Reshape(_) | Op::Slice(_) | Op::Expand(_) => {}
            Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_) => {}
            Op::Pool(op) if op.function == PoolFn::Max && by.has_positive_scale(self.graph()) => {}
            Op::Concat(_) => match self.alike(&first, operands) {
                Some(integers) => on_integers = integers,
                None => return Ok(None),
            },
            Op::Pad(Pad { mode: PadMode::Constant, .. }) => match self.padding(&first, operands) {
                Some(zero) => on_integers = vec![Some(first.x), zero],
                None => return Ok(None),
            },
            Op::Pad(_) => {}
            Op::Pointwise(op) if op.function == ScalarOp::Relu => return self.relu(&first),
            _ => return Ok(None),
        }
        if !by.is_one_number(self.graph()) && by.axis.is_none() {
            return Ok(None);
        }
        let moved = self.push(op.clone(), on_integers)?;
        self.dequantize(moved, &by).map(Some)
    }

    /// The integers of all operands, if all are dequantized alike.
    fn alike(&self, first: &Quantized, operands: &[Option<ValueId>]) -> Option<Vec<Option<ValueId>>> {
        let each = operands.iter().map(|&operand| {
            let other = self.quantized(operand?)?;
            let alike = self.dtype(other.x) == self.dtype(first.x) && other.by.equals(&first.by, self.graph());
            alike.then_some(Some(other.x))
        });
        each.collect()
    }

    /// What to pad integers with where floats are padded with 0: the zero point.
    fn padding(&self, x: &Quantized, operands: &[Option<ValueId>]) -> Option<Option<ValueId>> {
        if let Some(value) = operands.get(1).copied().flatten() {
            crate::canonicalize::splat(self.graph(), value).filter(|&value| value == 0.0)?;
        }
        x.by.zero.map_or(Some(None), |zero| self.graph().tensor_ty(zero).shape.is_empty().then_some(Some(zero)))
    }

    /// `relu((x - z) s) = (max(x, z) - z) s` where `s` is positive.
    fn relu(&mut self, x: &Quantized) -> Result<Option<ValueId>, GraphError> {
        let by = Parameters { axis: None, ..x.by.clone() };
        let Some(zero) = by.zero.filter(|_| by.is_one_number(self.graph()) && by.has_positive_scale(self.graph()))
        else {
            return Ok(None);
        };
        let zero = self.push(Reshape { shape: vec![] }, vec![Some(zero)])?;
        let most = self.push(ScalarOp::Max, vec![Some(x.x), Some(zero)])?;
        self.dequantize(most, &by).map(Some)
    }
}
