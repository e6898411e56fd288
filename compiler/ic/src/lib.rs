//! The compiler: importers, the pipeline from model to artifact, tensor files, the command line.

// The command line names this crate as programs outside do.
extern crate self as ic;

mod bindings;
pub mod cli;
mod dot;
pub mod import;
pub mod pipeline;
pub mod quantize;
pub mod runner;
pub mod tensors;
pub mod watch;

pub use bindings::{Form, bindings};
pub use dot::dot;
