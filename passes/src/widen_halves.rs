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
use ic_ir::ops::{Cast, Op, Reduce, ReduceFn, Slice, Softmax, axis_of};
use ic_ir::{Graph, GraphError, Node, ScalarOp, TensorType, ValueId};
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
        let is_half = node.operands.iter().flatten().any(|&v| half(graph, v).is_some());
        if let (Op::Softmax(op), true) = (&node.op, is_half) {
            softmax(&mut rebuild, node, op)?;
        } else if computes_in_f32(&node.op) && is_half {
            widen(&mut rebuild, node)?;
        } else {
            rebuild.copy(node, regions)?;
        }
    }
    Ok(rebuild.finish())
}

/// Whether the op's kernels take f32 and no 16-bit floats.
fn computes_in_f32(op: &Op) -> bool {
    matches!(
        op,
        Op::Matmul(_)
            | Op::Attention(_)
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
    let extent = ty.shape[axis].as_const().filter(|extent| ty.dtype == DType::BF16 && (1..=SHORT).contains(extent));
    let sum = match extent {
        None => rebuild.push_one(reduce(ReduceFn::Sum), &[powers], at)?,
        Some(extent) => {
            let element = |rebuild: &mut Rebuild, i: i64| {
                let (axes, starts) = (vec![axis], vec![Dim::constant(i)]);
                let slice = Slice { axes, starts, extents: vec![Dim::constant(1)], steps: vec![1] };
                rebuild.push_one(slice, &[powers], at)
            };
            let mut sum = element(rebuild, 0)?;
            for i in 1..extent {
                let next = element(rebuild, i)?;
                sum = rebuild.push_one(ScalarOp::Add, &[sum, next], at)?;
            }
            sum
        }
    };
    let shares = rebuild.push_one(ScalarOp::Div, &[powers, sum], at)?;
    rebuild.set(node.results[0], shares);
    Ok(())
}

fn cast(rebuild: &mut Rebuild, node: &Node, value: ValueId, to: DType) -> Result<ValueId, GraphError> {
    rebuild.push_one(Cast { to, saturate: true }, &[value], &node.location)
}
