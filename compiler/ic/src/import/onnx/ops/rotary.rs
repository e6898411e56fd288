//! ONNX and com.microsoft `RotaryEmbedding`: pairs of features rotated by an angle that depends on the position.

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
    let y = rotate_part(cx, x, [tables[0], tables[1]], &rotated, node.flag("interleaved", false))?;
    Ok(vec![cx.reshape(y, shape)?])
}

/// `RotaryEmbedding` of com.microsoft: `x`, positions, which may be that of the first element alone, and the tables.
pub(super) fn rotary_embedding_by_positions(cx: &mut Context, node: &NodeView) -> Results {
    if node.float("scale").is_some_and(|scale| scale != 1.0) || node.flag("is_packed_batching", false) {
        return Err(unsupported!("scaled positions and packed batches are not supported"));
    }
    let (x, tables) = (node.input(0)?, [node.input(2)?, node.input(3)?]);
    let shape = cx.shape(x)?;
    let is_packed = shape.len() == 3;
    let x = match (shape.as_slice(), node.int("num_heads").filter(|n| *n > 0)) {
        ([_, _, _, _], _) => x,
        ([_, _, _], Some(heads)) => super::attention::split_heads(cx, x, heads)?,
        ([batch, length, packed], None) => {
            let width = cx.shape(tables[0])?[1].clone() * Dim::constant(2);
            let heads = packed.floor_div(&width);
            let split = cx.reshape(x, vec![batch.clone(), length.clone(), heads, width])?;
            cx.transpose(split, vec![0, 2, 1, 3])?
        }
        _ => return Err(invalid!("`input` must have rank 3 or 4, found {}", shape.len())),
    };
    let mut positions = cx.cast(node.input(1)?, DType::I64)?;
    if cx.rank(positions)? == 1 {
        let rows = cx.iota(cx.shape(x)?[2].clone(), DType::I64)?;
        let rows = cx.binary(ScalarOp::Add, positions, rows)?;
        positions = cx.unsqueeze(rows, &[0])?;
    }
    let mut y = rotate_heads(cx, x, tables, positions, node.flag("interleaved", false))?;
    if is_packed {
        y = cx.transpose(y, vec![0, 2, 1, 3])?;
    }
    Ok(vec![cx.reshape(y, shape)?])
}

/// Rotates `[batch, heads, length, width]` at positions `[batch, length]` of tables `[longest, half of what is rotated]`.
pub(super) fn rotate_heads(
    cx: &mut Context,
    x: ValueId,
    tables: [ValueId; 2],
    positions: ValueId,
    interleaved: bool,
) -> Result<ValueId> {
    let half = cx.shape(tables[0])?.pop().ok_or_else(|| invalid!("a table of cosines is a scalar"))?;
    let mut rows = Vec::new();
    for table in tables {
        let table = cx.gather(table, positions, 0)?;
        rows.push(cx.unsqueeze(table, &[1])?);
    }
    rotate_part(cx, x, [rows[0], rows[1]], &(half * Dim::constant(2)), interleaved)
}

/// Rotates the first `rotated` elements of the last of four axes.
fn rotate_part(
    cx: &mut Context,
    x: ValueId,
    tables: [ValueId; 2],
    rotated: &Dim,
    interleaved: bool,
) -> Result<ValueId> {
    let width = cx.shape(x)?[3].clone();
    let head = cx.slice(x, 3, Dim::constant(0), rotated.clone())?;
    let y = rotate(cx, head, tables, interleaved)?;
    if *rotated == width {
        return Ok(y);
    }
    let rest = cx.slice(x, 3, rotated.clone(), width - rotated.clone())?;
    cx.concat(&[y, rest], 3)
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
