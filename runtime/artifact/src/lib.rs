//! The `ic` artifact: one file with a manifest, plans, machine code per target and packed weights.
//!
//! What is read from a file is data until it has been checked: lengths are bounded by the file, indices by
//! [`Plan::check`], hashes before use.

#![warn(missing_docs)]

mod manifest;
mod plan;

pub use manifest::{Entry, Manifest, Port, State, SymbolRange, Target};
pub use plan::{
    Buffer, BufferId, Callback, DimOp, DimSlot, Epilogue, KernelRef, Operand, Place, Plan, Segment, Step, SymbolSource,
};
