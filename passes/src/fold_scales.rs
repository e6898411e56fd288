//! `fold_scales`: the scale of a quantization folded into the constants of what it quantizes.
//!
//! ```text
//! quantize(x * c + b, s)                   →   quantize(x * (c / s) + b / s, 1)
//! quantize(x * c + dequantize(q, t), s)    →   quantize(x * (c / s) + dequantize(q, t / s), 1)
//! ```
//!
//! So no element is divided. This is the arithmetic of ONNX's `QLinearConv`, whose sums are multiplied once. Quotients are
//! rounded in other places, so `--fp strict` divides.

use crate::canonicalize::splat;
use crate::fold_constants::folded;
use crate::rebuild::{Rebuild, map_regions, prune};
use crate::{FpMode, Options, PassError, Report};
use ic_ir::ops::{Constant, Dequantize, Quantize};
use ic_ir::{Graph, GraphError, Literal, Node, Op, ScalarOp, ValueId};
use ic_types::{DType, Data, Tensor};
use std::sync::Arc;

/// See the file's header.
///
/// # Errors
/// Never for a sound graph.
pub(crate) fn fold_scales(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let uses = Uses::new(graph);
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::Quantize(op) if options.fp >= FpMode::Default && uses.folds(op, node) => {
                let result = quantize(&mut rebuild, op, node)?;
                rebuild.set(node.results[0], result);
                *report.rules.entry("fold-scale").or_default() += 1;
            }
            _ => {
                let regions = map_regions(node, |region| fold_scales(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(prune(&rebuild.finish())?)
}

/// A graph, and how often each of its values is used.
struct Uses<'a> {
    graph: &'a Graph,
    counts: Vec<usize>,
}

impl<'a> Uses<'a> {
    fn new(graph: &'a Graph) -> Uses<'a> {
        let mut counts = vec![0; graph.values().len()];
        for (_, node) in Rebuild::new(graph).live_nodes() {
            node.operands.iter().flatten().for_each(|v| counts[v.index()] += 1);
        }
        graph.roots().for_each(|v| counts[v.index()] += 1);
        Uses { graph, counts }
    }

    /// Whether a quantization to bytes with one known scale, other than 1, is of what takes its scale.
    fn folds(&self, op: &Quantize, node: &Node) -> bool {
        let [Some(x), Some(scale), ..] = node.operands[..] else { return false };
        let is_plain = matches!(op.to, DType::U8 | DType::I8) && op.block_size == 0;
        let scale = self.divisor(scale).filter(|&scale| scale > 0.0 && scale != 1.0);
        is_plain && scale.is_some_and(|scale| self.takes(x, scale) && self.graph.constant(x).is_none())
    }

    /// The f32 number that a constant of one element is.
    fn divisor(&self, scale: ValueId) -> Option<f32> {
        let ty = self.graph.tensor_ty(scale);
        let number = splat(self.graph, scale).filter(|_| ty.dtype == DType::F32 && ty.elements().is(1))?;
        Some(number as f32)
    }

    /// Whether `value`, divided by `scale`, is computed as it is from other constants.
    fn takes(&self, value: ValueId, scale: f32) -> bool {
        if self.graph.constant(value).is_some() {
            return self.divides(value, scale);
        }
        let Some(node) = self.graph.def(value) else { return false };
        let is_single = self.counts[value.index()] == 1;
        match (&node.op, &node.operands[..]) {
            (Op::Dequantize(op), [_, Some(by), ..]) => {
                op.block_size == 0 && op.to == DType::F32 && self.divides(*by, scale)
            }
            (Op::Pointwise(op), [Some(a), Some(b)]) if is_single => match op.function {
                ScalarOp::Add | ScalarOp::Sub | ScalarOp::Max | ScalarOp::Min => {
                    self.takes(*a, scale) && self.takes(*b, scale)
                }
                ScalarOp::Mul => self.factor([*a, *b]).is_some_and(|factor| self.divides(factor, scale)),
                _ => false,
            },
            (Op::Pointwise(op), [Some(x)]) if is_single => op.function == ScalarOp::Relu && self.takes(*x, scale),
            _ => false,
        }
    }

    /// The factor of a product that is a constant.
    fn factor(&self, factors: [ValueId; 2]) -> Option<ValueId> {
        factors.into_iter().find(|&factor| self.graph.constant(factor).is_some())
    }

    /// Whether the quotients of a constant of f32 and `scale` are as exact as its elements.
    fn divides(&self, value: ValueId, scale: f32) -> bool {
        let elements = self.graph.constant(value).and_then(Literal::as_inline);
        let is_kept = |&x: &f32| x == 0.0 || (x.is_normal() && (x / scale).is_normal());
        matches!(elements, Some(Data::F32(elements)) if elements.iter().all(is_kept))
    }
}

/// The quantization with a scale of 1.
fn quantize(rebuild: &mut Rebuild, op: &Quantize, node: &Node) -> Result<ValueId, GraphError> {
    let at = &node.location;
    let mut operands = rebuild.operands(node);
    let (Some(x), Some(scale)) = (node.operands[0], operands[1]) else { unreachable!("required operands are present") };
    operands[0] = Some(divided(rebuild, x, scale, at)?);
    let one = Tensor::new(vec![], Data::F32(vec![1.0]));
    operands[1] = Some(rebuild.push_one(Constant { value: Literal::inline(one) }, &[], at)?);
    Ok(rebuild.push(op.clone().into(), operands, at)?[0])
}

/// What the old `value` is, divided by `scale`: see [`Uses::takes`].
fn divided(rebuild: &mut Rebuild, value: ValueId, scale: ValueId, at: &Arc<str>) -> Result<ValueId, GraphError> {
    let graph = rebuild.old;
    let quotient = |rebuild: &mut Rebuild, constant: ValueId| {
        let constant = rebuild.value(constant);
        let value = rebuild.push_one(ScalarOp::Div, &[constant, scale], at)?;
        Ok(folded(rebuild, value, &ScalarOp::Div.into(), at)?.unwrap_or(value))
    };
    let node = match graph.def(value) {
        Some(node) if !matches!(node.op, Op::Constant(_)) => node,
        _ => return quotient(rebuild, value),
    };
    let mut operands = rebuild.operands(node);
    let constant = |i: &usize| node.operands[*i].is_some_and(|v| graph.constant(v).is_some());
    let taking = match &node.op {
        Op::Dequantize(Dequantize { .. }) => 1..2,
        Op::Pointwise(op) if op.function == ScalarOp::Mul => {
            let factor = (0..2).find(constant).expect("a factor is a constant");
            factor..factor + 1
        }
        _ => 0..operands.len(),
    };
    for i in taking {
        let operand = node.operands[i].expect("required operands are present");
        operands[i] = Some(match node.op {
            Op::Dequantize(_) => quotient(rebuild, operand)?,
            _ => divided(rebuild, operand, scale, at)?,
        });
    }
    Ok(rebuild.push(node.op.clone(), operands, &node.location)?[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;

    /// A quantization of `body`, which defines `%q` from the sums `%x` and the bytes `%r`.
    fn graph(body: &str, scale: &str) -> Graph {
        let text = format!(
            "graph @one(%x: i32[N, 4], %r: u8[N, 4]) {{
  %f = cast(%x) {{to = f32}} : f32[N, 4]
  %c = constant() {{value = f32[4] [0.5, 0.25, -2.0, 0.0]}} : f32[4]
  %b = constant() {{value = f32[4] [1.5, -3.25, 20.0, 7.0]}} : f32[4]
  %t = constant() {{value = f32[] [0.75]}} : f32[]
  %z = constant() {{value = u8[] [9]}} : u8[]
  %s = constant() {{value = f32[] [{scale}]}} : f32[]
{body}
  %y = quantize(%q, %s, %z) {{axis = 0, to = u8}} : u8[N, 4]
  return \"y\" = %y
}}
"
        );
        ic_ir::text::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    const BIASED: &str = "  %m = mul(%f, %c) : f32[N, 4]
  %q = add(%m, %b) : f32[N, 4]";

    const RESIDUAL: &str = "  %m = mul(%f, %c) : f32[N, 4]
  %n = add(%m, %b) : f32[N, 4]
  %p = relu(%n) : f32[N, 4]
  %d = dequantize(%r, %t, %z) {axis = 0} : f32[N, 4]
  %q = add(%p, %d) : f32[N, 4]";

    fn folded(graph: &Graph, fp: FpMode) -> Graph {
        let found = fold_scales(graph, &Options { fp, ..Options::default() }, &mut Report::default()).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        found
    }

    /// The scales of what is quantized.
    fn scales(graph: &Graph) -> Vec<f64> {
        let quantized = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Quantize(_)));
        quantized.filter_map(|(_, node)| splat(graph, node.operands[1]?)).collect()
    }

    #[test]
    fn products_sums_and_residuals_take_the_scale() {
        for body in [BIASED, RESIDUAL] {
            // A power of 2 rounds nowhere.
            let graph = graph(body, "0.25");
            let found = folded(&graph, FpMode::Default);
            assert_eq!(scales(&found), [1.0]);
            let sums: Vec<i32> = (0..20).map(|i| i * i * 7 - 500).collect();
            let bytes: Vec<u8> = (0..20).map(|i| i * 12 + 3).collect();
            let inputs = [Tensor::from_elements(vec![5, 4], sums), Tensor::from_elements(vec![5, 4], bytes)];
            let run = |graph: &Graph| eval_graph(graph, &inputs, &Default::default()).unwrap().remove(0);
            assert_eq!(run(&graph), run(&found));
        }
    }

    #[test]
    fn others_keep_it() {
        let kept = |body: &str, scale: &str, fp| {
            scales(&folded(&graph(body, scale), fp)) == [scale.parse::<f32>().unwrap().into()]
        };
        assert!(kept(BIASED, "0.25", FpMode::Strict));
        let plain = "  %q = add(%f, %b) : f32[N, 4]";
        let shared = "  %m = mul(%f, %c) : f32[N, 4]
  %q = add(%m, %m) : f32[N, 4]";
        let curved = "  %m = mul(%f, %c) : f32[N, 4]
  %q = tanh(%m) : f32[N, 4]";
        for body in [plain, shared, curved] {
            assert!(kept(body, "0.25", FpMode::Default), "{body}");
        }
        // Quotients that are infinite or subnormal.
        assert!(kept(BIASED, "1e-39", FpMode::Default));
        assert!(kept(BIASED, "3e38", FpMode::Default));
    }
}
