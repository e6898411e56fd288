//! `constant`: a tensor known at compile time. ONNX `Constant`, initializers.

use crate::{Literal, OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::{Data, Dim, Tensor};

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
            Data::I64(v) => Some(v.iter().map(|&x| Dim::constant(x)).collect()),
            Data::I32(v) => Some(v.iter().map(|&x| Dim::constant(x.into())).collect()),
            Data::Bool(v) => Some(v.iter().map(|&x| Dim::constant(x.into())).collect()),
            Data::F32(v) => v.iter().map(|&x| whole(x)).collect(),
            _ => None,
        }
    }

    fn eval(&self, _x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let tensor = self.value.tensor().map_err(|e| OpError(format!("cannot read the constant: {e}")))?;
        Ok(vec![tensor])
    }
}

/// The integer that `x` is, if f32 holds all integers of its magnitude.
fn whole(x: f32) -> Option<Dim> {
    let fits = x.fract() == 0.0 && crate::scalar::is_whole_f32(x as i64);
    fits.then(|| Dim::constant(x as i64))
}
