//! Lets results take over the memory of operands that die in the kernel that computes them.

use ic_ir::kernel::Program;

/// Shares buffers in place.
pub fn share_buffers(_program: &mut Program) {}
