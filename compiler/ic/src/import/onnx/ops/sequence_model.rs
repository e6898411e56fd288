//! ONNX ops of recurrent language models: `CausalConvWithState`, `SwiGLU`.

use super::prelude::*;
use ic_ir::ops::{ConvAlgorithm, Convolution, Layout};

/// `SwiGLU`: `a * sigmoid(alpha * a) * b`.
pub(super) fn swiglu(cx: &mut Context, node: &NodeView) -> Results {
    let gate = super::activation::swish(cx, node)?[0];
    Ok(vec![cx.binary(ScalarOp::Mul, gate, node.input(1)?)?])
}

/// `CausalConvWithState`: a convolution of each channel over what came before, and the end of it for the next call.
pub(super) fn causal_conv_with_state(cx: &mut Context, node: &NodeView) -> Results {
    let (x, w) = (node.input(0)?, node.input(1)?);
    let [batch, channels, length] =
        <[Dim; 3]>::try_from(cx.shape(x)?).map_err(|_| invalid!("`input` must have rank 3"))?;
    let weights = cx.shape(w)?;
    let kernel = weights.get(2).and_then(Dim::as_const).filter(|k| *k > 0);
    let kernel = kernel.ok_or_else(|| unsupported!("the kernel has no constant extent"))?;
    let groups = channels.as_const().or(weights[0].as_const()).and_then(|c| usize::try_from(c).ok());
    let groups = groups.ok_or_else(|| unsupported!("the number of channels is symbolic"))?;
    let before = Dim::constant(kernel - 1);
    let past = match node.opt(3) {
        Some(past) => past,
        None => {
            let zero = cx.scalar_like(x, 0.0)?;
            cx.expand(zero, vec![batch, channels, before.clone()])?
        }
    };
    let padded = cx.concat(&[past, x], 2)?;
    let pads = vec![Dim::constant(0); 2];
    let op = Convolution {
        strides: vec![1],
        pads,
        dilations: vec![1],
        groups,
        layout: Layout::ChannelsFirst,
        algorithm: ConvAlgorithm::Direct,
    };
    let mut y = cx.push_all(op, &[Some(padded), Some(w), node.opt(2)])?[0];
    match node.text("activation") {
        None | Some("none" | "") => {}
        Some("silu" | "swish") => y = cx.unary(ScalarOp::Silu, y)?,
        Some(other) => return Err(invalid!("attribute `activation` is `{other}`")),
    }
    Ok(vec![y, cx.slice(padded, 2, length, before)?])
}
