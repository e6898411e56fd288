//! `top_k`: the largest or smallest elements along an axis, in order, with their indices.
//!
//! The output itself holds a heap whose root is the worst element kept: no scratch memory, whatever k is.

use super::arg_reduce::{is_larger, is_smaller};
use super::args::{Args, error, kernels};
use super::element::{Number, by_number};
use super::split::rows2;
use crate::abi::KernelError;

kernels! {
    /// ONNX `TopK`: k is the extent of the outputs. Equal elements come in the order of their indices.
    TOP_K = "top_k" ["x"] -> ["values", "indices"] {"axis", "largest", "sorted"}, top_k;
}

fn top_k(args: &mut Args) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let axis = args.axis(0, shape.len())?;
    let largest = args.flag(1)?;
    let (n, k) = (shape[axis], to.get(axis).copied().unwrap_or(0));
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    if k > n {
        return Err(error(format!("expected at least {k} elements on axis {axis}, found {n}")));
    }
    by_number!(args.dtype(0)?, T => {
        let (x, values, indices) = (args.input::<T>(0)?, args.output::<T>()?, args.output::<i64>()?);
        if values.len() != outer * k * inner || indices.len() != values.len() {
            return Err(error(format!("expected two outputs of {} elements", outer * k * inner)));
        }
        let row = k * inner;
        rows2(args.pool(), (values, row), (indices, row), n * inner * 4, |first, values, indices| {
            for (r, (values, indices)) in values.chunks_exact_mut(row).zip(indices.chunks_exact_mut(row)).enumerate() {
                let x = &x[(first + r) * n * inner..][..n * inner];
                for column in 0..inner {
                    let lane = Lane { x, inner, column, indices, k };
                    if largest { lane.select(n, values, is_larger) } else { lane.select(n, values, is_smaller) }
                }
            }
        });
        Ok(())
    })
}

/// One column of the input and of the indices.
struct Lane<'a, T> {
    x: &'a [T],
    inner: usize,
    column: usize,
    indices: &'a mut [i64],
    k: usize,
}

impl<T: Number> Lane<'_, T> {
    fn value(&self, index: i64) -> T {
        self.x[index as usize * self.inner + self.column]
    }

    fn slot(&self, i: usize) -> i64 {
        self.indices[i * self.inner + self.column]
    }

    fn set(&mut self, i: usize, index: i64) {
        self.indices[i * self.inner + self.column] = index;
    }

    /// Writes the first `k` of `n` elements in the order of `ranks`, then of indices.
    fn select(mut self, n: usize, values: &mut [T], ranks: impl Fn(T, T) -> bool) {
        let above = |lane: &Self, a: i64, b: i64| {
            let (x, y) = (lane.value(a), lane.value(b));
            ranks(x, y) || (a < b && !ranks(y, x))
        };
        for i in 0..self.k {
            self.set(i, i as i64);
        }
        for i in (0..self.k / 2).rev() {
            self.sift(i, self.k, &above);
        }
        for index in self.k as i64..n as i64 {
            if above(&self, index, self.slot(0)) {
                self.set(0, index);
                self.sift(0, self.k, &above);
            }
        }
        for end in (1..self.k).rev() {
            let (worst, last) = (self.slot(0), self.slot(end));
            self.set(0, last);
            self.set(end, worst);
            self.sift(0, end, &above);
        }
        for i in 0..self.k {
            values[i * self.inner + self.column] = self.value(self.slot(i));
        }
    }

    /// Moves the element at `i` down the heap of `len` elements until none below it is worse.
    fn sift(&mut self, mut i: usize, len: usize, above: &impl Fn(&Self, i64, i64) -> bool) {
        loop {
            let mut worst = i;
            for child in [2 * i + 1, 2 * i + 2] {
                if child < len && above(self, self.slot(worst), self.slot(child)) {
                    worst = child;
                }
            }
            if worst == i {
                return;
            }
            let (a, b) = (self.slot(i), self.slot(worst));
            self.set(i, b);
            self.set(worst, a);
            i = worst;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run};
    use ic_types::DType;

    #[test]
    fn selects_in_order() {
        let mut random = Random(1);
        for (outer, n, inner, k) in [(1, 5, 1, 5), (3, 17, 7, 4), (2, 1, 3, 1), (4, 100, 1, 0), (50, 211, 2, 13)] {
            let x: Vec<i16> = (0..outer * n * inner).map(|_| random.below(23) as i16 - 11).collect();
            for largest in [0, 1] {
                let shape = [outer, k, inner];
                let out = vec![Buffer::out::<i16>(DType::I16, &shape), Buffer::out::<i64>(DType::I64, &shape)];
                let input = Buffer::new(DType::I16, &[outer, n, inner], &x);
                let found = run(&TOP_K, &[input], &[1, largest, 1], out).unwrap();
                let (values, indices) = (found[0].values::<i16>(), found[1].values::<i64>());
                for o in 0..outer {
                    for c in 0..inner {
                        let at = |i: usize| x[(o * n + i) * inner + c];
                        let mut order: Vec<usize> = (0..n).collect();
                        order.sort_by_key(|&i| if largest == 1 { -at(i) } else { at(i) });
                        for (j, &i) in order[..k].iter().enumerate() {
                            let flat = (o * k + j) * inner + c;
                            assert_eq!((values[flat], indices[flat]), (at(i), i as i64));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn refuses_more_than_there_are() {
        let out = vec![Buffer::out::<f32>(DType::F32, &[3]), Buffer::out::<i64>(DType::I64, &[3])];
        assert!(run(&TOP_K, &[Buffer::f32(&[2], &[0.0; 2])], &[0, 1, 1], out).is_err());
    }
}
