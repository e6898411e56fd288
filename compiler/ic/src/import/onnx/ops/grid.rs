//! ONNX ops that sample an image at computed places, or put elements back: `GridSample`, `AffineGrid`, `RoiAlign`,
//! `MaxUnpool`, `Col2Im`.

use super::prelude::*;
use super::sliding::per_axis;
use ic_ir::F32;
use ic_ir::ops::{Col2Im, GridPadding, GridSample, MaxUnpool, PadMode, ResizeMode, RoiAlign, RoiMode};

/// `GridSample`.
pub(super) fn grid_sample(cx: &mut Context, node: &NodeView) -> Results {
    let mode = match node.text("mode") {
        None | Some("linear" | "bilinear") => ResizeMode::Linear,
        Some("nearest") => ResizeMode::Nearest,
        Some("cubic" | "bicubic") => ResizeMode::Cubic,
        Some(other) => return Err(invalid!("attribute `mode` is `{other}`")),
    };
    let padding = match node.text("padding_mode") {
        None | Some("zeros") => GridPadding::Zeros,
        Some("border") => GridPadding::Border,
        Some("reflection") => GridPadding::Reflection,
        Some(other) => return Err(invalid!("attribute `padding_mode` is `{other}`")),
    };
    let op = GridSample { mode, padding, align_corners: node.flag("align_corners", false) };
    Ok(vec![cx.push(op, &[node.input(0)?, node.input(1)?])?])
}

/// `AffineGrid`: the positions of an image, from -1 to 1 along each axis, transformed by a matrix for each sample.
pub(super) fn affine_grid(cx: &mut Context, node: &NodeView) -> Results {
    let theta = node.input(0)?;
    let (shape, dtype) = (cx.shape(theta)?, cx.dtype(theta)?);
    let size = cx.ints(node.input(1)?, "size")?;
    let space = size.get(2..).filter(|s| !s.is_empty()).ok_or_else(|| invalid!("`size` has no spatial extents"))?;
    let n = space.len();
    if shape.len() != 3 || !shape[1].is(n as i64) || !shape[2].is(n as i64 + 1) {
        return Err(invalid!("`theta` must be {n} rows of {} elements for each sample", n + 1));
    }
    let mut at = vec![Dim::constant(1); n + 2];
    (at[0], at[n + 1]) = (shape[0].clone(), shape[1].clone());
    let column = |cx: &mut Context, i: usize| -> Result<ValueId> {
        let column = cx.slice(theta, 2, Dim::constant(i as i64), Dim::constant(1))?;
        cx.reshape(column, at.clone())
    };
    let mut sum = column(cx, n)?;
    for (axis, extent) in space.iter().enumerate() {
        let position = positions(cx, extent, dtype, node.flag("align_corners", false))?;
        let mut along = vec![Dim::constant(1); n + 2];
        along[axis + 1] = extent.clone();
        let position = cx.reshape(position, along)?;
        // Columns are in the order x, y, z: the innermost axis first.
        let column = column(cx, n - 1 - axis)?;
        let product = cx.binary(ScalarOp::Mul, column, position)?;
        sum = cx.binary(ScalarOp::Add, sum, product)?;
    }
    Ok(vec![sum])
}

/// `(2 i - (n - 1)) / n`, or with the centres of the outermost elements at -1 and 1 divided by `n - 1`.
fn positions(cx: &mut Context, extent: &Dim, dtype: DType, align_corners: bool) -> Result<ValueId> {
    let last = extent.clone() - Dim::constant(1);
    let divisor = if align_corners { last.maximum(&Dim::constant(1)) } else { extent.clone() };
    let index = cx.iota(extent.clone(), dtype)?;
    let twice = cx.with_scalar(ScalarOp::Mul, index, 2.0)?;
    let number = |cx: &mut Context, dim: Dim| -> Result<ValueId> {
        let value = cx.dim_scalar(dim)?;
        cx.cast(value, dtype)
    };
    let (last, divisor) = (number(cx, last)?, number(cx, divisor)?);
    let centred = cx.binary(ScalarOp::Sub, twice, last)?;
    cx.binary(ScalarOp::Div, centred, divisor)
}

/// `RoiAlign`. Before opset 16 coordinates are those of centres.
pub(super) fn roi_align(cx: &mut Context, node: &NodeView) -> Results {
    let mode = match node.text("mode") {
        None | Some("avg") => RoiMode::Avg,
        Some("max") => RoiMode::Max,
        Some(other) => return Err(invalid!("attribute `mode` is `{other}`")),
    };
    let half_pixel = match node.text("coordinate_transformation_mode") {
        None => node.opset >= 16,
        Some("half_pixel") => true,
        Some("output_half_pixel") => false,
        Some(other) => return Err(invalid!("attribute `coordinate_transformation_mode` is `{other}`")),
    };
    let count = |name: &str, default: i64| {
        let n = node.int(name).unwrap_or(default);
        usize::try_from(n).ok().filter(|n| *n <= 1 << 16).ok_or_else(|| invalid!("attribute `{name}` is {n}"))
    };
    let op = RoiAlign {
        mode,
        output_height: count("output_height", 1)?,
        output_width: count("output_width", 1)?,
        sampling_ratio: count("sampling_ratio", 0)?,
        spatial_scale: F32(node.float("spatial_scale").unwrap_or(1.0)),
        half_pixel,
    };
    Ok(vec![cx.push(op, &[node.input(0)?, node.input(1)?, node.input(2)?])?])
}

/// `MaxUnpool`: the inverse of the pool that the attributes describe; `output_shape` adds zeros behind its result.
pub(super) fn max_unpool(cx: &mut Context, node: &NodeView) -> Results {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    let shape = cx.shape(x)?;
    let n = shape.len().checked_sub(2).ok_or_else(|| invalid!("`X` has no channels"))?;
    let (kernel, strides) = (per_axis(node, "kernel_shape", n)?, per_axis(node, "strides", n)?);
    let pads = node.ints("pads").filter(|p| !p.is_empty()).map_or(vec![0; 2 * n], <[i64]>::to_vec);
    if pads.len() != 2 * n {
        return Err(invalid!("`pads` must have {} elements, found {}", 2 * n, pads.len()));
    }
    let mut pooled = shape.clone();
    for axis in 0..n {
        let first = (shape[axis + 2].clone() - Dim::constant(1)) * Dim::constant(strides[axis] as i64);
        let cut = pads[axis].saturating_add(pads[n + axis]);
        pooled[axis + 2] = first + Dim::constant((kernel[axis] as i64).saturating_sub(cut));
    }
    let y = cx.push(MaxUnpool { shape: pooled.clone() }, &[x, indices])?;
    let Some(target) = node.opt(2) else { return Ok(vec![y]) };
    let behind: Vec<Dim> = match cx.try_ints(target) {
        Some(target) => target.into_iter().zip(&pooled).map(|(target, extent)| target - extent.clone()).collect(),
        None => {
            let target = cx.vector_of(target, "output_shape")?;
            let pooled = cx.dims(pooled.clone())?;
            let behind = cx.binary(ScalarOp::Sub, target, pooled)?;
            cx.ints(behind, "output_shape")?
        }
    };
    if behind.len() != pooled.len() {
        return Err(invalid!("`output_shape` must have {} extents, found {}", pooled.len(), behind.len()));
    }
    let pads = std::iter::repeat_n(Dim::constant(0), n + 2).chain(behind).collect();
    Ok(vec![super::slice::pad_or_crop(cx, y, pads, PadMode::Constant, None)?])
}

/// `Col2Im`.
pub(super) fn col2im(cx: &mut Context, node: &NodeView) -> Results {
    let x = node.input(0)?;
    let image = cx.ints(node.input(1)?, "image_shape")?;
    let block = cx.ints(node.input(2)?, "block_shape")?;
    let n = image.len();
    let (strides, dilations) = (per_axis(node, "strides", n)?, per_axis(node, "dilations", n)?);
    let pads = node.ints("pads").filter(|p| !p.is_empty()).map_or(vec![0; 2 * n], <[i64]>::to_vec);
    let pads = pads.into_iter().map(usize::try_from).collect::<std::result::Result<Vec<_>, _>>();
    let pads = pads.map_err(|_| invalid!("`pads` is negative"))?;
    Ok(vec![cx.push(Col2Im { image, block, dilations, pads, strides }, &[x])?])
}
