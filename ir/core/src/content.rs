//! Limits on the elements of tensors that inference tracks as dimension expressions.
//!
//! Invariant: every tracked expression is small, so that a chain of nodes cannot build one that takes forever to compare.

use crate::op::Operands;
use crate::ops::Op;
use crate::types::Type;
use ic_types::{DType, Dim};
use std::sync::Arc;

/// Largest integer or bool tensor whose elements are tracked.
const MAX_CONTENT: i64 = 1024;

/// Largest f32 tensor whose elements are tracked: models scale image sizes in floats.
const MAX_REAL_CONTENT: i64 = 16;

/// Atoms and terms in an expression, nested ones included, beyond which it is not tracked.
const MAX_SIZE: usize = 256;

/// The elements of the first result of a node, where they are known.
pub(crate) fn content_of(op: &Op, x: &Operands, types: &[Type]) -> Option<Arc<[Dim]>> {
    let ty = types.first()?.as_tensor()?;
    let len = ty.elements().as_const()?;
    let most = match ty.dtype {
        DType::I64 | DType::I32 | DType::Bool => MAX_CONTENT,
        DType::F32 => MAX_REAL_CONTENT,
        _ => return None,
    };
    if len > most {
        return None;
    }
    let content = op.content(x)?;
    debug_assert_eq!(content.len() as i64, len, "content of {}", op.name());
    let is_held = |dim: &Dim| match (ty.dtype, dim.as_const()) {
        (DType::I32, Some(value)) => i32::try_from(value).is_ok(),
        (DType::F32, Some(value)) => crate::scalar::is_whole_f32(value),
        _ => true,
    };
    content.iter().all(|dim| is_small(dim) && is_held(dim)).then(|| content.into())
}

/// Whether an expression is small enough to be tracked.
pub(crate) fn is_small(dim: &Dim) -> bool {
    dim.is_within(MAX_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Graph, ScalarOp, TensorType};

    #[test]
    fn large_expressions_are_not_tracked() {
        let mut graph = Graph::new("g");
        let mut b = Builder { graph: &mut graph, location: "".into() };
        let mut value = b.dims(vec![Dim::symbol("N") + Dim::symbol("M")]).unwrap();
        for _ in 0..40 {
            value = b.mul(value, value).unwrap();
            value = b.push(ScalarOp::Div, &[value, value]).unwrap();
            let three = b.vector(vec![3i64]).unwrap();
            let more = b.add(value, three).unwrap();
            value = b.push(ScalarOp::Mod, &[more, value]).unwrap();
        }
        assert_eq!(b.ty(value), &TensorType::fixed(DType::I64, &[1]));
    }
}
