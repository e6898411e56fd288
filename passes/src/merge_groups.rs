//! `merge_groups`: convolutions in narrow groups as ones in groups that fill a vector.
//!
//! A group of four filters leaves twelve of the sixteen lanes of a panel empty, and its sums run over four channels at a
//! time. Several groups together, with filters that are zero for the others' channels, take as many multiplications, none
//! of them more memory, and run over longer stretches of channels. A product of zero and infinity is NaN, so `--fp strict`
//! keeps all as they are. Depthwise convolutions have a kernel of their own.

use crate::known::known_values;
use crate::rebuild::{Rebuild, map_regions};
use crate::{FpMode, Options, PassError, Report};
use ic_ir::ops::{Constant, Convolution, Reshape};
use ic_ir::{Graph, GraphError, Literal, Node, Op, ScalarOp, ValueId};
use ic_types::{DType, Dim, Tensor};

/// Filters of a panel of weights.
const PANEL: usize = 16;

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn merge_groups(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let is_wanted = options.fp >= FpMode::Default && options.native_compounds;
    let known = known_values(graph);
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let merged = match &node.op {
            Op::Convolution(op) if is_wanted => merged(graph, op, node, &known).map(|m| (op, m)),
            _ => None,
        };
        if let Some((op, merged)) = merged {
            let mut operands = rebuild.operands(node);
            operands[1] = operands[1].map(|w| block_diagonal(&mut rebuild, node, w, merged)).transpose()?;
            let op = Convolution { groups: op.groups / merged, ..op.clone() };
            let result = rebuild.push(op.into(), operands, &node.location)?[0];
            rebuild.set(node.results[0], result);
            *report.rules.entry("merge-groups").or_default() += 1;
        } else {
            let regions = map_regions(node, |region| merge_groups(region, options, report))?;
            rebuild.copy(node, regions)?;
        }
    }
    Ok(rebuild.finish())
}

/// How many groups of a convolution fill a panel, if several do and it is one of f32 over images with known weights.
fn merged(graph: &Graph, op: &Convolution, node: &Node, known: &[bool]) -> Option<usize> {
    let w = node.operands[1]?;
    let weight = graph.tensor_ty(w);
    let &[filters, inputs, _, _] = weight.constant_shape()?.as_slice() else { return None };
    let outputs = filters.checked_div(op.groups)?;
    let is_depthwise = inputs == 1 && outputs == 1;
    if !known[w.index()] || weight.dtype != DType::F32 || is_depthwise || outputs == 0 {
        return None;
    }
    (2..=PANEL / outputs).rev().find(|&m| op.groups.is_multiple_of(m))
}

/// Weights `[O, I, kernel…]` of groups as `[O, merged · I, kernel…]`, zero where a filter is of another group.
fn block_diagonal(rebuild: &mut Rebuild, node: &Node, w: ValueId, merged: usize) -> Result<ValueId, GraphError> {
    let at = &node.location;
    let shape = rebuild.new.tensor_ty(w).shape.clone();
    let Op::Convolution(op) = &node.op else { unreachable!("the caller has matched it") };
    let dim = |n: usize| Dim::constant(n as i64);
    let filters = shape[0].as_const().unwrap_or(0) as usize;
    let apart = [dim(op.groups / merged), dim(merged), dim(filters / op.groups), dim(1)];
    let apart = apart.into_iter().chain(shape[1..].iter().cloned()).collect();
    let blocks = rebuild.push_one(Reshape { shape: apart }, &[w], at)?;
    let is_own = (0..merged * merged).map(|i| if i / merged == i % merged { 1f32 } else { 0.0 }).collect();
    let is_own = Tensor::from_elements(vec![merged, 1, merged, 1, 1, 1], is_own);
    let is_own = rebuild.push_one(Constant { value: Literal::inline(is_own) }, &[], at)?;
    let blocks = rebuild.push_one(ScalarOp::Mul, &[blocks, is_own], at)?;
    let mut joined = shape;
    joined[1] = joined[1].clone() * dim(merged);
    rebuild.push_one(Reshape { shape: joined }, &[blocks], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;

    /// Filters of 3 by 1 for groups of these widths.
    fn graph([groups, inputs, outputs]: [usize; 3]) -> Graph {
        let (c, o) = (groups * inputs, groups * outputs);
        let weights: Vec<String> = (0..o * inputs * 3).map(|i| format!("{:?}", ((i * 7) % 13) as f32 - 6.0)).collect();
        let text = format!(
            "graph @groups(%x: f32[N, {c}, 4, 2], %b: f32[{o}]) {{
  %0 = constant() {{value = f32[{o}, {inputs}, 3, 1] [{}]}} : f32[{o}, {inputs}, 3, 1]
  %1 = convolution(%x, %0, %b) {{strides = [1, 1], pads = [1, 0, 1, 0], dilations = [1, 1], groups = {groups}}} : \
             f32[N, {o}, 4, 2]
  return \"y\" = %1
}}
",
            weights.join(", ")
        );
        ic_ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    fn groups(graph: &Graph) -> Option<usize> {
        graph.nodes().find_map(|(_, node)| match &node.op {
            Op::Convolution(op) => Some(op.groups),
            _ => None,
        })
    }

    #[test]
    fn groups_are_merged_until_they_fill_a_panel() {
        let cases = [
            ([8, 4, 4], 2),
            ([6, 2, 4], 2),
            ([4, 8, 8], 2),
            ([3, 1, 8], 3),
            ([5, 1, 2], 1),
            ([4, 4, 16], 4),
            ([4, 1, 1], 4),
        ];
        for (widths, expected) in cases {
            let graph = graph(widths);
            let merge =
                |fp| merge_groups(&graph, &Options { fp, ..Options::default() }, &mut Report::default()).unwrap();
            let found = merge(FpMode::Default);
            assert_eq!(ic_ir::verify(&found), []);
            assert_eq!(groups(&found), Some(expected), "{widths:?}");
            assert_eq!(groups(&merge(FpMode::Strict)), Some(widths[0]));
            let [c, o] = [widths[0] * widths[1], widths[0] * widths[2]];
            let x = Tensor::from_elements(vec![2, c, 4, 2], (0..16 * c).map(|i| ((i * 5) % 17) as f32 - 8.0).collect());
            let bias = Tensor::from_elements(vec![o], (0..o).map(|i| i as f32).collect());
            let run =
                |graph: &Graph| eval_graph(graph, &[x.clone(), bias.clone()], &Default::default()).unwrap().remove(0);
            assert_eq!(run(&graph), run(&found), "{widths:?}");
        }
    }
}
