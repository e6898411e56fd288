//! `dims`: dimension expressions as an i64 tensor of rank 1. ONNX `Shape`, and what models compute from it.

use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// Dimension expressions as an i64 tensor of rank 1.
    Dims {
        /// The elements.
        value: Vec<Dim>
    }
}

impl OpDef for Dims {
    const OPERANDS: &'static [OperandSpec] = &[];

    fn infer(&self, _x: &Operands) -> Result<Vec<Type>, OpError> {
        Ok(vec![TensorType::fixed(DType::I64, &[self.value.len() as i64]).into()])
    }

    fn content(&self, _x: &Operands) -> Option<Vec<Dim>> {
        Some(self.value.clone())
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let values = self.value.iter().map(|dim| x.dim(dim)).collect::<Result<Vec<i64>, _>>()?;
        Ok(vec![Tensor::from_elements(vec![values.len()], values)])
    }
}
