//! What quantization does to each contraction alone: its result on integers beside its result on floats.

use super::{Candidates, Choice, smoothed, through_integers, weight};
use crate::PassError;
use crate::rebuild::{Rebuild, prune};
use ic_ir::ops::{Reduce, ReduceFn};
use ic_ir::{Graph, GraphError, ScalarOp, ValueId};
use std::sync::Arc;

/// The graph with two outputs for each contraction of the candidates that has scales: the sum of the squares of its
/// errors, and that of its results, in this order. All else computes on floats. Other outputs go.
///
/// # Errors
/// If something does not fit, which is a defect.
pub fn compare_contractions(graph: &Graph, candidates: &Candidates, choice: &Choice) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    let mut outputs = Vec::new();
    for (id, node) in rebuild.live_nodes() {
        rebuild.copy(node, node.regions.clone())?;
        let Some(index) = candidates.contractions.iter().position(|c| c.node == id) else { continue };
        let Some(scales) = &choice.weights[index] else { continue };
        let (contraction, at) = (&candidates.contractions[index], &node.location);
        let by = &choice.groups[contraction.group];
        let x = rebuild.value(contraction.activation);
        let x = smoothed(&mut rebuild, x, by, at)?;
        let mut operands = rebuild.operands(node);
        operands[0] = Some(through_integers(&mut rebuild, x, by, at)?);
        operands[1] = Some(weight(&mut rebuild, contraction, scales, by.smoothing.as_deref(), at)?);
        let found = rebuild.push(node.op.clone(), operands, at)?[0];
        let exact = rebuild.value(contraction.result);
        let error = rebuild.push_one(ScalarOp::Sub, &[found, exact], at)?;
        outputs.extend([sum_of_squares(&mut rebuild, error, at)?, sum_of_squares(&mut rebuild, exact, at)?]);
    }
    let mut compared = rebuild.finish_with(&vec![false; graph.outputs().len()]);
    for (i, output) in outputs.into_iter().enumerate() {
        compared.add_output(format!("{i}"), output);
    }
    Ok(compared)
}

/// The graph with these values as its outputs, called by their index; other outputs go.
///
/// # Errors
/// Never for a sound graph.
pub fn with_outputs(graph: &Graph, values: &[ValueId]) -> Result<Graph, PassError> {
    let mut found = graph.clone();
    values.iter().enumerate().for_each(|(i, &value)| found.add_output(format!("{i}"), value));
    let mut rebuild = Rebuild::new(&found);
    for (_, node) in rebuild.live_nodes() {
        rebuild.copy(node, node.regions.clone())?;
    }
    let n_own = graph.outputs().len();
    let wanted: Vec<bool> = (0..n_own + values.len()).map(|i| i >= n_own).collect();
    Ok(prune(&rebuild.finish_with(&wanted))?)
}

fn sum_of_squares(rebuild: &mut Rebuild, x: ValueId, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let axes = (0..rebuild.new.tensor_ty(x).rank()).collect();
    let square = rebuild.push_one(ScalarOp::Mul, &[x, x], at)?;
    rebuild.push_one(Reduce { function: ReduceFn::Sum, axes, keep_dims: false }, &[square], at)
}
