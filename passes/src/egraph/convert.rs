//! A graph, or a stretch of one, as an e-graph.

use super::facts::{Facts, facts_of};
use super::language::Kind;
use super::{EGraph, ENode};
use egg::Id;
use ic_ir::{Graph, Node, NodeId, Op, ValueDef, ValueId};

/// An e-graph and where the values of the graph are in it.
pub(crate) struct Converted {
    /// The e-graph.
    pub(crate) egraph: EGraph,
    /// The class of each value of the graph that has one.
    pub(crate) classes: Vec<Option<Id>>,
}

/// Puts `nodes` into an e-graph. Known values on which they depend come along, all others from outside are leaves.
pub(crate) fn convert(graph: &Graph, nodes: &[NodeId], known: &[bool]) -> Converted {
    let mut converted = Converted { egraph: EGraph::default(), classes: vec![None; graph.values().len()] };
    for &id in nodes {
        converted.add_node(graph, id, known);
    }
    converted.egraph.rebuild();
    converted
}

impl Converted {
    fn add_node(&mut self, graph: &Graph, id: NodeId, known: &[bool]) {
        let node = graph.node(id);
        let mut children: Vec<Id> = node.operands.iter().map(|v| self.operand(graph, *v, known)).collect();
        if !is_variadic(&node.op) {
            while children.len() < node.op.operands().len() {
                children.push(self.absent());
            }
        }
        let kind = if node.regions.is_empty() { Kind::Op(node.op.clone()) } else { Kind::Opaque(id) };
        let op = self.egraph.analysis.ops.intern(kind);
        self.egraph.analysis.location = node.location.clone();
        let enode = ENode { op, children };
        let facts = if node.regions.is_empty() { facts_of(&self.egraph, &enode).ok() } else { None };
        let facts = facts.unwrap_or_else(|| Facts::of_node(graph, node));
        let class = self.add(enode, facts);
        self.bind_results(node, class, graph);
    }

    fn bind_results(&mut self, node: &Node, class: Id, graph: &Graph) {
        if let [result] = node.results[..] {
            self.classes[result.index()] = Some(class);
            return;
        }
        for (i, &result) in node.results.iter().enumerate() {
            let op = self.egraph.analysis.ops.intern(Kind::Result(i));
            let facts = Facts { location: node.location.clone(), ..Facts::of_leaf(graph, result) };
            self.classes[result.index()] = Some(self.add(ENode { op, children: vec![class] }, facts));
        }
    }

    fn operand(&mut self, graph: &Graph, value: Option<ValueId>, known: &[bool]) -> Id {
        let Some(value) = value else { return self.absent() };
        if let Some(class) = self.classes[value.index()] {
            return class;
        }
        match graph.value(value).def {
            ValueDef::Result(node, _) if known[value.index()] => {
                self.add_node(graph, node, known);
                self.classes[value.index()].expect("a node has its results")
            }
            _ => {
                let op = self.egraph.analysis.ops.intern(Kind::Leaf(value));
                let class = self.add(ENode { op, children: Vec::new() }, Facts::of_leaf(graph, value));
                self.classes[value.index()] = Some(class);
                class
            }
        }
    }

    fn absent(&mut self) -> Id {
        let op = self.egraph.analysis.ops.intern(Kind::Absent);
        self.egraph.add(ENode { op, children: Vec::new() })
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
