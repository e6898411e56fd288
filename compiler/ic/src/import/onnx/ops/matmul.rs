//! ONNX `MatMul`, `Gemm`, and `FusedMatMul` of com.microsoft.

use super::prelude::*;

/// `MatMul`, as NumPy's: an operand of rank 1 is a row or a column that the result lacks.
pub(super) fn matmul(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![product(cx, node.input(0)?, node.input(1)?)?])
}

/// The matrix product with vectors allowed.
pub(super) fn product(cx: &mut Context, a: ValueId, b: ValueId) -> Result<ValueId> {
    with_matrices(cx, a, b, |cx, a, b| cx.matmul(a, b))
}

/// A product of matrices, `multiply`, with vectors allowed.
pub(super) fn with_matrices(
    cx: &mut Context,
    a: ValueId,
    b: ValueId,
    multiply: impl FnOnce(&mut Context, ValueId, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    let (rank_a, rank_b) = (cx.rank(a)?, cx.rank(b)?);
    if rank_a == 0 || rank_b == 0 {
        return Err(invalid!("a scalar is no matrix"));
    }
    let left = if rank_a == 1 { cx.unsqueeze(a, &[0])? } else { a };
    let right = if rank_b == 1 { cx.unsqueeze(b, &[1])? } else { b };
    let result = multiply(cx, left, right)?;
    let rank = cx.rank(result)?;
    let mut dropped = Vec::new();
    if rank_a == 1 {
        dropped.push(rank - 2);
    }
    if rank_b == 1 {
        dropped.push(rank - 1);
    }
    cx.squeeze(result, &dropped)
}

/// `Gemm`: `alpha * a * b + beta * c`, either operand transposed on request.
pub(super) fn gemm(cx: &mut Context, node: &NodeView) -> Results {
    let (mut a, mut b) = (node.input(0)?, node.input(1)?);
    if cx.rank(a)? != 2 || cx.rank(b)? != 2 {
        return Err(invalid!("both factors must be matrices"));
    }
    if node.flag("transA", false) {
        a = cx.transpose_last(a)?;
    }
    if node.flag("transB", false) {
        b = cx.transpose_last(b)?;
    }
    let mut result = cx.matmul(a, b)?;
    result = scaled(cx, result, node.float("alpha"))?;
    if let Some(c) = node.opt(2) {
        let c = scaled(cx, c, node.float("beta"))?;
        result = cx.binary(ScalarOp::Add, result, c)?;
    }
    Ok(vec![result])
}

fn scaled(cx: &mut Context, x: ValueId, factor: Option<f32>) -> Result<ValueId> {
    let factor = factor.unwrap_or(1.0);
    if factor == 1.0 {
        return Ok(x);
    }
    if cx.dtype(x)?.is_int() && factor.fract() != 0.0 {
        return Err(unsupported!("integers are scaled by {factor}"));
    }
    cx.with_scalar(ScalarOp::Mul, x, f64::from(factor))
}

/// `com.microsoft::FusedMatMul`: `alpha * a * b` with transposes.
pub(super) fn fused_matmul(cx: &mut Context, node: &NodeView) -> Results {
    let factor = |cx: &mut Context, index: usize, batch: &str, matrix: &str| -> Result<ValueId> {
        let mut x = node.input(index)?;
        let rank = cx.rank(x)?;
        if node.flag(batch, false) && rank > 2 {
            // The first axis is that of rows, those between it and the last are batches.
            let perm = (1..rank - 1).chain([0, rank - 1]).collect();
            x = cx.transpose(x, perm)?;
        }
        if node.flag(matrix, false) && rank > 1 { cx.transpose_last(x) } else { Ok(x) }
    };
    let (a, b) = (factor(cx, 0, "transBatchA", "transA")?, factor(cx, 1, "transBatchB", "transB")?);
    let result = product(cx, a, b)?;
    Ok(vec![scaled(cx, result, node.float("alpha"))?])
}
