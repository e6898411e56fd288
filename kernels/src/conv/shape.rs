//! What the convolutions read from a call: extents, strides and attributes, checked.

use crate::abi::{Call, KernelError, Operand};
use crate::pack::PANEL;
use std::ops::Range;

/// The attributes of every convolution.
pub(crate) const ATTRS: &[&str] =
    &["kernel_h", "kernel_w", "stride_h", "stride_w", "pad_top", "pad_left", "dilation_h", "dilation_w", "groups"];

/// Attributes; pairs are (height, width).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attrs {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) pad: [isize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

impl Attrs {
    /// Reads the attributes in the order of [`ATTRS`].
    pub(crate) fn of(attrs: &[i64]) -> Result<Attrs, KernelError> {
        let &[kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups] = attrs else {
            return Err(KernelError(format!(
                "convolution: expected {} attributes, found {}",
                ATTRS.len(),
                attrs.len()
            )));
        };
        let sizes = [kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, groups];
        if let Some(size) = sizes.iter().find(|&&size| !(1..=1 << 24).contains(&size)) {
            return Err(KernelError(format!("convolution: kernel, stride, dilation and groups cannot be {size}")));
        }
        let [kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, groups] = sizes.map(|size| size as usize);
        Ok(Attrs {
            kernel: [kernel_h, kernel_w],
            stride: [stride_h, stride_w],
            pad: [pad_top as isize, pad_left as isize],
            dilation: [dilation_h, dilation_w],
            groups,
        })
    }

    /// Number of taps.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// A tensor `[N, H, W, C]` whose channels are contiguous.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image<T = f32> {
    pub(crate) data: *mut T,
    pub(crate) n: usize,
    /// Height and width.
    pub(crate) extent: [usize; 2],
    pub(crate) channels: usize,
    pub(crate) n_stride: isize,
    /// Strides of height and width.
    pub(crate) stride: [isize; 2],
}

/// Neighbouring pixels of a line that one thread computes: those of a narrow tile.
const GROUP: usize = 4;

impl<T> Image<T> {
    /// Number of groups of pixels of all lines.
    pub(crate) fn groups(&self) -> usize {
        self.n * self.extent[0] * self.extent[1].div_ceil(GROUP)
    }

    /// What threads share: groups of pixels, or panels of channels where the image is so small that products before share
    /// their columns, as weights outweigh it; an inner layer has about six times the channels of the one before.
    pub(crate) fn shares(&self) -> usize {
        if self.shares_channels() { self.channels.div_ceil(PANEL) } else { self.groups() }
    }

    fn shares_channels(&self) -> bool {
        self.pixels() < self.channels / 4
    }

    /// The groups of pixels and the channels of a range of [`shares`](Self::shares).
    pub(crate) fn share(&self, range: Range<usize>) -> (Range<usize>, Range<usize>) {
        match self.shares_channels() {
            true => (0..self.groups(), range.start * PANEL..self.channels.min(range.end * PANEL)),
            false => (range, 0..self.channels),
        }
    }

    /// The pixels of some groups, as images with lines and columns of them: whole lines, and what there is of others. So
    /// threads have equal shares of an image of few lines, and nearly those of the products before and after.
    pub(crate) fn strips(&self, groups: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
        let ([height, width], each) = (self.extent, self.extent[1].div_ceil(GROUP));
        let mut next = groups.start;
        std::iter::from_fn(move || {
            let left = groups.end.checked_sub(next).filter(|&left| left > 0)?;
            let (line, first) = (next / each, next % each);
            let (n, line) = (line / height, line % height);
            if first == 0 && left >= each {
                let lines = line..height.min(line + left / each);
                next += lines.len() * each;
                return Some((n, lines, 0..width));
            }
            let end = each.min(first + left);
            next += end - first;
            Some((n, line..line + 1, first * GROUP..width.min(end * GROUP)))
        })
    }

    pub(crate) fn of(operand: &Operand) -> Result<Image<T>, KernelError> {
        let (&[n, h, w, c], &[n_stride, h_stride, w_stride, c_stride]) = (operand.shape, operand.strides) else {
            return Err(KernelError(format!("convolution: expected [N, H, W, C], found {:?}", operand.shape)));
        };
        if c > 1 && c_stride != 1 {
            return Err(KernelError(format!("convolution: channels must be contiguous, found stride {c_stride}")));
        }
        Ok(Image {
            data: operand.data.cast(),
            n: n as usize,
            extent: [h as usize, w as usize],
            channels: c as usize,
            n_stride: n_stride as isize,
            stride: [h_stride as isize, w_stride as isize],
        })
    }

    /// Number of pixels of all images.
    pub(crate) fn pixels(&self) -> usize {
        self.n * self.extent[0] * self.extent[1]
    }
}

/// The operands `x`, `w`, `y` of a convolution.
pub(crate) fn operands<'a>(call: &'a Call) -> Result<(Image, &'a Operand<'a>, Image), KernelError> {
    let [x, w, y] = call.operands else {
        return Err(KernelError(format!("convolution: expected 3 operands, found {}", call.operands.len())));
    };
    Ok((Image::of(x)?, w, Image::of(y)?))
}

/// Checks that channels divide into groups and that the batches agree.
pub(crate) fn check<T, U>(x: &Image<T>, y: &Image<U>, groups: usize) -> Result<(), KernelError> {
    let divides = |channels: usize| channels.is_multiple_of(groups);
    if divides(x.channels) && divides(y.channels) && (x.n == y.n) {
        return Ok(());
    }
    let (from, to) = ((x.n, x.channels), (y.n, y.channels));
    Err(KernelError(format!("convolution: (batch, channels) {from:?} to {to:?} does not go in {groups} groups")))
}
