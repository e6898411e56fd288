//! Building a graph from another: what every pass starts from.
//!
//! A [`Rebuild`] walks the live nodes of the old graph in order and maps its values to values of the new one. Nodes
//! that are equal to an earlier one are not added again; operands of functions that commute are in one order, so that
//! `a + b` and `b + a` are equal. Names, symbols, inputs and outputs carry over.

use crate::operand_order::OperandOrder;
use ic_ir::{Graph, GraphError, Node, NodeId, Op, ValueDef, ValueId};
use ic_types::{Dim, symbols_of};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Operands of a node; `None` for an absent optional one.
pub(crate) type OperandList = Vec<Option<ValueId>>;

/// A graph under construction, with the values of the old graph that it already has.
pub(crate) struct Rebuild<'a> {
    /// The graph that is read.
    pub(crate) old: &'a Graph,
    /// The graph that is built.
    pub(crate) new: Graph,
    values: Vec<Option<ValueId>>,
    seen: FxHashMap<(Op, OperandList), Vec<ValueId>>,
    order: OperandOrder,
}

impl<'a> Rebuild<'a> {
    /// Starts with the old graph's name, symbols and inputs.
    pub(crate) fn new(old: &'a Graph) -> Rebuild<'a> {
        let mut new = Graph::new(old.name.clone());
        new.symbols = old.symbols.clone();
        let mut values = vec![None; old.values().len()];
        for &input in old.inputs() {
            let value = old.value(input);
            let name = value.name.clone().unwrap_or_else(|| Arc::from(""));
            values[input.index()] = Some(new.add_input(name, value.ty.clone()));
        }
        Rebuild { old, new, values, seen: FxHashMap::default(), order: OperandOrder::default() }
    }

    /// The nodes of the old graph on which its outputs and bound symbols depend, in order.
    pub(crate) fn live_nodes(&self) -> Vec<(NodeId, &'a Node)> {
        let mut wanted = vec![false; self.old.values().len()];
        self.old.roots().for_each(|v| wanted[v.index()] = true);
        let mut live = Vec::new();
        for (id, node) in self.old.nodes().rev() {
            if node.results.iter().any(|r| wanted[r.index()]) {
                node.operands.iter().flatten().for_each(|v| wanted[v.index()] = true);
                live.push((id, node));
            }
        }
        live.reverse();
        live
    }

    /// The new value of an old one.
    ///
    /// # Panics
    /// If the old value's node has not been built yet.
    pub(crate) fn value(&self, old: ValueId) -> ValueId {
        self.values[old.index()].expect("operands are built before their users")
    }

    /// Whether an old value has a new one.
    pub(crate) fn is_built(&self, old: ValueId) -> bool {
        self.values[old.index()].is_some()
    }

    /// The new operands of an old node.
    pub(crate) fn operands(&self, node: &Node) -> OperandList {
        node.operands.iter().map(|v| v.map(|v| self.value(v))).collect()
    }

    /// Lets `new` stand for `old`, with its name unless it has one.
    pub(crate) fn set(&mut self, old: ValueId, new: ValueId) {
        self.values[old.index()] = Some(new);
        if let Some(name) = &self.old.value(old).name
            && self.new.value(new).name.is_none()
        {
            self.new.set_name(new, name.clone());
        }
    }

    /// Adds a node, or finds an equal one.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub(crate) fn push(
        &mut self,
        op: Op,
        mut operands: OperandList,
        location: &Arc<str>,
    ) -> Result<Vec<ValueId>, GraphError> {
        self.order.arrange(&self.new, &op, &mut operands);
        let key = (op, operands);
        if let Some(results) = self.seen.get(&key) {
            return Ok(results.clone());
        }
        let results = self.new.push_node(key.0.clone(), key.1.clone(), Vec::new(), location)?;
        self.seen.insert(key, results.clone());
        Ok(results)
    }

    /// Adds a node of one result and present operands.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub(crate) fn push_one(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        location: &Arc<str>,
    ) -> Result<ValueId, GraphError> {
        Ok(self.push(op.into(), operands.iter().map(|&v| Some(v)).collect(), location)?[0])
    }

    /// Copies an old node, its regions replaced by `regions`.
    ///
    /// # Errors
    /// If the operands have changed so that they no longer fit the op.
    pub(crate) fn copy(&mut self, node: &Node, regions: Vec<Graph>) -> Result<(), GraphError> {
        let operands = self.operands(node);
        let results = if regions.is_empty() {
            self.push(node.op.clone(), operands, &node.location)?
        } else {
            self.new.push_node(node.op.clone(), operands, regions, &node.location)?
        };
        node.results.iter().zip(results).for_each(|(&old, new)| self.set(old, new));
        Ok(())
    }

    /// Adds the outputs, and binds the symbols.
    pub(crate) fn finish(self) -> Graph {
        let all = vec![true; self.old.outputs().len()];
        self.finish_with(&all)
    }

    /// [`finish`](Self::finish) with these of the outputs.
    pub(crate) fn finish_with(mut self, wanted: &[bool]) -> Graph {
        let outputs = self.old.outputs().iter().zip(self.old.output_names());
        for ((&output, name), _) in outputs.zip(wanted).filter(|(_, wanted)| **wanted) {
            let value = self.value(output);
            self.new.add_output(name.clone(), value);
        }
        for binding in self.old.bindings() {
            let value = self.value(binding.value);
            self.new.bind_symbol(binding.symbol.clone(), value, binding.element);
        }
        self.new
    }
}

/// Copies a known value and what it depends on, unless it is there already.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn copy_known(rebuild: &mut Rebuild, value: ValueId) -> Result<(), GraphError> {
    let ValueDef::Result(id, _) = rebuild.old.value(value).def else { return Ok(()) };
    if rebuild.is_built(value) {
        return Ok(());
    }
    let node = rebuild.old.node(id);
    for &operand in node.operands.iter().flatten() {
        copy_known(rebuild, operand)?;
    }
    rebuild.copy(node, Vec::new())
}

/// Applies a pass to each region of a node.
///
/// # Errors
/// The pass's.
pub(crate) fn map_regions<E>(node: &Node, mut pass: impl FnMut(&Graph) -> Result<Graph, E>) -> Result<Vec<Graph>, E> {
    node.regions.iter().map(&mut pass).collect()
}

/// The graph without nodes on which no output and no bound symbol depends, the others in the order in which a walk from
/// the outputs, operands first, meets them: however the model listed them, equal graphs come out equal.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn prune(graph: &Graph) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph);
    for id in walk(graph) {
        let node = graph.node(id);
        rebuild.copy(node, node.regions.clone())?;
    }
    Ok(rebuild.finish())
}

/// The live nodes, operands before users, operand by operand; what a symbol comes from is before what depends on it.
fn walk(graph: &Graph) -> Vec<NodeId> {
    let definition = |value: ValueId| match graph.value(value).def {
        ValueDef::Input(_) => None,
        ValueDef::Result(node, _) => Some(node),
    };
    let sources = symbol_sources(graph);
    let mut order = Vec::with_capacity(graph.nodes().len());
    let mut seen = vec![false; graph.nodes().len()];
    for root in graph.roots() {
        let mut stack: Vec<(NodeId, bool)> = definition(root).map(|id| (id, false)).into_iter().collect();
        while let Some((id, is_ready)) = stack.pop() {
            if is_ready {
                order.push(id);
            } else if !std::mem::replace(&mut seen[id.index()], true) {
                stack.push((id, true));
                let node = graph.node(id);
                let mut needed: Vec<NodeId> = node.operands.iter().flatten().filter_map(|&v| definition(v)).collect();
                if !sources.is_empty() {
                    let symbols = graph.node_symbols(node);
                    needed.extend(symbols.iter().filter_map(|name| sources.get(name)));
                }
                stack.extend(needed.into_iter().rev().filter(|id| !seen[id.index()]).map(|id| (id, false)));
            }
        }
    }
    order
}

/// The nodes from which symbols that the inputs do not bind get their values, by symbol.
fn symbol_sources(graph: &Graph) -> BTreeMap<Arc<str>, NodeId> {
    let tensor_shape = |value: ValueId| graph.ty(value).as_tensor().map_or(&[][..], |ty| &ty.shape);
    let given: std::collections::BTreeSet<Arc<str>> =
        graph.inputs().iter().flat_map(|&input| symbols_of(tensor_shape(input))).collect();
    let mut sources = BTreeMap::new();
    for binding in graph.bindings() {
        if let ValueDef::Result(node, _) = graph.value(binding.value).def {
            sources.insert(binding.symbol.clone(), node);
        }
    }
    let bound = |name: &Arc<str>| given.contains(name) || graph.bindings().iter().any(|b| b.symbol == *name);
    for (id, node) in graph.nodes() {
        let extents = node.results.iter().flat_map(|&result| tensor_shape(result)).filter_map(Dim::as_symbol);
        for name in extents.filter(|name| !bound(name)) {
            sources.entry(name.clone()).or_insert(id);
        }
    }
    sources
}
