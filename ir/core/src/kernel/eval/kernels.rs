//! The kernels of a program one by one, each on what memory holds after a run of them all.

use super::super::program::{BufferKind, Program, Step};
use super::super::stage::Kernel;
use super::{Memory, run_kernel};
use crate::eval::Symbols;
use crate::op::OpError;
use ic_types::Data;
use std::collections::BTreeSet;

/// A kernel, what a run of the program left in the buffers that it writes, and what they should hold.
pub struct Evaluated<'p> {
    /// The kernel.
    pub kernel: &'p Kernel,
    /// Names of the model's nodes that it computes.
    pub location: &'p str,
    /// The buffers that it writes, as the run left them.
    pub found: Vec<Data>,
    /// The same, as the evaluation of this kernel leaves them. What the kernel does not write is as in `found`.
    pub expected: Result<Vec<Data>, OpError>,
}

/// Evaluates each kernel that is in no branch or loop on `memory`, the elements of the program's buffers after a run, which
/// must not have used memory twice. Kernels that read or write a buffer without elements are left out; their number is
/// returned.
///
/// # Errors
/// If the extent that a buffer holds is no extent.
pub fn eval_kernels(
    program: &Program,
    memory: Vec<Option<Data>>,
    symbols: &Symbols,
    each: &mut dyn FnMut(Evaluated<'_>),
) -> Result<usize, OpError> {
    let mut memory = Memory { program, symbols: symbols.clone(), data: memory };
    let mut n_left = 0;
    for step in &program.steps {
        match step {
            Step::Read(symbols) => symbols.iter().try_for_each(|read| memory.read_symbol(read))?,
            Step::If { then, otherwise, .. } => n_left += count(then) + count(otherwise),
            Step::Loop(of) => n_left += count(&of.body),
            Step::Kernel { kernel, args, location } => {
                let root = |&id: &u32| match program.buffers[id as usize].kind {
                    BufferKind::View { of, .. } => of as usize,
                    _ => id as usize,
                };
                let written: BTreeSet<usize> =
                    args.iter().zip(&kernel.params).filter(|(_, p)| p.is_output).map(|(id, _)| root(id)).collect();
                if args.iter().any(|id| memory.data[root(id)].is_none()) {
                    n_left += 1;
                    continue;
                }
                let of =
                    |memory: &Memory| written.iter().filter_map(|&i| memory.data[i].clone()).collect::<Vec<Data>>();
                let found = of(&memory);
                let run = run_kernel(&mut memory, kernel, args);
                let expected = run.map(|()| of(&memory));
                for (&i, data) in written.iter().zip(&found) {
                    memory.data[i] = Some(data.clone());
                }
                each(Evaluated { kernel, location, found, expected });
            }
        }
    }
    Ok(n_left)
}

/// Number of kernels in some steps.
fn count(steps: &[Step]) -> usize {
    let of_step = |step: &Step| match step {
        Step::Kernel { .. } => 1,
        Step::Read(_) => 0,
        Step::Loop(of) => count(&of.body),
        Step::If { then, otherwise, .. } => count(then) + count(otherwise),
    };
    steps.iter().map(of_step).sum()
}
