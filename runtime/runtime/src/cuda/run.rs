//! One run at a time: a stream, memory, transfers and launches.

use super::device::Device;
use super::driver::describe;
use super::gpu::Gpu;
use super::memory::{DeviceMemory, PinnedMemory};
use super::replay::{Replays, Seen};
use super::stream::{Event, Stream};
use crate::bind::{Address, Binding, BoundStep};
use crate::context::Context;
use crate::execute::note;
use crate::launch::{BoundLaunch, Transfers};
use crate::program::Program;
use crate::{Error, Outputs, Profile};
use cudarc::driver::result;
use ic_artifact::Step;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// What one run at a time has on a GPU. What is dropped first comes first.
#[derive(Debug)]
pub(crate) struct Run {
    /// Launches of shapes seen before.
    replays: Replays,
    stream: Stream,
    /// The copies of inputs and outputs, then the arena.
    memory: Option<DeviceMemory>,
    /// The copies of inputs and outputs on their way.
    staging: Option<PinnedMemory>,
    /// The addresses of buffers.
    buffers: Vec<u64>,
    launch: LaunchLists,
    /// Between steps, when they are timed.
    events: Vec<Event>,
    device: Arc<Device>,
}

/// The parameters of a launch and their addresses.
#[derive(Debug, Default)]
struct LaunchLists {
    /// The value of each in its first bytes.
    values: Vec<u64>,
    addresses: Vec<*mut c_void>,
}

// SAFETY: the addresses are written anew for each launch.
unsafe impl Send for LaunchLists {}

/// Runs a bound entry on the inputs that `context` has taken.
///
/// # Errors
/// If memory runs out or a kernel fails.
pub(crate) fn run(
    gpu: &Gpu,
    program: &Program,
    binding: &Arc<Binding>,
    context: &mut Context,
    outputs: &mut Outputs,
    profile: Option<&mut Profile>,
) -> Result<(), Error> {
    gpu.device.enter()?;
    let Context { gpu: kept, inputs, .. } = context;
    let run = match kept {
        Some(run) => run,
        None => kept.insert(Run::new(&gpu.device)?),
    };
    run.place(gpu, binding)?;
    let result = run.work(program, binding, inputs, outputs, profile);
    if result.is_err() {
        // The next run may reuse what work that is still under way reads. Of two errors, the first is told.
        let _ = run.stream.synchronize();
    }
    result
}

impl Run {
    fn new(device: &Arc<Device>) -> Result<Run, Error> {
        Ok(Run {
            replays: Replays::default(),
            stream: Stream::new(device)?,
            memory: None,
            staging: None,
            buffers: Vec::new(),
            launch: LaunchLists::default(),
            events: Vec::new(),
            device: device.clone(),
        })
    }

    /// Bytes of the device's memory.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, DeviceMemory::len)
    }

    /// Gives every buffer its address.
    fn place(&mut self, gpu: &Gpu, binding: &Binding) -> Result<(), Error> {
        let transfers = &binding.transfers;
        let needed = transfers.bytes.saturating_add(binding.layout.bytes);
        if self.bytes() < needed || self.memory.is_none() {
            // Recorded launches have the addresses of the old memory, which goes first, so that both need not fit.
            self.replays.clear();
            self.memory = None;
            self.memory = Some(DeviceMemory::new(&self.device, needed, "arena")?);
        }
        if self.staging.as_ref().is_none_or(|staging| staging.as_slice().len() < transfers.bytes) {
            self.staging = None;
            self.staging = Some(PinnedMemory::new(&self.device, transfers.bytes)?);
        }
        let base = self.base();
        self.buffers.clear();
        for address in &binding.addresses {
            let address = match *address {
                Address::Arena(offset) => base + (transfers.bytes + offset) as u64,
                Address::Weight(offset) => gpu.weight(offset as u64),
                Address::Input(input) => base + transfers.inputs[input as usize].start as u64,
                Address::Output(output) => base + transfers.outputs[output as usize].start as u64,
                Address::View { of, offset } => self.buffers[of as usize] + offset as u64,
                Address::State(_) | Address::NextState(_) => {
                    return Err(self.device.refuse("states have no memory on it".into()));
                }
            };
            self.buffers.push(address);
        }
        Ok(())
    }

    fn base(&self) -> u64 {
        self.memory.as_ref().map_or(0, DeviceMemory::address)
    }

    /// Copies inputs in, does the steps, copies outputs out.
    fn work(
        &mut self,
        program: &Program,
        binding: &Arc<Binding>,
        inputs: &[*const u8],
        outputs: &mut Outputs,
        profile: Option<&mut Profile>,
    ) -> Result<(), Error> {
        self.take_inputs(&binding.transfers, inputs)?;
        match profile {
            Some(profile) => self.timed_steps(program, binding, profile)?,
            None => self.all_steps(program, binding)?,
        }
        self.give_outputs(binding, outputs)
    }

    fn take_inputs(&mut self, transfers: &Transfers, inputs: &[*const u8]) -> Result<(), Error> {
        let base = self.base();
        let Some(staging) = &mut self.staging else { return Ok(()) };
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
        let copied = unsafe { result::memcpy_htod_async(base, staging, self.stream.handle()) };
        copied.map_err(self.device.failed("inputs cannot be copied"))
    }

    fn give_outputs(&mut self, binding: &Binding, outputs: &mut Outputs) -> Result<(), Error> {
        let transfers = &binding.transfers;
        let range = transfers.outputs_begin..transfers.bytes;
        let from = self.base() + range.start as u64;
        if let Some(staging) = self.staging.as_mut().filter(|_| !range.is_empty()) {
            let to = &mut staging.as_mut_slice()[range];
            // SAFETY: the copies of outputs are there in the device's memory; the staging memory is not used before the
            // stream has been waited for.
            let copied = unsafe { result::memcpy_dtoh_async(to, from, self.stream.handle()) };
            copied.map_err(self.device.failed("outputs cannot be copied"))?;
        }
        self.stream.synchronize()?;
        let staging = self.staging.as_ref().map_or(&[][..], PinnedMemory::as_slice);
        for (output, shape) in &binding.outputs {
            let from = &staging[transfers.outputs[*output].clone()];
            let to = outputs.shape(*output, shape)?;
            // SAFETY: the output now has this shape, of which the part was made.
            unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        }
        Ok(())
    }

    /// Gives all steps to the stream: one by one the first time, recorded the second, from then on at once.
    fn all_steps(&mut self, program: &Program, binding: &Arc<Binding>) -> Result<(), Error> {
        match self.replays.see(binding) {
            Seen::Never => self.each_step(program, binding),
            Seen::Once => {
                self.stream.begin_capture()?;
                let given = self.each_step(program, binding);
                let graph = self.stream.end_capture(&self.device);
                given?;
                let graph = graph?;
                graph.launch(&self.stream)?;
                self.replays.record(graph);
                Ok(())
            }
            Seen::Recorded(graph) => graph.launch(&self.stream),
        }
    }

    fn each_step(&mut self, program: &Program, binding: &Binding) -> Result<(), Error> {
        (0..binding.steps.len()).try_for_each(|index| self.step(program, binding, index))
    }

    /// Gives steps to the stream with events between them, and adds the times between those to `profile`.
    fn timed_steps(&mut self, program: &Program, binding: &Binding, profile: &mut Profile) -> Result<(), Error> {
        while self.events.len() <= binding.steps.len() {
            self.events.push(Event::new(&self.device)?);
        }
        self.events[0].record(&self.stream)?;
        for index in 0..binding.steps.len() {
            self.step(program, binding, index)?;
            self.events[index + 1].record(&self.stream)?;
        }
        self.stream.synchronize()?;
        for index in 0..binding.steps.len() {
            let ms = self.events[index + 1].since(&self.events[index])?;
            note(program, index, Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3), profile);
        }
        Ok(())
    }

    fn step(&mut self, program: &Program, binding: &Binding, index: usize) -> Result<(), Error> {
        let address = |buffer: &u32| self.buffers[*buffer as usize];
        match (&program.plan().steps[index], &binding.steps[index]) {
            (step @ Step::Launch { .. }, BoundStep::Launch(launch)) => self.launch(program, step, launch, binding),
            (Step::Copy { from, to, .. }, BoundStep::Copy { bytes, .. }) if *bytes > 0 => {
                // SAFETY: binding has seen that both buffers have so many bytes.
                let copied =
                    unsafe { result::memcpy_dtod_async(address(to), address(from), *bytes, self.stream.handle()) };
                copied.map_err(self.device.failed("a buffer cannot be copied"))
            }
            (_, BoundStep::Refused(problem)) => {
                Err(Error::Shapes { entry: program.entry().name.clone(), problem: problem.clone() })
            }
            // The program has seen that there are launches and copies alone.
            _ => Ok(()),
        }
    }

    fn launch(&mut self, program: &Program, step: &Step, launch: &BoundLaunch, binding: &Binding) -> Result<(), Error> {
        let Step::Launch { name, function, buffers, block, shared_bytes, .. } = step else { return Ok(()) };
        let [x, y, z] = launch.grid;
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let LaunchLists { values, addresses } = &mut self.launch;
        values.clear();
        values.extend(buffers.iter().map(|&buffer| self.buffers[buffer as usize]));
        // A parameter of 32 bits is read from the first four bytes.
        let word = |&word: &i32| {
            u64::from_ne_bytes({
                let mut bytes = [0; 8];
                bytes[..4].copy_from_slice(&word.to_ne_bytes());
                bytes
            })
        };
        values.extend(binding.words[launch.words.clone()].iter().map(word));
        addresses.clear();
        addresses.extend(values.iter_mut().map(|value| std::ptr::from_mut(value).cast::<c_void>()));
        let kernel = program.gpu_functions[*function as usize];
        let (grid, block) = ((x, y, z), (block[0], block[1], block[2]));
        // SAFETY: `Model::load` makes the caller vouch for the artifact: the kernel has these parameters and stays in
        // the buffers. The addresses are of live values until the call has read them.
        let launched =
            unsafe { result::launch_kernel(kernel.0, grid, block, *shared_bytes, self.stream.handle(), addresses) };
        launched.map_err(|e| Error::Kernel {
            node: name.clone(),
            kernel: program.plan().functions[*function as usize].clone(),
            problem: describe(e),
        })
    }
}
