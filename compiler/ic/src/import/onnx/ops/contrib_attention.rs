//! Attention ops of com.microsoft: `Attention`, `QAttention`, `MultiHeadAttention`.
//!
//! Operands are `[batch, length, heads * width]`; a mask may be lengths, one flag for each key, or one for each pair of
//! query and key. Keys that a mask hides keep the score `mask_filter_value` more; those in the future of a causal model are
//! hidden altogether.

use super::attention::{Scale, Scores, positive, softcap, split_heads};
use super::prelude::*;
use super::quantize::{Factor, integer_product};
use super::quantize_contrib::scaled;
use ic_ir::ops::Softmax;

pub(super) const OPS: &[super::Row] = &[
    (super::MICROSOFT, "Attention", attention),
    (super::MICROSOFT, "MultiHeadAttention", multi_head_attention),
    (super::MICROSOFT, "QAttention", quantized_attention),
];

/// Queries, keys and values as `[batch, heads, length, width]`.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) q: ValueId,
    pub(super) k: ValueId,
    pub(super) v: ValueId,
}

/// `softmax(scale * q · kᵀ + bias) · v` as `[batch, length, heads * width]`. The bias broadcasts to
/// `[batch, heads, length, total]`.
pub(super) fn attend(cx: &mut Context, node: &NodeView, heads: Heads, bias: Option<ValueId>) -> Result<ValueId> {
    let Heads { q, k, v } = heads;
    let scores = Scores::of(cx, q, k)?;
    // 0 is for the inverse root too.
    let scale = match node.float("scale").filter(|scale| *scale != 0.0) {
        Some(scale) => Scale::Number(scale),
        None => Scale::inverse_root(cx, &cx.shape(q)?[3].clone())?,
    };
    let products = scores.products(cx, &scale, q, k)?;
    let values = scores.grouped(cx, v)?;
    let mut x = softcap(cx, node, products)?;
    if let Some(bias) = bias {
        let bias = cx.cast(bias, cx.dtype(x)?)?;
        let bias = scores.grouped_mask(cx, bias)?;
        x = cx.binary(ScalarOp::Add, x, bias)?;
    }
    let probabilities = cx.push(Softmax { axis: -1 }, &[x])?;
    let y = cx.matmul(probabilities, values)?;
    let mut shape = cx.shape(q)?;
    shape[3] = cx.shape(v)?[3].clone();
    let y = cx.reshape(y, shape.clone())?;
    let [batch, heads, length, width] = <[Dim; 4]>::try_from(shape).map_err(|_| invalid!("queries have no heads"))?;
    let y = cx.transpose(y, vec![0, 2, 1, 3])?;
    cx.reshape(y, vec![batch, length, heads * width])
}

/// Refuses inputs that only other providers read.
fn refuse(node: &NodeView, inputs: &[(usize, &str)]) -> Result<()> {
    match inputs.iter().find(|(index, _)| node.opt(*index).is_some()) {
        Some((_, name)) => Err(unsupported!("the input `{name}`")),
        None => Ok(()),
    }
}

/// Elements `start..start + extent` of the last axis.
fn columns(cx: &mut Context, x: ValueId, start: i64, extent: i64) -> Result<ValueId> {
    let axis = cx.axis(x, -1)?;
    cx.slice(x, axis, Dim::constant(start), Dim::constant(extent))
}

/// `past` in front of `x` along the lengths.
pub(super) fn after(cx: &mut Context, past: Option<ValueId>, x: ValueId) -> Result<ValueId> {
    match past {
        Some(past) => cx.concat(&[past, x], 2),
        None => Ok(x),
    }
}

/// What masks add to scores of `[batch, heads, length, total]`, after `bias`.
fn masked(
    cx: &mut Context,
    node: &NodeView,
    heads: Heads,
    mask: Option<ValueId>,
    bias: Option<ValueId>,
) -> Result<Option<ValueId>> {
    let (q, k) = (cx.shape(heads.q)?, cx.shape(heads.k)?);
    let (length, total) = (q[2].clone(), k[2].clone());
    let dtype = cx.dtype(heads.q)?;
    let mut sum = bias;
    if let Some(mask) = mask {
        let visible = visible(cx, mask, &q[0], &length, &total)?;
        let zero = cx.scalar(dtype, 0.0)?;
        let filter = cx.scalar(dtype, f64::from(node.float("mask_filter_value").unwrap_or(-10_000.0)))?;
        let added = cx.select(visible, zero, filter)?;
        sum = Some(match sum {
            Some(sum) => cx.binary(ScalarOp::Add, sum, added)?,
            None => added,
        });
    }
    if node.flag("unidirectional", false) {
        let last = cx.dim_scalar(total.clone() - length.clone())?;
        let rows = cx.iota(length, DType::I64)?;
        let rows = cx.unsqueeze(rows, &[1])?;
        let position = cx.binary(ScalarOp::Add, rows, last)?;
        let keys = cx.iota(total, DType::I64)?;
        let past = cx.binary(ScalarOp::Le, keys, position)?;
        let (zero, hidden) = (cx.scalar(dtype, 0.0)?, cx.scalar(dtype, f64::NEG_INFINITY)?);
        sum = Some(cx.select(past, sum.unwrap_or(zero), hidden)?);
    }
    Ok(sum)
}

/// Which keys are visible, broadcast to `[batch, heads, length, total]`, by a mask of
/// - `[batch]`: how many; `[2 * batch]`: up to which, then from which;
/// - `[batch, total]`, `[batch, length, total]`, `[batch, 1, longest, longest]`: where it is not 0.
fn visible(cx: &mut Context, mask: ValueId, batch: &Dim, length: &Dim, total: &Dim) -> Result<ValueId> {
    let shape = cx.shape(mask)?;
    let one = Dim::constant(1);
    let by_length = vec![batch.clone(), one.clone(), one.clone(), one.clone()];
    let flags = match shape.as_slice() {
        [n] => {
            let lengths = cx.cast(mask, DType::I64)?;
            let keys = cx.iota(total.clone(), DType::I64)?;
            let ends = if n == batch { lengths } else { cx.slice(lengths, 0, Dim::constant(0), batch.clone())? };
            let ends = cx.reshape(ends, by_length.clone())?;
            let before = cx.binary(ScalarOp::Lt, keys, ends)?;
            if n == batch {
                return Ok(before);
            }
            if *n != batch.clone() * Dim::constant(2) {
                return Err(unsupported!("a mask of {n} lengths for a batch of {batch}"));
            }
            let starts = cx.slice(lengths, 0, batch.clone(), batch.clone())?;
            let starts = cx.reshape(starts, by_length)?;
            let behind = cx.binary(ScalarOp::Ge, keys, starts)?;
            return cx.binary(ScalarOp::And, before, behind);
        }
        [_, keys] => {
            let keys = if total == keys { total.clone() } else { keys.clone() };
            cx.reshape(mask, vec![batch.clone(), one.clone(), one, keys])?
        }
        [_, _, _] => cx.unsqueeze(mask, &[1])?,
        [_, _, _, _] => {
            let rows = cx.slice(mask, 2, total.clone() - length.clone(), length.clone())?;
            cx.slice(rows, 3, Dim::constant(0), total.clone())?
        }
        _ => return Err(invalid!("a mask must have rank 1 to 4, found {}", shape.len())),
    };
    match cx.dtype(flags)? {
        DType::Bool => Ok(flags),
        _ => {
            let hidden = cx.with_scalar(ScalarOp::Eq, flags, 0.0)?;
            cx.unary(ScalarOp::Not, hidden)
        }
    }
}

/// `Attention`: input, weights of all three projections, bias, mask, past, a bias of scores.
fn attention(cx: &mut Context, node: &NodeView) -> Results {
    refuse(node, &[(6, "past_sequence_length")])?;
    let product = cx.matmul(node.input(0)?, node.input(1)?)?;
    let projected = match node.opt(2) {
        Some(bias) => cx.binary(ScalarOp::Add, product, bias)?,
        None => product,
    };
    packed_attention(cx, node, projected, [node.opt(3), node.opt(4), node.opt(5)])
}

/// `QAttention`: input, weights, bias, their scales, mask, their zero points, past.
fn quantized_attention(cx: &mut Context, node: &NodeView) -> Results {
    let x = Factor { value: node.input(0)?, zero_point: node.opt(6) };
    let weights = Factor { value: node.input(1)?, zero_point: node.opt(7) };
    let sum = integer_product(cx, x, weights, None)?;
    let projected = scaled(cx, sum, [node.input(3)?, node.input(4)?], Some(node.input(2)?))?;
    packed_attention(cx, node, projected, [node.opt(5), node.opt(8), None])
}

/// Attention on `[batch, length, queries keys values]`, with a mask, past keys and values of
/// `[2, batch, heads, length, width]`, and a bias of scores.
fn packed_attention(
    cx: &mut Context,
    node: &NodeView,
    projected: ValueId,
    [mask, past, bias]: [Option<ValueId>; 3],
) -> Results {
    if node.flag("do_rotary", false) || node.flag("past_present_share_buffer", false) {
        return Err(unsupported!("rotary embeddings and shared buffers of past keys are not supported"));
    }
    let heads = positive(node, "num_heads")?;
    let width = cx.shape(projected)?.pop().and_then(|n| n.as_const());
    let sizes = match (node.ints("qkv_hidden_sizes"), width) {
        (Some(&[q, k, v]), Some(width)) if q >= 0 && k >= 0 && v >= 0 && q + k + v == width => [q, k, v],
        (None, Some(width)) if width % 3 == 0 => [width / 3; 3],
        _ => return Err(invalid!("the projections do not divide into queries, keys and values")),
    };
    let mut start = 0;
    let mut parts = Vec::new();
    for size in sizes {
        let part = columns(cx, projected, start, size)?;
        parts.push(split_heads(cx, part, heads)?);
        start += size;
    }
    let mut parts = Heads { q: parts[0], k: parts[1], v: parts[2] };
    if let Some(past) = past {
        let part = |cx: &mut Context, i: i64| -> Result<ValueId> {
            let part = cx.slice(past, 0, Dim::constant(i), Dim::constant(1))?;
            cx.squeeze(part, &[0])
        };
        let (keys, values) = (part(cx, 0)?, part(cx, 1)?);
        (parts.k, parts.v) = (after(cx, Some(keys), parts.k)?, after(cx, Some(values), parts.v)?);
    }
    let bias = masked(cx, node, parts, mask, bias)?;
    let y = attend(cx, node, parts, bias)?;
    if !node.wants(1) {
        return Ok(vec![y]);
    }
    let (k, v) = (cx.unsqueeze(parts.k, &[0])?, cx.unsqueeze(parts.v, &[0])?);
    Ok(vec![y, cx.concat(&[k, v], 0)?])
}

/// `MultiHeadAttention`: queries, keys, values, bias, mask, a bias of scores, past keys, past values. Queries may hold all
/// three as `[batch, length, heads, 3, width]`, keys both as `[batch, length, heads, 2, width]`; keys and values of rank 4
/// have their heads split already.
fn multi_head_attention(cx: &mut Context, node: &NodeView) -> Results {
    refuse(node, &[(8, "past_sequence_length"), (9, "cache_indirection")])?;
    let heads = positive(node, "num_heads")?;
    let mut parts = operands(cx, node, heads)?;
    parts.k = after(cx, node.opt(6), parts.k)?;
    parts.v = after(cx, node.opt(7), parts.v)?;
    let bias = masked(cx, node, parts, node.opt(4), node.opt(5))?;
    let y = attend(cx, node, parts, bias)?;
    if node.wants(3) {
        return Err(unsupported!("scores as an output"));
    }
    Ok(vec![y, parts.k, parts.v])
}

/// The operands of `MultiHeadAttention`, heads split and biases added.
fn operands(cx: &mut Context, node: &NodeView, heads: i64) -> Result<Heads> {
    let query = node.input(0)?;
    let packed = |cx: &mut Context, x: ValueId, i: i64| -> Result<ValueId> {
        let part = cx.slice(x, 3, Dim::constant(i), Dim::constant(1))?;
        let part = cx.squeeze(part, &[3])?;
        cx.transpose(part, vec![0, 2, 1, 3])
    };
    if cx.rank(query)? == 5 {
        if node.opt(3).is_some() {
            return Err(unsupported!("a bias of packed queries, keys and values"));
        }
        let [q, k, v] = [packed(cx, query, 0)?, packed(cx, query, 1)?, packed(cx, query, 2)?];
        return Ok(Heads { q, k, v });
    }
    let biased = |cx: &mut Context, x: ValueId, start: i64| -> Result<ValueId> {
        let Some(bias) = node.opt(3) else { return split_heads(cx, x, heads) };
        let width = cx.shape(x)?.pop().and_then(|n| n.as_const());
        let width = width.ok_or_else(|| unsupported!("a bias of projections of symbolic width"))?;
        let bias = columns(cx, bias, start, width)?;
        let sum = cx.binary(ScalarOp::Add, x, bias)?;
        split_heads(cx, sum, heads)
    };
    let hidden = cx.shape(query)?.pop().and_then(|n| n.as_const()).unwrap_or(0);
    let q = biased(cx, query, 0)?;
    let key = node.input(1)?;
    let [k, v] = match (cx.rank(key)?, node.opt(2)) {
        (5, None) => [packed(cx, key, 0)?, packed(cx, key, 1)?],
        (4, Some(value)) => [key, value],
        (3, Some(value)) => [biased(cx, key, hidden)?, biased(cx, value, 2 * hidden)?],
        (rank, _) => return Err(invalid!("`key` must have rank 3 to 5 and go with `value`, found rank {rank}")),
    };
    Ok(Heads { q, k, v })
}
