//! Convolutions as a sum over channels and elements of the window: for depthwise ones and those of few channels in a
//! group. Others are matrix products, in `schedule`.

use super::body::Body;
use super::window::{Window, element, image_axes};
use super::{Site, pointwise, reduce, sum_dtype};
use ic_ir::kernel::{Expr, ExprId, Index, Stage};
use ic_ir::ops::Convolution;
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Dim};

pub(super) fn stages(op: &Convolution, site: &Site) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    let sum = sum_dtype(dtype);
    let mut body = Body::default();
    let zero = zero(&mut body, dtype);
    let (inner, [x, w], channels) = filtered(op, site, &mut body, zero)?;
    let (x, w) = (body.cast(x, dtype, sum), body.cast(w, dtype, sum));
    body.apply(ScalarOp::Mul, &[x, w]);
    Ok(vec![reduce(ReduceFn::Sum, inner, body), finished(site, channels, dtype, sum)?])
}

/// The axes of the sum, channels of the group, then the window; the elements of image and filter there, `around` outside
/// of the image; the axis of the result's channels.
pub(super) fn filtered(
    op: &Convolution,
    site: &Site,
    body: &mut Body,
    around: ExprId,
) -> Result<(Vec<Dim>, [ExprId; 2], usize), String> {
    let filter = site.shape_of(1)?;
    let image = image_axes(op.layout, site.shape.len());
    let window = Window { strides: &op.strides, dilations: &op.dilations, pads: &op.pads };
    let n_outer = site.shape.len();
    let groups = Dim::constant(op.groups as i64);
    let per_group = filter[0].exact_div(&groups).ok_or("channels that the groups do not divide")?;
    let out_channel = Index::axis(image.channels);
    let group = match op.groups {
        1 => Index::default(),
        _ => out_channel.floor_div(&per_group, &site.shape),
    };
    let inner: Vec<Dim> = filter[1..].to_vec();
    let channel = group.times(&filter[1]).plus(&Index::axis(n_outer));
    let coordinates: Vec<Index> =
        (0..image.spatial.len()).map(|axis| window.coordinate(&image, axis, n_outer + 1 + axis)).collect();
    let (indices, bounds) = element(site, &image, channel, &coordinates, !window.is_inside())?;
    let x = body.push(site.guarded(0, indices, bounds, Some(around))?);
    let weight = std::iter::once(out_channel).chain((0..inner.len()).map(|axis| Index::axis(n_outer + axis)));
    let w = body.push(site.load(1, weight.collect())?);
    Ok((inner, [x, w], image.channels))
}

/// The sum, with the bias if there is one, in the result's type.
pub(super) fn finished(site: &Site, channels: usize, dtype: DType, sum: DType) -> Result<Stage, String> {
    let mut body = Body::default();
    let mut value = body.push(Expr::Stage(0));
    if site.has(2) {
        let bias = site.load(2, vec![Index::axis(channels)])?;
        let bias = body.push(bias);
        let bias = body.cast(bias, dtype, sum);
        value = body.apply(ScalarOp::Add, &[value, bias]);
    }
    body.cast(value, sum, dtype);
    Ok(pointwise(body))
}

/// 0 of a type.
pub(super) fn zero(body: &mut Body, dtype: DType) -> u32 {
    if dtype.is_float() { body.float(dtype, 0.0) } else { body.int(dtype, 0) }
}
