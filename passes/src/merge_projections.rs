//! `merge_projections`: products of one operand with several weights as one product, whose columns are then parts.
//!
//! ```text
//! x · A, x · B, x · C   →   y = x · [A B C];   y[.., a], y[.., b], y[.., c]
//! ```
//!
//! Queries, keys and values of attention are such: `x` is read once, and one kernel takes the place of three. The parts
//! are views, so this holds only where what uses them reads through any strides: attention, and what moves elements on
//! the way to it (rotary embeddings, caches). A product followed by arithmetic alone stays, as that becomes its epilogue,
//! and so does one that is an output, which must be contiguous. Weights may have biases of one element a column; where
//! some have none, theirs is 0.

use crate::known::{build_known, known_values};
use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Concat, Expand, Matmul, Op, Slice};
use ic_ir::{Builder, Graph, GraphError, NodeId, ScalarOp, ValueId};
use ic_types::{DType, Dim};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// See the file's header.
///
/// # Errors
/// If a merged product does not fit together, which is a defect.
pub(crate) fn merge_projections(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let groups = if options.native_compounds { Projections::new(graph).groups() } else { Vec::new() };
    let group_of: HashMap<ValueId, usize> =
        groups.iter().enumerate().flat_map(|(i, group)| group.iter().map(move |part| (part.product, i))).collect();
    let mut rebuild = Rebuild::new(graph);
    let mut merged: Vec<bool> = vec![false; groups.len()];
    for (_, node) in rebuild.live_nodes() {
        if node.results.first().is_some_and(|&result| rebuild.is_built(result)) {
            continue;
        }
        match node.results.first().and_then(|result| group_of.get(result)) {
            Some(&index) if !merged[index] => {
                merged[index] = true;
                merge(&mut rebuild, &groups[index], &node.location)?;
                *report.rules.entry("merge-projections").or_default() += 1;
            }
            Some(_) => {}
            None => {
                let regions = map_regions(node, |region| merge_projections(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// One product of a group.
struct Projection {
    /// The left operand.
    x: ValueId,
    /// The right operand: f32, f16 or bf16, `[K, N]`.
    weight: ValueId,
    /// What is added: `[N]`.
    bias: Option<ValueId>,
    /// The product.
    product: ValueId,
    /// The product, or its sum with the bias.
    result: ValueId,
    /// `N`.
    columns: i64,
}

/// The products of a graph that may merge.
struct Projections<'g> {
    graph: &'g Graph,
    known: Vec<bool>,
    users: Vec<Vec<NodeId>>,
    /// Whether a value is an output or bound to a symbol.
    is_root: Vec<bool>,
}

impl<'g> Projections<'g> {
    fn new(graph: &'g Graph) -> Projections<'g> {
        let mut is_root = vec![false; graph.values().len()];
        graph.roots().for_each(|value| is_root[value.index()] = true);
        Projections { graph, known: known_values(graph), users: graph.users(), is_root }
    }

    /// Products to merge, each list in the graph's order.
    fn groups(&self) -> Vec<Vec<Projection>> {
        let mut groups: BTreeMap<(ValueId, Vec<Dim>), Vec<Projection>> = BTreeMap::new();
        for (_, node) in self.graph.nodes() {
            if let (Op::Matmul(_), [Some(x), Some(weight)]) = (&node.op, node.operands.as_slice())
                && let Some(part) = self.projection(*x, *weight, node.results[0])
            {
                let rows = self.graph.tensor_ty(*weight).shape[..1].to_vec();
                groups.entry((*x, rows)).or_default().push(part);
            }
        }
        groups.into_values().filter(|group| group.len() > 1).collect()
    }

    fn projection(&self, x: ValueId, weight: ValueId, product: ValueId) -> Option<Projection> {
        let ty = self.graph.tensor_ty(weight);
        let [_, columns] = ty.shape.as_slice() else { return None };
        let columns = columns.as_const()?;
        let is_float = matches!(ty.dtype, DType::F32 | DType::F16 | DType::BF16);
        if !is_float || !self.known[weight.index()] || self.known[x.index()] {
            return None;
        }
        let (bias, result) = match self.bias_of(product, columns) {
            Some((bias, sum)) => (Some(bias), sum),
            None => (None, product),
        };
        let is_view = !self.is_root[product.index()] && !self.is_root[result.index()] && self.reads(result)?.moved;
        is_view.then_some(Projection { x, weight, bias, product, result, columns })
    }

    /// What is added to a product that nothing else uses, and the sum.
    fn bias_of(&self, product: ValueId, columns: i64) -> Option<(ValueId, ValueId)> {
        let [user] = self.users[product.index()].as_slice() else { return None };
        let node = self.graph.node(*user);
        let (Op::Pointwise(op), [Some(a), Some(b)]) = (&node.op, node.operands.as_slice()) else { return None };
        let bias = if *a == product { *b } else { *a };
        let ty = self.graph.tensor_ty(bias);
        let fits = ty.rank() == 1 && ty.shape[0].is(columns) && self.known[bias.index()];
        (op.function == ScalarOp::Add && fits).then_some((bias, node.results[0]))
    }

    /// How a value is used, through views; `None` if something needs it to be contiguous.
    fn reads(&self, value: ValueId) -> Option<Reads> {
        let mut reads = Reads { moved: false };
        for &user in &self.users[value.index()] {
            let node = self.graph.node(user);
            match &node.op {
                Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) => {
                    let view = node.results[0];
                    if self.is_root[view.index()] {
                        return None;
                    }
                    reads.moved |= self.reads(view)?.moved;
                }
                Op::Attention(_) | Op::Slice(_) | Op::Concat(_) => reads.moved = true,
                Op::Pointwise(_) => {}
                _ => return None,
            }
        }
        Some(reads)
    }
}

/// How a value is used.
struct Reads {
    /// Whether attention or what moves elements reads it.
    moved: bool,
}

/// Adds the product of a group, and its parts.
fn merge(rebuild: &mut Rebuild, group: &[Projection], location: &Arc<str>) -> Result<(), GraphError> {
    let x = rebuild.value(group[0].x);
    let mut weights = Vec::new();
    for part in group {
        weights.push(build_known(rebuild, part.weight)?);
    }
    let weight = rebuild.push_one(Concat { axis: 1 }, &weights, location)?;
    let mut y = rebuild.push_one(Matmul {}, &[x, weight], location)?;
    if group.iter().any(|part| part.bias.is_some()) {
        let mut biases = Vec::new();
        for part in group {
            biases.push(match part.bias {
                Some(bias) => build_known(rebuild, bias)?,
                None => zeros(rebuild, y, part.columns, location)?,
            });
        }
        let bias = rebuild.push_one(Concat { axis: 0 }, &biases, location)?;
        y = rebuild.push_one(ScalarOp::Add, &[y, bias], location)?;
    }
    let axis = rebuild.new.tensor_ty(y).rank() - 1;
    let mut start = 0;
    for part in group {
        let (starts, extents) = (vec![Dim::constant(start)], vec![Dim::constant(part.columns)]);
        let slice = Slice { axes: vec![axis], starts, extents, steps: vec![1] };
        let view = rebuild.push_one(slice, &[y], location)?;
        // Nothing but the sum uses the product.
        rebuild.set(part.product, view);
        rebuild.set(part.result, view);
        start += part.columns;
    }
    Ok(())
}

/// `[columns]` zeros of the type of `y`.
fn zeros(rebuild: &mut Rebuild, y: ValueId, columns: i64, location: &Arc<str>) -> Result<ValueId, GraphError> {
    let dtype = rebuild.new.dtype(y);
    let zero = Builder { graph: &mut rebuild.new, location: location.clone() }.scalar(dtype, 0.0)?;
    rebuild.push_one(Expand { shape: vec![Dim::constant(columns)] }, &[zero], location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    /// Attention on projections of `columns` of one input, the ones of `biased` with biases.
    fn attention(rows: usize, columns: [usize; 3], biased: u8) -> String {
        let mut text = format!("graph @projections(%x: f32[1, {rows}, 8]) {{\n");
        for (i, n) in columns.into_iter().enumerate() {
            let weight = (0..8 * n).map(|j| (((i * 31 + j) * 7919) % 1013) as f32 / 506.5 - 1.0);
            let weight: Vec<String> = weight.map(|w| format!("{w:?}")).collect();
            text += &format!("  %w{i} = constant() {{value = f32[8, {n}] [{}]}} : f32[8, {n}]\n", weight.join(", "));
            text += &format!("  %p{i} = matmul(%x, %w{i}) : f32[1, {rows}, {n}]\n");
            let bias = 0.25 * (i + 1) as f32;
            if biased >> i & 1 == 1 {
                text += &format!("  %b{i} = constant() {{value = f32[{n}] splat {bias:?}}} : f32[{n}]\n");
                text += &format!("  %s{i} = add(%p{i}, %b{i}) : f32[1, {rows}, {n}]\n");
            }
        }
        let operand = |i: usize| format!("%{}{i}", if biased >> i & 1 == 1 { "s" } else { "p" });
        let [q, k, v] = [0, 1, 2].map(operand);
        text + &format!(
            "  %y = attention({q}, {k}, {v}) {{scale = 0.5}} : f32[1, {rows}, {}]\n  return \"y\" = %y\n}}\n",
            columns[2]
        )
    }

    #[test]
    fn the_parts_are_the_products() {
        for (rows, columns) in [(1, [4, 4, 1]), (3, [5, 5, 16]), (17, [1, 1, 7]), (2, [16, 16, 16])] {
            for biased in 0..8 {
                let graph = ic_ir::text::parse(&attention(rows, columns, biased)).unwrap();
                let mut report = Report::default();
                let merged = merge_projections(&graph, &Options::default(), &mut report).unwrap();
                assert_eq!(ic_ir::verify(&merged), []);
                assert_eq!(report.rules["merge-projections"], 1);
                assert_eq!(merged.nodes().filter(|(_, node)| matches!(node.op, Op::Matmul(_))).count(), 1);
                let x = (0..rows * 8).map(|i| ((i * 7919) % 1013) as f32 / 506.5 - 1.0).collect();
                let x = [Tensor::from_elements(vec![1, rows, 8], x)];
                let [a, b] = [&graph, &merged].map(|g| eval_graph(g, &x, &Default::default()).unwrap());
                assert_eq!(a, b, "{rows} rows, {columns:?} columns, biases {biased:03b}");
            }
        }
    }
}
