//! `reduce`: a fold over some axes. ONNX `ReduceSum`, `ReduceProd`, `ReduceMax`, `ReduceMin`, `ReduceMean`.

use crate::eval::{
    checked_len, for_each_coordinate, from_ints, from_reals, int_range, ints, offset, reals, strides, zeros,
};
use crate::scalar::{ReduceFn, ScalarOp};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// A fold over some axes.
    Reduce {
        /// What is computed.
        function: ReduceFn,
        /// The axes that are folded; none leaves the elements as they are.
        axes: Vec<usize>,
        /// Whether the axes stay, with extent 1.
        keep_dims: bool = true
    }
}

impl OpDef for Reduce {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        super::check_axes(&self.axes, ty.rank())?;
        let number = ty.dtype.is_float() || ty.dtype.is_int();
        let fits = match self.function {
            ReduceFn::Any | ReduceFn::All => ty.dtype == DType::Bool,
            ReduceFn::Max | ReduceFn::Min => number || ty.dtype == DType::Bool,
            ReduceFn::Sum | ReduceFn::Prod | ReduceFn::Mean => number,
        };
        ensure!(fits, "`{}` does not take elements of type {}", self.function.name(), ty.dtype);
        Ok(vec![TensorType::new(ty.dtype, self.result_shape(&ty.shape, Dim::constant(1))).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        let (shape, content) = (x.ty(0).ok()?.constant_shape()?, x.content(0)?);
        let (start, fold) = match self.function {
            ReduceFn::Sum => (Some(0), ScalarOp::Add),
            ReduceFn::Prod => (Some(1), ScalarOp::Mul),
            ReduceFn::Any => (Some(0), ScalarOp::Max),
            ReduceFn::All => (Some(1), ScalarOp::Min),
            ReduceFn::Max => (None, ScalarOp::Max),
            ReduceFn::Min => (None, ScalarOp::Min),
            ReduceFn::Mean => return None,
        };
        let combine = if x.ty(0).ok()?.dtype.is_float() { ScalarOp::eval_whole } else { ScalarOp::eval_dim };
        // Outside is whether the element is known at all, inside whether there is one yet.
        let elements: Vec<Option<Option<Dim>>> = content.iter().map(|dim| Some(Some(dim.clone()))).collect();
        let fold = |a: Option<Option<Dim>>, b: Option<Option<Dim>>| match (a?, b?) {
            (None, b) => Some(b),
            (a, None) => Some(a),
            (Some(a), Some(b)) => combine(fold, &[&a, &b]).filter(crate::content::is_small).map(Some),
        };
        self.run(&shape, &elements, Some(start.map(Dim::constant)), fold).into_iter().map(Option::flatten).collect()
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        super::check_axes(&self.axes, input.rank())?;
        let (dtype, shape) = (input.dtype(), self.result_shape(input.shape(), 1));
        zeros(dtype, shape.clone())?;
        let n = input.len().checked_div(checked_len(&shape)?).unwrap_or(0);
        Ok(vec![if dtype.is_float() {
            let (start, fold) = self.function.of_reals();
            let mut values = self.run(input.shape(), &reals(input)?, start, fold);
            if self.function == ReduceFn::Mean {
                values.iter_mut().for_each(|v| *v /= n as f64);
            }
            from_reals(dtype, shape, values)?
        } else {
            let (start, fold) = self.function.of_ints(dtype);
            let mut values = self.run(input.shape(), &ints(input)?, start, fold);
            if self.function == ReduceFn::Mean {
                values.iter_mut().for_each(|v| *v = v.checked_div(n as i128).unwrap_or(0));
            }
            from_ints(dtype, shape, values)?
        }])
    }
}

impl ReduceFn {
    /// What the fold of floats begins with, and what it does; the mean is its sum.
    fn of_reals(self) -> (f64, fn(f64, f64) -> f64) {
        match self {
            ReduceFn::Sum | ReduceFn::Mean | ReduceFn::Any => (0.0, |a, b| a + b),
            ReduceFn::Prod | ReduceFn::All => (1.0, |a, b| a * b),
            ReduceFn::Max => (f64::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b }),
            ReduceFn::Min => (f64::INFINITY, |a, b| if a.is_nan() || a < b { a } else { b }),
        }
    }

    /// What the fold of integers begins with, and what it does; the mean is its sum.
    fn of_ints(self, dtype: DType) -> (i128, fn(i128, i128) -> i128) {
        let (lowest, highest) = int_range(dtype);
        match self {
            ReduceFn::Sum | ReduceFn::Mean => (0, i128::wrapping_add),
            ReduceFn::Prod => (1, i128::wrapping_mul),
            ReduceFn::Max => (lowest, i128::max),
            ReduceFn::Min => (highest, i128::min),
            ReduceFn::Any => (0, |a, b| a | b),
            ReduceFn::All => (1, |a, b| a & b),
        }
    }
}

impl Reduce {
    /// The result's shape, with `one` for the folded axes that stay.
    fn result_shape<T: Clone>(&self, shape: &[T], one: T) -> Vec<T> {
        let kept = |(axis, extent): (usize, &T)| match (self.axes.contains(&axis), self.keep_dims) {
            (false, _) => Some(extent.clone()),
            (true, true) => Some(one.clone()),
            (true, false) => None,
        };
        shape.iter().enumerate().filter_map(kept).collect()
    }

    /// Folds every element into the element of the result that it belongs to.
    fn run<T: Clone>(&self, shape: &[usize], values: &[T], start: T, fold: impl Fn(T, T) -> T) -> Vec<T> {
        let kept: Vec<usize> =
            shape.iter().enumerate().map(|(axis, &d)| if self.axes.contains(&axis) { 1 } else { d }).collect();
        let mut steps = strides(&kept);
        self.axes.iter().for_each(|&axis| steps[axis] = 0);
        let mut result = vec![start; kept.iter().product()];
        let mut values = values.iter().cloned();
        let walked = for_each_coordinate(shape, |at| {
            let target = &mut result[offset(at, &steps)];
            values.by_ref().take(1).for_each(|value| *target = fold(target.clone(), value));
            Ok(())
        });
        debug_assert!(walked.is_ok());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduce(function: ReduceFn, shape: &[usize], elements: Vec<i64>) -> Vec<i64> {
        let input = Tensor::from_elements(shape.to_vec(), elements);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let y = Reduce { function, axes: vec![1], keep_dims: false }.eval(&x).unwrap().remove(0);
        y.elements().unwrap().to_vec()
    }

    #[test]
    fn rows_fold() {
        let elements = vec![1, -2, 3, 4, 5, 6];
        assert_eq!(reduce(ReduceFn::Sum, &[2, 3], elements.clone()), [2, 15]);
        assert_eq!(reduce(ReduceFn::Prod, &[2, 3], elements.clone()), [-6, 120]);
        assert_eq!(reduce(ReduceFn::Min, &[2, 3], elements.clone()), [-2, 4]);
        assert_eq!(reduce(ReduceFn::Mean, &[2, 3], elements), [0, 5]);
    }

    #[test]
    fn folds_of_nothing() {
        assert_eq!(reduce(ReduceFn::Sum, &[2, 0], vec![]), [0, 0]);
        assert_eq!(reduce(ReduceFn::Max, &[1, 0], vec![]), [i64::MIN]);
        assert_eq!(reduce(ReduceFn::Prod, &[0, 3], vec![]), Vec::<i64>::new());
    }
}
