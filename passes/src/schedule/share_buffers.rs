//! Lets results take over the memory of operands that die in the kernel that computes them.
//!
//! A result and an operand share memory only where every access to the two in that kernel is to the same element at the
//! same point, no stage reads the operand after the result is stored, nor is evaluated again then, and nothing reads the
//! operand later. Kernels of whole ops never share.

use ic_ir::kernel::{Anchor, BufferId, BufferKind, Expr, Kernel, Program, Step};
use ic_types::Dim;

/// Shares buffers in place.
pub fn share_buffers(program: &mut Program) {
    let mut uses = uses(program);
    let steps = std::mem::take(&mut program.steps);
    for (at, step) in steps.iter().enumerate() {
        let Step::Kernel { kernel, args, .. } = step else { continue };
        for result in (0..kernel.params.len()).filter(|&i| kernel.params[i].is_output) {
            let operand = (0..kernel.params.len()).find(|&operand| {
                !kernel.params[operand].is_output
                    && fits(program, &uses, at, args[operand], args[result])
                    && aliases_once(program, args, operand, result)
                    && accesses_agree(kernel, operand as u32, result as u32)
            });
            if let Some(operand) = operand {
                join(program, &mut uses, args[operand], args[result]);
            }
        }
    }
    program.steps = steps;
}

/// First and last step in which the memory of each buffer is used, by root, and how many steps write it.
struct Uses {
    first: Vec<usize>,
    last: Vec<usize>,
    writers: Vec<usize>,
}

fn uses(program: &Program) -> Uses {
    let n = program.buffers.len();
    let mut uses = Uses { first: vec![usize::MAX; n], last: vec![0; n], writers: vec![0; n] };
    for (at, step) in program.steps.iter().enumerate() {
        visit(step, &mut |buffer, writes| {
            let root = root(program, buffer) as usize;
            uses.first[root] = uses.first[root].min(at);
            uses.last[root] = at;
            uses.writers[root] += usize::from(writes);
        });
    }
    uses
}

/// Calls `body` with every buffer that a step uses and whether the step writes it.
fn visit(step: &Step, body: &mut dyn FnMut(BufferId, bool)) {
    match step {
        Step::Kernel { kernel, args, .. } => {
            args.iter().zip(&kernel.params).for_each(|(&buffer, param)| body(buffer, param.is_output));
        }
        Step::Loop(of) => {
            let carried = of.carried.iter().flat_map(|c| [(c.initial, false), (c.state, true), (c.next, true)]);
            let scans = of.scans.iter().flat_map(|&(element, room)| [(element, true), (room, true)]);
            let own = [(of.counter, true), (of.goes_on, true)].into_iter().chain(of.begin.map(|begin| (begin, false)));
            carried.chain(scans).chain(own).for_each(|(buffer, writes)| body(buffer, writes));
            of.body.iter().for_each(|step| visit(step, body));
        }
        Step::Read(symbols) => symbols.iter().for_each(|read| body(read.buffer, false)),
        Step::If { condition, then, otherwise, .. } => {
            body(*condition, false);
            then.iter().chain(otherwise).for_each(|step| visit(step, body));
        }
    }
}

fn root(program: &Program, buffer: BufferId) -> BufferId {
    match program.buffers[buffer as usize].kind {
        BufferKind::View { of, .. } => of,
        _ => buffer,
    }
}

/// Whether the operand is all of a temporary that dies in step `at`, and the result all of a buffer that it begins.
fn fits(program: &Program, uses: &Uses, at: usize, operand: BufferId, result: BufferId) -> bool {
    let (from, to) = (root(program, operand), root(program, result));
    let buffer = |id: BufferId| &program.buffers[id as usize];
    let elements: Vec<Dim> = [operand, from, result, to].map(|id| buffer(id).ty.elements()).into();
    let is_free = matches!(buffer(to).kind, BufferKind::Temporary | BufferKind::Output(_));
    from != to
        && elements.windows(2).all(|pair| pair[0] == pair[1])
        && buffer(operand).ty.dtype == buffer(result).ty.dtype
        && buffer(from).kind == BufferKind::Temporary
        && is_free
        && uses.last[from as usize] == at
        && uses.first[to as usize] == at
        && uses.writers[to as usize] == 1
}

/// Whether no other parameter of the kernel is in the memory of the operand or of the result.
fn aliases_once(program: &Program, args: &[BufferId], operand: usize, result: usize) -> bool {
    let roots = [operand, result].map(|i| root(program, args[i]));
    let others = args.iter().enumerate().filter(|&(i, _)| i != operand && i != result);
    others.map(|(_, &buffer)| root(program, buffer)).all(|root| !roots.contains(&root))
}

/// Whether all loads of the operand are of the element that the only store of the result is to, and not after it.
fn accesses_agree(kernel: &Kernel, operand: u32, result: u32) -> bool {
    if kernel.stages.iter().any(|stage| matches!(stage.anchor, Anchor::Op { .. })) {
        return false;
    }
    let stores = || {
        let of = |(i, stage): (usize, &ic_ir::kernel::Stage)| {
            stage.stores.iter().filter(|store| store.param == result).map(move |s| (i, s.clone())).collect::<Vec<_>>()
        };
        kernel.stages.iter().enumerate().flat_map(of)
    };
    let (Some((at, store)), 1) = (stores().next(), stores().count()) else { return false };
    let last = last_evaluations(kernel);
    kernel.stages.iter().zip(last).all(|(stage, last)| {
        stage.body.iter().all(|expr| match expr {
            Expr::Load(load) if load.param == operand => {
                last <= at && load.indices == store.indices && load.gathered.is_empty() && load.bounds.is_empty()
            }
            _ => true,
        })
    }) && store.bounds.is_empty()
        && kernel.params[operand as usize].shape == kernel.params[result as usize].shape
}

/// The last stage during which each stage may be evaluated: pointwise ones are evaluated again where they are used.
fn last_evaluations(kernel: &Kernel) -> Vec<usize> {
    let mut last: Vec<usize> = (0..kernel.stages.len()).collect();
    for (user, stage) in kernel.stages.iter().enumerate().rev() {
        let until = if stage.anchor == Anchor::Pointwise { last[user] } else { user };
        for expr in &stage.body {
            if let Expr::Stage(used) = expr {
                last[*used as usize] = last[*used as usize].max(until);
            }
        }
    }
    last
}

/// Puts the memory of one of the two in that of the other.
fn join(program: &mut Program, uses: &mut Uses, operand: BufferId, result: BufferId) {
    let (operand, result) = (root(program, operand), root(program, result));
    // An output keeps its own memory.
    let keeps_result = matches!(program.buffers[result as usize].kind, BufferKind::Output(_));
    let (whole, part) = if keeps_result { (result, operand) } else { (operand, result) };
    uses.first[whole as usize] = uses.first[operand as usize];
    uses.last[whole as usize] = uses.last[result as usize];
    uses.writers[whole as usize] += uses.writers[part as usize];
    for buffer in &mut program.buffers {
        if let BufferKind::View { of, .. } = &mut buffer.kind
            && *of == part
        {
            *of = whole;
        }
    }
    program.buffers[part as usize].kind = BufferKind::View { of: whole, offset: Dim::constant(0) };
}
