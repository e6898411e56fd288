//! Why a node cannot be imported.

use ic_ir::{GraphError, OpError};

/// Why a node, or a part of one, cannot be imported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The model is right, and `ic` cannot compile it.
    Unsupported(String),
    /// The model is wrong.
    Invalid(String),
    /// Something that the node depends on was refused; it has been reported.
    Reported,
}

/// The result of importing a part of a model.
pub(crate) type Result<T> = std::result::Result<T, Refusal>;

impl From<GraphError> for Refusal {
    fn from(error: GraphError) -> Refusal {
        Refusal::Invalid(format!("{}: {}", error.op, error.source))
    }
}

impl From<OpError> for Refusal {
    fn from(error: OpError) -> Refusal {
        Refusal::Invalid(error.0)
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Refusal {
        Refusal::Invalid(error.to_string())
    }
}

/// The refusal of something that `ic` does not support.
macro_rules! unsupported {
    ($($message:tt)+) => {
        $crate::import::onnx::error::Refusal::Unsupported(format!($($message)+))
    };
}

/// The refusal of something that is wrong.
macro_rules! invalid {
    ($($message:tt)+) => {
        $crate::import::onnx::error::Refusal::Invalid(format!($($message)+))
    };
}

pub(crate) use {invalid, unsupported};
