//! A session: one entry with its kernels, threads and memory, which runs from any number of threads at a time.

use crate::bind::Binding;
use crate::cache::BindingCache;
use crate::context::Context;
use crate::model::Loaded;
use crate::program::{Program, choose_isa};
use crate::segments::{self, Surroundings};
use crate::states::States;
use crate::{Entry, Error, Options, Outputs, Profile, ThreadPool, execute, inputs};
use ic_kernels::abi::Parallel;
use ic_kernels::host::Host;
use ic_types::{Tensor, TensorView};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs one entry of a model.
#[derive(Debug)]
pub struct Session {
    program: Program,
    pool: Arc<ThreadPool>,
    /// Forks share them.
    bindings: Arc<Mutex<BindingCache>>,
    /// Contexts that no run uses.
    contexts: Mutex<Vec<Context>>,
    /// How many runs have begun.
    runs: AtomicU64,
}

impl Session {
    pub(crate) fn new(loaded: Arc<Loaded>, entry: usize, options: &Options) -> Result<Session, Error> {
        let isa = choose_isa(options, &loaded.manifest)?;
        let pool = match &options.pool {
            Some(pool) => pool.clone(),
            // Of a run on a GPU, threads have nothing to do.
            None if loaded.gpu().is_some() => Arc::new(ThreadPool::new(1)?),
            None => Arc::new(ThreadPool::new(options.threads.unwrap_or_else(ThreadPool::default_threads))?),
        };
        let states = Arc::new(States::new(&loaded.manifest.states, &loaded.plans, loaded.gpu())?);
        let program = Program::new(loaded, entry, isa, pool.threads(), states)?;
        Ok(Session::from_program(program, pool, options.cached_shapes))
    }

    fn from_program(program: Program, pool: Arc<ThreadPool>, cached_shapes: usize) -> Session {
        let capacity = cached_shapes.max(1) * program.plan().segments.len();
        let bindings = Arc::new(Mutex::new(BindingCache::new(capacity)));
        Session { program, pool, bindings, contexts: Mutex::default(), runs: AtomicU64::new(0) }
    }

    /// A session on another entry of the same model, with the same threads, kernels and states.
    ///
    /// # Errors
    /// If there is no such entry.
    pub fn sibling(&self, name: &str) -> Result<Session, Error> {
        let Program { loaded, isa, threads, states, .. } = &self.program;
        let program = Program::new(loaded.clone(), loaded.entry(name)?, *isa, *threads, states.clone())?;
        Ok(Session::from_program(program, self.pool.clone(), Options::default().cached_shapes))
    }

    /// The entry: name, inputs and outputs.
    pub fn entry(&self) -> &Entry {
        self.program.entry()
    }

    /// Number of threads, the caller included.
    pub fn threads(&self) -> usize {
        self.program.threads
    }

    /// The instruction set of the kernels: `portable`, `avx2`, `avx512`, `amx` or `neon`.
    pub fn kernels(&self) -> &'static str {
        self.program.isa.name()
    }

    /// Bytes of arena and scratch that runs have taken and that no run uses at present.
    pub fn arena_bytes(&self) -> usize {
        lock(&self.contexts).iter().map(Context::bytes).sum()
    }

    /// A session on the same entry, with the same threads and kernels, whose states hold the same and then go their own
    /// way. Its siblings share its states.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn fork(&self) -> Result<Session, Error> {
        let Program { loaded, entry, isa, threads, states, .. } = &self.program;
        let program = Program::new(loaded.clone(), *entry, *isa, *threads, Arc::new(states.fork()?))?;
        let (pool, bindings) = (self.pool.clone(), self.bindings.clone());
        Ok(Session { program, pool, bindings, contexts: Mutex::default(), runs: AtomicU64::new(0) })
    }

    /// Makes all states empty: what is appended to has no elements, all else is zero.
    pub fn clear_states(&self) {
        self.program.states.clear();
    }

    /// The shape of what the state `name` holds; `None` if nothing has been written to it.
    ///
    /// # Errors
    /// If there is no such state.
    pub fn state_shape(&self, name: &str) -> Result<Option<Vec<usize>>, Error> {
        let index = self.program.states.index(name)?;
        let buffers = self.program.states.lock();
        let buffer = &buffers[index];
        Ok(buffer.is_written.then(|| buffer.extents.iter().map(|&extent| extent as usize).collect()))
    }

    /// How far the state `name` has grown along the axis that runs append to.
    ///
    /// # Errors
    /// If there is no such state, or runs do not append to it.
    pub fn state_length(&self, name: &str) -> Result<usize, Error> {
        let index = self.program.states.index(name)?;
        let axis = self.program.states.description(index as u32).append_axis;
        let problem = || Error::State { state: name.into(), problem: "runs do not append to it".into() };
        Ok(self.program.states.lock()[index].extents[axis.ok_or_else(problem)? as usize] as usize)
    }

    /// A copy of what the state `name` holds.
    ///
    /// # Errors
    /// If there is no such state, or not enough memory.
    pub fn read_state(&self, name: &str) -> Result<Tensor, Error> {
        self.program.states.read(self.program.states.index(name)?)
    }

    /// Replaces what the state `name` holds.
    ///
    /// # Errors
    /// If there is no such state, or the value does not fit it.
    pub fn write_state(&self, name: &str, value: &TensorView) -> Result<(), Error> {
        self.program.states.write(self.program.states.index(name)?, value)
    }

    /// Checks `inputs` and prepares for their shapes without running, so that the first run on them does not have to.
    /// Returns the bytes of arena that the part of the run up to the first data-dependent extent takes.
    ///
    /// # Errors
    /// If inputs do not fit the entry, or the entry cannot run on their shapes.
    pub fn prepare(&self, inputs: &[(&str, TensorView)]) -> Result<usize, Error> {
        let mut context = Context::default();
        inputs::take(self.entry(), inputs, Host::none(), &mut context)?;
        let mut states = self.program.uses_states.then(|| self.program.states.lock());
        segments::start(&self.program, &mut context, states.as_deref_mut().map_or(&mut [], Vec::as_mut_slice))?;
        Ok(segments::binding(&self.program, &self.bindings, 0, None, &context)?.layout.bytes)
    }

    /// Runs the entry on `inputs`, by name.
    ///
    /// # Errors
    /// If inputs do not fit the entry, memory runs out, or a kernel refuses its data.
    pub fn run(&self, inputs: &[(&str, TensorView)]) -> Result<Outputs, Error> {
        let mut outputs = Outputs::new();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Runs the entry on `inputs` into `outputs`. Allocates nothing on a shape already seen if `outputs` has held
    /// results of that size before.
    ///
    /// # Errors
    /// As for [`run`](Self::run); the contents of `outputs` are then unspecified.
    pub fn run_into(&self, inputs: &[(&str, TensorView)], outputs: &mut Outputs) -> Result<(), Error> {
        self.run_with(inputs, outputs, None)
    }

    /// [`run_into`](Self::run_into), adding the time of each step to `profile`.
    ///
    /// # Errors
    /// As for [`run_into`](Self::run_into).
    pub fn run_profiled(
        &self,
        inputs: &[(&str, TensorView)],
        outputs: &mut Outputs,
        profile: &mut Profile,
    ) -> Result<(), Error> {
        self.run_with(inputs, outputs, Some(profile))
    }

    fn run_with(
        &self,
        inputs: &[(&str, TensorView)],
        outputs: &mut Outputs,
        profile: Option<&mut Profile>,
    ) -> Result<(), Error> {
        let mut context = lock(&self.contexts).pop().unwrap_or_default();
        let result = self.run_in(&mut context, inputs, outputs, profile);
        lock(&self.contexts).push(context);
        result
    }

    fn run_in(
        &self,
        context: &mut Context,
        inputs: &[(&str, TensorView)],
        outputs: &mut Outputs,
        mut profile: Option<&mut Profile>,
    ) -> Result<(), Error> {
        let host = Host::new(self.runs.fetch_add(1, Ordering::Relaxed));
        context.output_handles.clear();
        inputs::take(self.entry(), inputs, &host, context)?;
        outputs.prepare(self.entry());
        // Held to the end: runs that use states follow one another.
        let mut states = self.program.uses_states.then(|| self.program.states.lock());
        segments::start(&self.program, context, states.as_deref_mut().map_or(&mut [], Vec::as_mut_slice))?;
        let check = |binding: &Binding| match &states {
            Some(states) => self.program.states.check(self.program.plan(), states, &binding.slots),
            None => Ok(()),
        };
        let around = Surroundings { pool: &*self.pool, host: &host };
        let timed = profile.as_deref_mut();
        let last = segments::run(&self.program, &self.bindings, context, Some(&mut *outputs), around, &check, timed)?;
        if let (Some(profile), Some(last)) = (profile, &last) {
            profile.note_work(self.program.plan(), &last.slots, &context.symbols);
        }
        if let (Some(states), Some(last)) = (&mut states, &last) {
            States::finish(self.program.plan(), states, &last.slots);
        }
        execute::give_handles(&self.program, &host, context, outputs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
