//! ONNX-ML models that are linear in their features: `LinearClassifier`, `LinearRegressor`.

use super::labels::Labels;
use super::prelude::*;
use super::tree_walk::transformed;

pub(super) const OPS: &[super::Row] =
    &[("ai.onnx.ml", "LinearClassifier", linear_classifier), ("ai.onnx.ml", "LinearRegressor", linear_regressor)];

/// `x` as f32 `[rows, features]`, and the number of features.
pub(super) fn matrix(cx: &mut Context, node: &NodeView) -> Result<(ValueId, i64)> {
    let x = cx.cast(node.input(0)?, DType::F32)?;
    let x = if cx.rank(x)? == 1 { cx.unsqueeze(x, &[0])? } else { x };
    match cx.shape(x)?.as_slice() {
        [_, features] => match features.as_const() {
            Some(n) if n > 0 => Ok((x, n)),
            _ => Err(unsupported!("the number of features must be known, found {features}")),
        },
        shape => Err(invalid!("`X` must have rank 2, found {}", shape.len())),
    }
}

/// `x · coefficientsᵀ + intercepts`, `[rows, targets]`.
fn scores(cx: &mut Context, node: &NodeView) -> Result<ValueId> {
    let (x, features) = matrix(cx, node)?;
    let coefficients = node.floats("coefficients").ok_or_else(|| invalid!("attribute `coefficients` is missing"))?;
    let targets = coefficients.len() / features as usize;
    if targets == 0 || targets * features as usize != coefficients.len() {
        return Err(invalid!("{} coefficients do not divide into {features} features", coefficients.len()));
    }
    let weight = cx.constant(Tensor::from_elements(vec![targets, features as usize], coefficients.to_vec()))?;
    let weight = cx.transpose_last(weight)?;
    let product = cx.matmul(x, weight)?;
    match node.floats("intercepts").filter(|intercepts| !intercepts.is_empty()) {
        Some(intercepts) if intercepts.len() == targets || intercepts.len() == 1 => {
            let intercepts = cx.vector(intercepts.to_vec())?;
            cx.binary(ScalarOp::Add, product, intercepts)
        }
        Some(intercepts) => Err(invalid!("{} intercepts for {targets} targets", intercepts.len())),
        None => Ok(product),
    }
}

/// `LinearClassifier`: the label of each row, and a score for each label.
fn linear_classifier(cx: &mut Context, node: &NodeView) -> Results {
    let labels = Labels::of(cx, node)?;
    let scores = scores(cx, node)?;
    let transform = node.text("post_transform").unwrap_or("NONE");
    match cx.shape(scores)?[1].as_const() {
        Some(1) if labels.n == 2 => labels.of_two(cx, scores, transform, false),
        Some(n) if n == labels.n as i64 => labels.largest(cx, scores, transform),
        n => Err(invalid!("{} labels have {n:?} scores", labels.n)),
    }
}

/// `LinearRegressor`.
fn linear_regressor(cx: &mut Context, node: &NodeView) -> Results {
    let y = scores(cx, node)?;
    Ok(vec![transformed(cx, y, node.text("post_transform").unwrap_or("NONE"))?])
}
