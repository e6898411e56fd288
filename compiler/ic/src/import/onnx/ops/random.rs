//! ONNX ops that draw at random: `RandomUniform`, `RandomNormal`, both like another tensor, `Bernoulli`, `Multinomial`.
//!
//! A node without seed gets one from its place in the model, so that nodes draw differently. What a session draws changes
//! from run to run, and is the same for every session.

use super::prelude::*;
use ic_ir::ops::{Cumulative, CumulativeFn, Random, ReduceFn};

pub(super) const OPS: &[super::Row] = &[
    ("", "Bernoulli", bernoulli),
    ("", "Multinomial", multinomial),
    ("", "RandomNormal", |cx, n| filled(cx, n, Distribution::Normal)),
    ("", "RandomNormalLike", |cx, n| like(cx, n, Distribution::Normal)),
    ("", "RandomUniform", |cx, n| filled(cx, n, Distribution::Uniform)),
    ("", "RandomUniformLike", |cx, n| like(cx, n, Distribution::Uniform)),
];

/// What is drawn from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// [0, 1).
    Uniform,
    /// Mean 0 and variance 1.
    Normal,
}

/// The node's seed: the bits of its attribute, which is a float, or its place in the model.
fn seed(cx: &Context, node: &NodeView) -> i64 {
    match node.attr("seed") {
        Some(seed) if seed.i != 0 => seed.i,
        Some(_) => node.float("seed").map_or(0, |seed| i64::from(seed.to_bits())),
        None => 1 << 40 | cx.n_nodes as i64,
    }
}

/// Numbers of a shape, f64 if `dtype` is, else f32.
pub(super) fn drawn(
    cx: &mut Context,
    node: &NodeView,
    from: Distribution,
    shape: Vec<Dim>,
    dtype: DType,
) -> Result<ValueId> {
    let dtype = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (seed, normal) = (seed(cx, node), from == Distribution::Normal);
    cx.push(Random { dtype, shape, normal, seed }, &[])
}

/// Numbers of the range or the mean and deviation that the attributes say.
fn numbers(cx: &mut Context, node: &NodeView, from: Distribution, shape: Vec<Dim>, dtype: DType) -> Results {
    let number = |name: &str, default: f32| f64::from(node.float(name).unwrap_or(default));
    let (offset, scale) = match from {
        Distribution::Uniform => (number("low", 0.0), number("high", 1.0) - number("low", 0.0)),
        Distribution::Normal => (number("mean", 0.0), number("scale", 1.0)),
    };
    let drawn = drawn(cx, node, from, shape, dtype)?;
    let scaled = cx.with_scalar(ScalarOp::Mul, drawn, scale)?;
    let moved = cx.with_scalar(ScalarOp::Add, scaled, offset)?;
    Ok(vec![cx.cast(moved, dtype)?])
}

fn dtype_attribute(node: &NodeView) -> Result<Option<DType>> {
    node.int("dtype").map(|code| dtype(i32::try_from(code).unwrap_or(-1))).transpose()
}

/// Numbers of the shape that is an attribute.
fn filled(cx: &mut Context, node: &NodeView, from: Distribution) -> Results {
    let shape = node.ints("shape").ok_or_else(|| invalid!("attribute `shape` is missing"))?;
    if shape.iter().any(|&extent| extent < 0) {
        return Err(invalid!("attribute `shape` is {shape:?}"));
    }
    let shape = shape.iter().map(|&extent| Dim::constant(extent)).collect();
    numbers(cx, node, from, shape, dtype_attribute(node)?.unwrap_or(DType::F32))
}

/// Numbers of the shape of the input.
fn like(cx: &mut Context, node: &NodeView, from: Distribution) -> Results {
    let ty = cx.ty(node.input(0)?)?;
    let dtype = dtype_attribute(node)?.unwrap_or(ty.dtype);
    numbers(cx, node, from, ty.shape, dtype)
}

/// `Bernoulli`: 1 with the probability that the input says, else 0.
fn bernoulli(cx: &mut Context, node: &NodeView) -> Results {
    let p = node.input(0)?;
    let ty = cx.ty(p)?;
    let to = dtype_attribute(node)?.unwrap_or(ty.dtype);
    let drawn = drawn(cx, node, Distribution::Uniform, ty.shape, ty.dtype)?;
    let wide = cx.dtype(drawn)?;
    let p = cx.cast(p, wide)?;
    let is_one = cx.binary(ScalarOp::Lt, drawn, p)?;
    Ok(vec![cx.cast(is_one, to)?])
}

/// `Multinomial`: classes drawn from rows of logarithms of probabilities, by how many cumulated ones are passed.
fn multinomial(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let ty = cx.ty(x)?;
    let [batch, classes] = &ty.shape[..] else { return Err(invalid!("`input` must have rank 2")) };
    let samples = Dim::constant(node.int("sample_size").unwrap_or(1).max(0));
    let to = dtype_attribute(node)?.unwrap_or(DType::I32);
    let x = cx.cast(x, if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 })?;
    let max = cx.reduce(ReduceFn::Max, x, vec![1])?;
    let below = cx.binary(ScalarOp::Sub, x, max)?;
    let weights = cx.unary(ScalarOp::Exp, below)?;
    let sum = Cumulative { function: CumulativeFn::Sum, axis: 1, exclusive: false, reverse: false };
    let ends = cx.push(sum, &[weights])?;
    let total = cx.reduce(ReduceFn::Sum, weights, vec![1])?;
    let drawn = drawn(cx, node, Distribution::Uniform, vec![batch.clone(), samples], ty.dtype)?;
    let drawn = cx.binary(ScalarOp::Mul, drawn, total)?;
    let (drawn, ends) = (cx.unsqueeze(drawn, &[2])?, cx.unsqueeze(ends, &[1])?);
    let is_passed = cx.binary(ScalarOp::Ge, drawn, ends)?;
    let is_passed = cx.cast(is_passed, DType::I64)?;
    let class = cx.reduce(ReduceFn::Sum, is_passed, vec![2])?;
    let class = cx.squeeze(class, &[2])?;
    // Rounding may leave the last end below what is drawn.
    let last = cx.dim_scalar(classes.clone() - Dim::constant(1))?;
    let class = cx.binary(ScalarOp::Min, class, last)?;
    Ok(vec![cx.cast(class, to)?])
}
