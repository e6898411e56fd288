//! Packing of B at run time, into the layout of [`pack_matmul_b`](crate::pack::pack_matmul_b).

use crate::pack::PANEL;
use crate::vector::{Task, Vector};
use std::ops::Range;

/// A strided matrix `[k, columns]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) data: *const f32,
    pub(crate) k: usize,
    pub(crate) columns: usize,
    pub(crate) k_stride: isize,
    pub(crate) column_stride: isize,
}

// SAFETY: the matrix is only read.
unsafe impl Sync for Matrix {}

/// Packs `panels` of `matrix`, the first of them to `packed`.
///
/// # Safety
/// The machine has `V`; `matrix` is readable and `packed` has room for these panels.
pub(crate) unsafe fn pack_panels<V: Vector>(matrix: Matrix, panels: Range<usize>, packed: *mut f32) {
    for (panel, at) in panels.zip(0..) {
        let column = panel * PANEL;
        let task = PackPanel {
            from: matrix.data.wrapping_offset(column as isize * matrix.column_stride),
            width: PANEL.min(matrix.columns - column),
            to: packed.wrapping_add(at * matrix.k * PANEL),
            matrix,
        };
        // SAFETY: the caller vouches for the matrix and the room.
        unsafe { V::vectorize(task) };
    }
}

struct PackPanel {
    from: *const f32,
    width: usize,
    to: *mut f32,
    matrix: Matrix,
}

impl Task for PackPanel {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Matrix { k, k_stride, column_stride, .. } = self.matrix;
        let at = |i: usize, j: usize| {
            self.from.wrapping_offset(i as isize * k_stride).wrapping_offset(j as isize * column_stride)
        };
        // SAFETY: the caller vouches for the matrix and the room; `width` columns exist.
        unsafe {
            let mut done = 0;
            if column_stride == 1 {
                while done < k {
                    let row = if self.width == PANEL {
                        V::load(at(done, 0))
                    } else {
                        V::load_partial(at(done, 0), self.width)
                    };
                    row.store(self.to.add(done * PANEL));
                    done += 1;
                }
            } else if k_stride == 1 {
                while done < k {
                    let n = PANEL.min(k - done);
                    let mut block = [V::splat(0.0); PANEL];
                    for (j, lanes) in block.iter_mut().enumerate().take(self.width) {
                        *lanes = if n == PANEL { V::load(at(done, j)) } else { V::load_partial(at(done, j), n) };
                    }
                    V::transpose(&mut block);
                    for (i, lanes) in block.iter().enumerate().take(n) {
                        lanes.store(self.to.add((done + i) * PANEL));
                    }
                    done += n;
                }
            } else {
                while done < k {
                    for j in 0..PANEL {
                        *self.to.add(done * PANEL + j) = if j < self.width { *at(done, j) } else { 0.0 };
                    }
                    done += 1;
                }
            }
        }
    }
}
