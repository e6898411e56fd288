//! `expand`: broadcasting to a shape. ONNX `Expand`.

use super::pointwise::{broadcast_extents, source_index};
use crate::eval::checked_len;
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// The operand broadcast with `shape`.
    Expand {
        /// The shape; the result's is the broadcast of both.
        shape: Vec<Dim>
    }
}

impl OpDef for Expand {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        Ok(vec![TensorType::new(ty.dtype, x.broadcast(&ty.shape, &self.shape)?).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        super::rearranged_content(self, x, &[0])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let shape = broadcast_extents(input.shape(), &x.extents(&self.shape)?)?;
        let len = checked_len(&shape)?;
        let data = input.data().gather((0..len).map(|i| source_index(i, &shape, input.shape())));
        Ok(vec![Tensor::new(shape, data)])
    }
}
