//! CPU microkernels, full-width math strips and library kernels, each with a portable twin, in one table.
//!
//! Unsafe code is allowed here: kernels work on raw buffers that the runtime lays out. Every kernel states in
//! `# Safety` what it relies on, and every vector kernel runs against its portable twin in the tests.
#![expect(unsafe_code, reason = "kernels read and write buffers through raw pointers and use vector intrinsics")]
#![warn(missing_docs)]

pub mod abi;
pub mod host;
pub mod isa;
pub mod library;
pub mod limits;
pub mod pack;
pub mod table;

mod attention;
mod cache;
mod conv;
mod epilogue;
mod experts;
mod gemm;
mod int8;
mod norms;
pub mod strips;
mod transpose;
mod vector;

#[cfg(test)]
mod tests;
