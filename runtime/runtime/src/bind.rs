//! Binds a segment of a plan to extents: evaluates the dim program, lays out the arena and checks every size, so that
//! a run only fills in addresses.

use crate::launch::{BoundLaunch, Transfers, bind_launch, tensor_bytes};
use crate::layout::{Interval, Layout};
use crate::operands::BoundOperand;
use crate::program::Program;
use crate::{Error, inputs};
use ic_artifact::{Buffer, BufferId, Callback, DimCheck, DimSlot, Place, Plan, Segment, Step, SymbolSource};
use ic_kernels::abi;
use std::ops::Range;

/// Work in nanoseconds from which on waking threads pays.
const PARALLEL_FROM_NS: i64 = 8_000;

/// A segment with everything known but addresses.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Values of all dim slots up to the segment's end.
    pub(crate) slots: Vec<i64>,
    /// The segment's part of the arena.
    pub(crate) layout: Layout,
    /// The most scratch that a step needs.
    pub(crate) scratch_bytes: usize,
    /// Where the segment's buffers are.
    pub(crate) addresses: Vec<Address>,
    /// The outputs that the segment is the first to have a buffer in, with their shapes.
    pub(crate) outputs: Vec<(usize, Vec<usize>)>,
    /// The segment's steps.
    pub(crate) steps: Vec<BoundStep>,
    /// Operands of library steps.
    pub(crate) operands: Vec<BoundOperand>,
    /// Extents and strides of operands.
    pub(crate) extents: Vec<i64>,
    /// Attributes of library steps.
    pub(crate) attrs: Vec<i64>,
    /// 32-bit parameters of launches.
    pub(crate) words: Vec<i32>,
    /// Where a device with memory of its own has the inputs and outputs of the segment.
    pub(crate) transfers: Transfers,
}

/// Where a buffer is, relative to what a run provides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Address {
    Arena(usize),
    Weight(usize),
    Input(u32),
    Output(u32),
    State(u32),
    NextState(u32),
    View { of: u32, offset: usize },
}

/// A step with bound shapes.
#[derive(Clone, Debug)]
pub(crate) enum BoundStep {
    Library {
        operands: Range<usize>,
        attrs: Range<usize>,
    },
    Code(BoundCode),
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "this build has no device that launches"))]
    Launch(BoundLaunch),
    Control,
    /// Copies so many bytes into room of this size.
    Copy {
        bytes: usize,
        room: usize,
    },
    /// Runs at most so many iterations.
    Loop {
        limit: i64,
    },
    Next {
        counter: BufferId,
        limit: i64,
    },
    /// A step of a branch that these extents do not allow.
    Refused(String),
}

/// A call of generated code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BoundCode {
    pub(crate) outer: [i64; 2],
    /// The axis that threads share; `None` if one thread is enough.
    pub(crate) split: Option<usize>,
    /// Scratch of each thread.
    pub(crate) scratch_stride: usize,
}

/// Binds segment `index`. `slots` are those of the segments before, `key` the extents of all inputs, `symbols` the
/// values of the symbols known by now. `latest` is a binding of the segment to other extents.
///
/// # Errors
/// If inputs do not fit, a state is full, a size overflows, or something reaches outside of its memory.
pub(crate) fn bind(
    to: &Program,
    index: usize,
    slots: &[i64],
    key: &[i64],
    symbols: &[i64],
    latest: Option<&Binding>,
) -> Result<Binding, Error> {
    let begin = begin_of(to.plan(), index);
    let end = to.plan().segments[index];
    let mut slots = slots.to_vec();
    let evaluated = evaluate(to.plan(), end, symbols, &mut slots);
    if index == 0 {
        inputs::check_extents(to.entry(), to.plan(), key, &slots)?;
        check_capacity(to, &slots)?;
    }
    let refuse = |problem| Error::Shapes { entry: to.entry().name.clone(), problem };
    evaluated.map_err(refuse)?;
    let broken = broken_conditions(to.plan(), begin, end, &slots);
    if let Some((_, problem)) = broken.iter().find(|(step, _)| step.is_none()) {
        return Err(refuse(problem.clone()));
    }
    let mut binding = Binding {
        slots,
        layout: Layout::default(),
        scratch_bytes: 0,
        addresses: Vec::new(),
        outputs: Vec::new(),
        steps: Vec::new(),
        operands: Vec::new(),
        extents: Vec::new(),
        attrs: Vec::new(),
        words: Vec::new(),
        transfers: Transfers::default(),
    };
    bind_buffers(to, begin, end, key, &mut binding, latest).map_err(refuse)?;
    if to.loaded.gpu().is_some() {
        let transfers = Transfers::new(to, index, key, &binding.outputs);
        binding.transfers = transfers.ok_or_else(|| refuse("inputs and outputs do not fit in memory".into()))?;
    }
    for (index, step) in to.plan().steps.iter().enumerate().take(end.steps_end as usize).skip(begin.steps_end as usize)
    {
        let condition = broken.iter().find(|(step, _)| *step == Some(index as u32));
        let bound = match condition {
            Some((_, problem)) => Err(problem.clone()),
            None => bind_step(to, step, &mut binding).map_err(|problem| describe(step, index, problem)),
        };
        match bound {
            Ok(()) => {}
            // Whether the branch runs is known only then.
            Err(problem) if to.guarded[index] => binding.steps.push(BoundStep::Refused(problem)),
            Err(problem) => return Err(refuse(problem)),
        }
    }
    Ok(binding)
}

/// Where segment `index` begins: where the one before it ends.
pub(crate) fn begin_of(plan: &Plan, index: usize) -> Segment {
    match index.checked_sub(1) {
        Some(before) => plan.segments[before],
        None => Segment { dims_end: 0, buffers_end: 0, steps_end: 0 },
    }
}

fn describe(step: &Step, index: usize, problem: String) -> String {
    match step {
        Step::Library { name, .. } | Step::Code { name, .. } | Step::Launch { name, .. } => {
            format!("`{name}` (step {index}): {problem}")
        }
        _ => format!("step {index}: {problem}"),
    }
}

/// Extends `slots` to the end of the segment.
fn evaluate(plan: &Plan, end: Segment, symbols: &[i64], slots: &mut Vec<i64>) -> Result<(), String> {
    for op in &plan.dims[slots.len()..end.dims_end as usize] {
        let value =
            op.apply(&|slot| slots.get(slot as usize).copied(), &|symbol| symbols.get(symbol as usize).copied());
        let at = slots.len();
        slots.push(value.ok_or_else(|| format!("dim slot {at} overflows 64 bits or is divided by zero"))?);
    }
    Ok(())
}

/// The conditions that the extents of the segment from `begin` to `end` break: the step that must not run, and what is
/// wrong.
fn broken_conditions(plan: &Plan, begin: Segment, end: Segment, slots: &[i64]) -> Vec<(Option<u32>, String)> {
    let is_of_segment = |check: &&DimCheck| match check.step {
        Some(step) => (begin.steps_end..end.steps_end).contains(&step),
        None => (begin.dims_end..end.dims_end).contains(&check.left.max(check.right)),
    };
    let breaks = |check: &DimCheck| {
        let (left, right) = (slots[check.left as usize], slots[check.right as usize]);
        let holds = left == right || (check.or_one && (left == 1 || right == 1));
        let how = if check.or_one { "broadcast" } else { "equal each other" };
        (!holds).then(|| (check.step, format!("`{}`: extents {left} and {right} must {how}", check.node)))
    };
    plan.checks.iter().filter(is_of_segment).filter_map(breaks).collect()
}

/// Which steps a branch or a loop can pass over.
pub(crate) fn guarded_steps(plan: &Plan) -> Vec<bool> {
    let mut guarded = vec![false; plan.steps.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        let (Step::Branch { otherwise: to, .. } | Step::Jump { to } | Step::Loop { end: to, .. }) = step else {
            continue;
        };
        guarded[(index + 1).min(*to as usize)..*to as usize].fill(true);
    }
    guarded
}

/// Whether states can hold what a run would leave in them.
fn check_capacity(to: &Program, slots: &[i64]) -> Result<(), Error> {
    for used in &to.plan().states {
        let state = to.states.description(used.state);
        for shape in used.before.iter().chain(&used.after) {
            for (axis, (&slot, &capacity)) in shape.iter().zip(&state.capacity).enumerate() {
                let needed = slots.get(slot as usize).copied().unwrap_or(0);
                if needed > capacity {
                    return Err(Error::Capacity { state: state.name.clone(), axis, capacity, needed });
                }
            }
        }
    }
    Ok(())
}

/// The value of `slot` as a size.
fn size(slots: &[i64], slot: DimSlot, what: impl std::fmt::Display) -> Result<usize, String> {
    let value = slots[slot as usize];
    usize::try_from(value).map_err(|_| format!("{what} is {value}"))
}

fn bind_buffers(
    to: &Program,
    begin: Segment,
    end: Segment,
    key: &[i64],
    binding: &mut Binding,
    latest: Option<&Binding>,
) -> Result<(), String> {
    let range = begin.buffers_end as usize..end.buffers_end as usize;
    let mut intervals = Vec::new();
    for (index, buffer) in to.plan().buffers[range.clone()].iter().enumerate() {
        let id = range.start + index;
        let bytes = size(&binding.slots, buffer.bytes, format_args!("size of buffer {id}"))?;
        let address = match buffer.place {
            Place::Arena { first, last } => {
                let last = last.max(to.kept_until[id]);
                intervals.push(Interval { bytes, first, last });
                Address::Arena(intervals.len() - 1)
            }
            _ => fixed_address(to, buffer, bytes, key, binding)?,
        };
        binding.addresses.push(address);
        if let Address::Output(output) = address
            && to.first_buffers[output as usize] == id
        {
            binding.outputs.push((output as usize, output_shape(to, output as usize, &binding.slots)?));
        }
    }
    // A state that grows changes sizes with every run: they get room to grow.
    let latest = latest.map(|latest| &latest.layout).filter(|_| to.uses_states);
    let layout = match latest {
        Some(latest) if latest.fits(&intervals) => Some(latest.clone()),
        Some(_) => Layout::with_room(&intervals),
        None => Layout::new(&intervals),
    };
    binding.layout = layout.ok_or("the arena does not fit in memory")?;
    for address in &mut binding.addresses {
        if let Address::Arena(at) = address {
            *at = binding.layout.offsets[*at];
        }
    }
    Ok(())
}

/// The address of a buffer outside of the arena, of which it needs `bytes` bytes.
fn fixed_address(
    to: &Program,
    buffer: &Buffer,
    bytes: usize,
    key: &[i64],
    binding: &Binding,
) -> Result<Address, String> {
    let slots = &binding.slots;
    let (address, start, whole) = match buffer.place {
        Place::Weight { offset } => (Address::Weight(offset as usize), offset as usize, Some(to.loaded.weight_bytes())),
        Place::Input(input) => {
            let port = &to.entry().inputs[input as usize];
            let before: usize = to.entry().inputs[..input as usize].iter().map(|port| port.shape.len()).sum();
            let extents = &key[before..before + port.shape.len()];
            (Address::Input(input), 0, tensor_bytes(port.dtype, extents.iter().copied()))
        }
        Place::Output(output) => {
            let shape = to.plan().outputs[output as usize].iter().map(|&slot| slots[slot as usize]);
            (Address::Output(output), 0, tensor_bytes(to.entry().outputs[output as usize].dtype, shape))
        }
        Place::State(state) => (Address::State(state), 0, Some(to.states.bytes(state))),
        Place::NextState(state) => (Address::NextState(state), 0, Some(to.states.bytes(state))),
        Place::View { of, offset } => {
            let offset = size(slots, offset, "offset of a view")?;
            let whole = size(slots, to.plan().buffers[of as usize].bytes, "size of a buffer")?;
            (Address::View { of, offset }, offset, Some(whole))
        }
        Place::Arena { .. } => return Err("arena buffers have no fixed address".into()),
    };
    let end = start.checked_add(bytes);
    if end.zip(whole).is_none_or(|(end, whole)| end > whole) {
        return Err(format!("{bytes} bytes at {start} of {:?} reach outside of it", buffer.place));
    }
    Ok(address)
}

/// The shape of `output`.
fn output_shape(to: &Program, output: usize, slots: &[i64]) -> Result<Vec<usize>, String> {
    let name = &to.entry().outputs[output].name;
    let axes = to.plan().outputs[output].iter().enumerate();
    axes.map(|(axis, &slot)| size(slots, slot, format_args!("axis {axis} of output `{name}`"))).collect()
}

fn bind_step(to: &Program, step: &Step, binding: &mut Binding) -> Result<(), String> {
    let (bound, scratch) = match step {
        Step::Library { kernel, operands, attrs, callback, .. } => {
            let begin = (binding.operands.len(), binding.attrs.len());
            for (index, operand) in operands.iter().enumerate() {
                let bound = match operand {
                    None => BoundOperand::ABSENT,
                    Some(operand) => {
                        let bytes = to.plan().buffers[operand.buffer as usize].bytes;
                        let bytes = size(&binding.slots, bytes, "size of a buffer")?;
                        BoundOperand::bind(operand, &binding.slots, bytes, &mut binding.extents)
                            .map_err(|problem| format!("operand {index} {problem}"))?
                    }
                };
                binding.operands.push(bound);
            }
            binding.attrs.extend(attrs.iter().map(|&slot| binding.slots[slot as usize]));
            let operands = begin.0..binding.operands.len();
            let attrs = begin.1..binding.attrs.len();
            let scratch = library_scratch(to, *kernel, callback.as_ref(), &operands, &attrs, binding)?;
            (BoundStep::Library { operands, attrs }, scratch)
        }
        Step::Code { outer, cost_ns, scratch_bytes, .. } => {
            let code =
                bind_code(to, outer.map(|slot| binding.slots[slot as usize]), *cost_ns, *scratch_bytes, binding)?;
            let scratch = code.scratch_stride.checked_mul(to.threads);
            (BoundStep::Code(code), scratch.ok_or("its scratch does not fit in memory")?)
        }
        Step::Branch { condition, .. } => {
            let bytes = to.plan().buffers[*condition as usize].bytes;
            if size(&binding.slots, bytes, "size of the condition")? == 0 {
                return Err("its condition is empty".into());
            }
            (BoundStep::Control, 0)
        }
        Step::Jump { .. } => (BoundStep::Control, 0),
        // What is called is bound when it is.
        Step::Call { .. } => (BoundStep::Control, 0),
        Step::Launch { dims, grid, .. } if to.loaded.gpu().is_some() => {
            (BoundStep::Launch(bind_launch(&binding.slots, dims, *grid, &mut binding.words)?), 0)
        }
        Step::Launch { .. } => return Err("it launches a kernel on a device, and the plan is for the CPU".into()),
        Step::Copy { from, to: target, at } => {
            let (bytes, room) = (buffer_bytes(to, *from, binding)?, buffer_bytes(to, *target, binding)?);
            match at {
                None if bytes != room => return Err(format!("{bytes} bytes are copied to {room}")),
                None => {}
                Some(at) => require_bytes(to, *at, size_of::<i64>(), binding)?,
            }
            (BoundStep::Copy { bytes, room }, 0)
        }
        Step::Loop { counter, limit, condition, .. } => {
            require_bytes(to, *counter, size_of::<i64>(), binding)?;
            condition.iter().try_for_each(|&condition| require_bytes(to, condition, 1, binding))?;
            let limit = limit.map(|limit| size(&binding.slots, limit, "the number of iterations")).transpose()?;
            (BoundStep::Loop { limit: limit.map_or(i64::MAX, |limit| limit as i64) }, 0)
        }
        Step::Next { to: head, condition } => {
            condition.iter().try_for_each(|&condition| require_bytes(to, condition, 1, binding))?;
            let Step::Loop { counter, limit, .. } = to.plan().steps[*head as usize] else {
                return Err("it belongs to no loop".into());
            };
            let limit = limit.map(|limit| size(&binding.slots, limit, "the number of iterations")).transpose()?;
            (BoundStep::Next { counter, limit: limit.map_or(i64::MAX, |limit| limit as i64) }, 0)
        }
    };
    binding.scratch_bytes = binding.scratch_bytes.max(scratch);
    binding.steps.push(bound);
    Ok(())
}

/// The size of a buffer.
fn buffer_bytes(to: &Program, buffer: BufferId, binding: &Binding) -> Result<usize, String> {
    size(&binding.slots, to.plan().buffers[buffer as usize].bytes, "size of a buffer")
}

/// Fails unless a buffer has `bytes` bytes.
fn require_bytes(to: &Program, buffer: BufferId, bytes: usize, binding: &Binding) -> Result<(), String> {
    let found = buffer_bytes(to, buffer, binding)?;
    if found >= bytes { Ok(()) } else { Err(format!("buffer {buffer} has {found} bytes, not {bytes}")) }
}

/// Bytes of scratch of a library call.
fn library_scratch(
    to: &Program,
    kernel: u32,
    callback: Option<&Callback>,
    operands: &Range<usize>,
    attrs: &Range<usize>,
    binding: &Binding,
) -> Result<usize, String> {
    let shapes: Vec<abi::Operand> = binding.operands[operands.clone()]
        .iter()
        .map(|operand| {
            // Only whether it is null matters: sizes are computed from shapes.
            let memory = if operand.buffer.is_some() { std::ptr::dangling_mut() } else { std::ptr::null_mut() };
            // SAFETY: the memory is never accessed, and `binding.extents` outlives the list.
            unsafe { operand.at(memory, &binding.extents) }
        })
        .collect();
    let callback = match callback {
        Some(callback) => {
            let scratch_bytes = size(&binding.slots, callback.scratch_bytes, "callback scratch")?;
            if scratch_bytes.checked_add(64).and_then(|bytes| bytes.checked_mul(to.threads)).is_none() {
                return Err("its callback's scratch does not fit in memory".into());
            }
            let function = to.functions[callback.function as usize];
            let (dims, whole_rows) = (&binding.slots, callback.whole_rows);
            Some(abi::Callback { function, buffers: &[], dims, table: to.table, scratch_bytes, whole_rows })
        }
        None => None,
    };
    let kernel = to.kernels[kernel as usize];
    Ok(kernel.scratch_with_callback(&shapes, &binding.attrs[attrs.clone()], to.threads, callback.as_ref()))
}

fn bind_code(
    to: &Program,
    outer: [i64; 2],
    cost_ns: DimSlot,
    scratch_bytes: DimSlot,
    binding: &Binding,
) -> Result<BoundCode, String> {
    if outer.iter().any(|&extent| extent < 0) {
        return Err(format!("its iteration space is {outer:?}"));
    }
    let scratch_stride = size(&binding.slots, scratch_bytes, "scratch")?.checked_next_multiple_of(64);
    let scratch_stride = scratch_stride.ok_or("its scratch does not fit in memory")?;
    let cost = outer[0].saturating_mul(outer[1]).saturating_mul(binding.slots[cost_ns as usize].max(1));
    let split = (to.threads > 1 && cost >= PARALLEL_FROM_NS).then(|| split_axis(outer, to.threads as i64));
    Ok(BoundCode { outer, split, scratch_stride })
}

/// The axis that `threads` threads share: the first unless the second balances better.
fn split_axis(outer: [i64; 2], threads: i64) -> usize {
    // Extent per thread over the ideal: 1 is balanced.
    let imbalance = |extent: i64| {
        let largest = extent / threads + i64::from(extent % threads != 0);
        largest as f64 * threads as f64 / extent.max(1) as f64
    };
    usize::from(outer[0] < 8 * threads && imbalance(outer[1]) < imbalance(outer[0]))
}

/// For each segment, the symbols that are read from memory before it is bound, with buffer and element.
pub(crate) fn values_read(plan: &Plan) -> Vec<Vec<(u32, u32, u32)>> {
    let mut read = vec![false; plan.symbols.len()];
    let mut segments = Vec::new();
    let mut begin = 0;
    for segment in &plan.segments {
        let mut values = Vec::new();
        for op in &plan.dims[begin as usize..segment.dims_end as usize] {
            if let ic_artifact::DimOp::Symbol(symbol) = *op
                && let SymbolSource::Value { buffer, element } = plan.symbols[symbol as usize]
                && !std::mem::replace(&mut read[symbol as usize], true)
            {
                values.push((symbol, buffer, element));
            }
        }
        begin = segment.dims_end;
        segments.push(values);
    }
    segments
}

/// For each buffer, the step up to which the arena must keep it because a data-dependent symbol is read from it.
pub(crate) fn kept_until(plan: &Plan, values: &[Vec<(u32, u32, u32)>]) -> Vec<u32> {
    let mut kept = vec![0; plan.buffers.len()];
    for (segment, values) in values.iter().enumerate() {
        let end = begin_of(plan, segment).steps_end;
        for &(_, buffer, _) in values {
            let whole = match plan.buffers[buffer as usize].place {
                Place::View { of, .. } => of,
                _ => buffer,
            };
            kept[whole as usize] = end;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_the_axis_that_balances() {
        assert_eq!(split_axis([1000, 1000], 4), 0);
        assert_eq!(split_axis([1, 1000], 2), 1);
        assert_eq!(split_axis([3, 1000], 2), 1);
        assert_eq!(split_axis([4, 1000], 2), 0);
        assert_eq!(split_axis([1, 1], 8), 0);
    }
}
