//! Between floats and quantized numbers, where generated code does not do it: floats of 8 bits, blocks of scales, f64.

use super::{LibraryCall, Site, plain};
use ic_ir::ops::{Dequantize, Quantize};
use ic_types::DType;

/// Fails where the kernels, which compute in f32, do not take a type.
fn check(number: DType, code: DType, what: &str) -> Result<(), String> {
    let fits = matches!(number, DType::F32 | DType::F16 | DType::BF16 | DType::I32) && code.bits() <= 32;
    if fits { Ok(()) } else { Err(format!("{what} between {number} and {code} has no kernel")) }
}

pub(super) fn quantize(op: &Quantize, site: &Site) -> Result<LibraryCall, String> {
    check(site.operand(0)?.dtype, op.to, "quantize")?;
    let attrs = vec![op.axis.into(), op.block_size.into(), op.saturate.into()];
    Ok(plain("quantize_linear", vec![site.dense(0)?, site.dense(1)?, site.dense(2)?, site.give(0)], attrs))
}

pub(super) fn dequantize(op: &Dequantize, site: &Site) -> Result<LibraryCall, String> {
    check(op.to, site.operand(0)?.dtype, "dequantize")?;
    let attrs = vec![op.axis.into(), op.block_size.into()];
    Ok(plain("dequantize_linear", vec![site.dense(0)?, site.dense(1)?, site.dense(2)?, site.give(0)], attrs))
}
