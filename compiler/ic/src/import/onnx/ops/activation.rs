//! Activations as compositions of scalar functions, each by its formula in the ONNX operator reference.

use super::prelude::*;

fn attr(node: &NodeView, name: &str, default: f32) -> f64 {
    f64::from(node.float(name).unwrap_or(default))
}

/// Applies `formula` to the first input, in f32 where that is a narrower float: a chain of functions rounds once.
fn rounded_once(
    cx: &mut Context,
    node: &NodeView,
    formula: impl FnOnce(&mut Context, ValueId) -> Result<ValueId>,
) -> Results {
    Ok(vec![in_f32(cx, node.input(0)?, formula)?])
}

/// Applies `formula` in f32 where `x` is a narrower float.
fn in_f32(
    cx: &mut Context,
    x: ValueId,
    formula: impl FnOnce(&mut Context, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    let dtype = cx.dtype(x)?;
    let wide = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let x = cx.cast(x, wide)?;
    let y = formula(cx, x)?;
    cx.cast(y, dtype)
}

/// `b` where `x < 0`, else `a`.
fn where_negative(cx: &mut Context, x: ValueId, b: ValueId, a: ValueId) -> Result<ValueId> {
    let negative = cx.with_scalar(ScalarOp::Lt, x, 0.0)?;
    cx.select(negative, b, a)
}

/// `exp(x) - 1`.
fn exp_minus_one(cx: &mut Context, x: ValueId) -> Result<ValueId> {
    let exp = cx.unary(ScalarOp::Exp, x)?;
    cx.with_scalar(ScalarOp::Sub, exp, 1.0)
}

/// `LeakyRelu`: `alpha * x` below zero.
pub(super) fn leaky_relu(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let scaled = cx.with_scalar(ScalarOp::Mul, x, attr(node, "alpha", 0.01))?;
    Ok(vec![where_negative(cx, x, scaled, x)?])
}

/// `PRelu`: `slope * x` below zero. Before opset 7 a slope of rank 1 is per channel.
pub(super) fn prelu(cx: &mut Context, node: &NodeView) -> Results {
    let (x, mut slope) = (node.input(0)?, node.input(1)?);
    let rank = cx.rank(x)?;
    if node.opset < 7 && cx.rank(slope)? == 1 && rank > 2 && !cx.shape(slope)?[0].is(1) {
        let mut shape = cx.shape(slope)?;
        shape.extend(vec![Dim::constant(1); rank - 2]);
        slope = cx.reshape(slope, shape)?;
    }
    let scaled = cx.binary(ScalarOp::Mul, x, slope)?;
    Ok(vec![where_negative(cx, x, scaled, x)?])
}

/// `Elu`: `alpha * (exp(x) - 1)` below zero.
pub(super) fn elu(cx: &mut Context, node: &NodeView) -> Results {
    rounded_once(cx, node, |cx, x| elu_of(cx, x, attr(node, "alpha", 1.0)))
}

fn elu_of(cx: &mut Context, x: ValueId, alpha: f64) -> Result<ValueId> {
    let exp = exp_minus_one(cx, x)?;
    let scaled = cx.with_scalar(ScalarOp::Mul, exp, alpha)?;
    where_negative(cx, x, scaled, x)
}

/// `Celu`: `alpha * elu(x / alpha)`.
pub(super) fn celu(cx: &mut Context, node: &NodeView) -> Results {
    let (x, alpha) = (node.input(0)?, attr(node, "alpha", 1.0));
    let quotient = cx.with_scalar(ScalarOp::Div, x, alpha)?;
    let elu = in_f32(cx, quotient, |cx, x| elu_of(cx, x, 1.0))?;
    Ok(vec![cx.with_scalar(ScalarOp::Mul, elu, alpha)?])
}

/// `Selu`: `gamma * x`, below zero `gamma * (alpha * exp(x) - alpha)`.
pub(super) fn selu(cx: &mut Context, node: &NodeView) -> Results {
    rounded_once(cx, node, |cx, x| {
        let (alpha, gamma) = (attr(node, "alpha", 1.673_263_2), attr(node, "gamma", 1.050_701));
        let exp = cx.unary(ScalarOp::Exp, x)?;
        let scaled = cx.with_scalar(ScalarOp::Mul, exp, alpha)?;
        let shifted = cx.with_scalar(ScalarOp::Sub, scaled, alpha)?;
        let low = cx.with_scalar(ScalarOp::Mul, shifted, gamma)?;
        let high = cx.with_scalar(ScalarOp::Mul, x, gamma)?;
        where_negative(cx, x, low, high)
    })
}

/// `HardSigmoid`: `max(0, min(1, alpha * x + beta))`.
pub(super) fn hard_sigmoid(cx: &mut Context, node: &NodeView) -> Results {
    rounded_once(cx, node, |cx, x| {
        let scaled = cx.with_scalar(ScalarOp::Mul, x, attr(node, "alpha", 0.2))?;
        let sum = cx.with_scalar(ScalarOp::Add, scaled, attr(node, "beta", 0.5))?;
        let low = cx.with_scalar(ScalarOp::Max, sum, 0.0)?;
        cx.with_scalar(ScalarOp::Min, low, 1.0)
    })
}

/// `Softsign`: `x / (1 + |x|)`.
pub(super) fn softsign(cx: &mut Context, node: &NodeView) -> Results {
    rounded_once(cx, node, |cx, x| {
        let magnitude = cx.unary(ScalarOp::Abs, x)?;
        let divisor = cx.with_scalar(ScalarOp::Add, magnitude, 1.0)?;
        cx.binary(ScalarOp::Div, x, divisor)
    })
}

/// `Mish`: `x * tanh(softplus(x))`.
pub(super) fn mish(cx: &mut Context, node: &NodeView) -> Results {
    rounded_once(cx, node, |cx, x| {
        let soft = cx.unary(ScalarOp::Softplus, x)?;
        let tanh = cx.unary(ScalarOp::Tanh, soft)?;
        cx.binary(ScalarOp::Mul, x, tanh)
    })
}

/// `Swish`: `x * sigmoid(alpha * x)`.
pub(super) fn swish(cx: &mut Context, node: &NodeView) -> Results {
    let (x, alpha) = (node.input(0)?, attr(node, "alpha", 1.0));
    if alpha == 1.0 {
        return Ok(vec![cx.unary(ScalarOp::Silu, x)?]);
    }
    let scaled = cx.with_scalar(ScalarOp::Mul, x, alpha)?;
    let gate = cx.unary(ScalarOp::Sigmoid, scaled)?;
    Ok(vec![cx.binary(ScalarOp::Mul, x, gate)?])
}

/// `Gelu`, exact or by tanh.
pub(super) fn gelu(cx: &mut Context, node: &NodeView) -> Results {
    let function = match node.text("approximate") {
        None | Some("none" | "") => ScalarOp::Gelu,
        Some("tanh") => ScalarOp::GeluTanh,
        Some(other) => return Err(invalid!("attribute `approximate` must be none or tanh, found {other}")),
    };
    Ok(vec![cx.unary(function, node.input(0)?)?])
}

/// `com.microsoft::FastGelu`: the tanh form of `x + bias`.
pub(super) fn fast_gelu(cx: &mut Context, node: &NodeView) -> Results {
    let mut x = node.input(0)?;
    if let Some(bias) = node.opt(1) {
        x = cx.binary(ScalarOp::Add, x, bias)?;
    }
    Ok(vec![cx.unary(ScalarOp::GeluTanh, x)?])
}

/// `com.microsoft::BiasGelu`: the exact form of `x + bias`.
pub(super) fn bias_gelu(cx: &mut Context, node: &NodeView) -> Results {
    let x = cx.binary(ScalarOp::Add, node.input(0)?, node.input(1)?)?;
    Ok(vec![cx.unary(ScalarOp::Gelu, x)?])
}

/// `com.microsoft::QuickGelu`: `x * sigmoid(alpha * x)` with 1.702.
pub(super) fn quick_gelu(cx: &mut Context, node: &NodeView) -> Results {
    rounded_once(cx, node, |cx, x| {
        let scaled = cx.with_scalar(ScalarOp::Mul, x, attr(node, "alpha", 1.702))?;
        let gate = cx.unary(ScalarOp::Sigmoid, scaled)?;
        cx.binary(ScalarOp::Mul, x, gate)
    })
}

/// `ThresholdedRelu`: `x` above `alpha`, else 0.
pub(super) fn thresholded_relu(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let above = cx.with_scalar(ScalarOp::Gt, x, attr(node, "alpha", 1.0))?;
    let zero = cx.scalar_like(x, 0.0)?;
    Ok(vec![cx.select(above, x, zero)?])
}

/// `Shrink`: `x + bias` below `-lambd`, `x - bias` above `lambd`, else 0.
pub(super) fn shrink(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let (bias, lambda) = (attr(node, "bias", 0.0), attr(node, "lambd", 0.5));
    let below = cx.with_scalar(ScalarOp::Lt, x, -lambda)?;
    let above = cx.with_scalar(ScalarOp::Gt, x, lambda)?;
    let (plus, minus) = (cx.with_scalar(ScalarOp::Add, x, bias)?, cx.with_scalar(ScalarOp::Sub, x, bias)?);
    let zero = cx.scalar_like(x, 0.0)?;
    let upper = cx.select(above, minus, zero)?;
    Ok(vec![cx.select(below, plus, upper)?])
}

/// `Clip`: bounds are attributes before opset 11, then optional inputs.
pub(super) fn clip(cx: &mut Context, node: &NodeView) -> Results {
    let mut x = node.input(0)?;
    let bound = |cx: &mut Context, index: usize, name: &str| -> Result<Option<ValueId>> {
        match (node.opt(index), node.float(name)) {
            (Some(value), _) => Ok(Some(value)),
            (None, Some(value)) => cx.scalar_like(x, f64::from(value)).map(Some),
            (None, None) => Ok(None),
        }
    };
    let (low, high) = (bound(cx, 1, "min")?, bound(cx, 2, "max")?);
    for (bound, function) in [(low, ScalarOp::Max), (high, ScalarOp::Min)] {
        if let Some(bound) = bound {
            let scalar = cx.reshape(bound, vec![])?;
            x = cx.binary(function, x, scalar)?;
        }
    }
    Ok(vec![x])
}
