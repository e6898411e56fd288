//! The steps of a segment: launches and copies for the stream, and control flow, which the host follows by what it reads
//! from the device.

use super::driver::describe;
use super::replay::Seen;
use super::run::Run;
use super::stream::Event;
use crate::bind::{Binding, BoundStep, begin_of};
use crate::execute::note;
use crate::launch::BoundLaunch;
use crate::program::Program;
use crate::{Error, Profile};
use cudarc::driver::result;
use ic_artifact::{BufferId, Place, Step};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

/// The most steps that are timed before the stream is waited for.
const MOST_EVENTS: usize = 4096;

/// The parameters of a launch and their addresses.
#[derive(Debug, Default)]
pub(super) struct LaunchLists {
    /// The value of each in its first bytes.
    values: Vec<u64>,
    addresses: Vec<*mut c_void>,
}

// SAFETY: the addresses are written anew for each launch.
unsafe impl Send for LaunchLists {}

impl Run {
    /// Gives the steps of segment `index` to the stream. Where they are the same for all data, they are given one by one
    /// the first time, recorded the second, and from then on at once.
    pub(super) fn steps(
        &mut self,
        program: &Program,
        index: usize,
        binding: &Arc<Binding>,
        profile: Option<&mut Profile>,
    ) -> Result<(), Error> {
        if let Some(profile) = profile {
            return self.timed_steps(program, index, binding, profile);
        }
        if !program.is_straight {
            return self.each_step(program, index, binding);
        }
        match self.replays.see(binding) {
            Seen::Never => self.each_step(program, index, binding),
            Seen::Once => {
                self.stream.begin_capture()?;
                let given = self.each_step(program, index, binding);
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

    fn each_step(&mut self, program: &Program, index: usize, binding: &Binding) -> Result<(), Error> {
        let begin = begin_of(program.plan(), index).steps_end as usize;
        let mut at = begin;
        while at < begin + binding.steps.len() {
            at = self.step(program, binding, begin, at)?;
        }
        self.replace_states(program, index, binding)
    }

    /// Gives steps to the stream with events between them, and adds the times between those to `profile`.
    fn timed_steps(
        &mut self,
        program: &Program,
        index: usize,
        binding: &Binding,
        profile: &mut Profile,
    ) -> Result<(), Error> {
        let begin = begin_of(program.plan(), index).steps_end as usize;
        let (mut at, mut done) = (begin, Vec::new());
        self.record_event(0)?;
        while at < begin + binding.steps.len() {
            let next = self.step(program, binding, begin, at)?;
            done.push(at);
            self.record_event(done.len())?;
            at = next;
            if done.len() == MOST_EVENTS {
                self.note_times(program, &mut done, profile)?;
                self.record_event(0)?;
            }
        }
        self.note_times(program, &mut done, profile)?;
        self.replace_states(program, index, binding)
    }

    fn record_event(&mut self, number: usize) -> Result<(), Error> {
        while self.events.len() <= number {
            self.events.push(Event::new(&self.device)?);
        }
        self.events[number].record(&self.stream)
    }

    /// Adds the times of the steps that are done, between the events before and after each, to `profile`.
    fn note_times(&self, program: &Program, done: &mut Vec<usize>, profile: &mut Profile) -> Result<(), Error> {
        self.stream.synchronize()?;
        for (number, step) in done.drain(..).enumerate() {
            let ms = self.events[number + 1].since(&self.events[number])?;
            note(program, step, Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3), profile);
        }
        Ok(())
    }

    /// Does step `at`, of a segment that begins at step `begin`; the step to go on with.
    fn step(&mut self, program: &Program, binding: &Binding, begin: usize, at: usize) -> Result<usize, Error> {
        let next = at + 1;
        match (&program.plan().steps[at], &binding.steps[at - begin]) {
            (_, BoundStep::Refused(problem)) => return Err(refused(program, problem.clone())),
            (step @ Step::Launch { .. }, BoundStep::Launch(launch)) => self.launch(program, step, launch, binding)?,
            (Step::Copy { from, to, at: place }, &BoundStep::Copy { bytes, room }) => {
                self.copy(program, [*from, *to], *place, [bytes, room])?;
            }
            (Step::Branch { condition, otherwise }, _) if !self.holds(Some(*condition))? => {
                return Ok(*otherwise as usize);
            }
            (Step::Jump { to }, _) => return Ok(*to as usize),
            (Step::Loop { counter, condition, end, .. }, &BoundStep::Loop { limit }) => {
                self.store(*counter, 0)?;
                if limit == 0 || !self.holds(*condition)? {
                    return Ok(*end as usize);
                }
            }
            (Step::Next { to, condition }, &BoundStep::Next { counter, limit }) => {
                let n = self.load(counter)?.wrapping_add(1);
                self.store(counter, n)?;
                if n < limit && self.holds(*condition)? {
                    return Ok(*to as usize + 1);
                }
            }
            // Steps are bound by kind, and the program has seen that there are no others.
            _ => {}
        }
        Ok(next)
    }

    /// Copies a buffer to the place in another that `at` holds, counted in its size; without it to the start.
    fn copy(
        &mut self,
        program: &Program,
        [from, to]: [BufferId; 2],
        at: Option<BufferId>,
        [bytes, room]: [usize; 2],
    ) -> Result<(), Error> {
        let place = at.map_or(Ok(0), |at| self.load(at))?;
        let offset = usize::try_from(place).ok().and_then(|place| place.checked_mul(bytes));
        let offset = offset.filter(|offset| offset.checked_add(bytes).is_some_and(|end| end <= room));
        let problem = || format!("element {place} of {bytes} bytes is outside of {room} bytes");
        let offset = offset.ok_or_else(|| refused(program, problem()))?;
        self.copy_bytes(self.buffers[from as usize], self.buffers[to as usize] + offset as u64, bytes)
    }

    fn copy_bytes(&self, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        if bytes == 0 || from == to {
            return Ok(());
        }
        // SAFETY: binding has seen that both buffers have so many bytes there.
        let copied = unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.handle()) };
        copied.map_err(self.device.failed("a buffer cannot be copied"))
    }

    /// Puts what the last segment has written for states into their place.
    fn replace_states(&mut self, program: &Program, index: usize, binding: &Binding) -> Result<(), Error> {
        let plan = program.plan();
        if index + 1 != plan.segments.len() {
            return Ok(());
        }
        for (buffer, &from) in plan.buffers.iter().zip(&self.buffers) {
            if let Place::NextState(state) = buffer.place {
                let bytes = usize::try_from(binding.slots[buffer.bytes as usize]).unwrap_or(0);
                self.copy_bytes(from, self.states[0][state as usize], bytes)?;
            }
        }
        Ok(())
    }

    /// Whether a condition holds; an absent one does.
    fn holds(&self, condition: Option<BufferId>) -> Result<bool, Error> {
        let Some(condition) = condition else { return Ok(true) };
        let mut value = [0];
        self.fetch(self.buffers[condition as usize], &mut value)?;
        Ok(value != [0])
    }

    /// The i64 in a buffer.
    fn load(&self, buffer: BufferId) -> Result<i64, Error> {
        let mut value = [0; size_of::<i64>()];
        self.fetch(self.buffers[buffer as usize], &mut value)?;
        Ok(i64::from_le_bytes(value))
    }

    /// Stores an i64 in a buffer.
    fn store(&self, buffer: BufferId, value: i64) -> Result<(), Error> {
        let bytes = value.to_le_bytes();
        // SAFETY: binding has seen that the buffer has so many bytes; they are read before the stream has been waited for.
        let copied = unsafe { result::memcpy_htod_async(self.buffers[buffer as usize], &bytes, self.stream.handle()) };
        copied.map_err(self.device.failed("a counter cannot be written"))?;
        self.stream.synchronize()
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

fn refused(program: &Program, problem: String) -> Error {
    Error::Shapes { entry: program.entry().name.clone(), problem }
}
