//! ONNX `Loop` and `Scan`.
//!
//! A short loop whose number of iterations is known is put in place once for each. Every other becomes a region.

use super::loop_region;
use super::prelude::*;
use crate::import::onnx::error::Refusal;
use crate::import::onnx::walk::inline_with;
use ic_ir::ops::{SequenceLength, Slice, axis_of};
use onnx_protobuf::{GraphProto, NodeProto};

/// Nodes up to which a loop is put in place once for each iteration.
const MAX_UNROLLED: i64 = 256;

/// Iterations up to which a loop that no region can hold is put in place once for each.
const MAX_ITERATIONS: i64 = 1 << 10;

/// A limit from which on it is none.
const ENDLESS: i64 = 1 << 31;

/// A loop, as both ops spell it.
pub(super) struct Iteration<'a> {
    pub(super) body: &'a GraphProto,
    /// The most iterations, if there is a limit.
    pub(super) trips: Option<Dim>,
    /// The most iterations, where that is no dim.
    pub(super) limit: Option<ValueId>,
    /// Whether to begin.
    pub(super) condition: Option<ValueId>,
    /// Depth of the frame that the loop is in.
    pub(super) depth: usize,
    /// The carried values before the first iteration.
    pub(super) carried: Vec<ValueId>,
    /// What the body gets besides: how it makes its inputs from the number of the iteration and the carried values.
    pub(super) arguments: Arguments<'a>,
}

/// How the inputs of a body are made.
pub(super) enum Arguments<'a> {
    /// The number of the iteration, true, and the carried values.
    Loop,
    /// The carried values, and slices of these tensors along these axes, from the end where marked.
    Scan(Vec<(ValueId, usize, bool)>, &'a Dim),
    /// Elements of those of these values that are marked as sequences, and the others as they are.
    Map(Vec<(ValueId, bool)>),
}

/// What a loop gives.
pub(super) struct Given {
    pub(super) carried: Vec<ValueId>,
    /// The elements of each scan along axis 0.
    pub(super) scans: Vec<ValueId>,
}

/// `Loop`: inputs are the most iterations, whether to begin, and the values that iterations pass on.
pub(super) fn iteration(cx: &mut Context, node: &NodeView) -> Results {
    let carried = (2..node.inputs.len()).map(|i| node.input(i)).collect::<Result<Vec<_>>>()?;
    let is_known = |cx: &mut Context, limit| cx.try_ints(limit).is_some() || cx.captured_from(limit).is_some();
    // Symbols are not read in a region: there a limit that the run computes becomes a part of the condition.
    let limit = node.opt(0).filter(|&limit| cx.depth() > 0 && !is_known(cx, limit));
    let trips = node.opt(0).filter(|_| limit.is_none());
    let trips = trips.map(|limit| most_iterations(cx, limit)).transpose()?.flatten();
    let body = node.graph("body")?;
    let (condition, depth) = (node.opt(1), cx.depth());
    let given = run(cx, &Iteration { body, trips, limit, condition, depth, carried, arguments: Arguments::Loop })?;
    Ok(given.carried.into_iter().chain(given.scans).collect())
}

/// The limit of a loop, unless it is none.
fn most_iterations(cx: &mut Context, limit: ValueId) -> Result<Option<Dim>> {
    if let Some(outer) = cx.captured_from(limit) {
        let frame = cx.leave_frame();
        let trips = most_iterations(cx, outer);
        cx.enter_frame(frame);
        return trips;
    }
    let known = cx.try_ints(limit);
    let trips = match known {
        Some(known) => known.into_iter().next().ok_or_else(|| invalid!("`M` is empty"))?.maximum(&Dim::constant(0)),
        None => {
            let limit = cx.cast(limit, DType::I64)?;
            let limit = cx.with_scalar(ScalarOp::Max, limit, 0.0)?;
            cx.ints(limit, "M")?.pop().ok_or_else(|| invalid!("`M` is empty"))?
        }
    };
    Ok(Some(trips).filter(|trips| trips.as_const().is_none_or(|n| n < ENDLESS)))
}

/// `Scan` from opset 9: inputs are states that iterations pass on, then tensors that are cut along an axis.
pub(super) fn scan(cx: &mut Context, node: &NodeView) -> Results {
    if node.opset < 9 {
        return super::scan_batched::scan(cx, node);
    }
    let body = node.graph("body")?;
    let inputs = node.all_inputs()?;
    let n_sources = node.int("num_scan_inputs").and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let n_states = n_sources.and_then(|n| inputs.len().checked_sub(n));
    let n_states = n_states.ok_or_else(|| invalid!("`num_scan_inputs` does not fit the inputs"))?;
    let at = |name: &str, i: usize| node.ints(name).and_then(|list| list.get(i)).copied().unwrap_or(0);
    let mut sources = Vec::new();
    for (i, &source) in inputs[n_states..].iter().enumerate() {
        let axis = cx.axis(source, at("scan_input_axes", i))?;
        sources.push((source, axis, at("scan_input_directions", i) == 1));
    }
    let length = cx.shape(sources[0].0)?[sources[0].1].clone();
    let arguments = Arguments::Scan(sources, &length);
    let carried = inputs[..n_states].to_vec();
    let (trips, depth) = (Some(length.clone()), cx.depth());
    let given = run(cx, &Iteration { body, trips, limit: None, condition: None, depth, carried, arguments })?;
    let mut results = given.carried;
    for (i, mut scan) in given.scans.into_iter().enumerate() {
        if at("scan_output_directions", i) == 1 {
            let last = length.clone() - Dim::constant(1);
            let backwards = Slice { axes: vec![0], starts: vec![last], extents: vec![length.clone()], steps: vec![-1] };
            scan = cx.push(backwards, &[scan])?;
        }
        let rank = cx.rank(scan)?;
        let axis = axis_of(at("scan_output_axes", i), rank)?;
        let mut perm: Vec<usize> = (1..rank).collect();
        perm.insert(axis, 0);
        results.push(cx.transpose(scan, perm)?);
    }
    Ok(results)
}

pub(super) fn run(cx: &mut Context, of: &Iteration) -> Result<Given> {
    let trips = of.trips.as_ref().and_then(Dim::as_const);
    if of.limit.is_none()
        && trips.is_some_and(|n| n * n_nodes(&of.body.node) <= MAX_UNROLLED)
        && let Some(given) = unrolled(cx, of, trips.unwrap_or(0))?
    {
        return Ok(given);
    }
    let problem = match loop_region::as_region(cx, of) {
        Err(Refusal::Unsupported(problem)) => problem,
        other => return other,
    };
    let given = match trips {
        Some(n) if n <= MAX_ITERATIONS && of.limit.is_none() => unrolled(cx, of, n)?,
        _ => None,
    };
    given.ok_or(Refusal::Unsupported(problem))
}

/// Nodes of a graph, nested ones included, at least 1.
fn n_nodes(nodes: &[NodeProto]) -> i64 {
    let nested = nodes.iter().flat_map(|n| &n.attribute).flat_map(|a| a.g.as_ref());
    1 + nodes.len() as i64 + nested.map(|graph| n_nodes(&graph.node)).sum::<i64>()
}

/// The inputs of the body for an iteration.
pub(super) fn arguments(cx: &mut Context, of: &Iteration, index: ValueId, carried: &[ValueId]) -> Result<Vec<ValueId>> {
    let mut inputs = Vec::new();
    match &of.arguments {
        Arguments::Loop => {
            inputs.extend([index, cx.constant(Tensor::scalar(true))?]);
            inputs.extend(carried);
        }
        Arguments::Scan(sources, length) => {
            inputs.extend(carried);
            for &(source, axis, backwards) in sources {
                let source = cx.inner(source, of.depth)?;
                let mut at = index;
                if backwards {
                    let last = cx.dim_scalar((*length).clone() - Dim::constant(1))?;
                    at = cx.binary(ScalarOp::Sub, last, index)?;
                }
                inputs.push(cx.gather(source, at, axis)?);
            }
        }
        Arguments::Map(values) => {
            for &(value, is_sequence) in values {
                let value = cx.inner(value, of.depth)?;
                inputs.push(if is_sequence { cx.element_at(value, Some(index))? } else { value });
            }
        }
    }
    if of.body.input.len() != inputs.len() {
        return Err(invalid!("the body takes {} inputs, found {}", of.body.input.len(), inputs.len()));
    }
    Ok(inputs)
}

/// The outputs of the body: whether to go on, the carried values, the scanned elements.
pub(super) fn body_of(
    cx: &mut Context,
    of: &Iteration,
    inputs: &[ValueId],
) -> Result<(ValueId, Vec<ValueId>, Vec<ValueId>)> {
    let names: Vec<(&str, ValueId)> =
        of.body.input.iter().map(|v| v.name.as_str()).zip(inputs.iter().copied()).collect();
    let mut outputs = inline_with(cx, of.body, &names)?;
    let goes_on = match of.arguments {
        Arguments::Loop if !outputs.is_empty() => {
            let condition = outputs.remove(0);
            cx.reshape(condition, vec![])?
        }
        _ => cx.constant(Tensor::scalar(true))?,
    };
    if outputs.len() < of.carried.len() {
        return Err(invalid!("the body gives {} values, {} are carried", outputs.len(), of.carried.len()));
    }
    let scans = outputs.split_off(of.carried.len());
    Ok((goes_on, outputs, scans))
}

/// The body in place once for each iteration; `None` if only a run knows whether to go on.
fn unrolled(cx: &mut Context, of: &Iteration, trips: i64) -> Result<Option<Given>> {
    let mut condition = of.condition;
    let mut carried = of.carried.clone();
    let mut scans: Vec<Vec<ValueId>> = Vec::new();
    let (location, prefix) = (cx.location.clone(), cx.prefix.clone());
    for index in 0..trips {
        match condition.map_or(Some(true), |condition| cx.truth(condition)) {
            Some(true) => {}
            Some(false) => break,
            None => return Ok(None),
        }
        let number = cx.constant(Tensor::scalar(index))?;
        let inputs = arguments(cx, of, number, &carried)?;
        cx.prefix = format!("{location}/{index}/");
        let given = body_of(cx, of, &inputs);
        (cx.location, cx.prefix) = (location.clone(), prefix.clone());
        let (goes_on, next, elements) = given?;
        (condition, carried) = (Some(goes_on), next);
        scans.resize(elements.len(), Vec::new());
        scans.iter_mut().zip(elements).for_each(|(scan, element)| scan.push(element));
    }
    let n_scans = of.body.output.len().saturating_sub(of.carried.len());
    if scans.is_empty() && n_scans > usize::from(matches!(of.arguments, Arguments::Loop)) {
        // Without an iteration the region says which type the elements have.
        return Ok(None);
    }
    let mut stack = |elements: &Vec<ValueId>| {
        let parts = elements.iter().map(|&v| cx.unsqueeze(v, &[0])).collect::<Result<Vec<_>>>()?;
        cx.concat(&parts, 0)
    };
    let scans = scans.iter().map(&mut stack).collect::<Result<_>>()?;
    Ok(Some(Given { carried, scans }))
}

/// Whether to go on after iteration `counter`, the limit considered.
pub(super) fn within(cx: &mut Context, of: &Iteration, goes_on: ValueId, counter: ValueId) -> Result<ValueId> {
    let Some(limit) = of.limit else { return Ok(goes_on) };
    let limit = cx.inner(limit, of.depth)?;
    let limit = cx.reshape(limit, vec![])?;
    let limit = cx.cast(limit, DType::I64)?;
    let next = cx.with_scalar(ScalarOp::Add, counter, 1.0)?;
    let is_within = cx.binary(ScalarOp::Lt, next, limit)?;
    cx.binary(ScalarOp::And, goes_on, is_within)
}

/// `SequenceMap` over objects: a loop that collects what the body gives for each element.
pub(super) fn map(cx: &mut Context, body: &GraphProto, inputs: &[ValueId]) -> Results {
    let mut values = Vec::new();
    for &input in inputs {
        let is_sequence = cx.sequence_of(input).is_some() || cx.is_object(input);
        values.push((cx.boxed(input)?, is_sequence));
    }
    let length = cx.push(SequenceLength {}, &[values[0].0])?;
    let trips = cx.ints(length, "length")?.pop();
    let (depth, arguments) = (cx.depth(), Arguments::Map(values));
    let of = Iteration { body, trips, limit: None, condition: None, depth, carried: Vec::new(), arguments };
    Ok(loop_region::as_region(cx, &of)?.scans)
}
