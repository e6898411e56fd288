//! ONNX `Dropout`. Inference passes everything; before opset 7, `is_test` is taken as set.

use super::prelude::*;
use super::random::{Distribution, drawn};

/// `Dropout`: outside of training its input, and a mask that keeps everything.
pub(super) fn dropout(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let training = node.opt(2);
    if training.is_some_and(|training| cx.truth(training) != Some(false)) {
        return in_training(cx, node, training);
    }
    if !node.wants(1) {
        return Ok(vec![x]);
    }
    let shape = cx.shape(x)?;
    // Before opset 10 the mask has the data's type.
    let mask = if node.opset < 10 { cx.scalar_like(x, 1.0)? } else { cx.constant(Tensor::scalar(true))? };
    Ok(vec![x, cx.expand(mask, shape)?])
}

/// Elements dropped with probability `ratio`, the others divided by `1 - ratio`, if the flag says so.
fn in_training(cx: &mut Context, node: &NodeView, training: Option<ValueId>) -> Results {
    let x = node.input(0)?;
    let ty = cx.ty(x)?;
    let wide = if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let ratio = match node.opt(1) {
        Some(ratio) => cx.cast(ratio, wide)?,
        None => cx.scalar(wide, 0.5)?,
    };
    let ratio = cx.reshape(ratio, vec![])?;
    let drawn = drawn(cx, node, Distribution::Uniform, ty.shape, ty.dtype)?;
    let is_kept = cx.binary(ScalarOp::Ge, drawn, ratio)?;
    let one = cx.scalar(wide, 1.0)?;
    let rest = cx.binary(ScalarOp::Sub, one, ratio)?;
    let wide_x = cx.cast(x, wide)?;
    let scaled = cx.binary(ScalarOp::Div, wide_x, rest)?;
    let scaled = cx.cast(scaled, ty.dtype)?;
    let zero = cx.scalar_like(x, 0.0)?;
    let mut y = cx.select(is_kept, scaled, zero)?;
    let mut mask = is_kept;
    if let Some(training) = training.filter(|&training| cx.truth(training) != Some(true)) {
        let training = cx.reshape(training, vec![])?;
        y = cx.select(training, y, x)?;
        let idle = cx.unary(ScalarOp::Not, training)?;
        mask = cx.binary(ScalarOp::Or, mask, idle)?;
    }
    Ok(vec![y, mask])
}
