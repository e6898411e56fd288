//! The extents of a channels-first convolution, and which input is under which tap.

use crate::abi::{KernelError, Operand};
use std::ops::Range;

/// Spatial axes at most; images of fewer get leading ones of extent 1.
const MAX_SPATIAL: usize = 3;

/// The extents of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) transposed: bool,
    pub(crate) images: usize,
    pub(crate) groups: usize,
    /// Channels of one group.
    pub(crate) inputs: usize,
    /// Channels of the result of one group.
    pub(crate) outputs: usize,
    /// Spatial extents of the input and of the result.
    pub(super) from: [usize; MAX_SPATIAL],
    pub(super) to: [usize; MAX_SPATIAL],
    pub(super) kernel: [usize; MAX_SPATIAL],
    pub(super) strides: [usize; MAX_SPATIAL],
    pub(super) dilations: [usize; MAX_SPATIAL],
    pub(super) pads: [i64; MAX_SPATIAL],
}

/// The last extents of a list, after as many of `fill` as it is shorter than [`MAX_SPATIAL`].
fn spatial<T: Copy>(list: &[T], fill: T) -> [T; MAX_SPATIAL] {
    let mut found = [fill; MAX_SPATIAL];
    found[MAX_SPATIAL - list.len()..].copy_from_slice(list);
    found
}

impl Geometry {
    /// The geometry of operands x, w, bias and y. `attrs` are groups, strides, dilations and pads before.
    pub(crate) fn of(operands: &[Operand], attrs: &[i64], transposed: bool) -> Result<Geometry, KernelError> {
        let ([x, w, b, y], [groups, window @ ..]) = (operands, attrs) else {
            return Err(KernelError("convolution: expected x, w, bias and y, groups and a window".into()));
        };
        let ([n, c, from @ ..], [first, second, kernel @ ..], [y_n, m, to @ ..]) = (x.shape, w.shape, y.shape) else {
            return Err(KernelError("convolution: expected operands of 3 axes or more".into()));
        };
        let ([n, c, first, second], [y_n, m, groups]) = ([*n, *c, *first, *second], [*y_n, *m, *groups]);
        let rank = from.len();
        let ranks = (1..=MAX_SPATIAL).contains(&rank) && kernel.len() == rank && to.len() == rank;
        if !ranks || window.len() != 3 * rank {
            return Err(KernelError(format!("convolution: {rank} spatial axes and a window {window:?}")));
        }
        let (sizes, pads) = window.split_at(2 * rank);
        if groups < 1 || sizes.iter().any(|size| !(1..=1 << 24).contains(size)) {
            return Err(KernelError(format!("convolution: groups {groups} and window {window:?} are out of range")));
        }
        let (weight_inputs, weight_outputs) =
            if transposed { (first, second * groups) } else { (second * groups, first) };
        let fits = (weight_inputs, weight_outputs, y_n) == (c, m, n) && c % groups == 0 && m % groups == 0;
        if !fits || (b.is_present() && b.shape != [m]) {
            return Err(KernelError(format!(
                "convolution: {:?} and weights {:?} do not give {:?}",
                x.shape, w.shape, y.shape
            )));
        }
        let extents = |list: &[i64]| spatial(list, 1).map(|extent| extent.max(0) as usize);
        let found = Geometry {
            transposed,
            images: n as usize,
            groups: groups as usize,
            inputs: (c / groups) as usize,
            outputs: (m / groups) as usize,
            from: extents(from),
            to: extents(to),
            kernel: extents(kernel),
            strides: extents(&sizes[..rank]),
            dilations: extents(&sizes[rank..]),
            pads: spatial(pads, 0),
        };
        Ok(found.as_one_row())
    }

    /// The same with all pixels on one axis, if each pixel of the result is of the same pixel of the input.
    fn as_one_row(self) -> Geometry {
        let ones = [1; MAX_SPATIAL];
        let is_pointwise = self.kernel == ones && self.strides == ones && self.pads == [0; MAX_SPATIAL];
        if !is_pointwise || self.from != self.to {
            return self;
        }
        let row = spatial(&[self.pixels()], 1);
        Geometry { from: row, to: row, ..self }
    }

    /// The pixels of the result from `pixel` on, `n` of them, as runs on the last axis: calls `each(how many came before, the
    /// first, how many)`.
    pub(crate) fn runs(&self, pixel: usize, n: usize, mut each: impl FnMut(usize, [usize; MAX_SPATIAL], usize)) {
        let [_, height, width] = self.to;
        let mut done = 0;
        while done < n {
            let at = pixel + done;
            let (row, column) = (at / width, at % width);
            let len = (width - column).min(n - done);
            each(done, [row / height, row % height, column], len);
            done += len;
        }
    }

    /// The pixels of the input under tap `tap` of a run of `n` pixels of the result that begins `at`: which of the run have
    /// one, and the first of those of the input; they lie [`step`](Self::step) apart. Not of a transposed convolution.
    pub(crate) fn under(&self, at: [usize; MAX_SPATIAL], n: usize, tap: usize) -> (Range<usize>, usize) {
        let [_, kernel_h, kernel_w] = self.kernel;
        let taps = [tap / kernel_w / kernel_h, tap / kernel_w % kernel_h, tap % kernel_w];
        let input =
            |axis: usize| (at[axis] * self.strides[axis] + taps[axis] * self.dilations[axis]) as i64 - self.pads[axis];
        let mut line = 0;
        for axis in 0..MAX_SPATIAL - 1 {
            let Some(i) = usize::try_from(input(axis)).ok().filter(|&i| i < self.from[axis]) else { return (0..0, 0) };
            line = line * self.from[axis] + i;
        }
        let (first, step, width) = (input(MAX_SPATIAL - 1), self.step() as i64, self.from[MAX_SPATIAL - 1] as i64);
        let low = (-first).max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as usize;
        let high = (width - first).max(0).unsigned_abs().div_ceil(step.unsigned_abs()) as usize;
        let (low, high) = (low.min(n), high.min(n));
        if low >= high {
            return (0..0, 0);
        }
        (low..high, (line as i64 * width + first + low as i64 * step) as usize)
    }

    /// How far apart the inputs of neighbours on the last axis are.
    pub(crate) fn step(&self) -> usize {
        self.strides[MAX_SPATIAL - 1]
    }

    /// Pixels of a channel of the input.
    pub(crate) fn area(&self) -> usize {
        self.from.iter().product()
    }

    /// Pixels of a channel of the result.
    pub(crate) fn pixels(&self) -> usize {
        self.to.iter().product()
    }

    /// Taps of a filter.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Multiply-adds for each element of the result.
    pub(crate) fn k(&self) -> usize {
        self.inputs * self.taps()
    }

    /// Runs of a filter that are contiguous in the weights.
    pub(crate) fn segments(&self) -> usize {
        if self.transposed { self.inputs } else { 1 }
    }

    /// Which pixel of the input meets tap `tap` for pixel `pixel` of the result; `None` if none does.
    pub(crate) fn source(&self, pixel: usize, tap: usize) -> Option<usize> {
        let (mut pixel, mut tap) = (pixel, tap);
        let (mut flat, mut step) = (0, 1);
        for axis in (0..MAX_SPATIAL).rev() {
            let (o, t) = ((pixel % self.to[axis]) as i64, (tap % self.kernel[axis]) as i64);
            (pixel, tap) = (pixel / self.to[axis], tap / self.kernel[axis]);
            let (stride, moved) = (self.strides[axis] as i64, t * self.dilations[axis] as i64);
            let i = if self.transposed {
                let scaled = o + self.pads[axis] - moved;
                if scaled % stride != 0 {
                    return None;
                }
                scaled / stride
            } else {
                o * stride + moved - self.pads[axis]
            };
            let i = usize::try_from(i).ok().filter(|&i| i < self.from[axis])?;
            flat += i * step;
            step *= self.from[axis];
        }
        (pixel == 0).then_some(flat)
    }
}
