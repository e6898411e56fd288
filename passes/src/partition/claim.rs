//! Which nodes anchors take as epilogues.
//!
//! A region grows from the anchor's result by the users of its open values, until one value alone is used outside. It
//! is accepted only if it can be emitted, so every stage finds earlier results at its own point.

use super::access;
use super::anchor;
use super::facts::{Facts, Kind};
use super::integer;
use super::plan::{Fusion, GroupKind, Plan};
use super::rows::{self, RowSpace};
use ic_ir::ops::{Layout, Op, axis_of};
use ic_ir::{NodeId, ValueId};
use ic_types::DType;
use std::collections::BTreeSet;

/// Most nodes that a region grows by at once.
const MAX_STEP: usize = 24;

/// Claims every op and its epilogue.
pub(crate) fn claim_ops(facts: &Facts, plan: &mut Plan, fusion: Fusion) {
    for (id, node) in facts.graph.nodes().filter(|(id, _)| facts.live[id.index()]) {
        let kind = facts.kinds[id.index()];
        if kind == Kind::Branch {
            plan.add_group(GroupKind::Branch, vec![id], node.results.clone());
        }
        if kind != Kind::Op || plan.group_of[id.index()].is_some() {
            continue;
        }
        let (mut nodes, mut root) = (vec![id], node.results[0]);
        while fusion != Fusion::Off && takes_epilogue(&node.op) {
            let accept = |user: NodeId, members: &BTreeSet<ValueId>| {
                plan.group_of[user.index()].is_none() && fits_op(facts, id, user, members)
            };
            let Some((step, next)) = grow(facts, root, &accept) else { break };
            let grown = [nodes.as_slice(), &step].concat();
            // What is finished in place keeps its type; integer contractions store what they requantize.
            let [from, to] = [node.results[0], next].map(|v| facts.graph.dtype(v));
            let fits = from == to || integer::stores(&node.op, to);
            if !fits || anchor::epilogue(facts, &grown, next).is_err() {
                break;
            }
            (nodes, root) = (grown, next);
        }
        if let Some((stored, narrow)) = without_dequantize(facts, &nodes, root) {
            (nodes, root) = (stored, narrow);
        }
        if fusion == Fusion::WithRows
            && matches!(node.op, Op::Matmul(_))
            && facts.graph.dtype(root) == DType::F32
            && let Some(rows) = rows_after(facts, plan, &nodes, root)
        {
            let RowsAfter { space, nodes: after, roots } = rows;
            let n_op = nodes.len();
            plan.add_group(GroupKind::OpRows { space, n_op }, [nodes, after].concat(), roots);
            continue;
        }
        let roots = if nodes.len() > 1 { vec![root] } else { node.results.clone() };
        plan.add_group(GroupKind::Op, nodes, roots);
    }
}

/// An integer contraction without the dequantization at its end, where all that read it can do that as they read: a quarter
/// of the bytes lies in memory.
fn without_dequantize(facts: &Facts, nodes: &[NodeId], root: ValueId) -> Option<(Vec<NodeId>, ValueId)> {
    let graph = facts.graph;
    let (&last, rest) = nodes.split_last()?;
    let node = graph.node(last);
    let is_last = matches!(node.op, Op::Dequantize(_)) && node.results[0] == root && !facts.is_output[root.index()];
    let (anchor, narrow) = (graph.node(*rest.first()?), node.operands[0]?);
    let has_one_scale = node.operands[1..].iter().flatten().all(|&v| graph.tensor_ty(v).elements().is(1));
    let mut users = facts.users[root.index()].iter();
    let fits = is_last
        && has_one_scale
        && users.len() > 0
        && users.all(|user| facts.kinds[user.index()] == Kind::Pointwise)
        && integer::is_contraction(&anchor.op)
        && integer::stores(&anchor.op, graph.dtype(narrow))
        && anchor::epilogue(facts, rest, narrow).is_ok();
    fits.then(|| (rest.to_vec(), narrow))
}

fn takes_epilogue(op: &Op) -> bool {
    match op {
        Op::Matmul(_) | Op::IntegerMatmul(_) | Op::Attention(_) => true,
        Op::IntegerConvolution(op) => op.layout == Layout::ChannelsLast,
        Op::Convolution(op) => op.layout == Layout::ChannelsLast,
        Op::ConvTranspose(op) => op.layout == Layout::ChannelsLast,
        _ => false,
    }
}

/// Whether an op's epilogue may compute `user`: pointwise on the op's result, with operands that are full tensors, one
/// element per column, or one element. That of attention only moves its result: heads come together.
fn fits_op(facts: &Facts, anchor: NodeId, user: NodeId, members: &BTreeSet<ValueId>) -> bool {
    let graph = facts.graph;
    let (node, whole) = (graph.node(user), graph.tensor_ty(graph.node(anchor).results[0]));
    let result = graph.tensor_ty(node.results[0]);
    if integer::is_contraction(&graph.node(anchor).op) && !integer::computes(facts, user, members) {
        return false;
    }
    if let Op::Attention(_) = graph.node(anchor).op {
        return matches!(node.op, Op::Transpose(_) | Op::Reshape(_)) && facts.kinds[user.index()] == Kind::Movement;
    }
    if result.elements() != whole.elements() || result.shape.last() != whole.shape.last() {
        return false;
    }
    let axis = match &node.op {
        Op::Quantize(op) => Some(op.axis),
        Op::Dequantize(op) => Some(op.axis),
        _ => None,
    };
    if axis.is_some_and(|axis| axis_of(axis, result.rank()) != Ok(result.rank().saturating_sub(1)))
        && !node.operands[1..].iter().flatten().all(|&v| graph.tensor_ty(v).elements().is(1))
    {
        return false;
    }
    match facts.kinds[user.index()] {
        Kind::Movement => access::dense_part(graph, node).is_some(),
        Kind::Pointwise => node.operands.iter().flatten().filter(|v| !members.contains(v)).all(|&operand| {
            let shape = &graph.tensor_ty(operand).shape;
            *shape == result.shape || shape.iter().rev().skip(1).all(|extent| extent.is(1))
        }),
        _ => false,
    }
}

/// Claims every reduction and normalization with what follows on the same rows, and reductions of one value together.
pub(crate) fn claim_rows(facts: &Facts, plan: &mut Plan, fusion: Fusion) {
    for (id, node) in facts.graph.nodes().filter(|(id, _)| facts.live[id.index()]) {
        if facts.kinds[id.index()] != Kind::Rows || plan.group_of[id.index()].is_some() {
            continue;
        }
        let space = RowSpace::of(facts.graph, node);
        if fusion == Fusion::Off {
            plan.add_group(GroupKind::Rows(space), vec![id], vec![node.results[0]]);
            continue;
        }
        let (mut nodes, root) = grown_rows(facts, plan, &space, id);
        let mut roots = vec![root];
        for sibling in siblings(facts, plan, &space, id) {
            if !nodes.contains(&sibling)
                && let Some((joined, ends)) = joined_rows(facts, plan, &space, (&nodes, &roots), sibling)
            {
                (nodes, roots) = (joined, ends);
            }
        }
        plan.add_group(GroupKind::Rows(space), nodes, roots);
    }
}

/// A row op with what follows on the same rows, and the value that this ends in.
fn grown_rows(facts: &Facts, plan: &Plan, space: &RowSpace, id: NodeId) -> (Vec<NodeId>, ValueId) {
    let (mut nodes, mut root) = (vec![id], facts.graph.node(id).results[0]);
    let accept = |user: NodeId, members: &BTreeSet<ValueId>| {
        plan.group_of[user.index()].is_none() && fits_rows(facts, space, user, members)
    };
    while let Some((step, next)) = grow(facts, root, &accept) {
        let grown = [nodes.as_slice(), &step].concat();
        if rows::trial(facts, space, &grown, &[next]).is_err() {
            break;
        }
        (nodes, root) = (grown, next);
    }
    (nodes, root)
}

/// The other reductions of the value that `id` reduces, over the same rows: one pass over memory does for all.
fn siblings(facts: &Facts, plan: &Plan, space: &RowSpace, id: NodeId) -> Vec<NodeId> {
    let is_reduction = |id: NodeId| matches!(facts.graph.node(id).op, Op::Reduce(_));
    let Some(x) = facts.graph.node(id).operands[0].filter(|_| is_reduction(id)) else { return Vec::new() };
    let fits = |user: &NodeId| {
        *user != id
            && is_reduction(*user)
            && plan.group_of[user.index()].is_none()
            && space.has_rows_of(facts.graph, facts.graph.node(*user))
    };
    facts.users[x.index()].iter().copied().filter(fits).collect()
}

/// A group of rows with another reduction and what follows on that, and the values that others need; `None` if it cannot be one
/// kernel.
fn joined_rows(
    facts: &Facts,
    plan: &Plan,
    space: &RowSpace,
    (nodes, roots): (&[NodeId], &[ValueId]),
    sibling: NodeId,
) -> Option<(Vec<NodeId>, Vec<ValueId>)> {
    let (more, end) = grown_rows(facts, plan, space, sibling);
    let mut joined = [nodes, &more].concat();
    joined.sort_unstable();
    joined.dedup();
    let results: BTreeSet<ValueId> = joined.iter().map(|&id| facts.graph.node(id).results[0]).collect();
    // What the kernel reads must not follow from its results.
    let first = joined.first().copied()?;
    let precedes = |v: &ValueId| facts.def(*v).is_none_or(|(id, ..)| id < first || facts.constant[v.index()]);
    let mut reads = joined.iter().flat_map(|&id| facts.graph.node(id).operands.iter().flatten());
    if !reads.all(|v| results.contains(v) || precedes(v)) {
        return None;
    }
    let is_needed =
        |v: &ValueId| facts.is_output[v.index()] || facts.users[v.index()].iter().any(|user| !joined.contains(user));
    let ends: Vec<ValueId> = roots.iter().copied().chain([end]).filter(is_needed).collect();
    // Nothing else may be needed outside.
    let is_whole = results.iter().filter(|v| is_needed(v)).all(|v| ends.contains(v));
    (is_whole && rows::trial(facts, space, &joined, &ends).is_ok()).then_some((joined, ends))
}

/// What folds the rows of a product's result.
struct RowsAfter {
    space: RowSpace,
    nodes: Vec<NodeId>,
    /// What the kernel stores: the end of the rows, after the product's own result where that is used elsewhere.
    roots: Vec<ValueId>,
}

/// The normalization or softmax of the last axis that reads `sum`, the result of the product `op` with its epilogue, and
/// what follows on the same rows.
fn rows_after(facts: &Facts, plan: &Plan, op: &[NodeId], sum: ValueId) -> Option<RowsAfter> {
    let graph = facts.graph;
    let is_free = |id: NodeId| plan.group_of[id.index()].is_none();
    let folds = |id: &NodeId| {
        let node = graph.node(*id);
        let is_norm = matches!(node.op, Op::LayerNormalization(_) | Op::RmsNormalization(_) | Op::Softmax(_));
        let is_operand = node.operands[0] == Some(sum) && !node.operands[1..].contains(&Some(sum));
        is_norm && is_operand && is_free(*id) && RowSpace::of(graph, node).is_last_axis()
    };
    let first = facts.users[sum.index()].iter().copied().filter(folds).min()?;
    let space = RowSpace::of(graph, graph.node(first));
    let (mut nodes, mut end) = (vec![first], graph.node(first).results[0]);
    // What the rows also read must not follow from the product's result.
    let precedes = |user: NodeId, members: &BTreeSet<ValueId>| {
        let others = graph.node(user).operands.iter().flatten().filter(|v| !members.contains(v) && **v != sum);
        others.into_iter().all(|&v| facts.def(v).is_none_or(|(id, ..)| id < op[0] || facts.constant[v.index()]))
    };
    if !precedes(first, &BTreeSet::new()) {
        return None;
    }
    let roots = |nodes: &[NodeId], end: ValueId| {
        let is_kept = facts.is_output[sum.index()] || facts.users[sum.index()].iter().any(|user| !nodes.contains(user));
        if is_kept { vec![sum, end] } else { vec![end] }
    };
    let fits =
        |nodes: &[NodeId], end: ValueId| rows::trial_after(facts, &space, (op, nodes), sum, &roots(nodes, end)).is_ok();
    if !fits(&nodes, end) {
        return None;
    }
    let accept = |user: NodeId, members: &BTreeSet<ValueId>| {
        is_free(user) && precedes(user, members) && fits_rows(facts, &space, user, members)
    };
    while let Some((step, next)) = grow(facts, end, &accept) {
        let grown = [nodes.as_slice(), &step].concat();
        if !fits(&grown, next) {
            break;
        }
        (nodes, end) = (grown, next);
    }
    let roots = roots(&nodes, end);
    Some(RowsAfter { space, nodes, roots })
}

/// Whether a kernel over `space` may compute `user`: on rows, or on one element per row.
fn fits_rows(facts: &Facts, space: &RowSpace, user: NodeId, members: &BTreeSet<ValueId>) -> bool {
    let graph = facts.graph;
    let node = graph.node(user);
    let elements = graph.tensor_ty(node.results[0]).elements();
    let is_member = |v: &&Option<ValueId>| v.is_some_and(|v| members.contains(&v));
    let fits = elements == space.n_rows() || elements == space.elements() && !space.is_strided();
    match facts.kinds[user.index()] {
        Kind::Pointwise | Kind::Movement => fits,
        // Of the operands of a row op, only the first runs along the rows.
        Kind::Rows => space.has_rows_of(graph, node) && !node.operands[1..].iter().any(|v| is_member(&v)),
        _ => false,
    }
}

/// The nodes by which a region grows from `root` until one value alone is used outside, and that value.
fn grow(
    facts: &Facts,
    root: ValueId,
    accept: &dyn Fn(NodeId, &BTreeSet<ValueId>) -> bool,
) -> Option<(Vec<NodeId>, ValueId)> {
    let (mut step, mut members) = (Vec::new(), BTreeSet::from([root]));
    let mut open = BTreeSet::from([root]);
    while step.len() < MAX_STEP {
        if open.iter().any(|v| facts.is_output[v.index()]) {
            return None;
        }
        let users = open.iter().flat_map(|v| &facts.users[v.index()]).copied();
        let user = users.filter(|user| !step.contains(user)).min()?;
        if !accept(user, &members) {
            return None;
        }
        step.push(user);
        let result = facts.graph.node(user).results[0];
        members.insert(result);
        open.insert(result);
        open.retain(|v| facts.is_output[v.index()] || facts.users[v.index()].iter().any(|u| !step.contains(u)));
        if open.len() == 1 && open.contains(&result) {
            return Some((step, result));
        }
    }
    None
}
