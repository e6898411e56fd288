//! What is known about every e-class: type, elements where they are few, and whether a run can change it.

use super::language::{Interner, Kind};
use super::{EGraph, ENode};
use crate::canonicalize::splat_of;
use crate::known::is_fixed;
use egg::{DidMerge, Id};
use ic_ir::ops::Constant;
use ic_ir::{Literal, Op, OpError, Operands, Tensors, Type};
use ic_types::{DType, Dim, Tensor};
use std::sync::Arc;

/// Largest constant, in bytes, whose elements the e-graph knows.
const MAX_SMALL: usize = 64 << 10;

/// What is known about an e-class.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The type; several for a tuple, none for an absent operand.
    pub(crate) types: Vec<Type>,
    /// Elements as dimension expressions.
    pub(crate) content: Option<Arc<[Dim]>>,
    /// Whether the value depends on constants alone, so that it is known when the model is compiled.
    pub(crate) known: bool,
    /// The elements, if they are known and few.
    pub(crate) small: Option<Arc<Tensor>>,
    /// The value of every element, if all are known to be the same real number.
    pub(crate) splat: Option<f64>,
    /// The number, in the block, of the model's name for the node that first computed this; 0 if there is none.
    pub(crate) location: u32,
}

/// What the e-graph carries beside its nodes.
#[derive(Default)]
pub(crate) struct Analysis {
    /// The ops of e-nodes.
    pub(crate) ops: Interner,
    /// The location that new classes get.
    pub(crate) location: u32,
    /// Facts of the node that is about to be added.
    pub(crate) pending: Option<Facts>,
    /// The nodes that a rule adds, where they are logged.
    pub(crate) made: Option<Vec<ENode>>,
}

impl Facts {
    /// Facts about a value of which the type is known.
    pub(crate) fn of_type(ty: Type, content: Option<Arc<[Dim]>>, location: u32) -> Facts {
        Facts { types: vec![ty], content, known: false, small: None, splat: None, location }
    }

    /// Facts about what is not there.
    pub(crate) fn nothing() -> Facts {
        Facts { types: Vec::new(), content: None, known: false, small: None, splat: None, location: 0 }
    }
}

impl egg::Analysis<ENode> for Analysis {
    type Data = Facts;

    fn make(egraph: &mut EGraph, enode: &ENode, _id: Id) -> Facts {
        if let Some(facts) = egraph.analysis.pending.take() {
            return facts;
        }
        facts_of(egraph, enode).unwrap_or_else(|_| Facts::nothing())
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        let gains = |a: bool, b: bool| (!a && b, a && !b);
        let (mut changed_a, mut changed_b) = gains(a.known, b.known);
        let (more_a, more_b) = gains(a.small.is_some(), b.small.is_some());
        (changed_a, changed_b) = (changed_a | more_a, changed_b | more_b);
        a.known |= b.known;
        if a.small.is_none() {
            (a.small, a.splat) = (b.small, b.splat);
        }
        if a.content.is_none() {
            a.content = b.content;
        }
        if a.types.is_empty() {
            a.types = b.types;
        }
        if a.location == 0 {
            a.location = b.location;
        }
        DidMerge(changed_a, changed_b)
    }

    fn modify(egraph: &mut EGraph, id: Id) {
        let Some(tensor) = egraph[id].data.small.clone() else { return };
        let is_constant = |node: &ENode| matches!(egraph.analysis.ops.kind(node.op), Kind::Op(Op::Constant(_)));
        if egraph[id].nodes.iter().any(is_constant) {
            return;
        }
        let value = Literal::inline(Tensor::clone(&tensor));
        let op = egraph.analysis.ops.intern(Kind::Op(Constant { value }.into()));
        egraph.analysis.pending = Some(egraph[id].data.clone());
        let constant = egraph.add(ENode { op, children: Vec::new() });
        egraph.analysis.pending = None;
        egraph.union(id, constant);
    }
}

/// What is known about a node before it is in a class.
///
/// # Errors
/// If the children do not fit the op.
pub(crate) fn facts_of(egraph: &EGraph, enode: &ENode) -> Result<Facts, OpError> {
    let child = |i: usize| &egraph[enode.children[i]].data;
    match egraph.analysis.ops.kind(enode.op) {
        Kind::Op(op) => facts_of_op(egraph, op, &enode.children),
        Kind::Result(index) => {
            let ty = child(0).types.get(*index).ok_or_else(|| OpError::new("there is no such result"))?;
            Ok(Facts { known: child(0).known, ..Facts::of_type(ty.clone(), None, child(0).location) })
        }
        Kind::Absent | Kind::Leaf(_) | Kind::Opaque(_) => Ok(Facts::nothing()),
    }
}

fn facts_of_op(egraph: &EGraph, op: &Op, children: &[Id]) -> Result<Facts, OpError> {
    let data: Vec<&Facts> = children.iter().map(|&child| &egraph[child].data).collect();
    let inferred = ic_ir::infer(op, operands_of(&data))?;
    let operands_known = data.iter().all(|facts| facts.known || facts.types.is_empty());
    let known = operands_known && is_fixed(op, &inferred.types);
    let small = if known { small_value(op, &data, &inferred.types) } else { None };
    let splat = small.as_deref().and_then(|tensor| splat_of(tensor.data()));
    let location = egraph.analysis.location;
    Ok(Facts { types: inferred.types, content: inferred.content, known, small, splat, location })
}

fn operands_of<'a>(data: &[&'a Facts]) -> Operands<'a> {
    Operands {
        types: data.iter().map(|facts| facts.types.first()).collect(),
        contents: data.iter().map(|facts| facts.content.as_deref()).collect(),
        regions: &[],
        constraints: Default::default(),
    }
}

/// The elements of a node's result, if they are few and those of its operands are known.
fn small_value(op: &Op, data: &[&Facts], types: &[Type]) -> Option<Arc<Tensor>> {
    let [Type::Tensor(ty)] = types else { return None };
    if !op.is_foldable() {
        return None;
    }
    let len = usize::try_from(ty.elements().as_const()?).ok()?;
    if len.checked_mul(ty.dtype.size()?)? > MAX_SMALL {
        return None;
    }
    if let Op::Constant(constant) = op {
        return constant.value.tensor().ok().map(Arc::new);
    }
    // Only what costs about as much as reading its operands: larger products are evaluated when weights are packed.
    if matches!(op, Op::Matmul(_) | Op::Convolution(_) | Op::ConvTranspose(_))
        || matches!(
            op,
            Op::IntegerMatmul(_) | Op::IntegerConvolution(_) | Op::Attention(_) | Op::ExpertMatmul(_) | Op::Experts(_)
        )
    {
        return None;
    }
    // What 16-bit floats give here is decided by `widen_halves`.
    let is_half = matches!(ty.dtype, DType::F16 | DType::BF16);
    if is_half && crate::widen_halves::widens(op) {
        return None;
    }
    let is_absent = |facts: &Facts| facts.types.is_empty();
    let operands: Vec<Option<&Tensor>> = data.iter().map(|facts| facts.small.as_deref()).collect();
    if operands.iter().zip(data).any(|(tensor, facts)| tensor.is_none() && !is_absent(facts)) {
        return None;
    }
    let x = Tensors { operands, regions: &[], symbols: &|_| None };
    op.eval(&x).ok()?.into_iter().next().map(Arc::new)
}
