//! Constant tensors: small ones inline, large ones as ranges of the model's files.
//!
//! Weights are never copied into the IR: a [`LiteralData::File`] is read, one tensor at a time, when something needs
//! its elements.

use crate::types::TensorType;
use ic_types::{DType, Data, Dim, Tensor};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file that holds constants.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// The file's path, for messages and identity.
    fn path(&self) -> &Path;

    /// Reads exactly `len` bytes at `offset`.
    ///
    /// # Errors
    /// If the file has become shorter or cannot be read.
    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;
}

/// A constant tensor.
#[derive(Clone, Debug)]
pub struct Literal {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: LiteralData,
}

/// Where a constant's elements are.
#[derive(Clone, Debug)]
pub enum LiteralData {
    /// In memory.
    Inline(Arc<Data>),
    /// In a file, little-endian, in the layout of [`Data::from_le_bytes`].
    File {
        /// The file.
        source: Arc<dyn Source>,
        /// First byte.
        offset: u64,
    },
}

/// What identifies a constant: its type, and the range of a file or the bytes.
type Key<'a> = (DType, &'a [usize], Option<(&'a Path, u64)>, Vec<u8>);

impl Literal {
    /// An inline constant.
    pub fn inline(tensor: Tensor) -> Literal {
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        Literal { dtype, shape, data: LiteralData::Inline(Arc::new(tensor.data().clone())) }
    }

    /// Its type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.iter().map(|&d| Dim::constant(d as i64)).collect())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its elements; 0 for strings.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size().unwrap_or(0)
    }

    /// The elements in memory, if they are inline.
    pub fn as_inline(&self) -> Option<&Data> {
        match &self.data {
            LiteralData::Inline(data) => Some(data),
            LiteralData::File { .. } => None,
        }
    }

    /// Reads the elements.
    ///
    /// # Errors
    /// If the file that holds them cannot be read.
    pub fn tensor(&self) -> io::Result<Tensor> {
        let data = match &self.data {
            LiteralData::Inline(data) => Data::clone(data),
            LiteralData::File { source, offset } => {
                let bytes = source.read(*offset, self.bytes())?;
                Data::from_le_bytes(self.dtype, &bytes).ok_or(io::ErrorKind::InvalidData)?
            }
        };
        Ok(Tensor::new(self.shape.clone(), data))
    }

    fn key(&self) -> Key<'_> {
        match &self.data {
            LiteralData::Inline(data) => (self.dtype, &self.shape, None, data.to_le_bytes()),
            LiteralData::File { source, offset } => {
                (self.dtype, &self.shape, Some((source.path(), *offset)), Vec::new())
            }
        }
    }
}

impl PartialEq for Literal {
    fn eq(&self, other: &Literal) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Literal {}

impl PartialOrd for Literal {
    fn partial_cmp(&self, other: &Literal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Literal {
    fn cmp(&self, other: &Literal) -> Ordering {
        if let (LiteralData::Inline(a), LiteralData::Inline(b)) = (&self.data, &other.data)
            && Arc::ptr_eq(a, b)
        {
            return (self.dtype, &self.shape).cmp(&(other.dtype, &other.shape));
        }
        if let (LiteralData::File { source: a, offset: x }, LiteralData::File { source: b, offset: y }) =
            (&self.data, &other.data)
            && Arc::ptr_eq(a, b)
        {
            return (self.dtype, &self.shape, x).cmp(&(other.dtype, &other.shape, y));
        }
        self.key().cmp(&other.key())
    }
}

impl Hash for Literal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.data {
            // Paths take long to hash, and most models have one file.
            LiteralData::File { offset, .. } => (self.dtype, &self.shape, offset).hash(state),
            LiteralData::Inline(_) => self.key().hash(state),
        }
    }
}
