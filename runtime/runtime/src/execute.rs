//! Runs the steps of a bound segment.

use crate::bind::{Address, Binding, BoundCode, BoundStep, begin_of};
use crate::context::{Context, HandleOutput};
use crate::program::Program;
use crate::segments::{self, Surroundings};
use crate::{Error, Outputs, Profile, StepTime};
use ic_artifact::{BufferId, Callback, Epilogue, Step};
use ic_kernels::abi::{self, EpilogueOp, Parallel, Strip, Tile};
use ic_kernels::host::Host;
use ic_kernels::isa::Isa;
use ic_types::{DType, Tensor};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Gives every buffer of segment `index` its address, and outputs their memory.
///
/// # Errors
/// If there is not enough memory.
pub(crate) fn place(
    program: &Program,
    index: usize,
    binding: &Binding,
    context: &mut Context,
    outputs: Option<&mut Outputs>,
) -> Result<(), Error> {
    context.arenas[index].reserve(binding.layout.bytes, "arena")?;
    context.scratch.reserve(binding.scratch_bytes, "scratch")?;
    match outputs {
        Some(outputs) => place_outputs(binding, context, outputs)?,
        None => check_rooms(program, binding, context)?,
    }
    let arena = context.arenas[index].as_mut_ptr();
    let weights = program.loaded.weights();
    for address in &binding.addresses {
        let address = match *address {
            Address::Arena(offset) => arena.wrapping_add(offset),
            Address::Weight(offset) => weights.wrapping_add(offset).cast_mut(),
            Address::Input(input) => context.inputs[input as usize].cast_mut(),
            Address::Output(output) => context.outputs[output as usize],
            Address::State(state) => context.states[state as usize],
            Address::NextState(state) => context.next_states[state as usize],
            Address::View { of, offset } => context.buffers[of as usize].wrapping_add(offset),
        };
        context.buffers.push(address);
    }
    Ok(())
}

/// Gives the outputs that a segment is the first to have a buffer in their memory.
fn place_outputs(binding: &Binding, context: &mut Context, outputs: &mut Outputs) -> Result<(), Error> {
    for (output, shape) in &binding.outputs {
        let dtype = outputs.dtype(*output);
        if dtype.is_handle() {
            let mut handles = vec![0; shape.iter().product()];
            context.outputs[*output] = handles.as_mut_ptr().cast();
            context.output_handles.push(HandleOutput { output: *output, dtype, shape: shape.clone(), handles });
        } else {
            context.outputs[*output] = outputs.shape(*output, shape)?;
        }
    }
    Ok(())
}

/// Fails unless the memory that a calling run has given has room for the outputs.
fn check_rooms(program: &Program, binding: &Binding, context: &Context) -> Result<(), Error> {
    for (output, shape) in &binding.outputs {
        let port = &program.entry().outputs[*output];
        let size = DType::from_code(port.dtype).and_then(DType::size).unwrap_or(0);
        let bytes = shape.iter().fold(size, |bytes, &extent| bytes.saturating_mul(extent));
        let room = context.rooms.get(*output).copied().unwrap_or(0);
        if i64::try_from(bytes).ok() != Some(room) {
            let problem = format!("output `{}` takes {bytes} bytes, there is room for {room}", port.name);
            return Err(Error::Shapes { entry: program.entry().name.clone(), problem });
        }
    }
    Ok(())
}

/// Gives outputs whose elements are handles their strings and objects.
///
/// # Errors
/// If an element was never written.
pub(crate) fn give_handles(
    program: &Program,
    host: &Host,
    context: &mut Context,
    outputs: &mut Outputs,
) -> Result<(), Error> {
    for HandleOutput { output, dtype, shape, handles } in context.output_handles.drain(..) {
        let data = host.elements_of(dtype, &handles).map_err(|problem| Error::Shapes {
            entry: program.entry().name.clone(),
            problem: format!("output `{}`: {problem}", program.entry().outputs[output].name),
        })?;
        outputs.set(output, Tensor::new(shape, data));
    }
    Ok(())
}

/// Runs segment `index`, whose buffers have been placed.
///
/// # Errors
/// If a kernel refuses its data.
pub(crate) fn run(
    program: &Program,
    index: usize,
    binding: &Binding,
    context: &mut Context,
    around: Surroundings,
    mut profile: Option<&mut Profile>,
) -> Result<(), Error> {
    let begin = begin_of(program.plan(), index).steps_end as usize;
    let end = program.plan().segments[index].steps_end as usize;
    let mut at = begin;
    while at < end {
        let start = profile.is_some().then(Instant::now);
        let step = &program.plan().steps[at];
        let next = match (step, &binding.steps[at - begin]) {
            (_, BoundStep::Refused(problem)) => {
                return Err(Error::Shapes { entry: program.entry().name.clone(), problem: problem.clone() });
            }
            (Step::Library { .. }, BoundStep::Library { operands, attrs }) => {
                run_library(program, step, (operands, attrs), binding, context, around)?;
                at + 1
            }
            (Step::Code { function, buffers, .. }, BoundStep::Code(code)) => {
                let function = program.functions[*function as usize];
                run_code(program, function, buffers, code, binding, context, around.pool);
                at + 1
            }
            // SAFETY: the buffer has been placed, and binding has seen that it has a byte.
            (Step::Branch { condition, otherwise }, _) => match unsafe { *context.buffers[*condition as usize] } {
                0 => *otherwise as usize,
                _ => at + 1,
            },
            (Step::Jump { to }, _) => *to as usize,
            (Step::Copy { from, to, at: place }, &BoundStep::Copy { bytes, room }) => {
                copy(&context.buffers, *from, *to, *place, [bytes, room])
                    .map_err(|problem| Error::Shapes { entry: program.entry().name.clone(), problem })?;
                at + 1
            }
            (Step::Call { entry, inputs, outputs, .. }, _) => {
                let room = |buffer: BufferId| binding.slots[program.plan().buffers[buffer as usize].bytes as usize];
                let ports = (inputs.as_slice(), outputs.as_slice());
                segments::call(&program.calls[entry], ports, &binding.slots, &context.buffers, &room, around)?;
                at + 1
            }
            (Step::Loop { counter, condition, end, .. }, &BoundStep::Loop { limit }) => {
                store(&context.buffers, *counter, 0);
                if limit > 0 && holds(&context.buffers, *condition) { at + 1 } else { *end as usize }
            }
            (Step::Next { to, condition }, &BoundStep::Next { counter, limit }) => {
                let n = load(&context.buffers, counter).wrapping_add(1);
                store(&context.buffers, counter, n);
                if n < limit && holds(&context.buffers, *condition) { *to as usize + 1 } else { at + 1 }
            }
            // Steps are bound by kind; there is no other pair.
            _ => at + 1,
        };
        if let (Some(profile), Some(start)) = (profile.as_deref_mut(), start) {
            note(program, at, start.elapsed(), profile);
        }
        at = next;
    }
    Ok(())
}

/// The i64 in a buffer.
fn load(buffers: &[*mut u8], buffer: BufferId) -> i64 {
    // SAFETY: the buffer has been placed, and binding has seen that it has eight bytes.
    unsafe { buffers[buffer as usize].cast::<i64>().read_unaligned() }
}

/// Stores an i64 in a buffer.
fn store(buffers: &[*mut u8], buffer: BufferId, value: i64) {
    // SAFETY: the buffer has been placed, and binding has seen that it has eight bytes.
    unsafe { buffers[buffer as usize].cast::<i64>().write_unaligned(value) };
}

/// Whether a condition holds; an absent one does.
fn holds(buffers: &[*mut u8], condition: Option<BufferId>) -> bool {
    // SAFETY: the buffer has been placed, and binding has seen that it has a byte.
    condition.is_none_or(|condition| unsafe { *buffers[condition as usize] } != 0)
}

/// Copies a buffer to the place in another that `at` holds, counted in its size; without it to the start.
///
/// # Errors
/// If it does not fit there.
fn copy(
    buffers: &[*mut u8],
    from: BufferId,
    to: BufferId,
    at: Option<BufferId>,
    [bytes, room]: [usize; 2],
) -> Result<(), String> {
    let place = at.map_or(0, |at| load(buffers, at));
    let offset = usize::try_from(place).ok().and_then(|place| place.checked_mul(bytes));
    let offset = offset.filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= room));
    let offset = offset.ok_or_else(|| format!("element {place} of {bytes} bytes is outside of {room} bytes"))?;
    // SAFETY: both buffers have been placed, `from` has `bytes` bytes and `to` has `room`.
    unsafe { std::ptr::copy(buffers[from as usize], buffers[to as usize].add(offset), bytes) };
    Ok(())
}

fn run_library(
    program: &Program,
    step: &Step,
    (operands, attrs): (&Range<usize>, &Range<usize>),
    binding: &Binding,
    context: &mut Context,
    around: Surroundings,
) -> Result<(), Error> {
    let Step::Library { name, kernel, epilogue, callback, .. } = step else { return Ok(()) };
    let Context { buffers, call: lists, scratch, .. } = context;
    lists.operands.clear();
    for operand in &binding.operands[operands.clone()] {
        let memory = operand.buffer.map_or(std::ptr::null_mut(), |buffer| buffers[buffer as usize]);
        // SAFETY: binding has seen that the operand lies in its buffer; the list is not used after this call.
        lists.operands.push(unsafe { operand.at(memory, &binding.extents) });
    }
    lists.epilogue.clear();
    lists.epilogue.extend(epilogue.iter().map(|op| bind_epilogue(op, buffers)));
    lists.buffers.clear();
    lists.buffers.extend(callback.iter().flat_map(|c| &c.buffers).map(|&buffer| buffers[buffer as usize]));
    let callback = callback.as_ref().map(|Callback { function, scratch_bytes, whole_rows, .. }| abi::Callback {
        function: program.functions[*function as usize],
        buffers: &lists.buffers,
        dims: &binding.slots,
        table: program.table,
        scratch_bytes: binding.slots[*scratch_bytes as usize] as usize,
        whole_rows: *whole_rows,
    });
    let call = abi::Call {
        operands: &lists.operands,
        attrs: &binding.attrs[attrs.clone()],
        epilogue: &lists.epilogue,
        callback,
        scratch: scratch.as_mut_ptr(),
        pool: around.pool,
        pieces: program.isa == Isa::Amx,
        host: around.host,
    };
    let kernel = program.kernels[*kernel as usize];
    // SAFETY: operands lie in their buffers and scratch has the size that the kernel asked for. That the plan calls
    // the kernel by its conventions, `Model::load` made the caller vouch for.
    unsafe { (kernel.run)(&call) }.map_err(|problem| Error::Kernel {
        node: name.clone(),
        kernel: kernel.name.into(),
        problem: problem.0,
    })
}

fn bind_epilogue(op: &Epilogue, buffers: &[*mut u8]) -> EpilogueOp {
    let address = |buffer: BufferId| buffers[buffer as usize].cast_const().cast::<f32>();
    match *op {
        Epilogue::AddColumn(buffer) => EpilogueOp::AddColumn(address(buffer)),
        Epilogue::MulColumn(buffer) => EpilogueOp::MulColumn(address(buffer)),
        Epilogue::AddTensor(buffer) => EpilogueOp::AddTensor(address(buffer)),
        Epilogue::MulTensor(buffer) => EpilogueOp::MulTensor(address(buffer)),
        Epilogue::Clamp(low, high) => EpilogueOp::Clamp(low, high),
        Epilogue::MulScalar(buffer) => EpilogueOp::MulScalar(address(buffer)),
        Epilogue::Scale(factor) => EpilogueOp::Scale(factor),
        Epilogue::Offset(term) => EpilogueOp::Offset(term),
        Epilogue::AddQuantized { tensor, signed, scale, zero } => {
            EpilogueOp::AddQuantized { tensor: address(tensor).cast(), signed, scale, zero }
        }
        Epilogue::Quantize { scale, zero, low, high } => EpilogueOp::Quantize { scale, zero, low, high },
        // The program has checked the index.
        Epilogue::Strip(strip) => EpilogueOp::Strip(Strip::ALL[strip as usize]),
    }
}

fn run_code(
    program: &Program,
    function: abi::GeneratedFn,
    buffers: &[BufferId],
    code: &BoundCode,
    binding: &Binding,
    context: &mut Context,
    pool: &dyn Parallel,
) {
    if code.outer.contains(&0) {
        return;
    }
    let Context { buffers: addresses, call: lists, scratch, .. } = context;
    lists.buffers.clear();
    lists.buffers.extend(buffers.iter().map(|&buffer| addresses[buffer as usize]));
    let shared = Shared { buffers: lists.buffers.as_ptr(), scratch: scratch.as_mut_ptr() };
    let call = |begin: [i64; 2], end: [i64; 2], thread: usize| {
        let shared = &shared;
        let tile = Tile { begin, end, scratch: shared.scratch.wrapping_add(thread * code.scratch_stride) };
        // SAFETY: the caller of `Model::load` vouches for the code. Buffers and slots are those of the plan, scratch
        // is this thread's own, and the tile lies in the outer space.
        unsafe { function(shared.buffers, binding.slots.as_ptr(), program.table, &raw const tile) };
    };
    let Some(axis) = code.split else {
        return call([0, 0], code.outer, 0);
    };
    pool.run(code.outer[axis] as usize, &|range, thread| {
        let (mut begin, mut end) = ([0, 0], code.outer);
        (begin[axis], end[axis]) = (range.start as i64, range.end as i64);
        call(begin, end, thread);
    });
}

/// Addresses that threads share.
struct Shared {
    buffers: *const *mut u8,
    scratch: *mut u8,
}

// SAFETY: the list of buffers is only read; each thread has its own part of scratch; generated code writes disjoint
// parts of buffers for disjoint tiles.
unsafe impl Sync for Shared {}

/// Adds the time of step `at` to a profile.
pub(crate) fn note(program: &Program, at: usize, time: Duration, profile: &mut Profile) {
    let steps = &program.plan().steps;
    if profile.steps.len() != steps.len() {
        profile.steps = steps.iter().map(|step| untimed(program, step)).collect();
    }
    profile.steps[at].time += time;
    profile.steps[at].calls += 1;
}

fn untimed(program: &Program, step: &Step) -> StepTime {
    let (name, kernel) = match step {
        Step::Library { name, kernel, .. } => (name.as_str(), program.kernels[*kernel as usize].name),
        Step::Code { name, function, .. } => (name.as_str(), program.plan().functions[*function as usize].as_str()),
        Step::Branch { .. } => ("", "branch"),
        Step::Jump { .. } => ("", "jump"),
        Step::Launch { name, function, .. } => (name.as_str(), program.plan().functions[*function as usize].as_str()),
        Step::Copy { .. } => ("", "copy"),
        Step::Loop { .. } => ("", "loop"),
        Step::Next { .. } => ("", "next"),
        Step::Call { name, entry, .. } => (name.as_str(), program.calls[entry].program.entry().name.as_str()),
    };
    StepTime { name: name.into(), kernel: kernel.into(), time: Duration::ZERO, calls: 0, work: None }
}
