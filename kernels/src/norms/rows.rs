//! Rows of dense tensors, shared among threads, and reductions of a row.

use crate::abi::{Call, KernelError, Operand};
use crate::vector::{LANES, Task, Vector};
use std::ops::Range;

/// The rows of an input and of the result, which may be the input.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    x: *const f32,
    y: *mut f32,
    n_rows: usize,
    /// Elements of a row.
    pub(super) len: usize,
}

// SAFETY: threads read and write disjoint rows.
unsafe impl Sync for Rows {}

impl Rows {
    /// The rows of `x` and `y`, which have the same shape.
    pub(super) fn of(x: &Operand, y: &Operand) -> Result<Rows, KernelError> {
        if x.shape != y.shape {
            return Err(KernelError(format!("normalization: {:?} gives {:?}", x.shape, y.shape)));
        }
        let len = x.shape.last().map_or(1, |&n| n as usize);
        let n_rows = x.len().checked_div(len).unwrap_or(0);
        Ok(Rows { x: x.data.cast(), y: y.data.cast(), n_rows, len })
    }

    /// Runs `task(x, y)` on each row.
    ///
    /// # Safety
    /// The machine has `V`; the rows are valid.
    pub(super) unsafe fn for_each<V: Vector, T: Task<Output = ()>>(
        self,
        call: &Call,
        task: impl Fn(*const f32, *mut f32, usize) -> T + Sync,
    ) {
        let rows = &self;
        let body = |range: Range<usize>, _: usize| {
            for row in range {
                let at = row * rows.len;
                // SAFETY: the caller vouches for the instruction set and the rows.
                unsafe { V::vectorize(task(rows.x.wrapping_add(at), rows.y.wrapping_add(at), rows.len)) };
            }
        };
        // Waking threads costs more than a few rows.
        if self.n_rows * self.len < 1 << 13 {
            body(0..self.n_rows, 0);
        } else {
            call.pool.run(self.n_rows, &body);
        }
    }
}

/// Runs a block for each vector of a row, `x` its elements `at..at + width`, then zeros. A macro, because a closure that is
/// not inlined is not compiled for the instruction set either. The row is readable.
macro_rules! for_each_vector {
    ($row:expr, $n:expr, |$x:ident, $at:ident, $width:ident| $body:block) => {{
        let (row, n): (*const f32, usize) = ($row, $n);
        let whole = n / $crate::vector::LANES * $crate::vector::LANES;
        for $at in (0..whole).step_by($crate::vector::LANES) {
            let $width = $crate::vector::LANES;
            let $x = V::load(row.add($at));
            $body
        }
        if whole < n {
            let ($at, $width) = (whole, n - whole);
            let $x = V::load_partial(row.add(whole), n - whole);
            $body
        }
    }};
}
pub(super) use for_each_vector;

/// The sum over a row of an expression of `x`: 16 lanes, lane `i % 16` taking element `i`, then
/// [`Vector::sum`](crate::vector::Vector::sum). The row is readable.
macro_rules! sum {
    ($row:expr, $n:expr, |$x:ident| $term:expr) => {{
        let mut lanes = V::splat(0.0);
        $crate::norms::rows::for_each_vector!($row, $n, |$x, _at, width| {
            lanes = lanes.add($crate::norms::rows::first($term, width));
        });
        lanes.sum()
    }};
}
pub(super) use sum;

/// The first `n` lanes of `x`, then zeros.
#[inline(always)]
pub(super) fn first<V: Vector>(x: V, n: usize) -> V {
    if n == LANES {
        return x;
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: the array has 16 elements.
    unsafe {
        x.store_partial(lanes.as_mut_ptr(), n);
        V::load(lanes.as_ptr())
    }
}

/// Loads `n <= 16` elements, then zeros.
///
/// # Safety
/// They are readable.
#[inline(always)]
pub(super) unsafe fn load<V: Vector>(from: *const f32, n: usize) -> V {
    // SAFETY: the caller vouches for the elements.
    unsafe { if n == LANES { V::load(from) } else { V::load_partial(from, n) } }
}

/// Stores the first `n <= 16` lanes.
///
/// # Safety
/// They are writable.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(value: V, to: *mut f32, n: usize) {
    // SAFETY: the caller vouches for the elements.
    unsafe { if n == LANES { value.store(to) } else { value.store_partial(to, n) } }
}
