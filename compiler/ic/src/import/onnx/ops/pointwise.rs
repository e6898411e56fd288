//! ONNX ops that are one scalar function, and short chains of them: arithmetic, comparisons, logic, `Where`, `Mod`,
//! `Pow`, `BitShift`, `IsInf`, `Sum`, `Mean`, `Max`, `Min`.

use super::prelude::*;

/// A scalar function of one operand.
pub(super) fn unary(cx: &mut Context, node: &NodeView, function: ScalarOp) -> Results {
    let x = node.input(0)?;
    Ok(vec![cx.unary(function, x)?])
}

/// A scalar function of two operands. Before opset 7, `axis` says where the second operand's axes are.
pub(super) fn binary(cx: &mut Context, node: &NodeView, function: ScalarOp) -> Results {
    let (a, mut b) = (node.input(0)?, node.input(1)?);
    if node.opset < 7
        && let Some(axis) = node.int("axis")
    {
        let (rank, after) = (cx.rank(a)?, cx.rank(b)?);
        let axis = cx.axis(a, axis)?;
        let trailing = rank.saturating_sub(axis + after);
        let mut shape = cx.shape(b)?;
        shape.extend(vec![Dim::constant(1); trailing]);
        b = cx.reshape(b, shape)?;
    }
    Ok(vec![cx.binary(function, a, b)?])
}

/// A scalar function folded over any number of operands: `Sum`, `Max`, `Min`.
pub(super) fn fold(cx: &mut Context, node: &NodeView, function: ScalarOp) -> Results {
    let inputs = node.all_inputs()?;
    let (&first, rest) = inputs.split_first().ok_or_else(|| invalid!("has no inputs"))?;
    let folded = rest.iter().try_fold(first, |a, &b| cx.binary(function, a, b))?;
    Ok(vec![folded])
}

/// `Mean`.
pub(super) fn mean(cx: &mut Context, node: &NodeView) -> Results {
    let sum = fold(cx, node, ScalarOp::Add)?[0];
    let n = node.inputs.len() as f64;
    Ok(vec![cx.with_scalar(ScalarOp::Div, sum, n)?])
}

/// `Where`.
pub(super) fn select(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![cx.select(node.input(0)?, node.input(1)?, node.input(2)?)?])
}

/// `Pow`. The exponent may be of another type; the result has the base's.
pub(super) fn pow(cx: &mut Context, node: &NodeView) -> Results {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (base, exponent) = (cx.dtype(a)?, cx.dtype(b)?);
    if base.is_int() && exponent.is_float() {
        let wide = if exponent == DType::F64 { DType::F64 } else { DType::F32 };
        let (a, b) = (cx.cast(a, wide)?, cx.cast(b, wide)?);
        let power = cx.binary(ScalarOp::Pow, a, b)?;
        return Ok(vec![cx.cast(power, base)?]);
    }
    let b = cx.cast(b, base)?;
    Ok(vec![cx.binary(ScalarOp::Pow, a, b)?])
}

/// `Mod`: the sign of the divisor, or with `fmod` that of the dividend.
pub(super) fn modulo(cx: &mut Context, node: &NodeView) -> Results {
    let function = if node.flag("fmod", false) { ScalarOp::Rem } else { ScalarOp::Mod };
    binary(cx, node, function)
}

/// `BitShift`; to the right, signed integers keep their sign.
pub(super) fn bit_shift(cx: &mut Context, node: &NodeView) -> Results {
    match node.text("direction") {
        Some("LEFT") => binary(cx, node, ScalarOp::Shl),
        Some("RIGHT") => binary(cx, node, ScalarOp::Shr),
        other => Err(invalid!("attribute `direction` must be LEFT or RIGHT, found {other:?}")),
    }
}

/// `IsInf`, with a choice of signs.
pub(super) fn is_inf(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let infinite = cx.unary(ScalarOp::IsInf, x)?;
    let zero = || 0.0;
    let sign = match (node.flag("detect_negative", true), node.flag("detect_positive", true)) {
        (true, true) => return Ok(vec![infinite]),
        (true, false) => cx.with_scalar(ScalarOp::Lt, x, zero())?,
        (false, true) => cx.with_scalar(ScalarOp::Gt, x, zero())?,
        (false, false) => {
            let never = cx.constant(Tensor::scalar(false))?;
            return Ok(vec![cx.binary(ScalarOp::And, infinite, never)?]);
        }
    };
    Ok(vec![cx.binary(ScalarOp::And, infinite, sign)?])
}

/// `ai.onnx.ml::Binarizer`: 1 above the threshold, else 0.
pub(super) fn binarizer(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let above = cx.with_scalar(ScalarOp::Gt, x, f64::from(node.float("threshold").unwrap_or(0.0)))?;
    let dtype = cx.dtype(x)?;
    Ok(vec![cx.cast(above, dtype)?])
}
