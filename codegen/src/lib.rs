//! Code generation: Kernel IR → machine code, plans and packed weights.
//!
//! Invariant: the same program and options give the same bytes on every host.

pub mod cpu;
mod pool;

pub use pool::{Block, WeightPool};
