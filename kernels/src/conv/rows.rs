//! A convolution's output pixels as rows of a matrix: pointers to the input pixel under each tap.

use super::shape::Image;
use crate::gemm::Rows;

/// The taps along one axis: output `i` reads inputs `i * stride + first + tap * step`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    pub(crate) count: usize,
    pub(crate) first: isize,
    pub(crate) step: isize,
    pub(crate) stride: isize,
}

/// Rows are the pixels of `y`, in order; segments are the taps.
pub(crate) struct PixelRows {
    /// The input, from the first channel of the group on.
    pub(crate) x: Image,
    /// Taps on height and width.
    pub(crate) taps: [Taps; 2],
    /// Zeros in place of a pixel outside of the input.
    pub(crate) zeros: *const f32,
    /// The pixels of the result that the rows are.
    pub(crate) y: Image,
    /// Offset of its first pixel from the start of the result.
    pub(crate) y_offset: isize,
}

// SAFETY: the input is only read.
unsafe impl Sync for PixelRows {}

impl PixelRows {
    /// Number of segments.
    pub(crate) fn segments(&self) -> usize {
        self.taps[0].count * self.taps[1].count
    }
}

impl Rows for PixelRows {
    unsafe fn locate(&self, first: usize, pointers: *mut *const f32, offsets: &mut [isize], _copies: *mut f32) {
        let n_rows = offsets.len();
        let [height, width] = self.y.extent;
        let [taps_h, taps_w] = self.taps;
        let (mut n, mut i, mut j) = (first / width / height, first / width % height, first % width);
        for (row, offset) in offsets.iter_mut().enumerate() {
            let (h, w) = (i as isize, j as isize);
            *offset = self.y_offset + n as isize * self.y.n_stride + h * self.y.stride[0] + w * self.y.stride[1];
            let image = self.x.data.cast_const().wrapping_offset(n as isize * self.x.n_stride);
            let mut at = pointers.wrapping_add(row);
            let mut from_h = h * taps_h.stride + taps_h.first;
            for _ in 0..taps_h.count {
                let inside_h = (from_h as usize) < self.x.extent[0];
                let line = image.wrapping_offset(from_h.wrapping_mul(self.x.stride[0]));
                let mut from_w = w * taps_w.stride + taps_w.first;
                for _ in 0..taps_w.count {
                    let inside = inside_h & ((from_w as usize) < self.x.extent[1]);
                    let pixel = line.wrapping_offset(from_w.wrapping_mul(self.x.stride[1]));
                    // SAFETY: there is room for a pointer for each row and tap.
                    unsafe { *at = if inside { pixel } else { self.zeros } };
                    at = at.wrapping_add(n_rows);
                    from_w += taps_w.step;
                }
                from_h += taps_h.step;
            }
            j += 1;
            if j == width {
                (i, j) = (i + 1, 0);
                if i == height {
                    (n, i) = (n + 1, 0);
                }
            }
        }
    }
}
