//! ONNX Fourier transforms: `DFT`, `STFT`.

use super::prelude::*;
use ic_ir::ops::Dft;

/// The only element of an integer operand.
fn number(cx: &mut Context, value: ValueId, what: &str) -> Result<Dim> {
    cx.ints(value, what)?.into_iter().next().ok_or_else(|| invalid!("`{what}` is empty"))
}

/// `DFT`. The axis is an attribute before opset 20, then an input.
pub(super) fn dft(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = match node.opt(2) {
        Some(axis) => number(cx, axis, "axis")?.as_const().ok_or_else(|| invalid!("`axis` is not a constant"))?,
        None => node.int("axis").unwrap_or(if node.opset < 20 { 1 } else { -2 }),
    };
    let axis = cx.axis(x, axis)?;
    let (inverse, onesided) = (node.flag("inverse", false), node.flag("onesided", false));
    let extent = cx.shape(x)?[axis].clone();
    let length = match node.opt(1) {
        Some(length) => number(cx, length, "dft_length")?,
        None if inverse && onesided => (extent - Dim::constant(1)) * Dim::constant(2),
        None => extent,
    };
    Ok(vec![cx.push(Dft { axis, length, inverse, onesided }, &[x])?])
}

/// `STFT`: transforms of windows that slide over a signal `[batch, length, 1 or 2]`.
pub(super) fn stft(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
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
