//! Dead nodes left out.

use ic_ir::{Binding, Graph, GraphError, ValueId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The graph without the nodes that its outputs do not depend on. All inputs stay.
///
/// # Errors
/// Never for a graph that was built by `push_node`.
pub(crate) fn prune(graph: &Graph) -> Result<Graph, GraphError> {
    let inputs: Vec<bool> = vec![true; graph.inputs().len()];
    keep_inputs(graph, &inputs)
}

/// Which inputs of the graph its outputs depend on.
pub(crate) fn used_inputs(graph: &Graph) -> Vec<bool> {
    let live = live_values(graph);
    graph.inputs().iter().map(|v| live[v.index()]).collect()
}

/// The graph without dead nodes and without the inputs that are not in `keep`, which nothing may use.
///
/// # Errors
/// Never for a graph that was built by `push_node`.
pub(crate) fn keep_inputs(graph: &Graph, keep: &[bool]) -> Result<Graph, GraphError> {
    let live = live_values(graph);
    let mut pruned = Graph::new(graph.name.clone());
    pruned.symbols = graph.symbols.clone();
    let mut map: Vec<Option<ValueId>> = vec![None; graph.values().len()];
    for (&input, _) in graph.inputs().iter().zip(keep).filter(|(_, keep)| **keep) {
        let value = graph.value(input);
        let name = value.name.clone().unwrap_or_else(|| "".into());
        map[input.index()] = Some(pruned.add_input(name, value.ty.clone()));
    }
    for (_, node) in graph.nodes().filter(|(_, node)| node.results.iter().any(|r| live[r.index()])) {
        let operands = node.operands.iter().map(|v| v.and_then(|v| map[v.index()])).collect();
        let results = pruned.push_node(node.op.clone(), operands, node.regions.clone(), &node.location)?;
        for (&old, &new) in node.results.iter().zip(&results) {
            map[old.index()] = Some(new);
            if let Some(name) = &graph.value(old).name {
                pruned.set_name(new, name.clone());
            }
        }
    }
    for (output, name) in graph.outputs().iter().zip(graph.output_names()) {
        if let Some(value) = map[output.index()] {
            pruned.add_output(name.clone(), value);
        }
    }
    for binding in graph.bindings().iter().filter(|binding| live[binding.value.index()]) {
        if let Some(value) = map[binding.value.index()] {
            pruned.bind_symbol(binding.symbol.clone(), value, binding.element);
        }
    }
    Ok(pruned)
}

/// Which values the outputs depend on, by value index.
fn live_values(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.values().len()];
    graph.outputs().iter().for_each(|v| live[v.index()] = true);
    let bound = |symbols: BTreeSet<Arc<str>>| {
        let names = |binding: &&Binding| symbols.contains(&binding.symbol);
        graph.bindings().iter().filter(names).map(|binding| binding.value).collect::<Vec<_>>()
    };
    for node in graph.schedule().into_iter().rev().map(|id| graph.node(id)) {
        if node.results.iter().any(|r| live[r.index()]) {
            node.operands.iter().flatten().for_each(|v| live[v.index()] = true);
            bound(graph.node_symbols(node)).into_iter().for_each(|v| live[v.index()] = true);
        }
    }
    live
}
