//! Pools: a reduction over the elements of each window.

use super::body::Body;
use super::window::{ImageAxes, Window, element, image_axes};
use super::{Site, pointwise, reduce, sum_dtype};
use ic_ir::kernel::{Expr, Index, Stage};
use ic_ir::ops::{Pool, PoolFn};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Dim};

pub(super) fn stages(op: &Pool, site: &Site) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    let image = image_axes(op.layout, site.shape.len());
    let window = Window { strides: &op.strides, dilations: &op.dilations, pads: &op.pads };
    let n_outer = site.shape.len();
    let inner: Vec<Dim> = op.kernel.iter().map(|&extent| Dim::constant(extent as i64)).collect();
    let coordinates: Vec<Index> =
        (0..image.spatial.len()).map(|axis| window.coordinate(&image, axis, n_outer + axis)).collect();
    let may_leave = op.ceil || !window.is_inside();
    let channel = Index::axis(image.channels);
    let (indices, bounds) = element(site, &image, channel, &coordinates, may_leave)?;
    let mut body = Body::default();
    match op.function {
        PoolFn::Max => {
            let lowest = lowest(&mut body, dtype);
            let load = site.guarded(0, indices, bounds, Some(lowest))?;
            body.push(load);
            Ok(vec![reduce(ReduceFn::Max, inner, body)])
        }
        PoolFn::Average => {
            let sum = sum_dtype(dtype);
            let zero = body.float(dtype, 0.0);
            let load = site.guarded(0, indices, bounds, Some(zero))?;
            let value = body.push(load);
            body.cast(value, dtype, sum);
            let total = reduce(ReduceFn::Sum, inner.clone(), body);
            let area: i64 = op.kernel.iter().map(|&extent| extent as i64).product();
            let (count, mut mean) = match may_leave {
                true => {
                    (Some(reduce(ReduceFn::Sum, inner, covered(op, site, &image, &coordinates, sum)?)), Body::default())
                }
                false => (None, Body::default()),
            };
            let value = mean.push(Expr::Stage(0));
            let divisor = match count {
                Some(_) => mean.push(Expr::Stage(1)),
                None => mean.float(sum, area as f64),
            };
            let value = mean.apply(ScalarOp::Div, &[value, divisor]);
            mean.cast(value, sum, dtype);
            Ok([Some(total), count, Some(pointwise(mean))].into_iter().flatten().collect())
        }
        PoolFn::Lp => Err("`lp` pooling has no code".into()),
    }
}

/// 1 where an element of the window counts, else 0.
fn covered(op: &Pool, site: &Site, image: &ImageAxes, coordinates: &[Index], dtype: DType) -> Result<Body, String> {
    let shape = site.shape_of(0)?;
    let n_axes = image.spatial.len();
    let mut body = Body::default();
    let mut all = None;
    for (i, (&axis, coordinate)) in image.spatial.iter().zip(coordinates).enumerate() {
        let (before, after) = match op.count_include_pad {
            true => (op.pads[i].clone(), op.pads[n_axes + i].clone()),
            false => (Dim::constant(0), Dim::constant(0)),
        };
        let at = body.push(Expr::Index(coordinate.clone()));
        let low = body.push(Expr::Index(Index::constant(-before)));
        let high = body.push(Expr::Index(Index::constant(shape[axis].clone() + after)));
        for condition in [body.apply(ScalarOp::Ge, &[at, low]), body.apply(ScalarOp::Lt, &[at, high])] {
            all = Some(match all {
                Some(others) => body.apply(ScalarOp::And, &[others, condition]),
                None => condition,
            });
        }
    }
    let all = all.ok_or("a pool without axes")?;
    let (one, zero) = (body.float(dtype, 1.0), body.float(dtype, 0.0));
    body.apply(ScalarOp::Select, &[all, one, zero]);
    Ok(body)
}

/// What no element is below.
fn lowest(body: &mut Body, dtype: DType) -> u32 {
    match dtype {
        _ if dtype.is_float() => body.float(dtype, f64::NEG_INFINITY),
        _ if dtype.is_unsigned_int() => body.int(dtype, 0),
        _ => body.int(dtype, i64::MIN >> (64 - dtype.bits())),
    }
}
