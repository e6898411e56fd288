//! ONNX `DeformConv`: a convolution whose kernel positions are moved by offsets computed from data.
//!
//! The image is sampled at every position of every window, then the samples are contracted with the weights as columns
//! of a matrix product.

use super::prelude::*;
use super::sliding::{Window, spatial};
use ic_ir::ops::{GridPadding, GridSample, ResizeMode};

/// Elements of the largest kernel: a list of their positions becomes a constant.
const MAX_AREA: usize = 1 << 16;

/// Extents of the convolution.
struct Extents {
    batch: Dim,
    channels: i64,
    /// Into how many parts the channels are divided that have offsets of their own.
    offset_groups: i64,
    /// Elements of the kernel.
    area: i64,
    /// Height and width of the result.
    out: [Dim; 2],
}

/// `DeformConv` on images `[batch, channels, height, width]`.
pub(super) fn deform_conv(cx: &mut Context, node: &NodeView) -> Results {
    let (x, w, offset) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let (space, kernel) = (spatial(cx, x)?, spatial(cx, w)?);
    if space.len() != 2 || kernel.len() != 2 {
        return Err(unsupported!("other than two spatial axes"));
    }
    let window = Window::new(node, &space, Some(&kernel))?;
    let (shape, offset_shape, weights) = (cx.shape(x)?, cx.shape(offset)?, cx.shape(w)?);
    let (Some(channels), Some(n_out), [_, _, height, width]) =
        (shape[1].as_const(), weights[0].as_const(), offset_shape.as_slice())
    else {
        return Err(unsupported!("other than two spatial axes, or symbolic channels"));
    };
    let offset_groups = node.int("offset_group").unwrap_or(1);
    let groups = i64::try_from(super::conv::groups(node)?).map_err(|_| invalid!("`group` is too large"))?;
    let area = window.constant_kernel()?.into_iter().fold(1, usize::saturating_mul);
    if area > MAX_AREA {
        return Err(unsupported!("a kernel of {area} elements"));
    }
    let area = area as i64;
    if offset_groups < 1 || channels % offset_groups != 0 || channels % groups != 0 || n_out % groups != 0 {
        return Err(invalid!("{channels} and {n_out} channels do not divide into `group` and `offset_group`"));
    }
    let out = [height.clone(), width.clone()];
    let extents = Extents { batch: shape[0].clone(), channels, offset_groups, area, out };
    let samples = samples(cx, node, &extents, &window, &space)?;
    let constant = Dim::constant;
    let plane = height.clone() * width.clone();
    let columns = vec![extents.batch.clone(), constant(groups), constant(channels / groups * area), plane];
    let columns = cx.reshape(samples, columns)?;
    let rows = vec![constant(groups), constant(n_out / groups), constant(channels / groups * area)];
    let rows = cx.reshape(w, rows)?;
    let product = cx.matmul(rows, columns)?;
    let mut y = cx.reshape(product, vec![extents.batch, constant(n_out), height.clone(), width.clone()])?;
    if let Some(bias) = node.opt(3) {
        let bias = cx.reshape(bias, vec![constant(n_out), constant(1), constant(1)])?;
        y = cx.binary(ScalarOp::Add, y, bias)?;
    }
    Ok(vec![y])
}

/// The image at every kernel position of every window: `[batch, channels, area, height, width]`.
fn samples(cx: &mut Context, node: &NodeView, e: &Extents, window: &Window, space: &[Dim]) -> Result<ValueId> {
    let (x, constant, [height, width]) = (node.input(0)?, Dim::constant, e.out.clone());
    let lanes = e.batch.clone() * constant(e.offset_groups);
    let grid = grid(cx, node, e, window, space)?;
    let per_group = constant(e.channels / e.offset_groups);
    let image = cx.reshape(x, vec![lanes.clone(), per_group.clone(), space[0].clone(), space[1].clone()])?;
    let align_corners = has_corners(space);
    let op = GridSample { mode: ResizeMode::Linear, padding: GridPadding::Zeros, align_corners };
    let mut samples = cx.push(op, &[image, grid])?;
    if let Some(mask) = node.opt(4) {
        let one = constant(1);
        let mask = cx.reshape(mask, vec![lanes, one, constant(e.area) * height.clone(), width.clone()])?;
        samples = cx.binary(ScalarOp::Mul, samples, mask)?;
    }
    cx.reshape(samples, vec![e.batch.clone(), constant(e.channels), constant(e.area), height, width])
}

/// Whether every axis is known to have two ends, whose centres can be the corners of the grid.
fn has_corners(space: &[Dim]) -> bool {
    space.iter().all(|extent| extent.as_const().is_some_and(|n| n > 1))
}

/// Where to sample, from -1 to 1 between the corners: `[batch * offset groups, area * height, width, 2]`, across first.
fn grid(cx: &mut Context, node: &NodeView, e: &Extents, window: &Window, space: &[Dim]) -> Result<ValueId> {
    let (offset, constant) = (node.input(2)?, Dim::constant);
    let dtype = cx.dtype(offset)?;
    let lanes = e.batch.clone() * constant(e.offset_groups);
    let [height, width] = e.out.clone();
    let offsets =
        cx.reshape(offset, vec![lanes.clone(), constant(e.area), constant(2), height.clone(), width.clone()])?;
    let mut coordinates = Vec::new();
    for axis in [1, 0] {
        let moved = cx.slice(offsets, 2, constant(axis as i64), constant(1))?;
        let moved = cx.squeeze(moved, &[2])?;
        let kernel = kernel_positions(cx, window, axis, dtype)?;
        let start = window_positions(cx, window, axis, &e.out[axis], dtype)?;
        let within = cx.binary(ScalarOp::Add, kernel, start)?;
        let position = cx.binary(ScalarOp::Add, moved, within)?;
        // 2 p / (extent - 1) - 1 between corners, else (2 p + 1) / extent - 1 between edges.
        let mut distance = cx.with_scalar(ScalarOp::Mul, position, 2.0)?;
        let mut extent = space[axis].clone();
        if has_corners(space) {
            extent = extent - constant(1);
        } else {
            distance = cx.with_scalar(ScalarOp::Add, distance, 1.0)?;
        }
        let extent = cx.dim_scalar(extent)?;
        let extent = cx.cast(extent, dtype)?;
        let fraction = cx.binary(ScalarOp::Div, distance, extent)?;
        let coordinate = cx.with_scalar(ScalarOp::Sub, fraction, 1.0)?;
        coordinates.push(cx.unsqueeze(coordinate, &[4])?);
    }
    let grid = cx.concat(&coordinates, 4)?;
    cx.reshape(grid, vec![lanes, constant(e.area) * height, width, constant(2)])
}

/// Distance of each kernel element from the first along an axis, for all elements in order: `[area, 1, 1]`.
fn kernel_positions(cx: &mut Context, window: &Window, axis: usize, dtype: DType) -> Result<ValueId> {
    let kernel = window.constant_kernel()?;
    let (rows, columns) = (kernel[0], kernel[1]);
    let step = window.dilations[axis] as f64;
    let position = |i: usize| if axis == 0 { i / columns } else { i % columns } as f64 * step;
    let positions: Vec<f64> = (0..rows * columns).map(position).collect();
    let tensor = ic_ir::eval::from_reals(dtype, vec![positions.len(), 1, 1], positions)?;
    cx.constant(tensor)
}

/// Where each window starts along an axis: `[1, height, 1]` or `[1, 1, width]`.
fn window_positions(cx: &mut Context, window: &Window, axis: usize, n: &Dim, dtype: DType) -> Result<ValueId> {
    let index = cx.iota(n.clone(), dtype)?;
    let start = cx.with_scalar(ScalarOp::Mul, index, window.strides[axis] as f64)?;
    let pad = cx.dim_scalar(window.pads[axis].clone())?;
    let pad = cx.cast(pad, dtype)?;
    let start = cx.binary(ScalarOp::Sub, start, pad)?;
    let mut shape = vec![Dim::constant(1); 3];
    shape[axis + 1] = n.clone();
    cx.reshape(start, shape)
}
