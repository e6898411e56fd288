//! `cumulative`: running sums and products along an axis.

use super::args::{Args, error, kernels};
use super::codes::Cumulation;
use super::element::{Number, by_number};
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `CumSum` and `CumProd`; `op` is a `Cumulation`.
    CUMULATIVE = "cumulative" ["x"] -> ["y"] {"op", "axis", "exclusive", "reverse"}, cumulative;
}

fn cumulative(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let op = Cumulation::from_code(args.attr(0)?)?;
    let axis = args.axis(1, shape.len())?;
    let (exclusive, reverse) = (args.flag(2)?, args.flag(3)?);
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if x.len() != y.len() {
            return Err(error(format!("expected {} output elements, found {}", x.len(), y.len())));
        }
        let (start, join): (T, fn(T, T) -> T) = match op {
            Cumulation::Sum => (T::ZERO, T::add),
            Cumulation::Prod => (T::ONE, T::mul),
        };
        rows(args.pool(), y, n * inner, n * inner, |first, part| {
            for (y, x) in part.chunks_exact_mut(n * inner).zip(x[first * n * inner..].chunks_exact(n * inner)) {
                accumulate(y, x, inner, (exclusive, reverse), start, join);
            }
        });
        Ok(())
    })
}

/// Accumulates the rows of `x`, `inner` elements long, to those of `y`.
fn accumulate<T: Number>(
    y: &mut [T],
    x: &[T],
    inner: usize,
    (exclusive, reverse): (bool, bool),
    start: T,
    join: fn(T, T) -> T,
) {
    let n = x.len() / inner;
    for step in 0..n {
        let row = if reverse { n - 1 - step } else { step };
        let before = if reverse { row + 1 } else { row.wrapping_sub(1) };
        let added = if exclusive { before } else { row };
        for c in 0..inner {
            y[row * inner + c] = match (step, exclusive) {
                (0, true) => start,
                (0, false) => x[row * inner + c],
                _ => join(y[before * inner + c], x[added * inner + c]),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run_f32};

    #[test]
    fn accumulates_both_ways() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let sum = |shape: &[usize], attrs: [i64; 4]| run_f32(&CUMULATIVE, &[Buffer::f32(shape, &x)], &attrs, shape);
        assert_eq!(sum(&[2, 3], [0, 1, 0, 0]), [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
        assert_eq!(sum(&[2, 3], [0, 1, 1, 0]), [0.0, 1.0, 3.0, 0.0, 4.0, 9.0]);
        assert_eq!(sum(&[2, 3], [0, 1, 0, 1]), [6.0, 5.0, 3.0, 15.0, 11.0, 6.0]);
        assert_eq!(sum(&[2, 3], [0, 1, 1, 1]), [5.0, 3.0, 0.0, 11.0, 6.0, 0.0]);
        assert_eq!(sum(&[2, 3], [0, 0, 0, 0]), [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]);
        assert_eq!(sum(&[6], [1, 0, 1, 0]), [1.0, 1.0, 2.0, 6.0, 24.0, 120.0]);
        assert_eq!(sum(&[6], [1, -1, 0, 1]), [720.0, 720.0, 360.0, 120.0, 30.0, 6.0]);
    }
}
