//! Compiles models in `build.rs`.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), ic_build::Error> {
//!     ic_build::model("models/mini-lm.onnx").dim("batch", 1).compile()
//! }
//! ```
//!
//! `ic_runtime::include_model!("mini-lm")` then gives a struct with a method per entry, whose tensors are typed. rustc
//! never sees the graph: it sees a dozen lines, and the artifact as bytes.
//!
//! The work is done by the `ic` that the variable `IC` names or that is first in `PATH`, if it is of this crate's
//! version. Otherwise, with the feature `compiler` (on by default), the model is compiled in this process. An
//! application that always has `ic` installed turns the feature off and then builds nothing of the compiler.
//!
//! Invariant: what is compiled follows from the model, the options and Cargo's `TARGET`; never from the host's CPU.
#![expect(clippy::print_stdout, reason = "build scripts talk to Cargo on standard output")]
#![warn(missing_docs)]

mod error;
mod folders;
mod installed;
mod options;
mod run;
mod target;

pub use error::Error;
pub use options::{Fp, Model, entries, model};
