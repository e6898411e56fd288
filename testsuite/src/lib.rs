//! What the tests and tasks share: the catalogue of real models and how to obtain them, and Ascend kernels without
//! hardware.

pub mod ascend;
pub mod catalog;
mod compare;
pub mod fetch;
pub mod gpu;
pub mod magika;

pub use compare::{compare, largest_error};
