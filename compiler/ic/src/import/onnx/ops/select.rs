//! ONNX ops that find how many elements they return: `NonZero`, `NonMaxSuppression`, `Compress`, `Unique`.
//!
//! The core op fills the front of memory that has room for the most there can be, and counts; the count is a symbol.

use super::prelude::*;
use ic_ir::ops;

/// The first elements of `room`, as many as a tensor of the shape that `shape` gives for the count has, in that shape.
fn found(cx: &mut Context, room: ValueId, count: &Dim, shape: Vec<Dim>) -> Result<ValueId> {
    debug_assert!(shape.contains(count) || shape.iter().any(|d| d == count), "one extent is the count");
    let part = cx.slice(room, 0, Dim::constant(0), shape.iter().cloned().product())?;
    cx.reshape(part, shape)
}

/// The number that a core op has found, as a symbol that is called after the node's first output.
fn count(cx: &mut Context, node: &NodeView, count: ValueId) -> Result<Dim> {
    let name = node.proto.output.first().map_or("", String::as_str);
    let name = format!("{name}_count");
    cx.frame().graph.set_name(count, name.as_str());
    cx.ints(count, "count")?.pop().ok_or_else(|| invalid!("no count"))
}

/// `NonZero`.
pub(super) fn non_zero(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    // A scalar has one element and no coordinates; ONNX counts one axis.
    let x = if cx.rank(x)? == 0 { cx.unsqueeze(x, &[0])? } else { x };
    let rank = Dim::constant(cx.rank(x)? as i64);
    let results = cx.push_all(ops::NonZero {}, &[Some(x)])?;
    let count = count(cx, node, results[1])?;
    Ok(vec![found(cx, results[0], &count, vec![rank, count.clone()])?])
}

/// `Compress`: the slices of the input for which the condition is true.
pub(super) fn compress(cx: &mut Context, node: &NodeView) -> Results {
    let (mut data, condition) = (node.input(0)?, node.input(1)?);
    let axis = match node.int("axis") {
        Some(axis) => cx.axis(data, axis)?,
        None => {
            let elements = cx.ty(data)?.elements();
            data = cx.reshape(data, vec![elements])?;
            0
        }
    };
    if let Some(tensor) = cx.tensor(condition) {
        let truths = tensor.elements::<bool>().ok_or_else(|| invalid!("`condition` must be of type bool"))?;
        let kept: Vec<i64> = (0i64..).zip(truths).filter(|(_, t)| **t).map(|(i, _)| i).collect();
        let indices = cx.vector(kept)?;
        return Ok(vec![cx.gather(data, indices, axis)?]);
    }
    let results = cx.push_all(ops::NonZero {}, &[Some(condition)])?;
    let count = count(cx, node, results[1])?;
    let indices = found(cx, results[0], &count, vec![count.clone()])?;
    Ok(vec![cx.gather(data, indices, axis)?])
}

/// `Unique`.
pub(super) fn unique(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let axis = node.int("axis").map(|axis| cx.axis(x, axis)).transpose()?;
    let results = cx.push_all(ops::Unique { axis, sorted: node.flag("sorted", true) }, &[Some(x)])?;
    let count = count(cx, node, results[4])?;
    let mut found_shape = axis.map_or(vec![count.clone()], |_| shape);
    if let Some(axis) = axis {
        found_shape[axis] = count.clone();
    }
    let y = found(cx, results[0], &count, found_shape)?;
    let mut list = |room| found(cx, room, &count, vec![count.clone()]);
    Ok(vec![y, list(results[1])?, results[2], list(results[3])?])
}

/// `NonMaxSuppression`.
pub(super) fn non_max_suppression(cx: &mut Context, node: &NodeView) -> Results {
    let operands: Vec<Option<ValueId>> = (0..5).map(|i| node.opt(i)).collect();
    let op = ops::NonMaxSuppression { center_point_box: node.flag("center_point_box", false) };
    let results = cx.push_all(op, &operands)?;
    let count = count(cx, node, results[1])?;
    Ok(vec![found(cx, results[0], &count, vec![count.clone(), Dim::constant(3)])?])
}
