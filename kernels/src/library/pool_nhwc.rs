//! `f32_max_pool_nhwc`, `int8_max_pool_nhwc` and `f32_average_pool_nhwc`: pooling with channels last, vectors along the
//! channels.
//!
//! A window's taps are taken row by row, as the channels-first kernels do: results have the same bits.

use super::args::{Args, error, kernels};
use super::element::Element;
use super::split::{rows, vectorized};
use crate::abi::KernelError;
use ic_types::DType;
use std::ops::Range;

kernels! {
    /// ONNX `MaxPool` of `x[N, H, W, C]`; pads count elements at the beginning, the end is implied by `y`'s shape.
    F32_MAX_POOL_NHWC = "f32_max_pool_nhwc" ["x"] -> ["y"] {
        "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w", "pad_top", "pad_left"
    }, max_pool;
    /// ONNX `MaxPool` of `x[N, H, W, C]` of u8 or i8.
    INT8_MAX_POOL_NHWC = "int8_max_pool_nhwc" ["x"] -> ["y"] {
        "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w", "pad_top", "pad_left"
    }, max_pool_of_bytes;
    /// ONNX `AveragePool` of `x[N, H, W, C]`; all four pads, because `count_include_pad` needs them.
    F32_AVERAGE_POOL_NHWC = "f32_average_pool_nhwc" ["x"] -> ["y"] {
        "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w",
        "pad_top", "pad_left", "pad_bottom", "pad_right", "count_include_pad"
    }, average_pool;
}

/// Channels that stay in registers while the taps of a window pass.
const BLOCK: usize = 32;

/// As many of those that are left.
const HALF_BLOCK: usize = BLOCK / 2;

/// The windows along one axis.
#[derive(Clone, Copy)]
pub(crate) struct Axis {
    /// Elements of the input.
    pub(crate) extent: usize,
    /// Taps of a window.
    pub(crate) kernel: usize,
    /// Distance between neighbouring windows.
    pub(crate) stride: usize,
    /// Distance between neighbouring taps.
    pub(crate) dilation: usize,
    /// Elements before the first.
    pub(crate) pad: usize,
}

impl Axis {
    /// The taps of window `o` that are in the input, and the position of tap 0, which may be before it.
    pub(crate) fn taps(&self, o: usize) -> (Range<usize>, isize) {
        let first = (o * self.stride) as isize - self.pad as isize;
        // Mostly there is nothing to divide.
        let taps_in = |distance: isize| match (distance.max(0) as usize, self.dilation) {
            (distance, 0 | 1) => distance,
            (distance, dilation) => distance.div_ceil(dilation),
        };
        let begin = taps_in(-first).min(self.kernel);
        let end = taps_in(self.extent as isize - first).min(self.kernel);
        (begin..end.max(begin), first)
    }

    /// How many taps of window `o` lie before the end of the padding, `pad_end` elements after the input.
    pub(crate) fn padded_taps(&self, o: usize, pad_end: usize) -> usize {
        let room = (self.extent + self.pad + pad_end).saturating_sub(o * self.stride);
        room.div_ceil(self.dilation.max(1)).min(self.kernel)
    }
}

/// The geometry of a call: `x`'s and `y`'s height, width and channels, and the windows.
struct Geometry {
    axes: [Axis; 2],
    out: [usize; 2],
    channels: usize,
}

fn geometry(args: &Args) -> Result<Geometry, KernelError> {
    let (x, y) = (args.shape(0)?, args.output_shape(0)?);
    let (&[n, h, w, c], &[y_n, out_h, out_w, y_c]) = (&x[..], &y[..]) else {
        return Err(error("expected x and y of shape [N, H, W, C]"));
    };
    if (n, c) != (y_n, y_c) {
        return Err(error(format!("expected the batch and channels {n} and {c}, found {y_n} and {y_c}")));
    }
    let axis = |extent, i| -> Result<Axis, KernelError> {
        let (kernel, stride) = (args.extent(i)?, args.extent(2 + i)?);
        Ok(Axis { extent, kernel, stride, dilation: args.extent(4 + i)?, pad: args.extent(6 + i)? })
    };
    Ok(Geometry { axes: [axis(h, 0)?, axis(w, 1)?], out: [out_h, out_w], channels: c })
}

/// Calls `body(output pixel, the input image, taps)` for each output pixel, `C` elements long.
fn each_pixel<T: Element>(args: &mut Args, body: impl Fn(&mut [T], &[T], &Window) + Sync) -> Result<(), KernelError> {
    let g = geometry(args)?;
    let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
    let [h, w] = g.axes.map(|axis| axis.extent);
    let image = h * w * g.channels;
    let work = g.channels * g.axes[0].kernel * g.axes[1].kernel;
    rows(args.pool(), y, g.channels, work, |first, part| {
        let (row, mut ow) = (first / g.out[1], first % g.out[1]);
        let (mut n, mut oh) = (row / g.out[0], row % g.out[0]);
        for pixel in part.chunks_exact_mut(g.channels) {
            let ((taps_h, first_h), (taps_w, first_w)) = (g.axes[0].taps(oh), g.axes[1].taps(ow));
            let [dilation_h, dilation_w] = g.axes.map(|axis| axis.dilation);
            let begin_h = first_h + (taps_h.start * dilation_h) as isize;
            let begin_w = first_w + (taps_w.start * dilation_w) as isize;
            let inside = !taps_h.is_empty() && !taps_w.is_empty();
            let window = Window {
                begin: if inside { (begin_h as usize * w + begin_w as usize) * g.channels } else { 0 },
                taps: [taps_h.len(), taps_w.len()],
                steps: [dilation_h * w * g.channels, dilation_w * g.channels],
                at: [oh, ow],
            };
            body(pixel, &x[n * image..(n + 1) * image], &window);
            ow += 1;
            if ow == g.out[1] {
                (oh, ow) = (oh + 1, 0);
            }
            if oh == g.out[0] {
                (n, oh) = (n + 1, 0);
            }
        }
    });
    Ok(())
}

/// The taps of one output pixel that are in the input.
struct Window {
    /// Offset of the first in the image.
    begin: usize,
    /// Number of them along the height and the width.
    taps: [usize; 2],
    /// Distance between neighbours.
    steps: [usize; 2],
    /// The output position.
    at: [usize; 2],
}

fn max_pool(args: &mut Args) -> Result<(), KernelError> {
    each_pixel(args, |pixel, image, window| {
        reduce_max(pixel, image, window);
    })
}

fn max_pool_of_bytes(args: &mut Args) -> Result<(), KernelError> {
    match args.dtype(0)? {
        DType::U8 => each_pixel::<u8>(args, reduce_max_u8),
        DType::I8 => each_pixel::<i8>(args, reduce_max_i8),
        dtype => Err(error(format!("expected 8-bit integers, found {dtype}"))),
    }
}

fn average_pool(args: &mut Args) -> Result<(), KernelError> {
    let g = geometry(args)?;
    let ends = [args.extent(8)?, args.extent(9)?];
    let include_pad = args.flag(10)?;
    each_pixel(args, |pixel, image, window| {
        let count = match include_pad {
            true => g.axes[0].padded_taps(window.at[0], ends[0]) * g.axes[1].padded_taps(window.at[1], ends[1]),
            false => window.taps[0] * window.taps[1],
        };
        reduce_mean(pixel, image, window, count as f32);
    })
}

/// Folds the taps of a window over blocks of channels: `$each` joins an accumulator and a tap, `$last` finishes.
macro_rules! fold_taps {
    ($pixel:ident, $image:ident, $window:ident, $start:expr, $each:expr, $last:expr) => {{
        let (wide, rest) = $pixel.as_chunks_mut::<BLOCK>();
        let (narrow, rest) = rest.as_chunks_mut::<HALF_BLOCK>();
        let mut c = 0;
        for block in wide {
            fold_taps!(@block BLOCK, block, c, $image, $window, $start, $each, $last);
            c += BLOCK;
        }
        for block in narrow {
            fold_taps!(@block HALF_BLOCK, block, c, $image, $window, $start, $each, $last);
            c += HALF_BLOCK;
        }
        rest.fill($start);
        for i in 0..$window.taps[0] {
            for j in 0..$window.taps[1] {
                let from = $window.begin + i * $window.steps[0] + j * $window.steps[1] + c;
                for (acc, &v) in rest.iter_mut().zip(&$image[from..]) {
                    *acc = $each(*acc, v);
                }
            }
        }
        for to in rest {
            *to = $last(*to);
        }
    }};
    (@block $n:ident, $block:ident, $c:ident, $image:ident, $window:ident, $start:expr, $each:expr, $last:expr) => {{
        let mut acc = [$start; $n];
        for i in 0..$window.taps[0] {
            for j in 0..$window.taps[1] {
                let from = $window.begin + i * $window.steps[0] + j * $window.steps[1] + $c;
                for (acc, &v) in acc.iter_mut().zip(&$image[from..from + $n]) {
                    *acc = $each(*acc, v);
                }
            }
        }
        for (to, acc) in $block.iter_mut().zip(acc) {
            *to = $last(acc);
        }
    }};
}

/// The larger; NaN if either is.
#[inline(always)]
pub(crate) fn max(acc: f32, v: f32) -> f32 {
    if v > acc || v.is_nan() { v } else { acc }
}

vectorized! {
    fn reduce_max(pixel: &mut [f32], image: &[f32], window: &Window) {
        fold_taps!(pixel, image, window, f32::NEG_INFINITY, max, std::convert::identity);
    }
}

vectorized! {
    fn reduce_max_u8(pixel: &mut [u8], image: &[u8], window: &Window) {
        fold_taps!(pixel, image, window, u8::MIN, Ord::max, std::convert::identity);
    }
}

vectorized! {
    fn reduce_max_i8(pixel: &mut [i8], image: &[i8], window: &Window) {
        fold_taps!(pixel, image, window, i8::MIN, Ord::max, std::convert::identity);
    }
}

vectorized! {
    fn reduce_mean(pixel: &mut [f32], image: &[f32], window: &Window, count: f32) {
        fold_taps!(pixel, image, window, 0.0f32, |acc: f32, v: f32| acc + v, |acc: f32| acc / count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, assert_close, run, run_f32};

    /// Shape of x, kernel, strides, dilations, pads (top, left, bottom, right), shape of y.
    type Case = ([usize; 4], [i64; 2], [i64; 2], [i64; 2], [i64; 4], [usize; 2]);

    const CASES: &[Case] = &[
        ([1, 7, 5, 3], [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], [4, 3]),
        ([2, 9, 11, 37], [2, 3], [1, 2], [2, 1], [0, 1, 0, 1], [7, 6]),
        ([1, 1, 1, 64], [5, 5], [1, 1], [1, 1], [2, 2, 2, 2], [1, 1]),
        ([3, 12, 12, 65], [3, 3], [2, 2], [1, 1], [0, 0, 0, 0], [6, 6]),
        ([0, 4, 4, 8], [2, 2], [2, 2], [1, 1], [0, 0, 0, 0], [2, 2]),
        ([1, 20, 20, 256], [5, 5], [1, 1], [1, 1], [2, 2, 2, 2], [20, 20]),
    ];

    /// The taps of output channel (n, oh, ow, c) that are in the input, and how many are in the padded input.
    fn taps(case: &Case, x: &[f32], at: [usize; 4]) -> (Vec<f32>, usize) {
        let (shape, kernel, strides, dilations, pads, _) = case;
        let (mut inside, mut padded) = (Vec::new(), 0);
        for i in 0..kernel[0] {
            for j in 0..kernel[1] {
                let h = at[1] as i64 * strides[0] + i * dilations[0] - pads[0];
                let w = at[2] as i64 * strides[1] + j * dilations[1] - pads[1];
                let (height, width) = (shape[1] as i64, shape[2] as i64);
                padded += usize::from(h < height + pads[2] && w < width + pads[3]);
                if (0..height).contains(&h) && (0..width).contains(&w) {
                    inside.push(x[((at[0] * shape[1] + h as usize) * shape[2] + w as usize) * shape[3] + at[3]]);
                }
            }
        }
        (inside, padded)
    }

    fn check(kernel: &crate::abi::Kernel, extra: &[i64], expected: impl Fn(&[f32], usize) -> f32) {
        let mut random = Random(1);
        for case in CASES {
            let (shape, window, strides, dilations, pads, out) = case;
            let x = random.f32s(shape.iter().product());
            let to = [shape[0], out[0], out[1], shape[3]];
            let n_pads = if extra.is_empty() { 2 } else { 4 };
            let attrs: Vec<i64> = [&window[..], strides, dilations, &pads[..n_pads], extra].concat();
            let found = run_f32(kernel, &[Buffer::f32(shape, &x)], &attrs, &to);
            let all: Vec<f32> = (0..found.len())
                .map(|flat| {
                    let at = [
                        flat / to[3] / to[2] / to[1],
                        flat / to[3] / to[2] % to[1],
                        flat / to[3] % to[2],
                        flat % to[3],
                    ];
                    let (inside, padded) = taps(case, &x, at);
                    expected(&inside, padded)
                })
                .collect();
            assert_close(&found, &all, 0.0);
        }
    }

    #[test]
    fn max_pool_takes_the_largest_tap() {
        check(&F32_MAX_POOL_NHWC, &[], |taps, _| taps.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    }

    #[test]
    fn average_pool_divides_by_the_taps_that_count() {
        check(&F32_AVERAGE_POOL_NHWC, &[0], |taps, _| taps.iter().sum::<f32>() / taps.len() as f32);
        check(&F32_AVERAGE_POOL_NHWC, &[1], |taps, padded| taps.iter().sum::<f32>() / padded as f32);
    }

    #[test]
    fn max_pool_of_bytes_takes_the_largest_tap() {
        let x: Vec<u8> = vec![1, 200, 100, 2, 7, 128];
        for (dtype, expected) in [(DType::U8, [100u8, 200]), (DType::I8, [100, 2])] {
            let operand = Buffer::new(dtype, &[1, 3, 1, 2], &x);
            let output = Buffer::out::<u8>(dtype, &[1, 1, 1, 2]);
            let found = run(&INT8_MAX_POOL_NHWC, &[operand], &[3, 1, 1, 1, 1, 1, 0, 0], vec![output]);
            assert_eq!(found.expect("the kernel runs")[0].values::<u8>(), expected);
        }
    }

    #[test]
    fn max_pool_keeps_nan() {
        let x = [1.0, f32::NAN, 3.0, 2.0];
        let found =
            run_f32(&F32_MAX_POOL_NHWC, &[Buffer::f32(&[1, 2, 2, 1], &x)], &[2, 2, 1, 1, 1, 1, 0, 0], &[1, 1, 1, 1]);
        assert!(found[0].is_nan());
    }
}
