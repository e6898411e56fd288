//! What each op can do with channels-last values, and how its attributes change when it works on them.

use super::Form;
use crate::{Options, Precision};
use ic_ir::ops::{self, Layout, PoolFn, axis_of};
use ic_ir::{Graph, Node, Op, TensorType, ValueId};
use ic_types::{DType, Dim};

/// What a node can work on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Only on plain values.
    Plain,
    /// On either form, all operands and results alike.
    Either,
    /// Only on channels-last values.
    ChannelsLast,
    /// On either form, better on channels-last values.
    Convolution,
    /// Moves axis 1 to the end: its result is its operand's other form.
    ToLast,
    /// Moves the last axis to axis 1: its operand is its result's other form.
    FromLast,
    /// A transpose of another kind: it takes its operand in either form.
    Transpose,
}

/// How a node that works on channels-last values takes an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Take {
    /// Channels last.
    ChannelsLast,
    /// Channels last, once axes of extent 1 have been put before its own.
    Broadcast,
    /// As it is: a parameter.
    Plain,
}

/// The role of a node whose value is not known at compile time.
pub(super) fn role(graph: &Graph, node: &Node, options: &Options) -> Role {
    let Some(ty) = node.results.first().and_then(|&r| graph.ty(r).as_tensor()) else { return Role::Plain };
    let first = node.operands.first().copied().flatten().and_then(|v| graph.ty(v).as_tensor());
    let image = |layout: Layout| layout == Layout::ChannelsFirst && matches!(ty.rank(), 3 | 4);
    match &node.op {
        // Kernels of channels-last images want weights of known extents.
        Op::Convolution(_) | Op::ConvTranspose(_) if !has_fixed_weights(graph, node) => Role::Plain,
        Op::Convolution(op) if image(op.layout) && has_either_layout(ty, options) => Role::Convolution,
        Op::Convolution(op) if image(op.layout) => Role::ChannelsLast,
        Op::IntegerConvolution(op) if image(op.layout) && has_known_weights(graph, node) => Role::ChannelsLast,
        Op::IntegerConvolution(_) => Role::Plain,
        Op::ConvTranspose(op) if image(op.layout) => Role::ChannelsLast,
        Op::Pool(op) if image(op.layout) && pools_channels_last(op.function, ty.dtype) => Role::ChannelsLast,
        // What is left of these has kernels for channels-first images alone.
        Op::Convolution(_) | Op::ConvTranspose(_) | Op::Pool(_) => Role::Plain,
        Op::Resize(_) if node.operands.len() > 1 => Role::Plain,
        Op::Resize(_) if ty.rank() == 4 && scales_image(ty, first) => Role::ChannelsLast,
        Op::Transpose(op) => match &op.perm {
            perm if *perm == Form::ChannelsLast.perm(ty.rank()) => Role::ToLast,
            perm if *perm == from_last(ty.rank()) => Role::FromLast,
            _ => Role::Transpose,
        },
        _ => match first {
            Some(first) if to_channels_last(&node.op, ty, first).is_some() && fits(graph, node, ty) => Role::Either,
            _ => Role::Plain,
        },
    }
}

/// Whether there are kernels of channels-first images. They read weights of f32.
fn has_either_layout(ty: &TensorType, options: &Options) -> bool {
    options.native_compounds && options.precision == Precision::F32 && ty.dtype == DType::F32
}

/// Whether the weights of a convolution depend on constants alone.
fn has_fixed_weights(graph: &Graph, node: &Node) -> bool {
    let weights = node.operands.get(1).copied().flatten().and_then(|weights| graph.ty(weights).as_tensor());
    weights.is_some_and(|ty| ty.constant_shape().is_some())
}

fn has_known_weights(graph: &Graph, node: &Node) -> bool {
    let weights = node.operands.get(1).copied().flatten();
    weights.is_some_and(|weights| crate::known::known_values(graph)[weights.index()])
}

/// Whether there are kernels of channels-last images; other pools have some of channels-first ones alone.
fn pools_channels_last(function: PoolFn, dtype: DType) -> bool {
    match function {
        PoolFn::Max => matches!(dtype, DType::F32 | DType::U8 | DType::I8),
        PoolFn::Average => dtype == DType::F32,
        PoolFn::Lp => false,
    }
}

/// Whether only spatial extents differ.
fn scales_image(ty: &TensorType, x: Option<&TensorType>) -> bool {
    x.is_some_and(|x| x.shape[..2] == ty.shape[..2])
}

/// The perm that undoes channels last.
fn from_last(rank: usize) -> Vec<usize> {
    (0..rank).map(|axis| Form::ChannelsLast.position(axis, rank)).collect()
}

/// Whether the operands that would be taken channels last have the rank for it.
fn fits(graph: &Graph, node: &Node, ty: &TensorType) -> bool {
    let rank_of = |v: &Option<ValueId>| v.and_then(|v| graph.ty(v).as_tensor()).map(TensorType::rank);
    node.operands.iter().enumerate().all(|(i, v)| match (take(graph, node, i), rank_of(v)) {
        (Take::Plain, _) => true,
        (Take::Broadcast, Some(rank)) => rank <= ty.rank(),
        (Take::ChannelsLast, Some(rank)) => rank == ty.rank() || matches!(node.op, Op::Reshape(_) | Op::Reduce(_)),
        (_, None) => false,
    })
}

/// How `node`, working on channels-last values, takes operand `i`.
pub(super) fn take(graph: &Graph, node: &Node, i: usize) -> Take {
    let ty_of = |v: ValueId| graph.ty(v).as_tensor();
    let rank = ty_of(node.results[0]).map_or(0, TensorType::rank);
    let Some(ty) = node.operands.get(i).copied().flatten().and_then(ty_of) else { return Take::Plain };
    match &node.op {
        Op::Pointwise(_) | Op::Expand(_) if ty.elements().is(1) && ty.rank() < rank => Take::Plain,
        Op::Pointwise(_) | Op::Expand(_) if ty.rank() < rank => Take::Broadcast,
        Op::Pointwise(_) | Op::Concat(_) => Take::ChannelsLast,
        _ if i == 0 => Take::ChannelsLast,
        _ => Take::Plain,
    }
}

/// The op on channels-last values, where it has such a form: `ty` is its result's type, `x` its first operand's.
pub(super) fn to_channels_last(op: &Op, ty: &TensorType, x: &TensorType) -> Option<Op> {
    let rank = ty.rank();
    let at = |axis: usize| Form::ChannelsLast.position(axis, x.rank());
    let permuted = |dims: &[Dim]| Form::ChannelsLast.perm(rank).iter().map(|&axis| dims[axis].clone()).collect();
    Some(match op {
        Op::Pointwise(_) | Op::Cast(_) | Op::BitCast(_) => op.clone(),
        Op::Convolution(op) => ops::Convolution { layout: Layout::ChannelsLast, ..op.clone() }.into(),
        Op::IntegerConvolution(op) => ops::IntegerConvolution { layout: Layout::ChannelsLast, ..op.clone() }.into(),
        Op::ConvTranspose(op) => ops::ConvTranspose { layout: Layout::ChannelsLast, ..op.clone() }.into(),
        Op::Pool(op) => ops::Pool { layout: Layout::ChannelsLast, ..op.clone() }.into(),
        Op::Resize(op) => resize(op, rank).into(),
        Op::Concat(op) => ops::Concat { axis: at(op.axis) }.into(),
        Op::Expand(_) => ops::Expand { shape: permuted(&ty.shape) }.into(),
        Op::Slice(op) => ops::Slice { axes: op.axes.iter().map(|&a| at(a)).collect(), ..op.clone() }.into(),
        Op::Pad(op) => {
            let pads = [&op.pads[..rank], &op.pads[rank..]].into_iter().flat_map(|half| -> Vec<Dim> { permuted(half) });
            ops::Pad { pads: pads.collect(), ..op.clone() }.into()
        }
        Op::Softmax(op) => ops::Softmax { axis: at(axis_of(op.axis, rank).ok()?) as i64 }.into(),
        Op::ArgReduce(op) => ops::ArgReduce { axis: at(op.axis), ..op.clone() }.into(),
        Op::TopK(op) => ops::TopK { axis: at(op.axis), ..op.clone() }.into(),
        Op::Cumulative(op) => ops::Cumulative { axis: at(op.axis), ..op.clone() }.into(),
        Op::Gather(op) if rank == x.rank() => ops::Gather { axis: at(op.axis) }.into(),
        Op::Reduce(op) => reduce(op, x.rank())?.into(),
        Op::Reshape(_) if keeps_channels(ty, x) => ops::Reshape { shape: permuted(&ty.shape) }.into(),
        Op::Quantize(op) if op.block_size == 0 => {
            ops::Quantize { axis: at(axis_of(op.axis, rank).ok()?) as i64, ..op.clone() }.into()
        }
        Op::Dequantize(op) if op.block_size == 0 => {
            ops::Dequantize { axis: at(axis_of(op.axis, rank).ok()?) as i64, ..op.clone() }.into()
        }
        _ => return None,
    })
}

/// A reshape of spatial axes alone, or to and from `[N, C]`.
fn keeps_channels(ty: &TensorType, x: &TensorType) -> bool {
    ty.rank() >= 2 && x.rank() >= 2 && ty.shape[..2] == x.shape[..2]
}

/// The reduction of a channels-last operand, if what remains is stored as the result's channels-last form.
fn reduce(op: &ops::Reduce, rank: usize) -> Option<ops::Reduce> {
    let axes: Vec<usize> = op.axes.iter().map(|&axis| Form::ChannelsLast.position(axis, rank)).collect();
    if !op.keep_dims {
        let kept: Vec<usize> = (0..rank).filter(|axis| !op.axes.contains(axis)).collect();
        let stored = Form::ChannelsLast.perm(rank).into_iter().filter(|axis| kept.contains(axis));
        let expected = Form::ChannelsLast.perm(kept.len()).into_iter().map(|axis| kept[axis]);
        if !stored.eq(expected) {
            return None;
        }
    }
    Some(ops::Reduce { axes, ..op.clone() })
}

fn resize(op: &ops::Resize, rank: usize) -> ops::Resize {
    let perm = Form::ChannelsLast.perm(rank);
    fn pick<T: Clone>(perm: &[usize], list: &[T]) -> Vec<T> {
        perm.iter().map(|&axis| list[axis].clone()).collect()
    }
    ops::Resize {
        shape: pick(&perm, &op.shape),
        scales: op.scales.as_ref().map(|scales| pick(&perm, scales)),
        scale_bits: op.scale_bits.as_ref().map(|bits| pick(&perm, bits)),
        ..op.clone()
    }
}
