//! What an op must provide: operands, type inference, evaluation.

use crate::attr::Attrs;
use crate::graph::Graph;
use crate::types::{TensorType, Type};
use ic_types::{Dim, DimError, Tensor};
use std::cell::RefCell;

/// One operand of an op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OperandSpec {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether it may be absent.
    pub optional: bool,
    /// Whether it stands for all operands from here on, any number of them.
    pub variadic: bool,
}

impl OperandSpec {
    /// An operand that must be there.
    pub const fn required(name: &'static str) -> OperandSpec {
        OperandSpec { name, optional: false, variadic: false }
    }

    /// An operand that may be absent.
    pub const fn optional(name: &'static str) -> OperandSpec {
        OperandSpec { name, optional: true, variadic: false }
    }

    /// Any number of operands.
    pub const fn variadic(name: &'static str) -> OperandSpec {
        OperandSpec { name, optional: false, variadic: true }
    }
}

/// Why an op cannot have these operands or attributes, or cannot be evaluated on them.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpError(pub String);

impl OpError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> OpError {
        OpError(message.into())
    }
}

impl From<DimError> for OpError {
    fn from(error: DimError) -> OpError {
        OpError(error.to_string())
    }
}

/// Returns an [`OpError`] from the current function unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::OpError::new(format!($($message)+)));
        }
    };
}

/// One kind of node: its attributes are the implementing struct.
pub trait OpDef: Attrs {
    /// Its operands.
    const OPERANDS: &'static [OperandSpec];

    /// Number of results.
    fn n_results(&self) -> usize {
        1
    }

    /// Types of the results.
    ///
    /// # Errors
    /// If operands and attributes do not fit together.
    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError>;

    /// The elements of the first result as dimension expressions, where it is a small tensor whose elements follow from
    /// those of the operands: integers, bools as 0 and 1, or floats without fraction. This is how shapes that a model
    /// computes become symbolic shapes.
    fn content(&self, _x: &Operands) -> Option<Vec<Dim>> {
        None
    }

    /// Whether the results on constants are constants: neither drawn at random nor made of what only a run holds.
    fn is_foldable(&self) -> bool {
        true
    }

    /// The results. Slow and obviously right: the oracle.
    ///
    /// # Errors
    /// If an operand's elements are out of range, or a dim cannot be evaluated.
    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError>;
}

/// A condition on symbolic dims that a graph relies on. The run checks it when dims are bound.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Constraint {
    /// The two are equal.
    Equal(Dim, Dim),
    /// The two are equal, or one of them is 1.
    Broadcast(Dim, Dim),
}

/// Operand types, as inference sees them. Required operands are present.
#[derive(Clone, Debug)]
pub struct Operands<'a> {
    /// Type of each operand; `None` for an absent optional one.
    pub types: Vec<Option<&'a Type>>,
    /// Elements of each operand as dimension expressions, where known.
    pub contents: Vec<Option<&'a [Dim]>>,
    /// Nested graphs.
    pub regions: &'a [Graph],
    /// Conditions on symbolic dims that inference relies on.
    pub constraints: RefCell<Vec<Constraint>>,
}

impl<'a> Operands<'a> {
    /// Number of operands, absent ones included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are no operands.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The tensor type of operand `i`.
    ///
    /// # Errors
    /// If it is absent or not a tensor.
    pub fn ty(&self, i: usize) -> Result<&'a TensorType, OpError> {
        self.opt(i).ok_or_else(|| OpError(format!("operand {i} must be a tensor")))
    }

    /// The tensor type of operand `i`, if it is present.
    pub fn opt(&self, i: usize) -> Option<&'a TensorType> {
        self.types.get(i).copied().flatten().and_then(Type::as_tensor)
    }

    /// The extent that `a` and `b` must both be; a constant where one is. What cannot be decided becomes a constraint.
    ///
    /// # Errors
    /// If both are constants and differ.
    pub fn equal(&self, a: &Dim, b: &Dim, what: &str) -> Result<Dim, OpError> {
        match (a.as_const(), b.as_const()) {
            _ if a == b => return Ok(a.clone()),
            (Some(m), Some(n)) => return Err(OpError(format!("{what} must be equal, found {m} and {n}"))),
            _ => self.constraints.borrow_mut().push(Constraint::Equal(a.clone(), b.clone())),
        }
        Ok(if b.as_const().is_some() { b.clone() } else { a.clone() })
    }

    /// The shape to which both shapes broadcast, as in NumPy. What cannot be decided becomes a constraint.
    ///
    /// # Errors
    /// If two constant extents differ and neither is 1.
    pub fn broadcast(&self, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let rank = a.len().max(b.len());
        let extent = |shape: &[Dim], axis: usize| -> Dim {
            (axis + shape.len()).checked_sub(rank).map_or(Dim::constant(1), |i| shape[i].clone())
        };
        (0..rank)
            .map(|axis| {
                let (x, y) = (extent(a, axis), extent(b, axis));
                if x == y || x.is(1) || y.is(1) {
                    return Ok(x.broadcast(&y));
                }
                if let (Some(m), Some(n)) = (x.as_const(), y.as_const()) {
                    return Err(OpError(format!("extents {m} and {n} of axis {axis} do not broadcast")));
                }
                self.constraints.borrow_mut().push(Constraint::Broadcast(x.clone(), y.clone()));
                Ok(x.broadcast(&y))
            })
            .collect()
    }

    /// The elements of operand `i`, where known.
    pub fn content(&self, i: usize) -> Option<&'a [Dim]> {
        self.contents.get(i).copied().flatten()
    }
}

/// Operand values, as evaluation sees them. Required operands are present.
pub struct Tensors<'a> {
    /// Each operand; `None` for an absent optional one.
    pub operands: Vec<Option<&'a Tensor>>,
    /// Nested graphs.
    pub regions: &'a [Graph],
    /// Values of the symbols.
    pub symbols: &'a dyn Fn(&str) -> Option<i64>,
}

impl<'a> Tensors<'a> {
    /// Operand `i`.
    ///
    /// # Errors
    /// If it is absent.
    pub fn get(&self, i: usize) -> Result<&'a Tensor, OpError> {
        self.opt(i).ok_or_else(|| OpError(format!("operand {i} is absent")))
    }

    /// Operand `i`, if it is present.
    pub fn opt(&self, i: usize) -> Option<&'a Tensor> {
        self.operands.get(i).copied().flatten()
    }

    /// The value of a dim.
    ///
    /// # Errors
    /// If a symbol is unbound or arithmetic overflows.
    pub fn dim(&self, dim: &Dim) -> Result<i64, OpError> {
        Ok(dim.eval(self.symbols)?)
    }

    /// The values of dims that are extents.
    ///
    /// # Errors
    /// If one cannot be evaluated or is negative.
    pub fn extents(&self, dims: &[Dim]) -> Result<Vec<usize>, OpError> {
        dims.iter()
            .map(|dim| usize::try_from(self.dim(dim)?).map_err(|_| OpError(format!("extent `{dim}` is negative"))))
            .collect()
    }
}
