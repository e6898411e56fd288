//! LSTM, GRU and plain recurrent layers.

use super::{Attr, CallOperand, LibraryCall, Packing, Site, plain, require};
use ic_ir::F32;
use ic_ir::ops::{Direction, DynamicQuantizeLstm, Gru, Lstm, Rnn, RnnActivation};
use ic_kernels::library::codes;
use ic_kernels::pack::recurrent_weights_shape;
use ic_types::{DType, Dim};

fn direction(direction: Direction) -> Attr {
    match direction {
        Direction::Forward => codes::Direction::Forward,
        Direction::Reverse => codes::Direction::Reverse,
        Direction::Bidirectional => codes::Direction::Bidirectional,
    }
    .code()
    .into()
}

fn activation(activation: RnnActivation) -> i64 {
    match activation {
        RnnActivation::Sigmoid => codes::Activation::Sigmoid,
        RnnActivation::Tanh => codes::Activation::Tanh,
        RnnActivation::Relu => codes::Activation::Relu,
        RnnActivation::Affine => codes::Activation::Affine,
        RnnActivation::LeakyRelu => codes::Activation::LeakyRelu,
        RnnActivation::ThresholdedRelu => codes::Activation::ThresholdedRelu,
        RnnActivation::ScaledTanh => codes::Activation::ScaledTanh,
        RnnActivation::HardSigmoid => codes::Activation::HardSigmoid,
        RnnActivation::Elu => codes::Activation::Elu,
        RnnActivation::Softsign => codes::Activation::Softsign,
        RnnActivation::Softplus => codes::Activation::Softplus,
    }
    .code()
}

/// Code, alpha and beta of each activation.
fn activations(list: &[RnnActivation], alpha: &[F32], beta: &[F32]) -> Vec<Attr> {
    let parameter = |given: &[F32], i: usize, default: f32| Attr::F32(given.get(i).map_or(default, |x| x.0));
    let each = |(i, &f): (usize, &RnnActivation)| {
        let (default_alpha, default_beta) = f.defaults();
        [activation(f).into(), parameter(alpha, i, default_alpha), parameter(beta, i, default_beta)]
    };
    list.iter().enumerate().flat_map(each).collect()
}

fn clip(clip: Option<F32>) -> Attr {
    Attr::F32(clip.map_or(f32::INFINITY, |x| x.0))
}

/// Operand `index`, the weights of `gates` gates: packed if they are constant.
fn weights(site: &Site, index: usize, gates: usize) -> Option<CallOperand> {
    let view = site.operands.get(index)?.as_ref()?;
    let extents = view.shape.iter().map(|d| usize::try_from(d.as_const()?).ok()).collect::<Option<Vec<_>>>();
    let is_float = view.dtype == DType::F32;
    let extents = match extents.as_deref() {
        Some(&[directions, units, k]) if is_float => Some((directions, units, k)),
        Some(&[directions, k, units]) => Some((directions, units, k)),
        _ => None,
    };
    match extents.filter(|(_, units, _)| view.is_constant && units.is_multiple_of(gates)) {
        Some((directions, units, k)) => {
            let hidden = units / gates;
            let shape = recurrent_weights_shape(directions, gates, hidden, k).map(|d| Dim::constant(d as i64)).into();
            let packing = match is_float {
                true => Packing::Recurrent { directions, gates, hidden, k },
                false => Packing::Int8Recurrent { directions, gates, hidden, k },
            };
            Some(CallOperand::Packed { index, shape, packing, dtype: view.dtype })
        }
        None => site.pass(index),
    }
}

/// The operands of a layer with `inputs` inputs and `outputs` outputs; 1 and 2 are weights of `gates` gates.
fn operands(site: &Site, inputs: usize, outputs: usize, gates: usize) -> Vec<Option<CallOperand>> {
    let input = |i| if i == 1 || i == 2 { weights(site, i, gates) } else { site.pass(i) };
    (0..inputs).map(input).chain((0..outputs).map(|i| site.give(i))).collect()
}

pub(super) fn lstm(op: &Lstm, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "lstm")?;
    let operands = operands(site, 8, 3, 4);
    let mut attrs = vec![direction(op.direction), op.layout.into(), op.input_forget.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("f32_lstm", operands, attrs))
}

pub(super) fn dynamic_quantize_lstm(op: &DynamicQuantizeLstm, site: &Site) -> Result<LibraryCall, String> {
    let operands = operands(site, 12, 3, 4);
    let mut attrs = vec![direction(op.direction), op.layout.into(), op.input_forget.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("int8_lstm", operands, attrs))
}

pub(super) fn gru(op: &Gru, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "gru")?;
    let operands = operands(site, 6, 2, 3);
    let mut attrs = vec![direction(op.direction), op.layout.into(), op.linear_before_reset.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("f32_gru", operands, attrs))
}

pub(super) fn rnn(op: &Rnn, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "rnn")?;
    let operands = operands(site, 6, 2, 1);
    let mut attrs = vec![direction(op.direction), op.layout.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("f32_rnn", operands, attrs))
}
