//! A block of a graph as an e-graph.

use super::block::{Form, Item};
use super::facts::{Facts, facts_of};
use super::language::Kind;
use super::{EGraph, ENode};
use egg::Id;
use ic_ir::{NodeId, Op, Type};

/// An e-graph and where the values of the block are in it.
pub(crate) struct Converted {
    /// The e-graph.
    pub(crate) egraph: EGraph,
    /// The class of each local value.
    pub(crate) classes: Vec<Id>,
}

/// Puts a block into an e-graph. Values from outside are leaves.
pub(crate) fn convert(form: &Form) -> Converted {
    let mut converted = Converted { egraph: EGraph::default(), classes: Vec::new() };
    for item in &form.items {
        match item {
            Item::Leaf { ty, content, known } => {
                let facts = Facts { known: *known, ..Facts::of_type(ty.clone(), content.clone(), 0) };
                let class = converted.add_leaf(facts);
                converted.classes.push(class);
            }
            Item::Node { op, opaque, operands, types, n_results, location, is_context } => {
                let first = converted.classes.len();
                let class = converted.add_node(op, *opaque, operands, types, *location);
                converted.bind_results(class, types, *n_results, *location);
                if *is_context {
                    converted.give_results(first);
                }
            }
        }
    }
    converted.egraph.rebuild();
    converted
}

impl Converted {
    fn add_node(
        &mut self,
        op: &Op,
        opaque: Option<NodeId>,
        operands: &[Option<u32>],
        types: &[Type],
        location: u32,
    ) -> Id {
        let absent = |converted: &mut Converted| {
            let op = converted.egraph.analysis.ops.intern(Kind::Absent);
            converted.egraph.add(ENode { op, children: Vec::new() })
        };
        let mut children: Vec<Id> = Vec::with_capacity(operands.len());
        for operand in operands {
            let class = operand.map(|local| self.classes[local as usize]);
            children.push(class.unwrap_or_else(|| absent(self)));
        }
        if !is_variadic(op) {
            while children.len() < op.operands().len() {
                children.push(absent(self));
            }
        }
        let kind = opaque.map_or_else(|| Kind::Op(op.clone()), Kind::Opaque);
        let enode = ENode { op: self.egraph.analysis.ops.intern(kind), children };
        self.egraph.analysis.location = location;
        let facts = if opaque.is_none() { facts_of(&self.egraph, &enode).ok() } else { None };
        let facts = facts.unwrap_or_else(|| Facts { types: types.to_vec(), location, ..Facts::nothing() });
        self.add(enode, facts)
    }

    fn bind_results(&mut self, class: Id, types: &[Type], n_results: u32, location: u32) {
        if n_results == 1 {
            self.classes.push(class);
            return;
        }
        for (i, ty) in types.iter().enumerate() {
            let op = self.egraph.analysis.ops.intern(Kind::Result(i));
            let result = self.add(ENode { op, children: vec![class] }, Facts::of_type(ty.clone(), None, location));
            self.classes.push(result);
        }
    }

    /// Makes the values from number `first` on leaves too.
    fn give_results(&mut self, first: usize) {
        for local in first..self.classes.len() {
            let class = self.classes[local];
            let leaf = ENode { op: self.egraph.analysis.ops.intern(Kind::Leaf(local as u32)), children: Vec::new() };
            let facts = self.egraph[class].data.clone();
            let leaf = self.add(leaf, facts);
            self.egraph.union(class, leaf);
        }
    }

    fn add_leaf(&mut self, facts: Facts) -> Id {
        let op = self.egraph.analysis.ops.intern(Kind::Leaf(self.classes.len() as u32));
        self.add(ENode { op, children: Vec::new() }, facts)
    }

    fn add(&mut self, enode: ENode, facts: Facts) -> Id {
        self.egraph.analysis.pending = Some(facts);
        let id = self.egraph.add(enode);
        self.egraph.analysis.pending = None;
        id
    }
}

fn is_variadic(op: &Op) -> bool {
    op.operands().last().is_some_and(|spec| spec.variadic)
}
