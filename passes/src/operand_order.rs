//! One order of the operands of functions that commute, whatever the order in the model.
//!
//! What is computed comes first, the longest chain of nodes before the others, then inputs, then what is known when the
//! model is compiled. Values that this does not tell apart are ordered by numbers that follow from what they compute,
//! never from where the model lists them. Ops that only move elements count last: models spell movement in many ways.

use crate::canonicalize::splat_of;
use crate::egraph::pattern::commutes;
use ic_ir::{Graph, Node, Op, ValueDef, ValueId};
use ic_types::Data;
use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a value is to the order of operands: least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: Kind,
    /// Nodes on the longest way from an input, movement left out, the most first.
    height: Reverse<u32>,
    /// Follows from what the value computes, movement left out; of an input, its number.
    function: u64,
    /// Follows from the movement since the last computation.
    movement: u64,
    /// Follows from everything.
    whole: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Computed,
    Input,
    Known,
}

/// The places of the values of a graph under construction.
#[derive(Default)]
pub(crate) struct OperandOrder {
    places: Vec<Place>,
}

impl OperandOrder {
    /// Puts the operands of a function that commutes in order.
    pub(crate) fn arrange(&mut self, graph: &Graph, op: &Op, operands: &mut [Option<ValueId>]) {
        let Op::Pointwise(pointwise) = op else { return };
        let &mut [Some(a), Some(b)] = operands else { return };
        if !commutes(pointwise.function) || a == b {
            return;
        }
        self.extend(graph);
        if self.places[b.index()] < self.places[a.index()] {
            operands.swap(0, 1);
        }
    }

    /// Adds the places of values that are new.
    fn extend(&mut self, graph: &Graph) {
        for (id, value) in graph.values().skip(self.places.len()) {
            let place = match value.def {
                ValueDef::Input(i) => {
                    let i = u64::from(i);
                    Place { kind: Kind::Input, height: Reverse(0), function: i, movement: 0, whole: i }
                }
                ValueDef::Result(node, i) => self.of_result(graph.node(node), i),
            };
            debug_assert_eq!(id.index(), self.places.len(), "places are by value");
            self.places.push(place);
        }
    }

    fn of_result(&self, node: &Node, index: u32) -> Place {
        let operand = |v: &Option<ValueId>| v.map(|v| self.places[v.index()]);
        let places = || node.operands.iter().filter_map(operand);
        let whole: Vec<Option<u64>> = node.operands.iter().map(|v| operand(v).map(|p| p.whole)).collect();
        let whole = code(&(&node.op, index, whole));
        if let (Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) | Op::Slice(_), Some(moved)) =
            (&node.op, places().next())
        {
            return Place { movement: code(&(&node.op, moved.movement)), whole, ..moved };
        }
        let constant = if let Op::Constant(constant) = &node.op { constant.value.as_inline() } else { None };
        if let Some(data) = constant {
            let height = Reverse(1);
            return Place { kind: Kind::Known, height, function: elements_code(data), movement: whole, whole };
        }
        let function: Vec<Option<u64>> = node.operands.iter().map(|v| operand(v).map(|p| p.function)).collect();
        let is_known = node.regions.is_empty() && node.op.is_foldable() && places().all(|p| p.kind == Kind::Known);
        Place {
            kind: if is_known { Kind::Known } else { Kind::Computed },
            height: Reverse(places().map(|p| p.height.0).max().unwrap_or(0).saturating_add(1)),
            function: code(&(&node.op, index, function)),
            movement: 0,
            whole,
        }
    }
}

/// Follows from the elements of a constant, of any shape; one number repeated is that number.
fn elements_code(data: &Data) -> u64 {
    match splat_of(data) {
        Some(number) => code(&(data.dtype(), number.to_bits())),
        None => code(&(data.dtype(), data.to_le_bytes())),
    }
}

fn code(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
