//! Resampling: the nearest element, or a weighted sum of two along each axis. Coordinates are computed in f64, as the op
//! defines them; a nearest element at a whole scale is index arithmetic.

use super::body::Body;
use super::{Site, pointwise};
use ic_ir::kernel::{Expr, ExprId, Index, Stage};
use ic_ir::ops::{CoordinateMode, NearestMode, Resize, ResizeMode};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim};

/// An axis of the operand.
enum Along {
    /// At an index.
    Plain(Index),
    /// At one of two expressions, with the weight of the second.
    Between { left: ExprId, right: ExprId, weight: ExprId },
    /// At an expression.
    At(ExprId),
}

pub(super) fn stages(op: &Resize, site: &Site) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    let is_simple = !op.antialias && !op.exclude_outside && op.scale_bits.is_none();
    if !is_simple || op.mode == ResizeMode::Cubic || op.coordinates == CoordinateMode::TfCropAndResize {
        return Err(format!("`{}` resizing with these attributes has no code", op.mode.name()));
    }
    if op.mode != ResizeMode::Nearest && !dtype.is_float() {
        return Err(format!("`{}` resizing of {dtype} has no code", op.mode.name()));
    }
    let mut body = Body::default();
    let before = site.shape_of(0)?.to_vec();
    let axes: Vec<Along> = (0..before.len()).map(|axis| along(op, site, &mut body, axis, &before[axis])).collect();
    let sum = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    interpolate(site, &mut body, &axes, (dtype, sum))?;
    Ok(vec![pointwise(body)])
}

/// Where the result's element is along an axis.
fn along(op: &Resize, site: &Site, body: &mut Body, axis: usize, before: &Dim) -> Along {
    let (here, after) = (Index::axis(axis), &site.shape[axis]);
    let scale = op.scales.as_ref().map(|scales| f64::from(scales[axis].0));
    if before == after && scale.is_none_or(|scale| scale == 1.0) && op.coordinates != CoordinateMode::TfHalfPixelForNn {
        return Along::Plain(here);
    }
    if let Some(factor) = whole_factor(op, before, after, scale) {
        return Along::Plain(here.floor_div(&Dim::constant(factor), &site.shape));
    }
    let x = coordinate(op, body, axis, scale, (before, after));
    let base = body.apply(ScalarOp::Floor, &[x]);
    let ratio = body.apply(ScalarOp::Sub, &[x, base]);
    let one = body.float(DType::F64, 1.0);
    let next = body.apply(ScalarOp::Add, &[base, one]);
    if op.mode == ResizeMode::Nearest {
        let half = body.float(DType::F64, 0.5);
        let zero = body.float(DType::F64, 0.0);
        let right = match op.nearest {
            NearestMode::RoundPreferFloor => Some(body.apply(ScalarOp::Gt, &[ratio, half])),
            NearestMode::RoundPreferCeil => Some(body.apply(ScalarOp::Ge, &[ratio, half])),
            NearestMode::Floor => None,
            NearestMode::Ceil => Some(body.apply(ScalarOp::Gt, &[ratio, zero])),
        };
        let nearest = right.map_or(base, |right| body.apply(ScalarOp::Select, &[right, next, base]));
        return Along::At(clamped(body, nearest, before));
    }
    let (left, right) = (clamped(body, base, before), clamped(body, next, before));
    Along::Between { left, right, weight: ratio }
}

/// The factor of an axis that grows by a whole one, if the nearest element of `x` is then `x / factor`.
fn whole_factor(op: &Resize, before: &Dim, after: &Dim, scale: Option<f64>) -> Option<i64> {
    let factor = after.exact_div(before)?.as_const().filter(|factor| *factor > 0)?;
    let is_floor = match op.coordinates {
        CoordinateMode::Asymmetric => op.nearest == NearestMode::Floor,
        // Off by less than a half.
        CoordinateMode::HalfPixel => {
            matches!(op.nearest, NearestMode::RoundPreferFloor | NearestMode::RoundPreferCeil)
        }
        _ => false,
    };
    let is_whole = scale.is_none_or(|scale| scale == factor as f64);
    (op.mode == ResizeMode::Nearest && is_floor && is_whole).then_some(factor)
}

/// The coordinate on the operand's axis, in f64.
fn coordinate(op: &Resize, body: &mut Body, axis: usize, scale: Option<f64>, (before, after): (&Dim, &Dim)) -> ExprId {
    let f64 = DType::F64;
    let here = body.push(Expr::Index(Index::axis(axis)));
    let x = body.cast(here, DType::I64, f64);
    let (n, m) = (body.extent(f64, before), body.extent(f64, after));
    let scale = match scale {
        Some(scale) => body.float(f64, scale),
        None => body.apply(ScalarOp::Div, &[m, n]),
    };
    let (half, one) = (body.float(f64, 0.5), body.float(f64, 1.0));
    let width = body.apply(ScalarOp::Mul, &[scale, n]);
    let half_pixel = |body: &mut Body| {
        let middle = body.apply(ScalarOp::Add, &[x, half]);
        let scaled = body.apply(ScalarOp::Div, &[middle, scale]);
        body.apply(ScalarOp::Sub, &[scaled, half])
    };
    match op.coordinates {
        CoordinateMode::HalfPixel => half_pixel(body),
        CoordinateMode::HalfPixelSymmetric => {
            let share = body.apply(ScalarOp::Div, &[m, width]);
            let rest = body.apply(ScalarOp::Sub, &[one, share]);
            let centre = body.apply(ScalarOp::Mul, &[n, half]);
            let shift = body.apply(ScalarOp::Mul, &[centre, rest]);
            let plain = half_pixel(body);
            body.apply(ScalarOp::Add, &[shift, plain])
        }
        CoordinateMode::PytorchHalfPixel => {
            let plain = half_pixel(body);
            let is_one = body.apply(ScalarOp::Eq, &[width, one]);
            let single = body.float(f64, -0.5);
            body.apply(ScalarOp::Select, &[is_one, single, plain])
        }
        CoordinateMode::AlignCorners => {
            let (last, wide) = (body.apply(ScalarOp::Sub, &[n, one]), body.apply(ScalarOp::Sub, &[width, one]));
            let scaled = body.apply(ScalarOp::Mul, &[x, last]);
            let plain = body.apply(ScalarOp::Div, &[scaled, wide]);
            let is_one = body.apply(ScalarOp::Eq, &[width, one]);
            let zero = body.float(f64, 0.0);
            body.apply(ScalarOp::Select, &[is_one, zero, plain])
        }
        CoordinateMode::Asymmetric | CoordinateMode::TfCropAndResize => body.apply(ScalarOp::Div, &[x, scale]),
        CoordinateMode::TfHalfPixelForNn => {
            let middle = body.apply(ScalarOp::Add, &[x, half]);
            body.apply(ScalarOp::Div, &[middle, scale])
        }
    }
}

/// A coordinate in f64 as an index on an axis: beyond the ends, those.
fn clamped(body: &mut Body, at: ExprId, extent: &Dim) -> ExprId {
    let f64 = DType::F64;
    let (n, one, zero) = (body.extent(f64, extent), body.float(f64, 1.0), body.float(f64, 0.0));
    let last = body.apply(ScalarOp::Sub, &[n, one]);
    let at = body.apply(ScalarOp::Min, &[at, last]);
    let at = body.apply(ScalarOp::Max, &[at, zero]);
    body.cast(at, f64, DType::I64)
}

/// The element, or the weighted sum of those around, as the body's last expression.
fn interpolate(site: &Site, body: &mut Body, axes: &[Along], (dtype, sum): (DType, DType)) -> Result<(), String> {
    let between: Vec<usize> = (0..axes.len()).filter(|&axis| matches!(axes[axis], Along::Between { .. })).collect();
    if between.len() > 3 {
        return Err("resizing of more than three axes has no code".into());
    }
    let mut total = None;
    for corner in 0..1usize << between.len() {
        let is_right =
            |axis: usize| between.iter().position(|&other| other == axis).is_some_and(|i| corner >> i & 1 == 1);
        let (mut indices, mut gathered) = (Vec::new(), Vec::new());
        for (axis, along) in axes.iter().enumerate() {
            indices.push(if let Along::Plain(index) = along { index.clone() } else { Index::default() });
            match along {
                Along::Plain(_) => {}
                Along::At(at) => gathered.push((axis as u32, *at)),
                Along::Between { left, right, .. } => {
                    gathered.push((axis as u32, if is_right(axis) { *right } else { *left }));
                }
            }
        }
        let value = body.push(site.gathered(0, indices, gathered)?);
        if between.is_empty() {
            return Ok(());
        }
        let mut value = body.cast(value, dtype, sum);
        for &axis in &between {
            let Along::Between { weight, .. } = axes[axis] else { continue };
            let one = body.float(DType::F64, 1.0);
            let weight = if is_right(axis) { weight } else { body.apply(ScalarOp::Sub, &[one, weight]) };
            let weight = body.cast(weight, DType::F64, sum);
            value = body.apply(ScalarOp::Mul, &[value, weight]);
        }
        total = Some(total.map_or(value, |total| body.apply(ScalarOp::Add, &[total, value])));
    }
    if let Some(total) = total {
        body.cast(total, sum, dtype);
    }
    Ok(())
}
