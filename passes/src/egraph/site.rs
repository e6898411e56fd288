//! A match of a rule: what the rule reads of it and how it builds the other side.

use super::facts::{Facts, facts_of};
use super::language::Head;
use super::pattern::{Bindings, Part, PartHead, Pattern};
use super::{EGraph, ENode, Kind};
use egg::Id;
use ic_ir::ops::{Constant, Reshape, Transpose};
use ic_ir::scalar::{Scalar, ScalarOp};
use ic_ir::{Literal, Op, TensorType};
use ic_types::{DType, Dim, Tensor};

/// A match of a rule's left side.
pub(crate) struct Site<'a> {
    /// The e-graph.
    pub(crate) egraph: &'a mut EGraph,
    /// The rule's left side.
    pub(crate) pattern: &'a Pattern,
    /// What its names stand for.
    pub(crate) bindings: &'a Bindings,
    /// The class that matches.
    pub(crate) root: Id,
}

impl Site<'_> {
    /// The class of a variable.
    ///
    /// # Panics
    /// If the rule's left side has no such variable.
    pub(crate) fn var(&self, name: &str) -> Id {
        let index = self.pattern.vars.iter().position(|n| n == name).expect("rules name variables of their left side");
        self.egraph.find(self.bindings.classes[index].expect("a match binds every variable"))
    }

    /// The class of a variable, if the rule's left side has it.
    pub(crate) fn optional(&self, name: &str) -> Option<Id> {
        self.pattern.vars.iter().any(|n| n == name).then(|| self.var(name))
    }

    /// A captured op.
    ///
    /// # Panics
    /// If the rule's left side has no such capture.
    pub(crate) fn op(&self, name: &str) -> &Op {
        let index =
            self.pattern.captures.iter().position(|n| n == name).expect("rules name captures of their left side");
        match self.egraph.analysis.ops.kind(self.bindings.ops[index].expect("a match binds every capture")) {
            Kind::Op(op) => op,
            kind => unreachable!("captures are ops, found {kind:?}"),
        }
    }

    /// What is known about a class.
    pub(crate) fn facts(&self, id: Id) -> &Facts {
        &self.egraph[self.egraph.find(id)].data
    }

    /// The tensor type of a class; `None` for tuples and absent operands.
    pub(crate) fn ty(&self, id: Id) -> Option<&TensorType> {
        match self.facts(id).types.as_slice() {
            [ty] => ty.as_tensor(),
            _ => None,
        }
    }

    /// Whether a class is an absent operand.
    pub(crate) fn is_absent(&self, id: Id) -> bool {
        self.facts(id).types.is_empty()
    }

    /// Whether the value of a variable is known at compile time.
    pub(crate) fn known(&self, name: &str) -> bool {
        let id = self.var(name);
        self.facts(id).known && !self.is_absent(id)
    }

    /// The number that every element of a variable is.
    pub(crate) fn splat(&self, name: &str) -> Option<f64> {
        self.facts(self.var(name)).splat
    }

    /// Adds a node, if the operands fit the op.
    pub(crate) fn add(&mut self, op: impl Into<Op>, children: &[Id]) -> Option<Id> {
        let op = self.egraph.analysis.ops.intern(Kind::Op(op.into()));
        let children: Vec<Id> = children.iter().map(|&child| self.egraph.find(child)).collect();
        let node = ENode { op, children };
        if let Some(id) = self.egraph.lookup(node.clone()) {
            return Some(id);
        }
        if let ([a, b], true) = (&node.children[..], super::pattern::commutative(self.egraph, op))
            && let Some(id) = self.egraph.lookup(ENode { op, children: vec![*b, *a] })
        {
            return Some(id);
        }
        let facts = facts_of(self.egraph, &node).ok()?;
        if let Some(made) = &mut self.egraph.analysis.made {
            made.push(node.clone());
        }
        self.egraph.analysis.pending = Some(facts);
        let id = self.egraph.add(node);
        self.egraph.analysis.pending = None;
        Some(id)
    }

    /// Adds an absent operand.
    pub(crate) fn absent(&mut self) -> Id {
        let op = self.egraph.analysis.ops.intern(Kind::Absent);
        self.egraph.add(ENode { op, children: Vec::new() })
    }

    /// Adds a constant of rank 0.
    pub(crate) fn number(&mut self, dtype: DType, value: f64) -> Option<Id> {
        let tensor = scalar_tensor(dtype, value)?;
        self.add(Constant { value: Literal::inline(tensor) }, &[])
    }

    /// Adds a reshape, unless the class has that shape already.
    pub(crate) fn reshape(&mut self, id: Id, shape: Vec<Dim>) -> Option<Id> {
        if self.ty(id)?.shape == shape {
            return Some(id);
        }
        self.add(Reshape { shape }, &[id])
    }

    /// Adds a transpose that exchanges the last two axes.
    pub(crate) fn swapped(&mut self, id: Id) -> Option<Id> {
        let rank = self.ty(id)?.rank();
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(rank.checked_sub(2)?, rank - 1);
        self.add(Transpose { perm }, &[id])
    }

    /// Adds the right side of a rule. Numbers get the element type of the root.
    pub(crate) fn instantiate(&mut self, right: &Pattern, part: &Part) -> Option<Id> {
        match part {
            Part::Var(var) => Some(self.var(&right.vars[*var])),
            Part::Number(number) => {
                let dtype = self.ty(self.root)?.dtype;
                self.number(dtype, *number)
            }
            Part::Absent => Some(self.absent()),
            Part::Node { head, capture, children, .. } => {
                let children: Vec<Id> =
                    children.iter().map(|child| self.instantiate(right, child)).collect::<Option<_>>()?;
                let op = match (capture, head) {
                    (Some(capture), _) => self.op(&right.captures[*capture]).clone(),
                    (None, PartHead::Op(Head::Pointwise(function))) => Op::from(*function),
                    (None, _) => return None,
                };
                self.add(op, &children)
            }
            Part::Chain(function, parts) => self.instantiate_chain(right, *function, parts),
        }
    }

    fn instantiate_chain(&mut self, right: &Pattern, function: ScalarOp, parts: &[Part]) -> Option<Id> {
        let ids: Vec<Id> = parts.iter().map(|part| self.instantiate(right, part)).collect::<Option<_>>()?;
        let (&first, rest) = ids.split_first()?;
        rest.iter().try_fold(first, |product, &id| self.add(function, &[product, id]))
    }
}

/// One number as a tensor of rank 0.
fn scalar_tensor(dtype: DType, value: f64) -> Option<Tensor> {
    let scalar = match dtype {
        DType::F64 => Scalar::F64(value),
        DType::F32 | DType::F16 | DType::BF16 => Scalar::F32(value as f32, dtype),
        DType::Bool => Scalar::Bool(value != 0.0),
        _ if dtype.is_int() && value.fract() == 0.0 => Scalar::Int(value as i128, dtype),
        _ => return None,
    };
    let mut tensor = Tensor::zeros(dtype, Vec::new());
    scalar.write(tensor.data_mut(), 0).ok()?;
    Some(tensor)
}
