//! Plans: symbols, buffers, segments. What steps there are is up to each class of targets.
//!
//! Everything that cannot be compiled is reported, with the model's node.

mod buffers;
mod control;
mod segments;
mod work;

use super::dims::DimBuilder;
use super::weights::Weight;
pub(crate) use buffers::Buffers;
pub(crate) use control::{KernelSteps, Parts, add_steps};
use ic_artifact::{BufferId, DimCheck, KernelRef, Plan, StateUse, SymbolSource};
use ic_ir::kernel::{self, BufferKind, Program, Step};
use ic_ir::{Constraint, Diagnostic, Graph, Location};
use ic_types::Dim;
pub(crate) use segments::Segments;
use std::sync::Arc;

/// A plan and what its weight section holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: Plan,
    /// Blocks of the weight section with their buffers, which have no offset yet.
    pub(crate) weights: Vec<(BufferId, Weight)>,
}

/// Finished steps and what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Built {
    pub(crate) steps: Vec<ic_artifact::Step>,
    pub(crate) kernels: Vec<KernelRef>,
    /// Names of the functions.
    pub(crate) functions: Vec<String>,
    /// Conditions on extents.
    pub(crate) checks: Vec<DimCheck>,
    pub(crate) errors: Vec<Diagnostic>,
}

/// Builds the plan of a program whose steps `build` makes.
///
/// # Errors
/// Every step that cannot be compiled, and every extent that nothing determines.
pub(crate) fn plan_with<'a>(
    program: &'a Program,
    graph: &'a Graph,
    build: &mut dyn FnMut(&mut DimBuilder, &mut Buffers<'a>, &mut Segments<'a>) -> Built,
) -> Result<Planned, Vec<Diagnostic>> {
    let mut dims = DimBuilder::default();
    let symbols = bind_symbols(program, &mut dims);
    let errors = unbound_symbols(program, &dims);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut slots = |shape: &[Dim]| shape.iter().map(|d| dims.slot(d).expect("symbols are bound")).collect::<Vec<_>>();
    let inputs = ports(program, |kind| matches!(kind, BufferKind::Input(_))).map(&mut slots).collect();
    let states = program.states.iter().map(|used| state_use(used, &mut dims)).collect();
    let mut segments = Segments::new(program, symbols);
    segments.check_constraints(&mut dims);
    let mut buffers = Buffers::new(program, graph);
    let Built { steps, kernels, functions, checks, errors } = build(&mut dims, &mut buffers, &mut segments);
    if !errors.is_empty() {
        return Err(errors);
    }
    segments.end(&steps, &mut buffers, &mut dims);
    let shapes = ports(program, |kind| matches!(kind, BufferKind::Output(_)));
    let outputs = shapes.map(|shape| shape.iter().map(|d| dims.slot(d).expect("symbols are bound")).collect());
    let outputs = outputs.collect();
    let plan = Plan { inputs, outputs, checks, steps, kernels, functions, states, ..Plan::default() };
    Ok(segments.finish(plan, buffers, dims))
}

/// Shapes of the buffers of a kind, in the order of their ports.
fn ports(program: &Program, is_port: impl Fn(&BufferKind) -> bool) -> impl Iterator<Item = &[Dim]> {
    let index = |kind: &BufferKind| match kind {
        BufferKind::Input(i) | BufferKind::Output(i) => *i,
        _ => 0,
    };
    let mut found: Vec<_> = program.buffers.iter().filter(|buffer| is_port(&buffer.kind)).collect();
    found.sort_by_key(|buffer| index(&buffer.kind));
    found.into_iter().map(|buffer| buffer.ty.shape.as_slice())
}

fn state_use(used: &kernel::StateUse, dims: &mut DimBuilder) -> StateUse {
    let mut slots =
        |shape: &Vec<Dim>| shape.iter().map(|d| dims.slot(d).expect("symbols are bound")).collect::<Vec<_>>();
    let before = used.before.as_ref().map(&mut slots);
    StateUse { state: used.state, before, after: used.after.as_ref().map(slots) }
}

/// Every symbol gets its value from the first axis that is just that symbol, of an input or else of a state.
fn bind_symbols(program: &Program, dims: &mut DimBuilder) -> Vec<SymbolSource> {
    let mut sources = Vec::new();
    for (input, shape) in ports(program, |kind| matches!(kind, BufferKind::Input(_))).enumerate() {
        for (axis, dim) in shape.iter().enumerate() {
            if let Some(name) = dim.as_symbol().filter(|name| !dims.is_bound(name)) {
                dims.bind(name, sources.len() as u32);
                sources.push(SymbolSource::Input { input: input as u32, axis: axis as u32 });
            }
        }
    }
    for used in &program.states {
        for (axis, dim) in used.before.iter().flatten().enumerate() {
            if let Some(name) = dim.as_symbol().filter(|name| !dims.is_bound(name)) {
                dims.bind(name, sources.len() as u32);
                sources.push(SymbolSource::State { state: used.state, axis: axis as u32 });
            }
        }
    }
    sources
}

/// Symbols that the program's buffers use and no input or step determines, and those of states that none determines
/// before the first step.
fn unbound_symbols(program: &Program, dims: &DimBuilder) -> Vec<Diagnostic> {
    let is_read = |name: &Arc<str>| {
        program.steps.iter().any(|step| matches!(step, Step::Read(list) if list.iter().any(|read| read.name == *name)))
    };
    let mut unbound = ic_types::symbols_of(program.buffers.iter().flat_map(|buffer| &buffer.ty.shape));
    unbound.retain(|name| !is_read(name));
    let of_states = program.states.iter().flat_map(|used| used.before.iter().chain(&used.after)).flatten();
    unbound.extend(ic_types::symbols_of(of_states));
    unbound.retain(|name| !dims.is_bound(name));
    let report = |name: &Arc<str>| {
        let location = Location { file: program.name.as_str().into(), node: "".into() };
        let message = format!("extents that depend on data are not supported: no input has an axis `{name}`");
        Diagnostic::new(location, message).with_help(format!("bind it if it is an input's: `--dim {name}=N`"))
    };
    unbound.iter().map(report).collect()
}

/// Constraints as checks of the plan. `step` is the step of a branch that must not run where one fails.
fn dim_checks(list: &[(Constraint, Arc<str>)], step: Option<u32>, dims: &mut DimBuilder) -> Vec<DimCheck> {
    let mut slot = |dim: &Dim| dims.slot(dim).ok();
    let each = |(constraint, node): &(Constraint, Arc<str>)| {
        let (left, right, or_one) = match constraint {
            Constraint::Equal(a, b) => (slot(a)?, slot(b)?, false),
            Constraint::Broadcast(a, b) => (slot(a)?, slot(b)?, true),
        };
        Some(DimCheck { left, right, or_one, step, node: node.to_string() })
    };
    list.iter().filter_map(each).collect()
}
