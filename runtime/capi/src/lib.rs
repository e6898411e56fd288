//! The C interface: load an artifact, describe it, run it, free it, and the last error. `include/ic.h` is the header.
//!
//! Unsafe code is allowed here: every function takes pointers from C. What they must point to is written at each; null
//! pointers, sizes that do not fit, misaligned data and bytes that are no bools are errors. No panic crosses the
//! border, and nothing that a caller holds is changed by a call that fails.
#![expect(unsafe_code, reason = "pointers come from C")]
#![warn(missing_docs)]

mod describe;
mod dtype;
mod error;
mod model;
mod outputs;
mod tensor;

pub use describe::{Description, Entry, Port};
pub use dtype::*;
pub use error::ic_last_error;
pub use model::{LoadOptions, Model, ic_describe, ic_free, ic_load, ic_run};
pub use outputs::Outputs;
pub use tensor::Tensor;
