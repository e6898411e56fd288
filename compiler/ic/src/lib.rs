//! The compiler: importers, the pipeline from model to artifact, tensor files.

pub mod import;
pub mod tensors;
