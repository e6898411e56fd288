//! Images of bytes as the integer convolutions read them: unsigned, padded where a row of the filter must be whole.

use crate::abi::Call;
use crate::conv::Image;
use crate::pack::Bytes;
use std::ops::Range;

/// A copy of an image, with its bytes made unsigned and its lines padded with a byte.
#[derive(Clone, Copy)]
pub(crate) struct Copy {
    pub(crate) from: Image<u8>,
    pub(crate) bytes: Bytes,
    /// Columns of a line of the copy.
    pub(crate) width: usize,
    /// Columns before the image's own.
    pub(crate) before: isize,
    /// What stands for a pixel outside.
    pub(crate) outside: u8,
    pub(crate) to: *mut u8,
}

// SAFETY: threads write disjoint lines.
unsafe impl Sync for Copy {}

impl Copy {
    /// The copy as an image.
    pub(crate) fn image(&self) -> Image<u8> {
        let line = (self.width * self.from.channels) as isize;
        Image {
            data: self.to,
            extent: [self.from.extent[0], self.width],
            n_stride: self.from.extent[0] as isize * line,
            stride: [line, self.from.channels as isize],
            ..self.from
        }
    }

    /// Makes the copy on the threads of `call`.
    ///
    /// # Safety
    /// The image is readable, the copy's memory writable.
    pub(crate) unsafe fn make(&self, call: &Call) {
        call.pool.run(self.from.n * self.from.extent[0], &|lines: Range<usize>, _| {
            // SAFETY: the caller vouches for both; threads have disjoint lines.
            lines.for_each(|line| unsafe { self.copy_line(line) });
        });
    }

    unsafe fn copy_line(&self, line: usize) {
        let Image { channels, extent, n_stride, stride, .. } = self.from;
        let (n, h) = ((line / extent[0]) as isize, (line % extent[0]) as isize);
        let flip = if self.bytes == Bytes::Signed { 0x80 } else { 0 };
        // SAFETY: the caller vouches for both images.
        unsafe {
            let to = self.to.add(line * self.width * channels);
            let from = self.from.data.offset(n * n_stride + h * stride[0]);
            // Columns of the copy that are the image's own.
            let first = self.before.max(0) as usize;
            let end = (self.before + extent[1] as isize).clamp(0, self.width as isize) as usize;
            to.write_bytes(self.outside, first.min(self.width) * channels);
            to.add(end * channels).write_bytes(self.outside, (self.width - end) * channels);
            if stride[1] == channels as isize && flip == 0 && first < end {
                let skipped = (first as isize - self.before) * stride[1];
                let len = (end - first) * channels;
                std::ptr::copy_nonoverlapping(from.offset(skipped), to.add(first * channels), len);
                return;
            }
            for column in first..end {
                let (from, to) = (from.offset((column as isize - self.before) * stride[1]), to.add(column * channels));
                (0..channels).for_each(|c| *to.add(c) = *from.add(c) ^ flip);
            }
        }
    }
}
