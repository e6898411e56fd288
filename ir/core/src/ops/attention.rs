//! `attention`: scaled dot-product attention. ONNX `Attention`, opset 23 and 24, and what models spell with `MatMul` and
//! `Softmax`.

use super::pointwise::{broadcast_extents, source_index};
use crate::eval::{checked_len, from_reals, reals};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Dim, Tensor};

crate::attrs! {
    /// `softmax(mask(cap(q · kᵀ · scale))) · v`, the softmax along the keys.
    ///
    /// `q [batch…, M, D]`, `k [batch…, N, D]`, `v [batch…, N, E]`, result `[batch…, M, E]`. Batch axes broadcast, so that
    /// several heads of queries share one of keys without copies: `q [B, heads of keys, queries per key, M, D]` and
    /// `k [B, heads of keys, 1, N, D]`.
    ///
    /// The optional mask broadcasts to the scores `[batch…, M, N]`. One of floats is added to them, one of bools replaces
    /// those where it is false by `fill`. A key whose score is -∞ has no part in a row unless all have: the softmax of such
    /// a row is NaN, as `softmax` has it.
    Attention {
        /// What the products are multiplied by.
        scale: F32 = F32(1.0),
        /// If not 0, scaled products `s` become `softcap * tanh(s / softcap)`.
        softcap: F32 = F32(0.0),
        /// If present, query `i` may see the keys `0..=i + causal` only.
        causal: Option<Dim> = None,
        /// The score of a key that a query may not see.
        fill: F32 = F32(f32::NEG_INFINITY),
        /// Whether rows whose softmax is NaN give 0.
        nan_is_zero: bool = false
    }
}

impl OpDef for Attention {
    const OPERANDS: &'static [OperandSpec] = &[
        OperandSpec::required("q"),
        OperandSpec::required("k"),
        OperandSpec::required("v"),
        OperandSpec::optional("mask"),
    ];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (q, k, v) = (x.ty(0)?, x.ty(1)?, x.ty(2)?);
        super::check_float(q, "q")?;
        for ty in [k, v] {
            ensure!(ty.dtype == q.dtype, "operands must have one type, found {} and {}", q.dtype, ty.dtype);
        }
        let ([q_batch @ .., m, d], [k_batch @ .., n, k_width], [v_batch @ .., values, e]) =
            (q.shape.as_slice(), k.shape.as_slice(), v.shape.as_slice())
        else {
            return Err(OpError(format!("operands must have rank 2 or more, found {q}, {k} and {v}")));
        };
        x.equal(d, k_width, "widths of queries and keys")?;
        x.equal(n, values, "numbers of keys and values")?;
        let mut batch = x.broadcast(&x.broadcast(q_batch, k_batch)?, v_batch)?;
        if let Some(mask) = x.opt(3) {
            batch = self.masked_batch(x, mask, q.dtype, &batch, [m, n])?;
        }
        batch.extend([m.clone(), e.clone()]);
        Ok(vec![TensorType::new(q.dtype, batch).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let operands = [x.get(0)?, x.get(1)?, x.get(2)?];
        let [q, k, v] = operands;
        ensure!(operands.iter().all(|t| t.rank() >= 2), "operands must have rank 2 or more");
        let [q_batch, k_batch, v_batch] = operands.map(|t| &t.shape()[..t.rank() - 2]);
        let [[m, d], [n, k_width], [values, e]] = operands.map(|t| [t.shape()[t.rank() - 2], t.shape()[t.rank() - 1]]);
        ensure!(d == k_width && n == values, "queries, keys and values must fit together");
        let causal = self.causal.as_ref().map(|offset| x.dim(offset)).transpose()?;
        let mask = x.opt(3).map(Mask::of).transpose()?;
        let mut batch = broadcast_extents(&broadcast_extents(q_batch, k_batch)?, v_batch)?;
        if let Some(mask) = &mask {
            let whole = broadcast_extents(&[batch.as_slice(), &[m, n]].concat(), &mask.shape)?;
            ensure!(whole.ends_with(&[m, n]), "the mask must broadcast to the scores");
            batch = whole[..whole.len() - 2].to_vec();
        }
        let scores_shape = [batch.as_slice(), &[m, n]].concat();
        let shape = [batch.as_slice(), &[m, e]].concat();
        let (q_values, k_values, v_values) = (reals(q)?, reals(k)?, reals(v)?);
        let mut result = vec![0.0; checked_len(&shape)?];
        for (row, y) in result.chunks_mut(e.max(1)).enumerate() {
            let (i, at) = (row / m, row % m);
            let q_row = &q_values[(source_index(i, &batch, q_batch) * m + at) * d..][..d];
            let keys = &k_values[source_index(i, &batch, k_batch) * n * d..][..n * d];
            let scores = (0..n).map(|j| {
                let products = q_row.iter().zip(&keys[j * d..][..d]);
                let score = self.capped(products.map(|(q, k)| q * k).sum());
                let score = match &mask {
                    Some(mask) => {
                        mask.applied(score, source_index(row * n + j, &scores_shape, &mask.shape), self.fill.0)
                    }
                    None => score,
                };
                let is_visible = causal.is_none_or(|offset| j as i64 <= (at as i64).saturating_add(offset));
                if is_visible { score } else { self.fill.0.into() }
            });
            let values = &v_values[source_index(i, &batch, v_batch) * n * e..][..n * e];
            self.weighted(&scores.collect::<Vec<f64>>(), values, y);
        }
        Ok(vec![from_reals(q.dtype(), shape, result)?])
    }
}

impl Attention {
    /// The batch axes of the result, broadcast with those of the mask.
    fn masked_batch(
        &self,
        x: &Operands,
        mask: &TensorType,
        dtype: DType,
        batch: &[Dim],
        [m, n]: [&Dim; 2],
    ) -> Result<Vec<Dim>, OpError> {
        ensure!(mask.dtype == dtype || mask.dtype == DType::Bool, "`mask` must be {dtype} or bool, found {mask}");
        let (mask_batch, matrix) = mask.shape.split_at(mask.rank().saturating_sub(2));
        for (extent, whole) in matrix.iter().rev().zip([n, m]) {
            let result = x.broadcast(std::slice::from_ref(extent), std::slice::from_ref(whole))?;
            x.equal(whole, &result[0], "extents of the scores and of the mask")?;
        }
        x.broadcast(batch, mask_batch)
    }

    /// The product of a query and a key, scaled and limited.
    fn capped(&self, product: f64) -> f64 {
        let score = product * f64::from(self.scale.0);
        let cap = f64::from(self.softcap.0);
        if cap == 0.0 { score } else { cap * libm::tanh(score / cap) }
    }

    /// The mean of rows of `values` that the softmax of `scores` weighs.
    fn weighted(&self, scores: &[f64], values: &[f64], y: &mut [f64]) {
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| libm::exp(score - max)).collect();
        let total: f64 = weights.iter().sum();
        if self.nan_is_zero && total.is_nan() {
            return;
        }
        for (&weight, row) in weights.iter().zip(values.chunks(y.len())).filter(|(weight, _)| **weight != 0.0) {
            y.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight / total * value);
        }
    }
}

/// A mask and how it changes a score.
struct Mask {
    shape: Vec<usize>,
    kind: MaskKind,
}

enum MaskKind {
    Added(Vec<f64>),
    Visible(Vec<bool>),
}

impl Mask {
    fn of(tensor: &Tensor) -> Result<Mask, OpError> {
        let kind = match tensor.data() {
            Data::Bool(visible) => MaskKind::Visible(visible.clone()),
            _ => MaskKind::Added(reals(tensor)?),
        };
        Ok(Mask { shape: tensor.shape().to_vec(), kind })
    }

    fn applied(&self, score: f64, at: usize, fill: f32) -> f64 {
        match &self.kind {
            MaskKind::Added(terms) => score + terms[at],
            MaskKind::Visible(visible) if visible[at] => score,
            MaskKind::Visible(_) => fill.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Attention {
        Attention { scale: F32(1.0), softcap: F32(0.0), causal: None, fill: F32(f32::NEG_INFINITY), nan_is_zero: false }
    }

    fn eval(op: &Attention, operands: [Option<&Tensor>; 4]) -> Vec<f32> {
        let x = Tensors { operands: operands.to_vec(), regions: &[], symbols: &|_| None };
        op.eval(&x).unwrap().remove(0).elements::<f32>().unwrap().to_vec()
    }

    fn tensor(shape: &[usize], elements: &[f32]) -> Tensor {
        Tensor::from_elements(shape.to_vec(), elements.to_vec())
    }

    #[test]
    fn heads_share_keys_and_equal_scores_give_the_mean() {
        let (q, k) = (tensor(&[2, 1, 1], &[0.0, 50.0]), tensor(&[1, 2, 1], &[0.0, 1.0]));
        let v = tensor(&[1, 2, 1], &[1.0, 3.0]);
        assert_eq!(eval(&plain(), [Some(&q), Some(&k), Some(&v), None]), [2.0, 3.0]);
    }

    #[test]
    fn masks_and_causality_hide_keys() {
        let (q, k) = (tensor(&[2, 1], &[0.0; 2]), tensor(&[2, 1], &[0.0; 2]));
        let v = tensor(&[2, 1], &[1.0, 3.0]);
        let causal = Attention { causal: Some(0.into()), ..plain() };
        assert_eq!(eval(&causal, [Some(&q), Some(&k), Some(&v), None]), [1.0, 2.0]);
        let hidden = Tensor::new(vec![2], Data::Bool(vec![false, true]));
        assert_eq!(eval(&plain(), [Some(&q), Some(&k), Some(&v), Some(&hidden)]), [3.0, 3.0]);
        let added = tensor(&[1, 2], &[f32::NEG_INFINITY; 2]);
        assert!(eval(&plain(), [Some(&q), Some(&k), Some(&v), Some(&added)])[0].is_nan());
        let zero = Attention { nan_is_zero: true, ..plain() };
        assert_eq!(eval(&zero, [Some(&q), Some(&k), Some(&v), Some(&added)]), [0.0, 0.0]);
        let lowest = Attention { fill: F32(-1e4), ..plain() };
        let none = Tensor::new(vec![1], Data::Bool(vec![false]));
        assert_eq!(eval(&lowest, [Some(&q), Some(&k), Some(&v), Some(&none)]), [2.0, 2.0]);
    }
}
