//! Runs PTX on the CPU: the instructions that `ic` emits, as the ISA defines them, with no GPU.
//!
//! [`Module::parse`] reads a module and refuses what it does not know, by line and instruction. [`launch`] runs a kernel
//! on [`Memory`], its blocks in parallel on the host's cores, and gives [`Counts`] or the first [`Fault`]. Warps run in
//! lockstep, part at branches and meet again at the immediate post-dominator. Asynchronous copies land when they are
//! waited for and no sooner; products of warpgroups hold their registers and factors as long. Section numbers are those of NVIDIA's *Parallel Thread Execution ISA*, version 8.6.
//!
//! Faults are what a run on a GPU would hide: reads of what nobody wrote, accesses outside of allocations, out of line
//! or in a race, barriers that not all threads reach, copies that are read before they were waited for.
//!
//! Invariant: results, counts and the reported fault do not depend on the number of host threads.

mod cfg;
mod counts;
mod device;
mod exec;
mod fault;
mod float;
mod instruction;
mod memory;
mod parse;
mod shared;
mod types;
mod warp;
mod warpgroup;

pub use counts::{Class, Counts};
pub use device::{Bound, Device, Estimate, estimate};
pub use exec::{Launch, launch};
pub use fault::{Fault, FaultKind};
pub use float::{Format, Rounding};
pub use memory::{Memory, MemoryError};
pub use parse::{Function, Module, ParseError};
