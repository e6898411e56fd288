//! What stretches see of values that several of them share, such as a mask that all layers of a model use.
//!
//! A stretch that knows how such a value came about can read what it was made of instead.

use ic_ir::{Graph, Node, NodeId, Op, ValueDef, ValueId};

/// Most nodes behind a shared value that others see.
const MAX_NODES: usize = 24;

/// Whether each node, by node, is shown to the stretches that use its results.
pub(super) fn context(graph: &Graph, stretches: &[&[(NodeId, &Node)]], known: &[bool]) -> Vec<bool> {
    let mut stretch_of = vec![usize::MAX; graph.nodes().len()];
    for (i, stretch) in stretches.iter().enumerate() {
        stretch.iter().for_each(|(id, _)| stretch_of[id.index()] = i);
    }
    let mut shown = vec![false; stretch_of.len()];
    for value in shared(graph, stretches, &stretch_of) {
        show(graph, value, known, &stretch_of, &mut shown);
    }
    shown
}

/// The values that at least two stretches use beside the one in which they are computed.
fn shared(graph: &Graph, stretches: &[&[(NodeId, &Node)]], stretch_of: &[usize]) -> Vec<ValueId> {
    let mut users: Vec<(usize, Option<usize>)> = vec![(0, None); graph.values().len()];
    let mut found = Vec::new();
    for (i, stretch) in stretches.iter().enumerate() {
        for &value in stretch.iter().flat_map(|(_, node)| node.operands.iter().flatten()) {
            let ValueDef::Result(id, _) = graph.value(value).def else { continue };
            let (n_users, last) = &mut users[value.index()];
            if stretch_of[id.index()] < i && *last != Some(i) {
                (*n_users, *last) = (*n_users + 1, Some(i));
                if *n_users == 2 {
                    found.push(value);
                }
            }
        }
    }
    found
}

/// Shows the nodes that compute `value` from what is more than movement or arithmetic on elements.
fn show(graph: &Graph, value: ValueId, known: &[bool], stretch_of: &[usize], shown: &mut [bool]) {
    let ValueDef::Result(root, _) = graph.value(value).def else { return };
    let (mut queue, mut next) = (vec![root], 0);
    while next < queue.len() && next < MAX_NODES {
        let id = queue[next];
        next += 1;
        let node = graph.node(id);
        if !is_light(&node.op) || stretch_of[id.index()] != stretch_of[root.index()] {
            continue;
        }
        shown[id.index()] = true;
        for &operand in node.operands.iter().flatten().filter(|v| !known[v.index()]) {
            if let ValueDef::Result(id, _) = graph.value(operand).def
                && !queue.contains(&id)
            {
                queue.push(id);
            }
        }
    }
}

fn is_light(op: &Op) -> bool {
    matches!(op, Op::Pointwise(_) | Op::Cast(_))
        || matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) | Op::Slice(_))
}
