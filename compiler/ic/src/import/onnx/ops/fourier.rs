//! ONNX Fourier transforms: `DFT`, `STFT`.

use super::prelude::*;
use ic_ir::ops::{Dft, ReduceFn};

/// The only element of an integer operand.
fn number(cx: &mut Context, value: ValueId, what: &str) -> Result<Dim> {
    cx.ints(value, what)?.into_iter().next().ok_or_else(|| invalid!("`{what}` is empty"))
}

/// `DFT`. The axis is an attribute before opset 20, then an input.
pub(super) fn dft(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = match node.opt(2) {
        Some(axis) => match cx.try_ints(axis).and_then(|axis| axis.first().and_then(Dim::as_const)) {
            Some(axis) => axis,
            None => return dft_in_run(cx, node, x, axis),
        },
        None => node.int("axis").unwrap_or(if node.opset < 20 { 1 } else { -2 }),
    };
    let axis = cx.axis(x, axis)?;
    Ok(vec![transform(cx, node, x, axis)?])
}

/// The transform of `x` along a known axis.
fn transform(cx: &mut Context, node: &NodeView, x: ValueId, axis: usize) -> Result<ValueId> {
    let (inverse, onesided) = (node.flag("inverse", false), node.flag("onesided", false));
    let extent = cx.shape(x)?[axis].clone();
    let length = match node.opt(1) {
        Some(length) => number(cx, length, "dft_length")?,
        None if inverse && onesided => (extent - Dim::constant(1)) * Dim::constant(2),
        None => extent,
    };
    cx.push(Dft { axis, length, inverse, onesided }, &[x])
}

/// `DFT` along an axis that only a run knows: of the tensor seen as what is before the axis, the axis, and what is behind.
fn dft_in_run(cx: &mut Context, node: &NodeView, x: ValueId, axis: ValueId) -> Results {
    let shape = cx.shape(x)?;
    let [signal @ .., parts] = shape.as_slice() else { return Err(invalid!("`input` has no axes")) };
    let axis = cx.vector_of(axis, "axis")?;
    let axis = cx.reshape(axis, vec![])?;
    let rank = cx.scalar(DType::I64, shape.len() as f64)?;
    let axis = cx.counted_from_front(axis, rank)?;
    let extents = cx.dims(signal.to_vec())?;
    let number = cx.iota(Dim::constant(signal.len() as i64), DType::I64)?;
    let one = cx.scalar(DType::I64, 1.0)?;
    let mut sides = Vec::new();
    for relation in [ScalarOp::Lt, ScalarOp::Eq, ScalarOp::Gt] {
        let is_there = cx.binary(relation, number, axis)?;
        let there = cx.select(is_there, extents, one)?;
        sides.push(cx.reduce(ReduceFn::Prod, there, vec![0])?);
    }
    let sides = cx.concat(&sides, 0)?;
    let mut folded = cx.ints(sides, "axis")?;
    folded.push(parts.clone());
    let folded = cx.reshape(x, folded)?;
    let y = transform(cx, node, folded, 1)?;
    let transformed = cx.shape(y)?;
    let along = cx.dim_scalar(transformed[1].clone())?;
    let is_axis = cx.binary(ScalarOp::Eq, number, axis)?;
    let target = cx.select(is_axis, along, extents)?;
    let mut target = cx.ints(target, "axis")?;
    target.push(transformed[3].clone());
    Ok(vec![cx.reshape(y, target)?])
}

/// `STFT`: transforms of windows that slide over a signal `[batch, length, 1 or 2]`.
pub(super) fn stft(cx: &mut Context, node: &NodeView) -> Results {
    // PyTorch writes real signals without the axis of the parts.
    let x = if cx.rank(node.input(0)?)? == 2 { cx.unsqueeze(node.input(0)?, &[2])? } else { node.input(0)? };
    let [_, length, _] = <[Dim; 3]>::try_from(cx.shape(x)?).map_err(|_| invalid!("`signal` must have rank 3"))?;
    let step = number(cx, node.input(1)?, "frame_step")?;
    if step.as_const().is_some_and(|step| step < 1) {
        return Err(invalid!("`frame_step` must be positive, found {step}"));
    }
    let frame = match (node.opt(3), node.opt(2)) {
        (Some(frame), _) => number(cx, frame, "frame_length")?,
        (None, Some(window)) => cx.ty(window)?.elements(),
        (None, None) => length.clone(),
    };
    let n_frames = (length - frame.clone()).floor_div(&step) + Dim::constant(1);
    let (first, within) = (cx.iota(n_frames, DType::I64)?, cx.iota(frame.clone(), DType::I64)?);
    let step = cx.dim_scalar(step)?;
    let first = cx.binary(ScalarOp::Mul, first, step)?;
    let first = cx.unsqueeze(first, &[1])?;
    let positions = cx.binary(ScalarOp::Add, first, within)?;
    let mut frames = cx.gather(x, positions, 1)?;
    if let Some(window) = node.opt(2) {
        let window = cx.reshape(window, vec![frame.clone(), Dim::constant(1)])?;
        frames = cx.binary(ScalarOp::Mul, frames, window)?;
    }
    let op = Dft { axis: 2, length: frame, inverse: false, onesided: node.flag("onesided", true) };
    Ok(vec![cx.push(op, &[frames])?])
}
