//! Short spellings for building graphs: importers, passes and tests use these.

use crate::graph::{Graph, GraphError, ValueId};
use crate::literal::Literal;
use crate::ops::{Constant, Dims, Op};
use crate::scalar::{Scalar, ScalarOp};
use crate::{OpError, TensorType};
use ic_types::{DType, Dim, Element, Tensor};
use std::sync::Arc;

/// Adds nodes to a graph under one location.
pub struct Builder<'a> {
    /// The graph.
    pub graph: &'a mut Graph,
    /// The location that nodes get.
    pub location: Arc<str>,
}

impl Builder<'_> {
    /// Adds a node and returns its first result.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, GraphError> {
        self.graph.push(op.into(), operands, &self.location)
    }

    /// Adds a node with optional operands and returns all its results.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push_all(&mut self, op: impl Into<Op>, operands: &[Option<ValueId>]) -> Result<Vec<ValueId>, GraphError> {
        self.graph.push_node(op.into(), operands.to_vec(), Vec::new(), &self.location)
    }

    /// The type of a tensor value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.graph.tensor_ty(value)
    }

    /// `a + b`, broadcast.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.push(ScalarOp::Add, &[a, b])
    }

    /// `a - b`, broadcast.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.push(ScalarOp::Sub, &[a, b])
    }

    /// `a * b`, broadcast.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.push(ScalarOp::Mul, &[a, b])
    }

    /// `a / b`, broadcast.
    ///
    /// # Errors
    /// If the operands do not fit.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.push(ScalarOp::Div, &[a, b])
    }

    /// A constant.
    ///
    /// # Errors
    /// If the tensor is implausibly large.
    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId, GraphError> {
        self.push(Constant { value: Literal::inline(tensor) }, &[])
    }

    /// A constant of rank 1.
    ///
    /// # Errors
    /// If the tensor is implausibly large.
    pub fn vector<T: Element>(&mut self, elements: Vec<T>) -> Result<ValueId, GraphError> {
        self.constant(Tensor::from_elements(vec![elements.len()], elements))
    }

    /// A constant of rank 0 of a real type.
    ///
    /// # Errors
    /// If the type has no numbers.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> Result<ValueId, GraphError> {
        let scalar = match dtype {
            DType::F64 => Scalar::F64(value),
            DType::Bool => Scalar::Bool(value != 0.0),
            _ if dtype.is_float() => Scalar::F32(value as f32, dtype),
            _ => Scalar::Int(value as i128, dtype),
        };
        let mut tensor = Tensor::zeros(dtype, vec![]);
        let location = self.location.clone();
        let error = |source: OpError| GraphError { op: "constant", location, source };
        scalar.write(tensor.data_mut(), 0).map_err(error)?;
        self.constant(tensor)
    }

    /// Dimension expressions as an i64 tensor of rank 1.
    ///
    /// # Errors
    /// Never for lists of plausible length.
    pub fn dims(&mut self, value: Vec<Dim>) -> Result<ValueId, GraphError> {
        self.push(Dims { value }, &[])
    }
}
