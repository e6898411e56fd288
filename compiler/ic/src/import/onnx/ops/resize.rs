//! ONNX `Resize` and `Upsample`.

use super::prelude::*;
use ic_ir::F32;
use ic_ir::ops::{CoordinateMode, NearestMode, Resize, ResizeMode};

/// `Resize`. Opset 10 has no coordinate modes; later ones take `roi`, `scales` and `sizes`.
pub(super) fn resize(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let rank = cx.rank(x)?;
    if node.opset < 11 {
        let scales = cx.floats(node.input(1)?, "scales")?;
        return scale(cx, node, x, scales);
    }
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&a| cx.axis(x, a)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let coordinates = coordinate_mode(node)?;
    let roi = match node.opt(1).filter(|_| coordinates == CoordinateMode::TfCropAndResize) {
        Some(roi) => all_axes_roi(&cx.floats(roi, "roi")?, &axes, rank)?,
        None => Vec::new(),
    };
    let Target { shape, scales, scale_bits } = target(cx, node, x, &axes, &roi)?;
    let op = Resize {
        shape,
        scales: scales.map(|s| s.into_iter().map(F32).collect()),
        scale_bits,
        mode: mode(node)?,
        coordinates,
        nearest: nearest_mode(node)?,
        cubic_coeff_a: F32(node.float("cubic_coeff_a").unwrap_or(-0.75)),
        exclude_outside: node.flag("exclude_outside", false),
        antialias: node.flag("antialias", false),
        extrapolation: F32(node.float("extrapolation_value").unwrap_or(0.0)),
        roi: roi.into_iter().map(F32).collect(),
    };
    Ok(vec![cx.push(op, &[x])?])
}

/// `Upsample`: scales are attributes before opset 9.
pub(super) fn upsample(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let scales = match (node.floats("scales"), node.opt(1)) {
        (Some(scales), _) => scales.to_vec(),
        (None, Some(scales)) => cx.floats(scales, "scales")?,
        (None, None) => {
            let factor = |name| node.float(name).ok_or_else(|| invalid!("`scales` is missing"));
            vec![1.0, 1.0, factor("height_scale")?, factor("width_scale")?]
        }
    };
    scale(cx, node, x, scales)
}

/// The older definition: sample `i` is at `i / scale`.
fn scale(cx: &mut Context, node: &NodeView, x: ValueId, scales: Vec<f32>) -> Results {
    let shape = scaled_shape(&cx.shape(x)?, &scales, None)?;
    let op = Resize {
        shape,
        scales: Some(scales.into_iter().map(F32).collect()),
        scale_bits: None,
        mode: mode(node)?,
        coordinates: CoordinateMode::Asymmetric,
        nearest: NearestMode::Floor,
        cubic_coeff_a: F32(-0.75),
        exclude_outside: false,
        antialias: false,
        extrapolation: F32(0.0),
        roi: Vec::new(),
    };
    Ok(vec![cx.push(op, &[x])?])
}

/// What a resize goes to.
struct Target {
    shape: Vec<Dim>,
    /// The scales where the model gives them.
    scales: Option<Vec<f32>>,
    /// Their bits where only a run knows them.
    scale_bits: Option<Vec<Dim>>,
}

/// The result's shape, and the scales where the model gives them.
fn target(cx: &mut Context, node: &NodeView, x: ValueId, axes: &[usize], roi: &[f32]) -> Result<Target> {
    let input = cx.shape(x)?;
    let known = |(shape, scales)| Target { shape, scales, scale_bits: None };
    if let Some(sizes) = node.opt(3) {
        let sizes = cx.ints(sizes, "sizes")?;
        if sizes.len() != axes.len() {
            return Err(invalid!("`sizes` must have {} elements, found {}", axes.len(), sizes.len()));
        }
        return sized(node, &input, axes, &sizes).map(known);
    }
    let scales = node.opt(2).ok_or_else(|| invalid!("neither `scales` nor `sizes` is given"))?;
    if cx.tensor(scales).is_none() && roi.is_empty() {
        let scales = cx.cast(scales, DType::F32)?;
        return scaled_in_run(cx, &input, axes, scales);
    }
    let scales = cx.floats(scales, "scales")?;
    if scales.len() != axes.len() {
        return Err(invalid!("`scales` must have {} elements, found {}", axes.len(), scales.len()));
    }
    let mut all = vec![1.0; input.len()];
    axes.iter().zip(&scales).for_each(|(&axis, &scale)| all[axis] = scale);
    let roi = (!roi.is_empty()).then_some(roi);
    Ok(known((scaled_shape(&input, &all, roi)?, Some(all))))
}

/// The target of f32 `scales` of some axes, which only a run knows: extents are multiplied and rounded down.
fn scaled_in_run(cx: &mut Context, input: &[Dim], axes: &[usize], scales: ValueId) -> Result<Target> {
    let n = cx.length(scales, "scales")?;
    if n != axes.len() {
        return Err(invalid!("`scales` must have {} elements, found {n}", axes.len()));
    }
    let ones = cx.vector(vec![1.0f32; input.len()])?;
    let places = cx.vector(axes.iter().map(|&axis| axis as i64).collect())?;
    let scales = cx.put(ones, places, scales)?;
    let extents = cx.dims(input.to_vec())?;
    let extents = cx.cast(extents, DType::F32)?;
    let scaled = cx.binary(ScalarOp::Mul, extents, scales)?;
    let scaled = cx.unary(ScalarOp::Floor, scaled)?;
    let scaled = cx.cast(scaled, DType::I64)?;
    let shape = cx.ints(scaled, "scales")?;
    let wide = cx.cast(scales, DType::F64)?;
    Ok(Target { shape, scales: None, scale_bits: Some(cx.read_bits(wide, "scale")?) })
}

/// The shape of given sizes. A policy that keeps the aspect ratio determines one scale for all axes.
fn sized(node: &NodeView, input: &[Dim], axes: &[usize], sizes: &[Dim]) -> Result<(Vec<Dim>, Option<Vec<f32>>)> {
    let mut shape = input.to_vec();
    axes.iter().zip(sizes).for_each(|(&axis, size)| shape[axis] = size.clone());
    let pick: fn(f64, f64) -> f64 = match node.text("keep_aspect_ratio_policy") {
        None | Some("stretch" | "") => return Ok((shape, None)),
        Some("not_larger") => f64::min,
        Some("not_smaller") => f64::max,
        Some(other) => return Err(invalid!("attribute `keep_aspect_ratio_policy` is `{other}`")),
    };
    let constant = |dim: &Dim| dim.as_const().ok_or_else(|| unsupported!("the aspect ratio depends on symbolic dims"));
    let mut scale = None;
    for &axis in axes {
        let ratio = constant(&shape[axis])? as f64 / constant(&input[axis])? as f64;
        scale = Some(scale.map_or(ratio, |s| pick(s, ratio)));
    }
    let scale = scale.unwrap_or(1.0);
    let mut scales = vec![1.0; input.len()];
    for &axis in axes {
        shape[axis] = Dim::constant((scale * constant(&input[axis])? as f64 + 0.5).floor() as i64);
        scales[axis] = scale as f32;
    }
    Ok((shape, Some(scales)))
}

/// `floor(extent * scale)`, of the region of interest where there is one.
fn scaled_shape(input: &[Dim], scales: &[f32], roi: Option<&[f32]>) -> Result<Vec<Dim>> {
    if scales.len() != input.len() {
        return Err(invalid!("`scales` must have {} elements, found {}", input.len(), scales.len()));
    }
    let scaled = |(axis, (extent, &scale)): (usize, (&Dim, &f32))| {
        if !scale.is_finite() || scale <= 0.0 {
            return Err(invalid!("a scale is {scale}"));
        }
        if let (Some(roi), Some(extent)) = (roi, extent.as_const()) {
            let part = roi[scales.len() + axis] - roi[axis];
            return Ok(Dim::constant((extent as f32 * part * scale).floor() as i64));
        }
        if let Some(extent) = extent.as_const() {
            return Ok(Dim::constant((extent as f32 * scale).floor() as i64));
        }
        let (numerator, denominator) = fraction(scale)
            .ok_or_else(|| unsupported!("a symbolic extent is scaled by {scale}, which is no short fraction"))?;
        Ok((extent.clone() * Dim::constant(numerator)).floor_div(&Dim::constant(denominator)))
    };
    input.iter().zip(scales).enumerate().map(scaled).collect()
}

/// `scale` as a fraction of small numbers, if it is exactly one.
fn fraction(scale: f32) -> Option<(i64, i64)> {
    (0..16).map(|bits| 1i64 << bits).find_map(|denominator| {
        let numerator = f64::from(scale) * denominator as f64;
        (numerator.fract() == 0.0 && numerator < 1e9).then_some((numerator as i64, denominator))
    })
}

/// Begins and ends of all axes from those of some.
fn all_axes_roi(roi: &[f32], axes: &[usize], rank: usize) -> Result<Vec<f32>> {
    if roi.len() != 2 * axes.len() {
        return Err(invalid!("`roi` must have {} elements, found {}", 2 * axes.len(), roi.len()));
    }
    let mut all = [vec![0.0; rank], vec![1.0; rank]].concat();
    for (i, &axis) in axes.iter().enumerate() {
        all[axis] = roi[i];
        all[rank + axis] = roi[axes.len() + i];
    }
    Ok(all)
}

fn mode(node: &NodeView) -> Result<ResizeMode> {
    match node.text("mode") {
        None | Some("nearest") => Ok(ResizeMode::Nearest),
        Some("linear" | "bilinear") => Ok(ResizeMode::Linear),
        Some("cubic") => Ok(ResizeMode::Cubic),
        Some(other) => Err(invalid!("attribute `mode` is `{other}`")),
    }
}

fn coordinate_mode(node: &NodeView) -> Result<CoordinateMode> {
    match node.text("coordinate_transformation_mode") {
        None | Some("half_pixel") => Ok(CoordinateMode::HalfPixel),
        Some("half_pixel_symmetric") => Ok(CoordinateMode::HalfPixelSymmetric),
        Some("pytorch_half_pixel") => Ok(CoordinateMode::PytorchHalfPixel),
        Some("align_corners") => Ok(CoordinateMode::AlignCorners),
        Some("asymmetric") => Ok(CoordinateMode::Asymmetric),
        Some("tf_half_pixel_for_nn") => Ok(CoordinateMode::TfHalfPixelForNn),
        Some("tf_crop_and_resize") => Ok(CoordinateMode::TfCropAndResize),
        Some(other) => Err(invalid!("attribute `coordinate_transformation_mode` is `{other}`")),
    }
}

fn nearest_mode(node: &NodeView) -> Result<NearestMode> {
    match node.text("nearest_mode") {
        None | Some("round_prefer_floor" | "") => Ok(NearestMode::RoundPreferFloor),
        Some("round_prefer_ceil") => Ok(NearestMode::RoundPreferCeil),
        Some("floor") => Ok(NearestMode::Floor),
        Some("ceil") => Ok(NearestMode::Ceil),
        Some(other) => Err(invalid!("attribute `nearest_mode` is `{other}`")),
    }
}
