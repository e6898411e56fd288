//! Splits what depends on one input alone from a graph.

use ic_ir::ops::Op;
use ic_ir::{Graph, GraphError, Node, TensorType, ValueId};
use ic_types::{Dim, symbols_of};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A graph in two.
#[derive(Clone, Debug)]
pub struct Split {
    /// From the input to everything that the rest needs of what depends on it alone.
    pub hoisted: Graph,
    /// The rest. What `hoisted` gives are inputs of the same names.
    pub rest: Graph,
    /// Those names.
    pub shared: Vec<Arc<str>>,
}

/// Moves what depends on the input `name` and on constants, but on no other input, to a graph of its own. `prefix`
/// begins the names of what it gives. `None` if there is no such input or no other.
///
/// # Errors
/// Never for a graph that verifies.
pub fn split_by_input(graph: &Graph, name: &str, prefix: &str) -> Result<Option<Split>, GraphError> {
    let found = graph.inputs().iter().find(|&&v| graph.value(v).name.as_deref() == Some(name));
    let (Some(&input), true) = (found, graph.inputs().len() > 1) else { return Ok(None) };
    let parts = Parts::new(graph, input);
    let boundary = parts.boundary();
    let names = names(graph, &boundary, prefix);
    let mut hoisted = Copy::new(graph);
    hoisted.add_input(input, name.into());
    for (_, node) in graph.nodes().filter(|(_, node)| parts.is_in_hoisted(node)) {
        hoisted.copy(node)?;
    }
    for (&value, name) in boundary.iter().zip(&names) {
        let value = hoisted.value(value);
        hoisted.new.add_output(name.clone(), value);
    }
    let mut rest = Copy::new(graph);
    for &other in graph.inputs().iter().filter(|&&v| v != input) {
        rest.add_input(other, graph.value(other).name.clone().unwrap_or_default());
    }
    for (&value, name) in boundary.iter().zip(&names) {
        rest.add_input(value, name.clone());
    }
    for (_, node) in graph.nodes().filter(|(_, node)| !parts.is_hoisted(node)) {
        rest.copy(node)?;
    }
    for (&value, name) in graph.outputs().iter().zip(graph.output_names()) {
        let value = rest.value(value);
        rest.new.add_output(name.clone(), value);
    }
    for binding in graph.bindings() {
        let value = rest.value(binding.value);
        rest.new.bind_symbol(binding.symbol.clone(), value, binding.element);
    }
    Ok(Some(Split { hoisted: hoisted.new, rest: rest.new, shared: names }))
}

/// Which values depend on what.
struct Parts<'a> {
    graph: &'a Graph,
    input: ValueId,
    /// Depends on the input and on nothing else that a run decides.
    alone: Vec<bool>,
    /// Depends on no input.
    constant: Vec<bool>,
}

impl<'a> Parts<'a> {
    fn new(graph: &'a Graph, input: ValueId) -> Parts<'a> {
        let n = graph.values().len();
        let mut parts = Parts { graph, input, alone: vec![false; n], constant: vec![false; n] };
        parts.alone[input.index()] = true;
        let known = graph.ty(input).as_tensor().map(|ty| symbols_of(&ty.shape)).unwrap_or_default();
        for (_, node) in graph.nodes() {
            let operands = || node.operands.iter().flatten();
            let is_known = symbols_in(graph, node).iter().all(|symbol| known.contains(symbol));
            let fixed = operands().all(|v| parts.constant[v.index()]);
            let alone = !fixed && operands().all(|v| parts.constant[v.index()] || parts.alone[v.index()]);
            for result in &node.results {
                parts.constant[result.index()] = fixed && is_known;
                parts.alone[result.index()] = alone && is_known && graph.ty(*result).as_tensor().is_some();
            }
        }
        parts
    }

    /// Whether the other graph does not have the node.
    fn is_hoisted(&self, node: &Node) -> bool {
        self.alone[node.results[0].index()] && !self.is_repeated(node)
    }

    /// Whether the node is in the input's graph. Constants are in both.
    fn is_in_hoisted(&self, node: &Node) -> bool {
        self.alone[node.results[0].index()] || self.constant[node.results[0].index()]
    }

    /// What is larger than what it is made of is made where it is used.
    fn is_repeated(&self, node: &Node) -> bool {
        matches!(node.op, Op::Expand(_))
    }

    /// The values of the input's graph that the rest uses, in order.
    fn boundary(&self) -> Vec<ValueId> {
        let mut used: BTreeSet<ValueId> = self.graph.outputs().iter().copied().collect();
        used.extend(self.graph.bindings().iter().map(|binding| binding.value));
        for (_, node) in self.graph.nodes().filter(|(_, node)| !self.is_hoisted(node)) {
            used.extend(node.operands.iter().flatten());
        }
        let is_given = |v: &ValueId| *v == self.input || self.graph.def(*v).is_some_and(|node| self.is_hoisted(node));
        used.into_iter().filter(is_given).collect()
    }
}

/// Symbols that a node's types and attributes depend on.
fn symbols_in(graph: &Graph, node: &Node) -> BTreeSet<Arc<str>> {
    let shapes = node.results.iter().filter_map(|&v| graph.ty(v).as_tensor()).flat_map(|ty: &TensorType| &ty.shape);
    let attributes: Vec<&Dim> = match &node.op {
        Op::Slice(op) => op.starts.iter().collect(),
        Op::Pad(op) => op.pads.iter().collect(),
        Op::Dims(op) => op.value.iter().collect(),
        _ => Vec::new(),
    };
    symbols_of(shapes.chain(attributes))
}

/// A name for each value: the model's where it has one, else that of its node.
fn names(graph: &Graph, values: &[ValueId], prefix: &str) -> Vec<Arc<str>> {
    let mut taken = BTreeSet::new();
    let mut name = |&value: &ValueId| -> Arc<str> {
        let own = graph.value(value).name.clone();
        let base = own.or_else(|| graph.def(value).map(|node| node.location.clone())).unwrap_or_default();
        let mut name = format!("{prefix}.{base}");
        while !taken.insert(name.clone()) {
            name.push('\'');
        }
        name.into()
    };
    values.iter().map(&mut name).collect()
}

/// A graph under construction from parts of another.
struct Copy<'a> {
    old: &'a Graph,
    new: Graph,
    map: Vec<Option<ValueId>>,
}

impl<'a> Copy<'a> {
    fn new(old: &'a Graph) -> Copy<'a> {
        let mut new = Graph::new(old.name.clone());
        new.symbols.clone_from(&old.symbols);
        Copy { old, new, map: vec![None; old.values().len()] }
    }

    fn add_input(&mut self, value: ValueId, name: Arc<str>) {
        self.map[value.index()] = Some(self.new.add_input(name, self.old.ty(value).clone()));
    }

    fn value(&self, old: ValueId) -> ValueId {
        self.map[old.index()].expect("what a part uses is in it")
    }

    fn copy(&mut self, node: &Node) -> Result<(), GraphError> {
        let operands = node.operands.iter().map(|v| v.map(|v| self.value(v))).collect();
        let results = self.new.push_node(node.op.clone(), operands, node.regions.clone(), &node.location)?;
        for (&old, new) in node.results.iter().zip(results) {
            if let Some(name) = &self.old.value(old).name {
                self.new.set_name(new, name.clone());
            }
            self.map[old.index()] = Some(new);
        }
        Ok(())
    }
}
