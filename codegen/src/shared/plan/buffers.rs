//! The plan's buffers: weights on demand, program buffers, liveness.

use crate::shared::dims::{DimBuilder, Unbound};
use crate::shared::weights::{Integers, Packing, Weight, WidenedShape, integers, narrow_integers, storage};
use ic_artifact::{Buffer, BufferId, Place, Step};
use ic_ir::kernel::{self, BufferKind, Program};
use ic_ir::{Graph, ValueId};
use ic_types::{DType, Dim};
use std::collections::HashMap;

/// Buffers under construction. Those of the program that are neither constants nor views come first, then constants that
/// have views, then views, then weights in the order in which steps ask for them.
pub(crate) struct Buffers<'a> {
    program: &'a Program,
    graph: &'a Graph,
    /// The plan's buffer of each program buffer that is not a constant.
    places: Vec<Option<BufferId>>,
    /// Intermediate results of steps: bytes and buffer.
    temporaries: Vec<(Dim, BufferId)>,
    /// Blocks of the weight section.
    weights: Vec<(BufferId, Weight)>,
    /// Number of buffers.
    n_buffers: u32,
    by_weight: HashMap<Weight, BufferId>,
}

impl<'a> Buffers<'a> {
    pub(super) fn new(program: &'a Program, graph: &'a Graph) -> Buffers<'a> {
        let mut places = vec![None; program.buffers.len()];
        let is_view = |kind: &BufferKind| matches!(kind, BufferKind::View { .. });
        let is_constant = |kind: &BufferKind| matches!(kind, BufferKind::Constant(_));
        let ids = 0..program.buffers.len();
        let wholes =
            ids.clone().filter(|&i| !is_view(&program.buffers[i].kind) && !is_constant(&program.buffers[i].kind));
        let views = ids.filter(|&i| is_view(&program.buffers[i].kind));
        let mut n_buffers = 0;
        let mut next = || {
            n_buffers += 1;
            n_buffers - 1
        };
        wholes.for_each(|i| places[i] = Some(next()));
        let views: Vec<usize> = views.collect();
        let mut bases: Vec<(usize, BufferId)> = Vec::new();
        for &i in &views {
            let BufferKind::View { of, .. } = program.buffers[i].kind else { continue };
            let is_new = bases.iter().all(|(base, _)| *base != of as usize);
            if is_constant(&program.buffers[of as usize].kind) && is_new {
                bases.push((of as usize, next()));
            }
        }
        views.iter().for_each(|&i| places[i] = Some(next()));
        let (weights, by_weight) = (Vec::new(), HashMap::new());
        let temporaries = Vec::new();
        let mut buffers = Buffers { program, graph, places, temporaries, weights, n_buffers, by_weight };
        for (base, id) in bases {
            let BufferKind::Constant(value) = program.buffers[base].kind else { continue };
            buffers.add_weight(Weight { value, packing: None }, id);
            buffers.places[base] = Some(id);
        }
        buffers
    }

    /// The program buffer `id`.
    pub(crate) fn program_buffer(&self, id: kernel::BufferId) -> &'a kernel::Buffer {
        &self.program.buffers[id as usize]
    }

    /// What the elements of a constant can be stored in.
    pub(crate) fn storage(&self, value: ValueId) -> DType {
        storage(self.graph, value)
    }

    /// The integers that a constant is made of, where kernels can read them.
    pub(crate) fn integers(&self, value: ValueId) -> Option<Integers> {
        integers(self.graph, value)
    }

    /// The integers that a constant of 16-bit floats is made of, where kernels can read them.
    pub(crate) fn narrow_integers(&self, value: ValueId) -> Option<Integers> {
        narrow_integers(self.graph, value)
    }

    /// The shape of a constant.
    pub(crate) fn constant_shape(&self, value: ValueId) -> Option<Vec<usize>> {
        self.graph.tensor_ty(value).constant_shape()
    }

    /// How a constant is packed as integers that kernels widen, if a step reads it so.
    pub(crate) fn widened(&self, value: ValueId) -> Option<&WidenedShape> {
        self.weights.iter().find_map(|(_, weight)| match &weight.packing {
            Some((Packing::Widened(shape), _)) if weight.value == value => Some(shape),
            _ => None,
        })
    }

    /// The plan's buffer for the program buffer `id`; a constant becomes a row-major weight.
    pub(crate) fn place(&mut self, id: kernel::BufferId) -> BufferId {
        if let Some(index) = (id as usize).checked_sub(self.program.buffers.len()) {
            return self.temporaries[index].1;
        }
        match self.program_buffer(id).kind {
            BufferKind::Constant(_) => self.packed(id, None),
            _ => self.places[id as usize].expect("every buffer that is not a constant has a place"),
        }
    }

    /// [`place`](Self::place) of a vector that a product's columns meet.
    pub(crate) fn columns(&mut self, id: kernel::BufferId) -> BufferId {
        let is_temporary = id as usize >= self.program.buffers.len();
        if !is_temporary && let BufferKind::Constant(value) = self.program_buffer(id).kind {
            let ty = self.graph.tensor_ty(value);
            if let (DType::F32, Some(shape)) = (ty.dtype, ty.constant_shape()) {
                let packing = Packing::Columns { len: shape.iter().product() };
                return self.packed(id, Some((packing, DType::F32)));
            }
        }
        self.place(id)
    }

    /// A buffer of so many bytes for a step's intermediate result, numbered after those of the program.
    pub(crate) fn temporary(&mut self, bytes: Dim) -> kernel::BufferId {
        self.temporaries.push((bytes, self.n_buffers));
        self.n_buffers += 1;
        (self.program.buffers.len() + self.temporaries.len() - 1) as kernel::BufferId
    }

    /// The plan's buffer for the constant `id` in the given packing of elements of a type.
    pub(crate) fn packed(&mut self, id: kernel::BufferId, packing: Option<(Packing, DType)>) -> BufferId {
        let BufferKind::Constant(value) = self.program_buffer(id).kind else {
            unreachable!("only constants are packed");
        };
        let weight = Weight { value, packing };
        if let Some(&buffer) = self.by_weight.get(&weight) {
            return buffer;
        }
        let buffer = self.n_buffers;
        self.n_buffers += 1;
        self.add_weight(weight, buffer);
        buffer
    }

    fn add_weight(&mut self, weight: Weight, buffer: BufferId) {
        self.by_weight.insert(weight.clone(), buffer);
        self.weights.push((buffer, weight));
    }

    /// Number of buffers so far.
    pub(super) fn len(&self) -> usize {
        self.n_buffers as usize
    }

    /// The buffer of which `buffer` is a view, if it is one.
    pub(super) fn whole(&self, buffer: BufferId) -> Option<BufferId> {
        let index = self.places.iter().position(|place| *place == Some(buffer))?;
        match self.program.buffers[index].kind {
            BufferKind::View { of, .. } => self.places[of as usize],
            _ => None,
        }
    }

    /// Asks for the slots of everything that a run must know about `buffer` before the steps that touch it.
    pub(super) fn ask(&self, buffer: BufferId, dims: &mut DimBuilder) -> Result<(), Unbound> {
        if let Some((_, weight)) = self.weights.iter().find(|(id, _)| *id == buffer) {
            dims.constant(weight.bytes(self.graph) as i64);
        }
        let Some(index) = self.places.iter().position(|place| *place == Some(buffer)) else { return Ok(()) };
        let buffer = &self.program.buffers[index];
        dims.slot(&bytes(buffer))?;
        if let BufferKind::View { offset, .. } = &buffer.kind {
            dims.slot(&view_offset(buffer, offset))?;
        }
        buffer.ty.shape.iter().try_for_each(|dim| dims.slot(dim).map(|_| ()))
    }

    /// The plan's buffers, and which of them are which weights. Those have no offset yet.
    pub(super) fn finish(self, steps: &[Step], dims: &mut DimBuilder) -> (Vec<Buffer>, Vec<(BufferId, Weight)>) {
        let live = self.live_ranges(steps);
        let mut list: Vec<Option<Buffer>> = vec![None; self.n_buffers as usize];
        for (buffer, place) in self.program.buffers.iter().zip(&self.places) {
            let Some(id) = *place else { continue };
            let size = dims.slot(&bytes(buffer)).expect("symbols are bound");
            let place = match &buffer.kind {
                BufferKind::Input(i) => Place::Input(*i),
                BufferKind::Output(i) => Place::Output(*i),
                BufferKind::State(i) => Place::State(*i),
                BufferKind::NextState(i) => Place::NextState(*i),
                BufferKind::Constant(_) => continue,
                BufferKind::View { of, offset } => {
                    let of = self.places[*of as usize].expect("a view is of memory");
                    Place::View { of, offset: dims.slot(&view_offset(buffer, offset)).expect("symbols are bound") }
                }
                BufferKind::Temporary => {
                    let (first, last) = live[id as usize].unwrap_or((0, 0));
                    Place::Arena { first, last }
                }
            };
            list[id as usize] = Some(Buffer { bytes: size, place });
        }
        for (bytes, id) in &self.temporaries {
            let bytes = dims.slot(bytes).expect("symbols are bound");
            let (first, last) = live[*id as usize].unwrap_or((0, 0));
            list[*id as usize] = Some(Buffer { bytes, place: Place::Arena { first, last } });
        }
        for (id, weight) in &self.weights {
            let bytes = dims.constant(weight.bytes(self.graph) as i64);
            list[*id as usize] = Some(Buffer { bytes, place: Place::Weight { offset: 0 } });
        }
        let buffers = list.into_iter().map(|buffer| buffer.expect("every buffer has a place"));
        (buffers.collect(), self.weights)
    }

    /// First and last step that touches each buffer, directly or through a view.
    fn live_ranges(&self, steps: &[Step]) -> Vec<Option<(u32, u32)>> {
        let mut live: Vec<Option<(u32, u32)>> = vec![None; self.n_buffers as usize];
        let mut whole: Vec<u32> = (0..self.n_buffers).collect();
        for (buffer, place) in self.program.buffers.iter().zip(&self.places) {
            if let (BufferKind::View { of, .. }, Some(id)) = (&buffer.kind, place) {
                whole[*id as usize] = self.places[*of as usize].expect("a view is of memory");
            }
        }
        for (index, step) in steps.iter().enumerate() {
            for buffer in step_buffers(step) {
                let range = &mut live[whole[buffer as usize] as usize];
                let first = range.map_or(index as u32, |(first, _)| first);
                *range = Some((first, index as u32));
            }
        }
        live.iter_mut().flatten().for_each(|range| cover_loops(steps, range));
        live
    }
}

/// Makes a buffer that is used in a loop and outside of it alive throughout the loop, which goes back to its begin.
fn cover_loops(steps: &[Step], (first, last): &mut (u32, u32)) {
    let loops = || {
        steps.iter().enumerate().filter_map(|(begin, step)| match step {
            Step::Loop { end, .. } => Some((begin as u32, end - 1)),
            _ => None,
        })
    };
    let straddles = |first: u32, last: u32, (begin, end): (u32, u32)| {
        let apart = last < begin || first > end;
        let inside = first > begin && last <= end;
        let around = first <= begin && last >= end;
        !(apart || inside || around)
    };
    while let Some((begin, end)) = loops().find(|&at| straddles(*first, *last, at)) {
        (*first, *last) = ((*first).min(begin), (*last).max(end));
    }
}

/// Size of a buffer in bytes.
fn bytes(buffer: &kernel::Buffer) -> Dim {
    buffer.ty.elements() * Dim::constant(buffer.ty.dtype.size().unwrap_or(0) as i64)
}

/// Where a view that is `buffer` begins, in bytes.
fn view_offset(buffer: &kernel::Buffer, offset: &Dim) -> Dim {
    offset.clone() * Dim::constant(buffer.ty.dtype.size().unwrap_or(0) as i64)
}

/// Every buffer that a step touches.
pub(super) fn step_buffers(step: &Step) -> Vec<BufferId> {
    use ic_artifact::Epilogue;
    match step {
        Step::Library { operands, epilogue, callback, .. } => {
            let epilogue = epilogue.iter().filter_map(Epilogue::buffer);
            let callback = callback.iter().flat_map(|callback| callback.buffers.iter().copied());
            operands.iter().flatten().map(|operand| operand.buffer).chain(epilogue).chain(callback).collect()
        }
        Step::Code { buffers, .. } | Step::Launch { buffers, .. } => buffers.clone(),
        Step::Branch { condition, .. } => vec![*condition],
        Step::Copy { from, to, at } => [*from, *to].into_iter().chain(*at).collect(),
        Step::Loop { counter, condition, .. } => std::iter::once(*counter).chain(*condition).collect(),
        Step::Next { condition, .. } => condition.iter().copied().collect(),
        Step::Jump { .. } => Vec::new(),
        Step::Call { inputs, outputs, .. } => {
            inputs.iter().filter_map(|input| input.buffer).chain(outputs.iter().copied()).collect()
        }
    }
}
