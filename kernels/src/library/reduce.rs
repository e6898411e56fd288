//! `reduce`: every ONNX reduction, over any axes of any number type.
//!
//! Along the innermost axis a reduction has 16 lanes, element `i` of a run going to lane `i % 16`, which are joined by a
//! fixed tree; other axes are taken in order. So results have the same bits on any machine and any number of threads.
//! 16-bit floats are reduced in f32, integers in 64 bits.

use super::args::{Args, MAX_RANK, Shape, error, kernels};
use super::codes::Reduction;
use super::element::{Number, Sum, Summable, by_number};
use super::split::rows;
use crate::abi::KernelError;
use ic_types::DType;

kernels! {
    /// ONNX `Reduce*`; `op` is a `Reduction`; `y` with or without the reduced axes. No axes reduce nothing.
    REDUCE = "reduce" ["x"] -> ["y"] {"op", "axes[]"}, reduce;
}

/// Lanes of a reduction along the innermost axis, and columns that are reduced together along others.
const LANES: usize = 16;

/// The input's axes, those that are kept and those that are reduced, neighbours of a kind merged.
struct Plan {
    kept: Shape,
    kept_strides: Shape,
    reduced: Shape,
    reduced_strides: Shape,
    /// Whether the innermost axis is reduced.
    inner_reduced: bool,
}

fn plan(shape: &Shape, axes: &[i64]) -> Result<Plan, KernelError> {
    let mut is_reduced = [false; MAX_RANK];
    for &axis in axes {
        is_reduced[super::args::normalize_axis(axis, shape.len())?] = true;
    }
    let strides = shape.strides();
    let mut lists = [([0; MAX_RANK], [0; MAX_RANK], 0), ([0; MAX_RANK], [0; MAX_RANK], 0)];
    let mut previous = None;
    for axis in (0..shape.len()).filter(|&axis| shape[axis] != 1) {
        let (extents, steps, n) = &mut lists[usize::from(is_reduced[axis])];
        if previous == Some(is_reduced[axis]) {
            extents[*n - 1] *= shape[axis];
            steps[*n - 1] = strides[axis];
        } else {
            (extents[*n], steps[*n]) = (shape[axis], strides[axis]);
            *n += 1;
        }
        previous = Some(is_reduced[axis]);
    }
    let [kept, reduced] = lists;
    Ok(Plan {
        kept: Shape::new(&kept.0[..kept.2])?,
        kept_strides: Shape::new(&kept.1[..kept.2])?,
        reduced: Shape::new(&reduced.0[..reduced.2])?,
        reduced_strides: Shape::new(&reduced.1[..reduced.2])?,
        inner_reduced: previous == Some(true),
    })
}

fn reduce(args: &mut Args) -> Result<(), KernelError> {
    let op = Reduction::from_code(args.attr(0)?)?;
    let plan = plan(&args.shape(0)?, args.list(1))?;
    let dtype = args.dtype(0)?;
    by_number!(dtype, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if y.len() != plan.kept.count() {
            return Err(error(format!("expected {} output elements, found {}", plan.kept.count(), y.len())));
        }
        let width = if plan.inner_reduced { 1 } else { plan.kept.last().copied().unwrap_or(1) };
        let cost = plan.reduced.count().max(1) * width;
        rows(args.pool(), y, width, cost, |first, part| {
            let mut at = plan.kept.unravel(first * width);
            for row in part.chunks_exact_mut(width) {
                let offset: usize = at.iter().zip(plan.kept_strides.iter()).map(|(i, stride)| i * stride).sum();
                reduce_row(op, x, offset, row, &plan, dtype);
                if let Some(last) = at.len().checked_sub(1) {
                    at[last] += width - 1;
                    plan.kept.advance(&mut at);
                }
            }
        });
        Ok(())
    })
}

/// Reduces to `row`: one element, or neighbouring ones where the innermost axis is kept.
fn reduce_row<T: Summable>(op: Reduction, x: &[T], offset: usize, row: &mut [T], plan: &Plan, dtype: DType) {
    let zero = T::Sum::ZERO;
    let fold = Fold { x, offset, plan };
    let n = T::Sum::from_f64(plan.reduced.count() as f64);
    match op {
        Reduction::Sum => fold.run(row, zero, |v| v, T::Sum::add, |v| v),
        Reduction::Mean => fold.run(row, zero, |v| v, T::Sum::add, |v| v.div(n)),
        Reduction::Prod => fold.run(row, T::Sum::ONE, |v| v, T::Sum::mul, |v| v),
        Reduction::L1 => fold.run(row, zero, T::Sum::abs, T::Sum::add, |v| v),
        Reduction::L2 => fold.run(row, zero, |v| v.mul(v), T::Sum::add, T::Sum::sqrt),
        Reduction::SumSquare => fold.run(row, zero, |v| v.mul(v), T::Sum::add, |v| v),
        Reduction::LogSum => fold.run(row, zero, |v| v, T::Sum::add, T::Sum::log),
        Reduction::Max => fold.run(row, T::LOWEST.widen(), |v| v, T::Sum::larger, |v| v),
        Reduction::Min if dtype == DType::Bool => fold.run(row, T::Sum::ONE, |v| v, T::Sum::smaller, |v| v),
        Reduction::Min => fold.run(row, T::HIGHEST.widen(), |v| v, T::Sum::smaller, |v| v),
        Reduction::LogSumExp => {
            for (i, to) in row.iter_mut().enumerate() {
                let fold = Fold { x, offset: offset + i, plan };
                let mut largest = T::Sum::LOWEST;
                fold.one(&mut largest, |v| v, T::Sum::larger);
                let base = if largest.is_finite() { largest } else { zero };
                let mut sum = zero;
                fold.one(&mut sum, |v| v.sub(base).exp(), T::Sum::add);
                *to = T::narrow(sum.log().add(base));
            }
        }
    }
}

/// What is reduced to one row of the output.
struct Fold<'a, T> {
    x: &'a [T],
    offset: usize,
    plan: &'a Plan,
}

impl<T: Summable> Fold<'_, T> {
    /// `row[i] = last(join(.., map(x)))` over the reduced axes.
    #[inline(always)]
    fn run(
        &self,
        row: &mut [T],
        start: T::Sum,
        map: impl Fn(T::Sum) -> T::Sum + Copy,
        join: impl Fn(T::Sum, T::Sum) -> T::Sum + Copy,
        last: impl Fn(T::Sum) -> T::Sum,
    ) {
        if self.plan.inner_reduced {
            let mut sum = start;
            self.one(&mut sum, map, join);
            row[0] = T::narrow(last(sum));
            return;
        }
        for (b, block) in row.chunks_mut(LANES).enumerate() {
            let mut sums = [start; LANES];
            self.each(|offset| {
                let line = &self.x[offset + b * LANES..];
                for (sum, &v) in sums.iter_mut().zip(&line[..block.len()]) {
                    *sum = join(*sum, map(v.widen()));
                }
            });
            for (to, sum) in block.iter_mut().zip(sums) {
                *to = T::narrow(last(sum));
            }
        }
    }

    /// Joins all reduced elements of the first column to `sum`, which is neutral.
    #[inline(always)]
    fn one(
        &self,
        sum: &mut T::Sum,
        map: impl Fn(T::Sum) -> T::Sum + Copy,
        join: impl Fn(T::Sum, T::Sum) -> T::Sum + Copy,
    ) {
        if !self.plan.inner_reduced {
            self.each(|offset| *sum = join(*sum, map(self.x[offset].widen())));
            return;
        }
        let run = self.plan.reduced.last().copied().unwrap_or(1);
        let mut lanes = [*sum; LANES];
        self.each(|offset| {
            let mut chunks = self.x[offset..offset + run].chunks_exact(LANES);
            for chunk in &mut chunks {
                for (lane, &v) in lanes.iter_mut().zip(chunk) {
                    *lane = join(*lane, map(v.widen()));
                }
            }
            for (lane, &v) in lanes.iter_mut().zip(chunks.remainder()) {
                *lane = join(*lane, map(v.widen()));
            }
        });
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] = join(lanes[i], lanes[i + half]);
            }
        }
        *sum = lanes[0];
    }

    /// Calls `body` with the offset of each position of the reduced axes, but once for a whole innermost run.
    #[inline(always)]
    fn each(&self, mut body: impl FnMut(usize)) {
        let outer = self.plan.reduced.len() - usize::from(self.plan.inner_reduced);
        let mut shape = Shape::zeros(outer);
        shape.copy_from_slice(&self.plan.reduced[..outer]);
        if self.plan.reduced.count() == 0 {
            return;
        }
        let mut at = Shape::zeros(outer);
        for _ in 0..shape.count() {
            body(self.offset + at.iter().zip(self.plan.reduced_strides.iter()).map(|(i, s)| i * s).sum::<usize>());
            shape.advance(&mut at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, assert_close, run, run_f32};

    fn naive(op: Reduction, x: &[f64]) -> f64 {
        let sum = |f: &dyn Fn(f64) -> f64| x.iter().map(|&v| f(v)).sum::<f64>();
        match op {
            Reduction::Sum => sum(&|v| v),
            Reduction::Mean => sum(&|v| v) / x.len() as f64,
            Reduction::Prod => x.iter().product(),
            Reduction::Max => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => x.iter().copied().fold(f64::INFINITY, f64::min),
            Reduction::L1 => sum(&f64::abs),
            Reduction::L2 => sum(&|v| v * v).sqrt(),
            Reduction::SumSquare => sum(&|v| v * v),
            Reduction::LogSum => sum(&|v| v).ln(),
            Reduction::LogSumExp => sum(&f64::exp).ln(),
        }
    }

    #[test]
    fn reduces_any_axes() {
        let mut random = Random(1);
        for trial in 0..60 {
            let shape = if trial == 0 { vec![130, 7, 53] } else { random.shape(3) };
            let x: Vec<f32> = random.f32s(shape.iter().product()).iter().map(|v| v + 1.5).collect();
            let mask = trial % 8;
            let axes: Vec<i64> = (0..3).filter(|a| mask >> a & 1 == 1).map(|a| if a == 2 { -1 } else { a }).collect();
            let reduced = |a: usize| mask >> a & 1 == 1;
            let to: Vec<usize> = (0..3).map(|a| if reduced(a) { 1 } else { shape[a] }).collect();
            let mut groups = vec![Vec::new(); to.iter().product()];
            for (flat, &v) in x.iter().enumerate() {
                let at = [flat / shape[2] / shape[1], flat / shape[2] % shape[1], flat % shape[2]];
                let group = (0..3).fold(0, |g, a| g * to[a] + if reduced(a) { 0 } else { at[a] });
                groups[group].push(f64::from(v));
            }
            for &op in Reduction::ALL {
                let attrs: Vec<i64> = [op.code()].into_iter().chain(axes.iter().copied()).collect();
                let found = run_f32(&REDUCE, &[Buffer::f32(&shape, &x)], &attrs, &to);
                let expected: Vec<f32> = groups.iter().map(|group| naive(op, group) as f32).collect();
                if expected.iter().all(|v| v.is_finite()) {
                    assert_close(&found, &expected, 2e-5);
                }
            }
        }
    }

    #[test]
    fn reduces_nothing_to_the_neutral_element() {
        let of = |op: Reduction| run_f32(&REDUCE, &[Buffer::f32(&[2, 0], &[])], &[op.code(), 1], &[2])[0];
        assert_eq!(of(Reduction::Sum), 0.0);
        assert_eq!(of(Reduction::Prod), 1.0);
        assert_eq!(of(Reduction::Max), f32::NEG_INFINITY);
        assert_eq!(of(Reduction::LogSum), f32::NEG_INFINITY);
        assert_eq!(of(Reduction::LogSumExp), f32::NEG_INFINITY);
        assert!(of(Reduction::Mean).is_nan());
    }

    #[test]
    fn reduces_integers_and_half_floats() {
        let out = |dtype| vec![Buffer::out::<u8>(dtype, &[])];
        let bools = Buffer::new(DType::Bool, &[0], &[0u8; 0]);
        let found = run(&REDUCE, &[bools], &[Reduction::Min.code(), 0], out(DType::Bool)).unwrap();
        assert_eq!(found[0].values::<u8>(), [1]);
        let bytes = Buffer::new(DType::U8, &[3], &[200u8, 100, 3]);
        let found = run(&REDUCE, &[bytes], &[Reduction::Mean.code(), 0], out(DType::U8)).unwrap();
        assert_eq!(found[0].values::<u8>(), [101]);
        let ones = Buffer::new(DType::F16, &[4096], &[0x3c00u16; 4096]);
        let found = run(&REDUCE, &[ones], &[Reduction::Sum.code(), 0], vec![Buffer::out::<u16>(DType::F16, &[])]);
        assert_eq!(found.unwrap()[0].values::<u16>(), [0x6c00]);
    }

    #[test]
    fn keeps_nan() {
        let x = [1.0, f32::NAN, 0.0];
        for op in [Reduction::Max, Reduction::Min, Reduction::Sum, Reduction::LogSumExp] {
            assert!(run_f32(&REDUCE, &[Buffer::f32(&[3], &x)], &[op.code(), 0], &[])[0].is_nan());
        }
    }
}
