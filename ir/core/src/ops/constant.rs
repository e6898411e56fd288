//! `constant`: a tensor known at compile time. ONNX `Constant`, initializers.

use crate::{Literal, OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// A tensor known at compile time.
    Constant {
        /// The tensor.
        value: Literal
    }
}

impl OpDef for Constant {
    const OPERANDS: &'static [OperandSpec] = &[];

    fn infer(&self, _x: &Operands) -> Result<Vec<Type>, OpError> {
        Ok(vec![self.value.ty().into()])
    }

    fn content(&self, _x: &Operands) -> Option<Vec<Dim>> {
        match self.value.as_inline()? {
            ic_types::Data::I64(v) => Some(v.iter().map(|&x| Dim::constant(x)).collect()),
            ic_types::Data::I32(v) => Some(v.iter().map(|&x| Dim::constant(x.into())).collect()),
            _ => None,
        }
    }

    fn eval(&self, _x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let tensor = self.value.tensor().map_err(|e| OpError(format!("cannot read the constant: {e}")))?;
        Ok(vec![tensor])
    }
}
