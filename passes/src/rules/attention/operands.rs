//! What attention takes in from its operands: scales, masks of two values, keys that several queries share.

use crate::egraph::rule::{build, rules};
use crate::egraph::site::Site;
use egg::Id;
use ic_ir::ops::{Attention, Expand, Matmul};
use ic_ir::{F32, Op};
use ic_types::Dim;

rules! {
    /// attention(q · c, k, v) = attention(q, k, v) scaled by c.
    Reassociating "attention-query-scale": "(attention:a (mul ?q ?factor) ?k ?v ?m)" => build(query_scale);
    /// attention(reshape(q · c), k, v) = attention(reshape(q), k, v) scaled by c.
    Reassociating "attention-reshaped-query-scale": "(attention:a (reshape:r (mul ?q ?factor)) ?k ?v ?m)" => build(reshaped_query_scale);
    /// attention(q, k · c, v) = attention(q, k, v) scaled by c.
    Reassociating "attention-key-scale": "(attention:a ?q (mul ?k ?factor) ?v ?m)" => build(key_scale);
    /// attention(q, (k · c)ᵀ, v) = attention(q, kᵀ, v) scaled by c.
    Reassociating "attention-transposed-key-scale": "(attention:a ?q (transpose:p (mul ?k ?factor)) ?v ?m)" => build(transposed_key_scale);
    /// A mask that adds 0 or -∞ hides where it is -∞.
    Reassociating "attention-hidden": "(attention:a ?q ?k ?v (select ?b 0.0 -inf))" => build(hidden);
    /// As attention-hidden, where the mask is reshaped.
    Reassociating "attention-hidden-reshaped": "(attention:a ?q ?k ?v (reshape:r (select ?b 0.0 -inf)))" => build(hidden_reshaped);
    /// A mask that adds 0 or the lowest float, beside which scores vanish, hides with that as the score.
    Reassociating "attention-lowest": "(attention:a ?q ?k ?v (select ?b 0.0 -3.4028234663852886e38))" => build(lowest);
    /// Keys and values that are repeated for queries that share them broadcast instead.
    Reassociating "attention-shared-keys": "(attention:a ?q (reshape:r (expand:e ?k)) (reshape:s (expand:f ?v)) ?m)" => build(shared_keys);
    /// Rows times matrices that are repeated for rows that share them: the matrices broadcast instead.
    Reassociating "matmul-shared-matrices": "(matmul ?q (reshape:r (expand:e ?k)))" => build(shared_matrices);
}

fn op(site: &Site) -> Option<Attention> {
    match site.op("a") {
        Op::Attention(op) => Some(op.clone()),
        _ => None,
    }
}

/// The op scaled by the factor of the match too.
fn scaled(site: &Site) -> Option<Attention> {
    let op = op(site)?;
    let scale = (f64::from(op.scale.0) * site.splat("factor")?) as f32;
    scale.is_finite().then_some(Attention { scale: F32(scale), ..op })
}

fn query_scale(site: &mut Site) -> Option<Id> {
    let op = scaled(site)?;
    site.add(op, &[site.var("q"), site.var("k"), site.var("v"), site.var("m")])
}

fn reshaped_query_scale(site: &mut Site) -> Option<Id> {
    let (op, reshape) = (scaled(site)?, site.op("r").clone());
    let q = site.add(reshape, &[site.var("q")])?;
    site.add(op, &[q, site.var("k"), site.var("v"), site.var("m")])
}

fn key_scale(site: &mut Site) -> Option<Id> {
    query_scale(site)
}

fn transposed_key_scale(site: &mut Site) -> Option<Id> {
    let (op, transpose) = (scaled(site)?, site.op("p").clone());
    let k = site.add(transpose, &[site.var("k")])?;
    site.add(op, &[site.var("q"), k, site.var("v"), site.var("m")])
}

fn hidden(site: &mut Site) -> Option<Id> {
    choosing(site, f32::NEG_INFINITY)
}

fn hidden_reshaped(site: &mut Site) -> Option<Id> {
    let (op, reshape) = (op(site)?, site.op("r").clone());
    // The condition may have fewer elements than the choice that it makes.
    let Op::Reshape(shape) = &reshape else { return None };
    let is_whole = site.ty(site.var("b"))?.elements() == shape.shape.iter().cloned().product();
    if op.causal.is_some() || !is_whole {
        return None;
    }
    let seen = site.add(reshape, &[site.var("b")])?;
    let op = Attention { fill: F32(f32::NEG_INFINITY), ..op };
    site.add(op, &[site.var("q"), site.var("k"), site.var("v"), seen])
}

fn lowest(site: &mut Site) -> Option<Id> {
    choosing(site, f32::MIN)
}

/// Attention whose mask says which keys are seen, and whose other scores are `fill`.
fn choosing(site: &mut Site, fill: f32) -> Option<Id> {
    let op = op(site)?;
    if op.causal.is_some() {
        return None;
    }
    site.add(Attention { fill: F32(fill), ..op }, &[site.var("q"), site.var("k"), site.var("v"), site.var("b")])
}

/// Batch axes with those of the repeated keys apart: the heads of keys, then the queries that share one.
fn split_batch(site: &Site, repeated: &str, expand: &str, reshape: &str) -> Option<Vec<Dim>> {
    let (Op::Expand(Expand { shape: wide }), Op::Reshape(reshape)) = (site.op(expand), site.op(reshape)) else {
        return None;
    };
    let own = &site.ty(site.var(repeated))?.shape;
    let rank = own.len();
    if rank < 4 || wide.len() > rank || reshape.shape.len() + 1 != rank {
        return None;
    }
    let skip = rank - wide.len();
    let extent = |axis: usize| match axis.checked_sub(skip).map(|i| &wide[i]) {
        Some(wide) if !wide.is(1) => wide.clone(),
        _ => own[axis].clone(),
    };
    let shape: Vec<Dim> = (0..rank).map(extent).collect();
    let shared = rank - 3;
    // Only the axis of those that share is repeated, and the reshape joins it with the one before.
    let is_repeated = (0..rank).all(|axis| shape[axis] == own[axis] || axis == shared && own[axis].is(1));
    let mut joined = shape.clone();
    let group = joined.remove(shared);
    joined[shared - 1] = joined[shared - 1].clone() * group;
    (is_repeated && joined == reshape.shape).then(|| shape[..=shared].to_vec())
}

fn shared_keys(site: &mut Site) -> Option<Id> {
    let (op, q, root) = (op(site)?, site.var("q"), site.root);
    let batch = split_batch(site, "k", "e", "r")?;
    if split_batch(site, "v", "f", "s")? != batch {
        return None;
    }
    let (q_shape, root_shape) = (site.ty(q)?.shape.clone(), site.ty(root)?.shape.clone());
    let heads = batch.len() - 2;
    let joined = batch[heads].clone() * batch[heads + 1].clone();
    // Queries have all the batch axes themselves.
    if q_shape.len() != batch.len() + 1 || q_shape[..heads] != batch[..heads] || q_shape[heads] != joined {
        return None;
    }
    let rows = site.reshape(q, [batch.as_slice(), &q_shape[heads + 1..]].concat())?;
    let mask = split_mask(site, &batch, &joined)?;
    let result = site.add(op, &[rows, site.var("k"), site.var("v"), mask])?;
    site.reshape(result, root_shape)
}

fn shared_matrices(site: &mut Site) -> Option<Id> {
    let (q, k) = (site.var("q"), site.var("k"));
    let batch = split_batch(site, "k", "e", "r")?;
    let (q_shape, root_shape) = (site.ty(q)?.shape.clone(), site.ty(site.root)?.shape.clone());
    let heads = batch.len() - 2;
    let joined = batch[heads].clone() * batch[heads + 1].clone();
    if q_shape.len() != batch.len() + 1 || q_shape[..heads] != batch[..heads] || q_shape[heads] != joined {
        return None;
    }
    let rest = &q_shape[heads + 1..];
    let product = if rest[0].is(1) {
        // Single rows that share a matrix are the rows of one.
        let mut matrices = site.ty(k)?.shape.clone();
        matrices.remove(heads + 1);
        let matrices = site.reshape(k, matrices)?;
        let rows = site.reshape(q, [batch.as_slice(), &rest[1..]].concat())?;
        site.add(Matmul {}, &[rows, matrices])?
    } else {
        let rows = site.reshape(q, [batch.as_slice(), rest].concat())?;
        site.add(Matmul {}, &[rows, k])?
    };
    site.reshape(product, root_shape)
}

/// The mask with the axis of heads split as the batch is.
fn split_mask(site: &mut Site, batch: &[Dim], joined: &Dim) -> Option<Id> {
    let mask = site.var("m");
    if site.is_absent(mask) {
        return Some(mask);
    }
    let mut shape = site.ty(mask)?.shape.clone();
    let Some(axis) = shape.len().checked_sub(3) else { return Some(mask) };
    let split = match &shape[axis] {
        extent if extent.is(1) => [Dim::constant(1), Dim::constant(1)],
        extent if extent == joined => [batch[batch.len() - 2].clone(), batch[batch.len() - 1].clone()],
        _ => return None,
    };
    shape.splice(axis..=axis, split);
    site.reshape(mask, shape)
}
