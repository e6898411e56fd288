//! `f32_deform_conv`: a convolution whose taps are moved by offsets.

use super::args::{Args, error, kernels};
use super::codes::{GridMode, GridPadding};
use super::grid_sample::Sampler;
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `DeformConv` of f32, two spatial axes; `b` and `mask` may be absent. `window` is kernel, strides, dilations, pad
    /// begins and pad ends.
    F32_DEFORM_CONV = "f32_deform_conv" ["x", "w", "offset", "b", "mask"] -> ["y"] {"group", "offset_group", "window[]"}, deform_conv;
}

fn deform_conv(args: &mut Args) -> Result<(), KernelError> {
    let (x_shape, w_shape, to) = (args.shape(0)?, args.shape(1)?, args.output_shape(0)?);
    let (&[n, c, h, w], &[m, group_c, kh, kw], &[y_n, y_m, oh, ow]) = (&x_shape[..], &w_shape[..], &to[..]) else {
        return Err(error("expected x [N, C, H, W], w [M, C / group, kH, kW] and y [N, M, oH, oW]"));
    };
    let (groups, offset_groups) = (args.extent(0)?.max(1), args.extent(1)?.max(1));
    let &[k0, k1, stride_h, stride_w, dilation_h, dilation_w, top, left, ..] = args.list(2) else {
        return Err(error("expected a window of two axes"));
    };
    let (taps, size) = (kh * kw, oh * ow);
    let fits = (y_n, y_m) == (n, m)
        && (k0, k1) == (kh as i64, kw as i64)
        && group_c * groups == c
        && m.is_multiple_of(groups)
        && c.is_multiple_of(offset_groups)
        && args.shape(2)?[..] == [n, offset_groups * taps * 2, oh, ow];
    if !fits {
        return Err(error(format!(
            "shapes {:?}, {:?} and {:?} do not go together",
            &x_shape[..],
            &w_shape[..],
            &to[..]
        )));
    }
    let optional = |index: usize, len: usize| match args.optional::<f32>(index)? {
        Some(found) if found.len() != len => Err(error(format!("operand #{index}: expected {len} elements"))),
        found => Ok(found),
    };
    let (bias, mask) = (optional(3, m)?, optional(4, n * offset_groups * taps * size)?);
    let (x, weights, offsets) = (args.input::<f32>(0)?, args.input::<f32>(1)?, args.input::<f32>(2)?);
    let sampler = Sampler { mode: GridMode::Linear, padding: GridPadding::Zeros, align_corners: true };
    rows(args.pool(), args.output::<f32>()?, 1, group_c * taps * 32, |first, part| {
        for (r, y) in part.iter_mut().enumerate() {
            let (plane, pixel) = ((first + r) / size, (first + r) % size);
            let (image, output) = (plane / m, plane % m);
            let corner = [
                (pixel / ow) as f64 * stride_h as f64 - top as f64,
                (pixel % ow) as f64 * stride_w as f64 - left as f64,
            ];
            let mut sum = bias.map_or(0.0, |bias| bias[output]);
            for channel in 0..group_c {
                let input = output / (m / groups) * group_c + channel;
                let set = image * offset_groups + input / (c / offset_groups);
                let x = &x[(image * c + input) * h * w..][..h * w];
                for tap in 0..taps {
                    let moved = |axis: usize| f64::from(offsets[((set * taps + tap) * 2 + axis) * size + pixel]);
                    let place = [
                        corner[0] + (tap / kw) as f64 * dilation_h as f64 + moved(0),
                        corner[1] + (tap % kw) as f64 * dilation_w as f64 + moved(1),
                    ];
                    let value =
                        sampler.read(x, &[h, w], &place) as f32 * weights[(output * group_c + channel) * taps + tap];
                    sum += value * mask.map_or(1.0, |mask| mask[(set * taps + tap) * size + pixel]);
                }
            }
            *y = sum;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, assert_close, run_f32};

    /// A tensor of the values that the reference was run on.
    fn pattern(shape: &[usize], seed: usize) -> Buffer {
        let n = shape.iter().product();
        Buffer::f32(shape, &(0..n).map(|i: usize| ((i * 7 + seed * 3) % 11) as f32 / 8.0 - 0.625).collect::<Vec<_>>())
    }

    #[test]
    fn agrees_with_the_reference() {
        let inputs = [
            pattern(&[1, 2, 4, 4], 6),
            pattern(&[2, 1, 2, 2], 7),
            pattern(&[1, 16, 3, 3], 8),
            pattern(&[2], 9),
            pattern(&[1, 8, 3, 3], 10),
        ];
        let expected = [
            0.072143555,
            -0.06994629,
            -0.10479736,
            0.024353027,
            -0.046936035,
            0.079956055,
            0.032196045,
            -0.05657959,
            0.010925293,
            -0.5107422,
            -0.56689453,
            -0.5192566,
            -0.6074219,
            -0.44293213,
            -0.48101807,
            -0.45184326,
            -0.5275879,
            -0.51065063,
        ];
        let window = [2, 2, 1, 1, 1, 1, 0, 0, 0, 0];
        let found = run_f32(&F32_DEFORM_CONV, &inputs, &[&[2, 2], &window[..]].concat(), &[1, 2, 3, 3]);
        assert_close(&found, &expected, 1e-5);
        let inputs = [
            pattern(&[1, 2, 3, 3], 6),
            pattern(&[1, 2, 2, 2], 7),
            pattern(&[1, 8, 2, 2], 8),
            Buffer::absent(),
            Buffer::absent(),
        ];
        let expected = [0.1003418, 0.1340332, -0.07421875, -0.03149414];
        let window = [2, 2, 2, 1, 2, 1, 1, 0, 1, 0];
        let found = run_f32(&F32_DEFORM_CONV, &inputs, &[&[1, 1], &window[..]].concat(), &[1, 1, 2, 2]);
        assert_close(&found, &expected, 1e-5);
    }
}
