//! ONNX normalizations.

use super::prelude::*;
use ic_ir::F32;
use ic_ir::ops::{LayerNormalization, ReduceFn, RmsNormalization};

fn epsilon(node: &NodeView) -> f32 {
    node.float("epsilon").unwrap_or(1e-5)
}

/// A tensor of rank 1 per channel, with the rank of `x`, whose channels are axis 1.
fn per_channel(cx: &mut Context, value: ValueId, x: ValueId) -> Result<ValueId> {
    let mut shape = vec![Dim::constant(1); cx.rank(x)?];
    let channels = cx.ty(value)?.elements();
    *shape.get_mut(1).ok_or_else(|| invalid!("`X` has no channels"))? = channels;
    cx.reshape(value, shape)
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, all broadcast.
fn normalize(
    cx: &mut Context,
    x: ValueId,
    [mean, variance]: [ValueId; 2],
    epsilon: f32,
    affine: Option<[ValueId; 2]>,
) -> Result<ValueId> {
    let centred = cx.binary(ScalarOp::Sub, x, mean)?;
    let sum = cx.with_scalar(ScalarOp::Add, variance, f64::from(epsilon))?;
    let deviation = cx.unary(ScalarOp::Sqrt, sum)?;
    let mut result = cx.binary(ScalarOp::Div, centred, deviation)?;
    if let Some([scale, bias]) = affine {
        result = cx.binary(ScalarOp::Mul, result, scale)?;
        result = cx.binary(ScalarOp::Add, result, bias)?;
    }
    Ok(result)
}

/// Mean and population variance over some axes, which stay with extent 1.
fn moments(cx: &mut Context, x: ValueId, axes: Vec<usize>) -> Result<[ValueId; 2]> {
    let mean = cx.reduce(ReduceFn::Mean, x, axes.clone())?;
    let centred = cx.binary(ScalarOp::Sub, x, mean)?;
    let squares = cx.binary(ScalarOp::Mul, centred, centred)?;
    Ok([mean, cx.reduce(ReduceFn::Mean, squares, axes)?])
}

/// `BatchNormalization` at inference; in training mode also the running statistics.
pub(super) fn batch(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    if node.opset < 9 && node.int("spatial") == Some(0) {
        return Err(unsupported!("statistics per element are not supported"));
    }
    let dtype = cx.dtype(x)?;
    let mut parameters = Vec::new();
    for i in 1..5 {
        let value = per_channel(cx, node.input(i)?, x)?;
        parameters.push(cx.cast(value, dtype)?);
    }
    let [scale, bias, mean, variance] = parameters[..] else { return Err(invalid!("takes 5 inputs")) };
    if !node.flag("training_mode", false) {
        return Ok(vec![normalize(cx, x, [mean, variance], epsilon(node), Some([scale, bias]))?]);
    }
    let axes = (0..cx.rank(x)?).filter(|&axis| axis != 1).collect();
    let [batch_mean, batch_variance] = moments(cx, x, axes)?;
    let y = normalize(cx, x, [batch_mean, batch_variance], epsilon(node), Some([scale, bias]))?;
    let momentum = f64::from(node.float("momentum").unwrap_or(0.9));
    let mut results = vec![y];
    for (index, (old, new)) in [(mean, batch_mean), (variance, batch_variance)].into_iter().enumerate() {
        let old_part = cx.with_scalar(ScalarOp::Mul, old, momentum)?;
        let new_part = cx.with_scalar(ScalarOp::Mul, new, f64::from(1.0 - momentum as f32))?;
        let running = cx.binary(ScalarOp::Add, old_part, new_part)?;
        let (shape, dtype) = (cx.shape(node.input(3 + index)?)?, cx.dtype(node.input(3 + index)?)?);
        let running = cx.reshape(running, shape)?;
        results.push(cx.cast(running, dtype)?);
    }
    Ok(results)
}

/// `InstanceNormalization`: per sample and channel. Floats of 16 bits are computed with as f32, as squares of theirs
/// overflow.
pub(super) fn instance(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let dtype = cx.dtype(x)?;
    let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
    let x = cx.cast(x, wide)?;
    let axes = (2..cx.rank(x)?).collect();
    let statistics = moments(cx, x, axes)?;
    let mut parameter = |i| {
        let value = per_channel(cx, node.input(i)?, x)?;
        cx.cast(value, wide)
    };
    let affine = [parameter(1)?, parameter(2)?];
    let y = normalize(cx, x, statistics, epsilon(node), Some(affine))?;
    Ok(vec![cx.cast(y, dtype)?])
}

/// `GroupNormalization`: per sample and group of channels. Before opset 21 scale and bias are per group.
pub(super) fn group(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let n = node.int("num_groups").filter(|&n| n > 0).ok_or_else(|| invalid!("`num_groups` must be positive"))?;
    let [batch, channels, space @ ..] = shape.as_slice() else { return Err(invalid!("`X` has no channels")) };
    let stash = node.int("stash_type").map_or(Ok(DType::F32), |code| dtype(code as i32))?;
    let dtype = cx.dtype(x)?;
    let area: Dim = space.iter().cloned().product();
    let per_group = channels.floor_div(&Dim::constant(n)) * area.clone();
    let split = cx.reshape(x, vec![batch.clone(), Dim::constant(n), per_group])?;
    let wide = if dtype == DType::F64 { dtype } else { stash };
    let split = cx.cast(split, wide)?;
    let statistics = moments(cx, split, vec![2])?;
    let mut result = normalize(cx, split, statistics, epsilon(node), None)?;
    let (scale, bias) = (node.input(1)?, node.input(2)?);
    let along = |cx: &mut Context, value: ValueId| -> Result<ValueId> {
        let extent = cx.ty(value)?.elements();
        cx.reshape(value, vec![Dim::constant(1), extent, Dim::constant(1)])
    };
    if node.opset < 21 {
        for (function, value) in [(ScalarOp::Mul, scale), (ScalarOp::Add, bias)] {
            let value = along(cx, value)?;
            let value = cx.cast(value, wide)?;
            result = cx.binary(function, result, value)?;
        }
        let result = cx.reshape(result, shape)?;
        return Ok(vec![cx.cast(result, dtype)?]);
    }
    let result = cx.reshape(result, vec![batch.clone(), channels.clone(), area])?;
    let result = cx.cast(result, dtype)?;
    let (scale, bias) = (along(cx, scale)?, along(cx, bias)?);
    let product = cx.binary(ScalarOp::Mul, result, scale)?;
    let sum = cx.binary(ScalarOp::Add, product, bias)?;
    Ok(vec![cx.reshape(sum, shape)?])
}

/// `LayerNormalization`, with mean and inverse deviation where the model uses them.
pub(super) fn layer(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = node.int("axis").unwrap_or(-1);
    let op = LayerNormalization { axis, epsilon: F32(epsilon(node)) };
    let mut results = cx.push_all(op, &[Some(x), node.opt(1), node.opt(2)])?;
    if node.n_outputs() > 1 {
        let stash = node.int("stash_type").map_or(Ok(DType::F32), |code| dtype(code as i32))?;
        let (first, rank) = (cx.axis(x, axis)?, cx.rank(x)?);
        let wide = cx.cast(x, stash)?;
        let [mean, variance] = moments(cx, wide, (first..rank).collect())?;
        let sum = cx.with_scalar(ScalarOp::Add, variance, f64::from(epsilon(node)))?;
        let deviation = cx.unary(ScalarOp::Sqrt, sum)?;
        results.extend([mean, cx.unary(ScalarOp::Reciprocal, deviation)?]);
    }
    Ok(results)
}

/// `RMSNormalization`, `com.microsoft::SimplifiedLayerNormalization`.
pub(super) fn rms(cx: &mut Context, node: &NodeView) -> Results {
    let op = RmsNormalization { axis: node.int("axis").unwrap_or(-1), epsilon: F32(epsilon(node)) };
    cx.push_all(op, &[Some(node.input(0)?), node.opt(1)])
}

/// The sum that the skip normalizations of com.microsoft start with.
fn skip_sum(cx: &mut Context, node: &NodeView, bias: Option<ValueId>) -> Result<ValueId> {
    let sum = cx.binary(ScalarOp::Add, node.input(0)?, node.input(1)?)?;
    match bias {
        Some(bias) => cx.binary(ScalarOp::Add, sum, bias),
        None => Ok(sum),
    }
}

/// `com.microsoft::SkipLayerNormalization`: a layer normalization of `input + skip + bias`; output 3 is that sum.
pub(super) fn skip_layer(cx: &mut Context, node: &NodeView) -> Results {
    let sum = skip_sum(cx, node, node.opt(4))?;
    let op = LayerNormalization { axis: -1, epsilon: F32(node.float("epsilon").unwrap_or(1e-12)) };
    let y = cx.push_all(op, &[Some(sum), node.opt(2), node.opt(3)])?[0];
    skip_results(node, y, sum)
}

/// `com.microsoft::SkipSimplifiedLayerNormalization`.
pub(super) fn skip_rms(cx: &mut Context, node: &NodeView) -> Results {
    let sum = skip_sum(cx, node, node.opt(3))?;
    let op = RmsNormalization { axis: -1, epsilon: F32(node.float("epsilon").unwrap_or(1e-12)) };
    let y = cx.push_all(op, &[Some(sum), node.opt(2)])?[0];
    skip_results(node, y, sum)
}

fn skip_results(node: &NodeView, y: ValueId, sum: ValueId) -> Results {
    if node.wants(1) || node.wants(2) {
        return Err(unsupported!("statistics as outputs are not supported"));
    }
    Ok(vec![y, sum, sum, sum])
}

/// `LRN`: `x / (bias + alpha / size * sum of squares over the channels around)^beta`.
pub(super) fn lrn(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let (shape, rank) = (cx.shape(x)?, cx.rank(x)?);
    let size =
        node.int("size").filter(|&n| (1..=1 << 10).contains(&n)).ok_or_else(|| invalid!("`size` must be positive"))?;
    let squares = cx.binary(ScalarOp::Mul, x, x)?;
    let mut pads = vec![Dim::constant(0); 2 * rank];
    *pads.get_mut(1).ok_or_else(|| invalid!("`X` has no channels"))? = Dim::constant((size - 1) / 2);
    pads[rank + 1] = Dim::constant(size - 1 - (size - 1) / 2);
    let padded = super::slice::pad_or_crop(cx, squares, pads, ic_ir::ops::PadMode::Constant, None)?;
    let mut sum = cx.slice(padded, 1, Dim::constant(0), shape[1].clone())?;
    for i in 1..size {
        let part = cx.slice(padded, 1, Dim::constant(i), shape[1].clone())?;
        sum = cx.binary(ScalarOp::Add, sum, part)?;
    }
    let alpha = f64::from(node.float("alpha").unwrap_or(1e-4)) / size as f64;
    let scaled = cx.with_scalar(ScalarOp::Mul, sum, alpha)?;
    let base = cx.with_scalar(ScalarOp::Add, scaled, f64::from(node.float("bias").unwrap_or(1.0)))?;
    let divisor = cx.with_scalar(ScalarOp::Pow, base, f64::from(node.float("beta").unwrap_or(0.75)))?;
    Ok(vec![cx.binary(ScalarOp::Div, x, divisor)?])
}

/// `MeanVarianceNormalization`: `(x - mean) / (deviation + 1e-9)`.
pub(super) fn mean_variance(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axes = cx.axes(x, node.ints("axes").unwrap_or(&[0, 2, 3]))?;
    let [mean, variance] = moments(cx, x, axes)?;
    let deviation = cx.unary(ScalarOp::Sqrt, variance)?;
    let divisor = cx.with_scalar(ScalarOp::Add, deviation, 1e-9)?;
    let centred = cx.binary(ScalarOp::Sub, x, mean)?;
    Ok(vec![cx.binary(ScalarOp::Div, centred, divisor)?])
}

/// `LpNormalization`: `x / norm` along an axis, 0 where the norm is 0.
pub(super) fn lp(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(-1))?;
    let norm = match node.int("p").unwrap_or(2) {
        1 => {
            let magnitudes = cx.unary(ScalarOp::Abs, x)?;
            cx.reduce(ReduceFn::Sum, magnitudes, vec![axis])?
        }
        2 => {
            let squares = cx.binary(ScalarOp::Mul, x, x)?;
            let sum = cx.reduce(ReduceFn::Sum, squares, vec![axis])?;
            cx.unary(ScalarOp::Sqrt, sum)?
        }
        p => return Err(invalid!("attribute `p` must be 1 or 2, found {p}")),
    };
    let quotient = cx.binary(ScalarOp::Div, x, norm)?;
    let is_zero = cx.with_scalar(ScalarOp::Eq, norm, 0.0)?;
    let zero = cx.scalar_like(x, 0.0)?;
    Ok(vec![cx.select(is_zero, zero, quotient)?])
}
