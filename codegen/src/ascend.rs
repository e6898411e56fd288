//! Ascend targets: kernels as MLIR text for the vendor's compiler.
//!
//! A kernel becomes a tree of operations on whole tensors (`tree`), which `print` writes in the vendor's spelling or in
//! upstream's. Contractions are loops over tiles for the cube unit, with the same trees on their tiles.

mod access;
mod compile;
mod contract;
mod eval;
mod functions;
mod kernel;
mod lanes;
mod lower;
#[cfg(feature = "mlir")]
mod mlir;
mod plan;
mod print;
mod program;
mod scalar;
mod target;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use compile::compile;
pub use compile::listing;
pub use contract::{Access, CubeKernel, lower_contraction};
pub use eval::{eval_contraction, eval_function, eval_kernel};
pub use functions::{BinaryFn, CompareFn, FoldFn, UnaryFn};
pub use kernel::{AscendKernel, lower_kernel};
pub use lower::{VectorKernel, lower_vector};
#[cfg(feature = "mlir")]
pub use mlir::{MlirError, lower_in_process};
pub use print::Spelling;
pub use program::{AscendFunction, AscendFunctions, AscendLaunch};
pub use tree::{Function, Number, Operand, TensorId, TensorOp, TensorType, Value};
