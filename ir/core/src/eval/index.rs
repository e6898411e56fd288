//! Walking the coordinates of row-major tensors.

use crate::op::OpError;
use ic_types::{DType, Tensor};

/// Most elements that evaluation allocates at once.
pub const MAX_ELEMENTS: usize = 1 << 30;

/// Number of elements of a tensor of this shape.
///
/// # Errors
/// If there are more than [`MAX_ELEMENTS`], or extents beside a zero are so large that products overflow.
pub fn checked_len(shape: &[usize]) -> Result<usize, OpError> {
    let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent.max(1)));
    crate::ensure!(product.is_some_and(|p| p <= 1 << 62), "a tensor of shape {shape:?} is too large to evaluate");
    let len = shape.iter().product();
    crate::ensure!(len <= MAX_ELEMENTS, "a tensor of shape {shape:?} is too large to evaluate");
    Ok(len)
}

/// A tensor of zeros, false or empty strings.
///
/// # Errors
/// If it would be too large.
pub fn zeros(dtype: DType, shape: Vec<usize>) -> Result<Tensor, OpError> {
    checked_len(&shape)?;
    Ok(Tensor::zeros(dtype, shape))
}

/// Distance in elements between neighbours along each axis.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The flat index of the element at `coordinates`.
pub fn offset(coordinates: &[usize], strides: &[usize]) -> usize {
    coordinates.iter().zip(strides).map(|(c, s)| c * s).sum()
}

/// The coordinates of the element with this flat index.
pub fn coordinates_of(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut coordinates = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        coordinates[axis] = index % shape[axis].max(1);
        index /= shape[axis].max(1);
    }
    coordinates
}

/// Calls `body` with every coordinate in row-major order.
///
/// # Errors
/// The first that `body` returns.
pub fn for_each_coordinate(
    shape: &[usize],
    mut body: impl FnMut(&[usize]) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let mut coordinates = vec![0; shape.len()];
    if shape.contains(&0) {
        return Ok(());
    }
    loop {
        body(&coordinates)?;
        let Some(axis) = (0..shape.len()).rev().find(|&axis| coordinates[axis] + 1 < shape[axis]) else {
            return Ok(());
        };
        coordinates[axis] += 1;
        coordinates[axis + 1..].fill(0);
    }
}

/// A tensor of `shape` whose element at each coordinate is the element of `x` whose flat index `source` gives.
///
/// # Errors
/// If the tensor would be too large, or `source` fails.
pub fn rearrange(
    x: &Tensor,
    shape: Vec<usize>,
    mut source: impl FnMut(&[usize]) -> Result<usize, OpError>,
) -> Result<Tensor, OpError> {
    let mut indices = Vec::with_capacity(checked_len(&shape)?);
    for_each_coordinate(&shape, |coordinates| {
        let index = source(coordinates)?;
        crate::ensure!(index < x.len(), "element {index} is outside of a tensor of {} elements", x.len());
        indices.push(index);
        Ok(())
    })?;
    Ok(Tensor::new(shape, x.data().gather(indices.into_iter())))
}

/// Calls `body` with the flat indices of each one-dimensional lane along `axis`; not at all if there are no elements.
///
/// # Errors
/// The first that `body` returns.
pub fn for_each_lane(
    shape: &[usize],
    axis: usize,
    mut body: impl FnMut(&[usize]) -> Result<(), OpError>,
) -> Result<(), OpError> {
    if shape.contains(&0) {
        return Ok(());
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    for o in 0..outer {
        for i in 0..inner {
            let lane: Vec<usize> = (0..shape[axis]).map(|k| (o * shape[axis] + k) * inner + i).collect();
            body(&lane)?;
        }
    }
    Ok(())
}

/// The position that `index` selects on an axis, negative indices counted from the end.
///
/// # Errors
/// If it is outside of the axis.
pub fn wrap_index(index: i64, extent: usize) -> Result<usize, OpError> {
    let from_front = if index < 0 { index.checked_add(extent as i64) } else { Some(index) };
    match from_front {
        Some(i) if (0..extent as i64).contains(&i) => Ok(i as usize),
        _ => Err(OpError(format!("index {index} is outside of an axis of extent {extent}"))),
    }
}
