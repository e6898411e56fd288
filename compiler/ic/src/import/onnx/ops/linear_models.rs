//! ONNX-ML models that are linear in their features or in kernels of them: `LinearClassifier`, `LinearRegressor`,
//! `SVMRegressor`.

use super::labels::Labels;
use super::prelude::*;
use super::tree_walk::transformed;
use ic_ir::ops::ReduceFn;

pub(super) const OPS: &[super::Row] = &[
    ("ai.onnx.ml", "LinearClassifier", linear_classifier),
    ("ai.onnx.ml", "LinearRegressor", linear_regressor),
    ("ai.onnx.ml", "SVMRegressor", svm_regressor),
];

/// `x` as f32 `[rows, features]`, and the number of features.
fn matrix(cx: &mut Context, node: &NodeView) -> Result<(ValueId, i64)> {
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

/// `SVMRegressor`: a sum of kernels of each row with the support vectors; without those, of its features.
fn svm_regressor(cx: &mut Context, node: &NodeView) -> Results {
    let (x, features) = matrix(cx, node)?;
    let list = |name: &str| node.floats(name).unwrap_or_default().to_vec();
    let (vectors, coefficients, rho) = (list("support_vectors"), list("coefficients"), list("rho"));
    let n = usize::try_from(node.int("n_supports").unwrap_or(0)).map_err(|_| invalid!("`n_supports` is negative"))?;
    let kernels = match n {
        0 => x,
        n if vectors.len() == n * features as usize => {
            let vectors = cx.constant(Tensor::from_elements(vec![n, features as usize], vectors))?;
            kernel(cx, node, x, vectors)?
        }
        _ => return Err(invalid!("{} elements are not {n} support vectors", vectors.len())),
    };
    let width = if n == 0 { features as usize } else { n };
    if coefficients.len() != width {
        return Err(invalid!("{} coefficients for {width} terms", coefficients.len()));
    }
    let weight = cx.constant(Tensor::from_elements(vec![width, 1], coefficients))?;
    let sum = cx.matmul(kernels, weight)?;
    let mut y = cx.with_scalar(ScalarOp::Add, sum, rho.first().map_or(0.0, |&rho| f64::from(rho)))?;
    if node.int("one_class").unwrap_or(0) != 0 {
        let is_inside = cx.with_scalar(ScalarOp::Gt, y, 0.0)?;
        let (one, minus_one) = (cx.scalar_like(y, 1.0)?, cx.scalar_like(y, -1.0)?);
        y = cx.select(is_inside, one, minus_one)?;
    }
    Ok(vec![transformed(cx, y, node.text("post_transform").unwrap_or("NONE"))?])
}

/// The kernel function of rows `x` and `vectors`, `[rows, vectors]`.
fn kernel(cx: &mut Context, node: &NodeView, x: ValueId, vectors: ValueId) -> Result<ValueId> {
    let params = node.floats("kernel_params").unwrap_or_default();
    let param = |i: usize| params.get(i).map_or(0.0, |&p| f64::from(p));
    let (gamma, offset, degree) = (param(0), param(1), param(2));
    let affine = |cx: &mut Context| -> Result<ValueId> {
        let columns = cx.transpose_last(vectors)?;
        let products = cx.matmul(x, columns)?;
        let scaled = cx.with_scalar(ScalarOp::Mul, products, gamma)?;
        cx.with_scalar(ScalarOp::Add, scaled, offset)
    };
    match node.text("kernel_type").unwrap_or("LINEAR") {
        "LINEAR" => {
            let columns = cx.transpose_last(vectors)?;
            cx.matmul(x, columns)
        }
        "POLY" => {
            let affine = affine(cx)?;
            cx.with_scalar(ScalarOp::Pow, affine, degree)
        }
        "SIGMOID" => {
            let affine = affine(cx)?;
            cx.unary(ScalarOp::Tanh, affine)
        }
        "RBF" => {
            let rows = cx.unsqueeze(x, &[1])?;
            let difference = cx.binary(ScalarOp::Sub, rows, vectors)?;
            let squares = cx.binary(ScalarOp::Mul, difference, difference)?;
            let distance = cx.reduce(ReduceFn::Sum, squares, vec![2])?;
            let distance = cx.squeeze(distance, &[2])?;
            let scaled = cx.with_scalar(ScalarOp::Mul, distance, -gamma)?;
            cx.unary(ScalarOp::Exp, scaled)
        }
        other => Err(unsupported!("the kernel `{other}`")),
    }
}
