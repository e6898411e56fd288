//! ONNX `Slice` and `Pad` by numbers that only a run knows.
//!
//! Bounds are resolved by nodes, as ONNX says: counted from the end where negative, clamped to the axis. Where axes or
//! steps are not known either, every axis is gathered at computed indices.

use super::prelude::*;
use ic_ir::ops;

/// Bounds of a slice, one element per sliced axis.
struct Bounds {
    starts: ValueId,
    ends: ValueId,
    steps: ValueId,
    /// Extents of the sliced axes.
    extents: ValueId,
}

/// `Slice`.
pub(super) fn slice(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let (starts, ends) = (cx.vector_of(node.input(1)?, "starts")?, cx.vector_of(node.input(2)?, "ends")?);
    let n = cx.length(starts, "starts")?;
    let steps = match node.opt(4) {
        Some(steps) => cx.vector_of(steps, "steps")?,
        None => cx.vector(vec![1i64; n])?,
    };
    if [ends, steps].into_iter().any(|v| cx.length(v, "ends") != Ok(n)) {
        return Err(invalid!("`starts`, `ends` and `steps` have different numbers of elements"));
    }
    let known_axes = match node.opt(3) {
        None => Some((0..n as i64).collect()),
        Some(axes) => cx.constant_ints(axes, "axes").ok(),
    };
    let Some(axes) = known_axes else {
        let bounds = on_all_axes(cx, &shape, node.input(3)?, [starts, ends, steps])?;
        let axes: Vec<usize> = (0..shape.len()).collect();
        return Ok(vec![gathered(cx, x, &axes, &bounds)?]);
    };
    if axes.len() != n {
        return Err(invalid!("`starts` and `axes` have different numbers of elements"));
    }
    let axes = axes.iter().map(|&a| cx.axis(x, a)).collect::<Result<Vec<_>>>()?;
    let extents = cx.dims(axes.iter().map(|&a| shape[a].clone()).collect())?;
    let known_steps = cx.constant_ints(steps, "steps").ok();
    let bounds = Bounds { starts, ends, steps, extents };
    let Some(steps) = known_steps else { return Ok(vec![gathered(cx, x, &axes, &bounds)?]) };
    if steps.contains(&0) {
        return Err(invalid!("a step is 0"));
    }
    let (starts, extents) = resolved(cx, &bounds)?;
    let (starts, extents) = (cx.ints(starts, "starts")?, cx.ints(extents, "ends")?);
    Ok(vec![cx.push(ops::Slice { axes, starts, extents, steps }, &[x])?])
}

/// Bounds of all axes from those of some.
fn on_all_axes(cx: &mut Context, shape: &[Dim], axes: ValueId, bounds: [ValueId; 3]) -> Result<Bounds> {
    let rank = shape.len();
    let axes = cx.vector_of(axes, "axes")?;
    let n = cx.scalar(DType::I64, rank as f64)?;
    let axes = cx.counted_from_front(axes, n)?;
    let extents = cx.dims(shape.to_vec())?;
    let (zeros, ones) = (cx.vector(vec![0i64; rank])?, cx.vector(vec![1i64; rank])?);
    let [starts, ends, steps] = bounds;
    Ok(Bounds {
        starts: cx.put(zeros, axes, starts)?,
        ends: cx.put(extents, axes, ends)?,
        steps: cx.put(ones, axes, steps)?,
        extents,
    })
}

/// The first element and the number of elements along each axis.
fn resolved(cx: &mut Context, bounds: &Bounds) -> Result<(ValueId, ValueId)> {
    let &Bounds { starts, ends, steps, extents } = bounds;
    let backwards = cx.with_scalar(ScalarOp::Lt, steps, 0.0)?;
    let last = cx.with_scalar(ScalarOp::Sub, extents, 1.0)?;
    let last = cx.select(backwards, last, extents)?;
    let clamped = |cx: &mut Context, bound, low| -> Result<ValueId> {
        let bound = cx.counted_from_front(bound, extents)?;
        let bound = cx.binary(ScalarOp::Max, bound, low)?;
        cx.binary(ScalarOp::Min, bound, last)
    };
    let zero = cx.scalar(DType::I64, 0.0)?;
    let minus_one = cx.scalar(DType::I64, -1.0)?;
    let before = cx.select(backwards, minus_one, zero)?;
    let (start, end) = (clamped(cx, starts, zero)?, clamped(cx, ends, before)?);
    let distance = cx.binary(ScalarOp::Sub, end, start)?;
    let n = cx.n_steps(distance, steps)?;
    // Of an empty axis nothing is taken, and its start is never read.
    let start = cx.binary(ScalarOp::Max, start, zero)?;
    Ok((start, n))
}

/// The slice by a gather along each axis.
fn gathered(cx: &mut Context, x: ValueId, axes: &[usize], bounds: &Bounds) -> Result<ValueId> {
    let (starts, extents) = resolved(cx, bounds)?;
    let extents = cx.ints(extents, "ends")?;
    let mut result = x;
    for (i, (&axis, extent)) in axes.iter().zip(extents).enumerate() {
        let (start, step) = (cx.element(starts, i)?, cx.element(bounds.steps, i)?);
        let position = cx.iota(extent, DType::I64)?;
        let position = cx.binary(ScalarOp::Mul, position, step)?;
        let position = cx.binary(ScalarOp::Add, position, start)?;
        result = cx.gather(result, position, axis)?;
    }
    Ok(result)
}

/// `Pad`: first what negative pads cut off, then what positive ones add.
pub(super) fn pad(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let rank = shape.len();
    let given = cx.vector_of(node.input(1)?, "pads")?;
    let n = cx.length(given, "pads")?;
    let pads = match node.opt(3) {
        None if n == 2 * rank => given,
        None => return Err(invalid!("`pads` must have {} elements, found {n}", 2 * rank)),
        Some(axes) => {
            let axes = cx.vector_of(axes, "axes")?;
            if n != 2 * cx.length(axes, "axes")? {
                return Err(invalid!("`pads` must have two elements for each of `axes`, found {n}"));
            }
            let all = cx.scalar(DType::I64, rank as f64)?;
            let axes = cx.counted_from_front(axes, all)?;
            let behind = cx.binary(ScalarOp::Add, axes, all)?;
            let places = cx.concat(&[axes, behind], 0)?;
            let zeros = cx.vector(vec![0i64; 2 * rank])?;
            cx.put(zeros, places, given)?
        }
    };
    let added = cx.with_scalar(ScalarOp::Max, pads, 0.0)?;
    let cut = cx.unary(ScalarOp::Neg, pads)?;
    let cut = cx.with_scalar(ScalarOp::Max, cut, 0.0)?;
    let half =
        |cx: &mut Context, i: usize| cx.slice(cut, 0, Dim::constant((i * rank) as i64), Dim::constant(rank as i64));
    let (front, back) = (half(cx, 0)?, half(cx, 1)?);
    let extents = cx.dims(shape)?;
    let left = cx.binary(ScalarOp::Sub, extents, back)?;
    let left = cx.binary(ScalarOp::Sub, left, front)?;
    let left = cx.with_scalar(ScalarOp::Max, left, 0.0)?;
    let (starts, extents) = (cx.ints(front, "pads")?, cx.ints(left, "pads")?);
    let cropped = ops::Slice { axes: (0..rank).collect(), starts, extents, steps: vec![1; rank] };
    let cropped = cx.push(cropped, &[x])?;
    let (mode, value) = super::slice::pad_mode(cx, node)?;
    let pads = cx.ints(added, "pads")?;
    let results = cx.push_all(ops::Pad { mode, pads }, &[Some(cropped), value])?;
    Ok(vec![results[0]])
}
