//! `non_zero`, `compress` and `unique`: kernels whose output's extent depends on the data.
//!
//! An output has room for the most there can be. What is found is written densely from its start, as a tensor with the
//! extent `count` where the room is wider; `count` is the last output, one i64.

use super::args::{Args, Shape, error, kernels};
use super::element::{Number, by_number, by_width};
use crate::abi::{KernelError, Operand};
use std::cmp::Ordering;

kernels! {
    /// ONNX `NonZero`. `y` has room for [rank, elements of x]; it is written densely as [rank, count].
    NON_ZERO = "non_zero" ["x"] -> ["y", "count"] {}, non_zero;
    /// ONNX `Compress` along `axis`, or of the flattened input if `flatten`. `y` has room for all; it is written densely
    /// with the extent `count` on the axis.
    COMPRESS = "compress" ["x", "condition"] -> ["y", "count"] {"flatten", "axis"}, compress;
    /// ONNX `Unique` of the flattened input if `flatten`, else of slices along `axis`. `y`, `indices` and `counts` have
    /// room for all and are written densely with the extent `count`. Outputs but `count` may be absent.
    UNIQUE = "unique" ["x"] -> ["y", "indices", "inverse_indices", "counts", "count"] {"flatten", "axis", "sorted"}, unique,
        scratch = |operands: &[Operand], _: &[i64], _: usize| {
            operands.first().map_or(0, |x| x.len().saturating_mul(3 * size_of::<i64>()))
        };
}

/// Writes the output `count`.
pub(crate) fn set_count(args: &mut Args, count: usize) -> Result<(), KernelError> {
    let output = args.output::<i64>()?;
    let [to] = output else { return Err(error(format!("expected one count, found room for {}", output.len()))) };
    *to = count as i64;
    Ok(())
}

fn non_zero(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let y = args.output::<i64>()?;
    let count = by_number!(args.dtype(0)?, T => {
        let x = args.input::<T>(0)?;
        let is_set = |v: &&T| **v != T::ZERO;
        let count = x.iter().filter(is_set).count();
        // A scalar counts as a vector of one element.
        let rank = shape.len().max(1);
        if y.len() < rank * count {
            return Err(error(format!("expected room for {} indices, found {}", rank * count, y.len())));
        }
        let mut at = Shape::zeros(shape.len());
        let mut found = 0;
        for v in x {
            if is_set(&v) {
                y[found] = 0;
                for (axis, &i) in at.iter().enumerate() {
                    y[axis * count + found] = i as i64;
                }
                found += 1;
            }
            shape.advance(&mut at);
        }
        Ok(count)
    })?;
    set_count(args, count)
}

/// The number of slices along the axis, and the elements before and after it.
fn slices(args: &Args) -> Result<(usize, usize, usize), KernelError> {
    let shape = args.shape(0)?;
    if args.flag(0)? {
        return Ok((shape.count(), 1, 1));
    }
    let axis = args.axis(1, shape.len())?;
    Ok((shape[axis], shape[..axis].iter().product(), shape[axis + 1..].iter().product()))
}

fn compress(args: &mut Args) -> Result<(), KernelError> {
    let (n, outer, inner) = slices(args)?;
    let condition = args.input::<u8>(1)?;
    if condition.len() > n {
        return Err(error(format!("expected at most {n} conditions, found {}", condition.len())));
    }
    let count = condition.iter().filter(|&&keep| keep != 0).count();
    by_width!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if y.len() < outer * count * inner {
            return Err(error(format!("expected room for {} elements, found {}", outer * count * inner, y.len())));
        }
        let kept = (0..outer).flat_map(|o| (0..condition.len()).filter(|&i| condition[i] != 0).map(move |i| o * n + i));
        for (to, from) in kept.enumerate() {
            y[to * inner..(to + 1) * inner].copy_from_slice(&x[from * inner..(from + 1) * inner]);
        }
        Ok(())
    })?;
    set_count(args, count)
}

/// Slices along an axis, ordered element by element.
struct Slices<'a, T> {
    x: &'a [T],
    n: usize,
    outer: usize,
    inner: usize,
}

impl<T: Number> Slices<'_, T> {
    fn elements(&self, slice: i64) -> impl Iterator<Item = T> {
        let (n, inner, slice) = (self.n, self.inner, slice as usize);
        (0..self.outer).flat_map(move |o| self.x[(o * n + slice) * inner..][..inner].iter().copied())
    }

    fn compare(&self, a: i64, b: i64) -> Ordering {
        let differ = |(a, b): (T, T)| match (a.less(b), b.less(a)) {
            (true, _) => Some(Ordering::Less),
            (_, true) => Some(Ordering::Greater),
            // NaN comes last, and all are equal.
            _ => Some(a.is_nan().cmp(&b.is_nan())).filter(|order| order.is_ne()),
        };
        self.elements(a).zip(self.elements(b)).find_map(differ).unwrap_or(Ordering::Equal)
    }
}

fn unique(args: &mut Args) -> Result<(), KernelError> {
    let (n, outer, inner) = slices(args)?;
    let sorted = args.flag(2)?;
    if n > args.shape(0)?.count() {
        // The slices are empty: all are equal, and there is no scratch memory to sort them in.
        return Err(error("not supported: unique slices without elements"));
    }
    // SAFETY: `scratch` asked for three numbers per element; this is the only use.
    let (order, rest) = unsafe { args.scratch::<i64>(3 * n) }.split_at_mut(n);
    let (groups, ranks) = rest.split_at_mut(n);
    order.iter_mut().enumerate().for_each(|(i, at)| *at = i as i64);
    let count = by_number!(args.dtype(0)?, T => {
        let slices = Slices { x: args.input::<T>(0)?, n, outer, inner };
        order.sort_unstable_by(|&a, &b| slices.compare(a, b).then(a.cmp(&b)));
        // `ranks[i]` is the group of slice `i`, and `groups[g]` the first slice of group `g`.
        let mut count = 0;
        for i in 0..n {
            if i == 0 || slices.compare(order[i - 1], order[i]).is_ne() {
                groups[count] = order[i];
                count += 1;
            }
            ranks[order[i] as usize] = count as i64 - 1;
        }
        if !sorted {
            by_first(&mut groups[..count], ranks, order);
        }
        if let Some(y) = args.optional_output::<T>()? {
            if y.len() < outer * count * inner {
                return Err(error(format!("expected room for {} elements, found {}", outer * count * inner, y.len())));
            }
            let kept = (0..outer).flat_map(|o| groups[..count].iter().map(move |&slice| o * n + slice as usize));
            for (to, from) in kept.enumerate() {
                y[to * inner..(to + 1) * inner].copy_from_slice(&slices.x[from * inner..(from + 1) * inner]);
            }
        }
        Ok(count)
    })?;
    let too_small = || error(format!("expected room for {count} indices and {n} inverse indices"));
    if let Some(indices) = args.optional_output::<i64>()? {
        indices.get_mut(..count).ok_or_else(too_small)?.copy_from_slice(&groups[..count]);
    }
    if let Some(inverse) = args.optional_output::<i64>()? {
        inverse.get_mut(..n).ok_or_else(too_small)?.copy_from_slice(ranks);
    }
    if let Some(counts) = args.optional_output::<i64>()? {
        let counts = counts.get_mut(..count).ok_or_else(too_small)?;
        counts.fill(0);
        ranks.iter().for_each(|&group| counts[group as usize] += 1);
    }
    set_count(args, count)
}

/// Renumbers groups by their first slice. `space` has room for as many numbers as there are groups.
fn by_first(groups: &mut [i64], ranks: &mut [i64], space: &mut [i64]) {
    groups.sort_unstable();
    // The first slice of each group has its old number.
    for (new, &first) in groups.iter().enumerate() {
        space[ranks[first as usize] as usize] = new as i64;
    }
    ranks.iter_mut().for_each(|rank| *rank = space[*rank as usize]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};
    use ic_types::DType;

    fn count() -> Buffer {
        Buffer::out::<i64>(DType::I64, &[1])
    }

    #[test]
    fn finds_what_is_not_zero() {
        let x = Buffer::f32(&[2, 3], &[0.0, 1.0, -0.0, f32::NAN, 0.0, 2.0]);
        let found = run(&NON_ZERO, &[x], &[], vec![Buffer::out::<i64>(DType::I64, &[2, 6]), count()]).unwrap();
        assert_eq!(found[1].values::<i64>(), [3]);
        assert_eq!(found[0].values::<i64>()[..6], [0, 1, 1, 1, 0, 2]);
        let scalar = Buffer::new(DType::Bool, &[], &[1u8]);
        let found = run(&NON_ZERO, &[scalar], &[], vec![Buffer::out::<i64>(DType::I64, &[1, 1]), count()]).unwrap();
        assert_eq!((found[0].values::<i64>(), found[1].values::<i64>()), (vec![0], vec![1]));
    }

    #[test]
    fn compresses() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let of = |condition: &[u8], attrs: [i64; 2]| {
            let inputs = [Buffer::f32(&[3, 2], &x), Buffer::new(DType::Bool, &[condition.len()], condition)];
            let found = run(&COMPRESS, &inputs, &attrs, vec![Buffer::out::<f32>(DType::F32, &[6]), count()])?;
            Ok::<_, KernelError>((found[0].values::<f32>(), found[1].values::<i64>()[0]))
        };
        let (y, n) = of(&[0, 1, 1], [0, 0]).unwrap();
        assert_eq!((&y[..4], n), (&[3.0, 4.0, 5.0, 6.0][..], 2));
        let (y, n) = of(&[0, 1], [0, -1]).unwrap();
        assert_eq!((&y[..3], n), (&[2.0, 4.0, 6.0][..], 1));
        let (y, n) = of(&[0, 1, 0, 0, 1], [1, 0]).unwrap();
        assert_eq!((&y[..2], n), (&[2.0, 5.0][..], 2));
        assert!(of(&[0, 1, 1, 1], [0, 0]).is_err());
    }

    fn uniques(x: Buffer, room: &[usize], attrs: [i64; 3]) -> (Vec<f32>, [Vec<i64>; 3]) {
        let indices = || Buffer::out::<i64>(DType::I64, &[room[0]]);
        let outputs = vec![Buffer::out::<f32>(DType::F32, room), indices(), indices(), indices(), count()];
        let found = run(&UNIQUE, &[x], &attrs, outputs).unwrap();
        let n = found[4].values::<i64>()[0] as usize;
        let inner: usize = room[1..].iter().product();
        let first = |i: usize| found[i].values::<i64>()[..n].to_vec();
        (found[0].values::<f32>()[..n * inner].to_vec(), [first(1), found[2].values::<i64>(), first(3)])
    }

    #[test]
    fn finds_unique_elements() {
        let x = || Buffer::f32(&[6], &[2.0, 1.0, 1.0, 3.0, 4.0, 3.0]);
        let (y, rest) = uniques(x(), &[6], [1, 0, 1]);
        assert_eq!(y, [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(rest, [vec![1, 0, 3, 4], vec![1, 0, 0, 2, 3, 2], vec![2, 1, 2, 1]]);
        let (y, rest) = uniques(x(), &[6], [1, 0, 0]);
        assert_eq!(y, [2.0, 1.0, 3.0, 4.0]);
        assert_eq!(rest, [vec![0, 1, 3, 4], vec![0, 1, 1, 2, 3, 2], vec![1, 2, 2, 1]]);
    }

    #[test]
    fn finds_unique_slices() {
        let x = Buffer::f32(&[3, 3], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 3.0, 4.0]);
        let (y, rest) = uniques(x, &[3, 3], [0, 0, 1]);
        assert_eq!(y, [1.0, 0.0, 0.0, 2.0, 3.0, 4.0]);
        assert_eq!(rest, [vec![0, 2], vec![0, 0, 1], vec![2, 1]]);
        let x = Buffer::f32(&[2, 4], &[5.0, 3.0, 5.0, 3.0, 1.0, 2.0, 1.0, 0.0]);
        let outputs = vec![
            Buffer::out::<f32>(DType::F32, &[2, 4]),
            Buffer::absent(),
            Buffer::absent(),
            Buffer::absent(),
            count(),
        ];
        let found = run(&UNIQUE, &[x], &[0, 1, 1], outputs).unwrap();
        assert_eq!(found[4].values::<i64>(), [3]);
        assert_eq!(found[0].values::<f32>()[..6], [3.0, 3.0, 5.0, 0.0, 2.0, 1.0]);
    }
}
