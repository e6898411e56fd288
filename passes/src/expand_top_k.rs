//! `expand_top_k`: the largest elements by how many come before each, for targets that have no kernel for searches.
//!
//! The work grows with the square of the axis; nothing of that size is stored.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Cast, GatherElements, Iota, Op, Reduce, ReduceFn, Reshape, TopK};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Builder, Graph, GraphError, Node, ValueId};
use ic_types::{DType, Dim};

/// See the file's header.
///
/// # Errors
/// If a node of the expansion does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn expand_top_k(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::TopK(op) if !options.native_compounds => expand(&mut rebuild, node, op)?,
            _ => {
                let regions = map_regions(node, |region| expand_top_k(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

fn expand(rebuild: &mut Rebuild, node: &Node, op: &TopK) -> Result<(), GraphError> {
    let operands = rebuild.operands(node);
    let Some(x) = operands[0] else { unreachable!("the operand is required") };
    let mut build = Builder { graph: &mut rebuild.new, location: node.location.clone() };
    let shape = build.ty(x).shape.clone();
    let (axis, extent) = (op.axis, shape[op.axis].clone());
    let folded = || Reduce { function: ReduceFn::Sum, axes: vec![axis + 1], keep_dims: false };
    let (here, other) = (with_axis(&mut build, x, axis + 1)?, with_axis(&mut build, x, axis)?);
    let (place, before) =
        (along(&mut build, &extent, shape.len() - axis)?, along(&mut build, &extent, shape.len() - axis - 1)?);
    let comes_first = precedes(&mut build, op, [other, here], [before, place])?;
    let comes_first = build.push(Cast { to: DType::I32, saturate: true }, &[comes_first])?;
    let rank = build.push(folded(), &[comes_first])?;
    let rank = with_axis(&mut build, rank, axis)?;
    let wanted = along(&mut build, &op.k, shape.len() - axis)?;
    let is_wanted = build.push(ScalarOp::Eq, &[rank, wanted])?;
    let zero = build.scalar(DType::I32, 0.0)?;
    let index = build.push(ScalarOp::Select, &[is_wanted, before, zero])?;
    let index = build.push(folded(), &[index])?;
    let index = build.push(Cast { to: DType::I64, saturate: true }, &[index])?;
    let value = build.push(GatherElements { axis }, &[x, index])?;
    rebuild.set(node.results[0], value);
    rebuild.set(node.results[1], index);
    Ok(())
}

/// The value with an axis of extent 1 before `axis`.
fn with_axis(build: &mut Builder, x: ValueId, axis: usize) -> Result<ValueId, GraphError> {
    let mut shape = build.ty(x).shape.clone();
    shape.insert(axis, Dim::constant(1));
    build.push(Reshape { shape }, &[x])
}

/// Numbers from 0 on along the first of `rank` + 1 axes.
fn along(build: &mut Builder, extent: &Dim, rank: usize) -> Result<ValueId, GraphError> {
    let numbers = build.push(Iota { extent: extent.clone(), dtype: DType::I32 }, &[])?;
    let mut shape = vec![Dim::constant(1); rank + 1];
    shape[0] = extent.clone();
    build.push(Reshape { shape }, &[numbers])
}

/// Whether element `a` at place `i` comes before `b` at place `j`: NaN is the largest, and of equal ones the first comes
/// first.
fn precedes(build: &mut Builder, op: &TopK, [a, b]: [ValueId; 2], [i, j]: [ValueId; 2]) -> Result<ValueId, GraphError> {
    let (low, high) = if op.largest { (b, a) } else { (a, b) };
    let mut is_before = build.push(ScalarOp::Lt, &[low, high])?;
    let mut is_equal = build.push(ScalarOp::Eq, &[a, b])?;
    if build.ty(a).dtype.is_float() {
        let [low, high] = [low, high].map(|x| build.push(ScalarOp::IsNan, &[x]));
        let (low, high) = (low?, high?);
        let both = build.push(ScalarOp::And, &[low, high])?;
        is_equal = build.push(ScalarOp::Or, &[is_equal, both])?;
        let is_number = build.push(ScalarOp::Not, &[low])?;
        let only = build.push(ScalarOp::And, &[is_number, high])?;
        is_before = build.push(ScalarOp::Or, &[is_before, only])?;
    }
    let is_first = build.push(ScalarOp::Lt, &[i, j])?;
    let is_tie = build.push(ScalarOp::And, &[is_equal, is_first])?;
    build.push(ScalarOp::Or, &[is_before, is_tie])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    /// The expansion gives what the op gives, ties and NaN included.
    #[test]
    fn the_expansion_is_the_op() {
        let x: Vec<f32> = [3.0, 1.0, f32::NAN, 3.0, -0.0, 0.0, f32::INFINITY, -2.0, 1.0, f32::NAN, 5.0, 5.0].into();
        for (axis, k) in [(0, 2), (1, 4), (1, 0), (2, 1)] {
            for largest in [true, false] {
                let text = format!(
                    "graph @g(%x: f32[3, 4, 1]) {{
  %v, %i = top_k(%x) {{k = {k}, axis = {axis}, largest = {largest}}}
  return \"v\" = %v, \"i\" = %i
}}
"
                );
                let graph = ic_ir::text::parse(&text).unwrap();
                let options = Options { native_compounds: false, ..Options::default() };
                let expanded = expand_top_k(&graph, &options, &mut Report::default()).unwrap();
                assert!(expanded.nodes().all(|(_, node)| !matches!(node.op, Op::TopK(_))));
                let input = [Tensor::from_elements(vec![3, 4, 1], x.clone())];
                let [want, found] =
                    [&graph, &expanded].map(|graph| eval_graph(graph, &input, &Default::default()).unwrap());
                assert_eq!(format!("{want:?}"), format!("{found:?}"), "{text}");
            }
        }
    }
}
