//! `expand_experts`: mixtures of experts as gathers and products, for targets that have no kernel for them.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Experts, Gather, Matmul, Op, Reduce, ReduceFn, Reshape, Slice};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Graph, GraphError, Node, ValueId};
use ic_types::{DType, Dim};

/// See the file's header.
///
/// # Errors
/// If a node of the expansion does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn expand_experts(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let is_expanded = !options.native_compounds || is_f64(graph, node);
        match &node.op {
            Op::ExpertMatmul(_) if is_expanded => {
                let [x, w, index] = operands(&rebuild, node);
                let result = product(&mut rebuild, node, x, w, index)?;
                rebuild.set(node.results[0], result);
            }
            Op::Experts(op) if is_expanded => {
                let result = layer(&mut rebuild, node, op)?;
                rebuild.set(node.results[0], result);
            }
            _ => {
                let regions = map_regions(node, |region| expand_experts(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

fn is_f64(graph: &Graph, node: &Node) -> bool {
    node.results.iter().any(|&result| graph.ty(result).as_tensor().is_some_and(|ty| ty.dtype == DType::F64))
}

/// The operands of a node that requires them all.
fn operands<const N: usize>(rebuild: &Rebuild, node: &Node) -> [ValueId; N] {
    let operands = rebuild.operands(node);
    std::array::from_fn(|i| operands[i].expect("the verifier has checked required operands"))
}

/// `x[r] · w[index[r]]` by a gather of matrices.
fn product(rebuild: &mut Rebuild, node: &Node, x: ValueId, w: ValueId, index: ValueId) -> Result<ValueId, GraphError> {
    let at = &node.location;
    let [rows, k] = [0, 1].map(|axis| rebuild.new.tensor_ty(x).shape[axis].clone());
    let n = rebuild.new.tensor_ty(w).shape[2].clone();
    let chosen = rebuild.push_one(Gather { axis: 0 }, &[w, index], at)?;
    let lines = rebuild.push_one(Reshape { shape: vec![rows.clone(), Dim::constant(1), k] }, &[x], at)?;
    let products = rebuild.push_one(Matmul {}, &[lines, chosen], at)?;
    rebuild.push_one(Reshape { shape: vec![rows, n] }, &[products], at)
}

/// A layer: two products of all choices of all tokens, the activation between them, and the weighted sum.
fn layer(rebuild: &mut Rebuild, node: &Node, op: &Experts) -> Result<ValueId, GraphError> {
    let at = &node.location;
    let [x, index, weight, w_in, w_out] = operands(rebuild, node);
    let [tokens, choices, k] = [0, 1, 2].map(|axis| rebuild.new.tensor_ty(x).shape[axis].clone());
    let [f, n] = [1, 2].map(|axis| rebuild.new.tensor_ty(w_out).shape[axis].clone());
    let rows = tokens.clone() * choices.clone();
    let x = rebuild.push_one(Reshape { shape: vec![rows.clone(), k] }, &[x], at)?;
    let index = rebuild.push_one(Reshape { shape: vec![rows.clone()] }, &[index], at)?;
    let inner = product(rebuild, node, x, w_in, index)?;
    let hidden = if op.gated {
        let half = |start: Dim| Slice { axes: vec![1], starts: vec![start], extents: vec![f.clone()], steps: vec![1] };
        let first = rebuild.push_one(half(Dim::constant(0)), &[inner], at)?;
        let second = rebuild.push_one(half(f.clone()), &[inner], at)?;
        let active = rebuild.push_one(op.activation.function(), &[first], at)?;
        rebuild.push_one(ScalarOp::Mul, &[active, second], at)?
    } else {
        rebuild.push_one(op.activation.function(), &[inner], at)?
    };
    let products = product(rebuild, node, hidden, w_out, index)?;
    let apart = rebuild.push_one(Reshape { shape: vec![tokens.clone(), choices.clone(), n] }, &[products], at)?;
    let weight = rebuild.push_one(Reshape { shape: vec![tokens, choices, Dim::constant(1)] }, &[weight], at)?;
    let weighed = rebuild.push_one(ScalarOp::Mul, &[apart, weight], at)?;
    rebuild.push_one(Reduce { function: ReduceFn::Sum, axes: vec![1], keep_dims: false }, &[weighed], at)
}
