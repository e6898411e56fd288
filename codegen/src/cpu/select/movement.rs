//! Gathers, scatters and whole-tensor movement.

use super::{Attr, LibraryCall, Site, plain};
use ic_ir::ops::{
    Cast, Concat, Gather, GatherElements, GatherNd, Pad, PadMode, Reduction, ReverseSequence, ScatterElements,
    ScatterNd, Transpose,
};
use ic_kernels::library::codes;
use ic_types::DType;

/// Two or three operands and one result, all as they are.
fn call(kernel: &'static str, n_operands: usize, attrs: Vec<Attr>, site: &Site) -> Result<LibraryCall, String> {
    let operands = (0..n_operands).map(|i| site.pass(i)).chain([site.give(0)]).collect();
    Ok(plain(kernel, operands, attrs))
}

pub(super) fn gather(op: &Gather, site: &Site) -> Result<LibraryCall, String> {
    call("gather", 2, vec![op.axis.into()], site)
}

pub(super) fn gather_elements(op: &GatherElements, site: &Site) -> Result<LibraryCall, String> {
    call("gather_elements", 2, vec![op.axis.into()], site)
}

pub(super) fn gather_nd(op: &GatherNd, site: &Site) -> Result<LibraryCall, String> {
    call("gather_nd", 2, vec![op.batch_dims.into()], site)
}

fn reduction(reduction: Reduction) -> Attr {
    match reduction {
        Reduction::None => codes::ScatterReduction::None,
        Reduction::Add => codes::ScatterReduction::Add,
        Reduction::Mul => codes::ScatterReduction::Mul,
        Reduction::Max => codes::ScatterReduction::Max,
        Reduction::Min => codes::ScatterReduction::Min,
    }
    .code()
    .into()
}

pub(super) fn scatter_elements(op: &ScatterElements, site: &Site) -> Result<LibraryCall, String> {
    call("scatter_elements", 3, vec![op.axis.into(), reduction(op.reduction)], site)
}

pub(super) fn scatter_nd(op: &ScatterNd, site: &Site) -> Result<LibraryCall, String> {
    call("scatter_nd", 3, vec![reduction(op.reduction)], site)
}

pub(super) fn pad(op: &Pad, site: &Site) -> Result<LibraryCall, String> {
    let mode = match op.mode {
        PadMode::Constant => codes::PadMode::Constant,
        PadMode::Reflect => codes::PadMode::Reflect,
        PadMode::Edge => codes::PadMode::Edge,
        PadMode::Wrap => codes::PadMode::Wrap,
    };
    let begins = op.pads[..op.pads.len() / 2].iter().cloned().map(Attr::Int);
    call("pad", 2, std::iter::once(Attr::from(mode.code())).chain(begins).collect(), site)
}

pub(super) fn transpose(op: &Transpose, site: &Site) -> Result<LibraryCall, String> {
    call("transpose", 1, op.perm.iter().map(|&axis| axis.into()).collect(), site)
}

pub(super) fn concat(op: &Concat, site: &Site) -> Result<LibraryCall, String> {
    call("concat", site.operands.len(), vec![op.axis.into()], site)
}

pub(super) fn cast(op: &Cast, site: &Site) -> Result<LibraryCall, String> {
    if [site.operand(0)?.dtype, op.to].iter().any(|d| d.is_handle() || matches!(d, DType::C64 | DType::C128)) {
        return Err(format!("a cast from {} to {} has no kernel", site.operand(0)?.dtype, op.to));
    }
    call("cast", 1, vec![op.saturate.into(), codes::RoundMode::Up.code().into()], site)
}

pub(super) fn reverse_sequence(op: &ReverseSequence, site: &Site) -> Result<LibraryCall, String> {
    call("reverse_sequence", 2, vec![op.batch_axis.into(), op.time_axis.into()], site)
}
