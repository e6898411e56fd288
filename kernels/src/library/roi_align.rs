//! `f32_roi_align`: regions of an image, resampled to a common size.

use super::args::{Args, error, kernels};
use super::codes::RoiMode;
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `RoiAlign`. `mode` is a `RoiMode`, `half_pixel` 0 for `output_half_pixel`, `spatial_scale` f32 bits;
    /// `batch_indices` is i64.
    F32_ROI_ALIGN = "f32_roi_align" ["x", "rois", "batch_indices"] -> ["y"] {
        "mode", "half_pixel", "sampling_ratio", "spatial_scale"
    }, roi_align;
}

/// Samples of a bin along an axis at most: more than any image has pixels to sample.
const MAX_SAMPLES: f32 = 65536.0;

/// A region along one axis: its start, the size of a bin and the samples in it.
#[derive(Clone, Copy)]
struct Bins {
    start: f32,
    size: f32,
    samples: usize,
}

impl Bins {
    fn new(begin: f32, end: f32, bins: usize, half_pixel: bool, sampling_ratio: usize) -> Result<Bins, KernelError> {
        let length = if half_pixel { end - begin } else { (end - begin).max(1.0) };
        let size = length / bins as f32;
        let samples = if sampling_ratio > 0 { sampling_ratio as f32 } else { size.ceil().max(0.0) };
        if !(begin.is_finite() && size.is_finite() && samples <= MAX_SAMPLES) {
            return Err(error(format!("a region from {begin} to {end} cannot be sampled")));
        }
        Ok(Bins { start: begin, size, samples: samples as usize })
    }

    /// The two pixels of `extent` around sample `i` of bin `bin`, and the weight of the second.
    fn sample(&self, bin: usize, i: usize, extent: usize) -> Option<(usize, usize, f32)> {
        let at = self.start + bin as f32 * self.size + (i as f32 + 0.5) * self.size / self.samples as f32;
        if at < -1.0 || at > extent as f32 {
            return None;
        }
        let at = at.max(0.0);
        let low = at as usize;
        if low + 1 >= extent { Some((extent - 1, extent - 1, 0.0)) } else { Some((low, low + 1, at - low as f32)) }
    }
}

fn roi_align(args: &mut Args) -> Result<(), KernelError> {
    let (x_shape, y_shape) = (args.shape(0)?, args.output_shape(0)?);
    let (&[n, c, h, w], &[n_rois, y_c, out_h, out_w]) = (&x_shape[..], &y_shape[..]) else {
        return Err(error("expected x of shape [N, C, H, W] and y [rois, C, height, width]"));
    };
    let mode = RoiMode::from_code(args.attr(0)?)?;
    let (half_pixel, ratio) = (args.flag(1)?, args.attr(2)?.max(0) as usize);
    let scale = args.attr_f32(3)?;
    let (x, rois, batches) = (args.input::<f32>(0)?, args.input::<f32>(1)?, args.input::<i64>(2)?);
    if c != y_c || rois.len() != 4 * n_rois || batches.len() != n_rois || (h * w == 0 && n_rois > 0) {
        return Err(error(format!("{n_rois} regions of {:?} do not fit x of {:?}", &y_shape[..], &x_shape[..])));
    }
    if let Some(index) = batches.iter().find(|&&index| index < 0 || index >= n as i64) {
        return Err(super::indices::out_of_range(*index, 0, n));
    }
    let bins = |roi: usize| -> Result<[Bins; 2], KernelError> {
        let offset = if half_pixel { 0.5 } else { 0.0 };
        let at = |i: usize| rois[4 * roi + i] * scale - offset;
        Ok([Bins::new(at(1), at(3), out_h, half_pixel, ratio)?, Bins::new(at(0), at(2), out_w, half_pixel, ratio)?])
    };
    (0..n_rois).try_for_each(|roi| bins(roi).map(drop))?;
    let size = out_h * out_w;
    rows(args.pool(), args.output::<f32>()?, size, size * 32, |first, part| {
        for (r, to) in part.chunks_exact_mut(size).enumerate() {
            let (roi, channel) = ((first + r) / c, (first + r) % c);
            let Ok(bins) = bins(roi) else { continue };
            let plane = &x[(batches[roi] as usize * c + channel) * h * w..][..h * w];
            for (i, to) in to.iter_mut().enumerate() {
                *to = pool_bin(plane, [h, w], &bins, [i / out_w, i % out_w], mode);
            }
        }
    });
    Ok(())
}

/// Combines the samples of one bin.
fn pool_bin(plane: &[f32], [h, w]: [usize; 2], bins: &[Bins; 2], at: [usize; 2], mode: RoiMode) -> f32 {
    let (mut sum, mut largest) = (0.0, None::<f32>);
    for i in 0..bins[0].samples {
        for j in 0..bins[1].samples {
            let taps = match (bins[0].sample(at[0], i, h), bins[1].sample(at[1], j, w)) {
                (Some((top, bottom, v)), Some((left, right, u))) => [
                    (1.0 - v) * (1.0 - u) * plane[top * w + left],
                    (1.0 - v) * u * plane[top * w + right],
                    v * (1.0 - u) * plane[bottom * w + left],
                    v * u * plane[bottom * w + right],
                ],
                _ => [0.0; 4],
            };
            sum += taps[0] + taps[1] + taps[2] + taps[3];
            let peak = taps.into_iter().fold(f32::NEG_INFINITY, f32::max);
            largest = Some(largest.map_or(peak, |largest| largest.max(peak)));
        }
    }
    match mode {
        RoiMode::Avg => sum / (bins[0].samples * bins[1].samples).max(1) as f32,
        RoiMode::Max => largest.unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, assert_close, run, run_f32};
    use ic_types::DType;

    const ROIS: [f32; 12] = [0.5, 0.25, 4.0, 3.5, 1.0, 2.0, 9.0, 4.0, 2.0, 1.0, 2.25, 1.5];

    /// What ONNX's reference implementation gives for mode, `half_pixel` and `sampling_ratio`.
    const CASES: &[(RoiMode, i64, i64, &[f32])] = &[
        (
            RoiMode::Avg,
            1,
            2,
            &[
                0.13964844,
                0.12792969,
                0.16827393,
                -0.114852905,
                -0.24610901,
                0.020084381,
                -0.0390625,
                0.010147095,
                0.15625,
                0.15625,
                0.022460938,
                -0.03125,
                -0.1484375,
                0.28125,
                0.12597656,
                0.09375,
                0.515625,
                0.46875,
                0.46875,
                0.421875,
                -0.21942139,
                -0.18170166,
                -0.020568848,
                -0.007019043,
            ],
        ),
        (
            RoiMode::Avg,
            0,
            0,
            &[
                0.21641922,
                -0.22209167,
                0.075969696,
                -0.1464386,
                0.09648895,
                -0.097091675,
                0.05905533,
                -0.021438599,
                -0.104166664,
                -0.020833334,
                -0.0052083335,
                -0.14583333,
                -0.022135416,
                0.0625,
                0.119791664,
                -0.0625,
                0.0,
                -0.25,
                -0.125,
                -0.203125,
                0.125,
                -0.125,
                0.0,
                -0.078125,
            ],
        ),
        (
            RoiMode::Max,
            1,
            0,
            &[
                0.5371094, 0.30273438, 0.40855408, 0.1433258, 0.2584839, 0.20703125, 0.3390503, 0.19110107, 0.29296875,
                0.234375, 0.24609375, 0.1640625, 0.140625, 0.29296875, 0.328125, 0.24609375, 0.39093018, 0.35247803,
                0.27923584, 0.25177002, 0.16381836, 0.14770508, 0.25317383, 0.22827148,
            ],
        ),
        (
            RoiMode::Max,
            0,
            2,
            &[
                0.2368927,
                0.06248474,
                0.13191223,
                0.23883057,
                0.31585693,
                0.12496948,
                0.12496948,
                0.2985382,
                0.17578125,
                0.1171875,
                0.40625,
                0.0703125,
                0.234375,
                0.17578125,
                0.5078125,
                0.10546875,
                0.123046875,
                0.0234375,
                0.087890625,
                0.1171875,
                0.1640625,
                0.029296875,
                0.1171875,
                0.14648438,
            ],
        ),
    ];

    fn inputs(batch: i64) -> [Buffer; 3] {
        let x: Vec<f32> = (0..120).map(|i| ((i * 7 + 3) % 11) as f32 / 8.0 - 0.625).collect();
        [Buffer::f32(&[2, 2, 5, 6], &x), Buffer::f32(&[3, 4], &ROIS), Buffer::i64(&[3], &[0, batch, 0])]
    }

    #[test]
    fn agrees_with_the_reference() {
        for (mode, half_pixel, ratio, expected) in CASES {
            let attrs = [mode.code(), *half_pixel, *ratio, i64::from(0.75f32.to_bits())];
            assert_close(&run_f32(&F32_ROI_ALIGN, &inputs(1), &attrs, &[3, 2, 2, 2]), expected, 1e-5);
        }
    }

    #[test]
    fn refuses_a_batch_and_a_region_that_are_not_there() {
        let attrs = |scale: f32| [0, 1, 0, i64::from(scale.to_bits())];
        let out = || vec![Buffer::out::<f32>(DType::F32, &[3, 2, 2, 2])];
        let refusal = run(&F32_ROI_ALIGN, &inputs(2), &attrs(1.0), out()).err().unwrap();
        assert_eq!(refusal.0, "index 2 is out of range for axis 0 with 2 elements");
        assert!(run(&F32_ROI_ALIGN, &inputs(1), &attrs(f32::INFINITY), out()).is_err());
        assert!(run(&F32_ROI_ALIGN, &inputs(1), &attrs(1e30), out()).is_err());
    }
}
