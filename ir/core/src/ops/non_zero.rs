//! `non_zero`: coordinates of the elements that are not zero. ONNX `NonZero`.

use crate::eval::{coordinates_of, ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Data, Dim, Tensor};

crate::attrs! {
    /// Coordinates of the elements that are not zero, in row-major order, as i64 `[rank, count]`.
    NonZero {
        /// How many there are: a symbol of its own, which the run binds.
        count: Dim
    }
}

impl OpDef for NonZero {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let number = ty.dtype.is_float() || ty.dtype.is_int() || ty.dtype == DType::Bool;
        crate::ensure!(number, "`x` must be numbers or bool, found {}", ty.dtype);
        let rank = Dim::constant(ty.rank() as i64);
        Ok(vec![TensorType::new(DType::I64, vec![rank, self.count.clone()]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let truths: Vec<bool> = if input.dtype().is_float() {
            reals(input)?.into_iter().map(|x| x != 0.0).collect()
        } else {
            ints(input)?.into_iter().map(|x| x != 0).collect()
        };
        let found: Vec<Vec<usize>> = truths
            .iter()
            .enumerate()
            .filter(|(_, truth)| **truth)
            .map(|(i, _)| coordinates_of(i, input.shape()))
            .collect();
        let along = |axis: usize| found.iter().map(move |at| at[axis] as i64);
        let elements: Vec<i64> = (0..input.rank()).flat_map(along).collect();
        Ok(vec![Tensor::new(vec![input.rank(), found.len()], Data::I64(elements))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_come_by_axis() {
        let input = Tensor::from_elements(vec![2, 2], vec![true, false, true, true]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let y = NonZero { count: Dim::symbol("count") }.eval(&x).unwrap().remove(0);
        assert_eq!(y, Tensor::from_elements(vec![2, 3], vec![0i64, 1, 1, 0, 0, 1]));
    }
}
