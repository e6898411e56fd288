//! Recovery of compound functions from their spellings.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::ops::{LayerNormalization, Reduce, RmsNormalization, Softmax};
use ic_ir::{F32, Op, TensorType};

rules! {
    /// 1 / (1 + e⁻ˣ) = sigmoid(x).
    Reassociating "sigmoid": "(reciprocal (add (exp (neg ?x)) 1.0))" => "(sigmoid ?x)";
    /// x · sigmoid(x) = silu(x).
    Reassociating "silu": "(mul ?x (sigmoid ?x))" => "(silu ?x)";
    /// x / (1 + e⁻ˣ) = silu(x).
    Reassociating "silu-div": "(div ?x (add (exp (neg ?x)) 1.0))" => "(silu ?x)";
    /// log(1 + eˣ) = softplus(x).
    Reassociating "softplus": "(log (add (exp ?x) 1.0))" => "(softplus ?x)";
    /// x · ½ · (1 + erf(x / √2)) = gelu(x).
    Reassociating "gelu": "(mul* ?x 0.5 (add (erf (mul ?x 0.7071067811865476)) 1.0))" => "(gelu ?x)";
    /// x · (½ · erf(x / √2) + ½) = gelu(x).
    Reassociating "gelu-halves": "(mul ?x (add (mul (erf (mul ?x 0.7071067811865476)) 0.5) 0.5))" => "(gelu ?x)";
    /// x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³))) = gelu_tanh(x).
    Reassociating "gelu-tanh":
        "(mul* ?x 0.5 (add (tanh (mul (add ?x (mul* 0.044715 ?x ?x ?x)) 0.7978845608028654)) 1.0))" => "(gelu_tanh ?x)";
    /// As gelu-tanh, with x taken out of the argument.
    Reassociating "gelu-tanh-factored":
        "(mul* ?x 0.5 (add (tanh (mul* ?x 0.7978845608028654 (add (mul* 0.044715 ?x ?x) 1.0))) 1.0))" => "(gelu_tanh ?x)";
    /// x · min(relu(x / 6 + ½), 1) = hard_swish(x).
    Reassociating "hard-swish": "(mul ?x (min (relu (add (mul ?x 0.16666666666666666) 0.5)) 1.0))" => "(hard_swish ?x)";
    /// x · min(relu(x + 3), 6) / 6 = hard_swish(x).
    Reassociating "hard-swish-six": "(mul* ?x (min (relu (add ?x 3.0)) 6.0) 0.16666666666666666)" => "(hard_swish ?x)";
    /// eˣ / Σ eˣ = softmax(x).
    Reassociating "softmax": "(div (exp ?x) (reduce[function=sum]:s (exp ?x)))" => build(softmax);
    /// softmax(x - max x) = softmax(x).
    Reassociating "softmax-shift": "(softmax:o (sub ?x (reduce[function=max]:m ?x)))" => build(softmax_shift);
    /// (x - mean x) / √(mean (x - mean x)² + ε) = layer_normalization(x).
    Reassociating "layer-normalization":
        "(div (sub ?x (reduce[function=mean]:m ?x)) (sqrt (add (reduce[function=mean]:m (mul (sub ?x (reduce[function=mean]:m ?x)) (sub ?x (reduce[function=mean]:m ?x)))) ?e)))"
        => build(layer_normalization);
    /// layer_normalization(x) · s = layer_normalization(x, s).
    Reassociating "layer-normalization-scale": "(mul (layer_normalization:n ?x _ _) ?s)" => build(layer_normalization_scale);
    /// layer_normalization(x, s) + b = layer_normalization(x, s, b).
    Reassociating "layer-normalization-bias": "(add (layer_normalization:n ?x ?s _) ?b)" => build(layer_normalization_bias);
    /// x / √(mean x² + ε) = rms_normalization(x).
    Reassociating "rms-normalization":
        "(div ?x (sqrt (add (reduce[function=mean]:m (mul ?x ?x)) ?e)))" => build(rms_normalization);
    /// rms_normalization(x) · s = rms_normalization(x, s).
    Reassociating "rms-normalization-scale": "(mul (rms_normalization:n ?x _) ?s)" => build(rms_normalization_scale);
}

/// The single axis of a reduction that keeps it.
fn kept_axis(op: &Op) -> Option<usize> {
    match op {
        Op::Reduce(Reduce { axes, keep_dims: true, .. }) if axes.len() == 1 => Some(axes[0]),
        _ => None,
    }
}

fn softmax(site: &mut Site) -> Option<Id> {
    let axis = kept_axis(site.op("s"))?;
    let x = site.var("x");
    let rank = site.ty(x)?.rank();
    site.add(Softmax { axis: from_end(axis, rank) }, &[x])
}

/// `axis` counted from the end.
fn from_end(axis: usize, rank: usize) -> i64 {
    axis as i64 - rank as i64
}

fn softmax_shift(site: &mut Site) -> Option<Id> {
    let Op::Softmax(softmax) = site.op("o").clone() else { return None };
    let x = site.var("x");
    let axis = ic_ir::ops::axis_of(softmax.axis, site.ty(x)?.rank()).ok()?;
    (kept_axis(site.op("m"))? == axis).then(|| site.add(softmax, &[x]))?
}

/// The first normalized axis, counted from the end, if the reduction is one over the last axes.
fn normalized_axis(op: &Op, x: &TensorType) -> Option<i64> {
    let Op::Reduce(Reduce { axes, keep_dims: true, .. }) = op else { return None };
    let mut axes = axes.clone();
    axes.sort_unstable();
    let first = *axes.first()?;
    let is_tail = axes.iter().copied().eq(first..x.rank());
    (is_tail && x.dtype.is_float()).then(|| from_end(first, x.rank()))
}

fn layer_normalization(site: &mut Site) -> Option<Id> {
    let x = site.var("x");
    let rank = site.ty(x)?.rank();
    let axis = normalized_axis(site.op("m"), site.ty(x)?)?;
    // Statistics over the spatial axes of an image are left to the layout that the image gets.
    if axis != -1 && axis + (rank as i64) > 1 {
        return None;
    }
    let epsilon = F32(site.splat("e")? as f32);
    let absent = site.absent();
    site.add(LayerNormalization { axis, epsilon }, &[x, absent, absent])
}

fn rms_normalization(site: &mut Site) -> Option<Id> {
    let x = site.var("x");
    let axis = normalized_axis(site.op("m"), site.ty(x)?)?;
    let epsilon = F32(site.splat("e")? as f32);
    let absent = site.absent();
    site.add(RmsNormalization { axis, epsilon }, &[x, absent])
}

/// `parameter` with the shape of the normalized axes, if it has it but for leading axes of extent 1.
fn as_parameter(site: &mut Site, parameter: Id, axis: i64) -> Option<Id> {
    let x = site.ty(site.var("x"))?.clone();
    let first = ic_ir::ops::axis_of(axis, x.rank()).ok()?;
    let shape = x.shape[first..].to_vec();
    let own = &site.ty(parameter)?.shape;
    let leading = own.len().checked_sub(shape.len())?;
    let fits = own[leading..] == shape && own[..leading].iter().all(|d| d.is(1));
    fits.then(|| site.reshape(parameter, shape))?
}

fn layer_normalization_scale(site: &mut Site) -> Option<Id> {
    let Op::LayerNormalization(op) = site.op("n").clone() else { return None };
    let scale = as_parameter(site, site.var("s"), op.axis)?;
    let absent = site.absent();
    site.add(op, &[site.var("x"), scale, absent])
}

fn layer_normalization_bias(site: &mut Site) -> Option<Id> {
    let Op::LayerNormalization(op) = site.op("n").clone() else { return None };
    let bias = as_parameter(site, site.var("b"), op.axis)?;
    site.add(op, &[site.var("x"), site.var("s"), bias])
}

fn rms_normalization_scale(site: &mut Site) -> Option<Id> {
    let Op::RmsNormalization(op) = site.op("n").clone() else { return None };
    let scale = as_parameter(site, site.var("s"), op.axis)?;
    site.add(op, &[site.var("x"), scale])
}
