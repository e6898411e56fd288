//! Checks a plan before it runs: every index, slot order, jump target, view and constant bound.
//!
//! Behind [`Plan::check`], the dim program refers to earlier slots only, every part of a segment to what that segment
//! or an earlier one defines, every step to buffers that are alive, and control only moves forward within a segment, or
//! back to the begin of a loop.
//! Sizes that depend on symbols are checked when they are bound.

use crate::{
    Buffer, BufferId, Callback, DimOp, DimSlot, Entry, Epilogue, Operand, Place, Plan, PlanWork, Segment, State, Step,
    SymbolSource,
};
use ic_types::DType;

/// What a plan is checked against.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext<'a> {
    /// The entry that it is the plan of.
    pub entry: &'a Entry,
    /// The state buffers of the manifest.
    pub states: &'a [State],
    /// Length of the weight section.
    pub weight_bytes: u64,
}

/// What is wrong with a plan, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct PlanError {
    /// The part of the plan.
    pub at: String,
    /// What is wrong with it.
    pub problem: String,
}

type Check = Result<(), String>;

impl Plan {
    /// Checks the plan.
    ///
    /// # Errors
    /// The first part that refers to something that is not there.
    pub fn check(&self, context: &PlanContext) -> Result<(), PlanError> {
        let at = |part: String| move |problem: String| PlanError { at: part, problem };
        self.check_segments().map_err(at("segments".into()))?;
        self.check_symbols(context).map_err(at("symbols".into()))?;
        self.check_signature(context).map_err(at("signature".into()))?;
        self.check_conditions().map_err(at("checks".into()))?;
        self.check_states(context).map_err(at("states".into()))?;
        self.check_loops().map_err(at("loops".into()))?;
        self.check_work().map_err(at("work".into()))?;
        let constants = self.constants();
        let mut begin = Segment { dims_end: 0, buffers_end: 0, steps_end: 0 };
        for segment in &self.segments {
            for index in begin.dims_end..segment.dims_end {
                self.check_dim(index, begin).map_err(at(format!("dim slot {index}")))?;
            }
            for index in begin.buffers_end..segment.buffers_end {
                self.check_buffer(index, segment, context, &constants).map_err(at(format!("buffer {index}")))?;
            }
            for index in begin.steps_end..segment.steps_end {
                let step = &self.steps[index as usize];
                self.check_step(index, segment).map_err(at(format!("step {index}{}", step_name(step))))?;
            }
            begin = *segment;
        }
        match self.unbacked_output() {
            Some(output) => Err(at(format!("output {output}"))("it has no buffer".into())),
            None => Ok(()),
        }
    }

    /// The work of steps is of steps that there are, in order, and its dim program refers to earlier slots only.
    fn check_work(&self) -> Check {
        let PlanWork { dims, steps } = &self.work;
        for (op, slot) in dims.iter().zip(self.dims.len()..) {
            match *op {
                DimOp::Symbol(symbol) => inside("symbol", symbol, self.symbols.len())?,
                DimOp::Const(_) => {}
                DimOp::Add(a, b)
                | DimOp::Mul(a, b)
                | DimOp::FloorDiv(a, b)
                | DimOp::Mod(a, b)
                | DimOp::Min(a, b)
                | DimOp::Max(a, b)
                | DimOp::Broadcast(a, b) => inside("dim slot", a.max(b), slot)?,
            }
        }
        let n_slots = self.dims.len() + dims.len();
        for work in steps {
            inside("step", work.step, self.steps.len())?;
            inside("dim slot", work.operations.max(work.activations).max(work.weights), n_slots)?;
        }
        match steps.is_sorted_by(|a, b| a.step < b.step) {
            true => Ok(()),
            false => Err("steps are not in order".into()),
        }
    }

    /// An output that no buffer holds.
    fn unbacked_output(&self) -> Option<usize> {
        let mut backed = vec![false; self.outputs.len()];
        for buffer in &self.buffers {
            if let Place::Output(output) = buffer.place {
                backed[output as usize] = true;
            }
        }
        backed.iter().position(|&backed| !backed)
    }

    fn check_segments(&self) -> Check {
        let mut begin = Segment { dims_end: 0, buffers_end: 0, steps_end: 0 };
        for (index, s) in self.segments.iter().enumerate() {
            if s.dims_end < begin.dims_end || s.buffers_end < begin.buffers_end || s.steps_end < begin.steps_end {
                return Err(format!("segment {index} ends before it begins"));
            }
            begin = *s;
        }
        let ends = (begin.dims_end as usize, begin.buffers_end as usize, begin.steps_end as usize);
        let lengths = (self.dims.len(), self.buffers.len(), self.steps.len());
        if self.segments.is_empty() || ends != lengths {
            return Err(format!("they cover {ends:?} dim slots, buffers and steps of {lengths:?}"));
        }
        Ok(())
    }

    fn check_symbols(&self, context: &PlanContext) -> Check {
        for (index, source) in self.symbols.iter().enumerate() {
            match *source {
                SymbolSource::Input { input, axis } => {
                    let port = context.entry.inputs.get(input as usize);
                    if port.is_none_or(|port| axis as usize >= port.shape.len()) {
                        return Err(format!("symbol {index} is axis {axis} of input {input}, which does not exist"));
                    }
                }
                SymbolSource::Value { buffer, element } => {
                    inside("buffer", buffer, self.buffers.len())?;
                    if element >= i32::MAX as u32 {
                        return Err(format!("symbol {index} is element {element} of a buffer"));
                    }
                }
                SymbolSource::State { state, axis } => {
                    let found = context.states.get(state as usize);
                    if found.is_none_or(|state| axis as usize >= state.capacity.len()) {
                        return Err(format!("symbol {index} is axis {axis} of state {state}, which does not exist"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Inputs and outputs have the entry's number and ranks. Inputs are known before anything runs.
    fn check_signature(&self, context: &PlanContext) -> Check {
        let known_at_start = self.segments.first().map_or(0, |s| s.dims_end);
        let sides = [
            ("input", &self.inputs, &context.entry.inputs, known_at_start as usize),
            ("output", &self.outputs, &context.entry.outputs, self.dims.len()),
        ];
        for (side, shapes, ports, n_dims) in sides {
            if shapes.len() != ports.len() {
                return Err(format!("{} {side}s, the entry has {}", shapes.len(), ports.len()));
            }
            for (shape, port) in shapes.iter().zip(ports) {
                if shape.len() != port.shape.len() {
                    let (found, name, rank) = (shape.len(), &port.name, port.shape.len());
                    return Err(format!("{side} `{name}` has rank {rank}, its plan {found}"));
                }
                shape.iter().try_for_each(|&slot| inside("dim slot", slot, n_dims))?;
            }
        }
        Ok(())
    }

    /// What states hold before and after a run is known before it, and has their rank.
    fn check_states(&self, context: &PlanContext) -> Check {
        let known_at_start = self.segments.first().map_or(0, |s| s.dims_end) as usize;
        for used in &self.states {
            inside("state", used.state, context.states.len())?;
            let rank = context.states[used.state as usize].capacity.len();
            for shape in used.before.iter().chain(&used.after) {
                if shape.len() != rank {
                    return Err(format!("state {} of rank {rank} is used with rank {}", used.state, shape.len()));
                }
                shape.iter().try_for_each(|&slot| inside("dim slot", slot, known_at_start))?;
            }
        }
        Ok(())
    }

    /// Conditions of a step are about extents that are known when its segment is bound.
    fn check_conditions(&self) -> Check {
        for check in &self.checks {
            let known = match check.step {
                None => self.dims.len(),
                Some(step) => {
                    inside("step", step, self.steps.len())?;
                    let segment = self.segments.iter().find(|segment| step < segment.steps_end);
                    segment.map_or(0, |segment| segment.dims_end as usize)
                }
            };
            [check.left, check.right].into_iter().try_for_each(|slot| inside("dim slot", slot, known))?;
        }
        Ok(())
    }

    /// `begin` is where the slot's segment begins.
    fn check_dim(&self, index: DimSlot, begin: Segment) -> Check {
        let earlier = |slot: DimSlot| inside("dim slot", slot, index as usize);
        match self.dims[index as usize] {
            DimOp::Const(_) => Ok(()),
            DimOp::Symbol(symbol) => {
                inside("symbol", symbol, self.symbols.len())?;
                match self.symbols[symbol as usize] {
                    SymbolSource::Value { buffer, .. } if buffer >= begin.buffers_end => {
                        Err(format!("symbol {symbol} is read from buffer {buffer} before that is written"))
                    }
                    _ => Ok(()),
                }
            }
            DimOp::Add(a, b)
            | DimOp::Mul(a, b)
            | DimOp::FloorDiv(a, b)
            | DimOp::Mod(a, b)
            | DimOp::Min(a, b)
            | DimOp::Max(a, b)
            | DimOp::Broadcast(a, b) => earlier(a).and(earlier(b)),
        }
    }

    fn check_buffer(
        &self,
        index: BufferId,
        segment: &Segment,
        context: &PlanContext,
        constants: &[Option<i64>],
    ) -> Check {
        let Buffer { bytes, place } = self.buffers[index as usize];
        inside("dim slot", bytes, segment.dims_end as usize)?;
        let size = constants[bytes as usize];
        if size.is_some_and(|size| size < 0) {
            return Err("its size is negative".into());
        }
        match place {
            Place::Arena { first, last } => {
                if first > last || last as usize >= self.steps.len() {
                    return Err(format!("it is alive from step {first} to {last} of {} steps", self.steps.len()));
                }
                Ok(())
            }
            Place::Weight { offset } => {
                let end = offset.checked_add(size.unwrap_or(0) as u64);
                if offset % 64 != 0 || end.is_none_or(|end| end > context.weight_bytes) {
                    return Err(format!("weights at {offset} are unaligned or leave {} bytes", context.weight_bytes));
                }
                Ok(())
            }
            Place::Input(input) => inside("input", input, self.inputs.len()),
            Place::State(state) | Place::NextState(state) => inside("state", state, context.states.len()),
            Place::Output(output) => {
                inside("output", output, self.outputs.len())?;
                let shape = &self.outputs[output as usize];
                shape.iter().try_for_each(|&slot| inside("dim slot", slot, segment.dims_end as usize))
            }
            Place::View { of, offset } => {
                inside("buffer", of, index as usize)?;
                inside("dim slot", offset, segment.dims_end as usize)?;
                let whole = &self.buffers[of as usize];
                if matches!(whole.place, Place::View { .. }) {
                    return Err(format!("buffer {of}, of which it is a view, is itself a view"));
                }
                let (start, whole) = (constants[offset as usize], constants[whole.bytes as usize]);
                let end = start.unwrap_or(0).checked_add(size.unwrap_or(0));
                if start.is_some_and(|start| start < 0) || end.is_none_or(|end| whole.is_some_and(|whole| end > whole))
                {
                    return Err(format!("it leaves buffer {of}, of which it is a view"));
                }
                Ok(())
            }
        }
    }

    fn check_step(&self, index: u32, segment: &Segment) -> Check {
        let known = |slot: DimSlot| inside("dim slot", slot, segment.dims_end as usize);
        let alive = |buffer: BufferId| self.check_alive(buffer, index, segment);
        let later = |target: u32| match target > index && target <= segment.steps_end {
            true => Ok(()),
            false => Err(format!("it continues at step {target}, which is not a later one of its segment")),
        };
        match self.steps[index as usize] {
            Step::Library { kernel, ref operands, ref attrs, ref epilogue, ref callback, .. } => {
                inside("kernel", kernel, self.kernels.len())?;
                for operand in operands.iter().flatten() {
                    self.check_operand(operand, segment).and_then(|()| alive(operand.buffer))?;
                }
                attrs.iter().try_for_each(|&slot| known(slot))?;
                epilogue.iter().filter_map(Epilogue::buffer).try_for_each(alive)?;
                match callback {
                    Some(Callback { function, buffers, scratch_bytes, .. }) => {
                        inside("function", *function, self.functions.len())?;
                        known(*scratch_bytes)?;
                        buffers.iter().try_for_each(|&buffer| alive(buffer))
                    }
                    None => Ok(()),
                }
            }
            Step::Code { function, ref buffers, outer, cost_ns, scratch_bytes, .. } => {
                inside("function", function, self.functions.len())?;
                [outer[0], outer[1], cost_ns, scratch_bytes].into_iter().try_for_each(known)?;
                buffers.iter().try_for_each(|&buffer| alive(buffer))
            }
            Step::Branch { condition, otherwise } => alive(condition).and_then(|()| later(otherwise)),
            Step::Jump { to } => later(to),
            Step::Launch { function, ref buffers, ref dims, grid, block, .. } => {
                inside("function", function, self.functions.len())?;
                dims.iter().chain(&grid).try_for_each(|&slot| known(slot))?;
                if block.contains(&0) {
                    return Err("a block without threads".into());
                }
                buffers.iter().try_for_each(|&buffer| alive(buffer))
            }
            Step::Call { ref inputs, ref outputs, .. } => {
                inputs.iter().flat_map(|input| &input.shape).try_for_each(|&slot| known(slot))?;
                inputs.iter().filter_map(|input| input.buffer).chain(outputs.iter().copied()).try_for_each(alive)
            }
            Step::Copy { from, to, at } => [Some(from), Some(to), at].into_iter().flatten().try_for_each(alive),
            Step::Loop { counter, limit, condition, end } => {
                limit.into_iter().try_for_each(known)?;
                std::iter::once(counter).chain(condition).try_for_each(alive)?;
                later(end)
            }
            Step::Next { to, condition } => {
                // That there is such a loop has been checked.
                if let Some(Step::Loop { counter, .. }) = self.steps.get(to as usize) {
                    alive(*counter)?;
                }
                condition.into_iter().try_for_each(alive)
            }
        }
    }

    fn check_operand(&self, operand: &Operand, segment: &Segment) -> Check {
        if DType::from_code(operand.dtype).is_none() {
            return Err(format!("operand of unknown element type {}", operand.dtype));
        }
        if operand.strides.as_ref().is_some_and(|strides| strides.len() != operand.shape.len()) {
            return Err("operand with another number of strides than of axes".into());
        }
        let slots = operand.shape.iter().chain(operand.strides.iter().flatten()).chain(&operand.offset);
        slots.into_iter().try_for_each(|&slot| inside("dim slot", slot, segment.dims_end as usize))
    }

    /// Whether step `step` may use `buffer`.
    fn check_alive(&self, buffer: BufferId, step: u32, segment: &Segment) -> Check {
        inside("buffer", buffer, segment.buffers_end as usize)?;
        let mut place = self.buffers[buffer as usize].place;
        if let Place::View { of, .. } = place {
            place = self.buffers[of as usize].place;
        }
        match place {
            Place::Arena { first, last } if step < first || step > last => {
                Err(format!("buffer {buffer} is alive only from step {first} to {last}"))
            }
            _ => Ok(()),
        }
    }

    /// The slots that have the same value for all symbols. Slots that do not check or overflow are `None`.
    fn constants(&self) -> Vec<Option<i64>> {
        let mut values: Vec<Option<i64>> = Vec::with_capacity(self.dims.len());
        for &op in &self.dims {
            let value = op.apply(&|slot| values.get(slot as usize).copied().flatten(), &|_| None);
            values.push(value);
        }
        values
    }
}

impl DimOp {
    /// The value given those of earlier slots and of symbols; `None` if one is missing, on overflow and on division by
    /// zero.
    pub fn apply(self, slot: &dyn Fn(DimSlot) -> Option<i64>, symbol: &dyn Fn(u32) -> Option<i64>) -> Option<i64> {
        match self {
            DimOp::Symbol(index) => symbol(index),
            DimOp::Const(value) => Some(value),
            DimOp::Add(a, b) => slot(a)?.checked_add(slot(b)?),
            DimOp::Mul(a, b) => slot(a)?.checked_mul(slot(b)?),
            DimOp::FloorDiv(a, b) => floor_div(slot(a)?, slot(b)?),
            DimOp::Mod(a, b) => floor_mod(slot(a)?, slot(b)?),
            DimOp::Min(a, b) => Some(slot(a)?.min(slot(b)?)),
            DimOp::Max(a, b) => Some(slot(a)?.max(slot(b)?)),
            DimOp::Broadcast(a, b) => {
                let (a, b) = (slot(a)?, slot(b)?);
                Some(if a == 1 { b } else { a })
            }
        }
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn floor_mod(a: i64, b: i64) -> Option<i64> {
    // Division by -1 leaves nothing, though the extreme quotient does not fit.
    let remainder = if b == -1 { 0 } else { a.checked_rem(b)? };
    Some(if remainder != 0 && (remainder < 0) != (b < 0) { remainder + b } else { remainder })
}

fn inside(what: &str, index: u32, len: usize) -> Check {
    if (index as usize) < len { Ok(()) } else { Err(format!("{what} {index} is not among the {len} defined there")) }
}

/// The step's graph node for messages.
fn step_name(step: &Step) -> String {
    match step {
        Step::Library { name, .. } | Step::Code { name, .. } | Step::Launch { name, .. } | Step::Call { name, .. } => {
            format!(" (`{name}`)")
        }
        _ => String::new(),
    }
}
