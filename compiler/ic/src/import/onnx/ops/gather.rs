//! ONNX ops that index along one axis: `Gather`, `OneHot`, `ArrayFeatureExtractor`.

use super::prelude::*;

/// `Gather`.
pub(super) fn gather(cx: &mut Context, node: &NodeView) -> Results {
    let (data, indices) = (node.input(0)?, node.input(1)?);
    let axis = cx.axis(data, node.int("axis").unwrap_or(0))?;
    Ok(vec![cx.gather(data, indices, axis)?])
}

/// `OneHot`: `values[1]` where the position along the new axis is the index, else `values[0]`.
pub(super) fn one_hot(cx: &mut Context, node: &NodeView) -> Results {
    let (indices, depth, values) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let rank = cx.rank(indices)? + 1;
    let axis = ic_ir::ops::axis_of(node.int("axis").unwrap_or(-1), rank)?;
    let depth = match cx.tensor(depth).filter(|t| t.dtype().is_float()) {
        Some(tensor) => ic_ir::eval::reals(&tensor)?.into_iter().map(|x| Dim::constant(x as i64)).collect(),
        None => {
            let depth = if cx.dtype(depth)?.is_float() { cx.cast(depth, DType::I64)? } else { depth };
            cx.ints(depth, "depth")?
        }
    };
    let depth = depth.into_iter().next().ok_or_else(|| invalid!("`depth` is empty"))?;
    let indices = cx.cast(indices, DType::I64)?;
    let negative = cx.with_scalar(ScalarOp::Lt, indices, 0.0)?;
    let n = cx.dim_scalar(depth.clone())?;
    let wrapped = cx.binary(ScalarOp::Add, indices, n)?;
    let indices = cx.select(negative, wrapped, indices)?;
    let indices = cx.unsqueeze(indices, &[axis as i64])?;
    let positions = cx.iota(depth.clone(), DType::I64)?;
    let mut shape = vec![Dim::constant(1); rank];
    shape[axis] = depth;
    let positions = cx.reshape(positions, shape)?;
    let is_hot = cx.binary(ScalarOp::Eq, indices, positions)?;
    let element = |cx: &mut Context, i: i64| -> Result<ValueId> {
        let part = cx.slice(values, 0, Dim::constant(i), Dim::constant(1))?;
        cx.reshape(part, vec![])
    };
    let (off, on) = (element(cx, 0)?, element(cx, 1)?);
    Ok(vec![cx.select(is_hot, on, off)?])
}

/// `ai.onnx.ml::ArrayFeatureExtractor`: a gather along the last axis, at least of rank 2.
pub(super) fn array_feature_extractor(cx: &mut Context, node: &NodeView) -> Results {
    let (mut data, indices) = (node.input(0)?, node.input(1)?);
    if cx.rank(data)? == 1 {
        data = cx.unsqueeze(data, &[0])?;
    }
    let elements = cx.ty(indices)?.elements();
    let indices = cx.reshape(indices, vec![elements])?;
    let axis = cx.axis(data, -1)?;
    Ok(vec![cx.gather(data, indices, axis)?])
}
