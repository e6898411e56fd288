//! `transpose`: axes in another order. ONNX `Transpose`.

use crate::eval::{offset, rearrange, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// Axes in another order.
    Transpose {
        /// For each axis of the result, the axis of the operand.
        perm: Vec<usize>
    }
}

impl OpDef for Transpose {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        let is_permutation = sorted.iter().copied().eq(0..ty.rank());
        ensure!(is_permutation, "`perm` must order the {} axes, found {:?}", ty.rank(), self.perm);
        let shape = self.perm.iter().map(|&axis| ty.shape[axis].clone()).collect();
        Ok(vec![TensorType::new(ty.dtype, shape).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        super::rearranged_content(self, x, &[0])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        ensure!(self.perm.len() == input.rank(), "`perm` must order {} axes", input.rank());
        let steps = strides(input.shape());
        let steps: Vec<usize> = self.perm.iter().map(|&axis| steps[axis]).collect();
        let shape = self.perm.iter().map(|&axis| input.shape()[axis]).collect();
        Ok(vec![rearrange(input, shape, |at| Ok(offset(at, &steps)))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let input = Tensor::from_elements(vec![2, 3], vec![1i64, 2, 3, 4, 5, 6]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let y = Transpose { perm: vec![1, 0] }.eval(&x).unwrap().remove(0);
        assert_eq!(y, Tensor::from_elements(vec![3, 2], vec![1i64, 4, 2, 5, 3, 6]));
    }
}
