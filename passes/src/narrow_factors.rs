//! `narrow_factors`: both factors of f32 matrix products rounded to 16 bits, as `--precision` says, where the targets
//! have matrix units for them.
//!
//! A product becomes `cast(matmul(cast(a, f16), cast(b, f16)), f32)`. The inner casts are the epilogue of the kernels
//! before, or what is stored of a weight; the outer one finds the sums in f32, as matrix units accumulate in f32 and
//! kernels round when they store.

use crate::narrow_weights::constants;
use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Cast, Op};
use ic_ir::{Graph, Node};
use ic_types::DType;

/// See the file's header.
///
/// # Errors
/// If a rounded factor does not fit its op, which is a defect.
pub(crate) fn narrow_factors(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let Some(to) = options.precision.half().filter(|_| options.native_halves) else { return Ok(graph.clone()) };
    let constants = constants(graph);
    let is_product = |node: &Node| {
        matches!(node.op, Op::Matmul(_))
            && graph.dtype(node.results[0]) == DType::F32
            && !constants[node.results[0].index()]
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
        for factor in factors.iter_mut().flatten() {
            *factor = rebuild.push_one(Cast { to, saturate: true }, &[*factor], at)?;
        }
        let product = rebuild.push(node.op.clone(), factors, at)?[0];
        let wide = rebuild.push_one(Cast { to: DType::F32, saturate: true }, &[product], at)?;
        rebuild.set(node.results[0], wide);
        *report.rules.entry("narrow-factors").or_default() += 1;
    }
    Ok(rebuild.finish())
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
}
