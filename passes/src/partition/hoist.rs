//! Moves constants of nested graphs into the outermost graph, where the compiler evaluates and packs constants.

use ic_ir::ops::Op;
use ic_ir::{Graph, GraphError, Type, ValueId};
use std::collections::BTreeMap;

/// Rewrites a graph so that nested graphs capture their constants. Those that pointwise nodes alone read stay
/// if they have one element.
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
        for region in &node.regions {
            regions.push(hoist_branch_constants(region)?);
        }
        let constants: Vec<Vec<ValueId>> = regions.iter().map(constants).collect();
        let mut captures = Vec::new();
        for (region, values) in regions.iter().zip(&constants) {
            for node in values.iter().filter_map(|&value| region.def(value)) {
                let value = result.push(node.op.clone(), &[], &node.location)?;
                captures.push(result.ty(value).clone());
                operands.push(Some(value));
            }
        }
        let mut first = 0;
        for (region, values) in regions.iter_mut().zip(&constants) {
            *region = with_captures(region, values, first, &captures)?;
            first += values.len();
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

/// The constants that need memory: those of more than one element, and those that not only pointwise nodes read.
fn constants(region: &Graph) -> Vec<ValueId> {
    let users = region.users();
    let needs_memory = |value: ValueId| {
        region.roots().any(|root| root == value)
            || users[value.index()].iter().any(|&user| !matches!(region.node(user).op, Op::Pointwise(_)))
    };
    let nodes = region.nodes().filter(|(_, node)| match &node.op {
        Op::Constant(op) => op.value.len() != 1 || needs_memory(node.results[0]),
        _ => false,
    });
    nodes.map(|(_, node)| node.results[0]).collect()
}

/// A region with further inputs, of types `captures`, of which those from `first` on replace `constants`.
fn with_captures(region: &Graph, constants: &[ValueId], first: usize, captures: &[Type]) -> Result<Graph, GraphError> {
    let mut result = Graph::new(region.name.clone());
    result.symbols.clone_from(&region.symbols);
    let mut map = BTreeMap::new();
    for &input in region.inputs() {
        let name = region.value(input).name.clone().unwrap_or_default();
        map.insert(input, result.add_input(name, region.ty(input).clone()));
    }
    let captured: Vec<ValueId> = captures.iter().map(|ty| result.add_input("", ty.clone())).collect();
    map.extend(constants.iter().copied().zip(captured.into_iter().skip(first)));
    for (_, node) in region.nodes().filter(|(_, node)| !node.results.iter().any(|v| constants.contains(v))) {
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
