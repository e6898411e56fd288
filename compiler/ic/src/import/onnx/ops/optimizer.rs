//! ONNX optimizers of the preview domain: `Adagrad`, `Adam`, `Momentum`.
//!
//! Inputs are the learning rate, the step, then parameters, gradients and states of all tensors; results are the new
//! parameters and states.

use super::prelude::*;

pub(super) const OPS: &[super::Row] =
    &[(super::TRAINING, "Adagrad", adagrad), (super::TRAINING, "Adam", adam), (super::TRAINING, "Momentum", momentum)];

/// Learning rate and step, as scalars of the type of the tensors.
struct Schedule {
    rate: ValueId,
    step: ValueId,
}

/// One optimized tensor: parameters, gradient with its regularization, states.
type Update = fn(&mut Context, &NodeView, &Schedule, ValueId, ValueId, &[ValueId]) -> Result<Vec<ValueId>>;

fn attr(node: &NodeView, name: &str, default: f32) -> f64 {
    f64::from(node.float(name).unwrap_or(default))
}

fn each(cx: &mut Context, node: &NodeView, n_states: usize, update: Update) -> Results {
    let inputs = node.all_inputs()?;
    let lists = n_states + 2;
    if inputs.len() < 2 + lists || (inputs.len() - 2) % lists != 0 {
        return Err(invalid!("needs two scalars and {lists} lists of one length, found {} inputs", inputs.len()));
    }
    let n = (inputs.len() - 2) / lists;
    let mut results = vec![Vec::new(); n_states + 1];
    for i in 0..n {
        let list = |k: usize| inputs[2 + k * n + i];
        let dtype = cx.dtype(list(0))?;
        let scalar = |cx: &mut Context, value: ValueId| -> Result<ValueId> {
            let value = cx.reshape(value, vec![])?;
            cx.cast(value, dtype)
        };
        let schedule = Schedule { rate: scalar(cx, inputs[0])?, step: scalar(cx, inputs[1])? };
        let (x, states) = (list(0), (2..lists).map(list).collect::<Vec<_>>());
        let penalty = cx.with_scalar(ScalarOp::Mul, x, attr(node, "norm_coefficient", 0.0))?;
        let gradient = cx.binary(ScalarOp::Add, penalty, list(1))?;
        let updated = update(cx, node, &schedule, x, gradient, &states)?;
        results.iter_mut().zip(updated).for_each(|(list, value)| list.push(value));
    }
    Ok(results.concat())
}

/// `a * x + b * y`.
fn blend(cx: &mut Context, a: f64, x: ValueId, b: f64, y: ValueId) -> Result<ValueId> {
    let (x, y) = (cx.with_scalar(ScalarOp::Mul, x, a)?, cx.with_scalar(ScalarOp::Mul, y, b)?);
    cx.binary(ScalarOp::Add, x, y)
}

/// `sqrt(squares) + epsilon`.
fn deviation(cx: &mut Context, squares: ValueId, epsilon: f64) -> Result<ValueId> {
    let root = cx.unary(ScalarOp::Sqrt, squares)?;
    cx.with_scalar(ScalarOp::Add, root, epsilon)
}

/// `Adagrad`: steps scaled by the root of all squares so far.
fn adagrad(cx: &mut Context, node: &NodeView) -> Results {
    each(cx, node, 1, |cx, node, schedule, x, gradient, states| {
        let decayed = cx.with_scalar(ScalarOp::Mul, schedule.step, attr(node, "decay_factor", 0.0))?;
        let divisor = cx.with_scalar(ScalarOp::Add, decayed, 1.0)?;
        let rate = cx.binary(ScalarOp::Div, schedule.rate, divisor)?;
        let square = cx.binary(ScalarOp::Mul, gradient, gradient)?;
        let squares = cx.binary(ScalarOp::Add, states[0], square)?;
        let deviation = deviation(cx, squares, attr(node, "epsilon", 0.0))?;
        let step = cx.binary(ScalarOp::Mul, rate, gradient)?;
        let step = cx.binary(ScalarOp::Div, step, deviation)?;
        Ok(vec![cx.binary(ScalarOp::Sub, x, step)?, squares])
    })
}

/// `Momentum`, standard or after Nesterov.
fn momentum(cx: &mut Context, node: &NodeView) -> Results {
    each(cx, node, 1, |cx, node, schedule, x, gradient, states| {
        let alpha = attr(node, "alpha", 0.0);
        let (beta, one) = (cx.scalar_like(x, attr(node, "beta", 0.0))?, cx.scalar_like(x, 1.0)?);
        let is_later = cx.with_scalar(ScalarOp::Gt, schedule.step, 0.0)?;
        let beta = cx.select(is_later, beta, one)?;
        let old = cx.with_scalar(ScalarOp::Mul, states[0], alpha)?;
        let new = cx.binary(ScalarOp::Mul, beta, gradient)?;
        let velocity = cx.binary(ScalarOp::Add, old, new)?;
        let direction = match node.text("mode") {
            None | Some("standard") => velocity,
            Some("nesterov") => blend(cx, 1.0, gradient, alpha, velocity)?,
            Some(other) => return Err(invalid!("attribute `mode` is `{other}`")),
        };
        let step = cx.binary(ScalarOp::Mul, schedule.rate, direction)?;
        Ok(vec![cx.binary(ScalarOp::Sub, x, step)?, velocity])
    })
}

/// `Adam`.
fn adam(cx: &mut Context, node: &NodeView) -> Results {
    each(cx, node, 2, |cx, node, schedule, x, gradient, states| {
        let (alpha, beta) = (attr(node, "alpha", 0.9), attr(node, "beta", 0.999));
        let mean = blend(cx, alpha, states[0], 1.0 - alpha, gradient)?;
        let square = cx.binary(ScalarOp::Mul, gradient, gradient)?;
        let squares = blend(cx, beta, states[1], 1.0 - beta, square)?;
        // The rate corrects the bias of both means, but not at step 0.
        let unbiased = |cx: &mut Context, base: f64| -> Result<ValueId> {
            let base = cx.scalar_like(x, base)?;
            let power = cx.binary(ScalarOp::Pow, base, schedule.step)?;
            let one = cx.scalar_like(x, 1.0)?;
            cx.binary(ScalarOp::Sub, one, power)
        };
        let (first, second) = (unbiased(cx, alpha)?, unbiased(cx, beta)?);
        let root = cx.unary(ScalarOp::Sqrt, second)?;
        let rate = cx.binary(ScalarOp::Mul, schedule.rate, root)?;
        let rate = cx.binary(ScalarOp::Div, rate, first)?;
        let is_later = cx.with_scalar(ScalarOp::Gt, schedule.step, 0.0)?;
        let rate = cx.select(is_later, rate, schedule.rate)?;
        let deviation = deviation(cx, squares, attr(node, "epsilon", 0.0))?;
        let direction = cx.binary(ScalarOp::Div, mean, deviation)?;
        let step = cx.binary(ScalarOp::Mul, rate, direction)?;
        let y = cx.binary(ScalarOp::Sub, x, step)?;
        let kept = 1.0 - attr(node, "norm_coefficient_post", 0.0);
        Ok(vec![cx.with_scalar(ScalarOp::Mul, y, kept)?, mean, squares])
    })
}
