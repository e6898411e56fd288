//! Programs: kernels in order, the buffers between them, and branches.

use super::stage::Kernel;
use crate::graph::{SymbolRange, ValueId};
use crate::op::Constraint;
use crate::types::TensorType;
use ic_types::Dim;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A graph after partition.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The graph's name.
    pub name: String,
    /// Known ranges of symbols.
    pub symbols: BTreeMap<Arc<str>, SymbolRange>,
    /// Input names, in declaration order; their buffers are of kind [`BufferKind::Input`].
    pub inputs: Vec<Arc<str>>,
    /// Output names, in declaration order; their buffers are of kind [`BufferKind::Output`].
    pub outputs: Vec<Arc<str>>,
    /// Buffers.
    pub buffers: Vec<Buffer>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Conditions on symbols that the run checks, with the model node that needs each.
    pub constraints: Vec<(Constraint, Arc<str>)>,
    /// State buffers that it reads or writes.
    pub states: Vec<StateUse>,
}

/// What a program does with a state buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateUse {
    /// Index into the artifact's list of states.
    pub state: u32,
    /// The extents of what the state holds when a run begins, if the program reads it.
    pub before: Option<Vec<Dim>>,
    /// The extents of what it holds when the run has ended, if the program writes it.
    pub after: Option<Vec<Dim>>,
}

/// Index into [`Program::buffers`].
pub type BufferId = u32;

/// A dense row-major tensor in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Buffer {
    /// Element type and extents.
    pub ty: TensorType,
    /// What it is.
    pub kind: BufferKind,
}

/// What a buffer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BufferKind {
    /// An input, by index.
    Input(u32),
    /// An output, by index.
    Output(u32),
    /// A value of the graph that depends on constants alone; the compiler evaluates and packs it.
    Constant(ValueId),
    /// A state buffer, by its index in the artifact's list. What is appended to it is written in place.
    State(u32),
    /// What takes the place of a state buffer's contents when the run has ended.
    NextState(u32),
    /// Memory that lives between its first and last use.
    Temporary,
    /// The memory of another buffer that is not itself a view, from `offset` elements on. In-place results and pieces
    /// of concatenations.
    View {
        /// The whole.
        of: BufferId,
        /// First element, counted in elements of this buffer's type.
        offset: Dim,
    },
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Runs a kernel.
    Kernel {
        /// The kernel.
        kernel: Kernel,
        /// One buffer per parameter.
        args: Vec<Argument>,
        /// Names of the model's nodes that it computes, for messages.
        location: Arc<str>,
    },
    /// Reads the values of symbols, which no earlier step depends on.
    Read(Vec<ReadSymbol>),
    /// Runs one of two lists of steps.
    If {
        /// A buffer that holds one bool.
        condition: BufferId,
        /// If it is true.
        then: Vec<Step>,
        /// If it is false.
        otherwise: Vec<Step>,
        /// Conditions on symbols that each of the two relies on, with the model node that needs each.
        constraints: [Vec<(Constraint, Arc<str>)>; 2],
        /// Name of the model's node.
        location: Arc<str>,
    },
    /// Runs a list of steps again and again.
    Loop(Box<Loop>),
}

/// Steps that run again and again, while fewer than `trips` iterations have run and the condition holds.
#[derive(Clone, Debug)]
pub struct Loop {
    /// The number of the iteration, one i64; in the end how many have run.
    pub counter: BufferId,
    /// The most iterations.
    pub trips: Option<Dim>,
    /// One bool: whether to begin.
    pub begin: Option<BufferId>,
    /// One bool that the body writes: whether to go on.
    pub goes_on: BufferId,
    /// What iterations pass on.
    pub carried: Vec<Carried>,
    /// Elements that each iteration writes, and the buffers in which they come to lie one after the other.
    pub scans: Vec<(BufferId, BufferId)>,
    /// One iteration.
    pub body: Vec<Step>,
    /// Conditions on symbols that the body relies on, with the model node that needs each.
    pub constraints: Vec<(Constraint, Arc<str>)>,
    /// Name of the model's node.
    pub location: Arc<str>,
}

/// A value that iterations pass on. All three buffers have the same size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// What it is at first.
    pub initial: BufferId,
    /// What the body reads, and the loop gives.
    pub state: BufferId,
    /// What the body writes.
    pub next: BufferId,
}

/// A symbol whose value is an element of a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadSymbol {
    /// The symbol.
    pub name: Arc<str>,
    /// A buffer of i64, or of f64, of which the symbol is the bits.
    pub buffer: BufferId,
    /// Row-major number of the element.
    pub element: u32,
}

/// A buffer as an argument of a kernel.
pub type Argument = BufferId;
