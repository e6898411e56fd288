//! What integer contractions do to their sums before they store them: scales, biases, limits, requantization, and other
//! quantized tensors added on the way.
//!
//! The kernels have one menu for it, so only what is on the menu is claimed: all else reads stored results.

use super::emit::splat;
use super::facts::Facts;
use ic_ir::ops::Op;
use ic_ir::{NodeId, ScalarOp, ValueId};
use ic_types::DType;
use std::collections::BTreeSet;

/// Whether the op sums products of integers.
pub(crate) fn is_contraction(op: &Op) -> bool {
    matches!(op, Op::IntegerMatmul(_) | Op::IntegerConvolution(_))
}

/// Whether an integer contraction can store what its epilogue makes of the sums.
pub(crate) fn stores(op: &Op, dtype: DType) -> bool {
    is_contraction(op) && matches!(dtype, DType::F32 | DType::U8 | DType::I8)
}

/// Whether the epilogue of an integer contraction can compute `user` of one of `members`.
pub(crate) fn computes(facts: &Facts, user: NodeId, members: &BTreeSet<ValueId>) -> bool {
    let graph = facts.graph;
    let node = graph.node(user);
    let from = node.operands.first().copied().flatten().map(|v| graph.dtype(v));
    let known = |i: usize| node.operands.get(i).copied().flatten().is_none_or(|v| splat(graph, v).is_some());
    let from_outside: Vec<ValueId> = node.operands.iter().flatten().filter(|v| !members.contains(v)).copied().collect();
    match &node.op {
        Op::Cast(op) => from == Some(DType::I32) && op.to == DType::F32,
        Op::Quantize(op) => matches!(op.to, DType::U8 | DType::I8) && from == Some(DType::F32) && known(1) && known(2),
        Op::Dequantize(op) => op.to == DType::F32 && op.block_size == 0 && known(1) && known(2),
        Op::Pointwise(op) if from == Some(DType::F32) => match op.function {
            ScalarOp::Relu | ScalarOp::HardSwish => true,
            ScalarOp::Sigmoid | ScalarOp::Tanh | ScalarOp::Silu | ScalarOp::Gelu | ScalarOp::GeluTanh => true,
            ScalarOp::Add | ScalarOp::Mul => from_outside.len() == 1,
            ScalarOp::Max | ScalarOp::Min => from_outside.iter().all(|&v| splat(graph, v).is_some()),
            _ => false,
        },
        Op::Reshape(_) => true,
        _ => false,
    }
}

/// Whether the epilogue of the contraction `anchor` reads the floats `value` as the integers that they are made of.
pub(crate) fn reads(facts: &Facts, anchor: NodeId, value: ValueId) -> bool {
    let graph = facts.graph;
    let Some((_, node, _)) = facts.def(value) else { return false };
    let Op::Dequantize(op) = &node.op else { return false };
    let known = |i: usize| node.operands.get(i).copied().flatten().is_none_or(|v| splat(graph, v).is_some());
    let narrow = node.operands[0].is_some_and(|x| matches!(graph.dtype(x), DType::U8 | DType::I8));
    is_contraction(&graph.node(anchor).op)
        && narrow
        && op.to == DType::F32
        && op.block_size == 0
        && known(1)
        && known(2)
}
