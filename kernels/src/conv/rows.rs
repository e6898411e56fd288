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
pub(crate) struct PixelRows<T = f32> {
    /// The input, from the first channel of the group on.
    pub(crate) x: Image<T>,
    /// Taps on height and width.
    pub(crate) taps: [Taps; 2],
    /// Zeros in place of a pixel outside of the input.
    pub(crate) zeros: *const T,
    /// The pixels of the result that the rows are.
    pub(crate) y: Image<T>,
    /// Offset of its first pixel from the start of the result.
    pub(crate) y_offset: isize,
}

// SAFETY: the input is only read.
unsafe impl<T> Sync for PixelRows<T> {}

impl<T> Rows<T> for PixelRows<T> {
    unsafe fn locate(&self, first: usize, pointers: *mut *const T, offsets: &mut [isize], _copies: *mut T) {
        if let Some([from, to]) = self.even_steps() {
            for (i, offset) in offsets.iter_mut().enumerate() {
                let row = (first + i) as isize;
                *offset = self.y_offset + row * to;
                // SAFETY: there is room for a pointer for each row.
                unsafe { *pointers.add(i) = self.x.data.cast_const().wrapping_offset(row * from) };
            }
            return;
        }
        let [height, width] = self.y.extent;
        let (mut n, mut i, mut j) = (first / width / height, first / width % height, first % width);
        let mut row = 0;
        while row < offsets.len() {
            // Pixels of one line of the result.
            let end = offsets.len().min(row + width - j);
            let start = self.y_offset + n as isize * self.y.n_stride + i as isize * self.y.stride[0];
            for (column, offset) in (j..).zip(&mut offsets[row..end]) {
                *offset = start + column as isize * self.y.stride[1];
            }
            let line = Line { n: n as isize, i: i as isize, j: j as isize, len: end - row };
            // SAFETY: there is room for a pointer for each row and tap.
            unsafe { self.locate_line(line, pointers.add(row), offsets.len()) };
            (row, i, j) = (end, i + 1, 0);
            if i == height {
                (n, i) = (n + 1, 0);
            }
        }
    }
}

/// Pixels `j..j + len` of line `i` of image `n` of the result.
#[derive(Clone, Copy)]
struct Line {
    n: isize,
    i: isize,
    j: isize,
    len: usize,
}

impl<T> PixelRows<T> {
    /// The steps between neighbouring rows in the input and in the result, if they are the same everywhere: under one tap
    /// that meets each pixel, of images without gaps.
    fn even_steps(&self) -> Option<[isize; 2]> {
        let one_tap = self.taps.iter().all(|taps| taps.count == 1 && taps.first == 0 && taps.stride == 1);
        let has_no_gaps = |image: &Image<T>| {
            let [height, width] = image.extent.map(|extent| extent as isize);
            image.stride[0] == width * image.stride[1] && (image.n == 1 || image.n_stride == height * image.stride[0])
        };
        let even = one_tap && self.x.extent == self.y.extent && has_no_gaps(&self.x) && has_no_gaps(&self.y);
        even.then(|| [self.x.stride[1], self.y.stride[1]])
    }

    /// Writes the pointers under each tap of a line's pixels; those of one tap are `n_rows` from those of the next.
    unsafe fn locate_line(&self, line: Line, pointers: *mut *const T, n_rows: usize) {
        let [taps_h, taps_w] = self.taps;
        let [extent_h, extent_w] = self.x.extent;
        let image = self.x.data.cast_const().wrapping_offset(line.n * self.x.n_stride);
        let step = taps_w.stride * self.x.stride[1];
        let mut tap = pointers;
        for kh in 0..taps_h.count as isize {
            let h = line.i * taps_h.stride + taps_h.first + kh * taps_h.step;
            let source = image.wrapping_offset(h.wrapping_mul(self.x.stride[0]));
            for kw in 0..taps_w.count as isize {
                let w = line.j * taps_w.stride + taps_w.first + kw * taps_w.step;
                let last = w + (line.len as isize - 1) * taps_w.stride;
                let pixel = source.wrapping_offset(w.wrapping_mul(self.x.stride[1]));
                let inside_h = (h as usize) < extent_h;
                let inside = inside_h && w >= 0 && last < extent_w as isize;
                for i in 0..line.len {
                    let column = w + i as isize * taps_w.stride;
                    let is_pixel = inside || (inside_h && (column as usize) < extent_w);
                    let pixel = pixel.wrapping_offset(i as isize * step);
                    // SAFETY: there is room for a pointer for each row and tap.
                    unsafe { *tap.add(i) = if is_pixel { pixel } else { self.zeros } };
                }
                tap = tap.wrapping_add(n_rows);
            }
        }
    }
}
