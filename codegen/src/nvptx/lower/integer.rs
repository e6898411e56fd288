//! Products and convolutions of 8-bit integers: sums in i32 of what is left of factors without their zero points.

use super::body::Body;
use super::convolution::filtered;
use super::{Site, pointwise, reduce};
use ic_ir::kernel::{Expr, ExprId, Index, Stage};
use ic_ir::ops::{IntegerConvolution, IntegerMatmul};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::DType;

/// `[.., m, k] × [.., k, n]`.
pub(super) fn matmul(_op: &IntegerMatmul, site: &Site) -> Result<Vec<Stage>, String> {
    let (rank, k) = (site.shape.len(), Index::axis(site.shape.len()));
    let mut body = Body::default();
    // Operands of fewer batch axes, or of extent 1 along them, are the same for all.
    let batch = |i: usize| -> Result<Vec<Index>, String> {
        let shape = site.shape_of(i)?;
        let (n, first) = (shape.len() - 2, rank - shape.len());
        Ok((0..n).map(|axis| if shape[axis].is(1) { Index::default() } else { Index::axis(first + axis) }).collect())
    };
    if [0, 1].iter().any(|&i| site.shape_of(i).is_ok_and(|shape| shape.len() < 2 || shape.len() > rank)) {
        return Err("a factor that is no matrix".into());
    }
    let (row, column) = (Index::axis(rank - 2), Index::axis(rank - 1));
    let a = site.load(0, batch(0)?.into_iter().chain([row, k.clone()]).collect())?;
    let b = site.load(1, batch(1)?.into_iter().chain([k, column]).collect())?;
    let (a, b) = (body.push(a), body.push(b));
    product(site, &mut body, [a, b], rank - 1)?;
    let inner = vec![site.shape_of(0)?.last().cloned().ok_or("a factor without axes")?];
    Ok(vec![reduce(ReduceFn::Sum, inner, body), finished(site, rank - 1)?])
}

/// Around the image is its zero point.
pub(super) fn convolution(op: &IntegerConvolution, site: &Site) -> Result<Vec<Stage>, String> {
    let mut body = Body::default();
    let around = zero_point(site, &mut body, 2, 0)?;
    let around = match around {
        Some(zero) => zero,
        None => body.int(site.dtype(0)?, 0),
    };
    let (inner, factors, channels) = filtered(&op.window(), site, &mut body, around)?;
    product(site, &mut body, factors, channels)?;
    Ok(vec![reduce(ReduceFn::Sum, inner, body), finished(site, channels)?])
}

/// The product of two factors without their zero points; those of the second are along axis `channels` of the result.
fn product(site: &Site, body: &mut Body, factors: [ExprId; 2], channels: usize) -> Result<ExprId, String> {
    let mut centred = Vec::new();
    for (i, factor) in factors.into_iter().enumerate() {
        let dtype = site.dtype(i)?;
        let mut value = body.cast(factor, dtype, DType::I32);
        if let Some(zero) = zero_point(site, body, 2 + i, channels)? {
            let zero = body.cast(zero, dtype, DType::I32);
            value = body.apply(ScalarOp::Sub, &[value, zero]);
        }
        centred.push(value);
    }
    Ok(body.apply(ScalarOp::Mul, &centred))
}

/// The zero point that operand `i` is: one element, or one for each channel.
fn zero_point(site: &Site, body: &mut Body, i: usize, channels: usize) -> Result<Option<ExprId>, String> {
    if !site.has(i) {
        return Ok(None);
    }
    let indices = match site.shape_of(i)? {
        [] => Vec::new(),
        [one] if one.is(1) => vec![Index::default()],
        [_] => vec![Index::axis(channels)],
        _ => return Err("zero points of several axes".into()),
    };
    Ok(Some(body.push(site.load(i, indices)?)))
}

/// The sum, with the bias if there is one.
fn finished(site: &Site, channels: usize) -> Result<Stage, String> {
    let mut body = Body::default();
    let sum = body.push(Expr::Stage(0));
    if site.has(4) {
        let bias = body.push(site.load(4, vec![Index::axis(channels)])?);
        body.apply(ScalarOp::Add, &[sum, bias]);
    }
    Ok(pointwise(body))
}
