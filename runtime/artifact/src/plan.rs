//! The plan of one entry on one class of targets: dim program, buffers and a flat list of steps.
//!
//! All extents, byte sizes and kernel attributes are slots of the dim program. It is evaluated once for each new tuple
//! of input shapes; then buffers are laid out in the arena, and steps run in order.

use serde::{Deserialize, Serialize};

/// Index into [`Plan::dims`].
pub type DimSlot = u32;

/// Index into [`Plan::buffers`].
pub type BufferId = u32;

/// The plan of one entry.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Where each symbol's value comes from.
    pub symbols: Vec<SymbolSource>,
    /// The dim program: slot `i` is the result of `dims[i]`, which refers to earlier slots only.
    pub dims: Vec<DimOp>,
    /// What each axis of each input must equal. An axis that defines a symbol names that symbol's slot.
    pub inputs: Vec<Vec<DimSlot>>,
    /// The shape of each output.
    pub outputs: Vec<Vec<DimSlot>>,
    /// Conditions on extents that the plan or a branch of it relies on, checked when they are bound.
    pub checks: Vec<DimCheck>,
    /// Memory.
    pub buffers: Vec<Buffer>,
    /// The work.
    pub steps: Vec<Step>,
    /// Parts between which the value of a symbol is read from memory. A plan without data-dependent extents has one.
    pub segments: Vec<Segment>,
    /// Library kernels that steps name.
    pub kernels: Vec<KernelRef>,
    /// Names of generated functions; the code section maps each index to an offset.
    pub functions: Vec<String>,
    /// What the plan does with state buffers.
    pub states: Vec<StateUse>,
    /// How much its steps do.
    pub work: PlanWork,
}

/// How much steps do, for whoever measures them: no run reads it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PlanWork {
    /// Continues the dim program: the first has the slot after the plan's last.
    pub dims: Vec<DimOp>,
    /// Steps of which it is known, in order.
    pub steps: Vec<StepWork>,
}

/// How much a step does, with those after it up to the next of the list that belong to the same kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepWork {
    /// The step.
    pub step: u32,
    /// Arithmetic operations, two for a multiply-add.
    pub operations: DimSlot,
    /// Whether most of them are products of 8-bit integers.
    pub is_integer: bool,
    /// Bytes of activations that it reads and writes, each once.
    pub activations: DimSlot,
    /// Bytes of weights that it reads, as they are stored.
    pub weights: DimSlot,
}

/// What a plan does with a state buffer. Extents are known before anything runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StateUse {
    /// Index into the manifest's list.
    pub state: u32,
    /// The extents of what the state must hold when a run begins, if the plan reads it.
    pub before: Option<Vec<DimSlot>>,
    /// The extents of what it holds when a run has ended, if the plan writes it.
    pub after: Option<Vec<DimSlot>>,
}

/// Where a symbol's value comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum SymbolSource {
    /// The extent of an input.
    Input {
        /// Which input.
        input: u32,
        /// Which axis.
        axis: u32,
    },
    /// An i64, or the bits of an f64, in memory, after the segment before the symbol's first use has run.
    Value {
        /// The buffer.
        buffer: BufferId,
        /// Index of the element.
        element: u32,
    },
    /// The extent of what a state holds when the run begins.
    State {
        /// Index into the manifest's list.
        state: u32,
        /// Which axis.
        axis: u32,
    },
}

/// One step of the dim program. Arithmetic is checked; overflow or division by zero refuses the shapes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum DimOp {
    /// The value of a symbol, by index.
    Symbol(u32),
    /// A constant; for f32 attributes the bit pattern.
    Const(i64),
    /// Sum.
    Add(DimSlot, DimSlot),
    /// Product.
    Mul(DimSlot, DimSlot),
    /// Quotient rounded towards negative infinity.
    FloorDiv(DimSlot, DimSlot),
    /// Remainder with the sign of the divisor.
    Mod(DimSlot, DimSlot),
    /// The smaller.
    Min(DimSlot, DimSlot),
    /// The larger.
    Max(DimSlot, DimSlot),
    /// The second where the first is 1, else the first.
    Broadcast(DimSlot, DimSlot),
}

/// A condition on extents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DimCheck {
    /// One extent.
    pub left: DimSlot,
    /// The other, which must be equal.
    pub right: DimSlot,
    /// Whether either may be 1 instead: the two broadcast.
    pub or_one: bool,
    /// The step of a branch that must not run where the condition fails; `None` if no run may begin.
    pub step: Option<u32>,
    /// The graph node that needs it.
    pub node: String,
}

/// A piece of memory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: DimSlot,
    /// Where it is.
    pub place: Place,
}

/// Where a buffer is.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Place {
    /// In the arena, 64-byte aligned, alive from step `first` to step `last`, both included.
    Arena {
        /// First step that writes it.
        first: u32,
        /// Last step that reads it.
        last: u32,
    },
    /// In the weight section.
    Weight {
        /// Offset from the section's start in bytes; a multiple of 64.
        offset: u64,
    },
    /// An input, in the caller's memory.
    Input(u32),
    /// An output, in the caller's memory.
    Output(u32),
    /// A state buffer, by index into the manifest's list.
    State(u32),
    /// A part of another buffer, which comes earlier in the list and is not itself a view.
    View {
        /// The whole.
        of: BufferId,
        /// Offset in bytes.
        offset: DimSlot,
    },
    /// What takes the place of a state buffer when the run has ended, by index into the manifest's list.
    NextState(u32),
}

/// A part of the plan between two readings of data-dependent symbols.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// Past its last slot of the dim program.
    pub dims_end: u32,
    /// Past its last buffer.
    pub buffers_end: u32,
    /// Past its last step.
    pub steps_end: u32,
}

/// A library kernel by name, layout and revision.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KernelRef {
    /// Name in the kernel table.
    pub name: String,
    /// Layout of its packed operands.
    pub layout: u32,
    /// Revision of its conventions.
    pub revision: u32,
}

/// One unit of work.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Calls a library kernel.
    Library {
        /// The graph node it came from, for messages and profiles.
        name: String,
        /// Index into [`Plan::kernels`].
        kernel: u32,
        /// Operands in the kernel's order; `None` is an absent optional one.
        operands: Vec<Option<Operand>>,
        /// Attributes in the kernel's order.
        attrs: Vec<DimSlot>,
        /// What a contraction does to its result.
        epilogue: Vec<Epilogue>,
        /// Generated code that finishes a contraction's result.
        callback: Option<Callback>,
    },
    /// Calls a generated function over its outer iteration space.
    Code {
        /// The graph node it came from, for messages and profiles.
        name: String,
        /// Index into [`Plan::functions`].
        function: u32,
        /// One buffer per parameter.
        buffers: Vec<BufferId>,
        /// Extents of the two outer axes; both are parallel.
        outer: [DimSlot; 2],
        /// About how many nanoseconds one outer point takes on one core: decides whether threads are worth waking.
        cost_ns: DimSlot,
        /// Bytes of scratch that each call needs.
        scratch_bytes: DimSlot,
    },
    /// Continues at `otherwise` if the bool in `condition` is false, else at the next step.
    Branch {
        /// A buffer that holds one bool.
        condition: BufferId,
        /// A later step.
        otherwise: u32,
    },
    /// Continues at `to`.
    Jump {
        /// A later step.
        to: u32,
    },
    /// Launches a kernel of a device's code section.
    Launch {
        /// The graph node it came from, for messages and profiles.
        name: String,
        /// Index into [`Plan::functions`]: names in the code section.
        function: u32,
        /// One buffer per parameter.
        buffers: Vec<BufferId>,
        /// The 32-bit parameters after those. A value that does not fit refuses the shapes.
        dims: Vec<DimSlot>,
        /// Number of blocks on each axis; nothing runs if one is 0.
        grid: [DimSlot; 3],
        /// Number of threads of a block on each axis.
        block: [u32; 3],
        /// Bytes of dynamic shared memory of a block.
        shared_bytes: u32,
    },
    /// Copies memory.
    Copy {
        /// All of a buffer.
        from: BufferId,
        /// A buffer of the same size; of any size if there is `at`.
        to: BufferId,
        /// A buffer that holds an i64: the place in `to`, counted in sizes of `from`.
        at: Option<BufferId>,
    },
    /// Begins a loop: sets its counter to 0, and continues at `end` if there is no iteration, else at the next step.
    Loop {
        /// A buffer that holds the number of the iteration, an i64, and after the loop how many there were.
        counter: BufferId,
        /// The most iterations.
        limit: Option<DimSlot>,
        /// A buffer that holds one bool: whether to begin.
        condition: Option<BufferId>,
        /// The step after the loop's [`Step::Next`].
        end: u32,
    },
    /// Ends an iteration: counts it, and continues after `to` if the loop goes on, else at the next step.
    Next {
        /// The [`Step::Loop`] that this belongs to.
        to: u32,
        /// A buffer that holds one bool: whether to go on.
        condition: Option<BufferId>,
    },
    /// Runs a later entry, which is bound to its inputs then: extents in it may depend on what was computed before.
    Call {
        /// The graph node it came from, for messages and profiles.
        name: String,
        /// Index of the entry.
        entry: u32,
        /// What its inputs are.
        inputs: Vec<CallInput>,
        /// Where its outputs go.
        outputs: Vec<BufferId>,
    },
}

/// An input of an entry that a step calls.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CallInput {
    /// The memory; `None` for an input that is there for its extents alone.
    pub buffer: Option<BufferId>,
    /// Extent of each axis.
    pub shape: Vec<DimSlot>,
}

/// An operand of a library kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Operand {
    /// The memory.
    pub buffer: BufferId,
    /// First element, counted in elements from the buffer's start.
    pub offset: Option<DimSlot>,
    /// ONNX element type number.
    pub dtype: u8,
    /// Extent of each axis.
    pub shape: Vec<DimSlot>,
    /// Distance between neighbours on each axis in elements; row-major dense if absent.
    pub strides: Option<Vec<DimSlot>>,
}

/// What a contraction does to each element of its result, in order. See `ic_kernels::abi::EpilogueOp`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Epilogue {
    /// Add a vector along the last axis.
    AddColumn(BufferId),
    /// Multiply by a vector along the last axis.
    MulColumn(BufferId),
    /// Add a tensor of the result's layout.
    AddTensor(BufferId),
    /// Multiply by a tensor of the result's layout.
    MulTensor(BufferId),
    /// Clamp to `[low, high]`.
    Clamp(f32, f32),
    /// Apply a strip, by index.
    Strip(u32),
    /// Multiply by the one element of a buffer.
    MulScalar(BufferId),
    /// Multiply by a number.
    Scale(f32),
    /// Add a number.
    Offset(f32),
    /// Add `(t - zero) * scale` for a tensor of 8-bit integers of the result's layout.
    AddQuantized {
        /// The tensor.
        tensor: BufferId,
        /// Whether its bytes are signed.
        signed: bool,
        /// What an integer step is worth.
        scale: f32,
        /// The integer that stands for 0.
        zero: f32,
    },
    /// Divide by the scale, round half to even, add the zero point, limit.
    Quantize {
        /// What an integer step is worth.
        scale: f32,
        /// The integer that stands for 0.
        zero: f32,
        /// The least integer.
        low: f32,
        /// The greatest integer.
        high: f32,
    },
}

impl Epilogue {
    /// The buffer that it reads, if it reads one.
    pub fn buffer(&self) -> Option<BufferId> {
        self.clone().buffer_mut().copied()
    }

    /// The buffer that it reads, if it reads one.
    pub fn buffer_mut(&mut self) -> Option<&mut BufferId> {
        match self {
            Epilogue::AddColumn(buffer)
            | Epilogue::MulColumn(buffer)
            | Epilogue::AddTensor(buffer)
            | Epilogue::MulTensor(buffer)
            | Epilogue::MulScalar(buffer)
            | Epilogue::AddQuantized { tensor: buffer, .. } => Some(buffer),
            Epilogue::Clamp(..)
            | Epilogue::Strip(_)
            | Epilogue::Scale(_)
            | Epilogue::Offset(_)
            | Epilogue::Quantize { .. } => None,
        }
    }
}

/// Generated code that finishes a contraction's result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// Index into [`Plan::functions`].
    pub function: u32,
    /// One buffer per parameter.
    pub buffers: Vec<BufferId>,
    /// Bytes of scratch that each call needs.
    pub scratch_bytes: DimSlot,
    /// Whether it is for whole rows, which it gets once all their columns are there, instead of tiles.
    pub whole_rows: bool,
}
