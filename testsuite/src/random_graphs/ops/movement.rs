//! Ops that move elements.

use super::{ANY, Builder, DType, Rounds, all, attr, one, signed};
use ic_types::Tensor;

pub(super) fn transpose(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 0..=5, false);
    let perm = b.random.permutation(b.rank(x));
    one(b, "Transpose", &[x], vec![attr("perm", perm)], Rounds::Never)
}

/// Extents whose product is `len`.
fn factors(b: &mut Builder, mut len: usize) -> Vec<i64> {
    let mut shape = Vec::new();
    while len > 1 && shape.len() < 4 {
        let divisors: Vec<usize> = (2..=len).filter(|d| len.is_multiple_of(*d)).collect();
        let extent = b.random.pick(&divisors);
        shape.push(extent as i64);
        len /= extent;
        if b.random.below(4) == 0 {
            shape.push(1);
        }
    }
    if len != 1 || b.random.below(4) == 0 {
        shape.push(len as i64);
    }
    shape
}

pub(super) fn reshape(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 0..=5, false);
    let len = b.tensor(x).len();
    let mut shape = factors(b, len);
    if !shape.is_empty() && len > 0 && b.random.flag() {
        let at = b.random.below(shape.len());
        shape[at] = -1;
    }
    let shape = if b.random.below(8) == 0 {
        b.parameter(Tensor::from_elements(vec![shape.len()], shape))
    } else {
        b.ints(&shape)
    };
    one(b, "Reshape", &[x, shape], vec![], Rounds::Never)
}

pub(super) fn unsqueeze(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 0..=4, false);
    let rank = b.rank(x);
    let n = b.random.between(1, 2);
    let axes: Vec<usize> = b.random.permutation(rank + n).into_iter().take(n).collect();
    let axes: Vec<i64> = axes.into_iter().map(|axis| signed(b, axis, rank + n)).collect();
    let axes = b.ints(&axes);
    one(b, "Unsqueeze", &[x, axes], vec![], Rounds::Never)
}

pub(super) fn squeeze(b: &mut Builder) -> Option<()> {
    let x = b.existing(|t| t.shape().contains(&1), false)?;
    let shape = b.shape(x);
    let ones: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] == 1).collect();
    let axis = b.random.pick(&ones);
    let axis = signed(b, axis, shape.len());
    let axes = b.ints(&[axis]);
    one(b, "Squeeze", &[x, axes], vec![], Rounds::Never)
}

pub(super) fn flatten(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 0..=5, false);
    let axis = b.random.between(0, b.rank(x));
    one(b, "Flatten", &[x], vec![attr("axis", axis)], Rounds::Never)
}

pub(super) fn expand(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 0..=4, false);
    let mut shape: Vec<i64> = b.shape(x).iter().map(|&d| d as i64).collect();
    for extent in &mut shape {
        if *extent == 1 {
            *extent = b.extent() as i64;
        }
    }
    if b.random.flag() {
        shape.insert(0, b.random.between(1, 3) as i64);
    }
    let shape = b.ints(&shape);
    one(b, "Expand", &[x, shape], vec![], Rounds::Never)
}

pub(super) fn slice(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=5, false);
    let shape = b.shape(x);
    let mut axes = b.random.subset(shape.len());
    axes.truncate(2);
    let (mut starts, mut ends, mut steps) = (vec![], vec![], vec![]);
    for &axis in &axes {
        let extent = shape[axis] as i64;
        let place = |b: &mut Builder| b.random.below(2 * shape[axis] + 3) as i64 - extent - 1;
        let (first, last) = (place(b), place(b));
        starts.push(first);
        ends.push(if b.random.below(4) == 0 { i64::MAX } else { last });
        steps.push(b.random.pick(&[1, 1, 1, 2, 3, -1, -2]));
    }
    for (end, step) in ends.iter_mut().zip(&steps) {
        if *step < 0 && *end == i64::MAX {
            *end = i64::MIN;
        }
    }
    let axes: Vec<i64> = axes.into_iter().map(|axis| signed(b, axis, shape.len())).collect();
    let operands = [x, b.ints(&starts), b.ints(&ends), b.ints(&axes), b.ints(&steps)];
    one(b, "Slice", &operands, vec![], Rounds::Never)
}

pub(super) fn concat(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=5, false);
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let axis = b.random.below(shape.len());
    let n = b.random.between(1, 3);
    let mut operands = vec![x];
    for _ in 0..n {
        let fits = |t: &Tensor| {
            let others =
                |s: &[usize]| s.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| *d).collect::<Vec<_>>();
            t.dtype() == dtype && t.rank() == shape.len() && others(t.shape()) == others(&shape)
        };
        let found = if b.random.flag() { b.existing(fits, false) } else { None };
        let other = found.unwrap_or_else(|| {
            let mut shape = shape.clone();
            shape[axis] = b.extent();
            b.fresh(dtype, &shape)
        });
        operands.push(other);
    }
    let rank = shape.len();
    let axis = signed(b, axis, rank);
    one(b, "Concat", &operands, vec![attr("axis", axis)], Rounds::Never)
}

pub(super) fn split(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=5, false);
    let shape = b.shape(x);
    let axis = b.random.below(shape.len());
    let first = b.random.between(0, shape[axis]);
    let parts = b.ints(&[first as i64, (shape[axis] - first) as i64]);
    let axis = attr("axis", signed(b, axis, shape.len()));
    b.push("Split", &all(&[x, parts]), vec![axis], 2, Rounds::Never).map(|_| ())
}

pub(super) fn tile(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let repeats: Vec<i64> = (0..b.rank(x)).map(|_| b.random.pick(&[1, 1, 2, 3, 0])).collect();
    let repeats = b.ints(&repeats);
    one(b, "Tile", &[x, repeats], vec![], Rounds::Never)
}

pub(super) fn pad(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let shape = b.shape(x);
    let mode = b.random.pick(&["constant", "reflect", "edge", "wrap", "constant"]);
    if mode != "constant" && shape.contains(&0) {
        return None;
    }
    let lowest = if mode == "constant" && b.random.below(3) == 0 { -1 } else { 0 };
    let mut amount = |extent: usize| match mode {
        "constant" => b.random.between(0, 3) as i64 + lowest,
        _ => b.random.between(0, (extent.max(1) - 1).min(3)) as i64,
    };
    let pads: Vec<i64> = shape.iter().chain(&shape).map(|&extent| amount(extent)).collect();
    let pads = b.ints(&pads);
    one(b, "Pad", &[x, pads], vec![attr("mode", mode)], Rounds::Never)
}

/// A tensor of indices into an axis.
fn indices(b: &mut Builder, shape: &[usize], extent: usize) -> usize {
    let tensor = b.random.indices(shape, extent);
    b.leaf(tensor)
}

pub(super) fn gather(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let shape = b.shape(x);
    let axis = b.random.below(shape.len());
    if shape[axis] == 0 {
        return None;
    }
    let rank = b.random.between(0, 2);
    let of: Vec<usize> = (0..rank).map(|_| b.extent()).collect();
    let at = indices(b, &of, shape[axis]);
    let axis = attr("axis", signed(b, axis, shape.len()));
    one(b, "Gather", &[x, at], vec![axis], Rounds::Never)
}

pub(super) fn gather_elements(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let shape = b.shape(x);
    let axis = b.random.below(shape.len());
    if shape[axis] == 0 {
        return None;
    }
    let mut of: Vec<usize> = shape.iter().map(|&d| b.random.between(d.min(1), d)).collect();
    of[axis] = b.extent();
    let at = indices(b, &of, shape[axis]);
    let axis = attr("axis", signed(b, axis, shape.len()));
    one(b, "GatherElements", &[x, at], vec![axis], Rounds::Never)
}

pub(super) fn scatter_elements(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let axis = b.random.below(shape.len());
    let mut of = shape.clone();
    // Distinct places, so that their order does not matter.
    let mut places = b.random.permutation(shape[axis]);
    places.truncate(2);
    of[axis] = places.len();
    let after: usize = shape[axis + 1..].iter().product();
    let len: usize = of.iter().product();
    let at = (0..len).map(|i| places[i / after.max(1) % places.len().max(1)] as i64).collect();
    let at = b.leaf(Tensor::from_elements(of.clone(), at));
    let updates = b.fresh(dtype, &of);
    let reduction = if dtype == DType::Bool { "none" } else { b.random.pick(&["none", "add", "mul", "max", "min"]) };
    let axis = attr("axis", signed(b, axis, shape.len()));
    one(b, "ScatterElements", &[x, at, updates], vec![axis, attr("reduction", reduction)], Rounds::Floats)
}

/// Indices of `n` places in the first `k` axes.
fn places(b: &mut Builder, shape: &[usize], k: usize, n: usize) -> usize {
    let at = (0..n * k).map(|i| b.random.below(shape[i % k]) as i64).collect();
    b.parameter(Tensor::from_elements(vec![n, k], at))
}

pub(super) fn gather_nd(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let shape = b.shape(x);
    let k = b.random.between(1, shape.len());
    if shape[..k].contains(&0) {
        return None;
    }
    let n = b.extent();
    let at = places(b, &shape, k, n);
    one(b, "GatherND", &[x, at], vec![], Rounds::Never)
}

pub(super) fn scatter_nd(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 1..=4, false);
    let (shape, dtype) = (b.shape(x), b.dtype(x));
    let k = b.random.between(1, shape.len());
    if shape[..k].contains(&0) {
        return None;
    }
    let at = places(b, &shape, k, 1);
    let of: Vec<usize> = std::iter::once(1).chain(shape[k..].iter().copied()).collect();
    let updates = b.fresh(dtype, &of);
    one(b, "ScatterND", &[x, at, updates], vec![], Rounds::Never)
}

pub(super) fn depth_to_space(b: &mut Builder) -> Option<()> {
    let dtype = b.random.pick(ANY);
    if b.random.flag() {
        let shape = [b.random.between(1, 2), 4 * b.random.between(1, 3), b.extent(), b.extent()];
        let x = b.fresh(dtype, &shape);
        let mode = b.random.pick(&["DCR", "CRD"]);
        return one(b, "DepthToSpace", &[x], vec![attr("blocksize", 2i64), attr("mode", mode)], Rounds::Never);
    }
    let shape = [b.random.between(1, 2), b.extent(), 2 * b.random.between(1, 4), 2 * b.random.between(1, 4)];
    let x = b.fresh(dtype, &shape);
    one(b, "SpaceToDepth", &[x], vec![attr("blocksize", 2i64)], Rounds::Never)
}

pub(super) fn trilu(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 2..=4, false);
    let k = b.random.between(0, 6) as i64 - 3;
    let k = b.constant(Tensor::scalar(k));
    let upper = attr("upper", b.random.flag());
    one(b, "Trilu", &[x, k], vec![upper], Rounds::Never)
}

pub(super) fn shape_of(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 0..=5, false);
    let op = b.random.pick(&["Shape", "Size"]);
    one(b, op, &[x], vec![], Rounds::Never)
}

pub(super) fn reverse_sequence(b: &mut Builder) -> Option<()> {
    let x = b.any(ANY, 2..=4, false);
    let shape = b.shape(x);
    let (time, batch) = if b.random.flag() { (0, 1) } else { (1, 0) };
    if shape[time] == 0 {
        return None;
    }
    let lengths = (0..shape[batch]).map(|_| b.random.between(1, shape[time]) as i64).collect();
    let lengths = b.leaf(Tensor::from_elements(vec![shape[batch]], lengths));
    let axes = vec![attr("time_axis", time), attr("batch_axis", batch)];
    one(b, "ReverseSequence", &[x, lengths], axes, Rounds::Never)
}
