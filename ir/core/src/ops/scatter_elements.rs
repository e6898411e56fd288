//! `scatter_elements`: elements written along an axis, one index each. ONNX `ScatterElements`, opset 18.

use super::gather_elements::{check_elements, check_inside};
use crate::eval::{for_each_coordinate, offset, strides, wrap_index};
use crate::scalar::{Scalar, ScalarOp};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::word_attr! {
    /// How an update combines with the element that it meets.
    Reduction {
        /// It replaces the element; of several, the last counts.
        None = "none",
        /// Their sum.
        Add = "add",
        /// Their product.
        Mul = "mul",
        /// The larger.
        Max = "max",
        /// The smaller.
        Min = "min",
    }
}

crate::attrs! {
    /// `y = data` but for `y[.., indices[.., i, ..], ..] = updates[.., i, ..]`.
    ScatterElements {
        /// The axis.
        axis: usize,
        /// How updates combine with what is there.
        reduction: Reduction = Reduction::None
    }
}

impl OpDef for ScatterElements {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("data"), OperandSpec::required("indices"), OperandSpec::required("updates")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (data, indices) = (x.ty(0)?, x.ty(1)?);
        check_elements(data, indices, self.axis)?;
        self.reduction.check(data.dtype)?;
        super::check_operand(x, 2, "updates", &TensorType::new(data.dtype, indices.shape.clone()))?;
        Ok(vec![data.clone().into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        if self.reduction != Reduction::None { None } else { super::rearranged_content(self, x, &[0, 2]) }
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (indices, updates) = (x.get(1)?, x.get(2)?);
        let mut result = x.get(0)?.clone();
        let shape = result.shape().to_vec();
        ensure!(self.axis < shape.len() && indices.rank() == shape.len(), "`data` and `indices` must have one rank");
        ensure!(updates.shape() == indices.shape(), "`updates` must have the shape of `indices`");
        let (positions, steps) = (crate::eval::indices(indices)?, strides(&shape));
        let mut flat = 0;
        for_each_coordinate(indices.shape(), |at| {
            let mut target = at.to_vec();
            target[self.axis] = wrap_index(positions[flat], shape[self.axis])?;
            check_inside(&target, &shape)?;
            self.reduction.apply(&mut result, offset(&target, &steps), updates, flat)?;
            flat += 1;
            Ok(())
        })?;
        Ok(vec![result])
    }
}

impl Reduction {
    /// The function that combines two elements, unless one replaces the other.
    pub fn function(self) -> Option<ScalarOp> {
        match self {
            Reduction::None => None,
            Reduction::Add => Some(ScalarOp::Add),
            Reduction::Mul => Some(ScalarOp::Mul),
            Reduction::Max => Some(ScalarOp::Max),
            Reduction::Min => Some(ScalarOp::Min),
        }
    }

    /// # Errors
    /// If elements of type `dtype` do not combine in this way.
    pub(super) fn check(self, dtype: DType) -> Result<(), OpError> {
        match self.function() {
            None => Ok(()),
            Some(function) => function.result_dtype(&[dtype, dtype]).map(|_| ()),
        }
    }

    /// Combines element `to` of `target` with element `from` of `updates`.
    ///
    /// # Errors
    /// If their types do not fit.
    pub(super) fn apply(self, target: &mut Tensor, to: usize, updates: &Tensor, from: usize) -> Result<(), OpError> {
        ensure!(target.dtype() == updates.dtype(), "`updates` must be of type {}", target.dtype());
        self.check(target.dtype())?;
        match self.function() {
            None => target.data_mut().set(to, updates.data(), from),
            Some(function) => {
                let args = [Scalar::read(target.data(), to), Scalar::read(updates.data(), from)];
                function.eval(&args)?.write(target.data_mut(), to)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_add_up() {
        let data = Tensor::from_elements(vec![1, 3], vec![1i64, 2, 3]);
        let indices = Tensor::from_elements(vec![1, 2], vec![1i64, -2]);
        let updates = Tensor::from_elements(vec![1, 2], vec![10i64, 20]);
        let operands = vec![Some(&data), Some(&indices), Some(&updates)];
        let x = Tensors { operands, regions: &[], symbols: &|_| None };
        for (reduction, expected) in [(Reduction::None, [1i64, 20, 3]), (Reduction::Add, [1, 32, 3])] {
            let y = ScatterElements { axis: 1, reduction }.eval(&x).unwrap().remove(0);
            assert_eq!(y.elements::<i64>().unwrap(), expected);
        }
    }
}
