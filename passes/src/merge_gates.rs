//! `merge_gates`: two products of one operand, of which a function of the first multiplies the second, as one op.
//!
//! ```text
//! f(x · G) * (x · U)   →   gated_matmul(x, [G0 U0 G1 U1 …])
//! ```
//!
//! This is how gated networks go from their width to that of their inner layer. Neither product is written to memory: the
//! kernel has both sums of a result at hand. Weights are constants of one type whose columns fill whole runs of 16, and
//! products may have biases.

use crate::known::{build_known, known_values};
use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Concat, Expand, GATE_RUN, GateFn, GatedMatmul, Op, Reshape};
use ic_ir::{Builder, Graph, GraphError, Node, NodeId, ScalarOp, ValueId};
use ic_types::{DType, Dim};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the file's header.
///
/// # Errors
/// If a merged product does not fit together, which is a defect.
pub(crate) fn merge_gates(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let gates = Gates::new(graph);
    let mut rebuild = Rebuild::new(graph);
    let live = rebuild.live_nodes();
    let of_node = |(id, node): &(NodeId, &Node)| Some((*id, gates.gated(node)?));
    let gated: BTreeMap<NodeId, Gated> =
        if options.native_compounds { live.iter().filter_map(of_node).collect() } else { BTreeMap::new() };
    let inner: BTreeSet<ValueId> = gated.values().flat_map(|gated| &gated.inner).copied().collect();
    for (id, node) in live {
        if let Some(gated) = gated.get(&id) {
            let merged = merge(&mut rebuild, gated, &node.location)?;
            rebuild.set(node.results[0], merged);
            *report.rules.entry("merge-gates").or_default() += 1;
        } else if !node.results.iter().any(|result| inner.contains(result)) {
            let regions = map_regions(node, |region| merge_gates(region, options, report))?;
            rebuild.copy(node, regions)?;
        }
    }
    Ok(rebuild.finish())
}

/// A product, perhaps with a bias.
struct Product {
    x: ValueId,
    /// `[K, F]`.
    weight: ValueId,
    /// `[F]`.
    bias: Option<ValueId>,
    /// The product, and its sum with the bias.
    inner: Vec<ValueId>,
}

/// `function(gate) * scaled`.
struct Gated {
    function: GateFn,
    gate: Product,
    scaled: Product,
    /// Values that are no longer computed.
    inner: Vec<ValueId>,
}

struct Gates<'g> {
    graph: &'g Graph,
    known: Vec<bool>,
    users: Vec<Vec<NodeId>>,
    /// Whether a value is an output or bound to a symbol.
    is_root: Vec<bool>,
}

impl<'g> Gates<'g> {
    fn new(graph: &'g Graph) -> Gates<'g> {
        let mut is_root = vec![false; graph.values().len()];
        graph.roots().for_each(|value| is_root[value.index()] = true);
        Gates { graph, known: known_values(graph), users: graph.users(), is_root }
    }

    /// What a multiplication is, if it is one of a gate.
    fn gated(&self, node: &Node) -> Option<Gated> {
        let (a, b) = self.binary(node, ScalarOp::Mul)?;
        self.gate(a, b).or_else(|| self.gate(b, a))
    }

    fn gate(&self, activated: ValueId, scaled: ValueId) -> Option<Gated> {
        let Op::Pointwise(op) = &self.graph.def(activated)?.op else { return None };
        let function = GateFn::of(op.function)?;
        let [Some(sum)] = self.graph.def(activated)?.operands[..] else { return None };
        let (gate, scaled) = (self.product(sum)?, self.product(scaled)?);
        let weights = [gate.weight, scaled.weight].map(|weight| self.graph.tensor_ty(weight));
        let is_alike = gate.x == scaled.x && weights[0] == weights[1] && self.is_inner(activated);
        let inner = [&gate.inner[..], &scaled.inner, &[activated]].concat();
        is_alike.then_some(Gated { function, gate, scaled, inner })
    }

    /// The operands of a function of two.
    fn binary(&self, node: &Node, function: ScalarOp) -> Option<(ValueId, ValueId)> {
        match (&node.op, node.operands.as_slice()) {
            (Op::Pointwise(op), [Some(a), Some(b)]) if op.function == function => Some((*a, *b)),
            _ => None,
        }
    }

    /// Whether one node alone uses a value.
    fn is_inner(&self, value: ValueId) -> bool {
        !self.is_root[value.index()] && self.users[value.index()].len() == 1
    }

    /// The product with a weight that fits, with its bias, that `sum` is.
    fn product(&self, sum: ValueId) -> Option<Product> {
        let node = self.graph.def(sum).filter(|_| self.is_inner(sum))?;
        if let (Op::Matmul(_), [Some(x), Some(weight)]) = (&node.op, node.operands.as_slice()) {
            let (x, weight) = (*x, *weight);
            return self.fits(x, weight).then(|| Product { x, weight, bias: None, inner: vec![sum] });
        }
        let (a, b) = self.binary(node, ScalarOp::Add)?;
        let (bias, product) = if self.known[a.index()] { (a, b) } else { (b, a) };
        let product = self.product(product).filter(|product| product.bias.is_none())?;
        let columns = &self.graph.tensor_ty(product.weight).shape[1..];
        let fits = self.known[bias.index()] && self.graph.tensor_ty(bias).shape == columns;
        let inner = [product.inner.as_slice(), &[sum]].concat();
        fits.then_some(Product { bias: Some(bias), inner, ..product })
    }

    fn fits(&self, x: ValueId, weight: ValueId) -> bool {
        let ty = self.graph.tensor_ty(weight);
        let is_float = matches!(ty.dtype, DType::F32 | DType::F16 | DType::BF16);
        let [_, columns] = ty.shape.as_slice() else { return false };
        let is_whole = columns.as_const().is_some_and(|n| n > 0 && n % GATE_RUN as i64 == 0);
        let is_integer = self.graph.def(weight).is_some_and(|node| matches!(node.op, Op::Dequantize(_)));
        is_float && is_whole && !is_integer && self.known[weight.index()] && !self.known[x.index()]
    }
}

/// Adds the op for both products.
fn merge(rebuild: &mut Rebuild, gated: &Gated, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let parts = [&gated.gate, &gated.scaled];
    let x = rebuild.value(gated.gate.x);
    let weights = [build_known(rebuild, parts[0].weight)?, build_known(rebuild, parts[1].weight)?];
    let weight = alternate(rebuild, weights, at)?;
    let mut operands = vec![Some(x), Some(weight), None];
    if parts.iter().any(|part| part.bias.is_some()) {
        let mut biases = [x; 2];
        for (bias, part) in biases.iter_mut().zip(parts) {
            *bias = match part.bias {
                Some(bias) => build_known(rebuild, bias)?,
                None => zeros(rebuild, part.weight, at)?,
            };
        }
        operands[2] = Some(alternate(rebuild, biases, at)?);
    }
    Ok(rebuild.push(GatedMatmul { function: gated.function }.into(), operands, at)?[0])
}

/// Two tensors of one shape as one whose last axis has runs of 16 of the first and of the second in turn.
fn alternate(rebuild: &mut Rebuild, parts: [ValueId; 2], at: &Arc<str>) -> Result<ValueId, GraphError> {
    let shape = rebuild.new.tensor_ty(parts[0]).shape.clone();
    let (columns, outer) = shape.split_last().expect("weights and biases have an axis");
    let run = Dim::constant(GATE_RUN as i64);
    let runs = columns.exact_div(&run).expect("columns fill whole runs");
    let split = [outer, &[runs, Dim::constant(1), run]].concat();
    let mut pieces = parts;
    for piece in &mut pieces {
        *piece = rebuild.push_one(Reshape { shape: split.clone() }, &[*piece], at)?;
    }
    let joined = rebuild.push_one(Concat { axis: split.len() - 2 }, &pieces, at)?;
    let whole = [outer, &[columns.clone() * Dim::constant(2)]].concat();
    rebuild.push_one(Reshape { shape: whole }, &[joined], at)
}

/// As many zeros as the old weight has columns, of its type.
fn zeros(rebuild: &mut Rebuild, weight: ValueId, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let ty = rebuild.old.tensor_ty(weight);
    let (dtype, shape) = (ty.dtype, ty.shape[1..].to_vec());
    let zero = Builder { graph: &mut rebuild.new, location: at.clone() }.scalar(dtype, 0.0)?;
    rebuild.push_one(Expand { shape }, &[zero], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    fn layer(function: &str, rows: usize, f: usize, biased: u8) -> String {
        let constant = |name: &str, shape: &[usize], seed: usize| {
            let n = shape.iter().product();
            let element = |i: usize| format!("{:?}", ((seed * 31 + i) * 7919 % 1013) as f32 / 506.5 - 1.0);
            let list: Vec<String> = (0..n).map(element).collect();
            format!("  %{name} = constant() {{value = f32{shape:?} [{}]}} : f32{shape:?}\n", list.join(", "))
        };
        let ty = format!("f32[2, {rows}, {f}]");
        let mut text = format!("graph @gated(%x: f32[2, {rows}, 5]) {{\n");
        for i in 0..2 {
            text += &constant(&format!("w{i}"), &[5, f], i);
            text += &format!("  %p{i} = matmul(%x, %w{i}) : {ty}\n");
            if biased >> i & 1 == 1 {
                text += &constant(&format!("b{i}"), &[f], i + 2);
                text += &format!("  %s{i} = add(%b{i}, %p{i}) : {ty}\n");
            }
        }
        let sum = |i: usize| if biased >> i & 1 == 1 { format!("%s{i}") } else { format!("%p{i}") };
        let (gate, scaled) = (sum(0), sum(1));
        text + &format!("  %g = {function}({gate}) : {ty}\n  %y = mul({scaled}, %g) : {ty}\n  return \"y\" = %y\n}}\n")
    }

    #[test]
    fn the_result_is_that_of_two_products() {
        for function in ["silu", "gelu", "gelu_tanh", "sigmoid", "relu", "tanh"] {
            for (rows, f) in [(0, 16), (1, 16), (3, 48), (2, 24)] {
                for biased in 0..4 {
                    let graph = ic_ir::text::parse(&layer(function, rows, f, biased)).unwrap();
                    let mut report = Report::default();
                    let merged = merge_gates(&graph, &Options::default(), &mut report).unwrap();
                    assert_eq!(ic_ir::verify(&merged), []);
                    let is_merged = f % 16 == 0 && function != "tanh";
                    assert_eq!(report.rules.contains_key("merge-gates"), is_merged, "{function} {f}");
                    let n = merged.nodes().filter(|(_, node)| matches!(node.op, Op::Matmul(_))).count();
                    assert_eq!(n, if is_merged { 0 } else { 2 });
                    let x = (0..rows * 10).map(|i| ((i * 7919) % 1013) as f32 / 506.5 - 1.0).collect();
                    let x = [Tensor::from_elements(vec![2, rows, 5], x)];
                    let [a, b] = [&graph, &merged].map(|g| eval_graph(g, &x, &Default::default()).unwrap());
                    let pairs = a[0].elements::<f32>().unwrap().iter().zip(b[0].elements::<f32>().unwrap());
                    assert!(
                        pairs.into_iter().all(|(a, b)| (a - b).abs() <= 1e-5),
                        "{function} {rows} {f} {biased:02b}"
                    );
                }
            }
        }
    }
}
