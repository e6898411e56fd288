//! `integer_matmul`: matrix product of 8-bit integers with zero points. ONNX `MatMulInteger`.

use super::matmul::{Matmul, product_shape};
use crate::eval::{from_ints, ints};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// `bias[n] + Σ (a[m, k] - a_zero_point) (b[k, n] - b_zero_point[n])` in i32, which wraps. Each factor is u8 or i8.
    ///
    /// `a_zero_point` has one element, `b_zero_point` one or one for each column. An absent one is 0.
    IntegerMatmul {}
}

impl OpDef for IntegerMatmul {
    const OPERANDS: &'static [OperandSpec] = INTEGER_OPERANDS;

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let shape = product_shape(x, x.ty(0)?, x.ty(1)?)?;
        check_integers(x, &shape[shape.len() - 1])?;
        Ok(vec![TensorType::new(DType::I32, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let b = x.get(1)?;
        ensure!(b.rank() >= 2, "operands must have rank 2 or more");
        let columns = b.shape()[b.rank() - 1];
        let (a, b) = (centred(x.get(0)?, x.opt(2), 1)?, centred(b, x.opt(3), 1)?);
        let factors = Tensors { operands: vec![Some(&a), Some(&b)], ..*x };
        let product = Matmul {}.eval(&factors)?.remove(0);
        let Some(bias) = x.opt(4) else { return Ok(vec![product]) };
        let bias = ints(bias)?;
        let sums = ints(&product)?.into_iter().enumerate().map(|(i, sum)| sum + bias[i % columns]);
        Ok(vec![from_ints(DType::I32, product.shape().to_vec(), sums.collect())?])
    }
}

/// The operands of integer contractions.
pub(super) const INTEGER_OPERANDS: &[OperandSpec] = &[
    OperandSpec::required("a"),
    OperandSpec::required("b"),
    OperandSpec::optional("a_zero_point"),
    OperandSpec::optional("b_zero_point"),
    OperandSpec::optional("bias"),
];

/// # Errors
/// If the factors are not 8-bit integers, or zero points or bias do not fit them and `channels` results.
pub(super) fn check_integers(x: &Operands, channels: &Dim) -> Result<(), OpError> {
    for (factor, zero) in [(0, 2), (1, 3)] {
        let dtype = x.ty(factor)?.dtype;
        ensure!(matches!(dtype, DType::U8 | DType::I8), "factors must be u8 or i8, found {dtype}");
        let Some(zero_point) = x.opt(zero) else { continue };
        ensure!(zero_point.dtype == dtype, "a zero point must be {dtype}, found {zero_point}");
        if zero_point.elements().is(1) && zero_point.rank() <= 1 {
            continue;
        }
        ensure!(factor == 1 && zero_point.rank() == 1, "a zero point must have one element, found {zero_point}");
        x.equal(channels, &zero_point.shape[0], "the extents of `b_zero_point` and of the result's channels")?;
    }
    super::check_operand(x, 4, "bias", &TensorType::new(DType::I32, vec![channels.clone()]))
}

/// `x - zero_point` in i32, where each element of the zero point is for `inner` neighbours of `x`, again and again.
///
/// # Errors
/// If they are no integers.
pub(super) fn centred(x: &Tensor, zero_point: Option<&Tensor>, inner: usize) -> Result<Tensor, OpError> {
    let zeros = zero_point.map(ints).transpose()?.filter(|zeros| !zeros.is_empty()).unwrap_or(vec![0]);
    let values = ints(x)?.into_iter().enumerate().map(|(i, x)| x - zeros[i / inner.max(1) % zeros.len()]);
    from_ints(DType::I32, x.shape().to_vec(), values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::Data;

    #[test]
    fn zero_points_are_of_columns() {
        let a = Tensor::new(vec![1, 2], Data::U8(vec![255, 0]));
        let b = Tensor::new(vec![2, 2], Data::I8(vec![-128, 127, 1, 2]));
        let (a_zero, b_zero) = (Tensor::new(vec![], Data::U8(vec![5])), Tensor::new(vec![2], Data::I8(vec![0, 7])));
        let bias = Tensor::from_elements(vec![2], vec![1000i32, 0]);
        let operands = vec![Some(&a), Some(&b), Some(&a_zero), Some(&b_zero), Some(&bias)];
        let x = Tensors { operands, regions: &[], symbols: &|_| None };
        let y = IntegerMatmul {}.eval(&x).unwrap().remove(0);
        let expected = [250 * -128 - 5 + 1000, 250 * 120 + 25];
        assert_eq!(y.elements::<i32>().unwrap(), expected);
    }
}
