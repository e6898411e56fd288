//! The reference evaluator: runs a graph node by node with [`crate::OpDef::eval`].
//!
//! Slow, obviously right, and bit-equal on every host: all transcendental functions come from the crate `libm`.

use crate::graph::{Graph, ValueId};
use crate::op::{OpError, Tensors};
use crate::types::Type;
use ic_types::{DType, Data, Tensor, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values of symbols.
pub type Symbols = BTreeMap<Arc<str>, i64>;

/// Evaluates a graph on `inputs`, given in declaration order. `outer` gives symbols that the inputs do not bind.
///
/// # Errors
/// If inputs do not fit their types, or a node cannot be evaluated; the message names the node.
pub fn eval_graph(graph: &Graph, inputs: &[Tensor], outer: &Symbols) -> Result<Vec<Tensor>, OpError> {
    let symbols = bind_symbols(graph, inputs, outer)?;
    eval_values(graph, inputs, &symbols, graph.outputs())
}

/// Evaluates the `wanted` values of a graph. Values that nothing needs any more are dropped on the way.
///
/// # Errors
/// If a node cannot be evaluated; the message names the node.
pub fn eval_values(
    graph: &Graph,
    inputs: &[Tensor],
    symbols: &Symbols,
    wanted: &[ValueId],
) -> Result<Vec<Tensor>, OpError> {
    let mut uses = needed_uses(graph, wanted);
    let mut values: Vec<Option<Tensor>> = vec![None; graph.values().len()];
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        values[id.index()] = Some(tensor.clone());
    }
    let lookup = |name: &str| symbols.get(name).copied();
    for (_, node) in graph.nodes() {
        if node.results.iter().all(|r| uses[r.index()] == 0) {
            continue;
        }
        let operands = node.operands.iter().map(|v| v.and_then(|v| values[v.index()].as_ref())).collect();
        let x = Tensors { operands, regions: &node.regions, symbols: &lookup };
        let results =
            node.op.eval(&x).map_err(|e| OpError(format!("{} at `{}`: {e}", node.op.name(), node.location)))?;
        for operand in node.operands.iter().flatten() {
            uses[operand.index()] -= 1;
            if uses[operand.index()] == 0 {
                values[operand.index()] = None;
            }
        }
        for (&id, tensor) in node.results.iter().zip(results) {
            values[id.index()] = (uses[id.index()] > 0).then_some(tensor);
        }
    }
    let found = wanted.iter().map(|v| values[v.index()].clone());
    found.collect::<Option<_>>().ok_or_else(|| OpError::new("an output has no value"))
}

/// How often each value is used by nodes that `wanted` depends on, `wanted` itself counted.
fn needed_uses(graph: &Graph, wanted: &[ValueId]) -> Vec<usize> {
    let mut uses = vec![0; graph.values().len()];
    wanted.iter().for_each(|v| uses[v.index()] += 1);
    for (_, node) in graph.nodes().rev() {
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

/// The elements of a float tensor of at most 32 bits as f32.
///
/// # Errors
/// If the elements are of another type.
pub fn floats(tensor: &Tensor) -> Result<Vec<f32>, OpError> {
    match tensor.data() {
        Data::F32(v) => Ok(v.clone()),
        Data::F16(v) => Ok(v.iter().map(|&x| f16_to_f32(x)).collect()),
        Data::BF16(v) => Ok(v.iter().map(|&x| bf16_to_f32(x)).collect()),
        Data::F64(v) => Ok(v.iter().map(|&x| x as f32).collect()),
        data => Err(OpError(format!("expected floats, found {}", data.dtype()))),
    }
}

/// A tensor of a float type from f32 elements, rounded to nearest even.
///
/// # Errors
/// If `dtype` is not a float type of at least 16 bits.
pub fn from_floats(dtype: DType, shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor, OpError> {
    let data = match dtype {
        DType::F32 => Data::F32(values),
        DType::F16 => Data::F16(values.into_iter().map(f32_to_f16).collect()),
        DType::BF16 => Data::BF16(values.into_iter().map(f32_to_bf16).collect()),
        DType::F64 => Data::F64(values.into_iter().map(f64::from).collect()),
        _ => return Err(OpError(format!("expected a float type, found {dtype}"))),
    };
    Ok(Tensor::new(shape, data))
}

/// Calls `body` with the indices of each one-dimensional lane along `axis`.
pub fn for_each_lane(shape: &[usize], axis: usize, mut body: impl FnMut(&[usize])) {
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    for o in 0..outer {
        for i in 0..inner {
            let lane: Vec<usize> = (0..shape[axis]).map(|k| (o * shape[axis] + k) * inner + i).collect();
            body(&lane);
        }
    }
}
