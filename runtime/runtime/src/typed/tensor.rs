//! Dense tensors of known element type and rank, row-major.

use super::Element;
use crate::Error;
use std::ops::{Index, IndexMut};

/// A borrowed tensor of `RANK` axes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TensorView<'a, T, const RANK: usize> {
    shape: [usize; RANK],
    elements: &'a [T],
}

impl<'a, T: Element, const RANK: usize> TensorView<'a, T, RANK> {
    /// A view of `elements` as a tensor of `shape`.
    ///
    /// # Errors
    /// If their number is not the product of `shape`.
    pub fn new(shape: [usize; RANK], elements: &'a [T]) -> Result<Self, Error> {
        check(&shape, elements.len())?;
        Ok(TensorView { shape, elements })
    }

    /// The extent of each axis.
    pub fn shape(&self) -> [usize; RANK] {
        self.shape
    }

    /// The elements.
    pub fn elements(&self) -> &'a [T] {
        self.elements
    }

    /// The same tensor with its type known at run time.
    pub fn untyped(&self) -> crate::TensorView<'_> {
        match crate::TensorView::from_data(&self.shape, T::wrap_ref(self.elements)) {
            Some(view) => view,
            None => unreachable!("the shape was checked"),
        }
    }
}

/// An owned tensor of `RANK` axes.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor<T, const RANK: usize> {
    shape: [usize; RANK],
    elements: Vec<T>,
}

impl<T: Element, const RANK: usize> Tensor<T, RANK> {
    /// A tensor of `shape` with `elements`.
    ///
    /// # Errors
    /// If their number is not the product of `shape`.
    pub fn new(shape: [usize; RANK], elements: Vec<T>) -> Result<Self, Error> {
        check(&shape, elements.len())?;
        Ok(Tensor { shape, elements })
    }

    /// The tensor, if it is of this type; otherwise a sentence's end that says what it is.
    pub(super) fn from_untyped(tensor: crate::Tensor) -> Result<Self, String> {
        let (dtype, rank) = (tensor.dtype(), tensor.rank());
        let refuse = || format!("is {dtype} of rank {rank}, expected {} of rank {RANK}", T::DTYPE);
        let (shape, data) = tensor.into_parts();
        let shape = shape.try_into().map_err(|_| refuse())?;
        let elements = T::unwrap(data).map_err(|_| refuse())?;
        Ok(Tensor { shape, elements })
    }

    /// The extent of each axis.
    pub fn shape(&self) -> [usize; RANK] {
        self.shape
    }

    /// The elements.
    pub fn elements(&self) -> &[T] {
        &self.elements
    }

    /// The elements, for writing.
    pub fn elements_mut(&mut self) -> &mut [T] {
        &mut self.elements
    }

    /// The elements.
    pub fn into_elements(self) -> Vec<T> {
        self.elements
    }

    /// The tensor, borrowed.
    pub fn view(&self) -> TensorView<'_, T, RANK> {
        TensorView { shape: self.shape, elements: &self.elements }
    }
}

impl<T, const RANK: usize> Index<[usize; RANK]> for TensorView<'_, T, RANK> {
    type Output = T;

    /// # Panics
    /// If an index is out of range.
    fn index(&self, indices: [usize; RANK]) -> &T {
        &self.elements[position(&self.shape, &indices)]
    }
}

impl<T, const RANK: usize> Index<[usize; RANK]> for Tensor<T, RANK> {
    type Output = T;

    /// # Panics
    /// If an index is out of range.
    fn index(&self, indices: [usize; RANK]) -> &T {
        &self.elements[position(&self.shape, &indices)]
    }
}

impl<T, const RANK: usize> IndexMut<[usize; RANK]> for Tensor<T, RANK> {
    /// # Panics
    /// If an index is out of range.
    fn index_mut(&mut self, indices: [usize; RANK]) -> &mut T {
        &mut self.elements[position(&self.shape, &indices)]
    }
}

fn check(shape: &[usize], len: usize) -> Result<(), Error> {
    let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    if product == Some(len) { Ok(()) } else { Err(Error::Elements { shape: shape.to_vec(), found: len }) }
}

/// Where the element at `indices` is.
fn position(shape: &[usize], indices: &[usize]) -> usize {
    shape.iter().zip(indices).fold(0, |position, (&extent, &index)| {
        assert!(index < extent, "index {indices:?} is outside of shape {shape:?}");
        position * extent + index
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_row_major() {
        let mut tensor = Tensor::new([2, 3], vec![0i32, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!((tensor[[1, 0]], tensor.view()[[0, 2]]), (3, 2));
        tensor[[1, 2]] = 9;
        assert_eq!(tensor.view().untyped().to_tensor().elements::<i32>(), Some(&[0, 1, 2, 3, 4, 9][..]));
    }

    #[test]
    fn shapes_must_fit() {
        let error = TensorView::new([2, 2], &[1f32]).unwrap_err().to_string();
        assert_eq!(error, "a tensor of shape [2, 2] does not have 1 elements");
        assert!(TensorView::new([usize::MAX, 2], &[0u8; 4]).is_err());
        assert_eq!(TensorView::new([], &[7u8]).unwrap()[[]], 7);
    }
}
