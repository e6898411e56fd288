//! `det`: determinants. ONNX `Det`.

use crate::eval::{checked_len, from_reals, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::Tensor;

crate::attrs! {
    /// The determinant of each matrix of `[batch…, n, n]`.
    Det {}
}

impl OpDef for Det {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        super::check_float(ty, "x")?;
        ensure!(ty.rank() >= 2, "`x` must have rank 2 or more, found {ty}");
        let (batch, matrix) = ty.shape.split_at(ty.rank() - 2);
        x.equal(&matrix[0], &matrix[1], "extents of a matrix")?;
        Ok(vec![TensorType::new(ty.dtype, batch.to_vec()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        ensure!(input.rank() >= 2, "`x` must have rank 2 or more");
        let (batch, matrix) = input.shape().split_at(input.rank() - 2);
        ensure!(matrix[0] == matrix[1], "matrices must be square, found {matrix:?}");
        let (n, values) = (matrix[0], reals(input)?);
        let determinants = (0..checked_len(batch)?).map(|i| determinant(values[i * n * n..][..n * n].to_vec(), n));
        Ok(vec![from_reals(input.dtype(), batch.to_vec(), determinants.collect())?])
    }
}

/// Elimination with the largest pivot of each column.
fn determinant(mut a: Vec<f64>, n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let magnitude = |row: &usize| libm::fabs(a[row * n + column]);
        let pivot = (column..n).max_by(|r, s| magnitude(r).total_cmp(&magnitude(s))).unwrap_or(column);
        if pivot != column {
            (0..n).for_each(|i| a.swap(pivot * n + i, column * n + i));
            product = -product;
        }
        let diagonal = a[column * n + column];
        product *= diagonal;
        if diagonal == 0.0 {
            return 0.0;
        }
        for row in column + 1..n {
            let factor = a[row * n + column] / diagonal;
            (column..n).for_each(|i| a[row * n + i] -= factor * a[column * n + i]);
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_matrices() {
        assert_eq!(determinant(vec![0.0, 1.0, 1.0, 0.0], 2), -1.0);
        assert_eq!(determinant(vec![2.0, 1.0, 0.0, 0.0, 3.0, 5.0, 0.0, 0.0, 4.0], 3), 24.0);
        assert_eq!(determinant(vec![1.0, 2.0, 2.0, 4.0], 2), 0.0);
        assert_eq!(determinant(vec![], 0), 1.0);
    }
}
