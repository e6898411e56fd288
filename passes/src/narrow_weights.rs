//! `narrow_weights`: the weights of f32 contractions and embeddings rounded to 16 bits, as `--precision` says.
//!
//! A weight becomes `cast(cast(weight, f16), f32)`: what is stored is the inner cast, and the kernel widens it as it reads
//! it. Activations and all arithmetic stay f32. A table that rows are gathered from is stored so too, and the rows are
//! widened. What is not a weight of such an op, a bias for one, keeps f32.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Cast, Op};
use ic_ir::{Graph, GraphError, Node, ValueId};
use ic_types::DType;

/// Smallest weight that is worth it, in elements.
const MIN_ELEMENTS: i64 = 1 << 10;

/// See the file's header.
///
/// # Errors
/// If a rounded weight does not fit its op, which is a defect.
pub(crate) fn narrow_weights(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let Some(to) = options.precision.half() else { return Ok(graph.clone()) };
    let constants = constants(graph);
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        let weight = weight_of(graph, node).filter(|&v| constants[v.index()] && is_wide(graph, v));
        let weight = weight.filter(|_| !constants[node.results[0].index()]);
        let Some(weight) = weight else {
            let regions = map_regions(node, |region| narrow_weights(region, options, report))?;
            rebuild.copy(node, regions)?;
            continue;
        };
        narrow(&mut rebuild, node, weight, to)?;
        *report.rules.entry("narrow-weight").or_default() += 1;
    }
    Ok(rebuild.finish())
}

/// Which values depend on constants alone, by value index.
pub(crate) fn constants(graph: &Graph) -> Vec<bool> {
    let mut constant = vec![false; graph.values().len()];
    for (_, node) in graph.nodes() {
        let known = node.regions.is_empty() && node.operands.iter().flatten().all(|v| constant[v.index()]);
        // A part whose extent is symbolic is not known before dims are bound.
        let is_fixed = |v: ValueId| graph.ty(v).as_tensor().is_some_and(|ty| ty.constant_shape().is_some());
        node.results.iter().for_each(|&r| constant[r.index()] = known && is_fixed(r));
    }
    constant
}

/// The operand of an op that is a weight where it is constant.
fn weight_of(graph: &Graph, node: &Node) -> Option<ValueId> {
    let operand = |index: usize| node.operands.get(index).copied().flatten();
    let rank = |value: ValueId| graph.ty(value).as_tensor().map(|ty| ty.rank());
    match &node.op {
        Op::Matmul(_) | Op::GatedMatmul(_) => operand(1).filter(|&b| rank(b) == Some(2)),
        // A depthwise filter is small and has a kernel of its own.
        Op::Convolution(op) => operand(1).filter(|&w| {
            let shape = &graph.tensor_ty(w).shape;
            !(op.groups > 1 && shape.get(1).is_some_and(|inputs| inputs.is(1)))
        }),
        Op::Gather(op) => operand(0).filter(|&table| op.axis == 0 && rank(table) == Some(2)),
        _ => None,
    }
}

/// Whether a weight is stored in f32, and large.
fn is_wide(graph: &Graph, value: ValueId) -> bool {
    let ty = graph.tensor_ty(value);
    let is_integer = graph.def(value).is_some_and(|node| matches!(node.op, Op::Dequantize(_)));
    !is_integer && ty.dtype == DType::F32 && ty.elements().as_const().is_some_and(|n| n >= MIN_ELEMENTS)
}

fn narrow(rebuild: &mut Rebuild, node: &Node, weight: ValueId, to: DType) -> Result<(), GraphError> {
    let cast =
        |rebuild: &mut Rebuild, value, to| rebuild.push_one(Cast { to, saturate: true }, &[value], &node.location);
    let stored = cast(rebuild, rebuild.value(weight), to)?;
    let operands = rebuild.operands(node);
    let with = |value: ValueId| {
        let index = node.operands.iter().position(|&v| v == Some(weight));
        let replace = |(i, v): (usize, &Option<ValueId>)| if Some(i) == index { Some(value) } else { *v };
        operands.iter().enumerate().map(replace).collect()
    };
    let result = if matches!(node.op, Op::Gather(_)) {
        let rows = rebuild.push(node.op.clone(), with(stored), &node.location)?[0];
        cast(rebuild, rows, DType::F32)?
    } else {
        let wide = cast(rebuild, stored, DType::F32)?;
        rebuild.push(node.op.clone(), with(wide), &node.location)?[0]
    };
    rebuild.set(node.results[0], result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    fn narrowed(text: &str, precision: Precision) -> (Graph, Graph, usize) {
        let graph = ic_ir::text::parse(text).unwrap();
        let mut report = Report::default();
        let options = Options { precision, ..Options::default() };
        let found = narrow_weights(&graph, &options, &mut report).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        (graph, found, report.rules.get("narrow-weight").copied().unwrap_or(0))
    }

    #[test]
    fn weights_of_contractions_and_tables_are_rounded_once() {
        let text = "graph @mlp(%ids: i64[3]) {
  %0 = constant() {value = f32[40, 32] splat 0.1} : f32[40, 32]
  %1 = gather(%0, %ids) {axis = 0} : f32[3, 32]
  %2 = constant() {value = f32[32, 48] splat 0.3} : f32[32, 48]
  %3 = matmul(%1, %2) : f32[3, 48]
  return \"y\" = %3
}
";
        for (precision, round) in [
            (Precision::F16, (|x| ic_types::f16_to_f32(ic_types::f32_to_f16(x))) as fn(f32) -> f32),
            (Precision::BF16, |x| ic_types::bf16_to_f32(ic_types::f32_to_bf16(x))),
        ] {
            let (_, found, n) = narrowed(text, precision);
            assert_eq!(n, 2);
            let ids = Tensor::from_elements(vec![3], vec![0i64, 5, 39]);
            let y = eval_graph(&found, &[ids], &Default::default()).unwrap().remove(0);
            let expected = (32.0 * f64::from(round(0.1)) * f64::from(round(0.3))) as f32;
            assert!(y.elements::<f32>().unwrap().iter().all(|y| (y - expected).abs() < 1e-6), "{y:?}");
        }
        assert_eq!(narrowed(text, Precision::F32).2, 0);
    }

    #[test]
    fn what_is_small_or_no_weight_stays() {
        let text = "graph @stays(%x: f32[1, 64, 9, 9], %w: f32[9, 2000]) {
  %0 = constant() {value = f32[64, 1, 5, 5] splat 0.1} : f32[64, 1, 5, 5]
  %1 = convolution(%x, %0) {strides = [1, 1], pads = [2, 2, 2, 2], dilations = [1, 1], groups = 64} : f32[1, 64, 9, 9]
  %2 = matmul(%1, %w) : f32[1, 64, 9, 2000]
  %3 = constant() {value = f32[2000, 3] splat 0.1} : f32[2000, 3]
  %4 = constant() {value = f32[3, 2] splat 0.1} : f32[3, 2]
  %5 = matmul(%3, %4) : f32[2000, 2]
  %6 = constant() {value = f32[2, 7] splat 0.1} : f32[2, 7]
  %7 = matmul(%5, %6) : f32[2000, 7]
  return \"y\" = %2, \"z\" = %7
}
";
        let (before, after, n) = narrowed(text, Precision::BF16);
        assert_eq!(n, 0);
        assert_eq!(ic_ir::text::print(&before), ic_ir::text::print(&after));
    }
}
