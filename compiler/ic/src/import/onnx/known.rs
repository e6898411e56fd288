//! What is known about values at import: constants, functions of constants, and shapes.
//!
//! An operand that ONNX wants as a constant may be anything that these functions find out.

use super::context::{Context, Frame};
use super::error::{Result, unsupported};
use ic_ir::eval::{Symbols, eval_values};
use ic_ir::ops::Op;
use ic_ir::{Graph, Node, ValueId};
use ic_types::{DType, Dim, Tensor};

/// Largest tensor that is computed at import, in elements.
const MAX_ELEMENTS: i64 = 1 << 16;

impl Context {
    /// The elements of an integer tensor as dimension expressions: symbols where only a run knows them, which fails if
    /// one is negative.
    ///
    /// # Errors
    /// If not even their number is known; `what` names the operand.
    pub(crate) fn ints(&mut self, value: ValueId, what: &str) -> Result<Vec<Dim>> {
        match self.try_ints(value) {
            Some(known) => Ok(known),
            None => self.read(value, what),
        }
    }

    /// The elements of an integer tensor, if they are known.
    pub(crate) fn try_ints(&mut self, value: ValueId) -> Option<Vec<Dim>> {
        if let Some(content) = &self.graph().value(value).content {
            return Some(content.to_vec());
        }
        if self.graph().ty(value).as_tensor().is_some_and(|ty| ty.elements().is(0)) {
            return Some(Vec::new());
        }
        let tensor = self.tensor(value)?;
        if !tensor.dtype().is_int() {
            return None;
        }
        Some(ic_ir::eval::ints(&tensor).ok()?.into_iter().map(|x| Dim::constant(x as i64)).collect())
    }

    /// The elements of an integer tensor as constants.
    ///
    /// # Errors
    /// If they are not constant; `what` names the operand.
    pub(crate) fn constant_ints(&mut self, value: ValueId, what: &str) -> Result<Vec<i64>> {
        let ints = self.try_ints(value).ok_or_else(|| {
            unsupported!("`{what}` is computed from data; it must be a constant or follow from shapes")
        })?;
        let constants = ints.iter().map(Dim::as_const).collect::<Option<_>>();
        constants.ok_or_else(|| unsupported!("`{what}` depends on a symbolic dim; it must be a constant"))
    }

    /// The elements of a float tensor.
    ///
    /// # Errors
    /// If they are not constant; `what` names the operand.
    pub(crate) fn floats(&mut self, value: ValueId, what: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(value).ok_or_else(|| unsupported!("`{what}` is not a constant"))?;
        Ok(ic_ir::eval::reals(&tensor)?.into_iter().map(|x| x as f32).collect())
    }

    /// The only element of a bool tensor, if it is known.
    pub(crate) fn truth(&mut self, value: ValueId) -> Option<bool> {
        if let Some(content) = &self.graph().value(value).content {
            return match content.as_ref() {
                [truth] => truth.as_const().map(|t| t != 0),
                _ => None,
            };
        }
        match self.tensor(value)?.elements::<bool>()? {
            [truth] => Some(*truth),
            _ => None,
        }
    }

    /// The tensor that a value is, if it is a function of constants alone and not large.
    pub(crate) fn tensor(&mut self, value: ValueId) -> Option<Tensor> {
        let frame = self.frame();
        if let Some(literal) = frame.graph.constant(value) {
            return (literal.len() as i64 <= MAX_ELEMENTS).then(|| literal.tensor().ok()).flatten();
        }
        if let Some(tensor) = tensor_of_content(&frame.graph, value) {
            return Some(tensor);
        }
        is_known(frame, value).then(|| evaluate(&frame.graph, value)).flatten()
    }
}

/// The tensor of a value of known constant content.
fn tensor_of_content(graph: &Graph, value: ValueId) -> Option<Tensor> {
    let content = graph.value(value).content.as_deref()?;
    let ty = graph.ty(value).as_tensor()?;
    let numbers: Vec<i64> = content.iter().map(Dim::as_const).collect::<Option<_>>()?;
    let shape = ty.constant_shape()?;
    match ty.dtype {
        DType::I64 => Some(Tensor::from_elements(shape, numbers)),
        DType::I32 => Some(Tensor::from_elements(shape, numbers.into_iter().map(|x| x as i32).collect())),
        _ => None,
    }
}

fn is_known(frame: &mut Frame, value: ValueId) -> bool {
    let Frame { graph, known, .. } = frame;
    for (id, _) in graph.values().skip(known.len()) {
        let is_known = graph.def(id).is_some_and(|node| {
            let operands = node.operands.iter().flatten().all(|v| known.get(v.index()).is_some_and(|&k| k));
            operands && is_foldable(graph, node)
        });
        known.push(is_known);
    }
    known[value.index()]
}

/// Whether the node's results follow from its operands at import and are not large.
fn is_foldable(graph: &Graph, node: &Node) -> bool {
    let small = |v: &ValueId| {
        let elements = graph.ty(*v).as_tensor().and_then(|ty| ty.elements().as_const());
        elements.is_some_and(|n| n <= MAX_ELEMENTS)
    };
    let has_symbols = match &node.op {
        Op::Dims(dims) => dims.value.iter().any(|d| d.as_const().is_none()),
        _ => false,
    };
    node.op.is_foldable() && node.regions.is_empty() && !has_symbols && node.results.iter().all(small)
}

/// Evaluates the part of the graph that `value` depends on, which has no inputs.
fn evaluate(graph: &Graph, value: ValueId) -> Option<Tensor> {
    let (part, target) = part_of(graph, value)?;
    eval_values(&part, &[], &Symbols::new(), &[target]).ok()?.pop()
}

/// A graph of the nodes that `value` depends on, and the value in it.
fn part_of(graph: &Graph, value: ValueId) -> Option<(Graph, ValueId)> {
    let mut needed = std::collections::BTreeSet::new();
    let mut stack = vec![value];
    while let Some(value) = stack.pop() {
        let ic_ir::ValueDef::Result(node, _) = graph.value(value).def else { return None };
        if needed.insert(node) {
            stack.extend(graph.node(node).operands.iter().flatten());
        }
    }
    let mut part = Graph::new("");
    let mut map = std::collections::HashMap::new();
    for id in needed {
        let node = graph.node(id);
        let operands = node.operands.iter().map(|v| v.and_then(|v| map.get(&v).copied())).collect();
        let results = part.push_node(node.op.clone(), operands, Vec::new(), &node.location).ok()?;
        map.extend(node.results.iter().copied().zip(results));
    }
    Some((part, *map.get(&value)?))
}
