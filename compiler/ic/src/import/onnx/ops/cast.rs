//! ONNX `Cast`, `CastLike`, `BitCast`.

use super::prelude::*;
use ic_ir::ops;

fn target(node: &NodeView) -> Result<DType> {
    let to = node.attr("to").ok_or_else(|| invalid!("attribute `to` is missing"))?;
    // Before opset 6 the type is a name.
    match std::str::from_utf8(&to.s) {
        Ok("FLOAT") => Ok(DType::F32),
        Ok("DOUBLE") => Ok(DType::F64),
        Ok("FLOAT16") => Ok(DType::F16),
        Ok("INT64") => Ok(DType::I64),
        Ok("INT32") => Ok(DType::I32),
        Ok("INT16") => Ok(DType::I16),
        Ok("INT8") => Ok(DType::I8),
        Ok("UINT8") => Ok(DType::U8),
        Ok("UINT16") => Ok(DType::U16),
        Ok("UINT32") => Ok(DType::U32),
        Ok("UINT64") => Ok(DType::U64),
        Ok("BOOL") => Ok(DType::Bool),
        _ => dtype(i32::try_from(to.i).unwrap_or(-1)),
    }
}

fn cast_to(cx: &mut Context, node: &NodeView, to: DType) -> Results {
    let x = node.input(0)?;
    if cx.dtype(x)? == to {
        return Ok(vec![x]);
    }
    if node.text("round_mode").is_some_and(|mode| mode != "up") && to == DType::F8E8M0 {
        return Err(unsupported!("rounding modes other than up are not supported"));
    }
    Ok(vec![cx.push(ops::Cast { to, saturate: node.flag("saturate", true) }, &[x])?])
}

/// `Cast`.
pub(super) fn cast(cx: &mut Context, node: &NodeView) -> Results {
    cast_to(cx, node, target(node)?)
}

/// `CastLike`: to the second input's type.
pub(super) fn cast_like(cx: &mut Context, node: &NodeView) -> Results {
    let to = cx.dtype(node.input(1)?)?;
    cast_to(cx, node, to)
}

/// `BitCast`.
pub(super) fn bit_cast(cx: &mut Context, node: &NodeView) -> Results {
    let (x, to) = (node.input(0)?, target(node)?);
    Ok(vec![cx.push(ops::BitCast { to }, &[x])?])
}
