//! Element types, dimension expressions and tensors shared by the compiler and the runtime.
//!
//! This crate has no dependencies and no unsafe code: everything above it may rely on its types alone.

#![warn(missing_docs)]

mod bytes;
mod dim;
mod dim_text;
mod dtype;
mod float;
mod object;
mod tensor;

pub use dim::{Atom, Dim, DimError, Monomial, symbols_of};
pub use dim_text::ParseDimError;
pub use dtype::DType;
pub use float::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use object::Object;
pub use tensor::{Data, DataRef, Element, Tensor, TensorView};
