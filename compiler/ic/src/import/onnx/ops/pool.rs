//! ONNX `MaxPool`, `AveragePool`, `LpPool` and the global pools.

use super::prelude::*;
use super::sliding::{Window, spatial};
use ic_ir::ops::{Layout, MaxPoolIndices, Pool, PoolFn, ReduceFn};

/// `MaxPool`, `AveragePool`, `LpPool`.
pub(super) fn pool(cx: &mut Context, node: &NodeView, function: PoolFn) -> Results {
    pool_of(cx, node, node.input(0)?, function)
}

/// The pool that the node's attributes describe, of `x`.
pub(super) fn pool_of(cx: &mut Context, node: &NodeView, x: ValueId, function: PoolFn) -> Results {
    let space = spatial(cx, x)?;
    let window = Window::new(node, &space, None)?;
    if function == PoolFn::Max && node.wants(1) {
        let op = MaxPoolIndices {
            kernel: window.constant_kernel()?,
            strides: window.strides,
            pads: window.pads,
            dilations: window.dilations,
            ceil: node.flag("ceil_mode", false),
            storage_order: usize::from(node.flag("storage_order", false)),
        };
        return cx.push_all(op, &[Some(x)]);
    }
    let op = Pool {
        function,
        kernel: window.constant_kernel()?,
        strides: window.strides,
        pads: window.pads,
        dilations: window.dilations,
        ceil: node.flag("ceil_mode", false),
        count_include_pad: node.flag("count_include_pad", false),
        p: order(node),
        layout: Layout::ChannelsFirst,
    };
    Ok(vec![cx.push(op, &[x])?])
}

fn order(node: &NodeView) -> usize {
    node.int("p").and_then(|p| usize::try_from(p).ok()).unwrap_or(2)
}

/// `GlobalMaxPool`, `GlobalAveragePool`: a reduction of all spatial axes.
pub(super) fn global(cx: &mut Context, node: &NodeView, function: ReduceFn) -> Results {
    let x = node.input(0)?;
    let axes = (2..cx.rank(x)?).collect();
    Ok(vec![cx.reduce(function, x, axes)?])
}

/// `GlobalLpPool`.
pub(super) fn global_lp(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let axes: Vec<usize> = (2..cx.rank(x)?).collect();
    let magnitudes = cx.unary(ScalarOp::Abs, x)?;
    let p = order(node) as f64;
    let powers = cx.with_scalar(ScalarOp::Pow, magnitudes, p)?;
    let sum = cx.reduce(ReduceFn::Sum, powers, axes)?;
    Ok(vec![cx.with_scalar(ScalarOp::Pow, sum, 1.0 / p)?])
}
