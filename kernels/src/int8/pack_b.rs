//! Packing of B at run time, into the layout of [`pack_int8_matmul`](crate::pack::pack_int8_matmul).

use crate::pack::{Bytes, PANEL, Segments};
use crate::vector::{Dot, DotTask, Vector};
use std::ops::Range;

/// A strided matrix of bytes `[k, columns]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) data: *const u8,
    pub(crate) bytes: Bytes,
    pub(crate) k: usize,
    pub(crate) columns: usize,
    pub(crate) k_stride: isize,
    pub(crate) column_stride: isize,
}

// SAFETY: the matrix is only read.
unsafe impl Sync for Matrix {}

impl Matrix {
    /// K as one segment.
    pub(crate) fn segments(&self) -> Segments {
        Segments { count: 1, len: self.k }
    }

    /// Where the sums of the columns follow the packed panels.
    pub(crate) fn sums(&self, packed: *mut u8) -> *mut i32 {
        packed.wrapping_add(self.columns.div_ceil(PANEL) * self.segments().panel_bytes()).cast()
    }
}

/// Packs `panels` of `matrix` to their places in `packed`, with the sums of their columns.
///
/// # Safety
/// The machine has `D`; `matrix` is readable and `packed` has room for all its panels and sums.
pub(crate) unsafe fn pack_panels<D: Dot>(matrix: Matrix, panels: Range<usize>, packed: *mut u8) {
    for panel in panels {
        let task = PackPanel {
            matrix,
            column: panel * PANEL,
            to: packed.wrapping_add(panel * matrix.segments().panel_bytes()),
            sums: matrix.sums(packed).wrapping_add(panel * PANEL),
        };
        // SAFETY: the caller vouches for the matrix and the room.
        unsafe { D::vectorize(task) };
    }
}

struct PackPanel {
    matrix: Matrix,
    column: usize,
    to: *mut u8,
    sums: *mut i32,
}

impl DotTask for PackPanel {
    type Output = ();

    #[inline(always)]
    unsafe fn run<D: Dot>(self) {
        let Matrix { bytes, k, columns, .. } = self.matrix;
        let width = PANEL.min(columns - self.column);
        let flip = D::Vector::splat_bits(if bytes == Bytes::Unsigned { 0x8080_8080 } else { 0 });
        let ones = D::Vector::splat_bits(0x0101_0101);
        let mut sums = D::Vector::splat(0.0);
        let (mut quad, mut done) = (self.to, 0);
        while done < k {
            let n = 4.min(k - done);
            // What lies beyond the matrix stays 0.
            let there: [u32; PANEL] = std::array::from_fn(|j| if j < width { u32::MAX >> (8 * (4 - n)) } else { 0 });
            // SAFETY: the caller vouches for the matrix and the room.
            unsafe {
                let there = D::Vector::from_array(there.map(f32::from_bits));
                let lanes = self.quad::<D::Vector>(done, n, width).xor(flip).and(there);
                sums = D::dot(sums, ones, lanes);
                lanes.store(quad.cast());
            }
            (quad, done) = (quad.wrapping_add(4 * PANEL), done + n);
        }
        // SAFETY: there is room for the sums.
        unsafe { sums.store(self.sums.cast()) };
    }
}

impl PackPanel {
    /// Rows `first..first + n` of the panel's columns, a lane for each.
    #[inline(always)]
    unsafe fn quad<V: Vector>(&self, first: usize, n: usize, width: usize) -> V {
        let Matrix { data, k_stride, column_stride, .. } = self.matrix;
        let at = |i: usize, j: usize| {
            let row = data.wrapping_offset((first + i) as isize * k_stride);
            row.wrapping_offset((self.column + j) as isize * column_stride)
        };
        // SAFETY: the caller vouches for the matrix.
        unsafe {
            if column_stride == 1 {
                let mut lanes = V::splat(0.0);
                for i in (0..n).rev() {
                    let row = match width {
                        PANEL => V::load_bytes::<false>(at(i, 0)),
                        _ => V::load_bytes_partial::<false>(at(i, 0), width),
                    };
                    lanes = lanes.shift_left::<8>().or(row);
                }
                return lanes;
            }
            V::from_array(std::array::from_fn(|j| {
                let mut bytes = [0; 4];
                if j < width && k_stride == 1 && n == 4 {
                    bytes = at(0, j).cast::<[u8; 4]>().read_unaligned();
                } else if j < width {
                    bytes.iter_mut().enumerate().take(n).for_each(|(i, byte)| *byte = *at(i, j));
                }
                f32::from_bits(u32::from_le_bytes(bytes))
            }))
        }
    }
}
