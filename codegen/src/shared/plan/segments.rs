//! Segments of a plan: what is known where a symbol's value is read from memory.
//!
//! The dim slots and buffers of a segment are those that its steps need and no earlier one has. Slots are numbered as
//! they are asked for, so a segment ends with asking for everything that its buffers need; buffers are put in the order
//! of segments at the end.

use super::buffers::{Buffers, step_buffers};
use super::work::KernelWork;
use super::{Planned, dim_checks};
use crate::shared::dims::DimBuilder;
use ic_artifact::{BufferId, DimCheck, Epilogue, Place, Plan, PlanWork, Segment, Step, SymbolSource};
use ic_ir::Constraint;
use ic_ir::kernel::{BufferKind, Program, ReadSymbol};
use ic_types::symbols_of;
use std::sync::Arc;

/// Segments under construction.
pub(crate) struct Segments<'a> {
    program: &'a Program,
    symbols: Vec<SymbolSource>,
    /// Constraints on symbols that are not all known yet.
    pending: Vec<(Constraint, Arc<str>)>,
    checks: Vec<DimCheck>,
    /// The segment of each buffer, as far as steps have touched them.
    touched: Vec<Option<u32>>,
    /// Ends of slots and steps of the finished segments.
    ends: Vec<(u32, u32)>,
    /// How much the kernels do.
    work: Vec<KernelWork>,
}

impl<'a> Segments<'a> {
    /// No segments yet; `symbols` are those that inputs determine.
    pub(super) fn new(program: &'a Program, symbols: Vec<SymbolSource>) -> Segments<'a> {
        let pending = program.constraints.clone();
        Segments {
            program,
            symbols,
            pending,
            checks: Vec::new(),
            touched: Vec::new(),
            ends: Vec::new(),
            work: Vec::new(),
        }
    }

    /// How much the kernels do, in the order of their steps.
    pub(super) fn work(&mut self) -> &mut Vec<KernelWork> {
        &mut self.work
    }

    /// Turns the constraints whose symbols are known by now into checks of the current segment.
    pub(super) fn check_constraints(&mut self, dims: &mut DimBuilder) {
        let is_known = |(constraint, _): &(Constraint, Arc<str>)| {
            let (Constraint::Equal(a, b) | Constraint::Broadcast(a, b)) = constraint;
            symbols_of([a, b]).iter().all(|name| dims.is_bound(name))
        };
        let (known, pending) = std::mem::take(&mut self.pending).into_iter().partition(is_known);
        self.pending = pending;
        self.checks.extend(dim_checks(&known, None, dims));
    }

    /// Ends the segment after `steps`, and gives `symbols` values from then on.
    pub(crate) fn read(
        &mut self,
        symbols: &[ReadSymbol],
        steps: &[Step],
        buffers: &mut Buffers,
        dims: &mut DimBuilder,
    ) {
        let places: Vec<BufferId> = symbols.iter().map(|read| buffers.place(read.buffer)).collect();
        self.touch(&places, buffers, dims);
        self.end(steps, buffers, dims);
        for (read, buffer) in symbols.iter().zip(places) {
            dims.bind(&read.name, self.symbols.len() as u32);
            self.symbols.push(SymbolSource::Value { buffer, element: read.element });
        }
        self.check_constraints(dims);
    }

    /// Ends the segment after `steps`.
    pub(super) fn end(&mut self, steps: &[Step], buffers: &mut Buffers, dims: &mut DimBuilder) {
        let begin = self.ends.last().map_or(0, |&(_, steps)| steps as usize);
        let mut used: Vec<BufferId> = steps[begin..].iter().flat_map(step_buffers).collect();
        if self.ends.is_empty() {
            // Inputs are bound before the first step, those too that no step reads.
            let is_input = |id: &u32| matches!(self.program.buffers[*id as usize].kind, BufferKind::Input(_));
            let inputs = (0..self.program.buffers.len() as u32).filter(is_input);
            used.extend(inputs.map(|id| buffers.place(id)));
        }
        self.touch(&used, buffers, dims);
        self.ends.push((dims.len(), steps.len() as u32));
    }

    /// Makes buffers that no earlier segment has, and those of which they are views, buffers of the current one.
    fn touch(&mut self, list: &[BufferId], buffers: &Buffers, dims: &mut DimBuilder) {
        self.touched.resize(buffers.len(), None);
        for &buffer in list {
            for id in buffers.whole(buffer).into_iter().chain([buffer]) {
                if self.touched[id as usize].is_none() {
                    self.touched[id as usize] = Some(self.ends.len() as u32);
                    buffers.ask(id, dims).expect("kernels run where the symbols of their buffers are known");
                }
            }
        }
    }

    /// The plan with its symbols, slots, buffers and segments. All steps are in ended segments.
    pub(super) fn finish(self, plan: Plan, buffers: Buffers, mut dims: DimBuilder) -> Planned {
        let last = self.ends.len() as u32 - 1;
        let (list, mut weights) = buffers.finish(&plan.steps, &mut dims);
        // What nothing touches is in the last one.
        let segment_of = |id: usize| self.touched.get(id).copied().flatten().unwrap_or(last);
        let segment_of: Vec<u32> = (0..list.len()).map(segment_of).collect();
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_by_key(|&id| segment_of[id]);
        let mut number = vec![0; list.len()];
        order.iter().enumerate().for_each(|(new, &old)| number[old] = new as BufferId);
        let rename = |id: &mut BufferId| *id = number[*id as usize];
        let n_dims = dims.len() as usize;
        let work_of_steps = self.work.iter().filter_map(|work| work.slots(&mut dims)).collect();
        let mut program = dims.finish();
        let work = PlanWork { dims: program.split_off(n_dims), steps: work_of_steps };
        let mut plan = Plan { symbols: self.symbols, dims: program, work, ..plan };
        plan.checks.splice(0..0, self.checks);
        plan.buffers = order.iter().map(|&old| list[old].clone()).collect();
        for buffer in &mut plan.buffers {
            if let Place::View { of, .. } = &mut buffer.place {
                rename(of);
            }
        }
        weights.iter_mut().for_each(|(id, _)| rename(id));
        for symbol in &mut plan.symbols {
            if let SymbolSource::Value { buffer, .. } = symbol {
                rename(buffer);
            }
        }
        plan.steps.iter_mut().for_each(|step| for_each_buffer(step, &rename));
        let end = |(index, &(dims_end, steps_end)): (usize, &(u32, u32))| {
            let is_last = index as u32 == last;
            let buffers_end = segment_of.iter().filter(|&&segment| segment <= index as u32).count() as u32;
            Segment { dims_end: if is_last { plan.dims.len() as u32 } else { dims_end }, buffers_end, steps_end }
        };
        plan.segments = self.ends.iter().enumerate().map(end).collect();
        debug_assert_eq!(self.program.outputs.len(), plan.outputs.len());
        Planned { plan, weights }
    }
}

fn for_each_buffer(step: &mut Step, f: &dyn Fn(&mut BufferId)) {
    match step {
        Step::Library { operands, epilogue, callback, .. } => {
            operands.iter_mut().flatten().for_each(|operand| f(&mut operand.buffer));
            epilogue.iter_mut().filter_map(Epilogue::buffer_mut).for_each(f);
            callback.iter_mut().flat_map(|callback| &mut callback.buffers).for_each(f);
        }
        Step::Code { buffers, .. } | Step::Launch { buffers, .. } => buffers.iter_mut().for_each(f),
        Step::Branch { condition, .. } => f(condition),
        Step::Copy { from, to, at } => [from, to].into_iter().chain(at).for_each(f),
        Step::Loop { counter, condition, .. } => std::iter::once(counter).chain(condition).for_each(f),
        Step::Next { condition, .. } => condition.iter_mut().for_each(f),
        Step::Jump { .. } => {}
        Step::Call { inputs, outputs, .. } => {
            inputs.iter_mut().filter_map(|input| input.buffer.as_mut()).chain(outputs).for_each(f);
        }
    }
}
