//! ONNX `Dropout`. Inference passes everything; before opset 7, `is_test` is taken as set.

use super::prelude::*;

/// `Dropout` at inference: its input, and a mask that keeps everything.
pub(super) fn dropout(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let training = match node.opt(2) {
        Some(flag) => cx.truth(flag).ok_or_else(|| unsupported!("`training_mode` is computed from data"))?,
        None => false,
    };
    let ratio = match node.opt(1) {
        Some(ratio) => cx.floats(ratio, "ratio")?.first().copied().unwrap_or(0.5),
        None => node.float("ratio").unwrap_or(0.5),
    };
    if training && ratio != 0.0 {
        return Err(unsupported!("dropout in training mode is random"));
    }
    if !node.wants(1) {
        return Ok(vec![x]);
    }
    let shape = cx.shape(x)?;
    // Before opset 10 the mask has the data's type.
    let mask = if node.opset < 10 { cx.scalar_like(x, 1.0)? } else { cx.constant(Tensor::scalar(true))? };
    Ok(vec![x, cx.expand(mask, shape)?])
}
