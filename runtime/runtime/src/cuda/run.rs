//! One run at a time: a stream, memory and transfers.

use super::device::Device;
use super::gpu::Gpu;
use super::memory::{DeviceMemory, PinnedMemory};
use super::replay::Replays;
use super::steps::LaunchLists;
use super::stream::{Event, Stream};
use crate::bind::{Address, Binding};
use crate::context::Context;
use crate::program::Program;
use crate::{Error, Outputs, Profile};
use cudarc::driver::result;
use ic_artifact::BufferId;
use std::sync::Arc;

/// What one run at a time has on a GPU. What is dropped first comes first.
#[derive(Debug)]
pub(crate) struct Run {
    /// Launches of shapes seen before.
    pub(super) replays: Replays,
    pub(super) stream: Stream,
    /// The memory of each segment.
    segments: Vec<SegmentMemory>,
    /// The bindings of the segments that the run has come to.
    bound: Vec<Arc<Binding>>,
    /// Where the copies of inputs are.
    inputs: Vec<u64>,
    /// Where the copies of outputs are, as far as they are bound.
    outputs: Vec<u64>,
    /// The addresses of buffers, as far as they are bound.
    pub(super) buffers: Vec<u64>,
    /// The addresses of states, and of what replaces them.
    pub(super) states: [Vec<u64>; 2],
    pub(super) launch: LaunchLists,
    /// Between steps, when they are timed.
    pub(super) events: Vec<Event>,
    pub(super) device: Arc<Device>,
}

/// What a segment has to itself.
#[derive(Debug, Default)]
struct SegmentMemory {
    /// The copies of inputs and outputs, then the arena.
    memory: Option<DeviceMemory>,
    /// The copies of inputs and outputs on their way.
    staging: Option<PinnedMemory>,
}

/// Runs a bound segment of an entry on the inputs that `context` has taken. The last one gives the outputs.
///
/// # Errors
/// If memory runs out or a kernel fails.
pub(crate) fn run(
    gpu: &Gpu,
    program: &Program,
    segment: usize,
    binding: &Arc<Binding>,
    context: &mut Context,
    outputs: &mut Outputs,
    profile: Option<&mut Profile>,
) -> Result<(), Error> {
    gpu.device.enter()?;
    let Context { gpu: kept, inputs, states, next_states, .. } = context;
    let run = match kept {
        Some(run) => run,
        None => kept.insert(Run::new(&gpu.device)?),
    };
    if segment == 0 {
        run.begin(program, [states, next_states]);
    }
    let result = run.segment(gpu, program, segment, binding, inputs, outputs, profile);
    if result.is_err() {
        // The next run may reuse what work that is still under way reads. Of two errors, the first is told.
        let _ = run.stream.synchronize();
    }
    result
}

/// The i64 at byte `offset` of a buffer that a segment has written.
///
/// # Errors
/// If a kernel has failed.
pub(crate) fn read_value(gpu: &Gpu, context: &mut Context, buffer: BufferId, offset: usize) -> Result<i64, Error> {
    gpu.device.enter()?;
    let run = context.gpu.as_ref().ok_or_else(|| gpu.device.refuse("nothing has run yet".into()))?;
    let mut value = [0; size_of::<i64>()];
    run.fetch(run.buffers[buffer as usize] + offset as u64, &mut value)?;
    Ok(i64::from_le_bytes(value))
}

impl Run {
    fn new(device: &Arc<Device>) -> Result<Run, Error> {
        Ok(Run {
            replays: Replays::default(),
            stream: Stream::new(device)?,
            segments: Vec::new(),
            bound: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            buffers: Vec::new(),
            states: Default::default(),
            launch: LaunchLists::default(),
            events: Vec::new(),
            device: device.clone(),
        })
    }

    /// Bytes of the device's memory.
    pub(crate) fn bytes(&self) -> usize {
        self.segments.iter().filter_map(|segment| segment.memory.as_ref()).map(DeviceMemory::len).sum()
    }

    /// Forgets the run before.
    fn begin(&mut self, program: &Program, states: [&[*mut u8]; 2]) {
        self.segments.resize_with(program.plan().segments.len(), SegmentMemory::default);
        self.bound.clear();
        self.inputs.clear();
        self.buffers.clear();
        self.outputs.clear();
        self.outputs.resize(program.plan().outputs.len(), 0);
        for (kept, given) in self.states.iter_mut().zip(states) {
            kept.clear();
            kept.extend(given.iter().map(|state| state.addr() as u64));
        }
    }

    fn segment(
        &mut self,
        gpu: &Gpu,
        program: &Program,
        index: usize,
        binding: &Arc<Binding>,
        inputs: &[*const u8],
        outputs: &mut Outputs,
        profile: Option<&mut Profile>,
    ) -> Result<(), Error> {
        self.bound.push(binding.clone());
        self.place(gpu, index, binding)?;
        if index == 0 {
            self.take_inputs(binding, inputs)?;
        }
        self.steps(program, index, binding, profile)?;
        if index + 1 == self.segments.len() { self.give_outputs(outputs) } else { Ok(()) }
    }

    /// Gives every buffer of segment `index` its address.
    fn place(&mut self, gpu: &Gpu, index: usize, binding: &Binding) -> Result<(), Error> {
        let transfers = &binding.transfers;
        let needed = transfers.bytes.saturating_add(binding.layout.bytes);
        let segment = &mut self.segments[index];
        if segment.memory.as_ref().is_none_or(|memory| memory.len() < needed) {
            // Recorded launches have the addresses of the old memory, which goes first, so that both need not fit.
            self.replays.clear();
            segment.memory = None;
            segment.memory = Some(DeviceMemory::new(&self.device, needed, "arena")?);
        }
        if segment.staging.as_ref().is_none_or(|staging| staging.as_slice().len() < transfers.bytes) {
            segment.staging = None;
            segment.staging = Some(PinnedMemory::new(&self.device, transfers.bytes)?);
        }
        let base = segment.memory.as_ref().map_or(0, DeviceMemory::address);
        self.inputs.extend(transfers.inputs.iter().map(|part| base + part.start as u64));
        for ((output, _), part) in binding.outputs.iter().zip(&transfers.outputs) {
            self.outputs[*output] = base + part.start as u64;
        }
        for address in &binding.addresses {
            self.buffers.push(match *address {
                Address::Arena(offset) => base + (transfers.bytes + offset) as u64,
                Address::Weight(offset) => gpu.weight(offset as u64),
                Address::Input(input) => self.inputs[input as usize],
                Address::Output(output) => self.outputs[output as usize],
                Address::State(state) => self.states[0][state as usize],
                Address::NextState(state) => self.states[1][state as usize],
                Address::View { of, offset } => self.buffers[of as usize] + offset as u64,
            });
        }
        Ok(())
    }

    fn take_inputs(&mut self, binding: &Binding, inputs: &[*const u8]) -> Result<(), Error> {
        let transfers = &binding.transfers;
        let SegmentMemory { memory: Some(memory), staging: Some(staging) } = &mut self.segments[0] else {
            return Ok(());
        };
        let staging = &mut staging.as_mut_slice()[..transfers.inputs_end];
        for (part, &input) in transfers.inputs.iter().zip(inputs) {
            let to = &mut staging[part.clone()];
            // SAFETY: the caller's input has the extents that the part was made for.
            unsafe { to.as_mut_ptr().copy_from_nonoverlapping(input, to.len()) };
        }
        if staging.is_empty() {
            return Ok(());
        }
        // SAFETY: the copies of inputs come first in the device's memory; the staging memory is not written before the
        // stream has been waited for.
        let copied = unsafe { result::memcpy_htod_async(memory.address(), staging, self.stream.handle()) };
        copied.map_err(self.device.failed("inputs cannot be copied"))
    }

    /// Copies the outputs of all segments out.
    fn give_outputs(&mut self, outputs: &mut Outputs) -> Result<(), Error> {
        for (binding, segment) in self.bound.iter().zip(&mut self.segments) {
            let range = binding.transfers.outputs_begin..binding.transfers.bytes;
            let SegmentMemory { memory: Some(memory), staging: Some(staging) } = segment else { continue };
            if range.is_empty() {
                continue;
            }
            let from = memory.address() + range.start as u64;
            let to = &mut staging.as_mut_slice()[range];
            // SAFETY: the copies of outputs are there in the device's memory; the staging memory is not used before the
            // stream has been waited for.
            let copied = unsafe { result::memcpy_dtoh_async(to, from, self.stream.handle()) };
            copied.map_err(self.device.failed("outputs cannot be copied"))?;
        }
        self.stream.synchronize()?;
        for (binding, segment) in self.bound.iter().zip(&self.segments) {
            let staging = segment.staging.as_ref().map_or(&[][..], PinnedMemory::as_slice);
            for ((output, shape), part) in binding.outputs.iter().zip(&binding.transfers.outputs) {
                let from = &staging[part.clone()];
                let to = outputs.shape(*output, shape)?;
                // SAFETY: the output now has this shape, of which the part was made.
                unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
            }
        }
        Ok(())
    }

    /// Copies bytes at a place of the device's memory to the host, once all work before is done.
    pub(super) fn fetch(&self, address: u64, to: &mut [u8]) -> Result<(), Error> {
        // SAFETY: binding has seen that the buffer has the bytes; the stream is waited for.
        let copied = unsafe { result::memcpy_dtoh_async(to, address, self.stream.handle()) };
        copied.map_err(self.device.failed("what the run depends on cannot be read"))?;
        self.stream.synchronize()
    }
}
