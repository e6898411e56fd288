//! What an element of a value costs if it is computed where it is used.

use super::facts::{Facts, Kind};
use ic_ir::ops::Op;
use ic_ir::scalar::ScalarOp;
use ic_ir::{Node, NodeId, ValueDef, ValueId};

/// The cost of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cost {
    /// Scalar functions, weighted.
    pub(crate) work: u32,
    /// Elements read.
    pub(crate) loads: u32,
}

impl Cost {
    const READ: Cost = Cost { work: 0, loads: 1 };

    /// Whether an element may be computed wherever it is used, however often.
    pub(crate) fn is_cheap(self) -> bool {
        self.work == 0 || self.work <= 2 && self.loads <= 1
    }
}

/// Costs by value index, given that claimed nodes and expensive values of several users are in buffers.
pub(crate) fn costs(facts: &Facts, is_claimed: &dyn Fn(NodeId) -> bool) -> Vec<Cost> {
    let mut costs = vec![Cost::default(); facts.graph.values().len()];
    for (id, node) in facts.graph.nodes() {
        let kind = facts.kinds[id.index()];
        if !kind.is_inlineable() || is_claimed(id) {
            node.results.iter().for_each(|v| costs[v.index()] = Cost::READ);
            continue;
        }
        let mut cost = Cost { work: own_work(node, kind), loads: u32::from(kind == Kind::Gather) };
        if kind != Kind::Source {
            for &operand in node.operands.iter().flatten() {
                let operand = cost_of_operand(facts, &costs, operand);
                cost.work = cost.work.saturating_add(operand.work);
                cost.loads = cost.loads.saturating_add(operand.loads);
            }
        }
        node.results.iter().for_each(|v| costs[v.index()] = cost);
    }
    costs
}

fn cost_of_operand(facts: &Facts, costs: &[Cost], operand: ValueId) -> Cost {
    if super::emit::splat(facts.graph, operand).is_some() {
        return Cost::default();
    }
    let is_input = matches!(facts.graph.value(operand).def, ValueDef::Input(_));
    // An output is in a buffer whatever becomes of it elsewhere.
    if facts.constant[operand.index()] || is_input || facts.is_output[operand.index()] {
        return Cost::READ;
    }
    let (cost, shared) = (costs[operand.index()], facts.users[operand.index()].len() > 1);
    if shared && !cost.is_cheap() { Cost::READ } else { cost }
}

/// Scalar functions of one node, weighted by how long they take.
fn own_work(node: &Node, kind: Kind) -> u32 {
    use ScalarOp::*;
    match (&node.op, kind) {
        (Op::Pointwise(op), _) => match op.function {
            Neg | Abs | Sign | Floor | Ceil | Round | Relu | Add | Sub | Mul | Min | Max | Eq | Ne | Lt | Le | Gt
            | Ge | And | Or | Xor | Not | BitAnd | BitOr | BitXor | BitNot | Shl | Shr | IsNan | IsInf | Select => 1,
            Sqrt | Reciprocal | Div | HardSwish => 2,
            Exp | Log | Erf | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh | Acosh | Atanh
            | Sigmoid | Silu | Gelu | GeluTanh | Softplus | Pow | Mod | Rem => 16,
        },
        (Op::Quantize(_), _) => 6,
        (Op::Dequantize(_), _) => 2,
        (_, Kind::Piecewise) => 2,
        // A gather is an element read: where its indices are at hand, as cheap as what only moves elements.
        _ => 0,
    }
}
