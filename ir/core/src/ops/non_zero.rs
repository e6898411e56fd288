//! `non_zero`: coordinates of the elements that are not zero. ONNX `NonZero`.

use crate::eval::{coordinates_of, ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Data, Dim, Tensor};

crate::attrs! {
    /// Coordinates of the elements that are not zero, in row-major order: first those on axis 0, then those on axis 1,
    /// and so on, as the first elements of an i64 vector that has room for those of all elements; and how many there are,
    /// as i64 `[1]`. What is behind them is unspecified.
    NonZero {}
}

impl OpDef for NonZero {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn n_results(&self) -> usize {
        2
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        let number = ty.dtype.is_float() || ty.dtype.is_int() || ty.dtype == DType::Bool;
        crate::ensure!(number, "`x` must be numbers or bool, found {}", ty.dtype);
        let room = Dim::constant(ty.rank() as i64) * ty.elements();
        Ok(vec![TensorType::new(DType::I64, vec![room]).into(), TensorType::fixed(DType::I64, &[1]).into()])
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
        let mut elements: Vec<i64> = (0..input.rank()).flat_map(along).collect();
        elements.resize(input.rank() * truths.len(), 0);
        let room = Tensor::new(vec![elements.len()], Data::I64(elements));
        Ok(vec![room, Tensor::from_elements(vec![1], vec![found.len() as i64])])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_come_by_axis() {
        let input = Tensor::from_elements(vec![2, 2], vec![true, false, true, true]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let y = NonZero {}.eval(&x).unwrap();
        assert_eq!(y[0], Tensor::from_elements(vec![8], vec![0i64, 1, 1, 0, 0, 1, 0, 0]));
        assert_eq!(y[1], Tensor::from_elements(vec![1], vec![3i64]));
    }
}
