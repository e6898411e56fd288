//! ONNX ops that index by position: `GatherElements`, `GatherND`, `Scatter`, `ScatterElements`, `ScatterND`,
//! `TensorScatter`.

use super::prelude::*;
use ic_ir::ops::{GatherElements, GatherNd, Reduction, ScatterElements, ScatterNd};

/// `GatherElements`.
pub(super) fn gather_elements(cx: &mut Context, node: &NodeView) -> Results {
    let (data, indices) = (node.input(0)?, node.input(1)?);
    let axis = cx.axis(data, node.int("axis").unwrap_or(0))?;
    Ok(vec![cx.push(GatherElements { axis }, &[data, indices])?])
}

/// `GatherND`.
pub(super) fn gather_nd(cx: &mut Context, node: &NodeView) -> Results {
    let batch_dims = node.int("batch_dims").unwrap_or(0).max(0) as usize;
    Ok(vec![cx.push(GatherNd { batch_dims }, &[node.input(0)?, node.input(1)?])?])
}

fn reduction(node: &NodeView) -> Result<Reduction> {
    match node.text("reduction") {
        None | Some("none") => Ok(Reduction::None),
        Some("add") => Ok(Reduction::Add),
        Some("mul") => Ok(Reduction::Mul),
        Some("max") => Ok(Reduction::Max),
        Some("min") => Ok(Reduction::Min),
        Some(other) => Err(invalid!("attribute `reduction` is `{other}`")),
    }
}

/// `Scatter`, `ScatterElements`.
pub(super) fn scatter_elements(cx: &mut Context, node: &NodeView) -> Results {
    let data = node.input(0)?;
    let axis = cx.axis(data, node.int("axis").unwrap_or(0))?;
    let op = ScatterElements { axis, reduction: reduction(node)? };
    Ok(vec![cx.push(op, &[data, node.input(1)?, node.input(2)?])?])
}

/// `ScatterND`.
pub(super) fn scatter_nd(cx: &mut Context, node: &NodeView) -> Results {
    let op = ScatterNd { reduction: reduction(node)? };
    Ok(vec![cx.push(op, &[node.input(0)?, node.input(1)?, node.input(2)?])?])
}

/// `TensorScatter`: writes a run of rows into a cache, from `write_indices` on.
pub(super) fn tensor_scatter(cx: &mut Context, node: &NodeView) -> Results {
    let (past, update) = (node.input(0)?, node.input(1)?);
    let axis = cx.axis(past, node.int("axis").unwrap_or(-2))?;
    let (shape, update_shape) = (cx.shape(past)?, cx.shape(update)?);
    let rank = shape.len();
    if update_shape.len() != rank {
        return Err(invalid!("`update` must have the rank {rank} of `past_cache`, found {}", update_shape.len()));
    }
    let mut positions = cx.iota(update_shape[axis].clone(), DType::I64)?;
    let mut at = vec![Dim::constant(1); rank];
    at[axis] = update_shape[axis].clone();
    positions = cx.reshape(positions, at)?;
    if let Some(start) = node.opt(2) {
        let start = cx.cast(start, DType::I64)?;
        let mut per_batch = vec![Dim::constant(1); rank];
        per_batch[0] = shape[0].clone();
        let start = cx.reshape(start, per_batch)?;
        positions = cx.binary(ScalarOp::Add, positions, start)?;
    }
    if node.text("mode") == Some("circular") {
        let capacity = cx.dim_scalar(shape[axis].clone())?;
        positions = cx.binary(ScalarOp::Mod, positions, capacity)?;
    }
    let indices = cx.expand(positions, update_shape)?;
    let op = ScatterElements { axis, reduction: Reduction::None };
    Ok(vec![cx.push(op, &[past, indices, update])?])
}
