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
use crate::states::BoundState;
use ic_ir::kernel::{Buffer, BufferId, BufferKind, Carried, Loop, Program, ReadSymbol, StateUse, Step};
use ic_ir::ops::{self, Op};
use ic_ir::{Binding, Constraint, Diagnostic, Graph, Location, Node, NodeId, TensorType, Type, ValueDef, ValueId};
use ic_types::{Dim, symbols_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How to partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionOptions {
    /// Whether nodes are put together in kernels; otherwise each node is a kernel of its own.
    pub fuse: bool,
    /// Whether results may take over the memory of operands.
    pub share: bool,
    /// Whether the kernel of a matrix product may also fold the rows of its result, as for a normalization.
    pub rows_of_products: bool,
}

impl Default for PartitionOptions {
    fn default() -> PartitionOptions {
        PartitionOptions { fuse: true, share: true, rows_of_products: false }
    }
}

/// Partitions a graph into kernels. Constants of nested graphs must have been hoisted by
/// [`super::hoist_branch_constants`].
///
/// # Errors
/// With every node that cannot become a kernel.
pub fn partition(graph: &Graph, options: &PartitionOptions) -> Result<Program, Vec<Diagnostic>> {
    partition_with_states(graph, options, &[])
}

/// [`partition`], with inputs and outputs that are state buffers.
///
/// # Errors
/// As for [`partition`].
pub fn partition_with_states(
    graph: &Graph,
    options: &PartitionOptions,
    states: &[BoundState],
) -> Result<Program, Vec<Diagnostic>> {
    let problems = unsupported(graph, graph, &known_symbols(graph, states));
    if !problems.is_empty() {
        return Err(problems);
    }
    let lost = states
        .iter()
        .filter(|s| s.in_place)
        .filter_map(|s| graph.outputs().get(s.output?))
        .find(|&&output| graph.def(output).is_none_or(|node| !matches!(node.op, Op::Update(_))));
    if let Some(&output) = lost {
        let location = Location { file: graph.name.as_str().into(), node: "".into() };
        let name = graph.value(output).name.clone().unwrap_or_default();
        return Err(vec![Diagnostic::new(
            location,
            format!("internal error: state `{name}` is no longer appended to"),
        )]);
    }
    let mut program = Program { name: graph.name.clone(), symbols: graph.symbols.clone(), ..Program::default() };
    let (inputs, outputs) = ports(graph, states, &mut program);
    let fusion = match options {
        PartitionOptions { fuse: false, .. } => Fusion::Off,
        PartitionOptions { rows_of_products: false, .. } => Fusion::On,
        PartitionOptions { rows_of_products: true, .. } => Fusion::WithRows,
    };
    let mut lowering = Lowering {
        program: &mut program,
        fusion,
        nesting: Nesting::Outermost,
        in_place: states.iter().filter(|s| s.in_place).filter_map(|s| Some(graph.outputs()[s.output?])).collect(),
        constraints: Vec::new(),
        problems: Vec::new(),
    };
    let steps = lowering.lower(graph, &inputs, &outputs);
    let Lowering { constraints, problems, .. } = lowering;
    if !problems.is_empty() {
        return Err(problems);
    }
    program.constraints = constraints;
    program.steps = steps;
    if options.fuse && options.share {
        share_buffers(&mut program);
    }
    Ok(program)
}

/// Adds the buffers of inputs, outputs and states, and returns those of the graph's inputs and of its outputs.
fn ports(graph: &Graph, states: &[BoundState], program: &mut Program) -> (Vec<BufferId>, Vec<BufferId>) {
    let mut buffers = Vec::new();
    let mut add = |value: ValueId, kind: BufferKind| {
        buffers.push(Buffer { ty: graph.tensor_ty(value).clone(), kind });
        buffers.len() as BufferId - 1
    };
    let mut inputs: Vec<BufferId> = Vec::new();
    for (i, &value) in graph.inputs().iter().enumerate() {
        let kind = match states.iter().find(|state| state.input == Some(i)) {
            Some(state) => BufferKind::State(state.state),
            None => {
                program.inputs.push(graph.value(value).name.clone().unwrap_or_default());
                BufferKind::Input(program.inputs.len() as u32 - 1)
            }
        };
        inputs.push(add(value, kind));
    }
    let mut outputs = Vec::new();
    for (i, (&value, name)) in graph.outputs().iter().zip(graph.output_names()).enumerate() {
        outputs.push(match states.iter().find(|state| state.output == Some(i)) {
            Some(BoundState { in_place: true, input: Some(input), .. }) => inputs[*input],
            Some(state) => add(value, BufferKind::NextState(state.state)),
            None => {
                program.outputs.push(name.clone());
                add(value, BufferKind::Output(program.outputs.len() as u32 - 1))
            }
        });
    }
    program.buffers = buffers;
    let used = |s: &BoundState| StateUse { state: s.state, before: s.before.clone(), after: s.after.clone() };
    program.states = states.iter().map(used).collect();
    (inputs, outputs)
}

fn report(graph: &Graph, node: &Node, message: impl Into<String>) -> Diagnostic {
    let location = Location { file: graph.name.as_str().into(), node: node.location.clone() };
    Diagnostic::new(location, message)
}

/// The symbols that inputs, states or elements of tensors determine.
fn known_symbols(graph: &Graph, states: &[BoundState]) -> BTreeSet<Arc<str>> {
    let inputs = graph.inputs().iter().filter_map(|&v| graph.ty(v).as_tensor()).flat_map(|ty| &ty.shape);
    let mut names = symbols_of(inputs.chain(states.iter().flat_map(|state| &state.before).flatten()));
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
        if matches!(node.op, Op::Call(_)) {
            continue;
        }
        if node.regions.iter().any(|region| !region.bindings().is_empty()) {
            problems.push(report(top, node, "not supported: an extent in a nested graph depends on data"));
        }
        problems.extend(node.regions.iter().flat_map(|region| unsupported(top, region, known)));
    }
    problems
}

/// Conditions on symbols with the nodes that need them.
type Constraints = Vec<(Constraint, Arc<str>)>;

struct Lowering<'p> {
    program: &'p mut Program,
    fusion: Fusion,
    nesting: Nesting,
    /// Updates of a state buffer in its own memory.
    in_place: BTreeSet<ValueId>,
    /// Conditions that the steps rely on.
    constraints: Constraints,
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
        let facts = Facts { in_place: std::mem::take(&mut self.in_place), ..Facts::new(graph, self.nesting) };
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
                match &node.op {
                    Op::Loop(op) => Step::Loop(Box::new(self.repeated(numbers, node, op, location))),
                    _ => self.branch(numbers, node, location),
                }
            }
        }
    }

    fn branch(&mut self, numbers: &mut Numbers, node: &Node, location: Arc<str>) -> Step {
        let mut of = |v: ValueId| self.buffer(numbers, Place::Value(v));
        let operands: Vec<BufferId> = node.operands.iter().flatten().map(|&v| of(v)).collect();
        let results: Vec<BufferId> = node.results.iter().map(|&v| of(v)).collect();
        let mut branches = node.regions.iter().map(|region| self.region(region, &operands[1..], &results));
        let (then, when_then) = branches.next().unwrap_or_default();
        let (otherwise, when_otherwise) = branches.next().unwrap_or_default();
        drop(branches);
        Step::If { condition: operands[0], then, otherwise, constraints: [when_then, when_otherwise], location }
    }

    fn repeated(&mut self, numbers: &mut Numbers, node: &Node, op: &ops::Loop, location: Arc<str>) -> Loop {
        let mut of = |v: ValueId| self.buffer(numbers, Place::Value(v));
        let begin = node.operands[0].map(&mut of);
        let operands: Vec<BufferId> = node.operands[1..].iter().flatten().map(|&v| of(v)).collect();
        let mut results: Vec<BufferId> = node.results.iter().map(|&v| of(v)).collect();
        let counter = results.pop().expect("a loop counts its iterations");
        let rooms = results.split_off(op.carried);
        let body = &node.regions[0];
        let mut temporary =
            |&v: &ValueId| self.add(Buffer { ty: body.tensor_ty(v).clone(), kind: BufferKind::Temporary });
        let outputs: Vec<BufferId> = body.outputs().iter().map(&mut temporary).collect();
        let inputs: Vec<BufferId> = std::iter::once(counter)
            .chain(results.iter().copied())
            .chain(operands[op.carried..].iter().copied())
            .collect();
        let (steps, constraints) = self.region(body, &inputs, &outputs);
        let (next, elements) = outputs[1..].split_at(op.carried);
        let carried = operands.iter().zip(&results).zip(next);
        let carried = carried.map(|((&initial, &state), &next)| Carried { initial, state, next });
        Loop {
            counter,
            trips: op.trips.clone(),
            begin,
            goes_on: outputs[0],
            carried: carried.collect(),
            scans: elements.iter().copied().zip(rooms).collect(),
            body: steps,
            constraints,
            location,
        }
    }

    /// The steps of a nested graph, and the conditions that they rely on.
    fn region(&mut self, region: &Graph, inputs: &[BufferId], outputs: &[BufferId]) -> (Vec<Step>, Constraints) {
        let mut nested = Lowering {
            program: &mut *self.program,
            fusion: self.fusion,
            nesting: Nesting::Region,
            in_place: BTreeSet::new(),
            constraints: Vec::new(),
            problems: Vec::new(),
        };
        let steps = nested.lower(region, inputs, outputs);
        let Lowering { constraints, problems, .. } = nested;
        self.problems.extend(problems);
        (steps, constraints)
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
        let is_run = graph.tensor_ty(*piece).shape[*axis + 1..] == shape[*axis + 1..];
        if is_run && shape[..*axis].iter().all(|extent| extent.is(1)) {
            let first = first.clone() * access::strides(shape)[*axis].clone();
            places.inside.insert(*piece, (root, first));
        } else if is_rows && facts.users[piece.index()].len() == 1 {
            places.targets.insert(*piece, part.clone());
        }
    }
}
