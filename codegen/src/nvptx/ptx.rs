//! PTX as data: registers of a class, instructions as an enum, a builder per function, and the printer.
//!
//! Section numbers refer to NVIDIA's *Parallel Thread Execution ISA*, version 8.6. Every operation is one that `sm_80`
//! has, but for those of warpgroups, which only `sm_90a` has. Float arithmetic is IEEE with denormals: nothing is flushed, and `.approx` does not occur,
//! but for the exponentials of attention.

mod builder;
mod instruction;
mod print;

pub(crate) use builder::Builder;
pub(crate) use instruction::{
    Binary, Class, Compare, Instruction, Label, Left, MmaKind, Operand, Reg, Rounding, Space, Special, Ty, Unary,
    WarpgroupMma,
};
pub(crate) use print::{function_text, module_text};

/// A kernel: an `.entry` whose parameters are the addresses of buffers, then 32-bit extents and strides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    /// Its name, which is unique in the module.
    pub(crate) name: String,
    /// Number of buffers.
    pub(crate) n_buffers: usize,
    /// Number of 32-bit parameters.
    pub(crate) n_dims: usize,
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Bytes of shared memory.
    pub(crate) shared_bytes: u32,
    /// Number of registers of each [`Class`].
    pub(crate) registers: [u32; Class::ALL.len()],
    /// The instructions.
    pub(crate) body: Vec<Instruction>,
}

/// Bytes of shared memory that a function may declare.
const STATIC_BYTES: u32 = 48 * 1024;

impl Function {
    /// Bytes of shared memory that its launch provides: all, where they are more than it may declare.
    pub(crate) fn dynamic_bytes(&self) -> u32 {
        if self.shared_bytes > STATIC_BYTES { self.shared_bytes } else { 0 }
    }
}
