//! A session: one entry with its kernels, threads and memory, which runs from any number of threads at a time.

use crate::bind::{Binding, bind};
use crate::cache::BindingCache;
use crate::context::Context;
use crate::memory::Memory;
use crate::model::Loaded;
use crate::program::{Program, choose_isa};
use crate::states::{StateBuffer, States};
use crate::{Entry, Error, Options, Outputs, Profile, ThreadPool, execute, inputs};
use ic_artifact::SymbolSource;
use ic_kernels::abi::Parallel;
use ic_types::{Tensor, TensorView};
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
}

impl Session {
    pub(crate) fn new(loaded: Arc<Loaded>, entry: usize, options: &Options) -> Result<Session, Error> {
        let isa = choose_isa(options)?;
        let pool = match &options.pool {
            Some(pool) => pool.clone(),
            None => Arc::new(ThreadPool::new(options.threads.unwrap_or_else(ThreadPool::default_threads))?),
        };
        let states = Arc::new(States::new(&loaded.manifest.states, &loaded.plans)?);
        let program = Program::new(loaded, entry, isa, pool.threads(), states)?;
        Ok(Session::from_program(program, pool, options.cached_shapes))
    }

    fn from_program(program: Program, pool: Arc<ThreadPool>, cached_shapes: usize) -> Session {
        let capacity = cached_shapes.max(1) * program.plan().segments.len();
        let bindings = Arc::new(Mutex::new(BindingCache::new(capacity)));
        Session { program, pool, bindings, contexts: Mutex::new(Vec::new()) }
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

    /// The instruction set of the kernels: `portable`, `avx2`, `avx512` or `neon`.
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
        Ok(Session { program, pool, bindings, contexts: Mutex::new(Vec::new()) })
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
        inputs::take(self.entry(), inputs, &mut context)?;
        let mut states = self.program.uses_states.then(|| self.program.states.lock());
        self.start(&mut context, states.as_deref_mut().map_or(&mut [], Vec::as_mut_slice))?;
        Ok(self.binding(0, None, &context)?.layout.bytes)
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
        inputs::take(self.entry(), inputs, context)?;
        outputs.prepare(self.entry());
        // Held to the end: runs that use states follow one another.
        let mut states = self.program.uses_states.then(|| self.program.states.lock());
        self.start(context, states.as_deref_mut().map_or(&mut [], Vec::as_mut_slice))?;
        let pool: &dyn Parallel = &*self.pool;
        let mut previous: Option<Arc<Binding>> = None;
        for segment in 0..self.program.plan().segments.len() {
            self.read_values(segment, previous.as_deref(), context)?;
            let binding = self.binding(segment, previous.as_deref(), context)?;
            if let (0, Some(states)) = (segment, &states) {
                self.program.states.check(self.program.plan(), states, &binding.slots)?;
            }
            execute::place(&self.program, segment, &binding, context, outputs)?;
            execute::run(&self.program, segment, &binding, context, pool, profile.as_deref_mut())?;
            previous = Some(binding);
        }
        if let (Some(states), Some(last)) = (&mut states, &previous) {
            States::finish(self.program.plan(), states, &last.slots);
        }
        Ok(())
    }

    /// Makes the lists of `context` ready for a run on the inputs that it has taken.
    ///
    /// # Errors
    /// If an extent is that of a state which holds nothing.
    fn start(&self, context: &mut Context, states: &mut [StateBuffer]) -> Result<(), Error> {
        let plan = self.program.plan();
        context.buffers.clear();
        context.buffers.reserve(plan.buffers.len());
        context.outputs.clear();
        context.outputs.resize(plan.outputs.len(), std::ptr::null_mut());
        context.states.clear();
        context.states.extend(states.iter_mut().map(|state| state.memory.as_mut_ptr()));
        context.next_states.clear();
        context.next_states.extend(states.iter_mut().map(|state| state.next.as_mut_ptr()));
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
                    *value = self.program.states.extent(states, state, axis)?;
                    context.key.push(*value);
                }
                SymbolSource::Value { .. } => {}
            }
        }
        Ok(())
    }

    /// Reads the symbols that segment `index` takes from memory which the segments before it have written.
    fn read_values(&self, index: usize, previous: Option<&Binding>, context: &mut Context) -> Result<(), Error> {
        let Some(previous) = previous else { return Ok(()) };
        for &(symbol, buffer, element) in &self.program.values[index] {
            let refuse = |problem| Error::Shapes { entry: self.entry().name.clone(), problem };
            let bytes = previous.slots[self.program.plan().buffers[buffer as usize].bytes as usize];
            let offset = element as usize * size_of::<i64>();
            if (offset + size_of::<i64>()) as i64 > bytes {
                return Err(refuse(format!("element {element} of buffer {buffer} is outside of its {bytes} bytes")));
            }
            // SAFETY: the buffer has been placed, and the element lies in it.
            let value = unsafe { context.buffers[buffer as usize].add(offset).cast::<i64>().read_unaligned() };
            if value < 0 {
                return Err(refuse(format!("an extent that depends on the data is {value}")));
            }
            context.symbols[symbol as usize] = value;
            context.key.push(value);
        }
        Ok(())
    }

    /// The binding of segment `index` to the context's key: a kept one, or a new one.
    fn binding(&self, index: usize, previous: Option<&Binding>, context: &Context) -> Result<Arc<Binding>, Error> {
        if let Some(found) = lock(&self.bindings).get(index as u32, &context.key) {
            return Ok(found);
        }
        let slots = previous.map_or(&[][..], |previous| &previous.slots);
        let latest = lock(&self.bindings).latest(index as u32);
        let binding = bind(&self.program, index, slots, &context.key, &context.symbols, latest.as_deref())?;
        let binding = Arc::new(binding);
        lock(&self.bindings).insert(index as u32, &context.key, binding.clone());
        Ok(binding)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
