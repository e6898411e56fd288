//! What partition knows about a graph before it decides anything.

use super::access;
use ic_ir::kernel::Index;
use ic_ir::ops::{Op, PadMode};
use ic_ir::{Graph, Node, NodeId, ValueDef, ValueId};
use ic_types::{DType, symbols_of};
use std::collections::BTreeSet;

/// How a node can become code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Depends on constants alone: evaluated by the compiler.
    Constant,
    /// Elements known as dimension expressions, or numbered.
    Source,
    /// Only moves elements of one operand: index arithmetic.
    Movement,
    /// Moves elements of one operand as the elements of another say, or mirrored.
    Gather,
    /// Chooses between operands by index.
    Piecewise,
    /// A scalar function of the operands' elements.
    Pointwise,
    /// Folds rows, and then perhaps computes on their elements.
    Rows,
    /// One of two nested graphs, or one that runs again and again.
    Branch,
    /// Anything else: the whole op.
    Op,
}

impl Kind {
    /// Whether elements of the result are scalar expressions of elements of the operands.
    pub(crate) fn is_inlineable(self) -> bool {
        matches!(self, Kind::Source | Kind::Movement | Kind::Gather | Kind::Piecewise | Kind::Pointwise)
    }
}

/// Where a graph is. Only the outermost one has constants that the compiler evaluates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Nesting {
    /// The model.
    Outermost,
    /// A region of a node.
    Region,
}

/// Facts about a graph, by node or value index.
pub(crate) struct Facts<'a> {
    pub(crate) graph: &'a Graph,
    /// The kind of each node.
    pub(crate) kinds: Vec<Kind>,
    /// Whether each value depends on constants alone.
    pub(crate) constant: Vec<bool>,
    /// Whether the outputs need the node.
    pub(crate) live: Vec<bool>,
    /// The live nodes that use each value, in order, each once; those that need only its content do not count.
    pub(crate) users: Vec<Vec<NodeId>>,
    /// Whether the value is an output of the graph, or a symbol is one of its elements.
    pub(crate) is_output: Vec<bool>,
    /// Updates of a state buffer in its own memory.
    pub(crate) in_place: BTreeSet<ValueId>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(graph: &'a Graph, nesting: Nesting) -> Facts<'a> {
        let n_values = graph.values().len();
        let mut facts = Facts {
            graph,
            kinds: Vec::new(),
            constant: vec![false; n_values],
            live: vec![false; graph.nodes().len()],
            users: vec![Vec::new(); n_values],
            is_output: vec![false; n_values],
            in_place: BTreeSet::new(),
        };
        for (_, node) in graph.nodes() {
            let constant = nesting == Nesting::Outermost && is_constant(graph, node, &facts.constant);
            node.results.iter().for_each(|v| facts.constant[v.index()] = constant);
            // What is larger than its operands is computed from them rather than stored in the artifact.
            let grows = matches!(node.op, Op::Iota(_) | Op::Expand(_));
            facts.kinds.push(if constant && !grows { Kind::Constant } else { kind_of(graph, node) });
        }
        graph.roots().for_each(|v| facts.is_output[v.index()] = true);
        facts.find_users();
        facts
    }

    fn find_users(&mut self) {
        for (id, node) in self.graph.nodes().rev() {
            let wanted = |v: &ValueId| self.is_output[v.index()] || !self.users[v.index()].is_empty();
            self.live[id.index()] = node.results.iter().any(wanted);
            if !self.live[id.index()] || matches!(self.kinds[id.index()], Kind::Constant | Kind::Source) {
                continue;
            }
            for operand in node.operands.iter().flatten() {
                let users = &mut self.users[operand.index()];
                if users.first() != Some(&id) {
                    users.insert(0, id);
                }
            }
        }
    }

    /// The node that defines a value, with its kind.
    pub(crate) fn def(&self, value: ValueId) -> Option<(NodeId, &'a Node, Kind)> {
        match self.graph.value(value).def {
            ValueDef::Input(_) => None,
            ValueDef::Result(id, _) => Some((id, self.graph.node(id), self.kinds[id.index()])),
        }
    }

    /// The kind of the node that defines a value; `None` for inputs.
    pub(crate) fn kind(&self, value: ValueId) -> Option<Kind> {
        self.def(value).map(|(.., kind)| kind)
    }
}

/// Whether the results depend on constants alone and not on symbols.
pub(super) fn is_constant(graph: &Graph, node: &Node, constant: &[bool]) -> bool {
    if node.op.is_foldable() && node.regions.is_empty() && node.operands.iter().flatten().all(|v| constant[v.index()]) {
        let shapes = node.results.iter().filter_map(|&v| graph.ty(v).as_tensor()).flat_map(|ty| &ty.shape);
        let attributes: Vec<_> = match &node.op {
            Op::Slice(op) => op.starts.iter().collect(),
            Op::Pad(op) => op.pads.iter().collect(),
            Op::Dims(op) => op.value.iter().collect(),
            Op::Attention(op) => op.causal.iter().collect(),
            _ => Vec::new(),
        };
        return node.results.iter().all(|&v| graph.ty(v).as_tensor().is_some())
            && symbols_of(shapes.chain(attributes)).is_empty();
    }
    false
}

fn kind_of(graph: &Graph, node: &Node) -> Kind {
    let Some(result) = node.results.first().and_then(|&v| graph.ty(v).as_tensor()) else { return Kind::Op };
    if matches!(node.op, Op::Call(_)) {
        return Kind::Op;
    }
    if graph.constant(node.results[0]).is_some() && super::emit::splat(graph, node.results[0]).is_some() {
        return Kind::Source;
    }
    if matches!(node.op, Op::Iota(_)) && is_number(result.dtype) {
        return Kind::Source;
    }
    if matches!(node.op, Op::Expand(_)) && is_movable(result.dtype) {
        return Kind::Movement;
    }
    if graph.elements(node.results[0]).is_some() && node.results.len() == 1 {
        return Kind::Source;
    }
    let operands = || node.operands.iter().flatten().map(|&v| graph.ty(v).as_tensor().map(|ty| ty.dtype));
    if !is_movable(result.dtype) || operands().any(|dtype| !dtype.is_some_and(is_movable)) {
        return if node.regions.is_empty() { Kind::Op } else { Kind::Branch };
    }
    let numbers = || is_number(result.dtype) && operands().flatten().all(is_number);
    let probe: Vec<Index> = access::domain(&result.shape);
    match &node.op {
        _ if !node.regions.is_empty() => Kind::Branch,
        _ if access::moved(graph, node, &probe, &result.shape).is_some() => Kind::Movement,
        Op::Pointwise(_) if numbers() => Kind::Pointwise,
        Op::Cast(op) if numbers() && is_number(op.to) => Kind::Pointwise,
        // Wider integers are not exact in f32.
        Op::Quantize(op) if numbers() && op.to.is_int() && op.to.bits() <= 16 => Kind::Pointwise,
        Op::Dequantize(op) if numbers() && op.to != DType::F64 => Kind::Pointwise,
        Op::Concat(_) | Op::Update(_) => Kind::Piecewise,
        Op::Pad(op) if op.mode == PadMode::Constant => Kind::Piecewise,
        Op::Pad(_) | Op::Gather(_) => Kind::Gather,
        Op::Reduce(_) if numbers() => Kind::Rows,
        Op::Softmax(_) | Op::LayerNormalization(_) | Op::RmsNormalization(_) if numbers() => Kind::Rows,
        _ => Kind::Op,
    }
}

/// Whether generated code computes on elements of this type.
fn is_number(dtype: DType) -> bool {
    use DType::*;
    matches!(dtype, F64 | F32 | F16 | BF16 | I64 | I32 | I16 | I8 | U64 | U32 | U16 | U8 | Bool)
}

/// Whether generated code copies elements of this type.
fn is_movable(dtype: DType) -> bool {
    dtype.size().is_some_and(|size| size <= 8)
}
