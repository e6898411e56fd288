//! `matmul`: batched matrix product. ONNX `MatMul`, `Gemm`, `Einsum`.

use super::pointwise::{broadcast_extents, source_index};
use crate::eval::{Number, checked_len};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// `[batch…, M, K] × [batch…, K, N] → [batch…, M, N]`; batch axes broadcast. Integers wrap.
    Matmul {}
}

impl OpDef for Matmul {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("a"), OperandSpec::required("b")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (a, b) = (x.ty(0)?, x.ty(1)?);
        ensure!(a.dtype == b.dtype, "operands must have one type, found {} and {}", a.dtype, b.dtype);
        ensure!(a.dtype.is_float() || a.dtype.is_int(), "operands must be numbers, found {}", a.dtype);
        Ok(vec![TensorType::new(a.dtype, product_shape(x, a, b)?).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        if x.get(0)?.dtype().is_float() { multiply::<f64>(x) } else { multiply::<i64>(x) }
    }
}

/// The shape of the product of `a` and `b`.
///
/// # Errors
/// If they are not matrices, or not of extents that go together.
pub(super) fn product_shape(x: &Operands, a: &TensorType, b: &TensorType) -> Result<Vec<Dim>, OpError> {
    ensure!(a.rank() >= 2 && b.rank() >= 2, "operands must have rank 2 or more, found {a} and {b}");
    let (a_batch, a_matrix) = a.shape.split_at(a.rank() - 2);
    let (b_batch, b_matrix) = b.shape.split_at(b.rank() - 2);
    x.equal(&a_matrix[1], &b_matrix[0], "contracted extents")?;
    let mut shape = x.broadcast(a_batch, b_batch)?;
    shape.extend([a_matrix[0].clone(), b_matrix[1].clone()]);
    Ok(shape)
}

fn multiply<T: Number>(x: &Tensors) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (x.get(0)?, x.get(1)?);
    ensure!(a.rank() >= 2 && b.rank() >= 2, "operands must have rank 2 or more");
    let (a_batch, a_matrix) = a.shape().split_at(a.rank() - 2);
    let (b_batch, b_matrix) = b.shape().split_at(b.rank() - 2);
    let (m, k, n) = (a_matrix[0], a_matrix[1], b_matrix[1]);
    ensure!(k == b_matrix[0], "contracted extents must be equal, found {k} and {}", b_matrix[0]);
    let mut shape = broadcast_extents(a_batch, b_batch)?;
    let batch_shape = shape.clone();
    shape.extend([m, n]);
    let mut result = vec![T::default(); checked_len(&shape)?];
    let (a_values, b_values) = (T::read(a)?, T::read(b)?);
    for (i, row) in result.chunks_mut(n.max(1)).enumerate() {
        let (batch, row_in_batch) = (i / m, i % m);
        let a_row = &a_values[(source_index(batch, &batch_shape, a_batch) * m + row_in_batch) * k..][..k];
        let b_matrix = &b_values[source_index(batch, &batch_shape, b_batch) * k * n..][..k * n];
        // Row by row of `b`: the sum of each element still runs over `k` in order.
        for (&left, right) in a_row.iter().zip(b_matrix.chunks(n.max(1))) {
            row.iter_mut().zip(right).for_each(|(sum, &right)| *sum = T::accumulate(*sum, left, right));
        }
    }
    Ok(vec![T::tensor(a.dtype(), shape, result)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_broadcast() {
        let a = Tensor::from_elements(vec![2, 1, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let b = Tensor::from_elements(vec![2, 2], vec![5.0f32, 6.0, 7.0, 8.0]);
        let x = Tensors { operands: vec![Some(&a), Some(&b)], regions: &[], symbols: &|_| None };
        let y = Matmul {}.eval(&x).unwrap().remove(0);
        assert_eq!(y, Tensor::from_elements(vec![2, 1, 2], vec![19.0f32, 22.0, 43.0, 50.0]));
    }
}
