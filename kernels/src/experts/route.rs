//! Rows by the expert that each chooses.

use crate::abi::{KernelError, Operand};
use ic_types::DType;
use std::ops::Range;

/// The rows of each expert, in order, in scratch.
#[derive(Clone, Copy)]
pub(super) struct Routes {
    /// Where the rows of each expert start in `order`, and the end.
    starts: *mut u32,
    /// Rows, expert after expert.
    order: *mut u32,
    n_experts: usize,
}

impl Routes {
    /// Bytes of scratch for `rows` rows.
    pub(super) fn bytes(n_experts: usize, rows: usize) -> usize {
        ((n_experts + 1 + rows) * size_of::<u32>()).next_multiple_of(64)
    }

    /// Sorts the rows by their expert; negative indices count from the end.
    ///
    /// # Errors
    /// If an index is out of range.
    ///
    /// # Safety
    /// `index` is dense and valid; `scratch` has room for [`bytes`](Self::bytes).
    pub(super) unsafe fn new(index: &Operand, n_experts: usize, scratch: *mut u8) -> Result<Routes, KernelError> {
        let starts = scratch.cast::<u32>();
        let routes = Routes { starts, order: starts.wrapping_add(n_experts + 1), n_experts };
        // SAFETY: the caller vouches for the scratch; experts are below `n_experts`, and each row has a place of its own.
        unsafe {
            starts.write_bytes(0, n_experts + 1);
            for row in 0..index.len() {
                *starts.add(expert(index, row, n_experts)?) += 1;
            }
            // Where each expert's rows end; filling from the back makes them where they start.
            let mut end = 0;
            for expert in 0..=n_experts {
                end += *starts.add(expert);
                *starts.add(expert) = end;
            }
            for row in (0..index.len()).rev() {
                let start = starts.add(expert(index, row, n_experts)?);
                *start -= 1;
                *routes.order.add(*start as usize) = row as u32;
            }
        }
        Ok(routes)
    }

    /// The experts that any row chooses, with their places in the order.
    pub(super) fn experts(self) -> impl Iterator<Item = (usize, Range<usize>)> {
        (0..self.n_experts).map(move |expert| (expert, self.places(expert))).filter(|(_, places)| !places.is_empty())
    }

    fn places(self, expert: usize) -> Range<usize> {
        // SAFETY: there is one start more than experts.
        unsafe { *self.starts.add(expert) as usize..*self.starts.add(expert + 1) as usize }
    }

    /// The row at a place of the order.
    pub(super) fn row(self, place: usize) -> usize {
        // SAFETY: callers ask for places that an expert has.
        unsafe { *self.order.add(place) as usize }
    }
}

/// The expert of a row.
unsafe fn expert(index: &Operand, row: usize, n_experts: usize) -> Result<usize, KernelError> {
    // SAFETY: the caller vouches for the row.
    let chosen = unsafe {
        match index.dtype {
            DType::I32 => i64::from(*index.data.cast::<i32>().add(row)),
            _ => *index.data.cast::<i64>().add(row),
        }
    };
    let wrapped = if chosen < 0 { chosen.saturating_add(n_experts as i64) } else { chosen };
    let inside = usize::try_from(wrapped).ok().filter(|&expert| expert < n_experts);
    inside.ok_or_else(|| KernelError(format!("expert {chosen} is chosen, there are {n_experts}")))
}
