//! `cumulative`: running sums and products along an axis. ONNX `CumSum`, `CumProd`.

use crate::eval::{for_each_lane, from_ints, from_reals, ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::Tensor;

crate::word_attr! {
    /// What runs along the axis.
    CumulativeFn {
        /// The sum.
        Sum = "sum",
        /// The product.
        Prod = "prod",
    }
}

crate::attrs! {
    /// Along the axis, the fold of all elements up to each.
    Cumulative {
        /// What runs along the axis.
        function: CumulativeFn,
        /// The axis.
        axis: usize,
        /// Whether the element itself is left out.
        exclusive: bool = false,
        /// Whether it runs from the end.
        reverse: bool = false
    }
}

impl OpDef for Cumulative {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        ensure!(self.axis < ty.rank(), "`axis` must be below the rank {}, found {}", ty.rank(), self.axis);
        Ok(vec![ty.clone().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let (dtype, shape) = (input.dtype(), input.shape().to_vec());
        ensure!(self.axis < shape.len(), "`axis` must be below the rank {}", shape.len());
        Ok(vec![match (dtype.is_float(), self.function) {
            (true, CumulativeFn::Sum) => from_reals(dtype, shape, self.run(input, reals(input)?, 0.0, |a, b| a + b)?)?,
            (true, CumulativeFn::Prod) => from_reals(dtype, shape, self.run(input, reals(input)?, 1.0, |a, b| a * b)?)?,
            (false, CumulativeFn::Sum) => {
                from_ints(dtype, shape, self.run(input, ints(input)?, 0, i128::wrapping_add)?)?
            }
            (false, CumulativeFn::Prod) => {
                from_ints(dtype, shape, self.run(input, ints(input)?, 1, i128::wrapping_mul)?)?
            }
        }])
    }
}

impl Cumulative {
    fn run<T: Copy>(
        &self,
        input: &Tensor,
        mut values: Vec<T>,
        start: T,
        fold: impl Fn(T, T) -> T,
    ) -> Result<Vec<T>, OpError> {
        for_each_lane(input.shape(), self.axis, |lane| {
            let mut total = start;
            for i in 0..lane.len() {
                let at = if self.reverse { lane[lane.len() - 1 - i] } else { lane[i] };
                let before = total;
                total = fold(total, values[at]);
                values[at] = if self.exclusive { before } else { total };
            }
            Ok(())
        })?;
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions() {
        let input = Tensor::from_elements(vec![3], vec![1i64, 2, 3]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        for (exclusive, reverse, expected) in
            [(false, false, [1i64, 3, 6]), (true, false, [0, 1, 3]), (false, true, [6, 5, 3]), (true, true, [5, 3, 0])]
        {
            let op = Cumulative { function: CumulativeFn::Sum, axis: 0, exclusive, reverse };
            assert_eq!(op.eval(&x).unwrap()[0].elements::<i64>().unwrap(), expected);
        }
    }
}
