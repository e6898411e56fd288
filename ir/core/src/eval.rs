//! The reference evaluator: runs a graph node by node with [`crate::OpDef::eval`].
//!
//! Slow, obviously right, and bit-equal on every host: all transcendental functions come from the crate `libm`.

use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::op::{OpError, Tensors};
use crate::types::Type;
use ic_types::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

mod elements;
mod index;

pub(crate) use elements::Number;
pub use elements::{from_ints, from_reals, from_reals_with, indices, int_range, ints, reals};
pub use index::{
    MAX_ELEMENTS, checked_len, coordinates_of, for_each_coordinate, for_each_lane, offset, rearrange, strides,
    wrap_index, zeros,
};

/// Values of symbols.
pub type Symbols = BTreeMap<Arc<str>, i64>;

/// Evaluates a graph on `inputs`, given in declaration order. `outer` gives symbols that the inputs do not bind.
///
/// # Errors
/// If inputs do not fit their types, or a node cannot be evaluated; the message names the node.
pub fn eval_graph(graph: &Graph, inputs: &[Tensor], outer: &Symbols) -> Result<Vec<Tensor>, OpError> {
    eval_altered(graph, inputs, outer, &mut |_, _| {})
}

/// Evaluates a graph as [`eval_graph`] does, with `alter` called on each node and its results before anything uses
/// them; it must keep types and shapes. Nodes of nested graphs are not shown to it.
///
/// # Errors
/// As for [`eval_graph`].
pub fn eval_altered(
    graph: &Graph,
    inputs: &[Tensor],
    outer: &Symbols,
    alter: &mut dyn FnMut(&Node, &mut [Tensor]),
) -> Result<Vec<Tensor>, OpError> {
    let symbols = bind_symbols(graph, inputs, outer)?;
    run(graph, inputs, symbols, graph.outputs(), alter)
}

/// Evaluates the `wanted` values of a graph. Values that nothing needs any more are dropped on the way.
///
/// # Errors
/// If a node cannot be evaluated, or its results do not have the types that inference gave; the message names the node.
pub fn eval_values(
    graph: &Graph,
    inputs: &[Tensor],
    symbols: &Symbols,
    wanted: &[ValueId],
) -> Result<Vec<Tensor>, OpError> {
    run(graph, inputs, symbols.clone(), wanted, &mut |_, _| {})
}

fn run(
    graph: &Graph,
    inputs: &[Tensor],
    mut symbols: Symbols,
    wanted: &[ValueId],
    alter: &mut dyn FnMut(&Node, &mut [Tensor]),
) -> Result<Vec<Tensor>, OpError> {
    let order = graph.schedule();
    let mut uses = needed_uses(graph, &order, wanted);
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values().len()];
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        bind_elements(&mut symbols, graph, id, tensor)?;
        values[id.index()] = Some(tensor.clone());
    }
    for node in order.into_iter().map(|id| graph.node(id)) {
        if node.results.iter().all(|r| uses[r.index()] == 0) {
            continue;
        }
        let at_node = |e: OpError| OpError(format!("{} at `{}`: {e}", node.op.name(), node.location));
        let operands = node.operands.iter().map(|v| v.and_then(|v| values[v.index()].as_ref())).collect();
        let lookup = |name: &str| symbols.get(name).copied();
        let tensors = Tensors { operands, regions: &node.regions, symbols: &lookup };
        let mut results = node.op.eval(&tensors).map_err(at_node)?;
        alter(node, &mut results);
        for operand in node.operands.iter().flatten() {
            uses[operand.index()] -= 1;
            if uses[operand.index()] == 0 {
                values[operand.index()] = None;
            }
        }
        for (&id, tensor) in node.results.iter().zip(results) {
            bind_result(&mut symbols, graph.ty(id), &tensor).map_err(at_node)?;
            bind_elements(&mut symbols, graph, id, &tensor).map_err(at_node)?;
            values[id.index()] = (uses[id.index()] > 0).then_some(tensor);
        }
    }
    let found = wanted.iter().map(|v| values[v.index()].clone());
    found.collect::<Option<_>>().ok_or_else(|| OpError::new("an output has no value"))
}

/// Checks a result against its type. A symbol without value, which is the extent of a data-dependent result, gets one.
fn bind_result(symbols: &mut Symbols, ty: &Type, tensor: &Tensor) -> Result<(), OpError> {
    let Type::Tensor(ty) = ty else { return Ok(()) };
    crate::ensure!(
        ty.dtype == tensor.dtype() && ty.rank() == tensor.rank(),
        "the result must be {ty}, found {}{:?}",
        tensor.dtype(),
        tensor.shape()
    );
    for (dim, &extent) in ty.shape.iter().zip(tensor.shape()) {
        if let Some(name) = dim.as_symbol() {
            symbols.entry(name.clone()).or_insert(extent as i64);
        }
        // An expression over a symbol that nothing binds cannot be checked.
        let expected = dim.eval(&|name| symbols.get(name).copied()).unwrap_or(extent as i64);
        crate::ensure!(expected == extent as i64, "the result must be {ty}, found extents {:?}", tensor.shape());
    }
    Ok(())
}

/// Gives the symbols that are elements of a value theirs.
fn bind_elements(symbols: &mut Symbols, graph: &Graph, value: ValueId, tensor: &Tensor) -> Result<(), OpError> {
    for binding in graph.bindings().iter().filter(|binding| binding.value == value) {
        let at = binding.element as usize;
        let element = match tensor.elements::<f64>() {
            Some(elements) => elements.get(at).map(|element| element.to_bits() as i64),
            None => tensor.elements::<i64>().and_then(|elements| elements.get(at).copied()),
        };
        let Some(element) = element else {
            return Err(OpError(format!("`{}` is no element of a tensor of 64 bits", binding.symbol)));
        };
        crate::ensure!(element >= 0, "the extent `{}` is {element}", binding.symbol);
        symbols.insert(binding.symbol.clone(), element);
    }
    Ok(())
}

/// How often each value is used by nodes that `wanted` depends on, `wanted` itself and what symbols are elements of
/// counted. `order` is that of the nodes.
fn needed_uses(graph: &Graph, order: &[NodeId], wanted: &[ValueId]) -> Vec<usize> {
    let mut uses = vec![0; graph.values().len()];
    wanted.iter().for_each(|v| uses[v.index()] += 1);
    graph.bindings().iter().for_each(|binding| uses[binding.value.index()] += 1);
    for node in order.iter().rev().map(|&id| graph.node(id)) {
        if node.results.iter().any(|r| uses[r.index()] > 0) {
            node.operands.iter().flatten().for_each(|v| uses[v.index()] += 1);
        }
    }
    uses
}

/// Values of the symbols that the shapes of `inputs` determine, on top of `outer`.
///
/// # Errors
/// If an input's type or extents contradict its declaration.
pub fn bind_symbols(graph: &Graph, inputs: &[Tensor], outer: &Symbols) -> Result<Symbols, OpError> {
    crate::ensure!(
        inputs.len() == graph.inputs().len(),
        "takes {} inputs, found {}",
        graph.inputs().len(),
        inputs.len()
    );
    let mut symbols = outer.clone();
    let declared: Vec<_> = graph.inputs().iter().map(|&v| (v, graph.ty(v))).collect();
    for ((_, ty), tensor) in declared.iter().zip(inputs) {
        let Type::Tensor(ty) = ty else { continue };
        for (dim, &extent) in ty.shape.iter().zip(tensor.shape()) {
            if let Some(name) = dim.as_symbol() {
                symbols.entry(name.clone()).or_insert(extent as i64);
            }
        }
    }
    for ((value, ty), tensor) in declared.iter().zip(inputs) {
        let Type::Tensor(ty) = ty else { continue };
        let name = graph.value(*value).name.as_deref().unwrap_or("?");
        let fits = ty.dtype == tensor.dtype()
            && ty.rank() == tensor.rank()
            && ty
                .shape
                .iter()
                .zip(tensor.shape())
                .all(|(dim, &extent)| dim.eval(&|name| symbols.get(name).copied()) == Ok(extent as i64));
        crate::ensure!(fits, "input `{name}` must be {ty}, found {}{:?}", tensor.dtype(), tensor.shape());
    }
    Ok(symbols)
}
