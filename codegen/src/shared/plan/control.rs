//! Control flow of plans: branches, loops, readings of symbols. It is the same for all classes of targets; what a kernel
//! becomes is up to each.

use super::work::KernelWork;
use super::{Buffers, Segments, dim_checks};
use crate::shared::dims::DimBuilder;
use ic_artifact::{BufferId, DimCheck, Step};
use ic_ir::kernel::{self, Kernel, Program};
use ic_ir::{Constraint, Diagnostic, Location};
use std::sync::Arc;

/// A plan under construction.
pub(crate) struct Parts<'x, 'a> {
    pub(crate) program: &'a Program,
    pub(crate) dims: &'x mut DimBuilder,
    pub(crate) buffers: &'x mut Buffers<'a>,
    pub(crate) steps: &'x mut Vec<Step>,
    pub(crate) checks: &'x mut Vec<DimCheck>,
    pub(crate) errors: &'x mut Vec<Diagnostic>,
}

/// What makes steps of kernels.
pub(crate) trait KernelSteps<'a> {
    /// The plan under construction.
    fn parts(&mut self) -> Parts<'_, 'a>;

    /// Adds the steps of a kernel.
    ///
    /// # Errors
    /// What of it has no code.
    fn kernel(&mut self, kernel: &Kernel, args: &[kernel::BufferId], location: &Arc<str>) -> Result<(), String>;
}

/// Conditions on symbols with the nodes that need them.
type Constraints = Vec<(Constraint, Arc<str>)>;

/// Adds the steps of a program, and ends segments where it reads symbols.
pub(crate) fn add_steps<'a>(to: &mut impl KernelSteps<'a>, steps: &[kernel::Step], segments: &mut Segments<'a>) {
    for step in steps {
        match step {
            kernel::Step::Read(symbols) => {
                let parts = to.parts();
                segments.read(symbols, parts.steps, parts.buffers, parts.dims);
            }
            step => nested(to, std::slice::from_ref(step), segments.work()),
        }
    }
}

/// Adds the steps of a kernel, and how much it does to `work`.
fn kernel_steps<'a>(
    to: &mut impl KernelSteps<'a>,
    (kernel, args, location): (&Kernel, &[kernel::BufferId], &Arc<str>),
    work: &mut Vec<KernelWork>,
) -> Result<(), String> {
    let first = to.parts().steps.len();
    to.kernel(kernel, args, location)?;
    let parts = to.parts();
    if parts.steps.len() > first {
        work.push(KernelWork::of(kernel, args, first as u32, parts.program, parts.buffers));
    }
    Ok(())
}

/// Adds steps that stay in their segment.
fn nested<'a>(to: &mut impl KernelSteps<'a>, steps: &[kernel::Step], work: &mut Vec<KernelWork>) {
    for step in steps {
        let (result, node) = match step {
            kernel::Step::Read(_) => (Err("not supported: a symbol is read in a branch".into()), "".into()),
            kernel::Step::Kernel { kernel, args, location } => {
                (kernel_steps(to, (kernel, args, location), work), location.clone())
            }
            kernel::Step::Loop(of) => (repeat(to, of, work), of.location.clone()),
            kernel::Step::If { condition, then, otherwise, constraints, location } => {
                branch(to, *condition, [then, otherwise], constraints, work);
                (Ok(()), location.clone())
            }
        };
        if let Err(message) = result {
            let parts = to.parts();
            let location = Location { file: parts.program.name.as_str().into(), node };
            parts.errors.push(Diagnostic::new(location, message));
        }
    }
}

fn repeat<'a>(to: &mut impl KernelSteps<'a>, of: &kernel::Loop, work: &mut Vec<KernelWork>) -> Result<(), String> {
    for carried in &of.carried {
        copy(to, carried.initial, carried.state, None);
    }
    let Parts { dims, buffers, steps, .. } = to.parts();
    let unbound = |name: &Arc<str>| format!("no input has an axis `{name}`");
    let limit = of.trips.as_ref().map(|trips| dims.slot(trips)).transpose().map_err(|e| unbound(&e.0))?;
    let (counter, begin) = (buffers.place(of.counter), of.begin.map(|begin| buffers.place(begin)));
    let head = steps.len();
    steps.push(Step::Jump { to: 0 });
    guarded(to, &of.body, &of.constraints, work);
    for &(element, room) in &of.scans {
        copy(to, element, room, Some(counter));
    }
    for carried in &of.carried {
        copy(to, carried.next, carried.state, None);
    }
    let Parts { buffers, steps, .. } = to.parts();
    let goes_on = buffers.place(of.goes_on);
    steps.push(Step::Next { to: head as u32, condition: Some(goes_on) });
    steps[head] = Step::Loop { counter, limit, condition: begin, end: steps.len() as u32 };
    Ok(())
}

fn copy<'a>(to: &mut impl KernelSteps<'a>, from: kernel::BufferId, target: kernel::BufferId, at: Option<BufferId>) {
    let Parts { buffers, steps, .. } = to.parts();
    let (from, to) = (buffers.place(from), buffers.place(target));
    steps.push(Step::Copy { from, to, at });
}

fn branch<'a>(
    to: &mut impl KernelSteps<'a>,
    condition: kernel::BufferId,
    branches: [&[kernel::Step]; 2],
    constraints: &[Constraints; 2],
    work: &mut Vec<KernelWork>,
) {
    let Parts { buffers, steps, .. } = to.parts();
    let condition = buffers.place(condition);
    let at = steps.len();
    steps.push(Step::Branch { condition, otherwise: 0 });
    guarded(to, branches[0], &constraints[0], work);
    let steps = to.parts().steps;
    let jump = steps.len();
    steps.push(Step::Jump { to: 0 });
    steps[at] = Step::Branch { condition, otherwise: steps.len() as u32 };
    guarded(to, branches[1], &constraints[1], work);
    let steps = to.parts().steps;
    steps[jump] = Step::Jump { to: steps.len() as u32 };
}

/// Adds the steps of a branch, the first of which is refused where a constraint fails.
fn guarded<'a>(
    to: &mut impl KernelSteps<'a>,
    steps: &[kernel::Step],
    constraints: &Constraints,
    work: &mut Vec<KernelWork>,
) {
    let first = to.parts().steps.len() as u32;
    nested(to, steps, work);
    let parts = to.parts();
    if parts.steps.len() as u32 > first {
        parts.checks.extend(dim_checks(constraints, Some(first), parts.dims));
    }
}
