//! `widen_halves`: what sums, searches or interpolates 16-bit floats does it in f32.
//!
//! CPU kernels of contractions, pools, recurrent cells and searches compute in f32. Their 16-bit operands are widened by a
//! `cast` that the kernel before takes as its epilogue or the weights as their own, and their results are rounded once.
//! Pointwise ops, reductions along rows and data movement keep 16 bits: generated code widens single elements.
//!
//! A softmax is spelled as ONNX's function body, whose every step rounds. Its sums accumulate in f32, but a short sum of
//! bf16 rounds after each addition, as the reference does: its last bits show there, and long sums would stall.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Cast, Op, Pad, PadMode, Reduce, ReduceFn, Slice, Softmax, axis_of};
use ic_ir::{Builder, Graph, GraphError, Node, ScalarOp, TensorType, ValueId};
use ic_types::{DType, Dim};

/// See the file's header.
///
/// # Errors
/// If a widened node does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn widen_halves(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    if options.native_halves {
        return Ok(graph.clone());
    }
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let regions = map_regions(node, |region| widen_halves(region, options, report))?;
        let is_widened = is_widened(graph, node);
        if let (Op::Softmax(op), true) = (&node.op, is_widened) {
            softmax(&mut rebuild, node, op)?;
        } else if is_widened {
            widen(&mut rebuild, node)?;
        } else {
            rebuild.copy(node, regions)?;
        }
    }
    Ok(rebuild.finish())
}

/// Whether this pass spells the node otherwise: what it gives is decided there, not by the evaluation of the node.
pub(crate) fn is_widened(graph: &Graph, node: &Node) -> bool {
    let is_half = node.operands.iter().flatten().any(|&v| half(graph, v).is_some());
    is_half && widens(&node.op)
}

/// Whether this pass spells the op on 16-bit floats otherwise.
pub(crate) fn widens(op: &Op) -> bool {
    matches!(op, Op::Softmax(_)) || computes_in_f32(op)
}

/// Whether the op's kernels take f32 and no 16-bit floats.
fn computes_in_f32(op: &Op) -> bool {
    matches!(
        op,
        Op::Matmul(_)
            | Op::Attention(_)
            | Op::ExpertMatmul(_)
            | Op::Experts(_)
            | Op::GatedMatmul(_)
            | Op::Convolution(_)
            | Op::ConvTranspose(_)
            | Op::Pool(_)
            | Op::MaxPoolIndices(_)
            | Op::Resize(_)
            | Op::Lstm(_)
            | Op::Gru(_)
            | Op::Rnn(_)
            | Op::TopK(_)
            | Op::ArgReduce(_)
            | Op::Cumulative(_)
            | Op::Unique(_)
            | Op::GridSample(_)
            | Op::RoiAlign(_)
            | Op::Det(_)
            | Op::Dft(_)
            | Op::Col2Im(_)
            | Op::MaxUnpool(_)
            | Op::NonZero(_)
    )
}

/// The type of a value of 16-bit floats.
fn half(graph: &Graph, value: ValueId) -> Option<DType> {
    let dtype = graph.ty(value).as_tensor().map(|ty: &TensorType| ty.dtype)?;
    matches!(dtype, DType::F16 | DType::BF16).then_some(dtype)
}

fn widen(rebuild: &mut Rebuild, node: &Node) -> Result<(), GraphError> {
    let mut operands = rebuild.operands(node);
    for operand in operands.iter_mut().flatten() {
        if half(&rebuild.new, *operand).is_some() {
            *operand = cast(rebuild, node, *operand, DType::F32)?;
        }
    }
    let results = rebuild.push(node.op.clone(), operands, &node.location)?;
    for (&old, &new) in node.results.iter().zip(&results) {
        let narrow = match half(rebuild.old, old) {
            Some(dtype) => cast(rebuild, node, new, dtype)?,
            None => new,
        };
        rebuild.set(old, narrow);
    }
    Ok(())
}

/// Longest sum of bf16 that rounds after each addition.
const SHORT: i64 = 16;

/// `e / sum(e)` of `e = exp(x - max(x))`.
fn softmax(rebuild: &mut Rebuild, node: &Node, op: &Softmax) -> Result<(), GraphError> {
    let operand = node.operands[0].expect("softmax has an operand");
    let x = rebuild.value(operand);
    let ty = rebuild.new.tensor_ty(x).clone();
    let axis = axis_of(op.axis, ty.rank()).expect("the axis of a typed node is inside");
    let at = &node.location;
    let reduce = |function| Reduce { function, axes: vec![axis], keep_dims: true };
    let max = rebuild.push_one(reduce(ReduceFn::Max), &[x], at)?;
    let below = rebuild.push_one(ScalarOp::Sub, &[x, max], at)?;
    let powers = rebuild.push_one(ScalarOp::Exp, &[below], at)?;
    let extent = &ty.shape[axis];
    let long = |rebuild: &mut Rebuild| rebuild.push_one(reduce(ReduceFn::Sum), &[powers], at);
    let sum = match extent.as_const() {
        _ if ty.dtype != DType::BF16 => long(rebuild)?,
        Some(n @ 1..=SHORT) => short_sum(rebuild, node, powers, axis, n)?,
        Some(_) => long(rebuild)?,
        None => {
            // Zeros behind the end do not change a sum.
            let mut pads = vec![Dim::constant(0); 2 * ty.rank()];
            pads[ty.rank() + axis] = (Dim::constant(SHORT) - extent.clone()).maximum(&Dim::constant(0));
            let padded = rebuild.push_one(Pad { mode: PadMode::Constant, pads }, &[powers], at)?;
            let (short, long) = (short_sum(rebuild, node, padded, axis, SHORT)?, long(rebuild)?);
            let mut builder = Builder { graph: &mut rebuild.new, location: at.clone() };
            let (n, most) = (builder.dims(vec![extent.clone()])?, builder.dims(vec![Dim::constant(SHORT)])?);
            let is_short = rebuild.push_one(ScalarOp::Le, &[n, most], at)?;
            rebuild.push_one(ScalarOp::Select, &[is_short, short, long], at)?
        }
    };
    let shares = rebuild.push_one(ScalarOp::Div, &[powers, sum], at)?;
    rebuild.set(node.results[0], shares);
    Ok(())
}

/// The sum of the first `n` elements of an axis, in their order.
fn short_sum(rebuild: &mut Rebuild, node: &Node, x: ValueId, axis: usize, n: i64) -> Result<ValueId, GraphError> {
    let element = |rebuild: &mut Rebuild, i: i64| {
        let (axes, starts) = (vec![axis], vec![Dim::constant(i)]);
        let slice = Slice { axes, starts, extents: vec![Dim::constant(1)], steps: vec![1] };
        rebuild.push_one(slice, &[x], &node.location)
    };
    let mut sum = element(rebuild, 0)?;
    for i in 1..n {
        let next = element(rebuild, i)?;
        sum = rebuild.push_one(ScalarOp::Add, &[sum, next], &node.location)?;
    }
    Ok(sum)
}

fn cast(rebuild: &mut Rebuild, node: &Node, value: ValueId, to: DType) -> Result<ValueId, GraphError> {
    rebuild.push_one(Cast { to, saturate: true }, &[value], &node.location)
}
