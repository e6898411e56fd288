//! Contractions on 8-bit integers by measured ranges: `--quantize w8a8`.
//!
//! [`Candidates`] says which contractions there are and which values must be quantized alike; a [`Choice`] says which of
//! them run on integers, with which scales. [`quantize_contractions`] then spells that as exporters do: activations
//! through `quantize` and `dequantize` to u8 with a zero point, weights to i8 with a scale for each output. The passes for
//! quantized models do the rest, and what the graph says is exactly what is computed.
//!
//! - The factor of a matrix product is quantized where it is multiplied; what else reads it has floats.
//! - The image of a convolution is quantized where it is computed, through what only moves elements (concatenations,
//!   parts, maxima of windows), whose operands are quantized alike. All that reads it, a residual sum for one, reads the
//!   integers.
//! - Activations that follow a normalization may be *smoothed*: divided by a factor for each channel that the weights are
//!   multiplied by. The division is part of the normalization's gain and bias where nothing else reads its result.

mod candidates;
mod compare;
mod switch;

pub use candidates::{Candidates, Contraction, Group};
pub use compare::{compare_contractions, with_outputs};
pub use switch::switched_contractions;

use crate::PassError;
use crate::rebuild::{OperandList, Rebuild, prune};
use ic_ir::ops::{Constant, Dequantize, Quantize, Reshape};
use ic_ir::{Graph, GraphError, Literal, Node, NodeId, Op, ScalarOp, ValueId};
use ic_types::{DType, Data, Dim, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How floats become u8.
#[derive(Clone, PartialEq, Debug)]
pub struct Affine {
    /// What an integer step is worth: positive.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: u8,
    /// What each channel, along the last axis, is divided by before.
    pub smoothing: Option<Vec<f32>>,
}

impl Affine {
    /// The affine map whose integers cover `low..=high` and 0.
    pub fn covering(low: f32, high: f32) -> Affine {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
        let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8;
        Affine { scale, zero, smoothing: None }
    }
}

/// Which contractions run on integers, and how their factors become integers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Choice {
    /// For each group of the candidates, how its values become integers.
    pub groups: Vec<Affine>,
    /// For each contraction, the scales of its weight, one for each output; `None` where it stays on floats.
    pub weights: Vec<Option<Vec<f32>>>,
}

/// See the file's header.
///
/// # Errors
/// If something does not fit, which is a defect.
pub fn quantize_contractions(graph: &Graph, candidates: &Candidates, choice: &Choice) -> Result<Graph, PassError> {
    let site = Site::new(graph, candidates, choice);
    let mut rebuild = Rebuild::new(graph);
    let mut integers = BTreeMap::new();
    for &input in graph.inputs() {
        site.quantize_source(&mut rebuild, input, &mut integers, &"".into())?;
    }
    for (id, node) in rebuild.live_nodes() {
        if node.regions.is_empty() {
            let operands = site.operands(&mut rebuild, id, node, &integers)?;
            let results = rebuild.push(node.op.clone(), operands, &node.location)?;
            node.results.iter().zip(results).for_each(|(&old, new)| rebuild.set(old, new));
        } else {
            rebuild.copy(node, node.regions.clone())?;
        }
        for &result in &node.results {
            site.quantize_source(&mut rebuild, result, &mut integers, &node.location)?;
        }
    }
    Ok(prune(&rebuild.finish())?)
}

/// What is quantized where.
struct Site<'a> {
    candidates: &'a Candidates,
    choice: &'a Choice,
    /// The contraction that each node is.
    contractions: BTreeMap<NodeId, usize>,
    /// The group of each value that is quantized.
    sources: BTreeMap<ValueId, usize>,
    /// Values that all that read them read as integers.
    everywhere: BTreeSet<ValueId>,
    /// Normalizations whose gain and bias are divided, with their groups.
    folded: BTreeMap<NodeId, usize>,
}

impl<'a> Site<'a> {
    fn new(graph: &Graph, candidates: &'a Candidates, choice: &'a Choice) -> Site<'a> {
        let contractions = &candidates.contractions;
        let chosen = |group: usize| {
            let mut of_group = contractions.iter().zip(&choice.weights).filter(|(c, _)| c.group == group);
            of_group.any(|(_, weights)| weights.is_some())
        };
        let groups = || candidates.groups.iter().enumerate().filter(|(index, _)| chosen(*index));
        let sources = groups().flat_map(|(index, group)| group.sources.iter().map(move |&v| (v, index))).collect();
        let everywhere = groups().filter(|(_, group)| group.everywhere).flat_map(|(_, group)| group.sources.clone());
        let mut site = Site {
            candidates,
            choice,
            contractions: contractions.iter().enumerate().map(|(i, c)| (c.node, i)).collect(),
            sources,
            everywhere: everywhere.collect(),
            folded: BTreeMap::new(),
        };
        let users = graph.users();
        for (index, group) in groups().filter(|(index, _)| choice.groups[*index].smoothing.is_some()) {
            let value = group.sources[0];
            let is_chosen = |id: &NodeId| site.contractions.get(id).is_some_and(|&i| choice.weights[i].is_some());
            let is_output = graph.outputs().contains(&value);
            let norm = match graph.value(value).def {
                ic_ir::ValueDef::Result(id, _) => id,
                ic_ir::ValueDef::Input(_) => continue,
            };
            let has_gain = graph.node(norm).operands.get(1).copied().flatten().is_some();
            if has_gain && !is_output && users[value.index()].iter().all(is_chosen) {
                site.folded.insert(norm, index);
            }
        }
        site
    }

    /// The new operands of a node.
    fn operands(
        &self,
        rebuild: &mut Rebuild,
        id: NodeId,
        node: &Node,
        integers: &BTreeMap<ValueId, ValueId>,
    ) -> Result<OperandList, GraphError> {
        let contraction = self.contractions.get(&id).copied();
        let weights = contraction.and_then(|i| self.choice.weights[i].as_ref());
        let mut operands = rebuild.operands(node);
        for (i, (new, old)) in operands.iter_mut().zip(&node.operands).enumerate() {
            let Some(old) = old else { continue };
            let as_integers = match contraction {
                Some(_) if i == 0 => weights.is_some(),
                _ => self.everywhere.contains(old),
            };
            if let Some(&quantized) = integers.get(old).filter(|_| as_integers) {
                *new = Some(quantized);
            }
        }
        if let (Some(index), Some(scales)) = (contraction, weights) {
            let smoothing = self.choice.groups[self.candidates.contractions[index].group].smoothing.as_deref();
            let contraction = &self.candidates.contractions[index];
            operands[1] = Some(weight(rebuild, contraction, scales, smoothing, &node.location)?);
        }
        if let Some(smoothing) = self.folded.get(&id).and_then(|&group| self.choice.groups[group].smoothing.as_ref()) {
            let by = constant(rebuild, reciprocals(smoothing), vec![smoothing.len()], &node.location)?;
            for parameter in operands.iter_mut().skip(1).flatten() {
                *parameter = rebuild.push_one(ScalarOp::Mul, &[*parameter, by], &node.location)?;
            }
        }
        Ok(operands)
    }

    /// Adds the integers of `value`, as floats again, if it is quantized.
    fn quantize_source(
        &self,
        rebuild: &mut Rebuild,
        value: ValueId,
        integers: &mut BTreeMap<ValueId, ValueId>,
        at: &Arc<str>,
    ) -> Result<(), GraphError> {
        let Some(&group) = self.sources.get(&value) else { return Ok(()) };
        let is_folded = self.folded.values().any(|&folded| folded == group);
        let by = &self.choice.groups[group];
        let x = rebuild.value(value);
        let x = if is_folded { x } else { smoothed(rebuild, x, by, at)? };
        integers.insert(value, through_integers(rebuild, x, by, at)?);
        Ok(())
    }
}

/// One over each factor.
fn reciprocals(factors: &[f32]) -> Vec<f32> {
    factors.iter().map(|factor| 1.0 / factor).collect()
}

/// The channels of `x` divided by their factors.
fn smoothed(rebuild: &mut Rebuild, x: ValueId, by: &Affine, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let Some(smoothing) = &by.smoothing else { return Ok(x) };
    let by = constant(rebuild, reciprocals(smoothing), vec![smoothing.len()], at)?;
    rebuild.push_one(ScalarOp::Mul, &[x, by], at)
}

/// `x` rounded to u8.
fn through_integers(rebuild: &mut Rebuild, x: ValueId, by: &Affine, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let scale = constant(rebuild, vec![by.scale], vec![], at)?;
    let zero = Literal::inline(Tensor::new(vec![], Data::U8(vec![by.zero])));
    let zero = rebuild.push_one(Constant { value: zero }, &[], at)?;
    let quantize = Quantize { axis: 0, block_size: 0, to: DType::U8, saturate: true };
    let quantized = rebuild.push_one(quantize, &[x, scale, zero], at)?;
    rebuild.push_one(Dequantize { axis: 0, block_size: 0, to: DType::F32 }, &[quantized, scale, zero], at)
}

/// The weight of a contraction rounded to i8.
fn weight(
    rebuild: &mut Rebuild,
    contraction: &Contraction,
    scales: &[f32],
    smoothing: Option<&[f32]>,
    at: &Arc<str>,
) -> Result<ValueId, GraphError> {
    let mut weight = rebuild.value(contraction.weight);
    if let Some(factors) = smoothing {
        let by = constant(rebuild, factors.to_vec(), vec![factors.len()], at)?;
        let shape = [factors.len() as i64, 1].map(Dim::constant).to_vec();
        let by = rebuild.push_one(Reshape { shape }, &[by], at)?;
        weight = rebuild.push_one(ScalarOp::Mul, &[weight, by], at)?;
    }
    let scale = constant(rebuild, scales.to_vec(), vec![scales.len()], at)?;
    let axis = contraction.outputs_axis as i64;
    let quantize = Quantize { axis, block_size: 0, to: DType::I8, saturate: true };
    let quantized = rebuild.push_one(quantize, &[weight, scale], at)?;
    rebuild.push_one(Dequantize { axis, block_size: 0, to: DType::F32 }, &[quantized, scale], at)
}

fn constant(
    rebuild: &mut Rebuild,
    elements: Vec<f32>,
    shape: Vec<usize>,
    at: &Arc<str>,
) -> Result<ValueId, GraphError> {
    let value = Literal::inline(Tensor::from_elements(shape, elements));
    Ok(rebuild.push(Op::from(Constant { value }), Vec::new(), at)?[0])
}

#[cfg(test)]
mod tests;
