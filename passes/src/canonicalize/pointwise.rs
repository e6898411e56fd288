//! Rules for pointwise ops and casts.

use super::movement::holds_every;
use super::{Peephole, Site, Step};
use ic_ir::ops::{Cast, Constant, Convolution, Expand, LayerNormalization, Layout, RmsNormalization, Softmax};
use ic_ir::scalar::{ResultRule, Scalar, ScalarOp};
use ic_ir::{Graph, Literal, Op, ValueId};
use ic_types::{DType, Dim, Tensor};
use std::ops::Range;

pub(super) const RULES: &[Peephole] = &[
    Peephole { name: "cast-cast", run: cast_cast },
    Peephole { name: "greater-less", run: greater_less },
    Peephole { name: "sub-same", run: sub_same },
    Peephole { name: "half-function", run: half_function },
    Peephole { name: "max-zero", run: max_zero },
    Peephole { name: "relu-length", run: relu_length },
    Peephole { name: "axis-from-end", run: axis_from_end },
    Peephole { name: "pointwise-expand", run: pointwise_expand },
    Peephole { name: "select-constant", run: select_constant },
];

/// A cast that loses nothing is of no account to the next cast.
fn cast_cast(site: &mut Site) -> Option<Step> {
    let Op::Cast(_) = &site.op else { return None };
    let inner = site.def(0)?;
    let Op::Cast(widening) = &inner.op else { return None };
    let from = site.rebuild.new.ty(inner.operands[0]?).as_tensor()?.dtype;
    holds_every(widening.to, from).then(|| Step::Node(site.op.clone(), inner.operands.clone()))
}

/// `a > b = b < a`, `a >= b = b <= a`.
fn greater_less(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(op) = &site.op else { return None };
    let function = match op.function {
        ScalarOp::Gt => ScalarOp::Lt,
        ScalarOp::Ge => ScalarOp::Le,
        _ => return None,
    };
    Some(Step::Node(function.into(), vec![site.operands[1], site.operands[0]]))
}

/// `x - x = 0` for integers.
fn sub_same(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(op) = &site.op else { return None };
    let ty = site.result_ty()?.clone();
    if op.function != ScalarOp::Sub || site.operands[0] != site.operands[1] || !ty.dtype.is_int() {
        return None;
    }
    let zero = Constant { value: Literal::inline(Tensor::zeros(ty.dtype, Vec::new())) };
    let zero = site.push(zero, &[])?;
    Some(Step::Node(Expand { shape: ty.shape }.into(), vec![Some(zero)]))
}

/// A function of 16-bit floats computes in f32 and rounds once, so that casts around it say nothing.
fn half_function(site: &mut Site) -> Option<Step> {
    let Op::Cast(Cast { to: to @ (DType::F16 | DType::BF16), .. }) = site.op else { return None };
    let node = site.def(0)?;
    let Op::Pointwise(op) = &node.op else { return None };
    if !matches!(op.function.rule(), ResultRule::Number | ResultRule::Float) {
        return None;
    }
    let graph = &site.rebuild.new;
    let narrow = |operand: &Option<ValueId>| {
        let cast = graph.def((*operand)?)?;
        let x = cast.operands.first().copied().flatten()?;
        let is_widened = matches!(cast.op, Op::Cast(_)) && graph.ty((*operand)?).as_tensor()?.dtype == DType::F32;
        (is_widened && graph.ty(x).as_tensor()?.dtype == to).then_some(Some(x))
    };
    let operands = node.operands.iter().map(narrow).collect::<Option<_>>()?;
    Some(Step::Node(node.op.clone(), operands))
}

/// `max(x, 0) = relu(x)`.
fn max_zero(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(op) = &site.op else { return None };
    if op.function != ScalarOp::Max {
        return None;
    }
    let is_zero = |i: usize| site.operand(i).and_then(|v| splat(&site.rebuild.new, v)) == Some(0.0);
    let x = (0..2).find(|&i| is_zero(1 - i))?;
    Some(Step::Node(ScalarOp::Relu.into(), vec![site.operands[x]]))
}

/// `relu(x) = x` for an `x` that is never negative: extents and lengths.
fn relu_length(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(op) = &site.op else { return None };
    let x = site.operand(0)?;
    let is_length = site.def(0).is_some_and(|node| matches!(node.op, Op::SequenceLength(_)));
    let is_extent = |dims: &[Dim]| dims.iter().all(|dim| dim.lower_bound().is_some_and(|low| low >= 0));
    let content = site.rebuild.new.value(x).content.as_deref();
    (op.function == ScalarOp::Relu && (is_length || content.is_some_and(is_extent))).then_some(Step::Value(x))
}

/// Axes of softmax and normalizations are counted from the end.
fn axis_from_end(site: &mut Site) -> Option<Step> {
    let rank = site.operand_ty(0)?.rank() as i64;
    let op: Op = match &site.op {
        Op::Softmax(op) if op.axis >= 0 => Softmax { axis: op.axis - rank }.into(),
        Op::LayerNormalization(op) if op.axis >= 0 => LayerNormalization { axis: op.axis - rank, ..op.clone() }.into(),
        Op::RmsNormalization(op) if op.axis >= 0 => RmsNormalization { axis: op.axis - rank, ..op.clone() }.into(),
        _ => return None,
    };
    Some(Step::Node(op, site.operands.clone()))
}

/// Pointwise ops broadcast by themselves.
fn pointwise_expand(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(_) = &site.op else { return None };
    for i in 0..site.operands.len() {
        let Some(node) = site.def(i) else { continue };
        if !matches!(node.op, Op::Expand(_)) {
            continue;
        }
        let mut operands = site.operands.clone();
        operands[i] = node.operands[0];
        let pushed = site.rebuild.push(site.op.clone(), operands.clone(), &site.location).ok()?;
        if *site.rebuild.new.ty(pushed[0]) == site.ty {
            return Some(Step::Node(site.op.clone(), operands));
        }
    }
    None
}

/// `select(true, a, b) = a`, `select(false, a, b) = b`.
fn select_constant(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(op) = &site.op else { return None };
    if op.function != ScalarOp::Select {
        return None;
    }
    let condition = splat(&site.rebuild.new, site.operand(0)?)?;
    Some(Step::Value(site.operand(if condition != 0.0 { 1 } else { 2 })?))
}

/// The value of every element, if `value` is an inline constant whose elements are all the same real number or bool.
pub(crate) fn splat(graph: &Graph, value: ValueId) -> Option<f64> {
    splat_of(graph.constant(value)?.as_inline()?)
}

/// The value of every element, if all are the same real number or bool.
pub(crate) fn splat_of(data: &ic_types::Data) -> Option<f64> {
    let first = real(data, 0)?;
    (1..data.len()).all(|i| real(data, i) == Some(first)).then_some(first)
}

fn real(data: &ic_types::Data, i: usize) -> Option<f64> {
    if i >= data.len() || matches!(data.dtype().bits(), 4 | 2) || !has_scalars(data) {
        return None;
    }
    match Scalar::read(data, i) {
        Scalar::F32(x, _) => Some(x.into()),
        Scalar::F64(x) => Some(x),
        Scalar::Int(x, _) => Some(x as f64),
        Scalar::Bool(x) => Some(x.into()),
        Scalar::Text(_) => None,
    }
}

fn has_scalars(data: &ic_types::Data) -> bool {
    use ic_types::Data;
    matches!(
        data,
        Data::F64(_)
            | Data::F32(_)
            | Data::F16(_)
            | Data::BF16(_)
            | Data::I64(_)
            | Data::I32(_)
            | Data::I16(_)
            | Data::I8(_)
            | Data::U64(_)
            | Data::U32(_)
            | Data::U16(_)
            | Data::U8(_)
            | Data::Bool(_)
    )
}

/// The spatial axes of a convolution's input of `rank`.
pub(super) fn spatial_axes(convolution: &Convolution, rank: usize) -> Range<usize> {
    match convolution.layout {
        Layout::ChannelsFirst => 2..rank,
        Layout::ChannelsLast => 1..rank - 1,
    }
}
