//! Loads and runs `ic` artifacts.
//!
//! Unsafe code is allowed here: the runtime maps files, runs machine code from them and hands kernels pointers into
//! memory that it lays out. What makes that sound is checked before: plans by [`ic_artifact::Plan::check`] at load, and
//! every size, offset and operand against its memory when shapes are bound. The machine code itself is trusted, which
//! is why [`Model::load`] is unsafe.
//!
//! ```no_run
//! # fn main() -> Result<(), ic_runtime::Error> {
//! use ic_runtime::{Model, Options, TensorView};
//!
//! // Sound: we made the artifact, and nobody changes the file meanwhile.
//! let model = unsafe { Model::load("model.ica")? };
//! let session = model.session(&Options::new().threads(2))?;
//! let ids = TensorView::new(&[1, 3], &[101i64, 2023, 102]).expect("three ids");
//! let outputs = session.run(&[("input_ids", ids)])?;
//! # drop(outputs);
//! # Ok(())
//! # }
//! ```
#![expect(unsafe_code, reason = "maps files and runs machine code on memory that is laid out here")]
#![warn(missing_docs)]

mod bind;
mod cache;
mod context;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
mod cuda;
mod device;
mod error;
mod execute;
mod inputs;
mod launch;
mod layout;
mod memory;
mod model;
mod operands;
mod options;
mod outputs;
mod pool;
mod profile;
mod program;
mod segments;
mod session;
mod states;
mod truncation;
pub mod typed;

pub use error::Error;
#[cfg(feature = "signed")]
pub use ic_artifact::PublicKey;
pub use ic_artifact::{Entry, Manifest, Port, State, SymbolRange};
pub use ic_types::{DType, Data, DataRef, Element, Tensor, TensorView};
pub use model::Model;
pub use options::{LoadOptions, Options};
pub use outputs::Outputs;
pub use pool::ThreadPool;
pub use profile::{Profile, StepTime, Work};
pub use session::Session;
pub use truncation::TruncationGuard;
