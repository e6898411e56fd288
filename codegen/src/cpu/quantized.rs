//! Passes that store nothing but 8-bit integers with one scale: a strip divides, rounds, limits and stores them.

use crate::shared::form::{Node, NodeId, Pass};
use ic_ir::scalar::ScalarOp;
use ic_types::DType;

/// `min(max(round(x / scale) + zero, low), high)` as an integer; without a scale it is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantized {
    pub(crate) x: NodeId,
    pub(crate) scale: Option<NodeId>,
    /// An 8-bit integer as a float; 0 if absent.
    pub(crate) zero: Option<NodeId>,
    /// The limits of the type.
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// What the pass stores, if it is that and no later pass needs it.
pub(crate) fn quantized(pass: &Pass) -> Option<Quantized> {
    let [store] = pass.stores.as_slice() else { return None };
    let Node::Cast(limited) = pass.nodes[store.value] else { return None };
    let (low, high) = match pass.types[store.value] {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        _ => return None,
    };
    let at = limit(pass, limited, ScalarOp::Min, high)?;
    let at = limit(pass, at, ScalarOp::Max, low)?;
    let (rounded, zero) = match &pass.nodes[at] {
        Node::Apply(ScalarOp::Add, args) => (args[0], Some(args[1]).filter(|&zero| is_byte(pass, zero))?.into()),
        _ => (at, None),
    };
    let Node::Apply(ScalarOp::Round, args) = &pass.nodes[rounded] else { return None };
    let (x, scale) = match &pass.nodes[args[0]] {
        Node::Apply(ScalarOp::Div, args) => (args[0], Some(args[1])),
        _ => (args[0], None),
    };
    let found = Quantized { x, scale, zero, low, high };
    let floats = [Some(x), scale, zero].into_iter().flatten().all(|id| pass.types[id] == DType::F32);
    (floats && !pass.keep && pass.reduce.is_none()).then_some(found)
}

/// What `function` limits by `number` at `id`.
fn limit(pass: &Pass, id: NodeId, function: ScalarOp, number: f32) -> Option<NodeId> {
    match &pass.nodes[id] {
        Node::Apply(found, args) if *found == function && pass.types[id] == DType::F32 => {
            let is_number = matches!(pass.nodes[args[1]], Node::Const(bits) if f32::from_bits(bits as u32) == number);
            is_number.then_some(args[0])
        }
        _ => None,
    }
}

/// Whether a float is made of an 8-bit integer.
fn is_byte(pass: &Pass, id: NodeId) -> bool {
    matches!(pass.nodes[id], Node::Cast(from) if matches!(pass.types[from], DType::U8 | DType::I8))
}
