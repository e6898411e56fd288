//! `quantize_weights`: the weights of f32 matrix products as integers with scales, as `--quantize w8` and `w4` say.
//!
//! A weight becomes `dequantize(quantize(weight, scale), scale)`, where the scales are constants computed from the weight:
//! what is stored are the integers and the scales, and the kernel makes floats of them as it reads them. Activations and
//! all arithmetic stay f32.
//!
//! - `w8` has 8 bits and a scale for each column, the largest magnitude over 127.
//! - `w4` has 4 bits and a scale for each 128 elements of a column, the last of them perhaps fewer: the largest magnitude
//!   over 7.5, so that the ends, which round to -8 and 7, are off by half a step as all else is.
//!
//! Integers of 4 bits may also be chosen elsewhere, by what the products multiply ([`Options::rounded`]); then they and
//! their scales are constants.
//!
//! Tables that rows are gathered from, norms, biases, filters of convolutions and the *head* keep f32. The head is the
//! product whose right operand is a table of embeddings too, or that is the last one and has thousands of columns: its
//! results are scores, compared with each other to the last digits.

mod moments;

pub use moments::with_moments;

use crate::narrow_weights::constants;
use crate::rebuild::{Rebuild, map_regions};
use crate::{IntegerWeights, Options, PassError, Report, Rounded};
use ic_ir::ops::{Constant, Dequantize, Op, Pad, PadMode, Quantize, Reduce, ReduceFn, Reshape};
use ic_ir::{Graph, GraphError, Literal, Node, NodeId, ScalarOp, ValueId};
use ic_types::{DType, Dim, Tensor};
use std::sync::Arc;

/// Smallest weight that is worth it, in elements.
const MIN_ELEMENTS: i64 = 1 << 10;

/// Columns from which on a last product is a head.
const HEAD_COLUMNS: i64 = 8192;

/// Elements of a column that share a scale in `w4`.
pub const GROUP: usize = 128;

/// The least scale: a column of zeros is 0 times this.
const LEAST_SCALE: f32 = f32::MIN_POSITIVE;

/// See the file's header.
///
/// # Errors
/// If a quantized weight does not fit its product, which is a defect.
pub(crate) fn quantize_weights(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let Some(to) = options.integer_weights else { return Ok(graph.clone()) };
    let policy = Policy::new(graph);
    let mut rebuild = Rebuild::new(graph);
    let mut rounded = options.rounded.iter();
    for (_, node) in rebuild.live_nodes() {
        let Some(weight) = policy.weight_of(node) else {
            let to_nearest = Options { rounded: Vec::new(), ..options.clone() };
            let regions = map_regions(node, |region| quantize_weights(region, &to_nearest, report))?;
            rebuild.copy(node, regions)?;
            continue;
        };
        let wide = match rounded.next() {
            None => nearest(&mut rebuild, weight, to, &node.location)?,
            Some(Rounded::Nearest(to)) => nearest(&mut rebuild, weight, *to, &node.location)?,
            Some(Rounded::Chosen { integers, scales }) => chosen(&mut rebuild, integers, scales, &node.location)?,
        };
        let mut operands = rebuild.operands(node);
        operands[1] = Some(wide);
        let result = rebuild.push(node.op.clone(), operands, &node.location)?[0];
        rebuild.set(node.results[0], result);
        *report.rules.entry("quantize-weight").or_default() += 1;
    }
    Ok(rebuild.finish())
}

/// A matrix product whose weight is stored as integers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// The node.
    pub node: NodeId,
    /// What is multiplied, `[.., K]`.
    pub activation: ValueId,
    /// The weight, `[K, N]`.
    pub weight: ValueId,
}

/// The products of the outermost graph whose weights [`quantize_weights`] stores as integers, in order.
pub fn products(graph: &Graph) -> Vec<Product> {
    let policy = Policy::new(graph);
    let product = |(node, at): (NodeId, &Node)| {
        let weight = policy.weight_of(at)?;
        Some(Product { node, activation: at.operands[0]?, weight })
    };
    Rebuild::new(graph).live_nodes().into_iter().filter_map(product).collect()
}

/// The graph with its weights stored as these say, in the order of [`products`].
///
/// # Errors
/// If integers do not fit their product, which is a defect.
pub fn with_rounded(graph: &Graph, rounded: &[Rounded]) -> Result<Graph, PassError> {
    let options =
        Options { integer_weights: Some(IntegerWeights::I8), rounded: rounded.to_vec(), ..Options::default() };
    quantize_weights(graph, &options, &mut Report::default())
}

/// Which weights are quantized.
pub(crate) struct Policy<'g> {
    graph: &'g Graph,
    constant: Vec<bool>,
    /// Constants of the model that rows are gathered from.
    tables: Vec<ValueId>,
    /// Whether a contraction depends on a value.
    is_contracted: Vec<bool>,
}

impl<'g> Policy<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Policy<'g> {
        let mut is_contracted = vec![false; graph.values().len()];
        let mut tables = Vec::new();
        for (_, node) in graph.nodes().rev() {
            let contracts =
                matches!(node.op, Op::Matmul(_) | Op::GatedMatmul(_) | Op::Convolution(_) | Op::Attention(_));
            if contracts || node.results.iter().any(|r| is_contracted[r.index()]) {
                node.operands.iter().flatten().for_each(|v| is_contracted[v.index()] = true);
            }
            if let (Op::Gather(_), Some(Some(table))) = (&node.op, node.operands.first()) {
                tables.push(origin(graph, *table));
            }
        }
        Policy { graph, constant: constants(graph), tables, is_contracted }
    }

    /// Whether a value depends on constants alone.
    pub(crate) fn is_constant(&self, value: ValueId) -> bool {
        self.constant[value.index()]
    }

    /// The weight of a product that is stored as integers.
    pub(crate) fn weight_of(&self, node: &Node) -> Option<ValueId> {
        let (Op::Matmul(_) | Op::GatedMatmul(_), [_, Some(weight), ..]) = (&node.op, &node.operands[..]) else {
            return None;
        };
        let ty = self.graph.ty(*weight).as_tensor()?;
        let shape = ty.constant_shape().filter(|shape| shape.len() == 2)?;
        let fits = ty.dtype == DType::F32 && shape[0] as i64 * shape[1] as i64 >= MIN_ELEMENTS;
        let known = self.constant[weight.index()] && !self.constant[node.results[0].index()];
        let is_integer = matches!(self.graph.def(*weight)?.op, Op::Dequantize(_));
        let is_last = !self.is_contracted[node.results[0].index()];
        let is_head = is_last && shape[1] as i64 >= HEAD_COLUMNS && shape[1] > 4 * shape[0];
        let is_table = self.tables.contains(&origin(self.graph, *weight));
        (fits && known && !is_integer && !is_head && !is_table).then_some(*weight)
    }
}

/// The value of which `value` is a transposed, reshaped or converted form.
fn origin(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(node) = graph.def(value) {
        match (&node.op, node.operands.first()) {
            (Op::Transpose(_) | Op::Reshape(_) | Op::Cast(_), Some(Some(from))) => value = *from,
            _ => break,
        }
    }
    value
}

/// A weight `[K, N]` as floats from integers that are constants.
fn chosen(rebuild: &mut Rebuild, integers: &Literal, scales: &Literal, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let [integers, scales] = [integers, scales].map(|literal| Constant { value: literal.clone() });
    let integers = rebuild.push_one(integers, &[], at)?;
    let scales = rebuild.push_one(scales, &[], at)?;
    rebuild.push_one(Dequantize { axis: 0, block_size: GROUP, to: DType::F32 }, &[integers, scales], at)
}

/// A weight `[K, N]` as floats from the nearest integers.
fn nearest(rebuild: &mut Rebuild, weight: ValueId, to: IntegerWeights, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let weight = rebuild.value(weight);
    let (to, axis, block_size, scale) = match to {
        IntegerWeights::I8 => (DType::I8, 1, 0, scale_of_columns(rebuild, weight, at)?),
        IntegerWeights::I4 => (DType::I4, 0, GROUP, scale_of_groups(rebuild, weight, at)?),
    };
    let integers = rebuild.push_one(Quantize { axis, block_size, to, saturate: true }, &[weight, scale], at)?;
    rebuild.push_one(Dequantize { axis, block_size, to: DType::F32 }, &[integers, scale], at)
}

/// A scale for each column of a matrix, for 8 bits.
fn scale_of_columns(rebuild: &mut Rebuild, weight: ValueId, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let magnitude = rebuild.push_one(ScalarOp::Abs, &[weight], at)?;
    let largest = Reduce { function: ReduceFn::Max, axes: vec![0], keep_dims: false };
    let largest = rebuild.push_one(largest, &[magnitude], at)?;
    over(rebuild, largest, 127.0, at)
}

/// A scale for each group of rows of each column of a matrix, for 4 bits.
fn scale_of_groups(rebuild: &mut Rebuild, weight: ValueId, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let shape = rebuild.new.tensor_ty(weight).constant_shape().unwrap_or_default();
    let [k, n] = [shape[0] as i64, shape[1] as i64];
    let group = GROUP as i64;
    let groups = k.div_euclid(group) + i64::from(k % group != 0);
    let mut magnitude = rebuild.push_one(ScalarOp::Abs, &[weight], at)?;
    if groups * group != k {
        let pads = [0, 0, groups * group - k, 0].map(Dim::constant).to_vec();
        magnitude = rebuild.push_one(Pad { mode: PadMode::Constant, pads }, &[magnitude], at)?;
    }
    let shape = [groups, group, n].map(Dim::constant).to_vec();
    let grouped = rebuild.push_one(Reshape { shape }, &[magnitude], at)?;
    let largest = Reduce { function: ReduceFn::Max, axes: vec![1], keep_dims: false };
    let largest = rebuild.push_one(largest, &[grouped], at)?;
    over(rebuild, largest, 7.5, at)
}

/// Magnitudes as scales: over the greatest integer.
fn over(rebuild: &mut Rebuild, magnitude: ValueId, integer: f32, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let mut number = |x: f32| {
        let value = Literal::inline(Tensor::from_elements(vec![], vec![x]));
        rebuild.push_one(Constant { value }, &[], at)
    };
    let (integer, least) = (number(integer)?, number(LEAST_SCALE)?);
    let scale = rebuild.push_one(ScalarOp::Div, &[magnitude, integer], at)?;
    rebuild.push_one(ScalarOp::Max, &[scale, least], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;

    fn quantized(text: &str, weights: IntegerWeights) -> (Graph, Graph, usize) {
        let graph = ic_ir::text::parse(text).unwrap();
        let mut report = Report::default();
        let options = Options { integer_weights: Some(weights), ..Options::default() };
        let found = quantize_weights(&graph, &options, &mut report).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        (graph, found, report.rules.get("quantize-weight").copied().unwrap_or(0))
    }

    /// A product with a weight of `[k, n]` that is computed from an input of as many elements.
    fn error(k: usize, n: usize, weights: IntegerWeights) -> f32 {
        let elements: Vec<String> =
            (0..k * n).map(|i| format!("{}", ((i * 7919) % 1013) as f32 / 506.5 - 1.0)).collect();
        let text = format!(
            "graph @product(%x: f32[{k}, {k}]) {{
  %0 = constant() {{value = f32[{k}, {n}] [{}]}} : f32[{k}, {n}]
  %1 = matmul(%x, %0) : f32[{k}, {n}]
  return \"y\" = %1
}}
",
            elements.join(", ")
        );
        let (graph, found, count) = quantized(&text, weights);
        assert_eq!(count, 1);
        // The identity shows the weight.
        let unit = (0..k * k).map(|i| if i % (k + 1) == 0 { 1.0f32 } else { 0.0 }).collect();
        let unit = [Tensor::from_elements(vec![k, k], unit)];
        let [a, b] = [&graph, &found].map(|g| eval_graph(g, &unit, &Default::default()).unwrap().remove(0));
        let pairs = a.elements::<f32>().unwrap().iter().zip(b.elements::<f32>().unwrap());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn weights_are_off_by_half_a_step_at_most() {
        for (k, n) in [(64, 16), (129, 8), (256, 5)] {
            let (eight, four) = (error(k, n, IntegerWeights::I8), error(k, n, IntegerWeights::I4));
            assert!(0.0 < eight && eight <= 0.5001 / 127.0, "{k} by {n}: {eight}");
            assert!(eight < four && four <= 0.5001 / 7.5, "{k} by {n}: {four}");
        }
    }

    #[test]
    fn tables_heads_and_what_is_small_stay() {
        let text = "graph @stays(%ids: i64[3]) {
  %0 = constant() {value = f32[9000, 64] splat 0.1} : f32[9000, 64]
  %1 = gather(%0, %ids) {axis = 0} : f32[3, 64]
  %2 = constant() {value = f32[64, 4] splat 0.3} : f32[64, 4]
  %3 = matmul(%1, %2) : f32[3, 4]
  %4 = transpose(%0) {perm = [1, 0]} : f32[64, 9000]
  %5 = matmul(%1, %4) : f32[3, 9000]
  %6 = constant() {value = f32[64, 8192] splat 0.1} : f32[64, 8192]
  %7 = matmul(%1, %6) : f32[3, 8192]
  return \"a\" = %3, \"b\" = %5, \"c\" = %7
}
";
        let (before, after, n) = quantized(text, IntegerWeights::I8);
        assert_eq!(n, 0);
        assert_eq!(ic_ir::text::print(&before), ic_ir::text::print(&after));
        // What another product reads is no head.
        let inner = text.replace("return", "%8 = transpose(%7) {perm = [1, 0]}\n  %9 = matmul(%7, %8)\n  return");
        assert_eq!(quantized(&inner.replace("\"c\" = %7", "\"c\" = %9"), IntegerWeights::I4).2, 1);
    }

    #[test]
    fn chosen_integers_take_the_place_of_weights() {
        let text = "graph @g(%x: f32[2, 64], %z: f32[2, 64]) {
  %0 = constant() {value = f32[64, 32] splat 0.3} : f32[64, 32]
  %1 = matmul(%x, %0) : f32[2, 32]
  %2 = constant() {value = f32[64, 32] splat 0.7} : f32[64, 32]
  %3 = matmul(%z, %2) : f32[2, 32]
  return \"y\" = %1, \"w\" = %3
}
";
        let graph = ic_ir::text::parse(text).unwrap();
        assert_eq!(products(&graph).len(), 2);
        let integers = Tensor::new(vec![64, 32], ic_types::Data::I4(vec![3; 64 * 32]));
        let scales = Tensor::from_elements(vec![1, 32], vec![0.5f32; 32]);
        let [integers, scales] = [integers, scales].map(Literal::inline);
        let rounded = [Rounded::Nearest(IntegerWeights::I8), Rounded::Chosen { integers, scales }];
        let found = with_rounded(&graph, &rounded).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        let x = Tensor::from_elements(vec![2, 64], vec![1.0f32; 128]);
        let y = eval_graph(&found, &[x.clone(), x], &Default::default()).unwrap();
        let [first, second] = [0, 1].map(|i| y[i].elements::<f32>().unwrap()[0]);
        assert!((first - 64.0 * 0.3).abs() < 1e-3 && second == 96.0, "{first}, {second}");
    }

    #[test]
    fn columns_of_zeros_stay_zeros() {
        let text = "graph @zeros(%x: f32[2, 64]) {
  %0 = constant() {value = f32[64, 32] splat 0.0} : f32[64, 32]
  %1 = matmul(%x, %0) : f32[2, 32]
  return \"y\" = %1
}
";
        let (_, found, n) = quantized(text, IntegerWeights::I4);
        assert_eq!(n, 1);
        let x = Tensor::from_elements(vec![2, 64], vec![1.0f32; 128]);
        let y = eval_graph(&found, &[x], &Default::default()).unwrap().remove(0);
        assert!(y.elements::<f32>().unwrap().iter().all(|&y| y == 0.0));
    }
}
