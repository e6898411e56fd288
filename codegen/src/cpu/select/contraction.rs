//! Matrix products, and attention, which is two of them.
//!
//! f32 has microkernels; a constant right operand is packed, in 16 bits where these hold its elements, and as integers with
//! scales where it is made of them. f64 and integers have a plain kernel.

use super::{Attr, CallOperand, Integers, LibraryCall, Packing, Site, View, plain, require};
use crate::shared::strip_of;
use ic_ir::ops::{Attention, GatedMatmul};
use ic_ir::scalar::ScalarOp;
use ic_kernels::abi::Strip;
use ic_kernels::pack::{Scaled, Width};
use ic_types::{DType, Dim};

/// `f32_matmul_packed` where the right operand is a constant matrix, else `f32_matmul`. Both take strides.
pub(super) fn matmul(site: &Site) -> Result<LibraryCall, String> {
    let (a, b) = (site.operand(0)?, site.operand(1)?);
    if a.dtype == DType::F64 || a.dtype.is_int() && a.dtype.bits() >= 8 {
        return Ok(plain("matmul", vec![site.pass(0), site.pass(1), site.give(0)], vec![]));
    }
    require(a, DType::F32, "matmul")?;
    if let Some(Packed { operand, layout, attrs }) = packed(b) {
        let operands = vec![site.pass(0), Some(operand), site.give(0)];
        return Ok(LibraryCall { layout, takes_epilogue: true, ..plain("f32_matmul_packed", operands, attrs) });
    }
    let operands = vec![site.pass(0), site.pass(1), site.give(0)];
    Ok(LibraryCall { takes_epilogue: true, ..plain("f32_matmul", operands, vec![]) })
}

/// `f32_gated_matmul`. The rows take strides.
pub(super) fn gated_matmul(op: &GatedMatmul, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "gated_matmul")?;
    let b = packed(site.operand(1)?).ok_or("a gated product with a weight that is not constant has no kernel")?;
    let function = op.function.function();
    let strip = if function == ScalarOp::Relu { Some(Strip::Relu) } else { strip_of(function) };
    let strip = strip.ok_or_else(|| format!("a gate of `{}` has no kernel", function.name()))?;
    let operands = vec![site.pass(0), Some(b.operand), site.dense(2)?, site.give(0)];
    let attrs = [vec![Attr::from(strip as usize)], b.attrs].concat();
    Ok(LibraryCall { layout: b.layout, ..plain("f32_gated_matmul", operands, attrs) })
}

/// A packed right operand, the second of its op, with its layout and the attributes that it adds.
struct Packed {
    operand: CallOperand,
    layout: u32,
    attrs: Vec<Attr>,
}

/// The right operand of a product in panels, if it is a constant matrix.
fn packed(b: &View) -> Option<Packed> {
    let extents = [b.shape.first(), b.shape.get(1)].map(|d| d.and_then(|d| d.as_const()));
    let (true, [Some(k), Some(n)]) = (b.is_constant && b.shape.len() == 2 && b.strides.is_none(), extents) else {
        return None;
    };
    let [k, n] = [k as usize, n as usize];
    let mut shape = b.shape.clone();
    let (packing, dtype, layout, attrs) = match &b.integers {
        Some(Integers { group, dtype, .. }) => {
            let width = if *dtype == DType::I4 { Width::Four } else { Width::Eight };
            if width == Width::Four {
                shape[0] = Dim::constant(k.div_ceil(2) as i64);
            }
            (Packing::Scaled(Scaled { k, n, group: *group, width }), *dtype, 3, vec![Attr::from(*group)])
        }
        None => (Packing::MatmulB { k, n }, b.storage, super::panel_layout(b.storage), vec![]),
    };
    let operand = CallOperand::Packed { index: 1, shape, packing, dtype };
    Some(Packed { operand, layout, attrs })
}

/// `f32_attention`. All operands take strides.
pub(super) fn attention(op: &Attention, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "attention")?;
    let operands = vec![site.pass(0), site.pass(1), site.pass(2), site.pass(3), site.give(0)];
    let attrs = vec![
        Attr::F32(op.scale.0),
        Attr::F32(op.softcap.0),
        Attr::F32(op.fill.0),
        op.nan_is_zero.into(),
        op.causal.is_some().into(),
        Attr::Int(op.causal.clone().unwrap_or(Dim::constant(0))),
    ];
    Ok(LibraryCall { takes_epilogue: true, ..plain("f32_attention", operands, attrs) })
}

/// `int8_matmul_packed` where the right operand is a constant matrix, else `int8_matmul`. Both take strides.
pub(super) fn integer_matmul(site: &Site) -> Result<LibraryCall, String> {
    let b = site.operand(1)?;
    let parameters = [site.dense(2)?, site.dense(3)?, site.dense(4)?];
    let matrix = b.is_constant && b.shape.len() == 2 && b.strides.is_none();
    let extents = [b.shape.first(), b.shape.get(1)].map(|d| d.and_then(|d| d.as_const()));
    let (kernel, layout, packed) = match extents {
        [Some(k), Some(n)] if matrix => {
            let packing = Packing::Int8Matmul { k: k as usize, n: n as usize };
            let packed = CallOperand::Packed { index: 1, shape: b.shape.clone(), packing, dtype: b.dtype };
            ("int8_matmul_packed", 1, Some(packed))
        }
        _ => ("int8_matmul", 0, site.pass(1)),
    };
    let operands = [site.pass(0), packed].into_iter().chain(parameters).chain([site.give(0)]).collect();
    Ok(LibraryCall { layout, takes_epilogue: true, ..plain(kernel, operands, vec![]) })
}
