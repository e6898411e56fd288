//! `GroupQueryAttention` of com.microsoft: causal attention with fewer heads of keys than of queries, rotary embeddings and
//! past keys, as language models of ONNX Runtime spell it.

use super::attention::{positive, split_heads};
use super::contrib_attention::{Heads, after, attend};
use super::prelude::*;
use super::rotary::rotate_heads;

pub(super) const OPS: &[super::Row] = &[(super::MICROSOFT, "GroupQueryAttention", group_query_attention)];

/// `GroupQueryAttention`: queries, keys, values, past keys, past values, the last valid position of each sequence, the
/// longest length, tables of cosines and sines, positions, a bias of scores.
///
/// Present keys are past keys and new ones; a buffer of past keys that is as long as that of present ones is not supported.
fn group_query_attention(cx: &mut Context, node: &NodeView) -> Results {
    if node.opt(11).is_some() || node.flag("smooth_softmax", false) {
        return Err(unsupported!("softmax with a sink is not supported"));
    }
    if node.int("qk_output").unwrap_or(0) != 0 || node.wants(3) {
        return Err(unsupported!("scores as an output"));
    }
    let mut parts = operands(cx, node)?;
    let length = cx.shape(parts.q)?[2].clone();
    let positions = positions(cx, node, &length)?;
    if node.flag("do_rotary", false) {
        let tables = [node.input(7)?, node.input(8)?];
        let at = match node.opt(9) {
            Some(positions) => cx.cast(positions, DType::I64)?,
            None => positions,
        };
        let interleaved = node.flag("rotary_interleaved", false);
        parts.q = rotate_heads(cx, parts.q, tables, at, interleaved)?;
        parts.k = rotate_heads(cx, parts.k, tables, at, interleaved)?;
    }
    parts.k = after(cx, node.opt(3), parts.k)?;
    parts.v = after(cx, node.opt(4), parts.v)?;
    let visible = visible(cx, node, positions, &cx.shape(parts.k)?[2].clone())?;
    let dtype = cx.dtype(parts.q)?;
    let (zero, hidden) = (cx.scalar(dtype, 0.0)?, cx.scalar(dtype, f64::NEG_INFINITY)?);
    let bias = cx.select(visible, node.opt(10).unwrap_or(zero), hidden)?;
    let y = attend(cx, node, parts, Some(bias))?;
    Ok(vec![y, parts.k, parts.v])
}

/// Queries, keys and values by heads, unpacked where queries hold all three.
fn operands(cx: &mut Context, node: &NodeView) -> Result<Heads> {
    let (heads, key_heads) = (positive(node, "num_heads")?, positive(node, "kv_num_heads")?);
    let query = node.input(0)?;
    let (Some(key), Some(value)) = (node.opt(1), node.opt(2)) else {
        let packed = cx.shape(query)?.pop().and_then(|n| n.as_const());
        let packed = packed.ok_or_else(|| unsupported!("packed projections of symbolic width"))?;
        let width = packed / (heads + 2 * key_heads);
        let mut start = 0;
        let mut part = |cx: &mut Context, heads: i64| -> Result<ValueId> {
            let part = cx.slice(query, 2, Dim::constant(start), Dim::constant(heads * width))?;
            start += heads * width;
            split_heads(cx, part, heads)
        };
        return Ok(Heads { q: part(cx, heads)?, k: part(cx, key_heads)?, v: part(cx, key_heads)? });
    };
    let (q, k) = (split_heads(cx, query, heads)?, split_heads(cx, key, key_heads)?);
    Ok(Heads { q, k, v: split_heads(cx, value, key_heads)? })
}

/// The position of each new token, `[batch, length]`: the last valid one is an input.
fn positions(cx: &mut Context, node: &NodeView, length: &Dim) -> Result<ValueId> {
    let batch = cx.shape(node.input(0)?)?[0].clone();
    let last = cx.cast(node.input(5)?, DType::I64)?;
    let last = cx.reshape(last, vec![batch, Dim::constant(1)])?;
    let new = cx.dim_scalar(length.clone() - Dim::constant(1))?;
    let past = cx.binary(ScalarOp::Sub, last, new)?;
    // A prompt that is padded behind its end begins at 0 all the same.
    let past = cx.with_scalar(ScalarOp::Max, past, 0.0)?;
    let rows = cx.iota(length.clone(), DType::I64)?;
    cx.binary(ScalarOp::Add, past, rows)
}

/// Which keys each token sees, `[batch, 1, length, total]`.
fn visible(cx: &mut Context, node: &NodeView, positions: ValueId, total: &Dim) -> Result<ValueId> {
    let rows = cx.unsqueeze(positions, &[1, 3])?;
    let keys = cx.iota(total.clone(), DType::I64)?;
    let past = cx.binary(ScalarOp::Le, keys, rows)?;
    let Some(window) = node.int("local_window_size").filter(|window| *window > 0) else { return Ok(past) };
    let first = cx.with_scalar(ScalarOp::Sub, rows, window as f64)?;
    let near = cx.binary(ScalarOp::Gt, keys, first)?;
    cx.binary(ScalarOp::And, past, near)
}
