//! Kernels from groups.

use super::access;
use super::emit::{Emitter, Misaligned, Place, Slot, Target, View};
use super::facts::Facts;
use super::plan::{Group, GroupKind, Plan};
use super::simplify::{rename, simplify_axes};
use super::{anchor, rows};
use ic_ir::kernel::{Anchor, Axis, Expr, Index, Kernel, Param};
use ic_ir::ops::Op;
use ic_ir::{NodeId, ValueId};
use ic_types::Dim;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A kernel whose buffers have no numbers yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) work: Work,
    /// The last node that it computes: kernels that may run in any order run in that of the model.
    pub(crate) position: NodeId,
    pub(crate) location: Arc<str>,
}

/// What a draft does.
#[derive(Debug)]
pub(crate) enum Work {
    /// Runs a kernel on buffers.
    Kernel(Kernel, Vec<Slot>),
    /// Runs one of the node's regions.
    Branch(NodeId),
}

/// The kernels of a group.
pub(crate) fn drafts(
    facts: &Facts,
    plan: &Plan,
    group: &Group,
    targets: &BTreeMap<ValueId, Target>,
    is_inside: &dyn Fn(ValueId, ValueId) -> bool,
) -> Result<Vec<Draft>, Misaligned> {
    let is_buffer = |value| plan.is_buffer(facts, value) && !group.roots.contains(&value);
    let target = |value: &ValueId| targets.get(value).cloned().unwrap_or_else(|| Target::of(*value));
    let roots: Vec<(ValueId, Target)> = group.roots.iter().map(|value| (*value, target(value))).collect();
    let position = group.nodes.last().copied().unwrap_or(NodeId(0));
    let draft =
        |(kernel, slots)| Draft { work: Work::Kernel(kernel, slots), position, location: location(facts, group) };
    match &group.kind {
        GroupKind::Branch => {
            Ok(vec![Draft { work: Work::Branch(group.nodes[0]), position, location: location(facts, group) }])
        }
        GroupKind::Op => {
            let emitter = anchor::emit(facts, &group.nodes, &roots, &is_buffer, &|v| plan.stored.contains(&v))?;
            let outer = emitter.extents.clone();
            let (mut kernel, slots) = kernel(&emitter, outer);
            restore_axes(&mut kernel);
            Ok(vec![draft((kernel, slots))])
        }
        GroupKind::OpRows { space, n_op } => {
            let parts = group.nodes.split_at(*n_op);
            let sum = facts.graph.node(group.nodes[n_op - 1]).results[0];
            let is_stored = |v: ValueId| plan.stored.contains(&v);
            let emitter = rows::emit_after(facts, space, parts, (sum, &roots), (&is_buffer, &is_stored))?;
            let (mut kernel, slots) = kernel(&emitter, space.outer());
            simplify_axes(&mut kernel);
            Ok(vec![draft((kernel, slots))])
        }
        GroupKind::Rows(space) => {
            let emitter = rows::emit(facts, space, &group.nodes, &roots, &is_buffer)?;
            let (mut kernel, slots) = kernel(&emitter, space.outer());
            simplify_axes(&mut kernel);
            Ok(vec![draft((kernel, slots))])
        }
        GroupKind::Pointwise => Ok(vec![draft(pointwise(facts, &roots, &is_buffer)?)]),
        GroupKind::Pieces => {
            let (root, target) = &roots[0];
            let pieces = pieces(facts, *root, target);
            let own = |(piece, part): &(ValueId, Target)| targets.get(piece) != Some(part) && !is_inside(*piece, *root);
            let kernels = pieces.into_iter().filter(own).map(|piece| pointwise(facts, &[piece], &is_buffer));
            kernels.map(|kernel| Ok(draft(kernel?))).collect()
        }
    }
}

/// The pieces of a concatenation that are not empty, each with its part of the target; of an update in place, what
/// replaces a part.
pub(crate) fn pieces(facts: &Facts, root: ValueId, target: &Target) -> Vec<(ValueId, Target)> {
    let Some((_, node, _)) = facts.def(root) else { return Vec::new() };
    if let (Op::Update(update), Some(part)) = (&node.op, node.operands.get(1).copied().flatten()) {
        return vec![(part, Target { place: target.place, part: Some((update.axis, update.start.clone())) })];
    }
    let Op::Concat(concat) = &node.op else { return Vec::new() };
    let mut first = Dim::constant(0);
    let pieces = node.operands.iter().flatten().filter_map(|&piece| {
        let extent = facts.graph.tensor_ty(piece).shape[concat.axis].clone();
        let part = Target { place: target.place, part: Some((concat.axis, first.clone())) };
        first = first.clone() + extent.clone();
        (!extent.is(0)).then_some((piece, part))
    });
    pieces.collect()
}

/// A kernel that computes each element of values of one shape from elements of buffers.
pub(crate) fn pointwise(
    facts: &Facts,
    roots: &[(ValueId, Target)],
    is_buffer: &dyn Fn(ValueId) -> bool,
) -> Result<(Kernel, Vec<Slot>), Misaligned> {
    let graph = facts.graph;
    let shape = &graph.tensor_ty(roots[0].0).shape;
    let known = graph.elements(roots[0].0).filter(|content| content.len() > 1);
    if let (Some(content), false) = (known, is_buffer(roots[0].0)) {
        return Ok(known_elements(facts, &roots[0], content));
    }
    let mut emitter = Emitter::new(graph, is_buffer, shape.clone());
    let at = access::domain(shape);
    let mut stores = Vec::new();
    let mut last = (0, graph.dtype(roots[0].0));
    for (root, target) in roots {
        let value = emitter.value(*root, &at, &[])?;
        stores.push(emitter.store(value, &at, target));
        last = (value, graph.dtype(*root));
    }
    emitter.finish_stage(Vec::new(), Anchor::Pointwise, last, stores);
    let (mut kernel, slots) = kernel(&emitter, shape.clone());
    drop_unit_axes(&mut kernel);
    simplify_axes(&mut kernel);
    Ok((kernel, slots))
}

/// A kernel of one point that stores known elements one by one.
fn known_elements(facts: &Facts, (root, target): &(ValueId, Target), content: &[Dim]) -> (Kernel, Vec<Slot>) {
    let ty = facts.graph.tensor_ty(*root);
    let nothing = |_| false;
    let mut emitter = Emitter::new(facts.graph, &nothing, Vec::new());
    let mut stores = Vec::new();
    let mut last = 0;
    for (i, dim) in content.iter().enumerate() {
        let index = emitter.push(Expr::Index(Index::constant(dim.clone())));
        last = emitter.cast(index, ic_types::DType::I64, ty.dtype);
        let at = access::delinearize(Index::constant(Dim::constant(i as i64)), &ty.shape, &[]);
        stores.push(emitter.store(last, &at, target));
    }
    emitter.finish_stage(Vec::new(), Anchor::Pointwise, (last, ty.dtype), stores);
    kernel(&emitter, Vec::new())
}

/// Gives parameters that the epilogue of an op only accesses at its own point the shape of the op's result.
fn restore_axes(kernel: &mut Kernel) {
    let outer: Vec<Dim> = kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
    let axes = access::domain(&outer);
    let here = vec![access::linearize(&axes, &outer)];
    let n_elements: Dim = outer.iter().cloned().product();
    for param in 0..kernel.params.len() {
        let stages = || kernel.stages.iter().skip(1);
        let loads = || {
            stages().flat_map(|stage| &stage.body).filter_map(|expr| match expr {
                Expr::Load(load) if load.param as usize == param => Some(&load.indices),
                _ => None,
            })
        };
        let stores = || stages().flat_map(|stage| &stage.stores).filter(|s| s.param as usize == param);
        let mut accesses = loads().chain(stores().map(|store| &store.indices)).peekable();
        let shape = &kernel.params[param].shape;
        if outer.len() == 1 || *shape != [n_elements.clone()] || accesses.peek().is_none() {
            continue;
        }
        if !accesses.all(|indices| *indices == here) {
            continue;
        }
        kernel.params[param].shape.clone_from(&outer);
        for stage in kernel.stages.iter_mut().skip(1) {
            for expr in &mut stage.body {
                match expr {
                    Expr::Load(load) if load.param as usize == param => load.indices.clone_from(&axes),
                    _ => {}
                }
            }
            let stores = stage.stores.iter_mut().filter(|store| store.param as usize == param);
            stores.for_each(|store| store.indices.clone_from(&axes));
        }
    }
}

/// Axes of extent 1 are in no index.
fn drop_unit_axes(kernel: &mut Kernel) {
    let kept: Vec<usize> = (0..kernel.outer.len()).filter(|&i| !kernel.outer[i].extent.is(1)).collect();
    if kept.len() == kernel.outer.len() {
        return;
    }
    kernel.outer = kept.iter().map(|&i| kernel.outer[i].clone()).collect();
    rename(kernel, &|axis| kept.iter().position(|&k| k == axis as usize).map_or_else(Index::default, Index::axis));
}

fn kernel(emitter: &Emitter, outer: Vec<Dim>) -> (Kernel, Vec<Slot>) {
    let params = emitter.slots.iter().map(|slot| {
        let ty = emitter.place_ty(slot.place);
        let shape = match slot.view {
            View::Axes => ty.shape.clone(),
            View::Linear => vec![ty.elements()],
        };
        Param { dtype: ty.dtype, shape, is_output: slot.is_output }
    });
    let params = params.collect();
    let outer = outer.into_iter().map(|extent| Axis { extent }).collect();
    (Kernel { params, outer, stages: emitter.stages.clone() }, emitter.slots.clone())
}

/// The model's names of the nodes, each once.
fn location(facts: &Facts, group: &Group) -> Arc<str> {
    let mut names: Vec<&str> = Vec::new();
    for &id in &group.nodes {
        let name = &facts.graph.node(id).location;
        if !name.is_empty() && !names.contains(&name.as_ref()) {
            names.push(name);
        }
    }
    names.join(" + ").into()
}

/// The buffers that a draft reads and writes.
pub(crate) fn places(facts: &Facts, draft: &Draft) -> (Vec<Place>, Vec<Place>) {
    match &draft.work {
        Work::Kernel(_, slots) => {
            let of = |is_output| slots.iter().filter(move |s| s.is_output == is_output).map(|s| s.place).collect();
            (of(false), of(true))
        }
        Work::Branch(id) => {
            let node = facts.graph.node(*id);
            let reads = node.operands.iter().flatten().map(|&v| Place::Value(v)).collect();
            (reads, node.results.iter().map(|&v| Place::Value(v)).collect())
        }
    }
}
