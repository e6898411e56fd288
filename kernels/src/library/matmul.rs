//! `matmul`: batched matrix products of element types that have no microkernel.

use super::args::{Args, MAX_RANK, Shape, error, kernels};
use super::element::{Number, by_number};
use super::split::rows;
use crate::abi::{KernelError, Operand};

kernels! {
    /// `y[.., M, N] = a[.., M, K] x b[.., K, N]`, of f64 or integers, which wrap. Leading axes broadcast; `a` and `b` take
    /// any strides. Each result is one sum over K in order.
    MATMUL = "matmul" ["a", "b"] -> ["y"] {}, matmul;
}

/// Strides of an operand on the axes of the result; 0 where it is broadcast.
fn strides_on(operand: &Operand, rank: usize) -> [isize; MAX_RANK] {
    let mut strides = [0; MAX_RANK];
    let skipped = rank - operand.shape.len();
    for (axis, (&extent, &stride)) in operand.shape.iter().zip(operand.strides).enumerate() {
        strides[skipped + axis] = if extent == 1 { 0 } else { stride as isize };
    }
    strides
}

fn matmul(args: &mut Args) -> Result<(), KernelError> {
    let (a_shape, b_shape, shape) = (args.shape(0)?, args.shape(1)?, args.output_shape(0)?);
    let rank = shape.len();
    if rank < 2 || a_shape.len() < 2 || b_shape.len() < 2 || a_shape.len() > rank || b_shape.len() > rank {
        return Err(error(format!("ranks {}, {} and {rank} do not go together", a_shape.len(), b_shape.len())));
    }
    let (n, k) = (shape[rank - 1], a_shape[a_shape.len() - 1]);
    if b_shape[b_shape.len() - 2] != k {
        return Err(error(format!("expected {k} rows of b, found {}", b_shape[b_shape.len() - 2])));
    }
    let (a_strides, b_strides) = (strides_on(args.operand(0)?, rank), strides_on(args.operand(1)?, rank));
    by_number!(args.dtype(0)?, T => {
        let ((a, a_first), (b, b_first)) = (args.strided_input::<T>(0)?, args.strided_input::<T>(1)?);
        let y = args.output::<T>()?;
        let mut leading = Shape::zeros(rank - 1);
        leading.copy_from_slice(&shape[..rank - 1]);
        rows(args.pool(), y, n, n.saturating_mul(k), |first, part| {
            for (row, y) in part.chunks_exact_mut(n).enumerate() {
                let index = leading.unravel(first + row);
                let at = |strides: &[isize], axes: usize| -> isize {
                    index.iter().zip(strides).take(axes).map(|(&i, &stride)| i as isize * stride).sum()
                };
                let a_row = Line { data: a, first: a_first as isize + at(&a_strides, rank - 1), step: a_strides[rank - 1] };
                let b_start = b_first as isize + at(&b_strides, rank - 2);
                y.fill(T::ZERO);
                for l in 0..k {
                    let first = b_start + l as isize * b_strides[rank - 2];
                    let b_row = Line { data: b, first, step: b_strides[rank - 1] };
                    add_scaled(y, a_row.at(l), b_row);
                }
            }
        });
        Ok(())
    })
}

/// Elements at equal distances.
#[derive(Clone, Copy)]
struct Line<'a, T> {
    data: &'a [T],
    first: isize,
    step: isize,
}

impl<T: Number> Line<'_, T> {
    fn at(&self, i: usize) -> T {
        self.data[(self.first + i as isize * self.step) as usize]
    }
}

/// `y += x * b`.
fn add_scaled<T: Number>(y: &mut [T], x: T, b: Line<T>) {
    if b.step == 1 {
        let first = b.first as usize;
        y.iter_mut().zip(&b.data[first..]).for_each(|(y, &b)| *y = y.add(x.mul(b)));
    } else {
        y.iter_mut().enumerate().for_each(|(j, y)| *y = y.add(x.mul(b.at(j))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};
    use ic_types::DType;

    #[test]
    fn batches_broadcast_and_views_are_read_by_strides() {
        let a: Vec<i64> = (0..12).collect();
        let b: Vec<i64> = (0..6).map(|i| i * i - 7).collect();
        // `b`, stored as [2, 3], is read as its transpose.
        let operands =
            || [Buffer::new(DType::I64, &[2, 2, 3], &a), Buffer::strided(DType::I64, &[3, 2], vec![1, 3], 0, &b)];
        let found = run(&MATMUL, &operands(), &[], vec![Buffer::out::<i64>(DType::I64, &[2, 2, 2])]).unwrap();
        let expected: Vec<i64> = (0..8).map(|i| (0..3).map(|l| a[i / 2 * 3 + l] * b[i % 2 * 3 + l]).sum()).collect();
        assert_eq!(found[0].values::<i64>(), expected);
    }

    #[test]
    fn every_type_multiplies() {
        let out = |dtype| vec![Buffer::out::<u8>(dtype, &[1, 1])];
        let bytes = [200u8, 3];
        let operands = [Buffer::new(DType::U8, &[1, 2], &bytes), Buffer::new(DType::U8, &[2, 1], &bytes)];
        // 200 * 200 + 9 keeps its low bits.
        assert_eq!(run(&MATMUL, &operands, &[], out(DType::U8)).unwrap()[0].values::<u8>(), [73]);
        let wide = [1e300f64, 1.0];
        let operands = [Buffer::new(DType::F64, &[1, 2], &wide), Buffer::new(DType::F64, &[2, 1], &[1e-300f64, -0.5])];
        let found = run(&MATMUL, &operands, &[], vec![Buffer::out::<f64>(DType::F64, &[1, 1])]).unwrap();
        assert_eq!(found[0].values::<f64>(), [0.5]);
        let wrong = [Buffer::new(DType::U8, &[1, 2], &bytes), Buffer::new(DType::U8, &[1, 2], &bytes)];
        assert!(run(&MATMUL, &wrong, &[], out(DType::U8)).is_err());
    }
}
