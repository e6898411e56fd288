//! ONNX `Resize` and `Upsample`.

use super::prelude::*;
use ic_ir::F32;
use ic_ir::ops::{CoordinateMode, NearestMode, ReduceFn, Resize, ResizeMode};
use ic_types::Element;

/// `Resize`. Opset 10 has no coordinate modes; later ones take `roi`, `scales` and `sizes`.
pub(super) fn resize(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let rank = cx.rank(x)?;
    if node.opset < 11 {
        return scale(cx, node, x, node.input(1)?);
    }
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&a| cx.axis(x, a)).collect::<Result<Vec<_>>>()?,
        None => (0..rank).collect(),
    };
    let coordinates = coordinate_mode(node)?;
    let roi = match node.opt(1).filter(|_| coordinates == CoordinateMode::TfCropAndResize) {
        Some(roi) => Some(all_axes_roi(cx, roi, &axes, rank)?),
        None => None,
    };
    let Target { shape, scales, scale_bits } = target(cx, node, x, &axes, roi)?;
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
    };
    Ok(vec![resized(cx, op, x, roi)?])
}

/// Between integers there are floats: they are rounded after a filter, as where images are, else cut off.
fn resized(cx: &mut Context, op: Resize, x: ValueId, roi: Option<ValueId>) -> Result<ValueId> {
    let dtype = cx.dtype(x)?;
    let (mode, antialias) = (op.mode, op.antialias);
    let push = |cx: &mut Context, x| cx.push(op, &std::iter::once(x).chain(roi).collect::<Vec<_>>());
    if mode == ResizeMode::Nearest || !dtype.is_int() {
        return push(cx, x);
    }
    let wide = cx.cast(x, if dtype.bits() <= 16 { DType::F32 } else { DType::F64 })?;
    let mut y = push(cx, wide)?;
    if antialias {
        y = cx.with_scalar(ScalarOp::Add, y, 0.5)?;
        y = cx.unary(ScalarOp::Floor, y)?;
    }
    // A cubic goes beyond the numbers that it is between.
    if mode == ResizeMode::Cubic {
        let (least, most) = ic_ir::eval::int_range(dtype);
        y = cx.with_scalar(ScalarOp::Max, y, least as f64)?;
        y = cx.with_scalar(ScalarOp::Min, y, most as f64)?;
    }
    cx.cast(y, dtype)
}

/// `Upsample`: scales are attributes before opset 9.
pub(super) fn upsample(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let scales = match (node.floats("scales"), node.opt(1)) {
        (Some(scales), _) => cx.vector(scales.to_vec())?,
        (None, Some(scales)) => scales,
        (None, None) => {
            let factor = |name| node.float(name).ok_or_else(|| invalid!("`scales` is missing"));
            cx.vector(vec![1.0, 1.0, factor("height_scale")?, factor("width_scale")?])?
        }
    };
    scale(cx, node, x, scales)
}

/// The older definition: sample `i` is at `i / scale`.
fn scale(cx: &mut Context, node: &NodeView, x: ValueId, scales: ValueId) -> Results {
    let axes: Vec<usize> = (0..cx.rank(x)?).collect();
    let Target { shape, scales, scale_bits } = scaled(cx, x, &axes, scales, None)?;
    let op = Resize {
        shape,
        scales: scales.map(|s| s.into_iter().map(F32).collect()),
        scale_bits,
        mode: mode(node)?,
        coordinates: CoordinateMode::Asymmetric,
        nearest: NearestMode::Floor,
        cubic_coeff_a: F32(-0.75),
        exclude_outside: false,
        antialias: false,
        extrapolation: F32(0.0),
    };
    Ok(vec![resized(cx, op, x, None)?])
}

/// What a resize goes to.
struct Target {
    shape: Vec<Dim>,
    /// The scales where the model gives them.
    scales: Option<Vec<f32>>,
    /// Their bits where only a run knows them.
    scale_bits: Option<Vec<Dim>>,
}

/// What the node's `sizes` or `scales` ask for.
fn target(cx: &mut Context, node: &NodeView, x: ValueId, axes: &[usize], roi: Option<ValueId>) -> Result<Target> {
    let Some(sizes) = node.opt(3) else {
        let scales = node.opt(2).ok_or_else(|| invalid!("neither `scales` nor `sizes` is given"))?;
        return scaled(cx, x, axes, scales, roi);
    };
    let n = cx.ty(sizes)?.elements();
    if !n.is(axes.len() as i64) {
        return Err(invalid!("`sizes` must have {} elements, found {n}", axes.len()));
    }
    let pick = match node.text("keep_aspect_ratio_policy") {
        None | Some("stretch" | "") => {
            let mut shape = cx.shape(x)?;
            axes.iter().zip(cx.ints(sizes, "sizes")?).for_each(|(&axis, size)| shape[axis] = size);
            return Ok(Target { shape, scales: None, scale_bits: None });
        }
        Some("not_larger") => ReduceFn::Min,
        Some("not_smaller") => ReduceFn::Max,
        Some(other) => return Err(invalid!("attribute `keep_aspect_ratio_policy` is `{other}`")),
    };
    let input = cx.shape(x)?;
    let constants = |dims: &[Dim]| dims.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>();
    let before = constants(&axes.iter().map(|&axis| input[axis].clone()).collect::<Vec<_>>());
    match (before, cx.try_ints(sizes).and_then(|sizes| constants(&sizes))) {
        (Some(before), Some(sizes)) => Ok(sized(pick, &input, axes, &before, &sizes)),
        _ => sized_in_run(cx, pick, input, axes, sizes),
    }
}

/// The target of one scale for all axes: the smallest or largest that a size asks for.
fn sized(pick: ReduceFn, input: &[Dim], axes: &[usize], before: &[i64], sizes: &[i64]) -> Target {
    let ratios = sizes.iter().zip(before).map(|(&size, &extent)| size as f64 / extent as f64);
    let scale = if pick == ReduceFn::Min { ratios.reduce(f64::min) } else { ratios.reduce(f64::max) };
    let (mut shape, mut scales) = (input.to_vec(), vec![1.0; input.len()]);
    for (&axis, &extent) in axes.iter().zip(before) {
        let scale = scale.unwrap_or(1.0);
        shape[axis] = Dim::constant((scale * extent as f64 + 0.5).floor() as i64);
        scales[axis] = scale as f32;
    }
    Target { shape, scales: Some(scales), scale_bits: None }
}

/// [`sized`] where only a run knows extents or sizes.
fn sized_in_run(cx: &mut Context, pick: ReduceFn, input: Vec<Dim>, axes: &[usize], sizes: ValueId) -> Result<Target> {
    let before = cx.dims(axes.iter().map(|&axis| input[axis].clone()).collect())?;
    let before = cx.cast(before, DType::F64)?;
    let sizes = cx.cast(sizes, DType::F64)?;
    let ratios = cx.binary(ScalarOp::Div, sizes, before)?;
    let scale = cx.reduce(pick, ratios, vec![0])?;
    let extents = cx.binary(ScalarOp::Mul, scale, before)?;
    let extents = cx.with_scalar(ScalarOp::Add, extents, 0.5)?;
    let extents = cx.unary(ScalarOp::Floor, extents)?;
    let extents = cx.cast(extents, DType::I64)?;
    let mut shape = input;
    axes.iter().zip(cx.ints(extents, "sizes")?).for_each(|(&axis, size)| shape[axis] = size);
    let scales = cx.expand(scale, vec![Dim::constant(axes.len() as i64)])?;
    let scales = of_all_axes(cx, scales, axes, vec![1.0f64; shape.len()])?;
    Ok(Target { shape, scales: None, scale_bits: Some(cx.read_bits(scales, "scale")?) })
}

/// The target of `scales` of some axes.
fn scaled(cx: &mut Context, x: ValueId, axes: &[usize], scales: ValueId, roi: Option<ValueId>) -> Result<Target> {
    let input = cx.shape(x)?;
    if cx.tensor(scales).is_none() || roi.is_some() {
        let scales = cx.cast(scales, DType::F32)?;
        return scaled_in_run(cx, input, axes, scales, roi);
    }
    let scales = cx.floats(scales, "scales")?;
    if scales.len() != axes.len() {
        return Err(invalid!("`scales` must have {} elements, found {}", axes.len(), scales.len()));
    }
    let mut all = vec![1.0; input.len()];
    axes.iter().zip(&scales).for_each(|(&axis, &scale)| all[axis] = scale);
    Ok(Target { shape: scaled_shape(&input, &all)?, scales: Some(all), scale_bits: None })
}

/// The target of f32 `scales` of some axes, which only a run knows: extents, or the parts of them that are the region of
/// interest, are multiplied and rounded down.
fn scaled_in_run(
    cx: &mut Context,
    input: Vec<Dim>,
    axes: &[usize],
    scales: ValueId,
    roi: Option<ValueId>,
) -> Result<Target> {
    let (n, rank) = (cx.length(scales, "scales")?, Dim::constant(input.len() as i64));
    if n != axes.len() {
        return Err(invalid!("`scales` must have {} elements, found {n}", axes.len()));
    }
    let scales = of_all_axes(cx, scales, axes, vec![1.0f32; input.len()])?;
    let extents = cx.dims(input)?;
    let mut extents = cx.cast(extents, DType::F32)?;
    if let Some(roi) = roi {
        let roi = cx.cast(roi, DType::F32)?;
        let (begin, end) = (cx.slice(roi, 0, 0.into(), rank.clone())?, cx.slice(roi, 0, rank.clone(), rank)?);
        let part = cx.binary(ScalarOp::Sub, end, begin)?;
        extents = cx.binary(ScalarOp::Mul, extents, part)?;
    }
    let scaled = cx.binary(ScalarOp::Mul, extents, scales)?;
    let scaled = cx.unary(ScalarOp::Floor, scaled)?;
    let scaled = cx.cast(scaled, DType::I64)?;
    let shape = cx.ints(scaled, "scales")?;
    let wide = cx.cast(scales, DType::F64)?;
    Ok(Target { shape, scales: None, scale_bits: Some(cx.read_bits(wide, "scale")?) })
}

/// `defaults` with `values` in the places `axes`.
fn of_all_axes<T: Element>(cx: &mut Context, values: ValueId, axes: &[usize], defaults: Vec<T>) -> Result<ValueId> {
    let defaults = cx.vector(defaults)?;
    let places = cx.vector(axes.iter().map(|&axis| axis as i64).collect())?;
    cx.put(defaults, places, values)
}

/// `floor(extent * scale)`.
fn scaled_shape(input: &[Dim], scales: &[f32]) -> Result<Vec<Dim>> {
    if scales.len() != input.len() {
        return Err(invalid!("`scales` must have {} elements, found {}", input.len(), scales.len()));
    }
    let scaled = |(extent, &scale): (&Dim, &f32)| {
        if !scale.is_finite() || scale <= 0.0 {
            return Err(invalid!("a scale is {scale}"));
        }
        if let Some(extent) = extent.as_const() {
            return Ok(Dim::constant((extent as f32 * scale).floor() as i64));
        }
        let (numerator, denominator) = fraction(scale)
            .ok_or_else(|| unsupported!("a symbolic extent is scaled by {scale}, which is no short fraction"))?;
        Ok((extent.clone() * Dim::constant(numerator)).floor_div(&Dim::constant(denominator)))
    };
    input.iter().zip(scales).map(scaled).collect()
}

/// `scale` as a fraction of small numbers, if it is exactly one.
fn fraction(scale: f32) -> Option<(i64, i64)> {
    (0..16).map(|bits| 1i64 << bits).find_map(|denominator| {
        let numerator = f64::from(scale) * denominator as f64;
        (numerator.fract() == 0.0 && numerator < 1e9).then_some((numerator as i64, denominator))
    })
}

/// Begins and ends of all axes from those of some.
fn all_axes_roi(cx: &mut Context, roi: ValueId, axes: &[usize], rank: usize) -> Result<ValueId> {
    let n = cx.length(roi, "roi")?;
    if n != 2 * axes.len() {
        return Err(invalid!("`roi` must have {} elements, found {n}", 2 * axes.len()));
    }
    let roi = if cx.dtype(roi)? == DType::F64 { roi } else { cx.cast(roi, DType::F32)? };
    let ends: Vec<usize> = axes.iter().map(|axis| rank + axis).collect();
    let all = [vec![0.0; rank], vec![1.0; rank]].concat();
    match cx.dtype(roi)? {
        DType::F64 => of_all_axes(cx, roi, &[axes, &ends].concat(), all),
        _ => of_all_axes(cx, roi, &[axes, &ends].concat(), all.into_iter().map(|x| x as f32).collect()),
    }
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
