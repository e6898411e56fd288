//! Affine accesses to a buffer as boxes of a dense tensor.
//!
//! A kernel reads and writes buffers of so many elements by `offset + Σ coefficient · axis`. Sorted by coefficient, the
//! axes that occur are the axes of a tensor over the same memory, of which the access sees a box.

use ic_ir::kernel::{Atom, Bound, Index};
use ic_types::Dim;

/// `offset + Σ coefficient · axis`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Affine {
    /// The element at the axes' zero.
    pub(crate) offset: i64,
    /// One coefficient per axis of the kernel.
    pub(crate) coefficients: Vec<i64>,
}

/// What a kernel's dims are, all of which must be known.
pub(crate) fn number(dim: &Dim) -> Result<i64, String> {
    dim.as_const().ok_or_else(|| format!("extent `{dim}` is symbolic"))
}

/// [`number`] as an extent.
pub(crate) fn extent(dim: &Dim) -> Result<usize, String> {
    usize::try_from(number(dim)?).map_err(|_| format!("extent `{dim}` is negative"))
}

/// [`extent`] of each.
pub(crate) fn extents(dims: &[Dim]) -> Result<Vec<usize>, String> {
    dims.iter().map(extent).collect()
}

impl Affine {
    /// An index over `n_axes` axes.
    pub(crate) fn of_index(index: &Index, n_axes: usize) -> Result<Affine, String> {
        let mut affine = Affine { offset: number(&index.constant)?, coefficients: vec![0; n_axes] };
        for (atom, coefficient) in &index.terms {
            let Atom::Axis(axis) = atom else { return Err(format!("index `{index}` has quotients or remainders")) };
            affine.coefficients[*axis as usize] = number(coefficient)?;
        }
        Ok(affine)
    }

    /// The element of a row-major buffer of `shape` at `indices`.
    pub(crate) fn of_element(indices: &[Index], shape: &[Dim], n_axes: usize) -> Result<Affine, String> {
        let mut whole = Affine { offset: 0, coefficients: vec![0; n_axes] };
        for (index, extent) in indices.iter().zip(shape) {
            let (extent, index) = (number(extent)?, Affine::of_index(index, n_axes)?);
            whole.offset = whole.offset * extent + index.offset;
            let pairs = whole.coefficients.iter_mut().zip(&index.coefficients);
            pairs.for_each(|(sum, c)| *sum = *sum * extent + c);
        }
        Ok(whole)
    }
}

/// A part of an iteration space: where it starts on each axis, and its extent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Region {
    pub(crate) starts: Vec<usize>,
    pub(crate) extents: Vec<usize>,
}

impl Region {
    /// The points of a space of `extents` that pass all `bounds`.
    pub(crate) fn new(bounds: &[Bound], extents: &[usize]) -> Result<Region, String> {
        let mut region = Region { starts: vec![0; extents.len()], extents: extents.to_vec() };
        for bound in bounds {
            region.restrict(bound, extents)?;
        }
        Ok(region)
    }

    fn restrict(&mut self, bound: &Bound, space: &[usize]) -> Result<(), String> {
        let index = Affine::of_index(&bound.index, space.len())?;
        let (low, high) = (number(&bound.low)? - index.offset, number(&bound.high)? - index.offset);
        let terms = index.coefficients.iter().enumerate().filter(|&(axis, c)| *c != 0 && space[axis] != 1);
        let terms: Vec<_> = terms.map(|(axis, &c)| (axis, c)).collect();
        match terms.as_slice() {
            [] if low <= 0 && 0 < high => Ok(()),
            [] => {
                self.extents.fill(0);
                Ok(())
            }
            &[(axis, c)] if c > 0 => {
                // low <= c * a < high.
                let first = div_ceil(low, c).max(self.starts[axis] as i64);
                let end = div_ceil(high, c).min((self.starts[axis] + self.extents[axis]) as i64);
                self.starts[axis] = first.max(0) as usize;
                self.extents[axis] = (end - first).max(0) as usize;
                Ok(())
            }
            _ => {
                let reach = |c: i64, axis: usize| c * (space[axis] as i64 - 1);
                let least: i64 = terms.iter().map(|&(axis, c)| reach(c, axis).min(0)).sum();
                let most: i64 = terms.iter().map(|&(axis, c)| reach(c, axis).max(0)).sum();
                let passes = low <= least && most < high;
                passes.then_some(()).ok_or_else(|| format!("a bound on `{}`, which has several axes", bound.index))
            }
        }
    }

    /// Whether it has no points.
    pub(crate) fn is_empty(&self) -> bool {
        self.extents.contains(&0)
    }
}

fn div_ceil(a: i64, b: i64) -> i64 {
    -(-a).div_euclid(b)
}

/// A box of a dense tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    /// Extents of the tensor.
    pub(crate) shape: Vec<usize>,
    /// Where the box starts.
    pub(crate) starts: Vec<usize>,
    /// Extents of the box.
    pub(crate) extents: Vec<usize>,
    /// The kernel's axis that each axis of the box is. The tensor may have one axis more, of which the box has one
    /// element.
    pub(crate) axes: Vec<usize>,
}

impl View {
    /// The view through which a buffer of `len` elements is accessed at the points of `region` of a space of `space`.
    pub(crate) fn new(len: usize, affine: &Affine, region: &Region, space: &[usize]) -> Result<View, String> {
        let strides = affine.coefficients.iter().enumerate();
        let mut terms: Vec<_> = strides.filter(|&(axis, c)| *c != 0 && space[axis] != 1).collect();
        terms.sort_by_key(|&(axis, &c)| (std::cmp::Reverse(c), axis));
        let start = |axis: usize| affine.coefficients[axis] * region.starts[axis] as i64;
        let first = affine.offset + (0..space.len()).map(start).sum::<i64>();
        let mut rest = usize::try_from(first).map_err(|_| "an access before the buffer's start".to_string())?;
        let mut view = View { shape: vec![], starts: vec![], extents: vec![], axes: vec![] };
        let mut outer = len;
        for (axis, &stride) in terms {
            let stride = usize::try_from(stride).map_err(|_| "a reversed axis".to_string())?;
            let misfit = || format!("an access with stride {stride} in runs of {outer} elements");
            let (extent, start) = (outer / stride, rest / stride);
            if !outer.is_multiple_of(stride) || start + region.extents[axis] > extent {
                return Err(misfit());
            }
            view.shape.push(extent);
            view.starts.push(start);
            view.extents.push(region.extents[axis]);
            view.axes.push(axis);
            (outer, rest) = (stride, rest % stride);
        }
        if outer > 1 {
            view.shape.push(outer);
            view.starts.push(rest);
        }
        Ok(view)
    }

    /// Whether one element of an innermost axis is taken.
    pub(crate) fn has_unit(&self) -> bool {
        self.shape.len() > self.axes.len()
    }

    /// Whether the box is the whole tensor.
    pub(crate) fn is_whole(&self) -> bool {
        !self.has_unit() && self.extents == self.shape
    }

    /// The permutation that brings the box's axes into ascending order; `None` if they are.
    pub(crate) fn sorting(&self) -> Option<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.axes.len()).collect();
        order.sort_by_key(|&i| self.axes[i]);
        (!self.axes.is_sorted()).then_some(order)
    }

    /// The axes in ascending order.
    pub(crate) fn sorted_axes(&self) -> Vec<usize> {
        let mut axes = self.axes.clone();
        axes.sort_unstable();
        axes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(len: usize, offset: i64, coefficients: &[i64], space: &[usize]) -> Result<View, String> {
        let region = Region::new(&[], space).unwrap();
        View::new(len, &Affine { offset, coefficients: coefficients.to_vec() }, &region, space)
    }

    #[test]
    fn a_transposed_read_is_a_whole_tensor_with_swapped_axes() {
        let view = view(35, 0, &[1, 7], &[7, 5]).unwrap();
        assert_eq!((view.shape.clone(), view.axes.clone()), (vec![5, 7], vec![1, 0]));
        assert!(view.is_whole());
        assert_eq!(view.sorting(), Some(vec![1, 0]));
    }

    #[test]
    fn a_part_of_merged_projections_is_a_slice() {
        let view = view(2 * 36 * 64, 768, &[2304, 64, 1], &[2, 12, 64]).unwrap();
        assert_eq!((view.shape, view.starts, view.extents), (vec![2, 36, 64], vec![0, 12, 0], vec![2, 12, 64]));
    }

    #[test]
    fn every_second_element_leaves_a_unit_axis() {
        let view = view(20, 1, &[2], &[10]).unwrap();
        assert!(view.has_unit());
        assert_eq!((view.shape, view.starts), (vec![10, 2], vec![0, 1]));
    }

    #[test]
    fn overlapping_windows_are_not_boxes() {
        assert!(view(10, 0, &[1, 1], &[8, 3]).is_err());
        assert!(view(10, 0, &[2, 1], &[4, 3]).is_err());
        assert!(view(10, 9, &[-1], &[10]).is_err());
    }
}
