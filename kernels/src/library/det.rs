//! `det`: determinants of batches of square matrices.

use super::args::{Args, error, kernels};
use super::element::Number;
use crate::abi::{KernelError, Operand};
use ic_types::DType;

kernels! {
    /// ONNX `Det` of f32 or f64 matrices `x[.., n, n]`.
    DET = "det" ["x"] -> ["y"] {}, |args| match args.dtype(0)? {
        DType::F64 => det::<f64>(args),
        _ => det::<f32>(args),
    }, scratch = |operands: &[Operand], _: &[i64], _: usize| {
        let n = operands.first().and_then(|x| x.shape.last()).map_or(0, |&n| n.max(0) as usize);
        n.saturating_mul(n).saturating_mul(size_of::<f64>())
    };
}

fn det<T: Number>(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let &[.., n, m] = &shape[..] else { return Err(error("expected matrices")) };
    let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
    if n != m || y.len() != shape[..shape.len() - 2].iter().product() {
        return Err(error(format!("expected square matrices and {} determinants, found {n} x {m}", y.len())));
    }
    // SAFETY: `scratch` asked for one matrix; this is the only use.
    let matrix = unsafe { args.scratch::<f64>(n * n) };
    for (i, y) in y.iter_mut().enumerate() {
        matrix.iter_mut().zip(&x[i * n * n..]).for_each(|(to, x)| *to = x.to_f64());
        *y = T::from_f64(eliminate(matrix, n));
    }
    Ok(())
}

/// The determinant of an `n` by `n` matrix, which is overwritten, by elimination with the largest pivots.
fn eliminate(matrix: &mut [f64], n: usize) -> f64 {
    let mut product = 1.0;
    for k in 0..n {
        let size = |row: usize| matrix[row * n + k].abs();
        let pivot = (k..n).reduce(|best, row| if size(row) > size(best) { row } else { best }).unwrap_or(k);
        if matrix[pivot * n + k] == 0.0 {
            return 0.0;
        }
        if pivot != k {
            (0..n).for_each(|column| matrix.swap(k * n + column, pivot * n + column));
            product = -product;
        }
        product *= matrix[k * n + k];
        for row in k + 1..n {
            let factor = matrix[row * n + k] / matrix[k * n + k];
            for column in k..n {
                matrix[row * n + column] -= factor * matrix[k * n + column];
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, assert_close, run_f32};

    #[test]
    fn finds_determinants() {
        let x = [1.0, 2.0, 3.0, 4.0, 0.0, 1.0, 1.0, 0.0, 2.0, 4.0, 1.0, 2.0];
        assert_close(&run_f32(&DET, &[Buffer::f32(&[3, 2, 2], &x)], &[], &[3]), &[-2.0, -1.0, 0.0], 1e-6);
        let x = [2.0, -1.0, 0.0, 3.0, 5.0, 1.0, -2.0, 4.0, 6.0];
        assert_close(&run_f32(&DET, &[Buffer::f32(&[3, 3], &x)], &[], &[]), &[72.0], 1e-6);
        assert_eq!(run_f32(&DET, &[Buffer::f32(&[0, 0], &[])], &[], &[]), [1.0]);
    }
}
