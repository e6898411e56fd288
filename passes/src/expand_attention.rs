//! `expand_attention`: attention as products and a softmax, for targets that have no kernel for it.
//!
//! Where every target has one, only attention on f64 is expanded. Where every target has one on matrix units, attention of
//! 16-bit floats is kept whose heads are at most 128 wide, and such of f32 is rounded to 16 bits if `--precision` says so.

use crate::rebuild::{Rebuild, map_regions};
use crate::{Options, PassError, Report};
use ic_ir::ops::{Attention, Cast, Iota, Matmul, Op, Reshape, Softmax, Transpose};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Builder, Graph, GraphError, Node, TensorType, ValueId};
use ic_types::{DType, Dim};
use std::sync::Arc;

/// See the file's header.
///
/// # Errors
/// If a node of the expansion does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn expand_attention(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::Attention(op) if has_kernel_if_rounded(graph, node, op, options) => {
                narrow(&mut rebuild, node, options)?;
            }
            Op::Attention(op) if !has_kernel(graph, node, op, options) => expand(&mut rebuild, node, op)?,
            _ => {
                let regions = map_regions(node, |region| expand_attention(region, options, report))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// Whether every target has a kernel for a node.
fn has_kernel(graph: &Graph, node: &Node, op: &Attention, options: &Options) -> bool {
    let dtype = graph.dtype(node.results[0]);
    if options.native_compounds {
        return dtype != DType::F64;
    }
    options.flash_attention && matches!(dtype, DType::F16 | DType::BF16) && is_flash(graph, node, op)
}

/// Whether attention of f32 that `--precision` rounds to 16 bits has a kernel then.
fn has_kernel_if_rounded(graph: &Graph, node: &Node, op: &Attention, options: &Options) -> bool {
    let is_rounded = options.precision.half().is_some() && graph.dtype(node.results[0]) == DType::F32;
    // Numbers that are added to scores may be out of range of 16 bits.
    let adds = |mask: &Option<ValueId>| mask.is_some_and(|mask| graph.dtype(mask) != DType::Bool);
    let is_exact = !node.operands[3..].iter().any(adds);
    options.flash_attention && is_rounded && is_exact && is_flash(graph, node, op)
}

/// Attention of f32 as that of queries, keys and values rounded to 16 bits.
fn narrow(rebuild: &mut Rebuild, node: &Node, options: &Options) -> Result<(), GraphError> {
    let Some(to) = options.precision.half() else { return rebuild.copy(node, Vec::new()) };
    let at = &node.location;
    let mut operands = rebuild.operands(node);
    for operand in operands[..3].iter_mut().flatten() {
        *operand = rebuild.push_one(Cast { to, saturate: true }, &[*operand], at)?;
    }
    let result = rebuild.push(node.op.clone(), operands, at)?[0];
    let wide = rebuild.push_one(Cast { to: DType::F32, saturate: true }, &[result], at)?;
    rebuild.set(node.results[0], wide);
    Ok(())
}

/// Most columns of a head.
const WIDEST_HEAD: i64 = 128;
/// Fewest queries that are worth a tile of matrix units.
const FEWEST_QUERIES: i64 = 16;
/// Hidden keys of this score or less have no weight beside keys that are seen.
const HIDDEN: f32 = -1e4;

/// Whether the kernel on matrix units takes it: heads fit, and what a causal mask hides has no weight in any row.
fn is_flash(graph: &Graph, node: &Node, op: &Attention) -> bool {
    let [Some(q), Some(k), Some(v), ref mask @ ..] = node.operands[..] else { return false };
    let [q, k, v] = [q, k, v].map(|operand| &graph.tensor_ty(operand).shape);
    let fits = |extent: Option<&Dim>| extent.and_then(Dim::as_const).is_some_and(|n| (1..=WIDEST_HEAD).contains(&n));
    let has_keys = k[k.len() - 2].as_const().is_none_or(|n| n > 0);
    let has_queries = q[q.len() - 2].as_const().is_none_or(|m| m >= FEWEST_QUERIES);
    let most = if mask.iter().any(Option::is_some) { f32::NEG_INFINITY } else { HIDDEN };
    let sees_some = |offset: &Dim| offset.lower_bound().is_some_and(|least| least >= 0) && op.fill.0 <= most;
    let is_hidden = op.causal.as_ref().is_none_or(sees_some);
    fits(q.last()) && fits(v.last()) && has_keys && has_queries && is_hidden && op.scale.0 > 0.0
}

/// The nodes of one expansion.
struct Expansion<'r, 'g> {
    rebuild: &'r mut Rebuild<'g>,
    location: Arc<str>,
}

impl Expansion<'_, '_> {
    fn push(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, GraphError> {
        self.rebuild.push_one(op, operands, &self.location)
    }

    fn ty(&self, value: ValueId) -> &TensorType {
        self.rebuild.new.tensor_ty(value)
    }

    fn number(&mut self, dtype: DType, number: f32) -> Result<ValueId, GraphError> {
        let mut builder = Builder { graph: &mut self.rebuild.new, location: self.location.clone() };
        builder.scalar(dtype, number.into())
    }

    /// `x * factor`.
    fn scaled(&mut self, x: ValueId, factor: f32) -> Result<ValueId, GraphError> {
        if factor == 1.0 {
            return Ok(x);
        }
        let factor = self.number(self.ty(x).dtype, factor)?;
        self.push(ScalarOp::Mul, &[x, factor])
    }

    /// Scores of the products of queries and keys, before masks. Of 16-bit floats the queries are scaled, so that products
    /// do not overflow.
    fn scores(&mut self, op: &Attention, q: ValueId, k: ValueId) -> Result<ValueId, GraphError> {
        let (ty, rank) = (self.ty(q).dtype, self.ty(k).rank());
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank - 2, rank - 1);
        let columns = self.push(Transpose { perm }, &[k])?;
        let inner = if op.softcap.0 == 0.0 { op.scale.0 } else { op.scale.0 / op.softcap.0 };
        let products = if matches!(ty, DType::F16 | DType::BF16) {
            let q = self.scaled(q, inner)?;
            self.push(Matmul {}, &[q, columns])?
        } else {
            let products = self.push(Matmul {}, &[q, columns])?;
            self.scaled(products, inner)?
        };
        if op.softcap.0 == 0.0 {
            return Ok(products);
        }
        let limited = self.push(ScalarOp::Tanh, &[products])?;
        self.scaled(limited, op.softcap.0)
    }

    /// Scores with `fill` where `visible` is false.
    fn hidden(&mut self, op: &Attention, scores: ValueId, visible: ValueId) -> Result<ValueId, GraphError> {
        let fill = self.number(self.ty(scores).dtype, op.fill.0)?;
        self.push(ScalarOp::Select, &[visible, scores, fill])
    }

    /// Whether a query, along the last axis but one, may see a key, along the last.
    fn causal(&mut self, scores: ValueId, offset: &Dim) -> Result<ValueId, GraphError> {
        let shape = self.ty(scores).shape.clone();
        let [.., m, n] = shape.as_slice() else { unreachable!("scores have rows and columns") };
        let keys = self.push(Iota { extent: n.clone(), dtype: DType::I64 }, &[])?;
        let rows = self.push(Iota { extent: m.clone(), dtype: DType::I64 }, &[])?;
        let rows = self.push(Reshape { shape: vec![m.clone(), Dim::constant(1)] }, &[rows])?;
        let offset = self.push(ic_ir::ops::Dims { value: vec![offset.clone()] }, &[])?;
        let last = self.push(ScalarOp::Add, &[rows, offset])?;
        self.push(ScalarOp::Le, &[keys, last])
    }
}

fn expand(rebuild: &mut Rebuild, node: &Node, op: &Attention) -> Result<(), GraphError> {
    let operands: Vec<Option<ValueId>> = rebuild.operands(node);
    let [Some(q), Some(k), Some(v), ref mask @ ..] = operands[..] else { unreachable!("three operands are required") };
    let mask = mask.first().copied().flatten();
    let mut at = Expansion { rebuild, location: node.location.clone() };
    let mut scores = at.scores(op, q, k)?;
    if let Some(mask) = mask {
        scores = match at.ty(mask).dtype {
            DType::Bool => at.hidden(op, scores, mask)?,
            _ => at.push(ScalarOp::Add, &[scores, mask])?,
        };
    }
    if let Some(offset) = &op.causal {
        let visible = at.causal(scores, offset)?;
        scores = at.hidden(op, scores, visible)?;
    }
    let mut weights = at.push(Softmax { axis: -1 }, &[scores])?;
    if op.nan_is_zero {
        let (is_nan, zero) = (at.push(ScalarOp::IsNan, &[weights])?, at.number(at.ty(weights).dtype, 0.0)?);
        weights = at.push(ScalarOp::Select, &[is_nan, zero, weights])?;
    }
    let result = at.push(Matmul {}, &[weights, v])?;
    rebuild.set(node.results[0], result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    /// Types of the attention that stays when targets have a kernel for plain attention of halves.
    fn kept(dtype: &str, attrs: &str, mask: &str, precision: Precision) -> Vec<DType> {
        let masked = if mask.is_empty() { String::new() } else { format!(", %m: {mask}") };
        let operand = if mask.is_empty() { "" } else { ", %m" };
        let text = format!(
            "graph @heads(%q: {dtype}[2, S, 64], %k: {dtype}[2, 40, 64]{masked}) {{
  %0 = attention(%q, %k, %k{operand}) {{scale = 0.5{attrs}}} : {dtype}[2, S, 64]
  return \"y\" = %0
}}
"
        );
        let options = Options { native_compounds: false, flash_attention: true, precision, ..Options::default() };
        let graph = expand_attention(&ic_ir::text::parse(&text).unwrap(), &options, &mut Report::default()).unwrap();
        let nodes = graph.nodes().filter(|(_, node)| matches!(node.op, Op::Attention(_)));
        nodes.map(|(_, node)| graph.dtype(node.results[0])).collect()
    }

    #[test]
    fn attention_of_halves_stays() {
        assert_eq!(kept("f16", "", "", Precision::F32), [DType::F16]);
        assert_eq!(kept("bf16", ", causal = 3", "", Precision::F32), [DType::BF16]);
        assert_eq!(kept("f32", "", "", Precision::F16), [DType::F16]);
        assert_eq!(kept("f32", "", "", Precision::F32), []);
        assert_eq!(kept("f16", ", softcap = 2.0", "", Precision::F32), [DType::F16]);
        assert_eq!(kept("f16", ", causal = S", "bool[S, 40]", Precision::F32), [DType::F16]);
        assert_eq!(kept("f32", "", "bool[S, 40]", Precision::F16), [DType::F16]);
        assert_eq!(kept("f32", "", "f32[S, 40]", Precision::F16), []);
        assert_eq!(kept("f16", ", causal = 3, fill = -2.0", "", Precision::F32), []);
        assert_eq!(kept("f16", ", causal = 3, fill = -1e9", "bool[S, 40]", Precision::F32), []);
    }
}
