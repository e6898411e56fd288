//! Passes that are computed where they are used, expressions that are shared, passes that nothing needs.

use super::{Form, Node, NodeId, Pass, Put};
use ic_types::DType;
use std::collections::HashMap;

/// Which cheap pointwise passes several others compute for themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Repeats {
    /// All.
    Always,
    /// Those of which a row takes no more than a few instructions an element, or is too long for a cache.
    Short,
}

/// Most functions and conversions for an element that are computed more than once by [`Repeats::Short`].
const SHORT: usize = 3;

/// Computes cheap pointwise passes where they are used, and drops passes that nothing needs.
pub(super) fn inline_passes(form: &mut Form, repeats: Repeats) {
    let points = form.passes.iter().all(|pass| pass.inner.is_empty() && pass.reduce.is_none());
    let kept: Vec<bool> =
        (0..form.passes.len()).map(|i| repeats == Repeats::Short && is_worth_keeping(form, i)).collect();
    let mut done: Vec<Pass> = Vec::new();
    for mut pass in std::mem::take(&mut form.passes) {
        let inlinable = |number: usize, other: &Pass, user: &Pass| {
            if kept[number] {
                return false;
            }
            let cheap = other.stores.is_empty() && !(0..other.nodes.len()).any(|id| other.is_strip(id));
            other.reduce.is_none() && other.inner == user.inner && (points || cheap && !other.inner.is_empty())
        };
        let (nodes, types) = (std::mem::take(&mut pass.nodes), std::mem::take(&mut pass.types));
        let mut moved: Vec<NodeId> = Vec::with_capacity(nodes.len());
        // Where the nodes of each inlined pass are.
        let mut inlined: Vec<Option<NodeId>> = vec![None; done.len()];
        for (node, dtype) in nodes.into_iter().zip(types) {
            let id = match node {
                Node::Pass(other) if inlinable(other, &done[other], &pass) => {
                    *inlined[other].get_or_insert_with(|| {
                        let start = pass.nodes.len();
                        pass.nodes.extend(done[other].nodes.iter().map(|node| renumber(node, &|id| id + start)));
                        pass.types.extend_from_slice(&done[other].types);
                        start + done[other].root
                    })
                }
                node => {
                    pass.nodes.push(renumber(&node, &|id| moved[id]));
                    pass.types.push(dtype);
                    pass.nodes.len() - 1
                }
            };
            moved.push(id);
        }
        pass.root = moved[pass.root];
        pass.stores.iter_mut().for_each(|store| store.value = moved[store.value]);
        if let (true, Some(before)) = (points, done.last()) {
            let start = inlined[done.len() - 1].map(|root| root - before.root);
            prepend(&mut pass, before, start);
        }
        deduplicate(&mut pass);
        done.push(pass);
    }
    // Without inner axes, the last pass does everything.
    if points {
        done.drain(..done.len().saturating_sub(1)).for_each(drop);
    }
    form.passes = drop_unused(done);
}

/// Whether a pass over rows of one axis takes more than a few instructions an element, and several others need it.
fn is_worth_keeping(form: &Form, number: usize) -> bool {
    let pass = &form.passes[number];
    let users = form.passes.iter().filter(|user| user.nodes.contains(&Node::Pass(number))).count();
    let work = pass.nodes.iter().filter(|node| matches!(node, Node::Apply(..) | Node::Cast(_)));
    !form.outer.is_empty() && pass.inner.len() == 1 && users > 1 && work.count() > SHORT
}

/// Makes equal expressions one.
fn deduplicate(pass: &mut Pass) {
    let mut seen: HashMap<(Node, DType), NodeId> = HashMap::new();
    let mut moved: Vec<NodeId> = Vec::with_capacity(pass.nodes.len());
    let (nodes, types) = (std::mem::take(&mut pass.nodes), std::mem::take(&mut pass.types));
    for (node, dtype) in nodes.into_iter().zip(types) {
        let node = renumber(&node, &|id| moved[id]);
        let next = pass.nodes.len();
        let id = *seen.entry((node.clone(), dtype)).or_insert(next);
        if id == next {
            pass.nodes.push(node);
            pass.types.push(dtype);
        }
        moved.push(id);
    }
    pass.root = moved[pass.root];
    pass.stores.iter_mut().for_each(|store| store.value = moved[store.value]);
}

/// Adds the stores of a pass at the same points, whose nodes are already there from `start` on, if they are.
fn prepend(pass: &mut Pass, before: &Pass, start: Option<NodeId>) {
    if before.stores.is_empty() {
        return;
    }
    let start = start.unwrap_or_else(|| {
        let end = pass.nodes.len();
        pass.nodes.extend(before.nodes.iter().map(|node| renumber(node, &|id| id + end)));
        pass.types.extend_from_slice(&before.types);
        end
    });
    let moved = before.stores.iter().map(|store| Put { value: store.value + start, ..store.clone() });
    pass.stores.splice(0..0, moved);
}

fn renumber(node: &Node, to: &dyn Fn(NodeId) -> NodeId) -> Node {
    match node {
        Node::Apply(op, args) => Node::Apply(*op, args.iter().map(|&arg| to(arg)).collect()),
        Node::Cast(arg) => Node::Cast(to(*arg)),
        Node::Load(get) => {
            let mut get = get.clone();
            get.gathers.iter_mut().for_each(|gather| gather.index = to(gather.index));
            get.otherwise = get.otherwise.map(to);
            Node::Load(get)
        }
        node => node.clone(),
    }
}

/// Marks what later passes need, and drops passes without effect.
fn drop_unused(mut passes: Vec<Pass>) -> Vec<Pass> {
    for index in (0..passes.len()).rev() {
        if passes[index].stores.is_empty() && !passes[index].keep {
            continue;
        }
        let needed = passes[index].needed();
        let used = passes[index].nodes.iter().zip(needed).filter_map(|(node, needed)| match node {
            Node::Pass(other) if needed => Some(*other),
            _ => None,
        });
        for other in used.collect::<Vec<_>>() {
            passes[other].keep = true;
        }
    }
    let mut places = Vec::with_capacity(passes.len());
    let mut kept = Vec::new();
    for mut pass in passes {
        places.push(kept.len());
        if pass.stores.is_empty() && !pass.keep {
            continue;
        }
        for node in &mut pass.nodes {
            if let Node::Pass(other) = node {
                *other = places[*other];
            }
        }
        kept.push(pass);
    }
    kept
}
