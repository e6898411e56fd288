//! ONNX `RotaryEmbedding`: pairs of features rotated by an angle that depends on the position.

use super::prelude::*;

/// `RotaryEmbedding`: `x`, tables of cosines and sines, and the positions at which the tables are read.
pub(super) fn rotary_embedding(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    // Heads are before the sequence in rank 4 and behind it in rank 3.
    let (heads_axis, split) = match shape.as_slice() {
        [_, _, _, _] => (1, shape.clone()),
        [batch, length, packed] => {
            let heads = node.int("num_heads").filter(|h| *h > 0).ok_or_else(|| invalid!("`num_heads` is missing"))?;
            let heads = Dim::constant(heads);
            let width = packed.floor_div(&heads);
            (2, vec![batch.clone(), length.clone(), heads, width])
        }
        _ => return Err(invalid!("`X` must have rank 3 or 4, found {}", shape.len())),
    };
    let width = split[3].clone();
    let rotated = match node.int("rotary_embedding_dim").filter(|n| *n != 0) {
        Some(n) => Dim::constant(n),
        None => width.clone(),
    };
    let x = cx.reshape(x, split)?;
    let mut tables = Vec::new();
    for i in 1..3 {
        let mut table = node.input(i)?;
        if let Some(positions) = node.opt(3) {
            table = cx.gather(table, positions, 0)?;
        }
        tables.push(cx.unsqueeze(table, &[heads_axis])?);
    }
    let head = cx.slice(x, 3, Dim::constant(0), rotated.clone())?;
    let mut y = rotate(cx, head, [tables[0], tables[1]], node.flag("interleaved", false))?;
    if rotated != width {
        let rest = cx.slice(x, 3, rotated.clone(), width - rotated)?;
        y = cx.concat(&[y, rest], 3)?;
    }
    Ok(vec![cx.reshape(y, shape)?])
}

/// Rotates the pairs of the last axis: neighbours if they are interleaved, else elements half the axis apart.
fn rotate(cx: &mut Context, x: ValueId, [cos, sin]: [ValueId; 2], interleaved: bool) -> Result<ValueId> {
    let shape = cx.shape(x)?;
    let half = shape[3].floor_div(&Dim::constant(2));
    let mut split = shape.clone();
    // The axis of pairs is the last or the one before it.
    split.splice(3..4, if interleaved { [half, Dim::constant(2)] } else { [Dim::constant(2), half] });
    let axis = if interleaved { 4 } else { 3 };
    let pairs = cx.reshape(x, split)?;
    let part = |cx: &mut Context, i: i64| -> Result<ValueId> {
        let part = cx.slice(pairs, axis, Dim::constant(i), Dim::constant(1))?;
        cx.squeeze(part, &[axis])
    };
    let (a, b) = (part(cx, 0)?, part(cx, 1)?);
    let sum = |cx: &mut Context, function, [p, q]: [ValueId; 2], [r, s]: [ValueId; 2]| -> Result<ValueId> {
        let (left, right) = (cx.binary(ScalarOp::Mul, p, q)?, cx.binary(ScalarOp::Mul, r, s)?);
        let value = cx.binary(function, left, right)?;
        cx.unsqueeze(value, &[axis as i64])
    };
    let real = sum(cx, ScalarOp::Sub, [cos, a], [sin, b])?;
    let imaginary = sum(cx, ScalarOp::Add, [sin, a], [cos, b])?;
    let pairs = cx.concat(&[real, imaginary], axis)?;
    cx.reshape(pairs, shape)
}
