//! Affine accesses to a buffer as boxes of a dense tensor.
//!
//! A kernel reads and writes buffers of so many elements by `offset + Σ coefficient · axis`. Sorted by coefficient, the
//! axes that occur are the axes of a tensor over the same memory, of which the access sees a box. Extents may be
//! symbolic where it is known for every value of the symbols that the box is within the tensor.

use ic_ir::kernel::{Atom, Bound, Index};
use ic_types::Dim;

/// `offset + Σ coefficient · axis`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Affine {
    /// The element at the axes' zero.
    pub(crate) offset: Dim,
    /// One coefficient per axis of the kernel.
    pub(crate) coefficients: Vec<Dim>,
}

/// Whether `a <= b` whatever the symbols are.
fn is_at_most(a: &Dim, b: &Dim) -> bool {
    (b.clone() - a.clone()).lower_bound().is_some_and(|low| low >= 0)
}

/// Fails for what may be negative, with what it is.
pub(crate) fn natural(dim: &Dim, what: &str) -> Result<Dim, String> {
    if is_at_most(&Dim::constant(0), dim) { Ok(dim.clone()) } else { Err(what.into()) }
}

impl Affine {
    /// An index over `n_axes` axes.
    pub(crate) fn of_index(index: &Index, n_axes: usize) -> Result<Affine, String> {
        let mut affine = Affine { offset: index.constant.clone(), coefficients: vec![Dim::default(); n_axes] };
        for (atom, coefficient) in &index.terms {
            let Atom::Axis(axis) = atom else { return Err(format!("index `{index}` has quotients or remainders")) };
            affine.coefficients[*axis as usize] = coefficient.clone();
        }
        Ok(affine)
    }

    /// The element of a row-major buffer of `shape` at `indices`.
    pub(crate) fn of_element(indices: &[Index], shape: &[Dim], n_axes: usize) -> Result<Affine, String> {
        let mut whole = Affine { offset: Dim::default(), coefficients: vec![Dim::default(); n_axes] };
        for (index, extent) in indices.iter().zip(shape) {
            let index = Affine::of_index(index, n_axes)?;
            whole.offset = whole.offset * extent.clone() + index.offset;
            let pairs = whole.coefficients.iter_mut().zip(&index.coefficients);
            pairs.for_each(|(sum, c)| *sum = sum.clone() * extent.clone() + c.clone());
        }
        Ok(whole)
    }
}

/// A part of an iteration space: where it starts on each axis, and its extent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Region {
    pub(crate) starts: Vec<Dim>,
    pub(crate) extents: Vec<Dim>,
}

impl Region {
    /// The points of a space of `extents` that pass all `bounds`.
    pub(crate) fn new(bounds: &[Bound], extents: &[Dim]) -> Result<Region, String> {
        let mut region = Region { starts: vec![Dim::default(); extents.len()], extents: extents.to_vec() };
        for bound in bounds {
            region.restrict(bound, extents)?;
        }
        Ok(region)
    }

    fn restrict(&mut self, bound: &Bound, space: &[Dim]) -> Result<(), String> {
        let index = Affine::of_index(&bound.index, space.len())?;
        let (low, high) = (bound.low.clone() - index.offset.clone(), bound.high.clone() - index.offset);
        let terms = index.coefficients.iter().enumerate().filter(|&(axis, c)| !c.is(0) && !space[axis].is(1));
        let terms: Vec<_> = terms.collect();
        let (zero, one) = (Dim::constant(0), Dim::constant(1));
        match terms.as_slice() {
            [] if is_at_most(&low, &zero) && is_at_most(&one, &high) => Ok(()),
            [] if is_at_most(&one, &low) || is_at_most(&high, &zero) => {
                self.extents.fill(zero);
                Ok(())
            }
            &[(axis, c)] if is_at_most(&one, c) => {
                // low <= c * a < high.
                let end = self.starts[axis].clone() + self.extents[axis].clone();
                let first = low.ceil_div(c).maximum(&self.starts[axis]);
                let end = high.ceil_div(c).minimum(&end);
                self.extents[axis] = (end - first.clone()).maximum(&zero);
                self.starts[axis] = first;
                Ok(())
            }
            _ => {
                let reach = |c: &Dim, axis: usize| c.clone() * (space[axis].clone() - one.clone());
                let least: Dim = terms.iter().map(|&(axis, c)| reach(c, axis).minimum(&zero)).sum();
                let most: Dim = terms.iter().map(|&(axis, c)| reach(c, axis).maximum(&zero)).sum();
                let passes = is_at_most(&low, &least) && is_at_most(&(most + one), &high);
                passes.then_some(()).ok_or_else(|| format!("a bound on `{}`, which has several axes", bound.index))
            }
        }
    }

    /// Whether it has no points, whatever the symbols are.
    pub(crate) fn is_empty(&self) -> bool {
        self.extents.iter().any(|extent| extent.is(0))
    }
}

/// A box of a dense tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    /// Extents of the tensor.
    pub(crate) shape: Vec<Dim>,
    /// Where the box starts.
    pub(crate) starts: Vec<Dim>,
    /// Extents of the box.
    pub(crate) extents: Vec<Dim>,
    /// The kernel's axis that each axis of the box is. The tensor may have one axis more, of which the box has one
    /// element.
    pub(crate) axes: Vec<usize>,
}

impl View {
    /// The view through which a buffer of `len` elements is accessed at the points of `region` of a space of `space`.
    pub(crate) fn new(len: Dim, affine: &Affine, region: &Region, space: &[Dim]) -> Result<View, String> {
        let starts = affine.coefficients.iter().zip(&region.starts).map(|(c, start)| c.clone() * start.clone());
        let first = affine.offset.clone() + starts.sum();
        let mut rest = natural(&first, "an access before the buffer's start")?;
        let mut view = View { shape: vec![], starts: vec![], extents: vec![], axes: vec![] };
        let mut outer = len;
        for (axis, stride) in outermost_first(affine, space)? {
            let misfit = || format!("an access with stride {stride} in runs of {outer} elements");
            let extent = outer.exact_div(&stride).ok_or_else(misfit)?;
            let (start, within) = split(&rest, &stride, space);
            if !is_at_most(&(start.clone() + region.extents[axis].clone()), &extent) {
                return Err(misfit());
            }
            rest = within;
            view.shape.push(extent);
            view.starts.push(start);
            view.extents.push(region.extents[axis].clone());
            view.axes.push(axis);
            outer = stride;
        }
        if !outer.is(1) {
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

/// Quotient and remainder of an offset by a stride, for spaces that have points.
fn split(offset: &Dim, stride: &Dim, space: &[Dim]) -> (Dim, Dim) {
    let is_extent = |name: &str| space.iter().any(|extent| extent.as_symbol().is_some_and(|symbol| **symbol == *name));
    let positive = |name: &str| is_extent(name).then(|| Dim::symbol(name) + Dim::constant(1));
    let gap = (stride.clone() - offset.clone()).substitute(&positive);
    if gap.lower_bound().is_some_and(|low| low >= 1) {
        return (Dim::default(), offset.clone());
    }
    (offset.floor_div(stride), offset.modulo(stride))
}

/// The axes that an access depends on and their strides, each of which is a multiple of those after it.
fn outermost_first(affine: &Affine, space: &[Dim]) -> Result<Vec<(usize, Dim)>, String> {
    let strides = affine.coefficients.iter().cloned().enumerate();
    let mut left: Vec<(usize, Dim)> = strides.filter(|(axis, c)| !c.is(0) && !space[*axis].is(1)).collect();
    for (_, stride) in &left {
        natural(stride, "a reversed axis")?;
    }
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let holds_all = |(_, stride): &(usize, Dim)| left.iter().all(|(_, other)| stride.exact_div(other).is_some());
        let next = left.iter().position(holds_all).ok_or("strides none of which is a multiple of the others")?;
        sorted.push(left.remove(next));
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(value: i64) -> Dim {
        Dim::constant(value)
    }

    fn dims<const N: usize>(values: [i64; N]) -> Vec<Dim> {
        values.map(c).to_vec()
    }

    fn view(len: i64, offset: i64, coefficients: &[i64], space: &[i64]) -> Result<View, String> {
        let space: Vec<Dim> = space.iter().map(|&extent| c(extent)).collect();
        let region = Region::new(&[], &space).unwrap();
        let coefficients = coefficients.iter().map(|&stride| c(stride)).collect();
        View::new(c(len), &Affine { offset: c(offset), coefficients }, &region, &space)
    }

    #[test]
    fn a_transposed_read_is_a_whole_tensor_with_swapped_axes() {
        let view = view(35, 0, &[1, 7], &[7, 5]).unwrap();
        assert_eq!((view.shape.clone(), view.axes.clone()), (dims([5, 7]), vec![1, 0]));
        assert!(view.is_whole());
        assert_eq!(view.sorting(), Some(vec![1, 0]));
    }

    #[test]
    fn a_part_of_merged_projections_is_a_slice() {
        let view = view(2 * 36 * 64, 768, &[2304, 64, 1], &[2, 12, 64]).unwrap();
        assert_eq!((view.shape, view.starts, view.extents), (dims([2, 36, 64]), dims([0, 12, 0]), dims([2, 12, 64])));
    }

    #[test]
    fn every_second_element_leaves_a_unit_axis() {
        let view = view(20, 1, &[2], &[10]).unwrap();
        assert!(view.has_unit());
        assert_eq!((view.shape, view.starts), (dims([10, 2]), dims([0, 1])));
    }

    #[test]
    fn overlapping_windows_are_not_boxes() {
        assert!(view(10, 0, &[1, 1], &[8, 3]).is_err());
        assert!(view(10, 0, &[2, 1], &[4, 3]).is_err());
        assert!(view(10, 9, &[-1], &[10]).is_err());
    }

    #[test]
    fn symbolic_extents_make_boxes_where_they_surely_fit() {
        let (b, s) = (Dim::symbol("B"), Dim::symbol("S"));
        let space = [b.clone(), c(4), s.clone(), c(16)];
        let region = Region::new(&[], &space).unwrap();
        // The keys' part of merged projections, by heads.
        let row = c(192);
        let coefficients = vec![s.clone() * row.clone(), c(16), row.clone(), c(1)];
        let affine = Affine { offset: c(64), coefficients };
        let view = View::new(b.clone() * s.clone() * row, &affine, &region, &space).unwrap();
        assert_eq!((view.shape, view.starts), (vec![b.clone(), s.clone(), c(12), c(16)], dims([0, 0, 4, 0])));
        assert_eq!((view.extents, view.axes), (vec![b.clone(), s.clone(), c(4), c(16)], vec![0, 2, 1, 3]));
        // Nothing tells that `B` rows are within `S`.
        let affine = Affine { offset: c(0), coefficients: dims([16, 0, 0, 1]) };
        assert!(View::new(s * c(16), &affine, &region, &space).is_err());
    }
}
