//! ONNX `If`.
//!
//! A condition that is known at import puts the branch taken in place. Otherwise both branches become regions, whose
//! inputs are the values of the outer graph that either uses.

use super::prelude::*;
use crate::import::onnx::context::Frame;
use crate::import::onnx::walk::{inline, region};
use crate::import::prune::{keep_inputs, prune, used_inputs};
use ic_ir::ops::{If, Op, Pointwise};
use onnx_protobuf::GraphProto;

/// `If`.
pub(super) fn branch(cx: &mut Context, node: &NodeView) -> Results {
    let condition = node.input(0)?;
    let (then_graph, else_graph) = (node.graph("then_branch")?, node.graph("else_branch")?);
    if then_graph.output.len() != else_graph.output.len() {
        return Err(invalid!("the branches have {} and {} outputs", then_graph.output.len(), else_graph.output.len()));
    }
    if let Some(truth) = cx.truth(condition) {
        return inline(cx, if truth { then_graph } else { else_graph });
    }
    let then_frame = region(cx, then_graph, &[]);
    let captures = then_frame.as_ref().map(|frame| frame.captures.clone()).unwrap_or_default();
    let mut else_frame = region(cx, else_graph, &captures)?;
    let mut then_frame = then_frame?;
    for &outer in &else_frame.captures {
        cx.add_late_capture(&mut then_frame, outer);
    }
    let (regions, captures) = share_captures(&mut then_frame, &mut else_frame)?;
    if let Err(refusal) = check_results(&regions) {
        let taken = if assumed_truth(cx.graph(), condition) { then_graph } else { else_graph };
        if !only_squeezes(taken) || !tests_extents(cx.graph(), condition) {
            return Err(refusal);
        }
        cx.warn(
            "the branches have different ranks; the one that takes axes of extent 1 out is taken, which a run checks",
        );
        return inline(cx, taken);
    }
    let condition = cx.reshape(condition, vec![])?;
    let operands: Vec<ValueId> = std::iter::once(condition).chain(captures).collect();
    cx.push_regions(If {}, &operands, regions)
}

/// The regions without dead nodes, and the captures that either still uses.
fn share_captures(then_frame: &mut Frame, else_frame: &mut Frame) -> Result<(Vec<Graph>, Vec<ValueId>)> {
    let (then_graph, else_graph) = (prune(&then_frame.graph)?, prune(&else_frame.graph)?);
    let (in_then, in_else) = (used_inputs(&then_graph), used_inputs(&else_graph));
    let keep: Vec<bool> = in_then.iter().zip(&in_else).map(|(a, b)| *a || *b).collect();
    let regions = vec![keep_inputs(&then_graph, &keep)?, keep_inputs(&else_graph, &keep)?];
    let kept = else_frame.captures.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(&v, _)| v);
    Ok((regions, kept.collect()))
}

/// Whether the condition compares what follows from shapes, as `squeeze` does where an extent may be 1.
fn tests_extents(graph: &Graph, condition: ValueId) -> bool {
    let Some(node) = graph.def(condition) else { return false };
    let mut operands = node.operands.iter().flatten();
    match &node.op {
        Op::Pointwise(Pointwise { function: ScalarOp::Eq }) => operands.all(|&v| graph.value(v).content.is_some()),
        Op::Pointwise(Pointwise { function: ScalarOp::Not }) | Op::Reshape(_) | Op::Cast(_) => {
            operands.all(|&v| tests_extents(graph, v))
        }
        _ => false,
    }
}

/// The condition's value if the extents that it compares are equal.
fn assumed_truth(graph: &Graph, condition: ValueId) -> bool {
    let Some(node) = graph.def(condition) else { return true };
    let operand = || node.operands.first().copied().flatten().is_none_or(|v| assumed_truth(graph, v));
    match &node.op {
        Op::Pointwise(Pointwise { function: ScalarOp::Not }) => !operand(),
        Op::Reshape(_) | Op::Cast(_) => operand(),
        _ => true,
    }
}

/// Whether the graph does nothing but take out axes of extent 1, which is checked when dims are bound.
fn only_squeezes(graph: &GraphProto) -> bool {
    let harmless = ["Squeeze", "Identity", "Constant"];
    graph.node.iter().all(|node| harmless.contains(&node.op_type.as_str()))
        && graph.node.iter().any(|node| node.op_type == "Squeeze")
}

/// # Errors
/// If the branches give results of different types, which a graph with typed values cannot hold.
fn check_results(regions: &[Graph]) -> Result<()> {
    let [then_graph, else_graph] = regions else { return Ok(()) };
    for ((&a, &b), name) in then_graph.outputs().iter().zip(else_graph.outputs()).zip(then_graph.output_names()) {
        let (a, b) = (then_graph.ty(a), else_graph.ty(b));
        let fits = match (a.as_tensor(), b.as_tensor()) {
            (Some(x), Some(y)) => x.dtype == y.dtype && x.rank() == y.rank(),
            _ => a == b,
        };
        if !fits {
            return Err(unsupported!("the branches give `{name}` different types, {a} and {b}"));
        }
    }
    Ok(())
}
