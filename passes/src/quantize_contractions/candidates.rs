//! Which contractions can run on integers, and which values must be quantized alike.

use crate::quantize_weights::Policy;
use ic_ir::ops::{Op, PoolFn};
use ic_ir::{Graph, Node, NodeId, ValueId};
use ic_types::{DType, Dim};
use std::collections::BTreeMap;

/// A contraction of an f32 activation with a constant weight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contraction {
    /// The node.
    pub node: NodeId,
    /// Its left factor.
    pub activation: ValueId,
    /// Its right factor.
    pub weight: ValueId,
    /// Its result.
    pub result: ValueId,
    /// The weight's axis of outputs.
    pub outputs_axis: usize,
    /// The group of the values that the activation consists of.
    pub group: usize,
}

/// Values that are quantized with one scale and zero point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The values, in order.
    pub sources: Vec<ValueId>,
    /// Whether all that reads them reads the integers.
    pub everywhere: bool,
    /// Whether the only value is what a normalization of the last axis makes, and all that use it in the group are matrix
    /// products: then its channels may be scaled.
    pub smoothable: bool,
}

/// The contractions that can run on integers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Candidates {
    /// The contractions, in order.
    pub contractions: Vec<Contraction>,
    /// The groups that they refer to.
    pub groups: Vec<Group>,
}

impl Candidates {
    /// The contractions of the outermost graph whose weights the policy of `quantize_weights` lets be narrow, and the
    /// convolutions with constant filters.
    pub fn new(graph: &Graph) -> Candidates {
        let policy = Policy::new(graph);
        let mut sets = Sets::default();
        let mut found = Vec::new();
        for (id, node) in graph.nodes() {
            let Some((weight, outputs_axis)) = weight_of(graph, &policy, node) else { continue };
            let Some(activation) = node.operands[0] else { continue };
            let is_image = matches!(node.op, Op::Convolution(_));
            let sources = if is_image { sources(graph, activation) } else { vec![activation] };
            let set = sets.join(&sources);
            sets.everywhere[set] |= is_image;
            let result = node.results[0];
            found.push((Contraction { node: id, activation, weight, result, outputs_axis, group: 0 }, sources[0]));
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut by_set = BTreeMap::new();
        let mut contractions = Vec::new();
        for (contraction, source) in found {
            let set = sets.of[&source];
            let group = *by_set.entry(set).or_insert_with(|| {
                let sources: Vec<ValueId> = sets.of.iter().filter(|(_, s)| **s == set).map(|(v, _)| *v).collect();
                let everywhere = sets.everywhere[set];
                let smoothable = !everywhere && sources.len() == 1 && is_normalized(graph, sources[0]);
                groups.push(Group { sources, everywhere, smoothable });
                groups.len() - 1
            });
            contractions.push(Contraction { group, ..contraction });
        }
        Candidates { contractions, groups }
    }
}

/// Disjoint sets of values.
#[derive(Default)]
struct Sets {
    of: BTreeMap<ValueId, usize>,
    everywhere: Vec<bool>,
}

impl Sets {
    /// Joins the sets of all `values`, of which there is at least one.
    fn join(&mut self, values: &[ValueId]) -> usize {
        let set = self.everywhere.len();
        let old: Vec<usize> = values.iter().filter_map(|v| self.of.get(v).copied()).collect();
        self.everywhere.push(old.iter().any(|&set| self.everywhere[set]));
        self.of.values_mut().filter(|set| old.contains(set)).for_each(|of| *of = set);
        values.iter().for_each(|&v| {
            self.of.insert(v, set);
        });
        set
    }
}

/// The weight of a contraction that can run on integers, and its axis of outputs.
fn weight_of(graph: &Graph, policy: &Policy, node: &Node) -> Option<(ValueId, usize)> {
    let is_f32 = |v: ValueId| graph.ty(v).as_tensor().is_some_and(|ty| ty.dtype == DType::F32);
    let activation = node.operands.first().copied().flatten().filter(|&v| is_f32(v) && !policy.is_constant(v))?;
    match &node.op {
        Op::Matmul(_) => policy.weight_of(node).map(|weight| (weight, 1)),
        Op::Convolution(op) => {
            let weight = node.operands.get(1).copied().flatten()?;
            let rank = graph.tensor_ty(activation).rank();
            let fixed = op.pads.iter().all(|pad: &Dim| pad.as_const().is_some());
            let fits = fixed && matches!(rank, 3 | 4) && is_f32(weight) && policy.is_constant(weight);
            let is_float = !matches!(graph.def(weight)?.op, Op::Dequantize(_));
            (fits && is_float).then_some((weight, 0))
        }
        _ => None,
    }
}

/// The values whose elements `value` consists of, moved or chosen by size: at least one, in order.
fn sources(graph: &Graph, value: ValueId) -> Vec<ValueId> {
    let (mut open, mut found, mut seen) = (vec![value], Vec::new(), Vec::new());
    while let Some(value) = open.pop() {
        if seen.contains(&value) {
            continue;
        }
        seen.push(value);
        let Some(node) = graph.def(value).filter(|node| node.results.len() == 1) else {
            found.push(value);
            continue;
        };
        match &node.op {
            Op::Concat(_) => open.extend(node.operands.iter().flatten()),
            Op::Pool(op) if op.function != PoolFn::Max => found.push(value),
            Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Pool(_) => open.extend(node.operands[0]),
            _ => found.push(value),
        }
    }
    found.sort();
    found
}

/// Whether a normalization of the last axis makes `value`.
fn is_normalized(graph: &Graph, value: ValueId) -> bool {
    let Some(node) = graph.def(value) else { return false };
    let axis = match &node.op {
        Op::LayerNormalization(op) => op.axis,
        Op::RmsNormalization(op) => op.axis,
        _ => return false,
    };
    let rank = graph.tensor_ty(value).rank();
    ic_ir::ops::axis_of(axis, rank).is_ok_and(|axis| axis + 1 == rank)
}
