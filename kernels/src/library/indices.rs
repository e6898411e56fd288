//! Index tensors: i32 or i64, negative ones counting from the end.

use super::args::{Args, error};
use crate::abi::KernelError;
use ic_types::DType;

/// A tensor of indices or sizes.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    /// 32-bit.
    I32(&'a [i32]),
    /// 64-bit.
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// The elements of input `index`.
    pub(crate) fn new(args: &Args<'a>, index: usize) -> Result<Indices<'a>, KernelError> {
        match args.dtype(index)? {
            DType::I32 => Ok(Indices::I32(args.input(index)?)),
            DType::I64 => Ok(Indices::I64(args.input(index)?)),
            dtype => Err(error(format!("expected indices of type i32 or i64, found {dtype}"))),
        }
    }

    /// Number of elements.
    pub(crate) fn len(self) -> usize {
        match self {
            Indices::I32(v) => v.len(),
            Indices::I64(v) => v.len(),
        }
    }

    /// Element `i`.
    #[inline]
    pub(crate) fn get(self, i: usize) -> i64 {
        match self {
            Indices::I32(v) => i64::from(v[i]),
            Indices::I64(v) => v[i],
        }
    }

    /// Element `i` as a position on an axis of `extent` elements, once [`check`](Self::check) has passed.
    #[inline]
    pub(crate) fn position(self, i: usize, extent: usize) -> usize {
        let index = self.get(i);
        if index < 0 { index.wrapping_add(extent as i64) as usize } else { index as usize }
    }

    /// Fails unless every element is a position on `axis`, which has `extent` elements.
    pub(crate) fn check(self, axis: usize, extent: usize) -> Result<(), KernelError> {
        let limit = extent as i64;
        let bad = |index: &i64| *index < -limit || *index >= limit;
        let found = match self {
            Indices::I32(v) => v.iter().map(|&index| i64::from(index)).find(bad),
            Indices::I64(v) => v.iter().copied().find(bad),
        };
        found.map_or(Ok(()), |index| Err(out_of_range(index, axis, extent)))
    }
}

/// The refusal of an index.
pub(crate) fn out_of_range(index: i64, axis: usize, extent: usize) -> KernelError {
    error(format!("index {index} is out of range for axis {axis} with {extent} elements"))
}
