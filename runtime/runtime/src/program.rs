//! An entry's plan with its kernels and functions found: what all runs of a session share.

use crate::bind::{guarded_steps, kept_until, values_read};
use crate::cache::BindingCache;
use crate::context::Context;
use crate::model::Loaded;
use crate::states::States;
use crate::{Error, Options, cuda, launch};
use ic_artifact::{Entry, Epilogue, KernelRef, Manifest, Place, Plan, Step, SymbolSource};
use ic_kernels::abi::{GeneratedFn, Kernel, Strip, Table};
use ic_kernels::isa::Isa;
use ic_kernels::table;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// An entry, ready to be bound.
pub(crate) struct Program {
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) entry: usize,
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    pub(crate) states: Arc<States>,
    /// One per kernel of the plan.
    pub(crate) kernels: Vec<&'static Kernel>,
    /// One per function of the plan, on a CPU.
    pub(crate) functions: Vec<GeneratedFn>,
    /// One per function of the plan, on a GPU.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "this build has no device that launches"))]
    pub(crate) gpu_functions: Vec<cuda::Function>,
    pub(crate) table: &'static Table,
    /// For each segment, the symbols read from memory before it is bound, with buffer and element.
    pub(crate) values: Vec<Vec<(u32, u32, u32)>>,
    /// For each buffer, the step up to which the arena must keep it beyond its last use.
    pub(crate) kept_until: Vec<u32>,
    /// The first buffer in each output.
    pub(crate) first_buffers: Vec<usize>,
    pub(crate) uses_states: bool,
    /// Whether a device can record the steps and do them again.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "this build has no device that launches"))]
    pub(crate) is_straight: bool,
    /// Whether a branch can pass over each step.
    pub(crate) guarded: Vec<bool>,
    /// The entries that steps call, by index.
    pub(crate) calls: BTreeMap<u32, Callee>,
}

/// An entry that steps of another call.
pub(crate) struct Callee {
    pub(crate) program: Program,
    pub(crate) bindings: Mutex<BindingCache>,
    /// Contexts that no call uses.
    pub(crate) contexts: Mutex<Vec<Context>>,
}

impl Callee {
    /// Entry `index`, as `caller` calls it.
    fn new(caller: usize, step: &Step, program: impl Fn(usize) -> Result<Program, Error>) -> Result<Callee, Error> {
        let Step::Call { name, entry, inputs, outputs } = step else { unreachable!("only calls have callees") };
        let refuse =
            |problem: &str| Error::Shapes { entry: format!("#{entry}"), problem: format!("`{name}` {problem}") };
        // Entries call later ones alone, so that calls end.
        if *entry as usize <= caller {
            return Err(refuse("calls an entry that comes before it"));
        }
        let program = program(*entry as usize)?;
        let shapes = &program.plan().inputs;
        let fits = inputs.iter().map(|input| input.shape.len()).eq(shapes.iter().map(Vec::len));
        if !fits || outputs.len() != program.plan().outputs.len() || program.uses_states {
            return Err(refuse("does not fit the entry that it calls"));
        }
        let capacity = Options::default().cached_shapes.max(1) * program.plan().segments.len();
        Ok(Callee { program, bindings: Mutex::new(BindingCache::new(capacity)), contexts: Mutex::default() })
    }
}

impl Program {
    /// Finds everything that the plan of `entry` names.
    ///
    /// # Errors
    /// If a kernel is missing or called in a way that it does not know.
    pub(crate) fn new(
        loaded: Arc<Loaded>,
        entry: usize,
        isa: Isa,
        threads: usize,
        states: Arc<States>,
    ) -> Result<Program, Error> {
        let plan = &loaded.plans[entry];
        let kernels =
            plan.kernels.iter().map(|kernel| find(&loaded, kernel, isa)).collect::<Result<Vec<_>, Error>>()?;
        for step in &plan.steps {
            check_call(step, &kernels)
                .map_err(|problem| Error::Shapes { entry: loaded.manifest.entries[entry].name.clone(), problem })?;
        }
        let functions = loaded.functions(entry).into_iter().map(|address| {
            // SAFETY: `Model::load` makes the caller vouch for the artifact: its functions have this signature. The
            // code lives as long as `loaded`, which the program keeps.
            unsafe { std::mem::transmute::<*const u8, GeneratedFn>(address) }
        });
        let functions = functions.collect();
        let gpu_functions = loaded.gpu().map_or(Ok(Vec::new()), |gpu| gpu.functions(plan))?;
        let values = values_read(plan);
        let kept_until = kept_until(plan, &values);
        let mut first_buffers = vec![usize::MAX; plan.outputs.len()];
        for (index, buffer) in plan.buffers.iter().enumerate().rev() {
            if let Place::Output(output) = buffer.place {
                first_buffers[output as usize] = index;
            }
        }
        let is_state = |place: &Place| matches!(place, Place::State(_) | Place::NextState(_));
        let uses_states = !plan.states.is_empty()
            || plan.buffers.iter().any(|b| is_state(&b.place))
            || plan.symbols.iter().any(|source| matches!(source, SymbolSource::State { .. }));
        if let Some(gpu) = loaded.gpu() {
            let name = &loaded.manifest.entries[entry].name;
            launch::check_launches(plan).map_err(|problem| launch::refused(name, gpu.name(), &problem))?;
        }
        let (guarded, is_straight) = (guarded_steps(plan), launch::is_straight(plan));
        let callee = |index: usize| match loaded.plans.len() {
            n if index < n => Program::new(loaded.clone(), index, isa, threads, states.clone()),
            n => Err(Error::Shapes { entry: format!("#{index}"), problem: format!("it is not among {n} entries") }),
        };
        let mut calls = BTreeMap::new();
        for step in &plan.steps {
            if let Step::Call { entry: index, .. } = step {
                calls.insert(*index, Callee::new(entry, step, callee)?);
            }
        }
        Ok(Program {
            calls,
            entry,
            isa,
            threads,
            states,
            kernels,
            functions,
            gpu_functions,
            table: table::table(isa),
            values,
            kept_until,
            first_buffers,
            uses_states,
            is_straight,
            guarded,
            loaded,
        })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.loaded.plans[self.entry]
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.loaded.manifest.entries[self.entry]
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (entry, isa, threads) = (&self.entry().name, self.isa.name(), self.threads);
        f.debug_struct("Program").field("entry", entry).field("isa", &isa).field("threads", &threads).finish()
    }
}

/// The kernels' instruction set: that of the options, of the environment or of the machine.
///
/// # Errors
/// If there is none of that name, or this machine does not have it.
pub(crate) fn choose_isa(options: &Options, manifest: &Manifest) -> Result<Isa, Error> {
    let variable = std::env::var("IC_KERNELS").ok().filter(|name| !name.is_empty());
    let Some(name) = options.kernels.as_ref().or(variable.as_ref()) else {
        return Ok(if manifest.is_strict() { Isa::detect() } else { Isa::fastest() });
    };
    let known = || Isa::ALL.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
    let isa = Isa::from_name(name)
        .ok_or_else(|| Error::Option(format!("no kernels `{name}`; expected one of: {}", known())))?;
    if !isa.is_supported() {
        return Err(Error::Option(format!("this machine cannot run the kernels `{name}`")));
    }
    Ok(isa)
}

fn find(loaded: &Loaded, kernel: &KernelRef, isa: Isa) -> Result<&'static Kernel, Error> {
    match table::find(&kernel.name, kernel.layout, isa) {
        Some(found) if found.revision == kernel.revision => Ok(found),
        found => Err(loaded.lacks_kernel(kernel, found.map(|f| f.revision))),
    }
}

/// Whether a library step has the operands and attributes that its kernel takes.
fn check_call(step: &Step, kernels: &[&'static Kernel]) -> Result<(), String> {
    let Step::Library { name, kernel, operands, attrs, epilogue, .. } = step else {
        return Ok(());
    };
    let kernel = kernels[*kernel as usize];
    let sides = [("operands", operands.len(), kernel.operands), ("attributes", attrs.len(), kernel.attrs)];
    for (side, found, names) in sides {
        // A name that ends in `[]` stands for any number.
        let n_lists = names.iter().filter(|name| name.ends_with("[]")).count();
        let fixed = names.len() - n_lists;
        if found < fixed || (n_lists == 0 && found > fixed) {
            return Err(format!("`{name}`: {} takes {side} [{}], found {found}", kernel.name, names.join(", ")));
        }
    }
    for op in epilogue {
        if let Epilogue::Strip(strip) = op
            && *strip as usize >= Strip::ALL.len()
        {
            return Err(format!("`{name}`: no strip {strip}"));
        }
    }
    Ok(())
}
