//! Op kernels: a whole op on views of buffers, with pointwise stages on its result.

use super::access;
use super::emit::{Emitter, Misaligned, Slot, Staged, Target, View};
use super::facts::{Facts, Kind};
use ic_ir::kernel::{Anchor, Index, Operand, Stage};
use ic_ir::ops::Op;
use ic_ir::{Node, NodeId, ValueId};
use ic_types::Dim;

/// A value as a strided view of another value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StridedView {
    pub(crate) base: ValueId,
    pub(crate) strides: Vec<Dim>,
    pub(crate) offset: Dim,
}

/// The operand of an op that takes any strides as a view of the farthest value that it is one of, at most of the first
/// that is stored; `None` if it is none or the op wants dense operands.
pub(crate) fn strided_view(
    facts: &Facts,
    node: &Node,
    operand: ValueId,
    is_stored: &dyn Fn(ValueId) -> bool,
) -> Option<StridedView> {
    // Of the operands of an integer contraction, the kernels want zero points and bias dense.
    let factors = match &node.op {
        Op::Matmul(_) | Op::Attention(_) => &node.operands[..],
        Op::IntegerMatmul(_) => &node.operands[..2],
        Op::ExpertMatmul(_) | Op::Experts(_) | Op::GatedMatmul(_) => &node.operands[..1],
        _ => return None,
    };
    if !factors.contains(&Some(operand)) || is_own_matrix(facts, operand) {
        return None;
    }
    let graph = facts.graph;
    let shape = &graph.ty(operand).as_tensor()?.shape;
    let (mut base, mut indices, mut view) = (operand, access::domain(shape), None);
    while !is_stored(base)
        && let Some((_, node, Kind::Movement | Kind::Constant)) = facts.def(base)
        && let Some((source, moved)) = access::moved(graph, node, &indices, shape)
    {
        (base, indices) = (source, moved);
        let linear = access::linearize(&indices, &graph.tensor_ty(base).shape);
        if let Some(strides) = linear.strides(shape.len()) {
            view = Some(StridedView { base, strides, offset: linear.constant });
        }
    }
    view
}

/// Whether a value is a matrix moved from a constant that nothing reads as it is: it is better stored as the kernel wants
/// it. One that is read as it is too, such as an embedding that also gives the scores, is stored once.
fn is_own_matrix(facts: &Facts, value: ValueId) -> bool {
    let graph = facts.graph;
    let is_matrix = graph.ty(value).as_tensor().is_some_and(|ty| ty.rank() == 2);
    let mut base = value;
    while let Some((_, node, Kind::Constant)) = facts.def(base)
        && let (Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_), Some(Some(source))) =
            (&node.op, node.operands.first())
    {
        base = *source;
    }
    is_matrix && base != value && facts.users[base.index()].is_empty()
}

/// Checks that a region can be an op with an epilogue, and returns the epilogue's stages.
pub(crate) fn epilogue(facts: &Facts, nodes: &[NodeId], root: ValueId) -> Result<(), Misaligned> {
    let results: Vec<ValueId> = nodes.iter().map(|&id| facts.graph.node(id).results[0]).collect();
    let is_buffer = |v: ValueId| !results.contains(&v);
    emit(facts, nodes, &[(root, Target::of(root))], &is_buffer, &|_| true).map(|_| ())
}

/// Emits an op, the first of `nodes`, that stores `roots`.
pub(crate) fn emit<'a>(
    facts: &'a Facts,
    nodes: &[NodeId],
    roots: &[(ValueId, Target)],
    is_buffer: &'a dyn Fn(ValueId) -> bool,
    is_stored: &dyn Fn(ValueId) -> bool,
) -> Result<Emitter<'a>, Misaligned> {
    let graph = facts.graph;
    let node = graph.node(nodes[0]);
    let Some(whole) = graph.ty(node.results[0]).as_tensor() else { return Err(Misaligned) };
    let has_epilogue = nodes.len() > 1;
    let extents = if has_epilogue { whole.shape.clone() } else { Vec::new() };
    let mut emitter = Emitter::new(graph, is_buffer, extents);
    let operands = operands(facts, &mut emitter, node, is_stored);
    let result = |emitter: &mut Emitter, value: &ValueId| {
        let (_, target) = roots.iter().find(|(root, _)| root == value)?;
        Some(emitter.slot(Slot { place: target.place, view: View::Axes, is_output: true }))
    };
    let results = node.results.iter().map(|value| result(&mut emitter, value)).collect();
    let anchor = Anchor::Op { op: node.op.clone(), operands, results };
    emitter.push_stage(Stage { inner: Vec::new(), anchor, body: Vec::new(), stores: Vec::new() }, whole.dtype);
    if has_epilogue {
        let axes = access::domain(&whole.shape);
        emitter.set_staged(node.results[0], Staged::Result(0), axes.clone());
        let mut stores = Vec::new();
        let mut last = None;
        for (root, target) in roots {
            let ty = graph.tensor_ty(*root);
            let at = match &node.op {
                Op::Attention(_) => moved_result(facts, nodes, &axes)?,
                _ => access::reshape(&axes, &whole.shape, &ty.shape, &whole.shape),
            };
            let value = emitter.value(*root, &at, &[])?;
            stores.push(emitter.store(value, &at, target));
            last = Some((value, ty.dtype));
        }
        emitter.finish_stage(Vec::new(), Anchor::Pointwise, last.ok_or(Misaligned)?, stores);
    }
    Ok(emitter)
}

/// Where element `axes` of an op's result is after the movement that follows the op in `nodes`. Columns stay contiguous,
/// and all other axes at a stride.
fn moved_result(facts: &Facts, nodes: &[NodeId], axes: &[Index]) -> Result<Vec<Index>, Misaligned> {
    let graph = facts.graph;
    let shape_of = |id: NodeId| &graph.tensor_ty(graph.node(id).results[0]).shape;
    let whole = shape_of(nodes[0]);
    let (mut at, mut shape) = (axes.to_vec(), whole);
    for &id in &nodes[1..] {
        at = match &graph.node(id).op {
            Op::Transpose(op) => op.perm.iter().map(|&axis| at[axis].clone()).collect(),
            _ => access::reshape(&at, shape, shape_of(id), whole),
        };
        shape = shape_of(id);
    }
    let strides = access::linearize(&at, shape).strides(whole.len()).ok_or(Misaligned)?;
    let is_contiguous = whole.last().zip(strides.last()).is_some_and(|(extent, stride)| extent.is(1) || stride.is(1));
    if is_contiguous { Ok(at) } else { Err(Misaligned) }
}

/// The operands of an op, as views of the buffers that they are in.
pub(crate) fn operands(
    facts: &Facts,
    emitter: &mut Emitter,
    node: &Node,
    is_stored: &dyn Fn(ValueId) -> bool,
) -> Vec<Option<Operand>> {
    let graph = facts.graph;
    let view = |emitter: &mut Emitter, value: ValueId| {
        let shape = graph.tensor_ty(value).shape.clone();
        let strided = strided_view(facts, node, value, is_stored);
        let (base, strides, offset) = match strided {
            Some(StridedView { base, strides, offset }) => (base, strides, offset),
            None => (value, access::strides(&shape), Dim::constant(0)),
        };
        let param = emitter.slot(Slot { place: super::emit::Place::Value(base), view: View::Axes, is_output: false });
        Operand { param, shape, strides, offset }
    };
    node.operands.iter().map(|value| value.map(|value| view(emitter, value))).collect()
}
