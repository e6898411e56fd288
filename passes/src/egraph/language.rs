//! What an e-node is: an op with its attributes, or a value that comes from outside, over e-classes.
//!
//! Ops are interned: an e-node holds a number, so that comparing and hashing one never touches attributes or constants.

use egg::{Id, Language};
use ic_ir::scalar::ScalarOp;
use ic_ir::{NodeId, Op};
use rustc_hash::FxHashMap;

/// An interned [`Kind`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct OpId(pub(crate) u32);

/// What an e-node does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// An op. One of several results makes a tuple.
    Op(Op),
    /// A node of the graph with regions, which the e-graph does not look into.
    Opaque(NodeId),
    /// A value that is computed outside of the e-graph, by its number in the block.
    Leaf(u32),
    /// One of the values of a tuple.
    Result(usize),
    /// An optional operand that is not there.
    Absent,
}

/// An e-node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ENode {
    /// What it does.
    pub(crate) op: OpId,
    /// The classes that it works on.
    pub(crate) children: Vec<Id>,
}

impl Language for ENode {
    type Discriminant = OpId;

    fn discriminant(&self) -> OpId {
        self.op
    }

    fn matches(&self, other: &ENode) -> bool {
        self.op == other.op && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// The first thing that a pattern compares: the op without its attributes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Head {
    /// A scalar function.
    Pointwise(ScalarOp),
    /// Another op, by its index in [`Op::NAMES`].
    Named(u16),
    /// No op.
    Other,
}

impl Head {
    /// The head of the op called `name`.
    pub(crate) fn of_name(name: &str) -> Option<Head> {
        match ScalarOp::from_name(name) {
            Some(function) => Some(Head::Pointwise(function)),
            None => Op::NAMES.iter().position(|n| *n == name).map(|i| Head::Named(i as u16)),
        }
    }

    fn of_kind(kind: &Kind) -> Head {
        match kind {
            Kind::Op(Op::Pointwise(op)) => Head::Pointwise(op.function),
            Kind::Op(op) => Head::of_name(op.name()).unwrap_or(Head::Other),
            Kind::Opaque(_) | Kind::Leaf(_) | Kind::Result(_) | Kind::Absent => Head::Other,
        }
    }
}

/// All kinds that an e-graph uses.
#[derive(Default)]
pub(crate) struct Interner {
    kinds: Vec<(Kind, Head)>,
    index: FxHashMap<Kind, OpId>,
}

impl Interner {
    /// The number of a kind.
    pub(crate) fn intern(&mut self, kind: Kind) -> OpId {
        if let Some(&id) = self.index.get(&kind) {
            return id;
        }
        let id = OpId(self.kinds.len() as u32);
        self.kinds.push((kind.clone(), Head::of_kind(&kind)));
        self.index.insert(kind, id);
        id
    }

    /// The kind of a number.
    pub(crate) fn kind(&self, id: OpId) -> &Kind {
        &self.kinds[id.0 as usize].0
    }

    /// The head of a number's kind.
    pub(crate) fn head(&self, id: OpId) -> Head {
        self.kinds[id.0 as usize].1
    }
}
