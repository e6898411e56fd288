//! `narrow_factors`: both factors of f32 matrix products and convolutions rounded to 16 bits, as `--precision` says, where
//! the targets have matrix units for them.
//!
//! A product becomes `cast(matmul(cast(a, f16), cast(b, f16)), f32)`. The inner casts are the epilogue of the kernels
//! before, or what is stored of a weight; the outer one finds the sums in f32, as matrix units accumulate in f32 and
//! kernels round when they store. The bias of a convolution is added to those sums. Convolutions of groups stay f32.

use crate::narrow_weights::constants;
use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Cast, Layout, Op, Reshape};
use ic_ir::{Graph, GraphError, Node, ScalarOp, ValueId};
use ic_types::{DType, Dim};
use std::sync::Arc;

/// See the file's header.
///
/// # Errors
/// If a rounded factor does not fit its op, which is a defect.
pub(crate) fn narrow_factors(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let Some(to) = options.precision.half().filter(|_| options.native_halves) else { return Ok(graph.clone()) };
    let constants = constants(graph);
    let is_product = |node: &Node| {
        let is_contraction = match &node.op {
            Op::Matmul(_) => true,
            Op::Convolution(op) => op.groups == 1,
            _ => false,
        };
        is_contraction && graph.dtype(node.results[0]) == DType::F32 && !constants[node.results[0].index()]
    };
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        if !is_product(node) {
            let regions = map_regions(node, |region| narrow_factors(region, options, report))?;
            rebuild.copy(node, regions)?;
            continue;
        }
        let at = &node.location;
        let mut factors = rebuild.operands(node);
        let bias = factors.get_mut(2).and_then(Option::take);
        for factor in factors.iter_mut().flatten() {
            *factor = rebuild.push_one(Cast { to, saturate: true }, &[*factor], at)?;
        }
        let product = rebuild.push(node.op.clone(), factors, at)?[0];
        let mut wide = rebuild.push_one(Cast { to: DType::F32, saturate: true }, &[product], at)?;
        if let Some(bias) = bias {
            let bias = along_channels(&mut rebuild, &node.op, bias, at)?;
            wide = rebuild.push_one(ScalarOp::Add, &[wide, bias], at)?;
        }
        rebuild.set(node.results[0], wide);
        *report.rules.entry("narrow-factors").or_default() += 1;
    }
    Ok(rebuild.finish())
}

/// A bias in a shape that broadcasts along the channels of a convolution's result.
fn along_channels(rebuild: &mut Rebuild, op: &Op, bias: ValueId, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let Op::Convolution(op) = op else { return Ok(bias) };
    if op.layout == Layout::ChannelsLast {
        return Ok(bias);
    }
    let channels = rebuild.new.tensor_ty(bias).shape[0].clone();
    let shape = std::iter::once(channels).chain(op.strides.iter().map(|_| Dim::constant(1))).collect();
    rebuild.push_one(Reshape { shape }, &[bias], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    #[test]
    fn products_are_of_halves_where_there_are_matrix_units() {
        let text = "graph @mlp(%x: f32[3, 32]) {
  %0 = constant() {value = f32[32, 48] splat 0.3} : f32[32, 48]
  %1 = matmul(%x, %0) : f32[3, 48]
  return \"y\" = %1
}
";
        let graph = ic_ir::text::parse(text).unwrap();
        let narrowed = |native_halves| {
            let options = Options { precision: Precision::BF16, native_halves, ..Options::default() };
            let found = narrow_factors(&graph, &options, &mut Report::default()).unwrap();
            assert_eq!(ic_ir::verify(&found), []);
            ic_ir::text::print(&found)
        };
        assert_eq!(narrowed(false), ic_ir::text::print(&graph));
        let found = narrowed(true);
        assert!(found.contains("bf16[3, 48]") && found.contains("bf16[32, 48]"), "{found}");
        assert!(found.contains("{to = f32} : f32[3, 48]"), "{found}");
    }

    #[test]
    fn a_convolution_keeps_its_bias() {
        for (layout, x, y) in [("channels_last", "5, 5, 3", "5, 5, 8"), ("channels_first", "3, 5, 5", "8, 5, 5")] {
            let text = format!(
                "graph @conv(%x: f32[2, {x}], %w: f32[8, 3, 1, 1], %b: f32[8]) {{
  %0 = convolution(%x, %w, %b) {{strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], layout = {layout}}} : f32[2, {y}]
  return \"y\" = %0
}}
"
            );
            let graph = ic_ir::text::parse(&text).unwrap();
            let options = Options { precision: Precision::F16, native_halves: true, ..Options::default() };
            let found = narrow_factors(&graph, &options, &mut Report::default()).unwrap();
            assert_eq!(ic_ir::verify(&found), []);
            let found = ic_ir::text::print(&found);
            assert!(found.contains(&format!("f16[2, {y}]")) && found.contains("add("), "{found}");
            assert!(!found.contains("f16[8]"), "{found}");
        }
    }
}
