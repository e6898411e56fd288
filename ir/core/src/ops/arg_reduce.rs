//! `arg_reduce`: where the extreme of an axis is. ONNX `ArgMax`, `ArgMin`.

use crate::eval::{for_each_lane, ints, reals, zeros};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::word_attr! {
    /// Which extreme is sought.
    ArgFn {
        /// The largest element.
        Argmax = "argmax",
        /// The smallest element.
        Argmin = "argmin",
    }
}

crate::attrs! {
    /// Index of the extreme along an axis, which stays with extent 1. The result is i64.
    ArgReduce {
        /// Which extreme.
        function: ArgFn,
        /// The axis.
        axis: usize,
        /// Whether the last of several equal extremes is meant rather than the first.
        select_last: bool = false
    }
}

impl OpDef for ArgReduce {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        ensure!(self.axis < ty.rank(), "`axis` must be below the rank {}, found {}", ty.rank(), self.axis);
        ensure!(!ty.shape[self.axis].is(0), "an axis without elements has no extreme");
        let mut shape = ty.shape.clone();
        shape[self.axis] = Dim::constant(1);
        Ok(vec![TensorType::new(DType::I64, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        ensure!(self.axis < input.rank(), "`axis` must be below the rank {}", input.rank());
        let mut shape = input.shape().to_vec();
        shape[self.axis] = 1;
        let empty = input.shape()[self.axis] == 0 && !shape.contains(&0);
        ensure!(!empty, "an axis without elements has no extreme");
        let found = if input.dtype().is_float() {
            self.search(input.shape(), &reals(input)?)?
        } else {
            self.search(input.shape(), &ints(input)?)?
        };
        let mut result = zeros(DType::I64, shape)?;
        *result.data_mut() = ic_types::Data::I64(found);
        Ok(vec![result])
    }
}

impl ArgReduce {
    /// The first NaN, else the extreme.
    fn search<T: PartialOrd + Copy>(&self, shape: &[usize], values: &[T]) -> Result<Vec<i64>, OpError> {
        let mut found = Vec::new();
        for_each_lane(shape, self.axis, |lane| {
            let mut best = 0;
            for (i, &at) in lane.iter().enumerate().skip(1) {
                let (candidate, extreme) = (values[at], values[lane[best]]);
                let better = match self.function {
                    ArgFn::Argmax => candidate > extreme,
                    ArgFn::Argmin => candidate < extreme,
                };
                let is_nan = |x: T| x.partial_cmp(&x).is_none();
                let equal = self.select_last && candidate == extreme;
                if !is_nan(extreme) && (better || equal || is_nan(candidate)) {
                    best = i;
                }
            }
            found.push(best as i64);
            Ok(())
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties() {
        let input = Tensor::from_elements(vec![1, 4], vec![1.0f32, 3.0, 3.0, 2.0]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        for (select_last, expected) in [(false, 1i64), (true, 2)] {
            let op = ArgReduce { function: ArgFn::Argmax, axis: 1, select_last };
            assert_eq!(op.eval(&x).unwrap()[0], Tensor::from_elements(vec![1, 1], vec![expected]));
        }
    }
}
