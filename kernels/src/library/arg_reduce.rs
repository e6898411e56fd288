//! `arg_reduce`: where along an axis the largest or smallest element is.

use super::args::{Args, error, kernels};
use super::codes::ArgReduction;
use super::element::{Number, by_number};
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `ArgMax` and `ArgMin`; `op` is an `ArgReduction`. `y` is i64.
    ARG_REDUCE = "arg_reduce" ["x"] -> ["y"] {"op", "axis", "select_last_index"}, arg_reduce;
}

/// Columns that are scanned together.
const BLOCK: usize = 64;

fn arg_reduce(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let op = ArgReduction::from_code(args.attr(0)?)?;
    let axis = args.axis(1, shape.len())?;
    let select_last = args.flag(2)?;
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let outer: usize = shape[..axis].iter().product();
    let y = args.output::<i64>()?;
    if y.len() != outer * inner {
        return Err(error(format!("expected {} output elements, found {}", outer * inner, y.len())));
    }
    if n == 0 && !y.is_empty() {
        return Err(error(format!("axis {axis} has no elements to choose from")));
    }
    by_number!(args.dtype(0)?, T => {
        let x = args.input::<T>(0)?;
        rows(args.pool(), y, inner, n * inner, |first, part| {
            for (r, row) in part.chunks_exact_mut(inner).enumerate() {
                let x = &x[(first + r) * n * inner..][..n * inner];
                match (op, select_last) {
                    (ArgReduction::Max, false) => scan(row, x, |new, old: T| is_larger(new, old)),
                    (ArgReduction::Max, true) => scan(row, x, |new, old: T| !is_larger(old, new)),
                    (ArgReduction::Min, false) => scan(row, x, |new, old: T| is_smaller(new, old)),
                    (ArgReduction::Min, true) => scan(row, x, |new, old: T| !is_smaller(old, new)),
                }
            }
        });
        Ok(())
    })
}

/// Whether `a` ranks above `b` among the largest; NaN ranks highest.
pub(crate) fn is_larger<T: Number>(a: T, b: T) -> bool {
    b.less(a) || (a.is_nan() && !b.is_nan())
}

/// Whether `a` ranks above `b` among the smallest; NaN ranks highest.
pub(crate) fn is_smaller<T: Number>(a: T, b: T) -> bool {
    a.less(b) || (a.is_nan() && !b.is_nan())
}

/// For each column of `x`, which has rows as long as `row`, the row whose element none later `replaces`.
fn scan<T: Number>(row: &mut [i64], x: &[T], replaces: impl Fn(T, T) -> bool) {
    let inner = row.len();
    for (b, block) in row.chunks_mut(BLOCK).enumerate() {
        let width = block.len();
        let mut best = [T::default(); BLOCK];
        best[..width].copy_from_slice(&x[b * BLOCK..][..width]);
        block.fill(0);
        for (k, line) in x.chunks_exact(inner).enumerate().skip(1) {
            let line = &line[b * BLOCK..][..width];
            for ((at, best), &new) in block.iter_mut().zip(&mut best).zip(line) {
                if replaces(new, *best) {
                    (*at, *best) = (k as i64, new);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run};
    use ic_types::DType;

    fn find(x: Buffer, attrs: [i64; 3], shape: &[usize]) -> Vec<i64> {
        run(&ARG_REDUCE, &[x], &attrs, vec![Buffer::out::<i64>(DType::I64, shape)]).unwrap()[0].values()
    }

    #[test]
    fn finds_the_first_and_the_last() {
        let mut random = Random(1);
        for shape in [[1, 5, 1], [3, 1, 7], [2, 19, 131], [70, 300, 3]] {
            let [outer, n, inner] = shape;
            let x: Vec<i8> = (0..outer * n * inner).map(|_| random.below(4) as i8 - 2).collect();
            for (op, last) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let found = find(Buffer::new(DType::I8, &shape, &x), [op, 1, last], &[outer, inner]);
                for (flat, &at) in found.iter().enumerate() {
                    let column: Vec<i8> = (0..n).map(|k| x[(flat / inner * n + k) * inner + flat % inner]).collect();
                    let best = if op == 0 { *column.iter().max().unwrap() } else { *column.iter().min().unwrap() };
                    let mut positions = column.iter().enumerate().filter(|&(_, &v)| v == best).map(|(k, _)| k as i64);
                    let expected = if last == 1 { positions.next_back() } else { positions.next() };
                    assert_eq!(Some(at), expected);
                }
            }
        }
    }

    #[test]
    fn nan_wins() {
        let x = [1.0, f32::NAN, 5.0, f32::NAN];
        assert_eq!(find(Buffer::f32(&[4], &x), [0, 0, 0], &[]), [1]);
        assert_eq!(find(Buffer::f32(&[4], &x), [1, -1, 0], &[]), [1]);
    }

    #[test]
    fn refuses_an_empty_axis() {
        let out = vec![Buffer::out::<i64>(DType::I64, &[2])];
        assert!(run(&ARG_REDUCE, &[Buffer::f32(&[2, 0], &[])], &[0, 1, 0], out).is_err());
    }
}
