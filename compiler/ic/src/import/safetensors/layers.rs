//! Layers of transformers as the core ops that PyTorch's exporter spells them with, so that a checkpoint and its ONNX
//! export are one graph.

use super::Result;
use super::config::Config;
use super::weights::Weights;
use ic_ir::ops::{
    Cast, Concat, Constant, Expand, Gather, GatherNd, Iota, LayerNormalization, Matmul, Op, Reshape, Slice, Softmax,
    Transpose,
};
use ic_ir::{Builder, F32, Graph, ScalarOp, TensorType, ValueId};
use ic_types::{DType, Dim, Tensor};
use std::collections::BTreeMap;

/// A model that is being built.
pub(crate) struct Model<'a> {
    /// Its configuration.
    pub(crate) config: &'a Config,
    pub(super) weights: &'a Weights,
    pub(super) graph: Graph,
    /// Values of symbolic dims.
    pub(super) dims: &'a BTreeMap<String, i64>,
    /// Inputs that are constants.
    pub(super) constants: &'a BTreeMap<String, Tensor>,
    /// Names of all symbolic dims, bound or not.
    pub(super) symbols: Vec<&'static str>,
    /// What it computes, by name.
    pub(super) outputs: Vec<(&'static str, ValueId)>,
    /// Node names of what is being added.
    pub(super) location: String,
}

/// Shape and parts of self-attention.
pub(crate) struct Attention<'a> {
    /// Number of heads.
    pub(crate) heads: usize,
    /// Elements of a head.
    pub(crate) head: usize,
    /// Names of the projections of queries, keys, values and results.
    pub(crate) projections: [&'a str; 4],
}

impl Model<'_> {
    /// A symbolic dim, or its value where the user binds it.
    pub(crate) fn dim(&mut self, name: &'static str) -> Dim {
        if !self.symbols.contains(&name) {
            self.symbols.push(name);
        }
        self.dims.get(name).map_or_else(|| Dim::symbol(name), |&extent| Dim::constant(extent))
    }

    /// A size of the configuration.
    ///
    /// # Errors
    /// If it is missing or no size.
    pub(crate) fn size(&self, field: &str) -> Result<usize> {
        Ok(self.config.size(field)?)
    }

    /// The number of heads in the field `heads`, and the elements of a head of a `width`.
    ///
    /// # Errors
    /// If a field is missing, or the heads do not divide the width.
    pub(crate) fn heads(&self, heads: &str, width: &str) -> Result<(usize, usize)> {
        let (n, extent) = (self.size(heads)?, self.size(width)?);
        if extent.is_multiple_of(n) {
            Ok((n, extent / n))
        } else {
            Err(format!("`{heads}` of {n} does not divide `{width}` of {extent}").into())
        }
    }

    /// An i64 input, or the constant that it is to be.
    ///
    /// # Errors
    /// If the constant has another type.
    pub(crate) fn input(&mut self, name: &'static str, shape: &[Dim]) -> Result<ValueId> {
        let ty = TensorType::new(DType::I64, shape.to_vec());
        let Some(tensor) = self.constants.get(name) else { return Ok(self.graph.add_input(name, ty)) };
        let extents: Vec<Option<usize>> = shape.iter().map(|d| d.as_const().map(|d| d as usize)).collect();
        let fits = extents.len() == tensor.rank()
            && extents.iter().zip(tensor.shape()).all(|(a, b)| a.is_none_or(|a| a == *b));
        if tensor.dtype() != DType::I64 || !fits {
            return Err(format!(
                "the constant for input `{name}` is {}{:?}; expected {ty}",
                tensor.dtype(),
                tensor.shape()
            )
            .into());
        }
        self.constant(tensor.clone())
    }

    /// Declares an output.
    pub(crate) fn output(&mut self, name: &'static str, value: ValueId) {
        self.outputs.push((name, value));
    }

    /// Adds a node and returns its first result.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub(crate) fn push(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId> {
        Ok(self.builder().push(op, operands)?)
    }

    fn builder(&mut self) -> Builder<'_> {
        Builder { location: self.location.as_str().into(), graph: &mut self.graph }
    }

    fn constant(&mut self, tensor: Tensor) -> Result<ValueId> {
        Ok(self.builder().constant(tensor)?)
    }

    /// An f32 number.
    ///
    /// # Errors
    /// Never.
    pub(crate) fn scalar(&mut self, value: f64) -> Result<ValueId> {
        Ok(self.builder().scalar(DType::F32, value)?)
    }

    fn shape(&self, value: ValueId) -> Vec<Dim> {
        self.graph.tensor_ty(value).shape.clone()
    }

    /// The elements in another shape.
    ///
    /// # Errors
    /// If the numbers of elements differ.
    pub(crate) fn reshape(&mut self, value: ValueId, shape: &[Dim]) -> Result<ValueId> {
        self.push(Reshape { shape: shape.to_vec() }, &[value])
    }

    /// Axes in another order.
    ///
    /// # Errors
    /// If `perm` is not a permutation of the axes.
    pub(crate) fn transpose(&mut self, value: ValueId, perm: &[usize]) -> Result<ValueId> {
        self.push(Transpose { perm: perm.to_vec() }, &[value])
    }

    /// A tensor of the checkpoint as f32.
    ///
    /// # Errors
    /// If it is not there or cannot be read.
    pub(crate) fn weight(&mut self, name: &str) -> Result<ValueId> {
        let value = self.weights.literal(name)?;
        let dtype = value.dtype;
        let location = std::mem::replace(&mut self.location, name.into());
        let stored = self.push(Constant { value }, &[])?;
        let weight = match dtype {
            DType::F32 => stored,
            _ => self.push(Cast { to: DType::F32, saturate: true }, &[stored])?,
        };
        self.location = location;
        Ok(weight)
    }

    /// Rows of the table `part`.
    ///
    /// # Errors
    /// If the table is not there.
    pub(crate) fn embedding(&mut self, part: &str, indices: ValueId) -> Result<ValueId> {
        self.location = part.into();
        let table = self.weight(&format!("{part}.weight"))?;
        self.push(Gather { axis: 0 }, &[table, indices])
    }

    /// The first rows of the table `part` of `rows` rows, one for each position: `[1, seq, columns]`.
    ///
    /// # Errors
    /// If the table is not there.
    pub(crate) fn positions(&mut self, part: &str, rows: usize, seq: &Dim) -> Result<ValueId> {
        self.location = part.into();
        let ids = self.constant(Tensor::from_elements(vec![1, rows], (0..rows as i64).collect()))?;
        let extent = Dim::constant(rows as i64).minimum(seq);
        let ids = if extent.is(rows as i64) {
            ids
        } else {
            let (axes, starts) = (vec![1], vec![Dim::constant(0)]);
            self.push(Slice { axes, starts, extents: vec![extent], steps: vec![1] }, &[ids])?
        };
        self.embedding(part, ids)
    }

    /// `x · weightᵀ + bias`, with the weights `[outputs, inputs]` of `part`.
    ///
    /// # Errors
    /// If the weights are not there.
    pub(crate) fn linear(&mut self, part: &str, x: ValueId) -> Result<ValueId> {
        let (weight, bias) = (self.weight(&format!("{part}.weight"))?, self.weight(&format!("{part}.bias"))?);
        self.location = part.into();
        let weight = self.transpose(weight, &[1, 0])?;
        let product = self.push(Matmul {}, &[x, weight])?;
        self.push(ScalarOp::Add, &[product, bias])
    }

    /// Layer normalization over the last axis with the scale and bias of `part`.
    ///
    /// # Errors
    /// If the weights are not there.
    pub(crate) fn layer_norm(&mut self, part: &str, x: ValueId, epsilon: f64) -> Result<ValueId> {
        let (scale, bias) = (self.weight(&format!("{part}.weight"))?, self.weight(&format!("{part}.bias"))?);
        self.location = part.into();
        self.push(LayerNormalization { axis: -1, epsilon: F32(epsilon as f32) }, &[x, scale, bias])
    }

    /// Which tokens take part in the attention of which: `[batch, 1, seq, seq]`, of those `[batch, seq]` that are not 0.
    ///
    /// # Errors
    /// If `tokens` has another rank.
    pub(crate) fn attention_mask(&mut self, tokens: ValueId) -> Result<ValueId> {
        self.location = "attention_mask".into();
        let [batch, seq] = self.shape(tokens).try_into().map_err(|_| "the mask is of rank 2".to_string())?;
        let one = Dim::constant(1);
        let takes_part = self.push(Cast { to: DType::Bool, saturate: true }, &[tokens])?;
        let rows = self.push(Iota { extent: batch.clone(), dtype: DType::I64 }, &[])?;
        let columns = self.push(Iota { extent: seq.clone(), dtype: DType::I64 }, &[])?;
        let rows = self.reshape(rows, &[batch.clone(), one.clone(), one.clone(), one.clone()])?;
        let each = self.reshape(columns, &[one.clone(), one.clone(), seq.clone(), one.clone()])?;
        let columns = self.reshape(columns, &[one.clone(), one.clone(), one.clone(), seq.clone()])?;
        let zero = self.constant(Tensor::from_elements(vec![], vec![0i64]))?;
        let always = self.constant(Tensor::from_elements(vec![], vec![true]))?;
        let known = self.push(ScalarOp::Ge, &[each, zero])?;
        let known = self.push(ScalarOp::And, &[always, known])?;
        let shape = vec![batch.clone(), one.clone(), one.clone(), seq.clone()];
        let tuples = vec![batch, one.clone(), one.clone(), seq, one];
        let mut indices = Vec::new();
        for index in [rows, columns] {
            let wide = self.push(Expand { shape: shape.clone() }, &[index])?;
            indices.push(self.reshape(wide, &tuples)?);
        }
        let indices = self.push(Concat { axis: 4 }, &indices)?;
        let takes_part = self.push(GatherNd { batch_dims: 0 }, &[takes_part, indices])?;
        self.push(ScalarOp::And, &[known, takes_part])
    }

    /// Scaled dot-product attention of `x` `[batch, seq, width]` with itself where the mask is true, projected back.
    ///
    /// # Errors
    /// If weights are not there, or `x` has another rank.
    pub(crate) fn self_attention(&mut self, x: ValueId, mask: ValueId, attention: &Attention) -> Result<ValueId> {
        let Attention { heads, head, projections: [query, key, value, out] } = *attention;
        let [batch, seq, width] = self.shape(x).try_into().map_err(|_| "attention is of rank 3".to_string())?;
        let (heads, extent) = (Dim::constant(heads as i64), Dim::constant(head as i64));
        let mut split = Vec::new();
        for part in [query, key, value] {
            let projected = self.linear(part, x)?;
            let parts = self.reshape(projected, &[batch.clone(), seq.clone(), heads.clone(), extent.clone()])?;
            split.push(self.transpose(parts, &[0, 2, 1, 3])?);
        }
        self.location = out.into();
        let scale = self.scalar((1.0 / (head as f64).sqrt()).sqrt())?;
        let flat = self.reshape(split[1], &[batch.clone() * heads.clone(), seq.clone(), extent.clone()])?;
        let turned = self.transpose(flat, &[0, 2, 1])?;
        let keys = self.reshape(turned, &[batch.clone(), heads, extent, seq.clone()])?;
        let queries = self.push(ScalarOp::Mul, &[split[0], scale])?;
        let keys = self.push(ScalarOp::Mul, &[keys, scale])?;
        let (zero, least) = (self.scalar(0.0)?, self.scalar(f64::from(f32::MIN))?);
        let added = self.push(ScalarOp::Select, &[mask, zero, least])?;
        let scores = self.push(Matmul {}, &[queries, keys])?;
        let masked = self.push(ScalarOp::Add, &[scores, added])?;
        let shares = self.push(Softmax { axis: 3 }, &[masked])?;
        // Rows without any token are zero.
        let none = self.push(ScalarOp::IsNan, &[shares])?;
        let shares = self.push(ScalarOp::Select, &[none, zero, shares])?;
        let mixed = self.push(Matmul {}, &[shares, split[2]])?;
        let joined = self.transpose(mixed, &[0, 2, 1, 3])?;
        let joined = self.reshape(joined, &[batch, seq, width])?;
        self.linear(out, joined)
    }

    /// The activation that the configuration's `field` names; `gelu` where it is missing.
    ///
    /// # Errors
    /// If it is not known.
    pub(crate) fn activation(&mut self, field: &str, x: ValueId) -> Result<ValueId> {
        match self.config.text(field, "gelu")? {
            "gelu" => self.gelu(x),
            "relu" => self.push(ScalarOp::Relu, &[x]),
            name => Err(format!("`{field}` is `{name}`; only gelu and relu are supported").into()),
        }
    }

    /// `x · (0.5 · (erf(x / √2) + 1))`.
    fn gelu(&mut self, x: ValueId) -> Result<ValueId> {
        let root = self.scalar(std::f64::consts::SQRT_2)?;
        let (one, half) = (self.scalar(1.0)?, self.scalar(0.5)?);
        let ratio = self.push(ScalarOp::Div, &[x, root])?;
        let erf = self.push(ScalarOp::Erf, &[ratio])?;
        let sum = self.push(ScalarOp::Add, &[erf, one])?;
        let share = self.push(ScalarOp::Mul, &[half, sum])?;
        self.push(ScalarOp::Mul, &[x, share])
    }
}
