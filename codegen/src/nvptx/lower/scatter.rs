//! Elements written at places that other elements say: each element of the result looks through the updates for those
//! that are meant for it. So results do not depend on the order in which threads run, and of several updates without a
//! reduction the last counts. The work grows with the product of both.

use super::body::Body;
use super::{Site, pointwise, reduce, sum_dtype};
use ic_ir::kernel::{Bound, Expr, ExprId, Index, Load, Stage};
use ic_ir::ops::{Reduction, ScatterElements, ScatterNd};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_types::{DType, Dim};

/// Less than every index, also with an extent added.
const NOWHERE: i64 = i32::MIN as i64;

/// The updates as the lowering sees them.
struct Updates {
    /// Axes of which each point has an update, after the result's.
    inner: Vec<Dim>,
    /// The update's place at a point.
    place: Vec<Index>,
    /// Where there are updates at all.
    bounds: Vec<Bound>,
    /// Of the axes of the updates that `inner` are: their numbers.
    axes: Vec<usize>,
}

/// One index for each element.
pub(super) fn elements(op: &ScatterElements, site: &Site) -> Result<Vec<Stage>, String> {
    let indices = site.shape_of(1)?;
    let along = Index::axis(site.shape.len());
    let mut place = site.axes();
    place[op.axis] = along;
    let others = (0..indices.len()).filter(|&axis| axis != op.axis && indices[axis] != site.shape[axis]);
    let bound = |axis: usize| Bound { index: Index::axis(axis), low: Dim::constant(0), high: indices[axis].clone() };
    let bounds: Vec<Bound> = others.map(bound).collect();
    let updates = Updates { inner: vec![indices[op.axis].clone()], place: place.clone(), bounds, axes: vec![op.axis] };
    let mut body = Body::default();
    let found = is_here(site, &mut body, place, &updates.bounds, op.axis)?;
    combined(op.reduction, site, &updates, body, found)
}

/// A tuple of indices for each slice.
pub(super) fn tuples(op: &ScatterNd, site: &Site) -> Result<Vec<Stage>, String> {
    let (indices, rank) = (site.shape_of(1)?, site.shape.len());
    let n_inner = indices.len() - 1;
    let width = indices[n_inner].as_const().and_then(|width| usize::try_from(width).ok());
    let width = width.filter(|width| *width <= rank).ok_or("tuples of unknown width")?;
    let at: Vec<Index> = (0..n_inner).map(|i| Index::axis(rank + i)).collect();
    // A reduction has an axis, even if there is one tuple.
    let inner = if n_inner == 0 { vec![Dim::constant(1)] } else { indices[..n_inner].to_vec() };
    let place = at.iter().cloned().chain((width..rank).map(Index::axis)).collect();
    let updates = Updates { inner, place, bounds: Vec::new(), axes: (0..n_inner).collect() };
    let mut body = Body::default();
    let mut found = body.push(Expr::Const(DType::Bool, 1));
    for axis in 0..width {
        let component = Index::constant(Dim::constant(axis as i64));
        let here = is_here(site, &mut body, at.iter().cloned().chain([component]).collect(), &[], axis)?;
        found = body.apply(ScalarOp::And, &[found, here]);
    }
    combined(op.reduction, site, &updates, body, found)
}

/// Whether the index at `place` is the result's on `axis`.
fn is_here(site: &Site, body: &mut Body, place: Vec<Index>, bounds: &[Bound], axis: usize) -> Result<ExprId, String> {
    let dtype = site.dtype(1)?;
    let nowhere = body.int(dtype, NOWHERE);
    let index = site.guarded(1, place, bounds.to_vec(), (!bounds.is_empty()).then_some(nowhere))?;
    let index = body.push(index);
    let index = body.cast(index, dtype, DType::I64);
    let (zero, extent) = (body.int(DType::I64, 0), body.push(Expr::Index(Index::constant(site.shape[axis].clone()))));
    let (is_negative, from_end) =
        (body.apply(ScalarOp::Lt, &[index, zero]), body.apply(ScalarOp::Add, &[index, extent]));
    let index = body.apply(ScalarOp::Select, &[is_negative, from_end, index]);
    let here = body.push(Expr::Index(Index::axis(axis)));
    Ok(body.apply(ScalarOp::Eq, &[index, here]))
}

/// The result's elements with the updates for which `found` holds.
fn combined(
    reduction: Reduction,
    site: &Site,
    updates: &Updates,
    mut body: Body,
    found: ExprId,
) -> Result<Vec<Stage>, String> {
    let dtype = site.dtype(0)?;
    let (function, op) = match reduction {
        Reduction::None => return last(site, updates, body, found),
        Reduction::Add => (ReduceFn::Sum, ScalarOp::Add),
        Reduction::Mul => (ReduceFn::Prod, ScalarOp::Mul),
        Reduction::Max => (ReduceFn::Max, ScalarOp::Max),
        Reduction::Min => (ReduceFn::Min, ScalarOp::Min),
    };
    let sum = sum_dtype(dtype);
    let update = body.push(site.guarded(2, updates.place.clone(), updates.bounds.clone(), None)?);
    let update = body.cast(update, dtype, sum);
    let neutral = neutral(&mut body, reduction, sum);
    body.apply(ScalarOp::Select, &[found, update, neutral]);
    let mut result = Body::default();
    let (all, data) = (result.push(Expr::Stage(0)), result.push(site.load(0, site.axes())?));
    let data = result.cast(data, dtype, sum);
    let value = result.apply(op, &[data, all]);
    result.cast(value, sum, dtype);
    Ok(vec![reduce(function, updates.inner.clone(), body), pointwise(result)])
}

/// What changes no element.
fn neutral(body: &mut Body, reduction: Reduction, dtype: DType) -> ExprId {
    let bits = dtype.bits().min(64) as u32;
    let (float, int) = match reduction {
        Reduction::None | Reduction::Add => (0.0, 0),
        Reduction::Mul => (1.0, 1),
        Reduction::Max if dtype.is_unsigned_int() => (0.0, 0),
        Reduction::Max => (f64::NEG_INFINITY, i64::MIN >> (64 - bits)),
        Reduction::Min if dtype.is_unsigned_int() => (0.0, -1),
        Reduction::Min => (f64::INFINITY, i64::MAX >> (64 - bits)),
    };
    if dtype.is_float() { body.float(dtype, float) } else { body.int(dtype, int) }
}

/// The elements, or the last update of each.
fn last(site: &Site, updates: &Updates, mut body: Body, found: ExprId) -> Result<Vec<Stage>, String> {
    let n_outer = site.shape.len();
    let mut number = Index::default();
    for (i, extent) in updates.inner.iter().enumerate() {
        number = number.times(extent).plus(&Index::axis(n_outer + i));
    }
    let (number, none) = (body.push(Expr::Index(number)), body.int(DType::I64, -1));
    body.apply(ScalarOp::Select, &[found, number, none]);
    let mut result = Body::default();
    let (number, zero) = (result.push(Expr::Stage(0)), result.int(DType::I64, 0));
    let is_updated = result.apply(ScalarOp::Ge, &[number, zero]);
    // The number as one index for each axis, the last one first.
    let (mut rest, mut gathered) = (number, Vec::new());
    for (&axis, extent) in updates.axes.iter().zip(&updates.inner).rev() {
        let extent = result.push(Expr::Index(Index::constant(extent.clone())));
        let index =
            if gathered.len() + 1 == updates.axes.len() { rest } else { result.apply(ScalarOp::Mod, &[rest, extent]) };
        gathered.push((axis as u32, index));
        rest = result.apply(ScalarOp::Div, &[rest, extent]);
    }
    let inner = |index: &Index| (n_outer..n_outer + updates.inner.len()).any(|axis| index.uses(axis as u32));
    let place = updates.place.iter().map(|index| if inner(index) { Index::default() } else { index.clone() });
    let param = site.operand(2)?.param;
    let (indices, bounds) = (place.collect(), updates.bounds.clone());
    let update = result.push(Expr::Load(Load { param, indices, gathered, bounds, otherwise: None }));
    let data = result.push(site.load(0, site.axes())?);
    result.apply(ScalarOp::Select, &[is_updated, update, data]);
    Ok(vec![reduce(ReduceFn::Max, updates.inner.clone(), body), pointwise(result)])
}
