//! `EmbedLayerNormalization` of com.microsoft: the embeddings of a BERT, summed and normalized.

use super::prelude::*;
use ic_ir::F32;
use ic_ir::ops::{LayerNormalization, ReduceFn};

pub(super) const OPS: &[super::Row] = &[(super::MICROSOFT, "EmbedLayerNormalization", embed_layer_normalization)];

/// `EmbedLayerNormalization`: token ids, segment ids, tables of words, positions and segments, scale, bias, mask,
/// positions. Beside the embeddings, how many tokens the mask has in each sequence, and the sum before it is normalized.
fn embed_layer_normalization(cx: &mut Context, node: &NodeView) -> Results {
    let ids = node.input(0)?;
    let shape = cx.shape(ids)?;
    let [batch, length] = shape.as_slice() else { return Err(invalid!("`input_ids` must have rank 2")) };
    let words = cx.gather(node.input(2)?, ids, 0)?;
    let positions = match node.opt(8) {
        Some(positions) => cx.gather(node.input(3)?, positions, 0)?,
        None => cx.slice(node.input(3)?, 0, Dim::constant(0), length.clone())?,
    };
    let mut sum = cx.binary(ScalarOp::Add, words, positions)?;
    if let (Some(segments), Some(table)) = (node.opt(1), node.opt(4)) {
        let segments = cx.gather(table, segments, 0)?;
        sum = cx.binary(ScalarOp::Add, sum, segments)?;
    }
    let op = LayerNormalization { axis: -1, epsilon: F32(node.float("epsilon").unwrap_or(1e-12)) };
    let y = cx.push_all(op, &[Some(sum), Some(node.input(5)?), node.opt(6)])?[0];
    let count = match node.opt(7) {
        Some(mask) => {
            let mask = cx.cast(mask, DType::I32)?;
            let count = cx.reduce(ReduceFn::Sum, mask, vec![1])?;
            cx.reshape(count, vec![batch.clone()])?
        }
        None => {
            let zero = cx.scalar(DType::I32, 0.0)?;
            cx.expand(zero, vec![batch.clone()])?
        }
    };
    Ok(vec![y, count, sum])
}
