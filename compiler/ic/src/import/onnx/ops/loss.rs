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

/// Weighted `-log_prob` of the labels, which are operand 1, reduced as the node says.
fn loss(cx: &mut Context, node: &NodeView, log_prob: ValueId) -> Result<ValueId> {
    if cx.rank(log_prob)? < 2 {
        return Err(invalid!("`input` must have rank 2 or more"));
    }
    let mut labels = cx.cast(node.input(1)?, DType::I64)?;
    let mut ignored = None;
    if let Some(index) = node.int("ignore_index") {
        let index = cx.constant(Tensor::scalar(index))?;
        let is_ignored = cx.binary(ScalarOp::Eq, labels, index)?;
        let first = cx.scalar(DType::I64, 0.0)?;
        labels = cx.select(is_ignored, first, labels)?;
        ignored = Some(is_ignored);
    }
    let column = cx.unsqueeze(labels, &[1])?;
    let chosen = cx.push(GatherElements { axis: 1 }, &[log_prob, column])?;
    let chosen = cx.squeeze(chosen, &[1])?;
    let mut loss = cx.unary(ScalarOp::Neg, chosen)?;
    let zero = cx.scalar_like(log_prob, 0.0)?;
    let mut weights = match node.opt(2) {
        Some(weights) => Some(cx.gather(weights, labels, 0)?),
        None => None,
    };
    if let Some(ignored) = ignored {
        let ones = cx.scalar_like(log_prob, 1.0)?;
        weights = Some(cx.select(ignored, zero, weights.unwrap_or(ones))?);
    }
    if let Some(weights) = weights {
        loss = cx.binary(ScalarOp::Mul, loss, weights)?;
    }
    if let Some(ignored) = ignored {
        // An ignored element counts as zero even if it is not finite.
        loss = cx.select(ignored, zero, loss)?;
    }
    reduced(cx, node, loss, weights)
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
