//! Matrices whose rows and columns change places, in blocks of 16 by 16 that stay in registers.

use crate::vector::{LANES, Task, Vector};

/// `y[i * y_stride + j] = x[i + j * x_stride]` for `i < rows` and `j < columns`.
pub(crate) struct Block {
    pub(crate) x: *const f32,
    pub(crate) x_stride: isize,
    pub(crate) y: *mut f32,
    pub(crate) y_stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Task for Block {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Block { x, x_stride, y, y_stride, rows, columns } = self;
        for row in (0..rows).step_by(LANES) {
            let height = LANES.min(rows - row);
            for column in (0..columns).step_by(LANES) {
                let width = LANES.min(columns - column);
                let mut lanes = [V::splat(0.0); LANES];
                // SAFETY: the caller vouches for both blocks.
                unsafe {
                    for (j, lanes) in lanes.iter_mut().enumerate().take(width) {
                        let from = x.wrapping_offset((column + j) as isize * x_stride).wrapping_add(row);
                        *lanes = if height == LANES { V::load(from) } else { V::load_partial(from, height) };
                    }
                    V::transpose(&mut lanes);
                    for (i, lanes) in lanes.iter().enumerate().take(height) {
                        let to = y.wrapping_add((row + i) * y_stride + column);
                        if width == LANES { lanes.store(to) } else { lanes.store_partial(to, width) }
                    }
                }
            }
        }
    }
}
