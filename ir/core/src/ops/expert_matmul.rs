//! `expert_matmul`: each row times the matrix that its index chooses. What models spell with a gather of matrices and
//! `MatMul`.

use crate::eval::{checked_len, from_reals, indices, reals, wrap_index};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::Tensor;

crate::attrs! {
    /// `y[r] = x[r] · w[index[r]]`.
    ///
    /// `x [R, K]`, `w [E, K, N]`, `index [R]` of integers in `-E..E`, result `[R, N]`.
    ExpertMatmul {}
}

impl OpDef for ExpertMatmul {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("w"), OperandSpec::required("index")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (rows, w, index) = (x.ty(0)?, x.ty(1)?, x.ty(2)?);
        super::check_float(rows, "x")?;
        super::check_indices(index)?;
        ensure!(w.dtype == rows.dtype, "operands must have one type, found {} and {}", rows.dtype, w.dtype);
        let ([r, k], [_, w_k, n], [chosen]) = (rows.shape.as_slice(), w.shape.as_slice(), index.shape.as_slice())
        else {
            return Err(OpError(format!("operands must have ranks 2, 3 and 1, found {rows}, {w} and {index}")));
        };
        x.equal(k, w_k, "widths of rows and matrices")?;
        let r = x.equal(r, chosen, "numbers of rows and indices")?;
        Ok(vec![TensorType::new(rows.dtype, vec![r, n.clone()]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (rows, w, index) = (x.get(0)?, x.get(1)?, x.get(2)?);
        let (&[r, k], &[e, w_k, n], &[chosen]) = (rows.shape(), w.shape(), index.shape()) else {
            return Err(OpError::new("operands must have ranks 2, 3 and 1"));
        };
        ensure!(k == w_k && r == chosen, "rows, matrices and indices must fit together");
        let (row_values, matrices, choices) = (reals(rows)?, reals(w)?, indices(index)?);
        let mut result = vec![0.0; checked_len(&[r, n])?];
        for (row, y) in result.chunks_mut(n.max(1)).enumerate() {
            let matrix = &matrices[wrap_index(choices[row], e)? * k * n..][..k * n];
            multiply(&row_values[row * k..][..k], matrix, y);
        }
        Ok(vec![from_reals(rows.dtype(), vec![r, n], result)?])
    }
}

/// Adds `row · matrix` to `y`.
pub(super) fn multiply(row: &[f64], matrix: &[f64], y: &mut [f64]) {
    for (x, line) in row.iter().zip(matrix.chunks(y.len().max(1))) {
        y.iter_mut().zip(line).for_each(|(sum, w)| *sum += x * w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_choose_their_matrices() {
        let rows = Tensor::from_elements(vec![2, 2], vec![1f32, 2.0, 3.0, 4.0]);
        let w = Tensor::from_elements(vec![2, 2, 1], vec![1f32, 1.0, 10.0, 0.0]);
        let index = Tensor::from_elements(vec![2], vec![1i64, -2]);
        let x = Tensors { operands: vec![Some(&rows), Some(&w), Some(&index)], regions: &[], symbols: &|_| None };
        let y = ExpertMatmul {}.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<f32>().unwrap(), [10.0, 7.0]);
    }
}
