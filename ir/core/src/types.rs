//! Types of values: dense tensors with symbolic shapes, sequences and optionals of them.

use ic_types::{DType, Dim};
use std::fmt;

/// Largest tensor that a type may describe, in bytes. Larger ones are refused wherever they appear.
pub const MAX_TENSOR_BYTES: i64 = 1 << 46;

/// Most terms of an expression for an extent, nested ones included, and for the number of elements of a tensor.
pub(crate) const MAX_TERMS: usize = 1 << 12;

/// The type of a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Type {
    /// A dense tensor.
    Tensor(TensorType),
    /// A list of values of one type.
    Sequence(Box<Type>),
    /// A value or nothing.
    Optional(Box<Type>),
}

/// The type of a dense tensor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A tensor type.
    pub fn new(dtype: DType, shape: Vec<Dim>) -> TensorType {
        TensorType { dtype, shape }
    }

    /// A tensor type with constant extents.
    pub fn fixed(dtype: DType, shape: &[i64]) -> TensorType {
        TensorType { dtype, shape: shape.iter().map(|&d| Dim::constant(d)).collect() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> Dim {
        self.shape.iter().cloned().product()
    }

    /// The extents, if all are constant.
    pub fn constant_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.as_const().and_then(|d| usize::try_from(d).ok())).collect()
    }

    /// Whether the extents are possible: no negative constant, no more than [`MAX_TENSOR_BYTES`], and expressions of at
    /// most [`MAX_TERMS`] terms for every extent and for the number of elements.
    pub fn is_plausible(&self) -> bool {
        let terms = self.shape.iter().try_fold(1usize, |product, dim| {
            product.checked_mul(dim.terms().count().max(1)).filter(|&product| product <= MAX_TERMS)
        });
        let constants = self.shape.iter().filter_map(Dim::as_const);
        let size = self.dtype.size().unwrap_or(1) as i64;
        let bytes = constants.clone().filter(|&d| d != 0).try_fold(size, i64::checked_mul);
        terms.is_some()
            && self.shape.iter().all(|dim| dim.is_within(MAX_TERMS))
            && constants.clone().all(|d| (0..=MAX_TENSOR_BYTES).contains(&d))
            && (constants.clone().any(|d| d == 0) || bytes.is_some_and(|b| b <= MAX_TENSOR_BYTES))
    }
}

impl Type {
    /// The tensor type, if this is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(ty) => Some(ty),
            _ => None,
        }
    }
}

impl From<TensorType> for Type {
    fn from(ty: TensorType) -> Type {
        Type::Tensor(ty)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, dim) in self.shape.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{dim}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(ty) => ty.fmt(f),
            Type::Sequence(element) => write!(f, "seq({element})"),
            Type::Optional(element) => write!(f, "optional({element})"),
        }
    }
}
