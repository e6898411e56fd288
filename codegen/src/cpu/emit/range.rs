//! What is known of floats from the expressions that compute them: clamped values convert to integers in one step.

use crate::shared::form::{Node, NodeId, Pass};
use ic_ir::scalar::ScalarOp;
use ic_types::DType;

/// Deepest expression that is looked into.
const MAX_DEPTH: usize = 8;

/// Whether a float is NaN or truncates to an i32.
pub(super) fn fits_i32(pass: &Pass, id: NodeId) -> bool {
    let (low, high) = range(pass, id, MAX_DEPTH);
    low >= f64::from(i32::MIN) && high < 2f64.powi(31)
}

/// Bounds of a value, unless it is NaN.
fn range(pass: &Pass, id: NodeId, depth: usize) -> (f64, f64) {
    let anything = (f64::NEG_INFINITY, f64::INFINITY);
    if depth == 0 {
        return anything;
    }
    let of = |id: &NodeId| range(pass, *id, depth - 1);
    match &pass.nodes[id] {
        Node::Const(bits) => number(pass.types[id], *bits).map_or(anything, |x| (x, x)),
        Node::Apply(ScalarOp::Min, args) => (of(&args[0]).0.min(of(&args[1]).0), of(&args[0]).1.min(of(&args[1]).1)),
        Node::Apply(ScalarOp::Max, args) => (of(&args[0]).0.max(of(&args[1]).0), of(&args[0]).1.max(of(&args[1]).1)),
        Node::Apply(ScalarOp::Relu, args) => (of(&args[0]).0.max(0.0), of(&args[0]).1.max(0.0)),
        Node::Apply(ScalarOp::Round | ScalarOp::Floor | ScalarOp::Ceil, args) => {
            let (low, high) = of(&args[0]);
            (low.floor(), high.ceil())
        }
        Node::Cast(arg) if is_short(pass.types[*arg]) => (f64::from(i16::MIN), f64::from(u16::MAX)),
        _ => anything,
    }
}

fn is_short(dtype: DType) -> bool {
    dtype == DType::Bool || dtype.is_int() && dtype.bits() <= 16
}

/// A float constant that is not NaN.
fn number(dtype: DType, bits: u128) -> Option<f64> {
    let value = match dtype {
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F64 => f64::from_bits(bits as u64),
        DType::F16 => f64::from(ic_types::f16_to_f32(bits as u16)),
        DType::BF16 => f64::from(ic_types::bf16_to_f32(bits as u16)),
        _ => return None,
    };
    (!value.is_nan()).then_some(value)
}
