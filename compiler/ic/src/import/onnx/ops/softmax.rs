//! ONNX `Softmax` and `LogSoftmax`.

use super::prelude::*;
use ic_ir::ops::{ReduceFn, Softmax};

/// Applies `function` along the node's axis. Before opset 13 the input counts as a matrix, cut at that axis.
pub(super) fn along_axis(
    cx: &mut Context,
    node: &NodeView,
    function: impl Fn(&mut Context, ValueId, usize) -> Result<ValueId>,
) -> Results {
    let x = node.input(0)?;
    let default = if node.opset < 13 { 1 } else { -1 };
    let shape = cx.shape(x)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(default))?;
    if node.opset >= 13 || axis + 1 == shape.len() {
        return Ok(vec![function(cx, x, axis)?]);
    }
    let (outer, inner) = shape.split_at(axis);
    let matrix = vec![outer.iter().cloned().product(), inner.iter().cloned().product()];
    let matrix = cx.reshape(x, matrix)?;
    let result = function(cx, matrix, 1)?;
    Ok(vec![cx.reshape(result, shape)?])
}

/// `Softmax`.
pub(super) fn softmax(cx: &mut Context, node: &NodeView) -> Results {
    along_axis(cx, node, |cx, x, axis| cx.push(Softmax { axis: axis as i64 }, &[x]))
}

/// `LogSoftmax`.
pub(super) fn log_softmax(cx: &mut Context, node: &NodeView) -> Results {
    along_axis(cx, node, log_softmax_of)
}

/// `x - max - log(sum(exp(x - max)))` along an axis.
pub(super) fn log_softmax_of(cx: &mut Context, x: ValueId, axis: usize) -> Result<ValueId> {
    let max = cx.reduce(ReduceFn::Max, x, vec![axis])?;
    let shifted = cx.binary(ScalarOp::Sub, x, max)?;
    let exp = cx.unary(ScalarOp::Exp, shifted)?;
    let sum = cx.reduce(ReduceFn::Sum, exp, vec![axis])?;
    let log = cx.unary(ScalarOp::Log, sum)?;
    cx.binary(ScalarOp::Sub, shifted, log)
}
