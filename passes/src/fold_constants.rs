//! `fold_constants`: small constants and shape arithmetic evaluated.
//!
//! A node is replaced by its value where the value is known and small. Integers that follow from symbolic dims become
//! a `dims` node, so that the nodes that computed them vanish. Large constants stay expressions over the model's file:
//! they are evaluated when weights are packed.

use crate::rebuild::{OperandList, Rebuild, map_regions, prune};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Cast, Constant, Dims, Reshape};
use ic_ir::{Graph, GraphError, Literal, LiteralData, Node, Op, TensorType, Tensors, ValueId};
use ic_types::{DType, Dim, Tensor};
use std::sync::Arc;

/// Largest result, in bytes, that is evaluated.
const MAX_RESULT: i64 = 64 << 10;

/// Largest operand, in bytes, that is read for it.
const MAX_OPERAND: usize = 1 << 20;

/// Largest constant, in bytes, that is taken from the model's file into the graph, where rules can see its elements.
const MAX_INLINE: usize = 4 << 10;

/// Multiplications that evaluating one node may take.
const MAX_WORK: i64 = 1 << 24;

/// See the file's header.
///
/// # Errors
/// If a folded node no longer fits its users.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn fold_constants(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        if matches!(node.op, Op::If(_)) {
            if !inline_if(&mut rebuild, node)? {
                let regions = map_regions(node, |region| fold_constants(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
            continue;
        }
        let regions = map_regions(node, |region| fold_constants(region, options, report))?;
        rebuild.copy(node, regions)?;
        for &old in &node.results {
            let new = rebuild.value(old);
            if let Some(value) = folded(&mut rebuild, new, &node.op, &node.location)? {
                rebuild.set(old, value);
                *report.rules.entry("fold-constant").or_default() += 1;
            }
        }
    }
    Ok(prune(&rebuild.finish())?)
}

/// A simpler definition of `value`, a result of `op`, if its elements are known.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn folded(
    rebuild: &mut Rebuild,
    value: ValueId,
    op: &Op,
    location: &Arc<str>,
) -> Result<Option<ValueId>, GraphError> {
    let Some(ty) = rebuild.new.ty(value).as_tensor().cloned() else { return Ok(None) };
    let content = rebuild.new.value(value).content.clone();
    if let Some(content) = content.filter(|_| !ty.dtype.is_float()) {
        return from_content(rebuild, value, &ty, &content, location);
    }
    let tensor = match op {
        Op::Constant(constant) => inline(&constant.value),
        _ => evaluate(&rebuild.new, value, &ty),
    };
    let Some(tensor) = tensor else { return Ok(None) };
    Ok(Some(rebuild.push_one(Constant { value: Literal::inline(tensor) }, &[], location)?))
}

/// The elements of a small constant that is still in the model's file.
fn inline(literal: &Literal) -> Option<Tensor> {
    let small = matches!(literal.data, LiteralData::File { .. }) && literal.bytes() <= MAX_INLINE;
    small.then(|| literal.tensor().ok()).flatten()
}

fn from_content(
    rebuild: &mut Rebuild,
    value: ValueId,
    ty: &TensorType,
    content: &[Dim],
    location: &Arc<str>,
) -> Result<Option<ValueId>, GraphError> {
    let is_folded = |op: &Op| matches!(op, Op::Constant(_) | Op::Dims(_));
    let (Some(shape), Some(def)) = (ty.constant_shape(), rebuild.new.def(value)) else { return Ok(None) };
    let elements: Option<Vec<i64>> = content.iter().map(Dim::as_const).collect();
    if let Some(elements) = elements {
        let tensor = match ty.dtype {
            _ if matches!(def.op, Op::Constant(_)) => None,
            DType::I64 => Some(Tensor::from_elements(shape, elements)),
            DType::I32 => Some(Tensor::from_elements(shape, elements.iter().map(|&x| x as i32).collect())),
            DType::Bool => Some(Tensor::from_elements(shape, elements.iter().map(|&x| x != 0).collect())),
            _ => None,
        };
        let Some(tensor) = tensor else { return Ok(None) };
        return Ok(Some(rebuild.push_one(Constant { value: Literal::inline(tensor) }, &[], location)?));
    }
    if is_folded(&def.op) || !matches!(ty.dtype, DType::I64 | DType::I32) {
        return Ok(None);
    }
    let mut folded = rebuild.push_one(Dims { value: content.to_vec() }, &[], location)?;
    if ty.dtype == DType::I32 {
        folded = rebuild.push_one(Cast { to: DType::I32, saturate: true }, &[folded], location)?;
    }
    if ty.rank() != 1 {
        folded = rebuild.push_one(Reshape { shape: ty.shape.clone() }, &[folded], location)?;
    }
    Ok(Some(folded))
}

/// The elements of a node whose operands are all constants, if that is little work.
fn evaluate(graph: &Graph, value: ValueId, ty: &TensorType) -> Option<Tensor> {
    let node = graph.def(value)?;
    let index = node.results.iter().position(|&r| r == value)?;
    let result_bytes = Dim::constant(ty.dtype.size()? as i64) * ty.elements();
    let is_kept = !node.op.is_foldable() || !node.regions.is_empty() || crate::widen_halves::is_widened(graph, node);
    if is_kept || result_bytes.as_const().is_none_or(|bytes| bytes > MAX_RESULT) {
        return None;
    }
    let literals: Vec<Option<&Literal>> = node
        .operands
        .iter()
        .map(|v| v.map(|v| graph.constant(v)).map_or(Some(None), |l| l.map(Some)))
        .collect::<Option<_>>()?;
    let n_operands: i64 = literals.iter().flatten().map(|l| l.len() as i64).sum();
    let work = match &node.op {
        Op::Matmul(_)
        | Op::Attention(_)
        | Op::Experts(_)
        | Op::GatedMatmul(_)
        | Op::ExpertMatmul(_)
        | Op::Convolution(_)
        | Op::IntegerMatmul(_)
        | Op::IntegerConvolution(_) => ty.elements().as_const()?.checked_mul(n_operands)?,
        _ => n_operands,
    };
    if work > MAX_WORK || literals.iter().flatten().any(|l| l.bytes() > MAX_OPERAND) {
        return None;
    }
    let tensors: Vec<Option<Tensor>> =
        literals.iter().map(|l| l.map_or(Some(None), |l| l.tensor().ok().map(Some))).collect::<Option<_>>()?;
    let x = Tensors { operands: tensors.iter().map(Option::as_ref).collect(), regions: &[], symbols: &|_| None };
    node.op.eval(&x).ok()?.into_iter().nth(index)
}

/// Replaces an `if` whose condition is known by the nodes of the region that it chooses.
fn inline_if(rebuild: &mut Rebuild, node: &Node) -> Result<bool, GraphError> {
    let operands: OperandList = rebuild.operands(node);
    let condition = operands.first().copied().flatten().and_then(|v| crate::canonicalize::splat(&rebuild.new, v));
    let Some(condition) = condition else { return Ok(false) };
    let region = &node.regions[if condition != 0.0 { 0 } else { 1 }];
    let same_types =
        region.outputs().iter().zip(&node.results).all(|(&inner, &outer)| region.ty(inner) == rebuild.old.ty(outer));
    if !same_types {
        return Ok(false);
    }
    let mut values: Vec<Option<ValueId>> = vec![None; region.values().len()];
    for (&input, &capture) in region.inputs().iter().zip(&operands[1..]) {
        values[input.index()] = capture;
    }
    for (_, inner) in region.nodes() {
        let operands: OperandList = inner.operands.iter().map(|v| v.and_then(|v| values[v.index()])).collect();
        let results = if inner.regions.is_empty() {
            rebuild.push(inner.op.clone(), operands, &inner.location)?
        } else {
            rebuild.new.push_node(inner.op.clone(), operands, inner.regions.clone(), &inner.location)?
        };
        inner.results.iter().zip(results).for_each(|(&old, new)| values[old.index()] = Some(new));
    }
    for (&inner, &outer) in region.outputs().iter().zip(&node.results) {
        let value = values[inner.index()].expect("outputs of a region are defined in it");
        rebuild.set(outer, value);
    }
    Ok(true)
}
