//! `reduce`: a fold over some axes. ONNX `ReduceSum`, `ReduceProd`, `ReduceMax`, `ReduceMin`, `ReduceMean`.

use crate::eval::{for_each_coordinate, from_ints, from_reals, int_range, ints, offset, reals, strides, zeros};
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
        let fold = match self.function {
            ReduceFn::Sum => ScalarOp::Add,
            ReduceFn::Prod => ScalarOp::Mul,
            ReduceFn::Max | ReduceFn::Any => ScalarOp::Max,
            ReduceFn::Min | ReduceFn::All => ScalarOp::Min,
            ReduceFn::Mean => return None,
        };
        let groups = self.groups(&shape);
        groups
            .iter()
            .map(|group| {
                let mut elements = group.iter().map(|&i| content[i].clone());
                match (elements.next(), self.function) {
                    (Some(first), _) => {
                        elements.try_fold(first, |a, b| fold.eval_dim(&[&a, &b]).filter(crate::content::is_small))
                    }
                    (None, ReduceFn::Sum | ReduceFn::Any) => Some(Dim::constant(0)),
                    (None, ReduceFn::Prod | ReduceFn::All) => Some(Dim::constant(1)),
                    (None, _) => None,
                }
            })
            .collect()
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        super::check_axes(&self.axes, input.rank())?;
        let (dtype, shape) = (input.dtype(), self.result_shape(input.shape(), 1));
        zeros(dtype, shape.clone())?;
        let groups = self.groups(input.shape());
        Ok(vec![if dtype.is_float() {
            let values = reals(input)?;
            let fold = |group: &Vec<usize>| self.fold_reals(group.iter().map(|&i| values[i]));
            from_reals(dtype, shape, groups.iter().map(fold).collect())?
        } else {
            let values = ints(input)?;
            let fold = |group: &Vec<usize>| self.fold_ints(dtype, group.iter().map(|&i| values[i]));
            from_ints(dtype, shape, groups.iter().map(fold).collect())?
        }])
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

    /// For each element of the result, the elements that it folds, in row-major order.
    fn groups(&self, shape: &[usize]) -> Vec<Vec<usize>> {
        let kept: Vec<usize> =
            shape.iter().enumerate().map(|(axis, &d)| if self.axes.contains(&axis) { 1 } else { d }).collect();
        let mut steps = strides(&kept);
        self.axes.iter().for_each(|&axis| steps[axis] = 0);
        let mut groups = vec![Vec::new(); kept.iter().product()];
        let mut flat = 0;
        let walked = for_each_coordinate(shape, |at| {
            groups[offset(at, &steps)].push(flat);
            flat += 1;
            Ok(())
        });
        debug_assert!(walked.is_ok());
        groups
    }

    fn fold_reals(&self, values: impl ExactSizeIterator<Item = f64>) -> f64 {
        let n = values.len() as f64;
        let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        match self.function {
            ReduceFn::Sum | ReduceFn::Any => values.fold(0.0, |a, b| a + b),
            ReduceFn::Prod | ReduceFn::All => values.product(),
            ReduceFn::Mean => values.fold(0.0, |a, b| a + b) / n,
            ReduceFn::Max => values.fold(f64::NEG_INFINITY, larger),
            ReduceFn::Min => -values.map(|x| -x).fold(f64::NEG_INFINITY, larger),
        }
    }

    fn fold_ints(&self, dtype: DType, values: impl ExactSizeIterator<Item = i128>) -> i128 {
        let n = values.len() as i128;
        let (lowest, highest) = int_range(dtype);
        match self.function {
            ReduceFn::Sum => values.fold(0, i128::wrapping_add),
            ReduceFn::Prod => values.fold(1, i128::wrapping_mul),
            ReduceFn::Mean => values.fold(0, i128::wrapping_add).checked_div(n).unwrap_or(0),
            ReduceFn::Max => values.fold(lowest, i128::max),
            ReduceFn::Min => values.fold(highest, i128::min),
            ReduceFn::Any => values.fold(0, |a, b| a | b),
            ReduceFn::All => values.fold(1, |a, b| a & b),
        }
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
