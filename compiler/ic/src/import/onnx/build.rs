//! Short spellings for the core ops that importers of ONNX ops build.

use super::context::Context;
use super::error::{Result, unsupported};
use ic_ir::ops::{
    Cast, Concat, Expand, Gather, Iota, Matmul, Op, Reduce, ReduceFn, Reshape, Slice, Transpose, axis_of,
};
use ic_ir::{Builder, Graph, GraphError, ScalarOp, TensorType, Type, ValueId};
use ic_types::{DType, Dim, Element, Tensor};

/// `value`, of any shape and integer type, with the shape and element type of `ty`.
///
/// # Errors
/// If the numbers of elements differ.
pub(crate) fn shaped_like(
    builder: &mut Builder,
    value: ValueId,
    ty: &TensorType,
) -> std::result::Result<ValueId, GraphError> {
    let mut value = value;
    if builder.ty(value).dtype != ty.dtype {
        value = builder.push(Cast { to: ty.dtype, saturate: true }, &[value])?;
    }
    if builder.ty(value).shape != ty.shape {
        value = builder.push(Reshape { shape: ty.shape.clone() }, &[value])?;
    }
    Ok(value)
}

impl Context {
    /// The type of a value.
    ///
    /// # Errors
    /// If it is not a tensor.
    pub(crate) fn ty(&self, value: ValueId) -> Result<TensorType> {
        match self.graph().ty(value) {
            Type::Tensor(ty) => Ok(ty.clone()),
            ty => Err(unsupported!("values of type {ty} are not supported here")),
        }
    }

    /// The extents of a tensor.
    ///
    /// # Errors
    /// If the value is not a tensor.
    pub(crate) fn shape(&self, value: ValueId) -> Result<Vec<Dim>> {
        Ok(self.ty(value)?.shape)
    }

    /// The number of axes of a tensor.
    ///
    /// # Errors
    /// If the value is not a tensor.
    pub(crate) fn rank(&self, value: ValueId) -> Result<usize> {
        Ok(self.ty(value)?.rank())
    }

    /// The element type of a tensor.
    ///
    /// # Errors
    /// If the value is not a tensor.
    pub(crate) fn dtype(&self, value: ValueId) -> Result<DType> {
        Ok(self.ty(value)?.dtype)
    }

    /// Adds a node and returns its first result.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub(crate) fn push(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId> {
        Ok(self.builder().push(op, operands)?)
    }

    /// Adds a node with optional operands and returns all its results.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub(crate) fn push_all(&mut self, op: impl Into<Op>, operands: &[Option<ValueId>]) -> Result<Vec<ValueId>> {
        Ok(self.builder().push_all(op, operands)?)
    }

    /// Adds a node with regions and returns all its results.
    ///
    /// # Errors
    /// If the operands or regions do not fit the op.
    pub(crate) fn push_regions(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        regions: Vec<Graph>,
    ) -> Result<Vec<ValueId>> {
        self.push_with_regions(op, operands.iter().map(|&v| Some(v)).collect(), regions)
    }

    /// Adds a node with regions and optional operands and returns all its results.
    ///
    /// # Errors
    /// If the operands or regions do not fit the op.
    pub(crate) fn push_with_regions(
        &mut self,
        op: impl Into<Op>,
        operands: Vec<Option<ValueId>>,
        regions: Vec<Graph>,
    ) -> Result<Vec<ValueId>> {
        let location = self.location.clone();
        Ok(self.frame().graph.push_node(op.into(), operands, regions, &location)?)
    }

    /// A constant.
    ///
    /// # Errors
    /// If it is implausibly large.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> Result<ValueId> {
        Ok(self.builder().constant(tensor)?)
    }

    /// A constant of rank 1.
    ///
    /// # Errors
    /// If it is implausibly large.
    pub(crate) fn vector<T: Element>(&mut self, elements: Vec<T>) -> Result<ValueId> {
        Ok(self.builder().vector(elements)?)
    }

    /// A constant of rank 0.
    ///
    /// # Errors
    /// If the type has no numbers.
    pub(crate) fn scalar(&mut self, dtype: DType, value: f64) -> Result<ValueId> {
        if dtype.is_float() && !matches!(dtype, DType::F64 | DType::F32 | DType::F16 | DType::BF16) {
            let wide = self.builder().scalar(DType::F32, value)?;
            return self.cast(wide, dtype);
        }
        Ok(self.builder().scalar(dtype, value)?)
    }

    /// A constant of rank 0 of the element type of `like`.
    ///
    /// # Errors
    /// If the type has no numbers.
    pub(crate) fn scalar_like(&mut self, like: ValueId, value: f64) -> Result<ValueId> {
        let dtype = self.dtype(like)?;
        self.scalar(dtype, value)
    }

    /// A scalar function of one operand.
    ///
    /// # Errors
    /// If the function does not take the operand's type.
    pub(crate) fn unary(&mut self, function: ScalarOp, a: ValueId) -> Result<ValueId> {
        self.push(function, &[a])
    }

    /// A scalar function of two operands, broadcast.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn binary(&mut self, function: ScalarOp, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.push(function, &[a, b])
    }

    /// A scalar function of an operand and a number.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn with_scalar(&mut self, function: ScalarOp, a: ValueId, b: f64) -> Result<ValueId> {
        let b = self.scalar_like(a, b)?;
        self.push(function, &[a, b])
    }

    /// `a` where `condition`, else `b`; all broadcast.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn select(&mut self, condition: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.push(ScalarOp::Select, &[condition, a, b])
    }

    /// The value with another element type.
    ///
    /// # Errors
    /// If there is no such conversion.
    pub(crate) fn cast(&mut self, value: ValueId, to: DType) -> Result<ValueId> {
        if self.dtype(value)? == to {
            return Ok(value);
        }
        self.push(Cast { to, saturate: true }, &[value])
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If the numbers of elements differ.
    pub(crate) fn reshape(&mut self, value: ValueId, shape: Vec<Dim>) -> Result<ValueId> {
        if self.shape(value)? == shape {
            return Ok(value);
        }
        self.push(Reshape { shape }, &[value])
    }

    /// Axes in another order: axis `i` of the result is axis `perm[i]` of the operand.
    ///
    /// # Errors
    /// If `perm` is not a permutation of the axes.
    pub(crate) fn transpose(&mut self, value: ValueId, perm: Vec<usize>) -> Result<ValueId> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) && perm.len() == self.rank(value)? {
            return Ok(value);
        }
        self.push(Transpose { perm }, &[value])
    }

    /// The two last axes exchanged.
    ///
    /// # Errors
    /// If the rank is below 2.
    pub(crate) fn transpose_last(&mut self, value: ValueId) -> Result<ValueId> {
        let mut perm: Vec<usize> = (0..self.rank(value)?).collect();
        let n = perm.len();
        if n < 2 {
            return Err(super::error::invalid!("rank {n} is too small for a matrix"));
        }
        perm.swap(n - 1, n - 2);
        self.transpose(value, perm)
    }

    /// The value broadcast to a shape.
    ///
    /// # Errors
    /// If it does not broadcast.
    pub(crate) fn expand(&mut self, value: ValueId, shape: Vec<Dim>) -> Result<ValueId> {
        if self.shape(value)? == shape {
            return Ok(value);
        }
        self.push(Expand { shape }, &[value])
    }

    /// Axes of extent 1 put in, at these positions of the result, in any order.
    ///
    /// # Errors
    /// If a position is outside of the result or given twice.
    pub(crate) fn unsqueeze(&mut self, value: ValueId, axes: &[i64]) -> Result<ValueId> {
        let mut shape = self.shape(value)?;
        let rank = shape.len() + axes.len();
        let mut sorted = axes.iter().map(|&a| Ok(axis_of(a, rank)?)).collect::<Result<Vec<_>>>()?;
        sorted.sort_unstable();
        if sorted.windows(2).any(|w| w[0] == w[1]) {
            return Err(super::error::invalid!("axes {axes:?} repeat an axis"));
        }
        sorted.into_iter().for_each(|axis| shape.insert(axis, Dim::constant(1)));
        self.reshape(value, shape)
    }

    /// Axes of extent 1 taken out.
    ///
    /// # Errors
    /// If an axis is outside of the rank.
    pub(crate) fn squeeze(&mut self, value: ValueId, axes: &[usize]) -> Result<ValueId> {
        let shape = self.shape(value)?;
        let kept = shape.into_iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d).collect();
        self.reshape(value, kept)
    }

    /// The part `start .. start + extent` of one axis.
    ///
    /// # Errors
    /// If it is outside of the axis.
    pub(crate) fn slice(&mut self, value: ValueId, axis: usize, start: Dim, extent: Dim) -> Result<ValueId> {
        if start.is(0) && self.shape(value)?.get(axis) == Some(&extent) {
            return Ok(value);
        }
        self.push(Slice { axes: vec![axis], starts: vec![start], extents: vec![extent], steps: vec![1] }, &[value])
    }

    /// Tensors joined along an axis.
    ///
    /// # Errors
    /// If their other extents differ.
    pub(crate) fn concat(&mut self, values: &[ValueId], axis: usize) -> Result<ValueId> {
        match values {
            [value] => Ok(*value),
            _ => self.push(Concat { axis }, values),
        }
    }

    /// A reduction that keeps the reduced axes with extent 1.
    ///
    /// # Errors
    /// If an axis is outside of the rank.
    pub(crate) fn reduce(&mut self, function: ReduceFn, value: ValueId, axes: Vec<usize>) -> Result<ValueId> {
        self.push(Reduce { function, axes, keep_dims: true }, &[value])
    }

    /// Batched matrix product of operands of rank 2 and more.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub(crate) fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.push(Matmul {}, &[a, b])
    }

    /// Slices of `data` at `indices` along an axis.
    ///
    /// # Errors
    /// If the axis is outside of the rank.
    pub(crate) fn gather(&mut self, data: ValueId, indices: ValueId, axis: usize) -> Result<ValueId> {
        self.push(Gather { axis }, &[data, indices])
    }

    /// 0, 1, … as a tensor of rank 1.
    ///
    /// # Errors
    /// If the type has no numbers.
    pub(crate) fn iota(&mut self, extent: Dim, dtype: DType) -> Result<ValueId> {
        self.push(Iota { extent, dtype }, &[])
    }

    /// Dimension expressions as an i64 tensor: of rank 1, or of rank 0 where there is one and `rank` is 0.
    ///
    /// # Errors
    /// Never for lists of plausible length.
    pub(crate) fn dims(&mut self, value: Vec<Dim>) -> Result<ValueId> {
        Ok(self.builder().dims(value)?)
    }

    /// A dimension expression as an i64 tensor of rank 0.
    ///
    /// # Errors
    /// Never.
    pub(crate) fn dim_scalar(&mut self, value: Dim) -> Result<ValueId> {
        let vector = self.dims(vec![value])?;
        self.reshape(vector, vec![])
    }

    /// The axis that `axis` means in a tensor of the value's rank.
    ///
    /// # Errors
    /// If it is outside.
    pub(crate) fn axis(&self, value: ValueId, axis: i64) -> Result<usize> {
        Ok(axis_of(axis, self.rank(value)?)?)
    }

    /// The axes that `axes` mean in a tensor of the value's rank, sorted.
    ///
    /// # Errors
    /// If one is outside or repeated.
    pub(crate) fn axes(&self, value: ValueId, axes: &[i64]) -> Result<Vec<usize>> {
        let mut sorted = axes.iter().map(|&a| self.axis(value, a)).collect::<Result<Vec<_>>>()?;
        sorted.sort_unstable();
        if sorted.windows(2).any(|w| w[0] == w[1]) {
            return Err(super::error::invalid!("axes {axes:?} repeat an axis"));
        }
        Ok(sorted)
    }
}
