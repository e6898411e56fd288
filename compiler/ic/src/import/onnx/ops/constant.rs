//! ONNX ops that make tensors: `Constant`, `ConstantOfShape`, `Range`, `EyeLike`.

use super::prelude::*;
use ic_ir::ops;

/// `Constant`: a tensor, a number, a text or a list.
pub(super) fn constant(cx: &mut Context, node: &NodeView) -> Results {
    let literal = constant_literal(cx, node)?;
    Ok(vec![cx.push(ops::Constant { value: literal }, &[])?])
}

fn constant_literal(cx: &mut Context, node: &NodeView) -> Result<Literal> {
    if let Some(tensor) = node.tensor("value") {
        return crate::import::onnx::tensor::literal(tensor, &mut cx.files);
    }
    let tensor = if let Some(value) = node.float("value_float") {
        Tensor::scalar(value)
    } else if let Some(value) = node.int("value_int") {
        Tensor::scalar(value)
    } else if let Some(value) = node.text("value_string") {
        Tensor::scalar(value.to_string())
    } else if let Some(values) = node.floats("value_floats") {
        Tensor::from_elements(vec![values.len()], values.to_vec())
    } else if let Some(values) = node.ints("value_ints") {
        Tensor::from_elements(vec![values.len()], values.to_vec())
    } else if let Some(values) = node.texts("value_strings") {
        Tensor::from_elements(vec![values.len()], values)
    } else if node.attr("sparse_value").is_some() {
        return Err(unsupported!("sparse tensors are not supported"));
    } else {
        return Err(invalid!("has no value"));
    };
    Ok(Literal::inline(tensor))
}

/// `ConstantOfShape`: one element, zero by default, at every place.
pub(super) fn constant_of_shape(cx: &mut Context, node: &NodeView) -> Results {
    let shape = cx.ints(node.input(0)?, "input")?;
    let element = match node.tensor("value") {
        Some(tensor) => {
            let literal = crate::import::onnx::tensor::literal(tensor, &mut cx.files)?;
            let value = cx.push(ops::Constant { value: literal }, &[])?;
            cx.reshape(value, vec![])?
        }
        None => cx.scalar(DType::F32, 0.0)?,
    };
    Ok(vec![cx.expand(element, shape)?])
}

/// `Range`: `start + i * delta` while that is before `limit`.
pub(super) fn range(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![range_of(cx, node.input(0)?, node.input(1)?, node.input(2)?)?])
}

/// `start + i * delta` while that is before `limit`.
pub(super) fn range_of(cx: &mut Context, start: ValueId, limit: ValueId, delta: ValueId) -> Result<ValueId> {
    let dtype = cx.dtype(start)?;
    let is_known = |cx: &mut Context, v: ValueId| cx.try_ints(v).is_some() || cx.tensor(v).is_some();
    let extent = if ![start, limit, delta].into_iter().all(|v| is_known(cx, v)) {
        extent_in_run(cx, start, limit, delta)?
    } else if dtype.is_float() {
        float_extent(cx, start, limit, delta)?
    } else {
        int_extent(cx, start, limit, delta)?
    };
    let mut value = cx.iota(extent, dtype)?;
    let is = |cx: &mut Context, v: ValueId, number: f64| match cx.tensor(v) {
        Some(tensor) => {
            ic_ir::eval::reals(&tensor).is_ok_and(|r| r == [number])
                || ic_ir::eval::ints(&tensor).is_ok_and(|r| r == [number as i128])
        }
        None => false,
    };
    if !is(cx, delta, 1.0) {
        let delta = cx.reshape(delta, vec![])?;
        value = cx.binary(ScalarOp::Mul, value, delta)?;
    }
    if !is(cx, start, 0.0) {
        let start = cx.reshape(start, vec![])?;
        value = cx.binary(ScalarOp::Add, value, start)?;
    }
    Ok(value)
}

/// `max(ceil((limit - start) / delta), 0)` of numbers that only a run knows.
fn extent_in_run(cx: &mut Context, start: ValueId, limit: ValueId, delta: ValueId) -> Result<Dim> {
    let is_float = cx.dtype(start)?.is_float();
    let mut scalar = |value| -> Result<ValueId> {
        let value = cx.cast(value, if is_float { DType::F64 } else { DType::I64 })?;
        cx.reshape(value, vec![])
    };
    let (start, limit, delta) = (scalar(start)?, scalar(limit)?, scalar(delta)?);
    let distance = cx.binary(ScalarOp::Sub, limit, start)?;
    let n = if is_float {
        let n = cx.binary(ScalarOp::Div, distance, delta)?;
        let n = cx.unary(ScalarOp::Ceil, n)?;
        let n = cx.with_scalar(ScalarOp::Max, n, 0.0)?;
        cx.cast(n, DType::I64)?
    } else {
        cx.n_steps(distance, delta)?
    };
    cx.ints(n, "limit")?.pop().ok_or_else(|| invalid!("`limit` is empty"))
}

/// `max(ceil((limit - start) / delta), 0)`.
fn int_extent(cx: &mut Context, start: ValueId, limit: ValueId, delta: ValueId) -> Result<Dim> {
    let mut one = |value, what| -> Result<Dim> {
        cx.ints(value, what)?.into_iter().next().ok_or_else(|| invalid!("`{what}` is empty"))
    };
    let (start, limit, delta) = (one(start, "start")?, one(limit, "limit")?, one(delta, "delta")?);
    if delta.is(0) {
        return Err(invalid!("`delta` is 0"));
    }
    let distance = limit - start;
    let steps = if delta.is(1) { distance } else { distance.ceil_div(&delta) };
    Ok(super::slice::not_negative(&steps))
}

/// `ceil((limit - start) / delta)` for a whole positive `delta` and bounds of which either may be a fraction.
///
/// The multiples of `delta` are whole, so they reach `limit - start` where they reach it rounded up.
fn whole_steps(cx: &mut Context, start: ValueId, limit: ValueId, delta: ValueId) -> Option<Dim> {
    let delta = cx.try_ints(delta)?.first()?.as_const().filter(|&delta| delta > 0)?;
    let mut whole = |value, round: fn(f64) -> f64| -> Option<Dim> {
        if let Some(ints) = cx.try_ints(value) {
            return ints.into_iter().next();
        }
        let number = round(*ic_ir::eval::reals(&cx.tensor(value)?).ok()?.first()?);
        (number.abs() < (1i64 << 53) as f64).then(|| Dim::constant(number as i64))
    };
    let (start, limit) = (whole(start, f64::floor)?, whole(limit, f64::ceil)?);
    Some(if delta == 1 { limit - start } else { (limit - start).ceil_div(&Dim::constant(delta)) })
}

fn float_extent(cx: &mut Context, start: ValueId, limit: ValueId, delta: ValueId) -> Result<Dim> {
    // Whole numbers may be symbolic.
    if let (Some(_), Some(_), Some(_)) = (cx.try_ints(start), cx.try_ints(limit), cx.try_ints(delta)) {
        return int_extent(cx, start, limit, delta);
    }
    if [start, limit, delta].into_iter().any(|v| cx.tensor(v).is_none()) {
        return match whole_steps(cx, start, limit, delta) {
            Some(n) => Ok(super::slice::not_negative(&n)),
            None => extent_in_run(cx, start, limit, delta),
        };
    }
    let mut one = |value, what: &str| -> Result<f64> {
        let tensor = cx.tensor(value).ok_or_else(|| unsupported!("`{what}` is computed from data"))?;
        ic_ir::eval::reals(&tensor)?.first().copied().ok_or_else(|| invalid!("`{what}` is empty"))
    };
    let (start, limit, delta) = (one(start, "start")?, one(limit, "limit")?, one(delta, "delta")?);
    let n = ((limit - start) / delta).ceil().max(0.0);
    if !n.is_finite() {
        return Err(invalid!("a range from {start} to {limit} by {delta} has no length"));
    }
    Ok(Dim::constant(n as i64))
}

/// `EyeLike`: ones on the `k`-th diagonal.
pub(super) fn eye_like(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let [rows, columns] = shape.as_slice() else { return Err(invalid!("`input` must be of rank 2")) };
    let to = match node.int("dtype") {
        Some(code) => dtype(code as i32)?,
        None => cx.dtype(x)?,
    };
    let row = cx.iota(rows.clone(), DType::I64)?;
    let row = cx.unsqueeze(row, &[1])?;
    let diagonal = cx.with_scalar(ScalarOp::Add, row, node.int("k").unwrap_or(0) as f64)?;
    let column = cx.iota(columns.clone(), DType::I64)?;
    let equal = cx.binary(ScalarOp::Eq, diagonal, column)?;
    Ok(vec![cx.cast(equal, to)?])
}
