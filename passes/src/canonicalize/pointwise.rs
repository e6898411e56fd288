//! Rules for pointwise ops and casts.

use super::movement::holds_every;
use super::{Peephole, Site, Step};
use ic_ir::ops::{Convolution, Layout};
use ic_ir::scalar::{Scalar, ScalarOp};
use ic_ir::{Graph, Op, ValueId};
use std::ops::Range;

pub(super) const RULES: &[Peephole] = &[
    Peephole { name: "cast-cast", run: cast_cast },
    Peephole { name: "constant-last", run: constant_last },
    Peephole { name: "max-zero", run: max_zero },
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

/// `c + x = x + c`, `c * x = x * c`: constants come last.
fn constant_last(site: &mut Site) -> Option<Step> {
    let Op::Pointwise(op) = &site.op else { return None };
    let commutes = matches!(op.function, ScalarOp::Add | ScalarOp::Mul);
    let is_constant = |i: usize| site.def(i).is_some_and(|node| matches!(node.op, Op::Constant(_)));
    (commutes && is_constant(0) && !is_constant(1))
        .then(|| Step::Node(site.op.clone(), vec![site.operands[1], site.operands[0]]))
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
