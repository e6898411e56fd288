//! Pairs of inputs and outputs become state buffers.
//!
//! What is appended along an axis (`present = concat(past, new)`) becomes an [`Update`] of a buffer of the state's
//! capacity, and everything that reads it a slice of that buffer: nothing is copied but what is new. What is replaced as
//! a whole keeps its type.

use ic_ir::ops::{Concat, Op, Slice, Update};
use ic_ir::{Graph, GraphError, Node, TensorType, ValueId};
use ic_types::Dim;
use std::sync::Arc;

/// A state as one graph has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatePort {
    /// Index into the artifact's list of states.
    pub state: u32,
    /// The state's name.
    pub name: Arc<str>,
    /// The graph's input that is what the state holds.
    pub input: Option<Arc<str>>,
    /// The graph's output that the state holds then.
    pub output: Option<Arc<str>>,
    /// How it grows; `None` if it is replaced as a whole.
    pub append: Option<Append>,
}

/// A state that runs append to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The axis along which it grows.
    pub axis: usize,
    /// The extents of its buffer.
    pub capacity: Vec<i64>,
}

/// A state of a graph whose states have been bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BoundState {
    /// Index into the artifact's list of states.
    pub state: u32,
    /// The graph's input that is the buffer.
    pub input: Option<usize>,
    /// The graph's output that goes to the buffer.
    pub output: Option<usize>,
    /// Whether the output is the input's buffer, updated.
    pub in_place: bool,
    /// The extents of what the state holds when a run begins.
    pub before: Option<Vec<Dim>>,
    /// The extents of what it holds when the run has ended.
    pub after: Option<Vec<Dim>>,
}

/// The axis along which the output is the input with something appended; `None` if the two have one type.
///
/// # Errors
/// If the output is neither, or one of the two is not there.
pub fn append_axis(graph: &Graph, input: &str, output: &str) -> Result<Option<usize>, String> {
    let from = input_named(graph, input).ok_or_else(|| format!("no input `{input}`"))?;
    let to = output_named(graph, output).ok_or_else(|| format!("no output `{output}`"))?;
    let (from, to) = (graph.inputs()[from], graph.outputs()[to]);
    if let Some(Op::Concat(concat)) = graph.def(to).map(|node| &node.op)
        && graph.def(to).is_some_and(|node| node.operands.first() == Some(&Some(from)))
    {
        return Ok(Some(concat.axis));
    }
    if graph.ty(from) == graph.ty(to) {
        return Ok(None);
    }
    Err(format!(
        "output `{output}` of type {} is neither input `{input}` of type {} with something appended to it nor of its type",
        graph.ty(to),
        graph.ty(from)
    ))
}

fn input_named(graph: &Graph, name: &str) -> Option<usize> {
    graph.inputs().iter().position(|&v| graph.value(v).name.as_deref() == Some(name))
}

fn output_named(graph: &Graph, name: &str) -> Option<usize> {
    graph.output_names().iter().position(|n| **n == *name)
}

/// Rewrites a graph over the buffers of its states. Ports name inputs and outputs that are there, and where one has
/// both and grows, [`append_axis`] has said so.
///
/// # Errors
/// Never for a graph that verifies.
pub fn bind_states(graph: &Graph, ports: &[StatePort]) -> Result<(Graph, Vec<BoundState>), GraphError> {
    let mut binder = Binder::new(graph, ports)?;
    for (_, node) in graph.nodes() {
        let appended = ports.iter().position(|port| is_appended(graph, port, node));
        match appended {
            Some(index) => binder.append(index, node)?,
            None => binder.copy(node)?,
        }
    }
    binder.finish()
}

/// Whether the node appends to the port's state.
fn is_appended(graph: &Graph, port: &StatePort, node: &Node) -> bool {
    let output = port.output.as_deref().and_then(|name| output_named(graph, name));
    port.append.is_some() && port.input.is_some() && output.is_some_and(|i| node.results[0] == graph.outputs()[i])
}

struct Binder<'a> {
    old: &'a Graph,
    ports: &'a [StatePort],
    new: Graph,
    map: Vec<Option<ValueId>>,
    /// The buffer of each port that grows, as an input.
    buffers: Vec<Option<ValueId>>,
    /// The same after the update.
    updated: Vec<Option<ValueId>>,
}

impl<'a> Binder<'a> {
    fn new(old: &'a Graph, ports: &'a [StatePort]) -> Result<Binder<'a>, GraphError> {
        let mut new = Graph::new(old.name.clone());
        new.symbols.clone_from(&old.symbols);
        let (map, none) = (vec![None; old.values().len()], vec![None; ports.len()]);
        let mut binder = Binder { old, ports, new, map, buffers: none.clone(), updated: none };
        for &input in old.inputs() {
            let name = old.value(input).name.clone().unwrap_or_default();
            let port = ports.iter().position(|port| port.input.as_ref() == Some(&name));
            let append = port.and_then(|index| Some((index, ports[index].append.as_ref()?)));
            let value = match append {
                Some((index, append)) => {
                    let buffer = binder.buffer(index, name, append, old.tensor_ty(input));
                    binder.part(buffer, &old.tensor_ty(input).shape)?
                }
                None => binder.new.add_input(name, old.ty(input).clone()),
            };
            binder.map[input.index()] = Some(value);
        }
        for (index, port) in ports.iter().enumerate().filter(|(_, port)| port.input.is_none()) {
            let output = port.output.as_deref().and_then(|name| output_named(old, name));
            if let (Some(append), Some(output)) = (&port.append, output) {
                binder.buffer(index, port.name.clone(), append, old.tensor_ty(old.outputs()[output]));
            }
        }
        Ok(binder)
    }

    /// Adds the input that is a state's buffer.
    fn buffer(&mut self, index: usize, name: Arc<str>, append: &Append, ty: &TensorType) -> ValueId {
        let shape = append.capacity.iter().map(|&extent| Dim::constant(extent)).collect();
        let buffer = self.new.add_input(name, TensorType::new(ty.dtype, shape));
        self.buffers[index] = Some(buffer);
        buffer
    }

    /// The first elements of a buffer.
    fn part(&mut self, buffer: ValueId, shape: &[Dim]) -> Result<ValueId, GraphError> {
        let whole = self.new.tensor_ty(buffer).shape.clone();
        let axes: Vec<usize> = (0..shape.len()).filter(|&axis| shape[axis] != whole[axis]).collect();
        if axes.is_empty() {
            return Ok(buffer);
        }
        let extents = axes.iter().map(|&axis| shape[axis].clone()).collect();
        let (starts, steps) = (vec![Dim::constant(0); axes.len()], vec![1; axes.len()]);
        self.new.push(Slice { axes, starts, extents, steps }.into(), &[buffer], &"".into())
    }

    fn operands(&self, node: &Node) -> Vec<Option<ValueId>> {
        node.operands.iter().map(|v| v.and_then(|v| self.map[v.index()])).collect()
    }

    fn copy(&mut self, node: &Node) -> Result<(), GraphError> {
        let results = self.new.push_node(node.op.clone(), self.operands(node), node.regions.clone(), &node.location)?;
        for (&old, new) in node.results.iter().zip(results) {
            if let Some(name) = &self.old.value(old).name {
                self.new.set_name(new, name.clone());
            }
            self.map[old.index()] = Some(new);
        }
        Ok(())
    }

    /// A concatenation of what a port's state holds and more.
    fn append(&mut self, index: usize, node: &Node) -> Result<(), GraphError> {
        let parts: Vec<ValueId> = self.operands(node).into_iter().skip(1).flatten().collect();
        let (Op::Concat(Concat { axis }), Some(buffer), Some(past)) = (&node.op, self.buffers[index], node.operands[0])
        else {
            return self.copy(node);
        };
        let part = match parts.as_slice() {
            [part] => *part,
            _ => self.new.push(Concat { axis: *axis }.into(), &parts, &node.location)?,
        };
        let start = self.old.tensor_ty(past).shape[*axis].clone();
        let updated = self.new.push(Update { axis: *axis, start }.into(), &[buffer, part], &node.location)?;
        self.updated[index] = Some(updated);
        let shape = self.old.tensor_ty(node.results[0]).shape.clone();
        self.map[node.results[0].index()] = Some(self.part(updated, &shape)?);
        Ok(())
    }

    /// Adds the outputs.
    fn finish(mut self) -> Result<(Graph, Vec<BoundState>), GraphError> {
        for (&output, name) in self.old.outputs().iter().zip(self.old.output_names()) {
            let Some(value) = self.map[output.index()].filter(|_| !self.is_kept(output, name)) else { continue };
            let index = self.ports.iter().position(|p| p.append.is_some() && p.output.as_ref() == Some(name));
            let value = match index {
                None => value,
                Some(index) => self.whole(index, value)?,
            };
            self.new.add_output(name.clone(), value);
        }
        for binding in self.old.bindings() {
            if let Some(value) = self.map[binding.value.index()] {
                self.new.bind_symbol(binding.symbol.clone(), value, binding.element);
            }
        }
        let bound = self.ports.iter().map(|port| self.bound(port)).collect();
        Ok((self.new, bound))
    }

    /// Whether an output is a state as a run finds it, so that there is nothing to write.
    fn is_kept(&self, output: ValueId, name: &Arc<str>) -> bool {
        let port = self.ports.iter().find(|port| port.output.as_ref() == Some(name));
        let input = port.and_then(|port| input_named(self.old, port.input.as_deref()?));
        input.is_some_and(|input| self.old.inputs()[input] == output)
    }

    /// The buffer that holds what a port's output is, which is `value`.
    fn whole(&mut self, index: usize, value: ValueId) -> Result<ValueId, GraphError> {
        match (self.updated[index], self.buffers[index], &self.ports[index].append) {
            (None, Some(buffer), Some(append)) => {
                let update = Update { axis: append.axis, start: Dim::constant(0) };
                self.new.push(update.into(), &[buffer, value], &self.ports[index].name)
            }
            (updated, ..) => Ok(updated.unwrap_or(value)),
        }
    }

    fn bound(&self, port: &StatePort) -> BoundState {
        let old_input = port.input.as_deref().and_then(|name| input_named(self.old, name));
        let output = port.output.as_deref().and_then(|name| output_named(&self.new, name));
        let old_output =
            port.output.as_deref().and_then(|name| output_named(self.old, name)).filter(|_| output.is_some());
        // A port that only writes what grows has an input of its own, called as the state is.
        let name = port.input.as_deref().unwrap_or(&port.name);
        let has_input = port.input.is_some() || port.append.is_some();
        BoundState {
            state: port.state,
            input: has_input.then(|| input_named(&self.new, name)).flatten(),
            output,
            in_place: port.append.is_some() && output.is_some(),
            before: old_input.map(|i| self.old.tensor_ty(self.old.inputs()[i]).shape.clone()),
            after: old_output.map(|i| self.old.tensor_ty(self.old.outputs()[i]).shape.clone()),
        }
    }
}
