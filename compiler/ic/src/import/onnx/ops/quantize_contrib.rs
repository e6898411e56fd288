//! Ops of com.microsoft on quantized tensors: contractions of integers, and pointwise ops between a dequantization and a
//! quantization.

use super::prelude::*;
use super::quantize::{Factor, along, dynamically_quantized, integer_product, row_axis};
use ic_ir::ops::{Dequantize, PoolFn, Quantize, ReduceFn, Softmax};

/// `sum` scaled, plus a bias.
pub(super) fn scaled(cx: &mut Context, sum: ValueId, scales: [ValueId; 2], bias: Option<ValueId>) -> Result<ValueId> {
    let columns = cx.rank(sum)?.saturating_sub(1);
    let right = along(cx, scales[1], sum, columns)?;
    let left = along(cx, scales[0], sum, row_axis(cx, sum)?)?;
    let scale = cx.binary(ScalarOp::Mul, left, right)?;
    let wide = cx.cast(sum, DType::F32)?;
    let product = cx.binary(ScalarOp::Mul, wide, scale)?;
    bias.map_or(Ok(product), |bias| cx.binary(ScalarOp::Add, product, bias))
}

/// `DynamicQuantizeMatMul`: a f32, b, b scale, b zero point, bias.
pub(super) fn dynamic_quantize_matmul(cx: &mut Context, node: &NodeView) -> Results {
    let [a, scale, zero_point] = dynamically_quantized(cx, node.input(0)?)?;
    let b = Factor { value: node.input(1)?, zero_point: node.opt(3) };
    let sum = integer_product(cx, Factor { value: a, zero_point: Some(zero_point) }, b, None)?;
    Ok(vec![scaled(cx, sum, [scale, node.input(2)?], node.opt(4))?])
}

/// `MatMulIntegerToFloat`: a, b, their scales, their zero points, bias.
pub(super) fn matmul_integer_to_float(cx: &mut Context, node: &NodeView) -> Results {
    let a = Factor { value: node.input(0)?, zero_point: node.opt(4) };
    let b = Factor { value: node.input(1)?, zero_point: node.opt(5) };
    let sum = integer_product(cx, a, b, None)?;
    Ok(vec![scaled(cx, sum, [node.input(2)?, node.input(3)?], node.opt(6))?])
}

/// `QGemm`: a, b and y each with scale and zero point; c is i32. Without a scale of y the result is f32.
pub(super) fn qgemm(cx: &mut Context, node: &NodeView) -> Results {
    let (mut a, mut b) = (node.input(0)?, node.input(3)?);
    if node.flag("transA", false) {
        a = cx.transpose_last(a)?;
    }
    if node.flag("transB", false) {
        b = cx.transpose_last(b)?;
    }
    let a = Factor { value: a, zero_point: node.opt(2) };
    let b = Factor { value: b, zero_point: node.opt(5) };
    let mut sum = integer_product(cx, a, b, None)?;
    if let Some(c) = node.opt(6) {
        sum = cx.binary(ScalarOp::Add, sum, c)?;
    }
    let mut y = scaled(cx, sum, [node.input(1)?, node.input(4)?], None)?;
    if let Some(alpha) = node.float("alpha").filter(|&alpha| alpha != 1.0) {
        y = cx.with_scalar(ScalarOp::Mul, y, f64::from(alpha))?;
    }
    match node.opt(7) {
        None => Ok(vec![y]),
        Some(scale) => Ok(vec![quantized(cx, y, scale, node.opt(8), cx.dtype(node.input(0)?)?)?]),
    }
}

/// Input `index` with the scale and zero point that follow it, as floats.
fn dequantized(cx: &mut Context, node: &NodeView, index: usize) -> Result<ValueId> {
    let op = Dequantize { axis: 0, block_size: 0, to: DType::F32 };
    let operands = [Some(node.input(index)?), Some(node.input(index + 1)?), node.opt(index + 2)];
    Ok(cx.push_all(op, &operands)?[0])
}

/// `x` as integers: of the zero point's type, or `otherwise`.
fn quantized(
    cx: &mut Context,
    x: ValueId,
    scale: ValueId,
    zero_point: Option<ValueId>,
    otherwise: DType,
) -> Result<ValueId> {
    let to = zero_point.map_or(Ok(otherwise), |zero_point| cx.dtype(zero_point))?;
    let op = Quantize { axis: 0, block_size: 0, to, saturate: true };
    Ok(cx.push_all(op, &[Some(x), Some(scale), zero_point])?[0])
}

/// `QLinearAdd` and `QLinearMul`: two operands and the result, each with scale and zero point.
pub(super) fn qlinear_binary(cx: &mut Context, node: &NodeView, function: ScalarOp) -> Results {
    let (a, b) = (dequantized(cx, node, 0)?, dequantized(cx, node, 3)?);
    let y = cx.binary(function, a, b)?;
    let otherwise = cx.dtype(node.input(0)?)?;
    Ok(vec![quantized(cx, y, node.input(6)?, node.opt(7), otherwise)?])
}

/// `QLinearSigmoid` and others of one operand.
pub(super) fn qlinear_unary(cx: &mut Context, node: &NodeView, function: ScalarOp) -> Results {
    let x = dequantized(cx, node, 0)?;
    let y = cx.unary(function, x)?;
    let otherwise = cx.dtype(node.input(0)?)?;
    Ok(vec![quantized(cx, y, node.input(3)?, node.opt(4), otherwise)?])
}

/// `QLinearLeakyRelu`.
pub(super) fn qlinear_leaky_relu(cx: &mut Context, node: &NodeView) -> Results {
    let x = dequantized(cx, node, 0)?;
    let slope = cx.with_scalar(ScalarOp::Mul, x, f64::from(node.float("alpha").unwrap_or(0.01)))?;
    let is_negative = cx.with_scalar(ScalarOp::Lt, x, 0.0)?;
    let y = cx.select(is_negative, slope, x)?;
    let otherwise = cx.dtype(node.input(0)?)?;
    Ok(vec![quantized(cx, y, node.input(3)?, node.opt(4), otherwise)?])
}

/// `QLinearSoftmax`: of all axes from `axis` on, as one where `opset` is below 13.
pub(super) fn qlinear_softmax(cx: &mut Context, node: &NodeView) -> Results {
    let x = dequantized(cx, node, 0)?;
    let axis = node.int("axis").unwrap_or(-1);
    let rank = cx.rank(x)?;
    if node.int("opset").unwrap_or(13) < 13 && cx.axis(x, axis)? + 1 != rank {
        return Err(unsupported!("a softmax over several axes"));
    }
    let y = cx.push(Softmax { axis }, &[x])?;
    let otherwise = cx.dtype(node.input(0)?)?;
    Ok(vec![quantized(cx, y, node.input(3)?, node.opt(4), otherwise)?])
}

/// `QLinearAveragePool`: `AveragePool`, with channels last on request.
pub(super) fn qlinear_average_pool(cx: &mut Context, node: &NodeView) -> Results {
    let mut x = dequantized(cx, node, 0)?;
    let rank = cx.rank(x)?;
    let is_last = node.flag("channels_last", false) && rank > 2;
    if is_last {
        x = cx.transpose(x, [0, rank - 1].into_iter().chain(1..rank - 1).collect())?;
    }
    let mut y = super::pool::pool_of(cx, node, x, PoolFn::Average)?[0];
    if is_last {
        y = cx.transpose(y, [0].into_iter().chain(2..rank).chain([1]).collect())?;
    }
    let otherwise = cx.dtype(node.input(0)?)?;
    Ok(vec![quantized(cx, y, node.input(3)?, node.opt(4), otherwise)?])
}

/// `QLinearGlobalAveragePool`.
pub(super) fn qlinear_global_average_pool(cx: &mut Context, node: &NodeView) -> Results {
    let x = dequantized(cx, node, 0)?;
    let rank = cx.rank(x)?;
    let first = if node.flag("channels_last", false) { 1 } else { 2 };
    let y = cx.reduce(ReduceFn::Mean, x, (first..first + rank.saturating_sub(2)).collect())?;
    let otherwise = cx.dtype(node.input(0)?)?;
    Ok(vec![quantized(cx, y, node.input(3)?, node.opt(4), otherwise)?])
}

/// `QLinearConcat`: the result's scale and zero point, then each operand with its own.
pub(super) fn qlinear_concat(cx: &mut Context, node: &NodeView) -> Results {
    let count = (2..).step_by(3).take_while(|&i| node.opt(i).is_some()).count();
    let mut parts = Vec::new();
    for i in 0..count {
        parts.push(dequantized(cx, node, 2 + 3 * i)?);
    }
    let first = *parts.first().ok_or_else(|| invalid!("no operands"))?;
    let axis = cx.axis(first, node.int("axis").unwrap_or(0))?;
    let operands: Vec<Option<ValueId>> = parts.into_iter().map(Some).collect();
    let y = cx.push_all(ic_ir::ops::Concat { axis }, &operands)?[0];
    Ok(vec![quantized(cx, y, node.input(0)?, node.opt(1), DType::U8)?])
}
