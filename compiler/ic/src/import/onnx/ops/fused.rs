//! `FusedConv` and `FusedGemm` of com.microsoft: contractions with an activation.

use super::prelude::*;

pub(super) const OPS: &[super::Row] =
    &[(super::MICROSOFT, "FusedConv", fused_conv), (super::MICROSOFT, "FusedGemm", fused_gemm)];

/// `FusedConv`: `activation(Conv(x, w, b) + z)`.
fn fused_conv(cx: &mut Context, node: &NodeView) -> Results {
    let mut y = super::conv::conv(cx, node)?[0];
    if let Some(z) = node.opt(3) {
        y = cx.binary(ScalarOp::Add, y, z)?;
    }
    let params = node.floats("activation_params").unwrap_or_default();
    Ok(vec![activated(cx, node.text("activation"), params, y)?])
}

/// `FusedGemm`: `activation(Gemm(a, b, c))`.
fn fused_gemm(cx: &mut Context, node: &NodeView) -> Results {
    let y = super::matmul::gemm(cx, node)?[0];
    let params: Vec<f32> =
        ["activation_alpha", "activation_beta"].into_iter().map_while(|name| node.float(name)).collect();
    Ok(vec![activated(cx, node.text("activation"), &params, y)?])
}

/// The activation of this name with its parameters, of ONNX's defaults where there are none.
fn activated(cx: &mut Context, name: Option<&str>, params: &[f32], x: ValueId) -> Result<ValueId> {
    let param = |i: usize, default: f64| params.get(i).map_or(default, |&p| f64::from(p));
    match name {
        None | Some("") => Ok(x),
        Some("Relu") => cx.unary(ScalarOp::Relu, x),
        Some("Tanh") => cx.unary(ScalarOp::Tanh, x),
        Some("Sigmoid") => cx.unary(ScalarOp::Sigmoid, x),
        Some("LeakyRelu") => {
            let slope = cx.with_scalar(ScalarOp::Mul, x, param(0, 0.01))?;
            let is_negative = cx.with_scalar(ScalarOp::Lt, x, 0.0)?;
            cx.select(is_negative, slope, x)
        }
        Some("Clip") => {
            let low = cx.with_scalar(ScalarOp::Max, x, param(0, f64::from(f32::MIN)))?;
            cx.with_scalar(ScalarOp::Min, low, param(1, f64::from(f32::MAX)))
        }
        Some("HardSigmoid") => {
            let scaled = cx.with_scalar(ScalarOp::Mul, x, param(0, 0.2))?;
            let sum = cx.with_scalar(ScalarOp::Add, scaled, param(1, 0.5))?;
            let low = cx.with_scalar(ScalarOp::Max, sum, 0.0)?;
            cx.with_scalar(ScalarOp::Min, low, 1.0)
        }
        Some(other) => Err(unsupported!("the activation `{other}`")),
    }
}
