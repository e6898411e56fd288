//! Moves constants of nested graphs, and what is computed from constants alone, into the outermost graph, where the
//! compiler evaluates and packs constants.

use super::facts::is_constant;
use ic_ir::ops::Op;
use ic_ir::{Graph, GraphError, NodeId, Type, ValueId};
use std::collections::BTreeMap;

/// Rewrites a graph so that nested graphs capture their constants, computed ones included. Those that pointwise nodes
/// alone read stay if they have one element.
///
/// # Errors
/// Never for a graph that verifies.
pub fn hoist_branch_constants(graph: &Graph) -> Result<Graph, GraphError> {
    if graph.nodes().all(|(_, node)| node.regions.is_empty()) {
        return Ok(graph.clone());
    }
    let mut result = Graph::new(graph.name.clone());
    result.symbols.clone_from(&graph.symbols);
    let mut map = BTreeMap::new();
    for &input in graph.inputs() {
        let name = graph.value(input).name.clone().unwrap_or_default();
        map.insert(input, result.add_input(name, graph.ty(input).clone()));
    }
    for (_, node) in graph.nodes() {
        let mut operands: Vec<_> = node.operands.iter().map(|v| v.and_then(|v| map.get(&v).copied())).collect();
        let mut regions = Vec::new();
        // What is called has constants of its own.
        let is_call = matches!(node.op, Op::Call(_));
        for region in &node.regions {
            regions.push(if is_call { region.clone() } else { hoist_branch_constants(region)? });
        }
        let hoisted: Vec<Hoisted> =
            regions.iter().map(|region| if is_call { Hoisted::nothing() } else { Hoisted::of(region) }).collect();
        let mut captures = Vec::new();
        for (region, hoisted) in regions.iter().zip(&hoisted) {
            for value in hoisted.copy(region, &mut result)? {
                captures.push(result.ty(value).clone());
                operands.push(Some(value));
            }
        }
        let mut first = 0;
        for (region, hoisted) in regions.iter_mut().zip(&hoisted) {
            *region = with_captures(region, hoisted, first, &captures)?;
            first += hoisted.captured.len();
        }
        let results = result.push_node(node.op.clone(), operands, regions, &node.location)?;
        for (old, new) in node.results.iter().zip(results) {
            if let Some(name) = &graph.value(*old).name {
                result.set_name(new, name.clone());
            }
            map.insert(*old, new);
        }
    }
    for (value, name) in graph.outputs().iter().zip(graph.output_names()) {
        if let Some(&value) = map.get(value) {
            result.add_output(name.clone(), value);
        }
    }
    copy_bindings(graph, &map, &mut result);
    Ok(result)
}

/// Binds the symbols of `graph` in `result`.
fn copy_bindings(graph: &Graph, map: &BTreeMap<ValueId, ValueId>, result: &mut Graph) {
    for binding in graph.bindings() {
        if let Some(&value) = map.get(&binding.value) {
            result.bind_symbol(binding.symbol.clone(), value, binding.element);
        }
    }
}

/// What leaves a region.
struct Hoisted {
    /// Nodes that are computed outside, in order; inside of the region they vanish.
    nodes: Vec<NodeId>,
    /// Their results that the rest of the region reads.
    captured: Vec<ValueId>,
}

impl Hoisted {
    fn nothing() -> Hoisted {
        Hoisted { nodes: Vec::new(), captured: Vec::new() }
    }

    /// What can leave a region and needs memory: what has more than one element, or not only pointwise nodes read.
    fn of(region: &Graph) -> Hoisted {
        let users = region.users();
        let mut constant = vec![false; region.values().len()];
        let mut nodes: Vec<NodeId> = Vec::new();
        let needs_memory = |value: ValueId| {
            let is_read = |&user: &NodeId| !matches!(region.node(user).op, Op::Pointwise(_));
            region.roots().any(|root| root == value) || users[value.index()].iter().any(is_read)
        };
        for (id, node) in region.nodes() {
            // What is larger than its operands is computed from them where it is read.
            let grows = matches!(node.op, Op::Iota(_) | Op::Expand(_));
            let stays = match &node.op {
                Op::Constant(op) => op.value.len() == 1 && !needs_memory(node.results[0]),
                _ => grows || node.operands.is_empty(),
            };
            let is_number = stays && matches!(node.op, Op::Constant(_));
            if is_number || !stays && is_constant(region, node, &constant) {
                node.results.iter().for_each(|v| constant[v.index()] = true);
                nodes.extend((!is_number).then_some(id));
            }
        }
        let is_captured = |value: &ValueId| {
            let leaves = |user: &NodeId| nodes.binary_search(user).is_err();
            region.roots().any(|root| root == *value) || users[value.index()].iter().any(leaves)
        };
        let results = nodes.iter().flat_map(|&id| region.node(id).results.iter().copied());
        let captured = results.filter(is_captured).collect();
        Hoisted { nodes, captured }
    }

    /// Adds the nodes to `to`, and gives what is captured there.
    fn copy(&self, region: &Graph, to: &mut Graph) -> Result<Vec<ValueId>, GraphError> {
        let mut map = BTreeMap::new();
        for node in self.nodes.iter().map(|&id| region.node(id)) {
            // Numbers that stay are there twice.
            for &operand in node.operands.iter().flatten() {
                if let (false, Some(number)) = (map.contains_key(&operand), region.def(operand)) {
                    map.insert(operand, to.push(number.op.clone(), &[], &number.location)?);
                }
            }
            let operands = node.operands.iter().map(|v| v.and_then(|v| map.get(&v).copied())).collect();
            let results = to.push_node(node.op.clone(), operands, Vec::new(), &node.location)?;
            map.extend(node.results.iter().copied().zip(results));
        }
        Ok(self.captured.iter().filter_map(|value| map.get(value).copied()).collect())
    }
}

/// A region with further inputs, of types `captures`, of which those from `first` on replace what left it.
fn with_captures(region: &Graph, hoisted: &Hoisted, first: usize, captures: &[Type]) -> Result<Graph, GraphError> {
    let mut result = Graph::new(region.name.clone());
    result.symbols.clone_from(&region.symbols);
    let mut map = BTreeMap::new();
    for &input in region.inputs() {
        let name = region.value(input).name.clone().unwrap_or_default();
        map.insert(input, result.add_input(name, region.ty(input).clone()));
    }
    let captured: Vec<ValueId> = captures.iter().map(|ty| result.add_input("", ty.clone())).collect();
    map.extend(hoisted.captured.iter().copied().zip(captured.into_iter().skip(first)));
    for (_, node) in region.nodes().filter(|(id, _)| hoisted.nodes.binary_search(id).is_err()) {
        let operands = node.operands.iter().map(|v| v.and_then(|v| map.get(&v).copied())).collect();
        let results = result.push_node(node.op.clone(), operands, node.regions.clone(), &node.location)?;
        map.extend(node.results.iter().copied().zip(results));
    }
    for (value, name) in region.outputs().iter().zip(region.output_names()) {
        if let Some(&value) = map.get(value) {
            result.add_output(name.clone(), value);
        }
    }
    copy_bindings(region, &map, &mut result);
    Ok(result)
}
