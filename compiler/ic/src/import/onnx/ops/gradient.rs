//! `ai.onnx.preview.training.Gradient`: derivatives of a value that the graph computes, in reverse.

use super::prelude::*;
use ic_ir::Node;
use ic_ir::ops::{Cast, Expand, Matmul, Op, Pointwise, Reduce, ReduceFn, Reshape, Transpose};
use std::collections::HashMap;

pub(super) const OPS: &[super::Row] = &[(super::TRAINING, "Gradient", gradient)];

/// `Gradient` of the value `y` with respect to `xs`. Its inputs must be the values of those names.
fn gradient(cx: &mut Context, node: &NodeView) -> Results {
    let xs = node.texts("xs").ok_or_else(|| invalid!("attribute `xs` is missing"))?;
    let others = node.texts("zs").unwrap_or_default();
    let y = node.text("y").ok_or_else(|| invalid!("attribute `y` is missing"))?;
    let y = cx.resolve(y)?.ok_or_else(|| invalid!("`{y}` is left out"))?;
    let mut values = Vec::new();
    for (i, name) in xs.iter().chain(&others).enumerate() {
        let value = cx.resolve(name)?;
        if value.is_none() || value != node.opt(i) {
            return Err(unsupported!("a derivative at other values than those of `{name}`"));
        }
        values.extend(value);
    }
    let ty = cx.ty(y)?;
    let one = cx.scalar(ty.dtype, 1.0)?;
    let mut adjoints = HashMap::from([(y, cx.expand(one, ty.shape)?)]);
    let nodes: Vec<Node> = cx.graph().nodes().map(|(_, node)| node.clone()).collect();
    let last = nodes.iter().rposition(|node| node.results.contains(&y)).map_or(0, |last| last + 1);
    let depends = dependents(&nodes[..last], &values[..xs.len()]);
    for node in nodes[..last].iter().rev() {
        let Some(adjoint) = node.results.first().and_then(|result| adjoints.get(result)).copied() else { continue };
        for (i, &operand) in node.operands.iter().enumerate() {
            let Some(operand) = operand.filter(|operand| depends.contains_key(operand)) else { continue };
            let part = partial(cx, node, i, adjoint)?;
            let sum = match adjoints.get(&operand) {
                Some(&other) => cx.binary(ScalarOp::Add, other, part)?,
                None => part,
            };
            adjoints.insert(operand, sum);
        }
    }
    let mut results = Vec::new();
    for &x in &values[..xs.len()] {
        results.push(match adjoints.get(&x) {
            Some(&adjoint) => adjoint,
            None => {
                let (zero, shape) = (cx.scalar_like(x, 0.0)?, cx.shape(x)?);
                cx.expand(zero, shape)?
            }
        });
    }
    Ok(results)
}

/// The values that depend on `xs`.
fn dependents(nodes: &[Node], xs: &[ValueId]) -> HashMap<ValueId, ()> {
    let mut found: HashMap<ValueId, ()> = xs.iter().map(|&x| (x, ())).collect();
    for node in nodes {
        if node.operands.iter().flatten().any(|operand| found.contains_key(operand)) {
            found.extend(node.results.iter().map(|&result| (result, ())));
        }
    }
    found
}

/// What operand `i` gets of the adjoint of a node's result.
fn partial(cx: &mut Context, node: &Node, i: usize, adjoint: ValueId) -> Result<ValueId> {
    let operand = |i: usize| node.operands.get(i).copied().flatten().ok_or_else(|| invalid!("an operand is missing"));
    let x = operand(i)?;
    let shape = cx.shape(x)?;
    let part = match &node.op {
        Op::Pointwise(Pointwise { function }) => pointwise(cx, node, *function, i, adjoint)?,
        Op::Cast(_) => {
            let to = cx.dtype(x)?;
            cx.push(Cast { to, saturate: true }, &[adjoint])?
        }
        Op::Reshape(_) => return cx.push(Reshape { shape }, &[adjoint]),
        Op::Transpose(op) => {
            let mut perm = vec![0; op.perm.len()];
            op.perm.iter().enumerate().for_each(|(to, &from)| perm[from] = to);
            return cx.push(Transpose { perm }, &[adjoint]);
        }
        Op::Expand(_) => adjoint,
        Op::Reduce(op) if matches!(op.function, ReduceFn::Sum | ReduceFn::Mean) => {
            let mut kept = shape.clone();
            op.axes.iter().for_each(|&axis| kept[axis] = Dim::constant(1));
            let adjoint = cx.push(Reshape { shape: kept }, &[adjoint])?;
            let spread = cx.push(Expand { shape: shape.clone() }, &[adjoint])?;
            if op.function == ReduceFn::Sum {
                return Ok(spread);
            }
            let count = cx.dim_scalar(op.axes.iter().map(|&axis| shape[axis].clone()).product())?;
            let dtype = cx.dtype(x)?;
            let count = cx.cast(count, dtype)?;
            return cx.binary(ScalarOp::Div, spread, count);
        }
        Op::Matmul(_) => match i {
            0 => {
                let b = cx.transpose_last(operand(1)?)?;
                cx.push(Matmul {}, &[adjoint, b])?
            }
            _ => {
                let a = cx.transpose_last(operand(0)?)?;
                cx.push(Matmul {}, &[a, adjoint])?
            }
        },
        op => return Err(unsupported!("the derivative of `{}` is not supported", op.name())),
    };
    summed_to(cx, part, &shape)
}

/// The adjoint of operand `i` of a scalar function, before it is summed over what was broadcast.
fn pointwise(cx: &mut Context, node: &Node, function: ScalarOp, i: usize, adjoint: ValueId) -> Result<ValueId> {
    let operand = |i: usize| node.operands.get(i).copied().flatten().ok_or_else(|| invalid!("an operand is missing"));
    let y = node.results[0];
    let times = |cx: &mut Context, factor| cx.binary(ScalarOp::Mul, adjoint, factor);
    match (function, i) {
        (ScalarOp::Add, _) | (ScalarOp::Sub, 0) => Ok(adjoint),
        (ScalarOp::Sub, _) | (ScalarOp::Neg, _) => cx.unary(ScalarOp::Neg, adjoint),
        (ScalarOp::Mul, i) => times(cx, operand(1 - i)?),
        (ScalarOp::Div, 0) => cx.binary(ScalarOp::Div, adjoint, operand(1)?),
        (ScalarOp::Div, _) => {
            let ratio = cx.binary(ScalarOp::Div, y, operand(1)?)?;
            let ratio = cx.unary(ScalarOp::Neg, ratio)?;
            times(cx, ratio)
        }
        (ScalarOp::Exp, _) => times(cx, y),
        (ScalarOp::Log, _) => cx.binary(ScalarOp::Div, adjoint, operand(0)?),
        (ScalarOp::Sqrt, _) => {
            let twice = cx.with_scalar(ScalarOp::Mul, y, 2.0)?;
            cx.binary(ScalarOp::Div, adjoint, twice)
        }
        (ScalarOp::Sin, _) => {
            let cos = cx.unary(ScalarOp::Cos, operand(0)?)?;
            times(cx, cos)
        }
        (ScalarOp::Cos, _) => {
            let sin = cx.unary(ScalarOp::Sin, operand(0)?)?;
            let slope = cx.unary(ScalarOp::Neg, sin)?;
            times(cx, slope)
        }
        (ScalarOp::Tanh, _) => {
            let square = cx.binary(ScalarOp::Mul, y, y)?;
            let one = cx.scalar_like(y, 1.0)?;
            let slope = cx.binary(ScalarOp::Sub, one, square)?;
            times(cx, slope)
        }
        (ScalarOp::Sigmoid, _) => {
            let one = cx.scalar_like(y, 1.0)?;
            let rest = cx.binary(ScalarOp::Sub, one, y)?;
            let slope = cx.binary(ScalarOp::Mul, y, rest)?;
            times(cx, slope)
        }
        (ScalarOp::Relu, _) => {
            let (positive, zero) = (cx.with_scalar(ScalarOp::Gt, y, 0.0)?, cx.scalar_like(adjoint, 0.0)?);
            cx.select(positive, adjoint, zero)
        }
        (function, _) => Err(unsupported!("the derivative of `{}` is not supported", function.name())),
    }
}

/// The sums of `value` over the axes along which a tensor of `shape` was broadcast.
fn summed_to(cx: &mut Context, value: ValueId, shape: &[Dim]) -> Result<ValueId> {
    let found = cx.shape(value)?;
    let extra = found.len().saturating_sub(shape.len());
    let is_broadcast = |axis: usize| axis < extra || (shape[axis - extra].is(1) && !found[axis].is(1));
    let axes: Vec<usize> = (0..found.len()).filter(|&axis| is_broadcast(axis)).collect();
    if axes.is_empty() {
        return Ok(value);
    }
    let sum = cx.push(Reduce { function: ReduceFn::Sum, axes, keep_dims: true }, &[value])?;
    cx.push(Reshape { shape: shape.to_vec() }, &[sum])
}
