//! ONNX `LSTM`, `GRU` and `RNN`, and `DynamicQuantizeLSTM` of com.microsoft.

use super::prelude::*;
use ic_ir::F32;
use ic_ir::ops::{Direction, DynamicQuantizeLstm, Gru, Lstm, Rnn, RnnActivation};

/// What the three have in common.
struct Attributes {
    hidden_size: usize,
    direction: Direction,
    activations: Vec<RnnActivation>,
    alpha: Vec<F32>,
    beta: Vec<F32>,
    clip: Option<F32>,
    layout: usize,
}

fn attributes(cx: &Context, node: &NodeView, default: &[RnnActivation]) -> Result<Attributes> {
    let direction = match node.text("direction") {
        None | Some("forward") => Direction::Forward,
        Some("reverse") => Direction::Reverse,
        Some("bidirectional") => Direction::Bidirectional,
        Some(other) => return Err(invalid!("attribute `direction` is `{other}`")),
    };
    let n = if direction == Direction::Bidirectional { 2 } else { 1 };
    let activations = match node.texts("activations").filter(|list| !list.is_empty()) {
        Some(names) => names.iter().map(|name| activation(name)).collect::<Result<Vec<_>>>()?,
        None => default.repeat(n),
    };
    if activations.len() != n * default.len() {
        return Err(invalid!("`activations` must have {} elements, found {}", n * default.len(), activations.len()));
    }
    let states = cx.shape(node.input(2)?)?;
    // Quantized weights have rows where those of floats have columns.
    let axis = if cx.dtype(node.input(2)?)?.is_float() { 2 } else { 1 };
    let hidden = node.int("hidden_size").or(states.get(axis).and_then(Dim::as_const));
    let hidden_size =
        hidden.and_then(|h| usize::try_from(h).ok()).ok_or_else(|| invalid!("`hidden_size` is missing"))?;
    let alpha = parameters(node.floats("activation_alpha"), &activations, uses_alpha, |a| a.defaults().0);
    let beta = parameters(node.floats("activation_beta"), &activations, uses_beta, |a| a.defaults().1);
    Ok(Attributes {
        hidden_size,
        direction,
        activations,
        alpha,
        beta,
        clip: node.float("clip").map(F32),
        layout: usize::from(node.flag("layout", false)),
    })
}

fn uses_alpha(activation: RnnActivation) -> bool {
    use RnnActivation::{Elu, LeakyRelu, ThresholdedRelu};
    uses_beta(activation) || matches!(activation, Elu | LeakyRelu | ThresholdedRelu)
}

fn uses_beta(activation: RnnActivation) -> bool {
    use RnnActivation::{Affine, HardSigmoid, ScaledTanh};
    matches!(activation, Affine | HardSigmoid | ScaledTanh)
}

/// One parameter for each activation: a list as long as theirs goes along with them, a shorter one is taken by those
/// that use it, in order.
fn parameters(
    given: Option<&[f32]>,
    activations: &[RnnActivation],
    uses: fn(RnnActivation) -> bool,
    default: fn(RnnActivation) -> f32,
) -> Vec<F32> {
    let given = given.unwrap_or_default();
    if given.len() == activations.len() || given.is_empty() {
        return given.iter().map(|&x| F32(x)).collect();
    }
    let mut rest = given.iter().copied();
    let parameter = |&a: &RnnActivation| uses(a).then(|| rest.next()).flatten().unwrap_or(default(a));
    activations.iter().map(parameter).map(F32).collect()
}

fn activation(name: &str) -> Result<RnnActivation> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => RnnActivation::Relu,
        "tanh" => RnnActivation::Tanh,
        "sigmoid" => RnnActivation::Sigmoid,
        "affine" => RnnActivation::Affine,
        "leakyrelu" => RnnActivation::LeakyRelu,
        "thresholdedrelu" => RnnActivation::ThresholdedRelu,
        "scaledtanh" => RnnActivation::ScaledTanh,
        "hardsigmoid" => RnnActivation::HardSigmoid,
        "elu" => RnnActivation::Elu,
        "softsign" => RnnActivation::Softsign,
        "softplus" => RnnActivation::Softplus,
        _ => return Err(invalid!("there is no activation `{name}`")),
    })
}

fn inputs(node: &NodeView, n: usize) -> Vec<Option<ValueId>> {
    (0..n.min(node.inputs.len())).map(|i| node.opt(i)).collect()
}

/// `LSTM`.
pub(super) fn lstm(cx: &mut Context, node: &NodeView) -> Results {
    let default = [RnnActivation::Sigmoid, RnnActivation::Tanh, RnnActivation::Tanh];
    let Attributes { hidden_size, direction, activations, alpha, beta, clip, layout } = attributes(cx, node, &default)?;
    let input_forget = node.flag("input_forget", false);
    let op = Lstm { hidden_size, direction, activations, alpha, beta, clip, input_forget, layout };
    cx.push_all(op, &inputs(node, 8))
}

/// `GRU`.
pub(super) fn gru(cx: &mut Context, node: &NodeView) -> Results {
    let default = [RnnActivation::Sigmoid, RnnActivation::Tanh];
    let Attributes { hidden_size, direction, activations, alpha, beta, clip, layout } = attributes(cx, node, &default)?;
    let linear_before_reset = node.flag("linear_before_reset", false);
    let op = Gru { hidden_size, direction, activations, alpha, beta, clip, linear_before_reset, layout };
    cx.push_all(op, &inputs(node, 6))
}

/// `RNN`.
pub(super) fn rnn(cx: &mut Context, node: &NodeView) -> Results {
    let default = [RnnActivation::Tanh];
    let Attributes { hidden_size, direction, activations, alpha, beta, clip, layout } = attributes(cx, node, &default)?;
    cx.push_all(Rnn { hidden_size, direction, activations, alpha, beta, clip, layout }, &inputs(node, 6))
}

/// `com.microsoft::DynamicQuantizeLSTM`.
pub(super) fn dynamic_quantize_lstm(cx: &mut Context, node: &NodeView) -> Results {
    let default = [RnnActivation::Sigmoid, RnnActivation::Tanh, RnnActivation::Tanh];
    let Attributes { hidden_size, direction, activations, alpha, beta, clip, layout } = attributes(cx, node, &default)?;
    let input_forget = node.flag("input_forget", false);
    let op = DynamicQuantizeLstm { hidden_size, direction, activations, alpha, beta, clip, input_forget, layout };
    let mut operands = inputs(node, 12);
    operands.resize(12, None);
    cx.push_all(op, &operands)
}
