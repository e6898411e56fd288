//! Rules for ops that only move elements.

use super::{Peephole, Site, Step};
use crate::rebuild::OperandList;
use ic_ir::ops::{Constant, Convolution, Expand, Gather, Pad, PadMode, Reduce, Reshape, Slice, Transpose};
use ic_ir::{Literal, Op};
use ic_types::{DType, Dim, Tensor};

pub(super) const RULES: &[Peephole] = &[
    Peephole { name: "no-elements", run: no_elements },
    Peephole { name: "movement-identity", run: identity },
    Peephole { name: "reshape-reshape", run: reshape_reshape },
    Peephole { name: "reshape-fill", run: reshape_fill },
    Peephole { name: "transpose-transpose", run: transpose_transpose },
    Peephole { name: "transpose-units", run: transpose_units },
    Peephole { name: "expand-expand", run: expand_expand },
    Peephole { name: "slice-slice", run: slice_slice },
    Peephole { name: "slice-concat", run: slice_concat },
    Peephole { name: "slice-units", run: slice_units },
    Peephole { name: "slice-pad", run: slice_pad },
    Peephole { name: "concat-empty", run: concat_empty },
    Peephole { name: "gather-range", run: gather_range },
    Peephole { name: "reduce-units", run: reduce_units },
    Peephole { name: "reduce-keep", run: reduce_keep },
    Peephole { name: "convolution-pad", run: convolution_pad },
];

/// What has no elements is a constant, or where some extents are symbols one number repeated: nothing computes it.
fn no_elements(site: &mut Site) -> Option<Step> {
    let ty = site.result_ty()?;
    if !ty.shape.iter().any(|dim| dim.is(0)) || matches!(site.op, Op::Constant(_)) {
        return None;
    }
    let (dtype, shape) = (ty.dtype, ty.shape.clone());
    if let Some(extents) = ty.constant_shape() {
        let value = Literal::inline(Tensor::zeros(dtype, extents));
        return Some(Step::Node(Constant { value }.into(), OperandList::default()));
    }
    if !matches!(site.op, Op::Reshape(_) | Op::Slice(_) | Op::Transpose(_) | Op::Concat(_) | Op::Pad(_)) {
        return None;
    }
    let one = site.push(Constant { value: Literal::inline(Tensor::zeros(dtype, vec![])) }, &[])?;
    Some(Step::Node(Expand { shape }.into(), vec![Some(one)]))
}

/// A movement to the same type that keeps the order of elements does nothing.
fn identity(site: &mut Site) -> Option<Step> {
    let x = site.operand(0)?;
    let keeps_order = match &site.op {
        Op::Reshape(_) | Op::Expand(_) | Op::Cast(_) | Op::BitCast(_) | Op::Pad(_) => true,
        Op::Transpose(op) => op.perm.is_sorted(),
        Op::Slice(op) => op.starts.iter().all(|s| s.is(0)) && op.steps.iter().all(|&s| s == 1),
        Op::Concat(_) => site.operands.len() == 1,
        Op::Reduce(op) => op.axes.is_empty(),
        _ => false,
    };
    (keeps_order && *site.rebuild.new.ty(x) == site.ty).then_some(Step::Value(x))
}

/// `reshape(reshape(x)) = reshape(x)`.
fn reshape_reshape(site: &mut Site) -> Option<Step> {
    let Op::Reshape(_) = &site.op else { return None };
    let inner = site.def(0)?;
    matches!(inner.op, Op::Reshape(_)).then(|| Step::Node(site.op.clone(), inner.operands.clone()))
}

/// A reshape of one element repeated is that element repeated.
fn reshape_fill(site: &mut Site) -> Option<Step> {
    let Op::Reshape(Reshape { shape }) = &site.op else { return None };
    let inner = site.def(0)?;
    let (Op::Expand(_), Some(&Some(one))) = (&inner.op, inner.operands.first()) else { return None };
    let is_scalar = site.rebuild.new.ty(one).as_tensor()?.shape.is_empty();
    is_scalar.then(|| Step::Node(Expand { shape: shape.clone() }.into(), inner.operands.clone()))
}

/// `transpose_p(transpose_q(x)) = transpose_{q∘p}(x)`.
fn transpose_transpose(site: &mut Site) -> Option<Step> {
    let Op::Transpose(outer) = &site.op else { return None };
    let inner = site.def(0)?;
    let Op::Transpose(q) = &inner.op else { return None };
    let perm = outer.perm.iter().map(|&axis| q.perm[axis]).collect();
    Some(Step::Node(Transpose { perm }.into(), inner.operands.clone()))
}

/// A transpose that keeps the order of the axes longer than 1 is a reshape.
fn transpose_units(site: &mut Site) -> Option<Step> {
    let Op::Transpose(op) = &site.op else { return None };
    let ty = site.operand_ty(0)?;
    let shape = site.result_ty()?.shape.clone();
    keeps_order(&op.perm, &ty.shape).then(|| Step::Node(Reshape { shape }.into(), site.operands.clone()))
}

/// Whether a transpose by `perm` of a tensor of `shape` moves only axes of extent 1.
pub(crate) fn keeps_order(perm: &[usize], shape: &[Dim]) -> bool {
    perm.iter().filter(|&&axis| !shape[axis].is(1)).is_sorted()
}

/// `expand(expand(x)) = expand(x)`: the result's shape says it all.
fn expand_expand(site: &mut Site) -> Option<Step> {
    let Op::Expand(_) = &site.op else { return None };
    let inner = site.def(0)?;
    let Op::Expand(_) = &inner.op else { return None };
    let shape = site.result_ty()?.shape.clone();
    Some(Step::Node(Expand { shape }.into(), inner.operands.clone()))
}

/// A slice of a slice is one slice.
fn slice_slice(site: &mut Site) -> Option<Step> {
    let Op::Slice(outer) = &site.op else { return None };
    let node = site.def(0)?;
    let Op::Slice(inner) = &node.op else { return None };
    let mut slice = inner.clone();
    for (i, axis) in outer.axes.iter().enumerate() {
        match slice.axes.iter().position(|a| a == axis) {
            Some(at) => {
                let step = Dim::constant(slice.steps[at]);
                slice.starts[at] = slice.starts[at].clone() + outer.starts[i].clone() * step;
                slice.steps[at] = slice.steps[at].checked_mul(outer.steps[i])?;
                slice.extents[at] = outer.extents[i].clone();
            }
            None => {
                slice.axes.push(*axis);
                slice.starts.push(outer.starts[i].clone());
                slice.extents.push(outer.extents[i].clone());
                slice.steps.push(outer.steps[i]);
            }
        }
    }
    Some(Step::Node(slice.into(), node.operands.clone()))
}

/// A slice that is exactly one operand of a concatenation is that operand.
fn slice_concat(site: &mut Site) -> Option<Step> {
    let Op::Slice(slice) = &site.op else { return None };
    let node = site.def(0)?;
    let Op::Concat(concat) = &node.op else { return None };
    if slice.axes != [concat.axis] || slice.steps != [1] {
        return None;
    }
    let mut start = Dim::constant(0);
    for operand in node.operands.iter().flatten() {
        let extent = site.rebuild.new.ty(*operand).as_tensor()?.shape[concat.axis].clone();
        if start == slice.starts[0] && extent == slice.extents[0] {
            return Some(Step::Value(*operand));
        }
        start = start + extent;
    }
    None
}

/// A slice of a reshape that only adds or drops axes of extent 1 is a reshape of a slice.
fn slice_units(site: &mut Site) -> Option<Step> {
    let Op::Slice(slice) = &site.op else { return None };
    let node = site.def(0)?;
    let (Op::Reshape(_), Some(&Some(x))) = (&node.op, node.operands.first()) else { return None };
    let from = &site.rebuild.new.ty(x).as_tensor()?.shape;
    let to = &site.operand_ty(0)?.shape;
    let longer = |shape: &[Dim]| (0..shape.len()).filter(|&axis| !shape[axis].is(1)).collect::<Vec<_>>();
    let (axes_from, axes_to) = (longer(from), longer(to));
    if !axes_from.iter().map(|&axis| &from[axis]).eq(axes_to.iter().map(|&axis| &to[axis])) {
        return None;
    }
    let place = |axis: &usize| axes_to.iter().position(|other| other == axis).map(|i| axes_from[i]);
    let axes = slice.axes.iter().map(place).collect::<Option<Vec<usize>>>()?;
    let part = Slice { axes, ..slice.clone() };
    let shape = site.result_ty()?.shape.clone();
    let part = site.push(part, &[x])?;
    Some(Step::Node(Reshape { shape }.into(), vec![Some(part)]))
}

/// A slice that cuts off nothing but padding leaves less padding.
fn slice_pad(site: &mut Site) -> Option<Step> {
    let Op::Slice(slice) = &site.op else { return None };
    let node = site.def(0)?;
    let Op::Pad(op) = &node.op else { return None };
    let padded = &site.operand_ty(0)?.shape;
    let (rank, mut pads) = (padded.len(), op.pads.clone());
    for (i, &axis) in slice.axes.iter().enumerate() {
        let after = padded[axis].clone() - slice.starts[i].clone() - slice.extents[i].clone();
        for (pad, cut) in [(axis, slice.starts[i].clone()), (rank + axis, after)] {
            let (pad_len, cut) = (pads[pad].as_const()?, cut.as_const()?);
            if cut > pad_len.max(0) {
                return None;
            }
            pads[pad] = Dim::constant(pad_len - cut);
        }
    }
    let is_forward = slice.steps.iter().all(|&step| step == 1);
    is_forward.then(|| Step::Node(Pad { pads, ..op.clone() }.into(), node.operands.clone()))
}

/// Operands without elements add nothing to a concatenation.
fn concat_empty(site: &mut Site) -> Option<Step> {
    let Op::Concat(concat) = &site.op else { return None };
    let is_empty = |i: usize| site.operand_ty(i).is_some_and(|ty| ty.shape[concat.axis].is(0));
    let kept: Vec<_> = (0..site.operands.len()).filter(|&i| !is_empty(i)).map(|i| site.operands[i]).collect();
    (!kept.is_empty() && kept.len() < site.operands.len()).then(|| Step::Node(site.op.clone(), kept))
}

/// Gathering at constant indices that are consecutive is a slice.
fn gather_range(site: &mut Site) -> Option<Step> {
    let Op::Gather(Gather { axis }) = &site.op else { return None };
    let (axis, data) = (*axis, site.operand(0)?);
    let extent = site.operand_ty(0)?.shape[axis].clone();
    if site.operand_ty(1)?.rank() > 1 {
        return None;
    }
    let indices = site.rebuild.new.value(site.operand(1)?).content.clone()?;
    let indices: Vec<i64> = indices.iter().map(Dim::as_const).collect::<Option<_>>()?;
    let first = *indices.first()?;
    if !indices.windows(2).all(|pair| pair[1] == pair[0] + 1) || (first < 0 && *indices.last()? >= 0) {
        return None;
    }
    let start = if first < 0 { extent + Dim::constant(first) } else { Dim::constant(first) };
    let extents = vec![Dim::constant(indices.len() as i64)];
    let slice = Slice { axes: vec![axis], starts: vec![start], extents, steps: vec![1] };
    let part = site.push(slice, &[data])?;
    let shape = site.result_ty()?.shape.clone();
    Some(Step::Node(Reshape { shape }.into(), vec![Some(part)]))
}

/// A reduction over axes of extent 1 is a reshape.
fn reduce_units(site: &mut Site) -> Option<Step> {
    let Op::Reduce(Reduce { axes, .. }) = &site.op else { return None };
    let ty = site.operand_ty(0)?;
    let shape = site.result_ty()?.shape.clone();
    axes.iter().all(|&axis| ty.shape[axis].is(1)).then(|| Step::Node(Reshape { shape }.into(), site.operands.clone()))
}

/// A reduction that drops its axes is one that keeps them, reshaped.
fn reduce_keep(site: &mut Site) -> Option<Step> {
    let Op::Reduce(reduce) = &site.op else { return None };
    let shape = site.result_ty()?.shape.clone();
    if reduce.keep_dims {
        return None;
    }
    let kept = site.push(Reduce { keep_dims: true, ..reduce.clone() }, &[site.operand(0)?])?;
    Some(Step::Node(Reshape { shape }.into(), vec![Some(kept)]))
}

/// Zeros added around the spatial axes of a convolution's input are pads of the convolution.
fn convolution_pad(site: &mut Site) -> Option<Step> {
    let Op::Convolution(convolution) = &site.op else { return None };
    let node = site.def(0)?;
    let Op::Pad(Pad { mode: PadMode::Constant, pads }) = &node.op else { return None };
    let rank = pads.len() / 2;
    let spatial = super::pointwise::spatial_axes(convolution, rank);
    let outside = (0..rank).filter(|axis| !spatial.contains(axis));
    if outside.into_iter().any(|axis| !pads[axis].is(0) || !pads[rank + axis].is(0)) {
        return None;
    }
    if let Some(&Some(value)) = node.operands.get(1) {
        super::pointwise::splat(&site.rebuild.new, value).filter(|&value| value == 0.0)?;
    }
    let n_spatial = rank - 2;
    let mut merged = convolution.pads.clone();
    for (i, axis) in spatial.enumerate() {
        merged[i] = merged[i].clone() + pads[axis].clone();
        merged[n_spatial + i] = merged[n_spatial + i].clone() + pads[rank + axis].clone();
    }
    let mut operands = site.operands.clone();
    operands[0] = node.operands[0];
    Some(Step::Node(Convolution { pads: merged, ..convolution.clone() }.into(), operands))
}

/// Whether every value of type `from` is a value of type `to`.
pub(super) fn holds_every(to: DType, from: DType) -> bool {
    let mantissa = |dtype| match dtype {
        DType::F64 => 53,
        DType::F32 => 24,
        DType::F16 => 11,
        DType::BF16 => 8,
        _ => 0,
    };
    let wider_float =
        matches!((from, to), (DType::F16 | DType::BF16, DType::F32 | DType::F64) | (DType::F32, DType::F64));
    match (from, to) {
        _ if from == to => true,
        (DType::Bool, _) => to.is_int() || mantissa(to) > 0,
        _ if from.is_int() && to.is_float() => from.bits() <= mantissa(to),
        _ if from.is_unsigned_int() && to.is_int() => from.bits() < to.bits(),
        _ if from.is_signed_int() && to.is_signed_int() => from.bits() < to.bits(),
        _ => wider_float,
    }
}
