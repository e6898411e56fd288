//! Programs from kernels: order, buffers and branches.
//!
//! An output is written by the kernel that computes it, also through reshapes and into parts of concatenations. Only
//! what is an input, a constant or another output already is copied.

use super::access;
use super::emit::{self, Place, Target};
use super::facts::{Facts, Nesting};
use super::kernels::{self, Draft, Work};
use super::order::{Item, order};
use super::plan::{self, Fusion, GroupKind, Plan};
use crate::schedule::share_buffers;
use ic_ir::kernel::{Buffer, BufferId, BufferKind, Program, ReadSymbol, Step};
use ic_ir::ops::Op;
use ic_ir::{Binding, Constraint, Diagnostic, Graph, Location, Node, NodeId, TensorType, Type, ValueDef, ValueId};
use ic_types::{Dim, symbols_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How to partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionOptions {
    /// Whether nodes are put together in kernels; otherwise each node is a kernel of its own.
    pub fuse: bool,
}

impl Default for PartitionOptions {
    fn default() -> PartitionOptions {
        PartitionOptions { fuse: true }
    }
}

/// Partitions a graph into kernels. Constants of nested graphs must have been hoisted by
/// [`super::hoist_branch_constants`].
///
/// # Errors
/// With every node that cannot become a kernel.
pub fn partition(graph: &Graph, options: &PartitionOptions) -> Result<Program, Vec<Diagnostic>> {
    let problems = unsupported(graph, graph, &known_symbols(graph));
    if !problems.is_empty() {
        return Err(problems);
    }
    let tensor = |&v: &ValueId| graph.tensor_ty(v).clone();
    let kinds = [BufferKind::Input as fn(u32) -> BufferKind, BufferKind::Output];
    let of = |values: &[ValueId], kind: fn(u32) -> BufferKind| -> Vec<Buffer> {
        values.iter().enumerate().map(|(i, v)| Buffer { ty: tensor(v), kind: kind(i as u32) }).collect()
    };
    let name = |v: &ValueId| graph.value(*v).name.clone().unwrap_or_default();
    let mut program = Program {
        name: graph.name.clone(),
        symbols: graph.symbols.clone(),
        inputs: graph.inputs().iter().map(name).collect(),
        outputs: graph.output_names().to_vec(),
        buffers: [of(graph.inputs(), kinds[0]), of(graph.outputs(), kinds[1])].concat(),
        ..Program::default()
    };
    let n_inputs = graph.inputs().len() as u32;
    let inputs: Vec<BufferId> = (0..n_inputs).collect();
    let outputs: Vec<BufferId> = (n_inputs..program.buffers.len() as u32).collect();
    let fusion = if options.fuse { Fusion::On } else { Fusion::Off };
    let (constraints, problems) = (Vec::new(), Vec::new());
    let mut lowering = Lowering { program: &mut program, fusion, nesting: Nesting::Outermost, constraints, problems };
    let steps = lowering.lower(graph, &inputs, &outputs);
    let Lowering { constraints, problems, .. } = lowering;
    if !problems.is_empty() {
        return Err(problems);
    }
    program.constraints = constraints;
    program.steps = steps;
    if options.fuse {
        share_buffers(&mut program);
    }
    Ok(program)
}

fn report(graph: &Graph, node: &Node, message: impl Into<String>) -> Diagnostic {
    let location = Location { file: graph.name.as_str().into(), node: node.location.clone() };
    Diagnostic::new(location, message)
}

/// The symbols that inputs or elements of tensors determine.
fn known_symbols(graph: &Graph) -> BTreeSet<Arc<str>> {
    let inputs = graph.inputs().iter().filter_map(|&v| graph.ty(v).as_tensor());
    let mut names = symbols_of(inputs.flat_map(|ty| &ty.shape));
    names.extend(graph.bindings().iter().map(|binding| binding.symbol.clone()));
    names
}

/// Nodes whose results no buffer can hold.
fn unsupported(top: &Graph, graph: &Graph, known: &BTreeSet<Arc<str>>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let is_region = !std::ptr::eq(top, graph);
    for &input in graph.inputs() {
        if graph.ty(input).as_tensor().is_none() {
            let name = graph.value(input).name.clone().unwrap_or_default();
            let location = Location { file: top.name.as_str().into(), node: name };
            problems.push(Diagnostic::new(location, format!("not supported: an input of type {}", graph.ty(input))));
        }
    }
    for (_, node) in graph.nodes() {
        for &result in &node.results {
            let Type::Tensor(ty) = graph.ty(result) else {
                let message = format!("not supported: `{}` gives a {}", node.op.name(), graph.ty(result));
                problems.push(report(top, node, message));
                continue;
            };
            if let Some(symbol) = symbols_of(&ty.shape).iter().find(|s| !known.contains(*s)) {
                let message =
                    format!("not supported: the extent `{symbol}` of a result of `{}` depends on data", node.op.name());
                problems.push(report(top, node, message));
            }
        }
        if let (Op::Constant(constant), true) = (&node.op, is_region)
            && emit::splat(graph, node.results[0]).is_none()
        {
            let message = format!("cannot compile a constant of a nested graph: {} elements", constant.value.len());
            problems.push(report(top, node, message));
        }
        if node.regions.iter().any(|region| !region.bindings().is_empty()) {
            problems.push(report(top, node, "not supported: an extent in a nested graph depends on data"));
        }
        problems.extend(node.regions.iter().flat_map(|region| unsupported(top, region, known)));
    }
    problems
}

struct Lowering<'p> {
    program: &'p mut Program,
    fusion: Fusion,
    nesting: Nesting,
    /// Conditions that the steps rely on.
    constraints: Vec<(Constraint, Arc<str>)>,
    problems: Vec<Diagnostic>,
}

/// Where values are that have no buffer of their own.
#[derive(Debug, Default)]
struct Places {
    /// Outputs that a kernel writes directly, by the value that it stores.
    outputs: BTreeMap<ValueId, u32>,
    /// Outputs that are copies.
    copies: Vec<u32>,
    /// Values that are stored as a strided part of a concatenation.
    targets: BTreeMap<ValueId, Target>,
    /// Values that are a run of the elements of a concatenation: the concatenation and the first element.
    inside: BTreeMap<ValueId, (ValueId, Dim)>,
}

impl Lowering<'_> {
    /// The steps that compute a graph's outputs from its inputs.
    fn lower(&mut self, graph: &Graph, inputs: &[BufferId], outputs: &[BufferId]) -> Vec<Step> {
        for (_, node) in graph.nodes() {
            for constraint in &node.constraints {
                if !self.constraints.iter().any(|(c, _)| c == constraint) {
                    self.constraints.push((constraint.clone(), node.location.clone()));
                }
            }
        }
        let facts = Facts::new(graph, self.nesting);
        let plan = plan::plan(&facts, self.fusion);
        let places = places(&facts, &plan);
        let mut drafts = Vec::new();
        for group in &plan.groups {
            let is_inside = |piece, whole| places.inside.get(&piece).is_some_and(|(v, _)| *v == whole);
            match kernels::drafts(&facts, &plan, group, &places.targets, &is_inside) {
                Ok(kernels) => drafts.extend(kernels),
                Err(_) => {
                    let node = graph.node(group.nodes[0]);
                    self.problems.push(report(graph, node, format!("cannot compile `{}`: no kernel", node.op.name())));
                }
            }
        }
        for &output in &places.copies {
            let value = graph.outputs()[output as usize];
            let target = Target { place: Place::Output(output), part: None };
            let is_buffer = |v| plan.is_buffer(&facts, v);
            if let Ok((kernel, slots)) = kernels::pointwise(&facts, &[(value, target)], &is_buffer) {
                let position = NodeId(graph.nodes().len() as u32);
                let location = graph.output_names()[output as usize].clone();
                drafts.push(Draft { work: Work::Kernel(kernel, slots), position, location });
            }
        }
        let order = order(&facts, &plan, &places.inside, &drafts);
        let mut numbers =
            Numbers { facts: &facts, plan: &plan, places: &places, inputs, outputs, ids: BTreeMap::new() };
        let mut steps = Vec::new();
        for item in order {
            steps.push(match item {
                Item::Draft(i) => self.step(&mut numbers, &drafts[i]),
                Item::Read(bindings) => Step::Read(self.reads(&mut numbers, &bindings)),
            });
        }
        steps
    }

    fn step(&mut self, numbers: &mut Numbers, draft: &Draft) -> Step {
        let location = draft.location.clone();
        match &draft.work {
            Work::Kernel(kernel, slots) => {
                let args = slots.iter().map(|slot| self.buffer(numbers, slot.place)).collect();
                Step::Kernel { kernel: kernel.clone(), args, location }
            }
            Work::Branch(id) => {
                let node = numbers.facts.graph.node(*id);
                let mut of = |v: ValueId| self.buffer(numbers, Place::Value(v));
                let operands: Vec<BufferId> = node.operands.iter().flatten().map(|&v| of(v)).collect();
                let results: Vec<BufferId> = node.results.iter().map(|&v| of(v)).collect();
                let mut branches = node.regions.iter().map(|region| {
                    let mut nested = Lowering {
                        program: &mut *self.program,
                        fusion: self.fusion,
                        nesting: Nesting::Region,
                        constraints: Vec::new(),
                        problems: Vec::new(),
                    };
                    let steps = nested.lower(region, &operands[1..], &results);
                    let problems = nested.problems;
                    self.problems.extend(problems);
                    (steps, nested.constraints)
                });
                let (then, when_then) = branches.next().unwrap_or_default();
                let (otherwise, when_otherwise) = branches.next().unwrap_or_default();
                drop(branches);
                Step::If { condition: operands[0], then, otherwise, constraints: [when_then, when_otherwise], location }
            }
        }
    }

    fn reads(&mut self, numbers: &mut Numbers, bindings: &[&Binding]) -> Vec<ReadSymbol> {
        let mut read = |binding: &&Binding| {
            let buffer = self.buffer(numbers, Place::Value(binding.value));
            ReadSymbol { name: binding.symbol.clone(), buffer, element: binding.element }
        };
        bindings.iter().map(&mut read).collect()
    }

    /// The buffer of a place.
    fn buffer(&mut self, numbers: &mut Numbers, place: Place) -> BufferId {
        let value = match place {
            Place::Output(i) => return numbers.outputs[i as usize],
            Place::Value(value) => value,
        };
        if let Some(&id) = numbers.ids.get(&value) {
            return id;
        }
        let (facts, places) = (numbers.facts, numbers.places);
        let ty = facts.graph.tensor_ty(value).clone();
        let id = if let ValueDef::Input(i) = facts.graph.value(value).def {
            numbers.inputs[i as usize]
        } else if facts.constant[value.index()] {
            self.add(Buffer { ty, kind: BufferKind::Constant(value) })
        } else if let Some((whole, first)) = places.inside.get(&value) {
            let whole = self.buffer(numbers, Place::Value(*whole));
            self.view(whole, first.clone(), ty)
        } else if let Some(&output) = places.outputs.get(&value) {
            let id = numbers.outputs[output as usize];
            if self.program.buffers[id as usize].ty == ty { id } else { self.view(id, Dim::constant(0), ty) }
        } else if let (Some((base, first)), false) =
            (numbers.plan.views.get(&value), numbers.plan.stored.contains(&value))
        {
            let base = self.buffer(numbers, Place::Value(*base));
            self.view(base, first.clone(), ty)
        } else {
            self.add(Buffer { ty, kind: BufferKind::Temporary })
        };
        numbers.ids.insert(value, id);
        id
    }

    fn view(&mut self, of: BufferId, offset: Dim, ty: TensorType) -> BufferId {
        let kind = match &self.program.buffers[of as usize].kind {
            BufferKind::View { of, offset: first } => BufferKind::View { of: *of, offset: first.clone() + offset },
            _ => BufferKind::View { of, offset },
        };
        self.add(Buffer { ty, kind })
    }

    fn add(&mut self, buffer: Buffer) -> BufferId {
        self.program.buffers.push(buffer);
        self.program.buffers.len() as BufferId - 1
    }
}

/// Numbers of buffers as they are given out.
struct Numbers<'a> {
    facts: &'a Facts<'a>,
    plan: &'a Plan,
    places: &'a Places,
    inputs: &'a [BufferId],
    outputs: &'a [BufferId],
    ids: BTreeMap<ValueId, BufferId>,
}

/// Finds values that are stored in place of others.
fn places(facts: &Facts, plan: &Plan) -> Places {
    let graph = facts.graph;
    let mut places = Places::default();
    for (i, &output) in graph.outputs().iter().enumerate() {
        let (base, offset) = match plan.views.get(&output) {
            Some((base, offset)) if !plan.stored.contains(&output) => (*base, offset.clone()),
            _ => (output, Dim::constant(0)),
        };
        let whole = offset.is(0) && graph.tensor_ty(base).elements() == graph.tensor_ty(output).elements();
        if whole && plan.stored.contains(&base) && !places.outputs.contains_key(&base) {
            places.outputs.insert(base, i as u32);
        } else {
            places.copies.push(i as u32);
        }
    }
    for group in &plan.groups {
        if let (GroupKind::Pieces, [root]) = (&group.kind, group.roots.as_slice()) {
            place_pieces(facts, plan, *root, &mut places);
        }
    }
    places
}

/// Lets kernels that store a piece of a concatenation store it there.
fn place_pieces(facts: &Facts, plan: &Plan, root: ValueId, places: &mut Places) {
    let graph = facts.graph;
    let shape = &graph.tensor_ty(root).shape;
    let pieces = kernels::pieces(facts, root, &Target::of(root));
    for (piece, part) in &pieces {
        let is_free = plan.stored.contains(piece)
            && !places.outputs.contains_key(piece)
            && !places.inside.contains_key(piece)
            && pieces.iter().filter(|(other, _)| other == piece).count() == 1;
        let (true, Some((axis, first))) = (is_free, &part.part) else { continue };
        let group = facts.def(*piece).and_then(|(id, ..)| plan.group_of[id.index()]);
        let is_rows = group.is_some_and(|g| matches!(plan.groups[g as usize].kind, GroupKind::Rows(_)));
        if shape[..*axis].iter().all(|extent| extent.is(1)) {
            let first = first.clone() * access::strides(shape)[*axis].clone();
            places.inside.insert(*piece, (root, first));
        } else if is_rows && facts.users[piece.index()].len() == 1 {
            places.targets.insert(*piece, part.clone());
        }
    }
}
