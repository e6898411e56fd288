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

/// Lanes of a reduction along the innermost axis.
const LANES: usize = 16;

/// Columns that are reduced together along other axes.
const COLUMNS: usize = 256;

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
    let load = |at: usize, to: &mut [T::Sum]| to.iter_mut().zip(&x[at..]).for_each(|(to, v)| *to = v.widen());
    let highest = if dtype == DType::Bool { T::ONE } else { T::HIGHEST };
    for (b, block) in row.chunks_mut(COLUMNS).enumerate() {
        let fold = Fold { load: &load, offset: offset + b * COLUMNS, plan, limits: [T::LOWEST, highest].map(T::widen) };
        let mut sums = [T::Sum::ZERO; COLUMNS];
        let sums = &mut sums[..block.len()];
        fold.reduce(op, sums);
        block.iter_mut().zip(sums).for_each(|(to, sum)| *to = T::narrow(*sum));
    }
}

/// What is reduced to some neighbouring elements of the output. Only the loading depends on the elements' own type.
struct Fold<'a, S> {
    /// Widens neighbouring elements of the input, from a position on.
    load: &'a dyn Fn(usize, &mut [S]),
    offset: usize,
    plan: &'a Plan,
    /// Neutral to maximum and minimum.
    limits: [S; 2],
}

impl<S: Sum> Fold<'_, S> {
    fn reduce(&self, op: Reduction, sums: &mut [S]) {
        let [lowest, highest] = self.limits;
        match op {
            Reduction::Sum | Reduction::Mean | Reduction::LogSum => self.run(sums, S::ZERO, |v| v, S::add),
            Reduction::Prod => self.run(sums, S::ONE, |v| v, S::mul),
            Reduction::L1 => self.run(sums, S::ZERO, S::abs, S::add),
            Reduction::L2 | Reduction::SumSquare => self.run(sums, S::ZERO, |v| v.mul(v), S::add),
            Reduction::Max => self.run(sums, lowest, |v| v, S::larger),
            Reduction::Min => self.run(sums, highest, |v| v, S::smaller),
            Reduction::LogSumExp => self.log_sum_exp(sums),
        }
        let n = S::from_f64(self.plan.reduced.count() as f64);
        match op {
            Reduction::Mean => sums.iter_mut().for_each(|sum| *sum = sum.div(n)),
            Reduction::L2 => sums.iter_mut().for_each(|sum| *sum = sum.sqrt()),
            Reduction::LogSum => sums.iter_mut().for_each(|sum| *sum = sum.log()),
            _ => {}
        }
    }

    /// The largest element is taken out of the exponents, so that none overflows.
    fn log_sum_exp(&self, sums: &mut [S]) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let column = Fold { offset: self.offset + i, ..*self };
            let mut one = [S::ZERO];
            column.run(&mut one, self.limits[0], |v| v, S::larger);
            let base = if one[0].is_finite() { one[0] } else { S::ZERO };
            column.run(&mut one, S::ZERO, |v| v.sub(base).exp(), S::add);
            *sum = one[0].log().add(base);
        }
    }

    /// `sums[i] = join(.., map(x))` over the reduced axes; `start` is neutral.
    #[inline(always)]
    fn run(&self, sums: &mut [S], start: S, map: impl Fn(S) -> S + Copy, join: impl Fn(S, S) -> S + Copy) {
        let mut line = [S::ZERO; COLUMNS];
        if !self.plan.inner_reduced {
            sums.fill(start);
            let line = &mut line[..sums.len()];
            self.each(|offset| {
                (self.load)(offset, line);
                sums.iter_mut().zip(&*line).for_each(|(sum, &v)| *sum = join(*sum, map(v)));
            });
            return;
        }
        let run = self.plan.reduced.last().copied().unwrap_or(1);
        let mut lanes = [start; LANES];
        self.each(|offset| {
            for begin in (0..run).step_by(COLUMNS) {
                let line = &mut line[..COLUMNS.min(run - begin)];
                (self.load)(offset + begin, line);
                let mut chunks = line.chunks_exact(LANES);
                for chunk in &mut chunks {
                    lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane = join(*lane, map(v)));
                }
                lanes.iter_mut().zip(chunks.remainder()).for_each(|(lane, &v)| *lane = join(*lane, map(v)));
            }
        });
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] = join(lanes[i], lanes[i + half]);
            }
        }
        sums[0] = lanes[0];
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
