//! What can go wrong in a launch.

use std::fmt;

/// The kinds of faults.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum FaultKind {
    /// An access outside of every allocation, or of the block's shared memory.
    OutOfBounds,
    /// An address that is not a multiple of the access's size.
    Misaligned,
    /// A read of memory or of a register that nothing has written.
    Uninitialized,
    /// Two threads access the same bytes, one of them writes, and nothing orders the two.
    Race,
    /// An access to the destination of an asynchronous copy that has not been waited for.
    CopyInFlight,
    /// An access to registers of a product of a warpgroup that has not been waited for, or that no fence has ordered
    /// before it.
    ProductInFlight,
    /// A barrier, or an instruction of whole warps, that not all threads reach together.
    Divergence,
    /// No warp can go on.
    Deadlock,
    /// An operand that the instruction does not allow.
    Operand,
    /// A launch whose parameters, block or shared memory do not fit the kernel.
    Launch,
}

impl FaultKind {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::OutOfBounds => "out of bounds",
            FaultKind::Misaligned => "misaligned access",
            FaultKind::Uninitialized => "uninitialized read",
            FaultKind::Race => "race",
            FaultKind::CopyInFlight => "access to a copy in flight",
            FaultKind::ProductInFlight => "access to a product in flight",
            FaultKind::Divergence => "divergence",
            FaultKind::Deadlock => "deadlock",
            FaultKind::Operand => "invalid operand",
            FaultKind::Launch => "invalid launch",
        }
    }
}

/// Why a launch was stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// The kernel.
    pub kernel: String,
    /// The block's number.
    pub block: u64,
    /// The thread's number in its block.
    pub thread: u32,
    /// Line in the module's text; 0 where it is not about an instruction.
    pub line: usize,
    /// The instruction's text.
    pub instruction: String,
    /// What happened.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in `{}`", self.kind.name(), self.kernel)?;
        if self.line > 0 {
            write!(f, ", block {}, thread {}, line {}: `{}`", self.block, self.thread, self.line, self.instruction)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Fault {}

/// A fault before it is known where it is.
#[derive(Clone, Debug)]
pub(crate) struct Trap {
    pub(crate) kind: FaultKind,
    /// The lane of the warp.
    pub(crate) lane: u32,
    pub(crate) message: String,
}

impl Trap {
    pub(crate) fn new(kind: FaultKind, lane: u32, message: impl Into<String>) -> Trap {
        Trap { kind, lane, message: message.into() }
    }
}
