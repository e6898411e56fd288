//! Tensors in files: NumPy archives and ONNX protos, and seeded random ones.

mod npz;
mod object;
mod proto;
mod random;

pub use npz::{read_npz, write_npz};
pub use proto::{elements_from_raw, read_object, read_proto, tensor_from_proto, tensor_to_proto, write_proto};
pub use random::{Random, random_tensor};

use std::path::{Path, PathBuf};

/// Why a tensor file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct TensorFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub message: String,
}

impl TensorFileError {
    fn new(path: &Path, message: impl std::fmt::Display) -> TensorFileError {
        TensorFileError { path: path.into(), message: message.to_string() }
    }
}
