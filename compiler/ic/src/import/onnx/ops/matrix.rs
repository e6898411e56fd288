//! ONNX ops on matrices and sequences as wholes: `Trilu`, `Det`, `ReverseSequence`.

use super::prelude::*;
use ic_ir::ops::{Det, ReverseSequence};

/// `Trilu`: one triangle of each matrix, zeros elsewhere.
pub(super) fn trilu(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let shape = cx.shape(x)?;
    let [.., rows, columns] = shape.as_slice() else { return Err(invalid!("`input` must have rank 2 or more")) };
    let row = cx.iota(rows.clone(), DType::I64)?;
    let mut diagonal = cx.unsqueeze(row, &[1])?;
    if let Some(k) = node.opt(1) {
        let k = cx.reshape(k, vec![])?;
        diagonal = cx.binary(ScalarOp::Add, diagonal, k)?;
    }
    let column = cx.iota(columns.clone(), DType::I64)?;
    let function = if node.flag("upper", true) { ScalarOp::Ge } else { ScalarOp::Le };
    let is_kept = cx.binary(function, column, diagonal)?;
    let zero = match cx.dtype(x)? {
        DType::Bool => cx.constant(Tensor::scalar(false))?,
        _ => cx.scalar_like(x, 0.0)?,
    };
    Ok(vec![cx.select(is_kept, x, zero)?])
}

/// `Det`.
pub(super) fn det(cx: &mut Context, node: &NodeView) -> Results {
    Ok(vec![cx.push(Det {}, &[node.input(0)?])?])
}

/// `ReverseSequence`.
pub(super) fn reverse_sequence(cx: &mut Context, node: &NodeView) -> Results {
    let (x, lengths) = (node.input(0)?, node.input(1)?);
    let time_axis = cx.axis(x, node.int("time_axis").unwrap_or(0))?;
    let batch_axis = cx.axis(x, node.int("batch_axis").unwrap_or(1))?;
    Ok(vec![cx.push(ReverseSequence { batch_axis, time_axis }, &[x, lengths])?])
}
