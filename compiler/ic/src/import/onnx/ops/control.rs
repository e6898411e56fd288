//! ONNX `If`.
//!
//! A condition that is known at import puts the branch taken in place. Otherwise both branches become regions, whose
//! inputs are the values of the outer graph that either uses.

use super::prelude::*;
use crate::import::onnx::context::Frame;
use crate::import::onnx::objects::Kind;
use crate::import::onnx::regions::{box_output, callable, depends_on_data};
use crate::import::onnx::walk::{inline, region};
use crate::import::prune::{keep_inputs, prune, used_inputs};
use ic_ir::ops::{If, Op, Pointwise, Reshape};
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
    align_single_elements(cx, &mut then_frame, &mut else_frame)?;
    let kinds = box_results(cx, &mut then_frame, &mut else_frame)?;
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
    let location = cx.location.clone();
    let regions = regions.into_iter().map(|region| callable(region, &location)).collect::<Result<Vec<_>>>()?;
    let mut results = cx.push_regions(If {}, &operands, regions)?;
    for (result, given) in results.iter_mut().zip(kinds) {
        match given {
            Some(Given::Object(kind)) => {
                cx.with_kind(*result, kind);
            }
            Some(Given::Boxed(kind)) => {
                cx.with_kind(*result, Kind::Sequence(Box::new(kind)));
                *result = cx.element_at(*result, None)?;
            }
            None => {}
        }
    }
    Ok(results)
}

/// A result of both branches that is an object.
enum Given {
    /// It is one in the model.
    Object(Kind),
    /// It is a tensor, in a sequence of its own.
    Boxed(Kind),
}

/// Boxes the results whose extents differ between the branches or depend on data in one; what is an object then.
fn box_results(cx: &Context, then_frame: &mut Frame, else_frame: &mut Frame) -> Result<Vec<Option<Given>>> {
    let location = cx.location.clone();
    let mut kinds = Vec::new();
    for i in 0..then_frame.graph.outputs().len() {
        let of = |frame: &Frame| {
            let value = frame.graph.outputs()[i];
            (frame.graph.ty(value).as_tensor().cloned(), frame.objects.get(&value).cloned())
        };
        let ((Some(a), a_kind), (Some(b), b_kind)) = (of(then_frame), of(else_frame)) else {
            kinds.push(None);
            continue;
        };
        let differ =
            a.shape.iter().zip(&b.shape).any(|(a, b)| a != b && a.as_const().is_some() && b.as_const().is_some());
        let inner = depends_on_data(&then_frame.graph, &a) || depends_on_data(&else_frame.graph, &b);
        kinds.push(match (a_kind, b_kind) {
            (Some(a), Some(b)) => Some(Given::Object(a.and(b))),
            (Some(kind), None) | (None, Some(kind)) => Some(Given::Object(kind)),
            _ if a.dtype == b.dtype && a.rank() == b.rank() && (differ || inner) => {
                box_output(&mut then_frame.graph, i, &location)?;
                box_output(&mut else_frame.graph, i, &location)?;
                Some(Given::Boxed(Kind::Tensor(Some(a.dtype), Some(a.rank()))))
            }
            _ => None,
        });
    }
    Ok(kinds)
}

/// Gives results of one element that differ in rank the higher rank, in which they mean the same to every op that
/// broadcasts.
fn align_single_elements(cx: &mut Context, then_frame: &mut Frame, else_frame: &mut Frame) -> Result<()> {
    for i in 0..then_frame.graph.outputs().len() {
        let ty = |frame: &Frame| frame.graph.ty(frame.graph.outputs()[i]).as_tensor().cloned();
        let (Some(a), Some(b)) = (ty(then_frame), ty(else_frame)) else { continue };
        if a.rank() == b.rank() || !a.elements().is(1) || !b.elements().is(1) {
            continue;
        }
        cx.warn(format!("the branches give {a} and {b}; both are taken to have the higher rank"));
        let (frame, shape) =
            if a.rank() < b.rank() { (&mut *then_frame, b.shape) } else { (&mut *else_frame, a.shape) };
        let value = frame.graph.outputs()[i];
        let location = cx.location.clone();
        let shaped = frame.graph.push(Reshape { shape }.into(), &[value], &location)?;
        frame.graph.replace_output(i, shaped);
    }
    Ok(())
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
