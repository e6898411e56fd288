//! Runs a program, segment by segment: symbols are read from what the segments before have written, then the segment is
//! bound to them, placed and run.

use crate::bind::{Binding, bind};
use crate::cache::BindingCache;
use crate::context::Context;
use crate::memory::Memory;
use crate::program::{Callee, Program};
use crate::states::StateBuffer;
use crate::{Error, Outputs, Profile, cuda, execute};
use ic_artifact::{BufferId, CallInput, SymbolSource};
use ic_kernels::abi::Parallel;
use ic_kernels::host::Host;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all steps of a run use.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) pool: &'a dyn Parallel,
    pub(crate) host: &'a Host,
}

/// Makes the lists of `context` ready for a run on the inputs that it has taken.
///
/// # Errors
/// If an extent is that of a state which holds nothing.
pub(crate) fn start(program: &Program, context: &mut Context, states: &mut [StateBuffer]) -> Result<(), Error> {
    let plan = program.plan();
    context.buffers.clear();
    context.buffers.reserve(plan.buffers.len());
    context.outputs.clear();
    context.outputs.resize(plan.outputs.len(), std::ptr::null_mut());
    context.states.clear();
    context.states.extend(states.iter_mut().map(|state| state.addresses()[0]));
    context.next_states.clear();
    context.next_states.extend(states.iter_mut().map(|state| state.addresses()[1]));
    context.arenas.resize_with(plan.segments.len(), Memory::default);
    context.symbols.clear();
    context.symbols.resize(plan.symbols.len(), 0);
    for (value, source) in context.symbols.iter_mut().zip(&plan.symbols) {
        match *source {
            SymbolSource::Input { input, axis } => {
                let before: usize = plan.inputs[..input as usize].iter().map(Vec::len).sum();
                *value = context.key[before + axis as usize];
            }
            SymbolSource::State { state, axis } => {
                *value = program.states.extent(states, state, axis)?;
                context.key.push(*value);
            }
            SymbolSource::Value { .. } => {}
        }
    }
    Ok(())
}

/// Runs all segments; the binding of the last. `outputs` is absent where their memory is in the context. `check` sees the
/// binding of the first segment.
///
/// # Errors
/// If the program cannot run on these shapes, memory runs out, or a kernel refuses its data.
pub(crate) fn run(
    program: &Program,
    bindings: &Mutex<BindingCache>,
    context: &mut Context,
    mut outputs: Option<&mut Outputs>,
    around: Surroundings,
    check: &dyn Fn(&Binding) -> Result<(), Error>,
    mut profile: Option<&mut Profile>,
) -> Result<Option<Arc<Binding>>, Error> {
    let mut previous: Option<Arc<Binding>> = None;
    for segment in 0..program.plan().segments.len() {
        read_values(program, segment, previous.as_deref(), context)?;
        let binding = binding(program, bindings, segment, previous.as_deref(), context)?;
        if segment == 0 {
            check(&binding)?;
        }
        match (program.loaded.gpu(), outputs.as_deref_mut()) {
            (Some(gpu), Some(outputs)) => {
                cuda::run(gpu, program, segment, &binding, context, outputs, profile.as_deref_mut())?;
            }
            (_, outputs) => {
                execute::place(program, segment, &binding, context, outputs)?;
                execute::run(program, segment, &binding, context, around, profile.as_deref_mut())?;
            }
        }
        previous = Some(binding);
    }
    Ok(previous)
}

/// Runs an entry on buffers of the run that calls it, whose dim slots are `slots`.
///
/// # Errors
/// As for [`run`].
pub(crate) fn call(
    callee: &Callee,
    (inputs, outputs): (&[CallInput], &[BufferId]),
    slots: &[i64],
    buffers: &[*mut u8],
    rooms: &dyn Fn(BufferId) -> i64,
    around: Surroundings,
) -> Result<(), Error> {
    let mut context = lock(&callee.contexts).pop().unwrap_or_default();
    context.key.clear();
    context.inputs.clear();
    for input in inputs {
        context.key.extend(input.shape.iter().map(|&slot| slots[slot as usize]));
        // What is there for its extents alone is never read.
        let memory = input.buffer.map_or(std::ptr::dangling(), |buffer| buffers[buffer as usize].cast_const());
        context.inputs.push(memory);
    }
    let program = &callee.program;
    let mut result = start(program, &mut context, &mut []);
    if result.is_ok() {
        context.rooms.clear();
        context.rooms.extend(outputs.iter().map(|&buffer| rooms(buffer)));
        for (to, &buffer) in context.outputs.iter_mut().zip(outputs) {
            *to = buffers[buffer as usize];
        }
        result = run(program, &callee.bindings, &mut context, None, around, &|_| Ok(()), None).map(|_| ());
    }
    lock(&callee.contexts).push(context);
    result
}

/// Reads the symbols that segment `index` takes from memory which the segments before it have written.
fn read_values(
    program: &Program,
    index: usize,
    previous: Option<&Binding>,
    context: &mut Context,
) -> Result<(), Error> {
    let Some(previous) = previous else { return Ok(()) };
    for &(symbol, buffer, element) in &program.values[index] {
        let refuse = |problem| Error::Shapes { entry: program.entry().name.clone(), problem };
        let bytes = previous.slots[program.plan().buffers[buffer as usize].bytes as usize];
        let offset = element as usize * size_of::<i64>();
        if (offset + size_of::<i64>()) as i64 > bytes {
            return Err(refuse(format!("element {element} of buffer {buffer} is outside of its {bytes} bytes")));
        }
        let value = match program.loaded.gpu() {
            Some(gpu) => cuda::read_value(gpu, context, buffer, offset)?,
            // SAFETY: the buffer has been placed, and the element lies in it.
            None => unsafe { context.buffers[buffer as usize].add(offset).cast::<i64>().read_unaligned() },
        };
        if value < 0 {
            return Err(refuse(format!("an extent that depends on the data is {value}")));
        }
        context.symbols[symbol as usize] = value;
        context.key.push(value);
    }
    Ok(())
}

/// The binding of segment `index` to the context's key: a kept one, or a new one.
///
/// # Errors
/// If the segment cannot run on these extents.
pub(crate) fn binding(
    program: &Program,
    bindings: &Mutex<BindingCache>,
    index: usize,
    previous: Option<&Binding>,
    context: &Context,
) -> Result<Arc<Binding>, Error> {
    if let Some(found) = lock(bindings).get(index as u32, &context.key) {
        return Ok(found);
    }
    let slots = previous.map_or(&[][..], |previous| &previous.slots);
    let latest = lock(bindings).latest(index as u32);
    let binding = bind(program, index, slots, &context.key, &context.symbols, latest.as_deref())?;
    let binding = Arc::new(binding);
    lock(bindings).insert(index as u32, &context.key, binding.clone());
    Ok(binding)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
