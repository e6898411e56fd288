//! What the tests and tasks share: the catalogue of real models and how to obtain them, Ascend kernels without
//! hardware, and what rewrite rules do in models.

pub mod ascend;
pub mod catalog;
mod compare;
pub mod fetch;
pub mod gpu;
pub mod magika;
pub mod random_graphs;
pub mod rules;

pub use compare::{compare, largest_error};
