//! Code generation: Kernel IR → machine code, plans and packed weights.
//!
//! Invariant: the same program and options give the same bytes on every host.

pub mod ascend;
mod backend;
pub mod cpu;
pub mod nvptx;
mod pool;
mod shared;
mod target;

pub use backend::{BACKENDS, Backend, Code, Compiled, Products, Refused, Source, TargetCode, compile};
pub use pool::{Block, WeightPool};
pub use shared::weights::constant_value;
pub use target::{AscendTarget, NvptxTarget, Target, TargetClass};
