//! NVIDIA GPUs: PTX from Kernel IR.
//!
//! Every kernel of a program becomes one launch; nothing runs on the host in between, and what has no kernel is an error
//! at compile time. Targets differ in the header of the module alone: all use the schedules of `sm_80`.

mod compile;
mod emit;
mod lower;
mod ptx;
mod schedule;

#[cfg(test)]
mod tests;

pub(crate) use compile::compile;
pub use compile::{Listing, listings};
