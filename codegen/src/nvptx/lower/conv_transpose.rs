//! Transposed convolutions as a sum over channels and elements of the window, of those elements whose windows begin at
//! the stride.

use super::body::Body;
use super::convolution::{finished, zero};
use super::window::image_axes;
use super::{Site, reduce, sum_dtype};
use ic_ir::kernel::{Bound, Index, Stage};
use ic_ir::ops::ConvTranspose;
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::Dim;

pub(super) fn stages(op: &ConvTranspose, site: &Site) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    let sum = sum_dtype(dtype);
    let (shape, filter) = (site.shape_of(0)?, site.shape_of(1)?);
    let image = image_axes(op.layout, site.shape.len());
    let n_outer = site.shape.len();
    let groups = Dim::constant(op.groups as i64);
    let per_group = filter[0].exact_div(&groups).ok_or("channels that the groups do not divide")?;
    // Inner axes: channels of the group, then the window.
    let inner: Vec<Dim> = std::iter::once(per_group.clone()).chain(filter[2..].iter().cloned()).collect();
    let extents: Vec<Dim> = site.shape.iter().chain(&inner).cloned().collect();
    let out_channel = Index::axis(image.channels);
    let (group, in_group) = match op.groups {
        1 => (Index::default(), out_channel),
        _ => (out_channel.floor_div(&filter[1], &extents), out_channel.modulo(&filter[1], &extents)),
    };
    let channel = group.times(&per_group).plus(&Index::axis(n_outer));
    let mut indices = site.axes();
    indices[image.channels] = channel.clone();
    let mut bounds = Vec::new();
    for (i, &axis) in image.spatial.iter().enumerate() {
        // `y + pad = x * stride + k * dilation`.
        let (stride, dilation) = (Dim::constant(op.strides[i] as i64), op.dilations[i] as i64);
        let element = Index::axis(n_outer + 1 + i).times(&Dim::constant(-dilation));
        let distance = Index::axis(axis).plus(&Index::constant(op.pads[i].clone())).plus(&element);
        if !stride.is(1) {
            let rest = distance.modulo(&stride, &extents);
            bounds.push(Bound { index: rest, low: Dim::constant(0), high: Dim::constant(1) });
        }
        indices[axis] = distance.floor_div(&stride, &extents);
        bounds.push(Bound { index: indices[axis].clone(), low: Dim::constant(0), high: shape[axis].clone() });
    }
    let mut body = Body::default();
    let zero = zero(&mut body, dtype);
    let load = site.guarded(0, indices, bounds, Some(zero))?;
    let x = body.push(load);
    let window = (0..image.spatial.len()).map(|i| Index::axis(n_outer + 1 + i));
    let weight = site.load(1, [channel, in_group].into_iter().chain(window).collect())?;
    let w = body.push(weight);
    let (x, w) = (body.cast(x, dtype, sum), body.cast(w, dtype, sum));
    body.apply(ScalarOp::Mul, &[x, w]);
    Ok(vec![reduce(ReduceFn::Sum, inner, body), finished(site, image.channels, dtype, sum)?])
}
