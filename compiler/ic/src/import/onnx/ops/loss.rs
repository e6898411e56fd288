//! ONNX losses over classes: `NegativeLogLikelihoodLoss`, `SoftmaxCrossEntropyLoss`.

use super::prelude::*;
use ic_ir::ops::{GatherElements, Reduce, ReduceFn};

pub(super) const OPS: &[super::Row] = &[
    ("", "NegativeLogLikelihoodLoss", negative_log_likelihood),
    ("", "SoftmaxCrossEntropyLoss", softmax_cross_entropy),
];

/// `NegativeLogLikelihoodLoss`.
fn negative_log_likelihood(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![loss(cx, node, node.input(0)?)?])
}

/// `SoftmaxCrossEntropyLoss`: the loss, and the log probabilities.
fn softmax_cross_entropy(cx: &mut Context, node: &NodeView) -> Results {
    let scores = node.input(0)?;
    if cx.rank(scores)? < 2 {
        return Err(invalid!("`scores` must have rank 2 or more"));
    }
    let log_prob = super::softmax::log_softmax_of(cx, scores, 1)?;
    Ok(vec![loss(cx, node, log_prob)?, log_prob])
}

/// Weighted `-log_prob` of the labels, which are operand 1, reduced as the node says. What is ignored counts as 0, with a
/// weight of 0.
fn loss(cx: &mut Context, node: &NodeView, log_prob: ValueId) -> Result<ValueId> {
    if cx.rank(log_prob)? < 2 {
        return Err(invalid!("`input` must have rank 2 or more"));
    }
    let zero = cx.scalar_like(log_prob, 0.0)?;
    let mut column = cx.unsqueeze(node.input(1)?, &[1])?;
    let mut ignored = None;
    if let Some(index) = node.int("ignore_index") {
        let wide = cx.cast(column, DType::I64)?;
        let index = cx.constant(Tensor::scalar(index))?;
        let is_ignored = cx.binary(ScalarOp::Eq, wide, index)?;
        let first = cx.scalar_like(column, 0.0)?;
        column = cx.select(is_ignored, first, column)?;
        ignored = Some(is_ignored);
    }
    let mut chosen = cx.push(GatherElements { axis: 1 }, &[log_prob, column])?;
    if let Some(ignored) = ignored {
        chosen = cx.select(ignored, zero, chosen)?;
    }
    let loss = cx.unary(ScalarOp::Neg, chosen)?;
    let mut loss = cx.squeeze(loss, &[1])?;
    let weights = weights(cx, node, log_prob, column, ignored)?;
    if let Some(weights) = weights {
        loss = cx.binary(ScalarOp::Mul, loss, weights)?;
    }
    reduced(cx, node, loss, weights)
}

/// The weight of each label, which `column` holds along an axis of extent 1; 0 of what is ignored.
fn weights(
    cx: &mut Context,
    node: &NodeView,
    log_prob: ValueId,
    column: ValueId,
    ignored: Option<ValueId>,
) -> Result<Option<ValueId>> {
    let zero = cx.scalar_like(log_prob, 0.0)?;
    let weights = match (node.opt(2), ignored) {
        (None, None) => return Ok(None),
        (Some(weights), None) => return cx.gather(weights, node.input(1)?, 0).map(Some),
        (Some(weights), Some(ignored)) => {
            let weights = cx.gather(weights, column, 0)?;
            cx.select(ignored, zero, weights)?
        }
        (None, Some(ignored)) => {
            let ones = cx.scalar_like(log_prob, 1.0)?;
            cx.select(ignored, zero, ones)?
        }
    };
    cx.squeeze(weights, &[1]).map(Some)
}

fn reduced(cx: &mut Context, node: &NodeView, loss: ValueId, weights: Option<ValueId>) -> Result<ValueId> {
    let axes: Vec<usize> = (0..cx.rank(loss)?).collect();
    let fold = |cx: &mut Context, function: ReduceFn, value: ValueId| {
        cx.push(Reduce { function, axes: axes.clone(), keep_dims: false }, &[value])
    };
    match (node.text("reduction"), weights) {
        (Some("none"), _) => Ok(loss),
        (Some("sum"), _) => fold(cx, ReduceFn::Sum, loss),
        (None | Some("mean"), None) => fold(cx, ReduceFn::Mean, loss),
        (None | Some("mean"), Some(weights)) => {
            let (sum, weight) = (fold(cx, ReduceFn::Sum, loss)?, fold(cx, ReduceFn::Sum, weights)?);
            cx.binary(ScalarOp::Div, sum, weight)
        }
        (Some(other), _) => Err(invalid!("attribute `reduction` is `{other}`")),
    }
}
