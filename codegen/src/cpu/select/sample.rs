//! Sampling at computed positions, transforms and what else is called as it is.

use super::{Attr, LibraryCall, Site, plain, require};
use ic_ir::ops::{BitCast, Col2Im, Dft, GridPadding, GridSample, MaxUnpool, ResizeMode, RoiAlign, RoiMode};
use ic_kernels::library::codes;
use ic_types::DType;

/// Fails unless operand `index` holds f32 or f64.
fn require_real(site: &Site, index: usize, what: &str) -> Result<DType, String> {
    match site.operand(index)?.dtype {
        dtype @ (DType::F32 | DType::F64) => Ok(dtype),
        dtype => Err(format!("{what} of {dtype} has no kernel")),
    }
}

pub(super) fn grid_sample(op: &GridSample, site: &Site) -> Result<LibraryCall, String> {
    let dtype = require_real(site, 0, "grid_sample")?;
    require(site.operand(1)?, dtype, "grid_sample at positions")?;
    if site.operand(0)?.shape.len() > 5 {
        return Err("grid_sample of more than 3 spatial axes has no kernel".into());
    }
    let mode = match op.mode {
        ResizeMode::Linear => codes::GridMode::Linear,
        ResizeMode::Nearest => codes::GridMode::Nearest,
        ResizeMode::Cubic => codes::GridMode::Cubic,
    };
    let padding = match op.padding {
        GridPadding::Zeros => codes::GridPadding::Zeros,
        GridPadding::Border => codes::GridPadding::Border,
        GridPadding::Reflection => codes::GridPadding::Reflection,
    };
    let attrs = vec![mode.code().into(), padding.code().into(), op.align_corners.into()];
    Ok(plain("grid_sample", vec![site.pass(0), site.pass(1), site.give(0)], attrs))
}

pub(super) fn roi_align(op: &RoiAlign, site: &Site) -> Result<LibraryCall, String> {
    require(site.operand(0)?, DType::F32, "roi_align")?;
    require(site.operand(2)?, DType::I64, "roi_align with indices")?;
    let mode = match op.mode {
        RoiMode::Avg => codes::RoiMode::Avg,
        RoiMode::Max => codes::RoiMode::Max,
    };
    let attrs = vec![mode.code().into(), op.half_pixel.into(), op.sampling_ratio.into(), Attr::F32(op.spatial_scale.0)];
    Ok(plain("f32_roi_align", vec![site.pass(0), site.pass(1), site.pass(2), site.give(0)], attrs))
}

pub(super) fn det(site: &Site) -> Result<LibraryCall, String> {
    require_real(site, 0, "det")?;
    Ok(plain("det", vec![site.pass(0), site.give(0)], vec![]))
}

pub(super) fn dft(op: &Dft, site: &Site) -> Result<LibraryCall, String> {
    require_real(site, 0, "dft")?;
    let attrs = vec![op.axis.into(), op.inverse.into(), op.onesided.into(), Attr::Int(op.length.clone())];
    Ok(plain("dft", vec![site.pass(0), site.give(0)], attrs))
}

/// The kernel derives the shape in which indices count from a window: one pixel of the input as large as all of it.
pub(super) fn max_unpool(op: &MaxUnpool, site: &Site) -> Result<LibraryCall, String> {
    let dtype = site.operand(0)?.dtype;
    let has_kernel = matches!(dtype, DType::F32 | DType::F64) || (dtype.is_int() && dtype.bits() >= 8);
    if !has_kernel {
        return Err(format!("max_unpool of {dtype} has no kernel"));
    }
    require(site.operand(1)?, DType::I64, "max_unpool with indices")?;
    let spatial = op.shape.get(2..).unwrap_or_default();
    let kernel = spatial.iter().cloned().map(Attr::Int);
    let attrs = kernel.chain((0..3 * spatial.len()).map(|_| Attr::from(0usize))).collect();
    Ok(plain("max_unpool", vec![site.pass(0), site.pass(1), site.give(0)], attrs))
}

pub(super) fn bit_cast(op: &BitCast, site: &Site) -> Result<LibraryCall, String> {
    let from = site.operand(0)?.dtype;
    if from.size().is_none() || from.size() != op.to.size() {
        return Err(format!("the bits of {from} as {} have no kernel", op.to));
    }
    Ok(plain("bit_cast", vec![site.pass(0), site.give(0)], vec![]))
}

pub(super) fn col2im(op: &Col2Im, site: &Site) -> Result<LibraryCall, String> {
    let dtype = site.operand(0)?.dtype;
    let has_kernel = matches!(dtype, DType::F32 | DType::F64) || (dtype.is_int() && dtype.bits() >= 8);
    if !has_kernel {
        return Err(format!("col2im of {dtype} has no kernel"));
    }
    let extents = op.image.iter().chain(&op.block).cloned().map(Attr::Int);
    let window = op.dilations.iter().chain(&op.pads).chain(&op.strides).map(|&d| Attr::from(d));
    Ok(plain("col2im", vec![site.dense(0)?, site.give(0)], extents.chain(window).collect()))
}
