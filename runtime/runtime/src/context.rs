//! What one run at a time has to itself: memory and the addresses in it. A session keeps those that are not in use.

use crate::cuda;
use crate::memory::Memory;
use ic_kernels::abi;
use ic_types::DType;

/// Memory of one run. Lists keep their capacity from run to run, so that a run on a shape already seen allocates
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// Extents of all inputs, then of states that symbols are taken from, then values of data-dependent symbols in the
    /// order in which they are read.
    pub(crate) key: Vec<i64>,
    /// Values of the plan's symbols; 0 until known.
    pub(crate) symbols: Vec<i64>,
    /// The inputs' memory.
    pub(crate) inputs: Vec<*const u8>,
    /// The outputs' memory; null until shaped.
    pub(crate) outputs: Vec<*mut u8>,
    /// Bytes of the outputs' memory, where another run has given it.
    pub(crate) rooms: Vec<i64>,
    /// The states' memory, on the device that runs.
    pub(crate) states: Vec<*mut u8>,
    /// The memory of what replaces states.
    pub(crate) next_states: Vec<*mut u8>,
    /// The addresses of buffers, as far as they are bound.
    pub(crate) buffers: Vec<*mut u8>,
    /// One arena per segment.
    pub(crate) arenas: Vec<Memory>,
    /// Scratch of the step that runs.
    pub(crate) scratch: Memory,
    /// What a run on a GPU has there.
    pub(crate) gpu: Option<cuda::Run>,
    /// The lists of the call that is made.
    pub(crate) call: CallLists,
    /// The elements of inputs that are handles, in the order of those inputs.
    pub(crate) input_handles: Vec<Vec<u64>>,
    /// The elements of outputs that are handles, with their number, shape and element type.
    pub(crate) output_handles: Vec<HandleOutput>,
}

/// An output whose elements are handles until the run has ended.
#[derive(Debug)]
pub(crate) struct HandleOutput {
    pub(crate) output: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) handles: Vec<u64>,
}

/// What a call points to. Empty between calls.
#[derive(Debug, Default)]
pub(crate) struct CallLists {
    pub(crate) operands: Vec<abi::Operand<'static>>,
    pub(crate) epilogue: Vec<abi::EpilogueOp>,
    pub(crate) buffers: Vec<*mut u8>,
}

// SAFETY: the addresses are of memory that the context owns, or are written anew by each run before they are read.
unsafe impl Send for Context {}

impl Context {
    /// Bytes of arena and scratch.
    pub(crate) fn bytes(&self) -> usize {
        let on_gpu = self.gpu.as_ref().map_or(0, cuda::Run::bytes);
        self.arenas.iter().map(Memory::len).sum::<usize>() + self.scratch.len() + on_gpu
    }
}
