//! The order of a graph's nodes: every name defined once, definitions before uses.

use onnx_protobuf::{GraphProto, NodeProto};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

/// What is wrong with the names of a graph, with the node where there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NameProblem {
    /// Index of the node.
    pub(crate) node: Option<usize>,
    /// What is wrong.
    pub(crate) message: String,
}

/// The name that messages and the graph give to a node.
pub(crate) fn node_name(node: &NodeProto, index: usize) -> String {
    if node.name.is_empty() { format!("{}_{index}", node.op_type) } else { node.name.clone() }
}

/// The names that `graph` uses and does not define.
pub(crate) fn free_names(graph: &GraphProto) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = graph.node.iter().flat_map(used_names).collect();
    names.extend(graph.output.iter().map(|v| v.name.as_str()));
    let defined = graph.node.iter().flat_map(|n| &n.output).map(String::as_str);
    let defined = defined.chain(graph.input.iter().map(|v| v.name.as_str()));
    for name in defined.chain(graph.initializer.iter().map(|t| t.name.as_str())) {
        names.remove(name);
    }
    names
}

/// The names that a node uses, those of its nested graphs included.
fn used_names(node: &NodeProto) -> Vec<&str> {
    let inputs = node.input.iter().map(String::as_str).filter(|name| !name.is_empty());
    let nested = node.attribute.iter().flat_map(|a| a.g.as_ref().into_iter().chain(&a.graphs));
    inputs.chain(nested.flat_map(free_names)).collect()
}

/// Indices of the nodes that `outputs` depend on, definitions before uses and otherwise in the model's order.
///
/// `is_defined` tells which names are known before the first node.
///
/// # Errors
/// Duplicate definitions, undefined names and cycles.
pub(crate) fn sort(
    nodes: &[NodeProto],
    outputs: &[String],
    is_defined: &dyn Fn(&str) -> bool,
) -> Result<Vec<usize>, Vec<NameProblem>> {
    let mut problems = Vec::new();
    let mut definitions: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if definitions.insert(name, i).is_some() {
                problems.push(NameProblem { node: Some(i), message: format!("value `{name}` is defined twice") });
            }
        }
    }
    for (i, node) in nodes.iter().enumerate() {
        for (k, name) in node.input.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            if !definitions.contains_key(name.as_str()) && !is_defined(name) {
                problems.push(NameProblem { node: Some(i), message: format!("input {k}, `{name}`, is not defined") });
            }
        }
    }
    for name in outputs.iter().filter(|name| !definitions.contains_key(name.as_str()) && !is_defined(name)) {
        problems.push(NameProblem { node: None, message: format!("output `{name}` is not defined") });
    }
    let needs: Vec<BTreeSet<usize>> = nodes
        .iter()
        .map(|node| used_names(node).into_iter().filter_map(|n| definitions.get(n).copied()).collect())
        .collect();
    let order = topological(&needs);
    if order.len() < nodes.len() {
        problems.push(cycle(nodes, &order));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let live = live_nodes(&order, &needs, outputs.iter().filter_map(|name| definitions.get(name.as_str()).copied()));
    Ok(order.into_iter().filter(|i| live.contains(i)).collect())
}

/// As much of an order as there is: least index first among the nodes that are ready.
fn topological(needs: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut users = vec![Vec::new(); needs.len()];
    let mut missing: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
    for (i, needed) in needs.iter().enumerate() {
        needed.iter().for_each(|&n| users[n].push(i));
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        missing.iter().enumerate().filter(|(_, n)| **n == 0).map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    order
}

fn cycle(nodes: &[NodeProto], order: &[usize]) -> NameProblem {
    let placed: HashSet<usize> = order.iter().copied().collect();
    let stuck: Vec<usize> = (0..nodes.len()).filter(|i| !placed.contains(i)).collect();
    let names: Vec<String> = stuck.iter().take(8).map(|&i| format!("`{}`", node_name(&nodes[i], i))).collect();
    let more =
        if stuck.len() > names.len() { format!(" and {} more", stuck.len() - names.len()) } else { String::new() };
    let message = format!("nodes depend on each other in a cycle: {}{more}", names.join(", "));
    NameProblem { node: stuck.first().copied(), message }
}

fn live_nodes(order: &[usize], needs: &[BTreeSet<usize>], roots: impl Iterator<Item = usize>) -> HashSet<usize> {
    let mut live: HashSet<usize> = roots.collect();
    for &i in order.iter().rev() {
        if live.contains(&i) {
            live.extend(&needs[i]);
        }
    }
    live
}
