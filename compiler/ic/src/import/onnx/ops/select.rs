//! ONNX ops that find how many elements they return: `NonZero`, `NonMaxSuppression`.

use super::prelude::*;
use ic_ir::F32;
use ic_ir::ops::{NonMaxSuppression, NonZero};

/// A symbol for the number of elements that the current node finds.
pub(super) fn count(cx: &mut Context, node: &NodeView) -> Dim {
    let name = node.proto.output.first().map_or("", String::as_str);
    cx.symbols.fresh(&format!("{name}_count"))
}

/// `NonZero`.
pub(super) fn non_zero(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    // A scalar has one element and no coordinates; ONNX counts one axis.
    let x = if cx.rank(x)? == 0 { cx.unsqueeze(x, &[0])? } else { x };
    let count = count(cx, node);
    Ok(vec![cx.push(NonZero { count }, &[x])?])
}

/// `NonMaxSuppression`.
pub(super) fn non_max_suppression(cx: &mut Context, node: &NodeView) -> Results {
    let max_per_class = match node.opt(2) {
        Some(max) => cx.constant_ints(max, "max_output_boxes_per_class")?.first().copied().unwrap_or(0),
        None => 0,
    };
    let mut threshold = |index: usize, name: &str, default: f32| -> Result<F32> {
        let Some(value) = node.opt(index) else { return Ok(F32(default)) };
        Ok(F32(cx.floats(value, name)?.first().copied().unwrap_or(default)))
    };
    let iou_threshold = threshold(3, "iou_threshold", 0.0)?;
    let score_threshold = threshold(4, "score_threshold", f32::NEG_INFINITY)?;
    let center_point_box = node.flag("center_point_box", false);
    let count = count(cx, node);
    let op = NonMaxSuppression { count, max_per_class, iou_threshold, score_threshold, center_point_box };
    Ok(vec![cx.push(op, &[node.input(0)?, node.input(1)?])?])
}
