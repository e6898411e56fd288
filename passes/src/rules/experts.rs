//! Recovery of mixtures of experts.
//!
//! Exporters spell a product with chosen matrices as a gather that copies them. The first rules find the product without
//! the copies, the others the layer: a product, an activation, mostly gated by half of that product or by another, a
//! product, and the weighted sum over choices.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::Op;
use ic_ir::ops::{Concat, ExpertActivation, ExpertMatmul, Experts, Gather, GatherNd, Slice};
use ic_types::{DType, Dim};

rules! {
    /// w[i] · x is the product of x with the transposed matrices that i chooses.
    Reassociating "expert-columns": "(matmul (gather:g ?expert ?index) ?x)" => build(columns), if is_chosen;
    /// w[i] · x is the product of x with the transposed matrices that i chooses.
    Reassociating "expert-columns-nd": "(matmul (gather_nd:g ?expert ?index) ?x)" => build(columns), if is_chosen;
    /// x · w[i] is the product of x with the matrices that i chooses.
    Reassociating "expert-rows": "(matmul ?x (gather:g ?expert ?index))" => build(rows), if is_chosen;
    /// x · w[i] is the product of x with the matrices that i chooses.
    Reassociating "expert-rows-nd": "(matmul ?x (gather_nd:g ?expert ?index))" => build(rows), if is_chosen;
    /// A weighted sum over choices of products around an activation is a layer of experts.
    Reassociating "experts":
        "(reduce[function=sum,axes=[1]]:r (reshape:o (mul (expert_matmul (unary:f (expert_matmul ?x ?expert ?index)) ?expert_out ?index) ?weight)))"
        => build(layer);
    /// As experts, weighed after choices are set apart.
    Reassociating "experts-apart":
        "(reduce[function=sum,axes=[1]]:r (mul (reshape:o (expert_matmul (unary:f (expert_matmul ?x ?expert ?index)) ?expert_out ?index)) ?weight))"
        => build(layer);
    /// As experts, the activation gated by the other half of the product.
    Reassociating "experts-gated":
        "(reduce[function=sum,axes=[1]]:r (reshape:o (mul (expert_matmul (mul (unary:f (slice:a (expert_matmul ?x ?expert ?index))) (slice:b (expert_matmul ?x ?expert ?index))) ?expert_out ?index) ?weight)))"
        => build(gated_layer);
    /// As experts-gated, weighed after choices are set apart.
    Reassociating "experts-gated-apart":
        "(reduce[function=sum,axes=[1]]:r (mul (reshape:o (expert_matmul (mul (unary:f (slice:a (expert_matmul ?x ?expert ?index))) (slice:b (expert_matmul ?x ?expert ?index))) ?expert_out ?index)) ?weight))"
        => build(gated_layer);
    /// As experts, the activation gated by another product.
    Reassociating "experts-two":
        "(reduce[function=sum,axes=[1]]:r (reshape:o (mul (expert_matmul (mul (unary:f (expert_matmul ?x ?expert ?index)) (expert_matmul ?x ?expert_up ?index)) ?expert_out ?index) ?weight)))"
        => build(two_layer);
    /// As experts-two, weighed after choices are set apart.
    Reassociating "experts-two-apart":
        "(reduce[function=sum,axes=[1]]:r (mul (reshape:o (expert_matmul (mul (unary:f (expert_matmul ?x ?expert ?index)) (expert_matmul ?x ?expert_up ?index)) ?expert_out ?index)) ?weight))"
        => build(two_layer);
}

/// Whether whole matrices of a constant are chosen, of a type that the kernel takes, each for one row.
fn is_chosen(site: &Site) -> bool {
    let (Some(matrices), Some(index)) = (site.ty(site.var("expert")), site.ty(site.var("index"))) else { return false };
    let is_whole = match site.op("g") {
        Op::Gather(Gather { axis }) => *axis == 0,
        Op::GatherNd(GatherNd { batch_dims: 0 }) => index.shape.last().is_some_and(|width| width.is(1)),
        _ => false,
    };
    let is_float = matches!(matrices.dtype, DType::F32 | DType::F16);
    is_whole && is_float && matrices.rank() == 3 && site.known("expert") && !site.known("index")
}

fn columns(site: &mut Site) -> Option<Id> {
    let matrices = site.swapped(site.var("expert"))?;
    product(site, matrices, 1)
}

fn rows(site: &mut Site) -> Option<Id> {
    let matrices = site.var("expert");
    product(site, matrices, 2)
}

/// The product of the rows of `x` with `matrices`; the axis at `flat` from the end has extent 1.
fn product(site: &mut Site, matrices: Id, flat: usize) -> Option<Id> {
    let (x, root) = (site.ty(site.var("x"))?.shape.clone(), site.ty(site.root)?.shape.clone());
    let index = site.ty(site.var("index"))?.shape.clone();
    let n_choices = match site.op("g") {
        Op::GatherNd(_) => index.len() - 1,
        _ => index.len(),
    };
    // One row for each choice, none of which broadcasts.
    let is_row = x.len() == n_choices + 2 && x[..n_choices] == index[..n_choices] && x[x.len() - flat].is(1);
    if !is_row {
        return None;
    }
    let k = x[x.len() + flat - 3].clone();
    let n_rows = index[..n_choices].iter().cloned().reduce(|a, b| a * b).unwrap_or(Dim::constant(1));
    let x = site.reshape(site.var("x"), vec![n_rows.clone(), k])?;
    let index = site.reshape(site.var("index"), vec![n_rows])?;
    let result = site.add(ExpertMatmul {}, &[x, matrices, index])?;
    site.reshape(result, root)
}

/// The extents of a slice of the last of two axes, from where it starts: `(start, extent)`.
fn columns_of(op: &Op) -> Option<(i64, i64)> {
    match op {
        Op::Slice(Slice { axes, starts, extents, steps }) if *axes == [1] && *steps == [1] => {
            Some((starts[0].as_const()?, extents[0].as_const()?))
        }
        _ => None,
    }
}

fn layer(site: &mut Site) -> Option<Id> {
    let w_in = site.var("expert");
    experts(site, w_in, false)
}

fn gated_layer(site: &mut Site) -> Option<Id> {
    let w_in = site.var("expert");
    let wide = site.ty(w_in)?.shape.get(2)?.as_const()?;
    let ((a, f), (b, other)) = (columns_of(site.op("a"))?, columns_of(site.op("b"))?);
    if f != other || 2 * f != wide {
        return None;
    }
    let w_in = match (a, b) {
        (0, b) if b == f => w_in,
        (a, 0) if a == f => {
            let half = |start: i64| Slice {
                axes: vec![2],
                starts: vec![Dim::constant(start)],
                extents: vec![Dim::constant(f)],
                steps: vec![1],
            };
            let halves = [site.add(half(f), &[w_in])?, site.add(half(0), &[w_in])?];
            site.add(Concat { axis: 2 }, &halves)?
        }
        _ => return None,
    };
    experts(site, w_in, true)
}

fn two_layer(site: &mut Site) -> Option<Id> {
    let w_in = site.add(Concat { axis: 2 }, &[site.var("expert"), site.var("expert_up")])?;
    experts(site, w_in, true)
}

/// The layer, with choices apart as the match has them.
fn experts(site: &mut Site, w_in: Id, gated: bool) -> Option<Id> {
    let (Op::Pointwise(function), Op::Reshape(apart)) = (site.op("f"), site.op("o")) else { return None };
    let activation = ExpertActivation::of(function.function)?;
    let [tokens, choices, _] = apart.shape.as_slice() else { return None };
    let (tokens, choices) = (tokens.clone(), choices.clone());
    let (w_out, root) = (site.var("expert_out"), site.ty(site.root)?.shape.clone());
    let k = site.ty(w_in)?.shape.get(1)?.clone();
    let is_known = site.known("expert") && site.known("expert_out") && site.facts(w_in).known;
    // One weight for each choice.
    let (rows, weight) = (tokens.clone() * choices.clone(), site.ty(site.var("weight"))?);
    let is_one = |extent: &Dim| extent.is(1);
    let is_single = weight.elements() == rows && weight.shape.last().is_some_and(is_one);
    if !is_known || !is_single || site.ty(site.var("x"))?.shape.first() != Some(&rows) {
        return None;
    }
    let x = site.reshape(site.var("x"), vec![tokens.clone(), choices.clone(), k])?;
    let index = site.reshape(site.var("index"), vec![tokens.clone(), choices.clone()])?;
    let weight = site.reshape(site.var("weight"), vec![tokens, choices])?;
    let result = site.add(Experts { activation, gated }, &[x, index, weight, w_in, w_out])?;
    site.reshape(result, root)
}
