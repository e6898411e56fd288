//! A stretch of a graph with everything in it numbered by first use.
//!
//! The [`Form`] of a block is what an e-graph is made of: ops, types, constants of one repeated number. Which values its
//! leaves are, what the elements of its constants are and where its nodes come from is beside it. So blocks of one form
//! are optimized alike, as the layers of a model mostly are.

use crate::canonicalize::splat_of;
use ic_ir::ops::Constant;
use ic_ir::{Graph, Literal, Node, NodeId, Op, Type, ValueDef, ValueId};
use ic_types::{Dim, Tensor};
use std::collections::HashMap;
use std::sync::Arc;

/// Largest constant, in bytes, whose elements are looked at.
const MAX_SMALL: usize = 64 << 10;

/// What the optimizer sees of a block.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Form {
    /// Values from outside and nodes, each after its operands.
    pub(crate) items: Vec<Item>,
}

/// A part of a [`Form`]. A leaf is one local value, a node as many as it has results, numbered in order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Item {
    /// A value that is computed outside of the block, or a constant of which only the type matters.
    Leaf {
        /// Its type.
        ty: Type,
        /// Its elements as dimension expressions.
        content: Option<Arc<[Dim]>>,
        /// Whether it is a constant.
        known: bool,
    },
    /// A node.
    Node {
        /// What it does.
        op: Op,
        /// The node, if it has regions: no two of those are alike.
        opaque: Option<NodeId>,
        /// Local values.
        operands: Vec<Option<u32>>,
        /// The types of its results, where they do not follow from the operands.
        types: Vec<Type>,
        /// Number of its results.
        n_results: u32,
        /// The number of its location; 0 is none.
        location: u32,
        /// Whether it belongs to another block, so that its results are there anyway.
        is_context: bool,
    },
}

/// A stretch of a graph.
pub(crate) struct Block {
    /// What the optimizer sees of it.
    pub(crate) form: Form,
    /// The local values.
    pub(crate) values: Vec<ValueId>,
    /// The names of places in the model, by number.
    pub(crate) locations: Vec<Arc<str>>,
    /// The nodes that it consists of.
    pub(crate) nodes: Vec<NodeId>,
}

/// What a block knows of the graph around it.
pub(crate) struct Surroundings<'a> {
    /// The graph.
    pub(crate) graph: &'a Graph,
    /// Whether each value is known, by value.
    pub(crate) known: &'a [bool],
    /// Whether each node, by node, is shown to blocks that use its results.
    pub(crate) context: &'a [bool],
}

impl Block {
    /// The block of these nodes. Known values on which they depend come along, and so does context.
    pub(crate) fn new(around: &Surroundings, nodes: Vec<NodeId>) -> Block {
        let mut builder = Builder {
            around,
            block: Block {
                form: Form::default(),
                values: Vec::new(),
                locations: vec![Arc::from("")],
                nodes: Vec::new(),
            },
            numbers: HashMap::new(),
            location_numbers: HashMap::from([(Arc::from(""), 0)]),
        };
        nodes.iter().for_each(|&id| builder.add_node(id, false));
        Block { nodes, ..builder.block }
    }

    /// The results of the block's own nodes: local number and value.
    pub(crate) fn results(&self) -> Vec<(u32, ValueId)> {
        let mut results = Vec::new();
        let mut next = 0;
        for item in &self.form.items {
            let (n, is_own) = match item {
                Item::Leaf { .. } => (1, false),
                Item::Node { n_results, is_context, .. } => (*n_results, !is_context),
            };
            results.extend((next..next + n).filter(|_| is_own).map(|i| (i, self.values[i as usize])));
            next += n;
        }
        results
    }
}

struct Builder<'a> {
    around: &'a Surroundings<'a>,
    block: Block,
    numbers: HashMap<ValueId, u32>,
    location_numbers: HashMap<Arc<str>, u32>,
}

impl Builder<'_> {
    fn add_node(&mut self, id: NodeId, is_context: bool) {
        let graph = self.around.graph;
        let node = graph.node(id);
        let operands = node.operands.iter().map(|v| v.map(|v| self.operand(v))).collect();
        let follows = node.regions.is_empty() && node.results.len() == 1;
        let types = if follows { Vec::new() } else { node.results.iter().map(|&r| graph.ty(r).clone()).collect() };
        let opaque = (!node.regions.is_empty()).then_some(id);
        self.push_node(node, node.op.clone(), opaque, operands, types, is_context);
    }

    fn push_node(
        &mut self,
        node: &Node,
        op: Op,
        opaque: Option<NodeId>,
        operands: Vec<Option<u32>>,
        types: Vec<Type>,
        is_context: bool,
    ) {
        let n_locations = self.location_numbers.len() as u32;
        let location = *self.location_numbers.entry(node.location.clone()).or_insert_with(|| {
            self.block.locations.push(node.location.clone());
            n_locations
        });
        let n_results = node.results.len() as u32;
        self.block.form.items.push(Item::Node { op, opaque, operands, types, n_results, location, is_context });
        node.results.iter().for_each(|&result| self.number(result));
    }

    fn number(&mut self, value: ValueId) {
        self.numbers.insert(value, self.block.values.len() as u32);
        self.block.values.push(value);
    }

    fn operand(&mut self, value: ValueId) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        let Surroundings { graph, known, context } = *self.around;
        match graph.value(value).def {
            ValueDef::Result(id, _) if known[value.index()] => match &graph.node(id).op {
                Op::Constant(constant) => self.add_constant(value, graph.node(id), &constant.value),
                _ => self.add_node(id, false),
            },
            ValueDef::Result(id, _) if context[id.index()] => self.add_node(id, true),
            _ => self.add_leaf(value, false),
        }
        self.numbers[&value]
    }

    fn add_leaf(&mut self, value: ValueId, known: bool) {
        let of_value = self.around.graph.value(value);
        let (ty, content) = (of_value.ty.clone(), of_value.content.clone());
        self.block.form.items.push(Item::Leaf { ty, content, known });
        self.number(value);
    }

    /// Of one repeated number the number matters, of other constants the type.
    fn add_constant(&mut self, value: ValueId, node: &Node, literal: &Literal) {
        match repeated(literal) {
            Some(literal) => {
                self.push_node(node, Constant { value: literal }.into(), None, Vec::new(), Vec::new(), false);
            }
            None => self.add_leaf(value, true),
        }
    }
}

/// A small constant, in memory, if all its elements are one number.
fn repeated(literal: &Literal) -> Option<Literal> {
    if let Some(data) = literal.as_inline() {
        return splat_of(data).map(|_| literal.clone());
    }
    let tensor: Tensor = if literal.bytes() <= MAX_SMALL { literal.tensor().ok()? } else { return None };
    splat_of(tensor.data()).map(|_| Literal::inline(tensor))
}
