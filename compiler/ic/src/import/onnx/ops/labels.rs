//! Labels of classifiers of ONNX-ML.

use super::prelude::*;
use super::tree_walk::transformed;
use ic_ir::ops::{ArgFn, ArgReduce};

/// The labels of a classifier.
pub(super) struct Labels {
    /// How many.
    pub(super) n: usize,
    /// The labels, i64 or strings.
    values: ValueId,
}

impl Labels {
    /// The attribute `classlabels_strings`, `classlabels_int64s` or, of linear classifiers, `classlabels_ints`.
    pub(super) fn of(cx: &mut Context, node: &NodeView) -> Result<Labels> {
        if let Some(texts) = node.texts("classlabels_strings").filter(|texts| !texts.is_empty()) {
            return Ok(Labels { n: texts.len(), values: cx.vector(texts)? });
        }
        let ints = node.ints("classlabels_int64s").or(node.ints("classlabels_ints")).filter(|ints| !ints.is_empty());
        let ints = ints.ok_or_else(|| invalid!("there are no labels"))?;
        Ok(Labels { n: ints.len(), values: cx.vector(ints.to_vec())? })
    }

    /// The labels at these places.
    pub(super) fn at(&self, cx: &mut Context, places: ValueId) -> Result<ValueId> {
        cx.gather(self.values, places, 0)
    }

    /// The label of the largest of each row's scores `[rows, labels]`, and the transformed scores.
    pub(super) fn largest(&self, cx: &mut Context, scores: ValueId, transform: &str) -> Results {
        let best = largest(cx, scores)?;
        let label = self.at(cx, best)?;
        let shares = transformed(cx, scores, transform)?;
        Ok(vec![label, cx.cast(shares, DType::F32)?])
    }

    /// The second of two labels where its score `[rows, 1]` is above the middle, and the transformed scores of both.
    /// `is_share` says that the score is a probability.
    pub(super) fn of_two(&self, cx: &mut Context, score: ValueId, transform: &str, is_share: bool) -> Results {
        let is_second = cx.with_scalar(ScalarOp::Gt, score, if is_share { 0.5 } else { 0.0 })?;
        let rows = cx.shape(score)?[0].clone();
        let place = cx.cast(is_second, DType::I64)?;
        let place = cx.reshape(place, vec![rows])?;
        let label = self.at(cx, place)?;
        let first = match is_share {
            true => {
                let one = cx.scalar_like(score, 1.0)?;
                cx.binary(ScalarOp::Sub, one, score)?
            }
            false => cx.unary(ScalarOp::Neg, score)?,
        };
        let mut scores = cx.concat(&[first, score], 1)?;
        if !is_share && transform == "LOGISTIC" {
            scores = cx.unary(ScalarOp::Sigmoid, scores)?;
        }
        Ok(vec![label, cx.cast(scores, DType::F32)?])
    }
}

/// The place of the first of each row's largest scores, `[rows]`.
pub(super) fn largest(cx: &mut Context, scores: ValueId) -> Result<ValueId> {
    let best = cx.push(ArgReduce { function: ArgFn::Argmax, axis: 1, select_last: false }, &[scores])?;
    let rows = cx.shape(scores)?[0].clone();
    cx.reshape(best, vec![rows])
}
