//! Scales and shifts folded into the weights and biases of contractions.
//!
//! The folded weight stays an expression over the model's constant; it is evaluated when weights are packed.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::ops::{Convolution, Expand, Layout, Reduce, ReduceFn};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Op, TensorType};
use ic_types::Dim;

rules! {
    /// conv(x, w, b) · s = conv(x, w · s, b · s), s one number per channel.
    Reassociating "convolution-scale": "(mul (convolution:c ?x ?w ?b) ?s)" => build(convolution_scale), if |m| m.known("w") && m.known("s");
    /// conv(x, w, b) + s = conv(x, w, b + s), s one number per channel.
    Reassociating "convolution-shift": "(add (convolution:c ?x ?w ?b) ?s)" => build(convolution_shift), if |m| m.known("s");
    /// conv(x · s, w, b) = conv(x, w · s, b), s one number per channel of x.
    Reassociating "convolution-scale-operand": "(convolution:c (mul ?x ?s) ?w ?b)" => build(convolution_scale_operand), if |m| m.known("w") && m.known("s") && !m.known("x");
    /// conv(x + s, w, b) = conv(x, w, b + Σ w · s), s one number per channel of x, no padding.
    Reassociating "convolution-shift-operand": "(convolution:c (add ?x ?s) ?w ?b)" => build(convolution_shift_operand), if |m| m.known("w") && m.known("s") && !m.known("x");
    /// conv_transpose(x, w, b) · s = conv_transpose(x, w · s, b · s), s one number per channel.
    Reassociating "conv-transpose-scale": "(mul (conv_transpose:c ?x ?w ?b) ?s)" => build(conv_transpose_scale), if |m| m.known("w") && m.known("s");
    /// conv_transpose(x, w, b) + s = conv_transpose(x, w, b + s), s one number per channel.
    Reassociating "conv-transpose-shift": "(add (conv_transpose:c ?x ?w ?b) ?s)" => build(convolution_shift), if |m| m.known("s");
    /// (a · w) · s = a · (w · s), s one number per column.
    Reassociating "matmul-scale": "(mul (matmul ?a ?w) ?s)" => build(matmul_scale), if |m| m.known("w") && m.known("s") && !m.known("a");
    /// (a · w + b) · s = a · (w · s) + b · s, s one number per column.
    Reassociating "matmul-bias-scale": "(mul (add (matmul ?a ?w) ?b) ?s)" => build(matmul_bias_scale), if |m| m.known("w") && m.known("b") && m.known("s") && !m.known("a");
    /// (x · s) · w = x · (s · w), s one number per row of w.
    Reassociating "matmul-scale-operand": "(matmul (mul ?x ?s) ?w)" => build(matmul_scale_operand), if |m| m.known("w") && m.known("s") && !m.known("x");
}

/// `s` with shape `[extent]`, if it varies along `axis` of a tensor of `rank` alone.
fn along_axis(site: &mut Site, s: Id, axis: usize, rank: usize, extent: &Dim) -> Option<Id> {
    let own = site.ty(s)?.shape.clone();
    let leading = rank.checked_sub(own.len())?;
    let elsewhere = own.iter().enumerate().all(|(i, d)| i + leading == axis || d.is(1));
    if !elsewhere {
        return None;
    }
    let at_axis = axis.checked_sub(leading).map_or(Dim::constant(1), |i| own[i].clone());
    let vector = site.reshape(s, vec![at_axis.clone()])?;
    match at_axis {
        _ if at_axis == *extent => Some(vector),
        _ if at_axis.is(1) => site.add(Expand { shape: vec![extent.clone()] }, &[vector]),
        _ => None,
    }
}

/// Axis and extent of the channels of a result of this type.
fn channels(ty: &TensorType, layout: Layout) -> (usize, Dim) {
    let axis = match layout {
        Layout::ChannelsFirst => 1,
        Layout::ChannelsLast => ty.rank() - 1,
    };
    (axis, ty.shape[axis].clone())
}

fn per_channel(site: &mut Site, layout: Layout) -> Option<Id> {
    let ty = site.ty(site.root)?.clone();
    let (axis, extent) = channels(&ty, layout);
    along_axis(site, site.var("s"), axis, ty.rank(), &extent)
}

fn layout_of(op: &Op) -> Option<Layout> {
    match op {
        Op::Convolution(op) => Some(op.layout),
        Op::ConvTranspose(op) => Some(op.layout),
        _ => None,
    }
}

/// `w · s` with `s` along `axis` of `w`.
fn scale_weight(site: &mut Site, s: Id, axis: usize) -> Option<Id> {
    let w = site.var("w");
    let rank = site.ty(w)?.rank();
    let extent = site.ty(s)?.shape[0].clone();
    let mut shape = vec![Dim::constant(1); rank];
    shape[axis] = extent;
    let s = site.reshape(s, shape)?;
    site.add(ScalarOp::Mul, &[w, s])
}

fn scale_bias(site: &mut Site, s: Id) -> Option<Id> {
    let bias = site.var("b");
    if site.is_absent(bias) { Some(bias) } else { site.add(ScalarOp::Mul, &[bias, s]) }
}

fn convolution_scale(site: &mut Site) -> Option<Id> {
    let op: Convolution = match site.op("c") {
        Op::Convolution(op) => op.clone(),
        _ => return None,
    };
    let s = per_channel(site, op.layout)?;
    let (w, bias) = (scale_weight(site, s, 0)?, scale_bias(site, s)?);
    site.add(op, &[site.var("x"), w, bias])
}

/// `s`, one number per channel of the image `x` of the convolution `op`, so that it broadcasts over the weights.
fn over_weights(site: &mut Site, op: &Convolution) -> Option<Id> {
    let (x, w) = (site.ty(site.var("x"))?.clone(), site.ty(site.var("w"))?.clone());
    if x.rank() != w.rank() {
        return None;
    }
    let (axis, extent) = channels(&x, op.layout);
    let s = along_axis(site, site.var("s"), axis, x.rank(), &extent)?;
    let mut shape = vec![Dim::constant(1); w.rank()];
    // The weights are `[outputs, inputs of a group, …]`: of one group, or of as many groups as channels.
    let along = match op.groups {
        1 => 1,
        _ if w.shape[1].is(1) && w.shape[0] == extent => 0,
        _ => return None,
    };
    shape[along] = extent;
    site.reshape(s, shape)
}

fn convolution_scale_operand(site: &mut Site) -> Option<Id> {
    let op: Convolution = match site.op("c") {
        Op::Convolution(op) => op.clone(),
        _ => return None,
    };
    let s = over_weights(site, &op)?;
    let w = site.add(ScalarOp::Mul, &[site.var("w"), s])?;
    site.add(op, &[site.var("x"), w, site.var("b")])
}

fn convolution_shift_operand(site: &mut Site) -> Option<Id> {
    let op: Convolution = match site.op("c") {
        Op::Convolution(op) if op.pads.iter().all(|pad| pad.is(0)) => op.clone(),
        _ => return None,
    };
    let s = over_weights(site, &op)?;
    let shifts = site.add(ScalarOp::Mul, &[site.var("w"), s])?;
    let axes = (1..site.ty(shifts)?.rank()).collect();
    let sum = site.add(Reduce { function: ReduceFn::Sum, axes, keep_dims: false }, &[shifts])?;
    let bias = site.var("b");
    let bias = if site.is_absent(bias) { sum } else { site.add(ScalarOp::Add, &[bias, sum])? };
    site.add(op, &[site.var("x"), site.var("w"), bias])
}

fn conv_transpose_scale(site: &mut Site) -> Option<Id> {
    let op = match site.op("c") {
        Op::ConvTranspose(op) if op.groups == 1 => op.clone(),
        _ => return None,
    };
    let s = per_channel(site, op.layout)?;
    let (w, bias) = (scale_weight(site, s, 1)?, scale_bias(site, s)?);
    site.add(op, &[site.var("x"), w, bias])
}

fn convolution_shift(site: &mut Site) -> Option<Id> {
    let op = site.op("c").clone();
    let shift = per_channel(site, layout_of(&op)?)?;
    let bias = site.var("b");
    let bias = if site.is_absent(bias) { shift } else { site.add(ScalarOp::Add, &[bias, shift])? };
    site.add(op, &[site.var("x"), site.var("w"), bias])
}

/// `s` along the columns of the product that is the root.
fn per_column(site: &mut Site, s: Id) -> Option<Id> {
    let ty = site.ty(site.root)?.clone();
    let extent = ty.shape.last()?.clone();
    along_axis(site, s, ty.rank() - 1, ty.rank(), &extent)
}

fn matmul_scale(site: &mut Site) -> Option<Id> {
    let s = per_column(site, site.var("s"))?;
    let w = site.add(ScalarOp::Mul, &[site.var("w"), s])?;
    site.add(ic_ir::ops::Matmul {}, &[site.var("a"), w])
}

fn matmul_bias_scale(site: &mut Site) -> Option<Id> {
    let s = per_column(site, site.var("s"))?;
    let w = site.add(ScalarOp::Mul, &[site.var("w"), s])?;
    let product = site.add(ic_ir::ops::Matmul {}, &[site.var("a"), w])?;
    let bias = site.add(ScalarOp::Mul, &[site.var("b"), s])?;
    site.add(ScalarOp::Add, &[product, bias])
}

fn matmul_scale_operand(site: &mut Site) -> Option<Id> {
    let x = site.ty(site.var("x"))?.clone();
    let rank = x.rank();
    let s = along_axis(site, site.var("s"), rank.checked_sub(1)?, rank, x.shape.last()?)?;
    let column = vec![site.ty(s)?.shape[0].clone(), Dim::constant(1)];
    let s = site.reshape(s, column)?;
    let w = site.add(ScalarOp::Mul, &[s, site.var("w")])?;
    site.add(ic_ir::ops::Matmul {}, &[site.var("x"), w])
}
