//! The compiler: importers, the pipeline from model to artifact, tensor files.

mod dot;
pub mod import;
pub mod pipeline;
pub mod tensors;

pub use dot::dot;
