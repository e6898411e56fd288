//! Which nodes work on channels-last values: a minimum cut between those that must and those that cannot.
//!
//! Nodes on the source's side work on channels-last values. A value that is needed in a form other than its
//! definition's is transposed once, however many users want it: an auxiliary vertex per value and form stands for
//! that. Of several minimum cuts the one with the largest source side is taken, so that a convolution's pointwise
//! successors stay with it.

use super::Form;
use super::convolution::plain_excess;
use super::roles::{Role, Take, role, take};
use crate::Options;
use crate::canonicalize::movement::keeps_order;
use crate::cost::assumed_bytes;
use crate::known::known_values;
use ic_ir::{Graph, Node, Op, ValueDef, ValueId};
use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

/// Capacity of an edge that must not be cut.
const UNCUTTABLE: u64 = 1 << 50;

/// What starting a transpose costs, in bytes.
const TRANSPOSE: u64 = 4096;

struct Network {
    graph: DiGraph<(), u64>,
    /// Vertices by node of the model.
    nodes: Vec<NodeIndex>,
}

/// What must be channels last.
fn source() -> NodeIndex {
    NodeIndex::new(0)
}

/// What must be plain.
fn sink() -> NodeIndex {
    NodeIndex::new(1)
}

/// The form on which each node works, by node.
pub(super) fn choose_forms(graph: &Graph, options: &Options) -> Vec<Form> {
    let known = known_values(graph);
    let roles: Vec<Role> = graph.nodes().map(|(_, node)| node_role(graph, node, options, &known)).collect();
    if !roles.iter().any(|role| matches!(role, Role::ChannelsLast | Role::Convolution)) {
        return vec![Form::Plain; roles.len()];
    }
    let mut network = network(graph, &roles, &known);
    let last = source_side(&mut network.graph);
    let form = |vertex: &NodeIndex| if last[vertex.index()] { Form::ChannelsLast } else { Form::Plain };
    network.nodes.iter().map(form).collect()
}

fn node_role(graph: &Graph, node: &Node, options: &Options, known: &[bool]) -> Role {
    match role(graph, node, options) {
        Role::Either if node.results.iter().all(|r| known[r.index()]) => Role::Plain,
        role => role,
    }
}

fn network(graph: &Graph, roles: &[Role], known: &[bool]) -> Network {
    let mut network = Network { graph: DiGraph::new(), nodes: Vec::new() };
    network.graph.add_node(());
    network.graph.add_node(());
    for (role, (_, node)) in roles.iter().zip(graph.nodes()) {
        let vertex = match role {
            Role::ChannelsLast | Role::FromLast => source(),
            Role::Plain | Role::ToLast | Role::Transpose => sink(),
            Role::Either => network.graph.add_node(()),
            Role::Convolution => convolution(&mut network.graph, graph, node),
        };
        network.nodes.push(vertex);
    }
    let mut wanted: Vec<Vec<NodeIndex>> = vec![Vec::new(); graph.values().len()];
    graph.roots().for_each(|v| wanted[v.index()].push(sink()));
    for (id, node) in graph.nodes() {
        for (i, operand) in node.operands.iter().enumerate() {
            let Some(operand) = operand.filter(|v| !known[v.index()]) else { continue };
            let vertex = network.nodes[id.index()];
            match roles[id.index()] {
                Role::Transpose => {}
                Role::Plain | Role::FromLast => wanted[operand.index()].push(sink()),
                Role::ToLast => wanted[operand.index()].push(source()),
                Role::Either | Role::ChannelsLast | Role::Convolution => match take(graph, node, i) {
                    Take::ChannelsLast => wanted[operand.index()].push(vertex),
                    Take::Plain => wanted[operand.index()].push(sink()),
                    Take::Broadcast => {
                        wanted[operand.index()].push(sink());
                        network.graph.add_edge(vertex, sink(), weight(graph, operand));
                    }
                },
            }
        }
    }
    for (value, users) in wanted.iter().enumerate().filter(|(value, _)| !known[*value]) {
        connect(&mut network, graph, ValueId(value as u32), users);
    }
    network
}

/// The vertex of a convolution, which is charged for on the side where it is slower.
fn convolution(network: &mut DiGraph<(), u64>, graph: &Graph, node: &Node) -> NodeIndex {
    let vertex = network.add_node(());
    if let Op::Convolution(op) = &node.op {
        // As bytes of transposes count: once read, once written.
        let excess = 2 * plain_excess(graph, node, op);
        let (from, to) = if excess > 0 { (source(), vertex) } else { (vertex, sink()) };
        network.add_edge(from, to, excess.unsigned_abs());
    }
    vertex
}

/// Charges for `value` once where a user is on another side than its definition.
fn connect(network: &mut Network, graph: &Graph, value: ValueId, users: &[NodeIndex]) {
    let producer = match graph.value(value).def {
        ValueDef::Input(_) => sink(),
        ValueDef::Result(node, _) => network.nodes[node.index()],
    };
    let weight = weight(graph, value);
    if weight == 0 || users.iter().all(|&user| user == producer) {
        return;
    }
    let (plain, last) = (network.graph.add_node(()), network.graph.add_node(()));
    network.graph.add_edge(producer, plain, weight);
    network.graph.add_edge(last, producer, weight);
    for &user in users {
        network.graph.add_edge(plain, user, UNCUTTABLE);
        network.graph.add_edge(user, last, UNCUTTABLE);
    }
}

/// What bringing a value into its other form costs, in bytes.
fn weight(graph: &Graph, value: ValueId) -> u64 {
    let Some(ty) = graph.ty(value).as_tensor() else { return UNCUTTABLE };
    match ty.rank() {
        0..=2 => 0,
        rank if keeps_order(&Form::ChannelsLast.perm(rank), &ty.shape) => 1,
        _ => (TRANSPOSE + 2 * assumed_bytes(ty)).min(1 << 40),
    }
}

/// The vertices from which the sink cannot be reached over edges with capacity left: the largest source side.
fn source_side(graph: &mut DiGraph<(), u64>) -> Vec<bool> {
    let (_, flows) = dinics(&*graph, source(), sink());
    let mut reaches_sink = vec![false; graph.node_count()];
    reaches_sink[sink().index()] = true;
    let mut stack = vec![sink()];
    while let Some(vertex) = stack.pop() {
        let forward = graph.edges_directed(vertex, petgraph::Incoming);
        let with_room = forward.filter(|e| flows[e.id().index()] < *e.weight()).map(|e| e.source());
        let backward = graph.edges_directed(vertex, petgraph::Outgoing);
        let with_flow = backward.filter(|e| flows[e.id().index()] > 0).map(|e| e.target());
        for next in with_room.chain(with_flow) {
            if !std::mem::replace(&mut reaches_sink[next.index()], true) {
                stack.push(next);
            }
        }
    }
    reaches_sink.iter().map(|reaches| !reaches).collect()
}
