//! LSTM, GRU and plain recurrent layers.

use super::{Attr, LibraryCall, Site, plain, require};
use ic_ir::F32;
use ic_ir::ops::{Direction, Gru, Lstm, Rnn, RnnActivation};
use ic_kernels::library::codes;
use ic_types::DType;

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

pub(super) fn lstm(op: &Lstm, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "lstm")?;
    let operands = (0..8).map(|i| site.pass(i)).chain((0..3).map(|i| site.give(i))).collect();
    let mut attrs = vec![direction(op.direction), op.layout.into(), op.input_forget.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("f32_lstm", operands, attrs))
}

pub(super) fn gru(op: &Gru, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "gru")?;
    let operands = (0..6).map(|i| site.pass(i)).chain((0..2).map(|i| site.give(i))).collect();
    let mut attrs = vec![direction(op.direction), op.layout.into(), op.linear_before_reset.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("f32_gru", operands, attrs))
}

pub(super) fn rnn(op: &Rnn, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "rnn")?;
    let operands = (0..6).map(|i| site.pass(i)).chain((0..2).map(|i| site.give(i))).collect();
    let mut attrs = vec![direction(op.direction), op.layout.into(), clip(op.clip)];
    attrs.extend(activations(&op.activations, &op.alpha, &op.beta));
    Ok(plain("f32_rnn", operands, attrs))
}
