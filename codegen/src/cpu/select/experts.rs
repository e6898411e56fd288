//! Products with chosen matrices and mixtures of experts: constant weights, packed, in 16 bits where these hold them.

use super::{Attr, CallOperand, LibraryCall, Packing, Site, panel_layout, plain, require};
use crate::shared::strip_of;
use ic_ir::ops::Experts;
use ic_ir::scalar::ScalarOp;
use ic_kernels::abi::Strip;
use ic_types::DType;

/// `f32_expert_matmul`. The rows take strides.
pub(super) fn expert_matmul(site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "expert_matmul")?;
    let (layout, [w]) = packed(site, [1])?;
    let operands = vec![site.pass(0), Some(w), site.dense(2)?, site.give(0)];
    Ok(LibraryCall { layout, ..plain("f32_expert_matmul", operands, vec![]) })
}

/// `f32_experts`. The tokens take strides.
pub(super) fn experts(op: &Experts, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "experts")?;
    let strip = match op.activation.function() {
        ScalarOp::Relu => Strip::Relu,
        function => strip_of(function).ok_or_else(|| format!("experts with `{}` have no kernel", function.name()))?,
    };
    let (layout, [w_in, w_out]) = packed(site, [3, 4])?;
    let operands = vec![site.pass(0), site.dense(1)?, site.dense(2)?, Some(w_in), Some(w_out), site.give(0)];
    let attrs = vec![Attr::from(strip as usize), op.gated.into()];
    Ok(LibraryCall { layout, ..plain("f32_experts", operands, attrs) })
}

/// Constant operands `[E, K, N]`, each matrix packed, and their layout: 16 bits only if these hold all of them.
fn packed<const N: usize>(site: &Site, indices: [usize; N]) -> Result<(u32, [CallOperand; N]), String> {
    let views = indices.map(|index| site.operand(index));
    let mut storage = None;
    for view in &views {
        let view = view.as_ref().map_err(Clone::clone)?;
        let same = storage.is_none_or(|storage| storage == view.storage);
        storage = Some(if same { view.storage } else { DType::F32 });
    }
    let dtype = storage.unwrap_or(DType::F32);
    let mut operands = Vec::with_capacity(N);
    for (index, view) in indices.into_iter().zip(views) {
        let view = view?;
        let extents: Option<Vec<usize>> =
            view.shape.iter().map(|dim| dim.as_const().and_then(|extent| usize::try_from(extent).ok())).collect();
        let (true, Some(&[count, k, n])) = (view.is_constant && view.strides.is_none(), extents.as_deref()) else {
            return Err(format!("weights of experts that are not constant (operand {index}) have no kernel"));
        };
        let packing = Packing::Experts { count, k, n };
        operands.push(CallOperand::Packed { index, shape: view.shape.clone(), packing, dtype });
    }
    let operands = operands.try_into().map_err(|_| "weights of experts are missing".to_string())?;
    Ok((panel_layout(dtype), operands))
}
