//! ONNX reductions, `ArgMax`, `ArgMin`, `TopK`, `Hardmax`.

use super::prelude::*;
use super::reduce_in_run::AxesInRun;
use ic_ir::ops::{ArgFn, ArgReduce, Reduce, ReduceFn, TopK};

/// What a reduction goes over.
enum Over {
    /// Nothing: it returns its input.
    Nothing,
    /// These axes.
    Axes(Vec<usize>),
    /// Axes that only a run knows.
    InRun(AxesInRun),
}

/// The axes of a reduction.
fn axes_of(cx: &mut Context, node: &NodeView) -> Result<Over> {
    let x = node.input(0)?;
    if let Some(axes) = super::runtime_axes(cx, node, 1) {
        return Ok(Over::InRun(AxesInRun::new(cx, axes, node.flag("noop_with_empty_axes", false))?));
    }
    match int_list(cx, node, "axes", 1)?.filter(|axes| !axes.is_empty()) {
        Some(axes) => cx.axes(x, &axes).map(Over::Axes),
        None if node.flag("noop_with_empty_axes", false) => Ok(Over::Nothing),
        None => Ok(Over::Axes((0..cx.rank(x)?).collect())),
    }
}

/// Reduces `value` over the node's axes.
fn reduced(cx: &mut Context, node: &NodeView, function: ReduceFn, value: ValueId) -> Result<ValueId> {
    let keep_dims = node.flag("keepdims", true);
    match axes_of(cx, node)? {
        Over::Axes(axes) => cx.push(Reduce { function, axes, keep_dims }, &[value]),
        Over::Nothing => Ok(value),
        Over::InRun(axes) => {
            let result = axes.reduce(cx, function, value)?;
            if keep_dims { Ok(result) } else { axes.dropped(cx, value, result) }
        }
    }
}

/// `ReduceSum`, `ReduceMean`, `ReduceProd`, `ReduceMax`, `ReduceMin`.
pub(super) fn reduce(cx: &mut Context, node: &NodeView, function: ReduceFn) -> Results {
    let x = node.input(0)?;
    let function = match (function, cx.dtype(x)?) {
        (ReduceFn::Max, DType::Bool) => ReduceFn::Any,
        (ReduceFn::Min, DType::Bool) => ReduceFn::All,
        (function, _) => function,
    };
    Ok(vec![reduced(cx, node, function, x)?])
}

/// `ReduceL1`: sum of magnitudes.
pub(super) fn l1(cx: &mut Context, node: &NodeView) -> Results {
    let x = cx.unary(ScalarOp::Abs, node.input(0)?)?;
    Ok(vec![reduced(cx, node, ReduceFn::Sum, x)?])
}

fn sum_of_squares(cx: &mut Context, node: &NodeView) -> Result<ValueId> {
    let x = node.input(0)?;
    let squares = cx.binary(ScalarOp::Mul, x, x)?;
    reduced(cx, node, ReduceFn::Sum, squares)
}

/// `ReduceSumSquare`.
pub(super) fn sum_square(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![sum_of_squares(cx, node)?])
}

/// `ReduceL2`: root of the sum of squares.
pub(super) fn l2(cx: &mut Context, node: &NodeView) -> Results {
    let sum = sum_of_squares(cx, node)?;
    let dtype = cx.dtype(sum)?;
    if dtype.is_float() {
        return Ok(vec![cx.unary(ScalarOp::Sqrt, sum)?]);
    }
    let wide = cx.cast(sum, DType::F64)?;
    let root = cx.unary(ScalarOp::Sqrt, wide)?;
    Ok(vec![cx.cast(root, dtype)?])
}

/// `ReduceLogSum`.
pub(super) fn log_sum(cx: &mut Context, node: &NodeView) -> Results {
    let sum = reduced(cx, node, ReduceFn::Sum, node.input(0)?)?;
    Ok(vec![float_function(cx, sum, ScalarOp::Log)?])
}

/// A float function of integers too, by way of f64.
fn float_function(cx: &mut Context, x: ValueId, function: ScalarOp) -> Result<ValueId> {
    let dtype = cx.dtype(x)?;
    if dtype.is_float() {
        return cx.unary(function, x);
    }
    let wide = cx.cast(x, DType::F64)?;
    let value = cx.unary(function, wide)?;
    cx.cast(value, dtype)
}

/// `ReduceLogSumExp`: `max + log(sum(exp(x - max)))`, with an infinite maximum taken as 0. Over axes that only a run knows,
/// `log(sum(exp(x)))` in f64, as ONNX defines it.
pub(super) fn log_sum_exp(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let over = axes_of(cx, node)?;
    if matches!(over, Over::InRun(_)) {
        let wide = cx.cast(x, DType::F64)?;
        let exp = cx.unary(ScalarOp::Exp, wide)?;
        let sum = reduced(cx, node, ReduceFn::Sum, exp)?;
        let log = cx.unary(ScalarOp::Log, sum)?;
        return Ok(vec![cx.cast(log, cx.dtype(x)?)?]);
    }
    if !cx.dtype(x)?.is_float() {
        let exp = float_function(cx, x, ScalarOp::Exp)?;
        let sum = reduced(cx, node, ReduceFn::Sum, exp)?;
        return Ok(vec![float_function(cx, sum, ScalarOp::Log)?]);
    }
    let Over::Axes(axes) = over else { return Ok(vec![x]) };
    let max = cx.reduce(ReduceFn::Max, x, axes.clone())?;
    let infinite = cx.unary(ScalarOp::IsInf, max)?;
    let zero = cx.scalar_like(x, 0.0)?;
    let max = cx.select(infinite, zero, max)?;
    let shifted = cx.binary(ScalarOp::Sub, x, max)?;
    let exp = cx.unary(ScalarOp::Exp, shifted)?;
    let sum = cx.reduce(ReduceFn::Sum, exp, axes.clone())?;
    let log = cx.unary(ScalarOp::Log, sum)?;
    let result = cx.binary(ScalarOp::Add, log, max)?;
    if node.flag("keepdims", true) {
        return Ok(vec![result]);
    }
    Ok(vec![cx.squeeze(result, &axes)?])
}

/// `ArgMax`, `ArgMin`.
pub(super) fn arg(cx: &mut Context, node: &NodeView, function: ArgFn) -> Results {
    let x = node.input(0)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(0))?;
    let index = cx.push(ArgReduce { function, axis, select_last: node.flag("select_last_index", false) }, &[x])?;
    if node.flag("keepdims", true) {
        return Ok(vec![index]);
    }
    Ok(vec![cx.squeeze(index, &[axis])?])
}

/// `TopK`: `k` is an attribute before opset 10.
pub(super) fn top_k(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axis = cx.axis(x, node.int("axis").unwrap_or(-1))?;
    let k = match node.int("k") {
        Some(k) => Dim::constant(k),
        None => cx.ints(node.input(1)?, "k")?.into_iter().next().ok_or_else(|| invalid!("`k` is empty"))?,
    };
    let op = TopK { k, axis, largest: node.flag("largest", true), sorted: node.flag("sorted", true) };
    cx.push_all(op, &[Some(x)])
}

/// `Hardmax`: 1 at the first maximum along an axis; before opset 13 of the input as a matrix.
pub(super) fn hardmax(cx: &mut Context, node: &NodeView) -> Results {
    super::softmax::along_axis(cx, node, |cx, x, axis| {
        let index = cx.push(ArgReduce { function: ArgFn::Argmax, axis, select_last: false }, &[x])?;
        let shape = cx.shape(x)?;
        let positions = cx.iota(shape[axis].clone(), DType::I64)?;
        let mut at = vec![Dim::constant(1); shape.len()];
        at[axis] = shape[axis].clone();
        let positions = cx.reshape(positions, at)?;
        let is_max = cx.binary(ScalarOp::Eq, positions, index)?;
        let dtype = cx.dtype(x)?;
        cx.cast(is_max, dtype)
    })
}
