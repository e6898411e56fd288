//! ONNX `FlexAttention` of the preview domain: attention whose scores and probabilities pass through graphs of the
//! model.

use super::attention::{Scale, Scores};
use super::prelude::*;
use crate::import::onnx::context::Binding;
use crate::import::onnx::walk::inline;
use ic_ir::ops::Softmax;

pub(super) const OPS: &[super::Row] = &[("ai.onnx.preview", "FlexAttention", flex_attention)];

/// `FlexAttention`.
fn flex_attention(cx: &mut Context, node: &NodeView) -> Results {
    let (q, k, v) = (node.input(0)?, node.input(1)?, node.input(2)?);
    if [q, k, v].into_iter().any(|x| cx.rank(x) != Ok(4)) {
        return Err(invalid!("`Q`, `K` and `V` must have rank 4"));
    }
    let (shape, dtype) = (cx.shape(q)?, cx.dtype(q)?);
    let scale = Scale::of(cx, node, &shape[3])?;
    let precision = match node.int("softmax_precision").filter(|code| *code != 0) {
        Some(code) => super::prelude::dtype(i32::try_from(code).unwrap_or(-1))?,
        None if matches!(dtype, DType::F16 | DType::BF16) => DType::F32,
        None => dtype,
    };
    let scores = Scores::of(cx, q, k)?;
    let product = scores.products(cx, &scale, q, k)?;
    let logits = cx.cast(product, precision)?;
    let logits = modified(cx, node, "score_mod", logits, &scores)?;
    let probabilities = cx.push(Softmax { axis: -1 }, &[logits])?;
    let probabilities = modified(cx, node, "prob_mod", probabilities, &scores)?;
    let values = scores.grouped(cx, v)?;
    let values = cx.cast(values, precision)?;
    let y = cx.matmul(probabilities, values)?;
    let width = cx.shape(v)?[3].clone();
    let y = cx.reshape(y, [&shape[..3], &[width]].concat())?;
    Ok(vec![cx.cast(y, dtype)?])
}

/// `x` passed through the graph attribute `name`, where there is one, with the heads of queries on one axis.
fn modified(cx: &mut Context, node: &NodeView, name: &str, x: ValueId, scores: &Scores) -> Result<ValueId> {
    if node.attr(name).is_none() {
        return Ok(x);
    }
    let grouped = cx.shape(x)?;
    let x = cx.reshape(x, scores.shape())?;
    let graph = node.graph(name)?;
    let [input] = graph.input.as_slice() else { return Err(invalid!("the graph `{name}` must have one input")) };
    cx.open_scope();
    cx.bind(&input.name, Binding::Value(x));
    let results = inline(cx, graph);
    cx.close_scope();
    let ty = cx.ty(x)?;
    match results?.as_slice() {
        [result] if cx.shape(*result)? == ty.shape => {
            let result = cx.cast(*result, ty.dtype)?;
            cx.reshape(result, grouped)
        }
        _ => Err(invalid!("the graph `{name}` must have one result, of the shape of its input")),
    }
}
