//! Sharing an output among threads: each gets whole rows of it, so that results do not depend on how many there are.

use crate::abi::Parallel;
use std::ops::Range;

/// Below this many units of work (an element copied, a multiplication …) one thread is quicker than several.
pub(crate) const MIN_WORK: usize = 1 << 15;

/// A mutable slice that threads take disjoint parts of.
pub(crate) struct Shared<T>(*mut T);

// SAFETY: Whoever calls `part` gives each thread a range of its own.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares `slice`, which must outlive the result.
    pub(crate) fn new(slice: &mut [T]) -> Shared<T> {
        Shared(slice.as_mut_ptr())
    }

    /// Elements `range`.
    ///
    /// # Safety
    /// `range` lies in the slice, which lives, and nothing else accesses it while the result lives.
    #[expect(clippy::mut_from_ref, reason = "the parts are disjoint by contract")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: The caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

/// Calls `body(first row, rows)` on consecutive parts of `out`, whose rows are `row` elements long. `work` is the cost of
/// a row. Elements past the last whole row are not visited.
pub(crate) fn rows<T: Send>(
    pool: &dyn Parallel,
    out: &mut [T],
    row: usize,
    work: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let n_rows = out.len().checked_div(row).unwrap_or(0);
    if n_rows == 0 {
        return;
    }
    if n_rows == 1 || n_rows.saturating_mul(work) < MIN_WORK || pool.threads() == 1 {
        return body(0, &mut out[..n_rows * row]);
    }
    let shared = Shared::new(out);
    pool.run(n_rows, &|range, _| {
        // SAFETY: Ranges of rows are disjoint and below `n_rows`.
        let part = unsafe { shared.part(range.start * row..range.end * row) };
        body(range.start, part);
    });
}

/// [`rows`] over two outputs with rows of their own lengths; both have the same number of rows.
pub(crate) fn rows2<T: Send, U: Send>(
    pool: &dyn Parallel,
    (a, a_row): (&mut [T], usize),
    (b, b_row): (&mut [U], usize),
    work: usize,
    body: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let n_rows = a.len().checked_div(a_row).unwrap_or(0).min(b.len().checked_div(b_row).unwrap_or(0));
    if n_rows == 0 {
        return;
    }
    if n_rows == 1 || n_rows.saturating_mul(work) < MIN_WORK || pool.threads() == 1 {
        return body(0, &mut a[..n_rows * a_row], &mut b[..n_rows * b_row]);
    }
    let (a, b) = (Shared::new(a), Shared::new(b));
    pool.run(n_rows, &|range, _| {
        // SAFETY: Ranges of rows are disjoint and below `n_rows`, for both outputs.
        let (a, b) =
            unsafe { (a.part(range.start * a_row..range.end * a_row), b.part(range.start * b_row..range.end * b_row)) };
        body(range.start, a, b);
    });
}

/// Defines `$name` as a body that is also compiled for AVX2 and AVX-512, and chooses when called. Results are the same: the
/// compiler neither contracts nor reorders floating-point arithmetic.
macro_rules! vectorized {
    ($(#[$doc:meta])* $vis:vis fn $name:ident $(<$($generic:ident : $bound:path),*>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name $(<$($generic: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body $(<$($generic: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($generic: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq")]
            fn avx512 $(<$($generic: $bound),*>)? ($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            match $crate::isa::Isa::detect() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: The processor has what the function is compiled for.
                $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: As above.
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(crate) use vectorized;
