//! `max_unpool`: elements put back where a max pool found them. ONNX `MaxUnpool`, opset 22.

use crate::eval::{wrap_index, zeros};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// Zeros but for the elements of `x`, which go to `indices` of the flattened result.
    MaxUnpool {
        /// The result's shape, in which the indices count.
        shape: Vec<Dim>
    }
}

impl OpDef for MaxUnpool {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("indices")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (ty, indices) = (x.ty(0)?, x.ty(1)?);
        super::check_indices(indices)?;
        super::check_operand(x, 1, "indices", &TensorType::new(indices.dtype, ty.shape.clone()))?;
        ensure!(self.shape.len() == ty.rank(), "`shape` must have {} extents", ty.rank());
        Ok(vec![TensorType::new(ty.dtype, self.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, indices) = (x.get(0)?, x.get(1)?);
        ensure!(input.shape() == indices.shape(), "`indices` must have the shape of `x`");
        let mut result = zeros(input.dtype(), x.extents(&self.shape)?)?;
        let len = result.len();
        for (from, index) in crate::eval::indices(indices)?.into_iter().enumerate() {
            result.data_mut().set(wrap_index(index, len)?, input.data(), from);
        }
        Ok(vec![result])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_go_back() {
        let input = Tensor::from_elements(vec![1, 1, 1], vec![7.0f32]);
        let indices = Tensor::from_elements(vec![1, 1, 1], vec![1i64]);
        let x = Tensors { operands: vec![Some(&input), Some(&indices)], regions: &[], symbols: &|_| None };
        let y = MaxUnpool { shape: vec![1.into(), 1.into(), 3.into()] }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<f32>().unwrap(), [0.0, 7.0, 0.0]);
    }
}
