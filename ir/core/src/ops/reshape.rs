//! `reshape`: the same elements in another shape. ONNX `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`.

use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// The same elements, in row-major order, in another shape.
    Reshape {
        /// The result's shape, with the same number of elements.
        shape: Vec<Dim>
    }
}

impl OpDef for Reshape {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let result = TensorType::new(ty.dtype, self.shape.clone());
        x.equal(&ty.elements(), &result.elements(), "numbers of elements before and after")?;
        Ok(vec![result.into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        x.content(0).map(<[Dim]>::to_vec)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, shape) = (x.get(0)?, x.extents(&self.shape)?);
        let len = crate::eval::checked_len(&shape)?;
        ensure!(len == input.len(), "{:?} has {} elements, {shape:?} has {len}", input.shape(), input.len());
        Ok(vec![input.clone().reshaped(shape)])
    }
}
