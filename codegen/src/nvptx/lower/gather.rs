//! Elements at places that other elements say.

use super::body::Body;
use super::{Site, pointwise};
use ic_ir::kernel::{Index, Stage};
use ic_ir::ops::{Gather, GatherElements, GatherNd};
use ic_types::Dim;

/// An index for each slice.
pub(super) fn slices(op: &Gather, site: &Site) -> Result<Vec<Stage>, String> {
    let (rank, n_places) = (site.shape_of(0)?.len(), site.shape_of(1)?.len());
    let mut body = Body::default();
    let places = (op.axis..op.axis + n_places).map(Index::axis);
    let index = body.push(site.load(1, places.collect())?);
    let at = |axis: usize| match axis.cmp(&op.axis) {
        std::cmp::Ordering::Less => Index::axis(axis),
        std::cmp::Ordering::Equal => Index::default(),
        std::cmp::Ordering::Greater => Index::axis(axis - 1 + n_places),
    };
    body.push(site.gathered(0, (0..rank).map(at).collect(), vec![(op.axis as u32, index)])?);
    Ok(vec![pointwise(body)])
}

/// One index for each element.
pub(super) fn elements(op: &GatherElements, site: &Site) -> Result<Vec<Stage>, String> {
    let mut body = Body::default();
    let index = body.push(site.load(1, site.axes())?);
    body.push(site.gathered(0, site.axes(), vec![(op.axis as u32, index)])?);
    Ok(vec![pointwise(body)])
}

/// A tuple of indices for each part.
pub(super) fn tuples(op: &GatherNd, site: &Site) -> Result<Vec<Stage>, String> {
    let (rank, indices) = (site.shape_of(0)?.len(), site.shape_of(1)?);
    let n_outer = indices.len() - 1;
    let width = indices[n_outer].as_const().and_then(|width| usize::try_from(width).ok());
    let width = width.ok_or("tuples of unknown width")?;
    let mut body = Body::default();
    let mut gathered = Vec::new();
    for i in 0..width {
        let outer = (0..n_outer).map(Index::axis);
        let place = outer.chain([Index::constant(Dim::constant(i as i64))]).collect();
        let index = body.push(site.load(1, place)?);
        gathered.push(((op.batch_dims + i) as u32, index));
    }
    let at = |axis: usize| match axis {
        _ if axis < op.batch_dims => Index::axis(axis),
        _ if axis < op.batch_dims + width => Index::default(),
        _ => Index::axis(axis - op.batch_dims - width + n_outer),
    };
    body.push(site.gathered(0, (0..rank).map(at).collect(), gathered)?);
    Ok(vec![pointwise(body)])
}
