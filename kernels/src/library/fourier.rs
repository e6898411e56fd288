//! `dft`, `stft` and `mel_weight_matrix`: spectra, by the definition, in f64.

use super::args::{Args, error, kernels};
use super::element::{Number, by_number};
use super::split::rows;
use crate::abi::{KernelError, Operand};
use ic_types::DType;

kernels! {
    /// ONNX `DFT` of f32 or f64 `x[.., 1 or 2]`; the length of the transform is `length`. A one-sided inverse gives
    /// `y[.., 1]`.
    DFT = "dft" ["x"] -> ["y"] {"axis", "inverse", "onesided", "length"}, |args| match args.dtype(0)? {
        DType::F64 => dft::<f64>(args),
        _ => dft::<f32>(args),
    }, scratch = |_: &[Operand], attrs: &[i64], _: usize| table_bytes(attrs.get(3));
    /// ONNX `STFT` of f32 or f64 `signal[B, n, 1 or 2]`; `window` may be absent.
    STFT = "stft" ["signal", "window"] -> ["y"] {"frame_step", "frame_length", "onesided"}, |args| match args.dtype(0)? {
        DType::F64 => stft::<f64>(args),
        _ => stft::<f32>(args),
    }, scratch = |_: &[Operand], attrs: &[i64], _: usize| table_bytes(attrs.get(1));
    /// ONNX `MelWeightMatrix`; integers i32 or i64, frequencies and `y` any floats.
    MEL_WEIGHT_MATRIX = "mel_weight_matrix"
        ["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"] -> ["y"] {}, mel_weight_matrix;
}

/// Bytes of the roots of unity of a transform.
fn table_bytes(length: Option<&i64>) -> usize {
    length.map_or(0, |&length| length.max(0) as usize).saturating_mul(2 * size_of::<f64>())
}

/// Writes `e^(2 pi i k / n)` for each `k`, the real and the imaginary part side by side.
fn roots(table: &mut [f64]) {
    let n = (table.len() / 2) as f64;
    for (k, root) in table.chunks_exact_mut(2).enumerate() {
        let angle = 2.0 * std::f64::consts::PI * k as f64 / n;
        root.copy_from_slice(&[libm::cos(angle), libm::sin(angle)]);
    }
}

/// The sum of `x(k) e^(± 2 pi i k bin / n)` over `k < len`, where `table` holds the `n` roots.
fn bin(table: &[f64], bin: usize, len: usize, inverse: bool, x: impl Fn(usize) -> [f64; 2]) -> [f64; 2] {
    let n = table.len() / 2;
    let (mut re, mut im, mut at) = (0.0, 0.0, 0);
    for k in 0..len.min(n) {
        let [a, b] = x(k);
        let (cos, sin) = (table[2 * at], if inverse { table[2 * at + 1] } else { -table[2 * at + 1] });
        re += a * cos - b * sin;
        im += a * sin + b * cos;
        at = (at + bin) % n;
    }
    [re, im]
}

fn dft<T: Number>(args: &mut Args) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let axis = args.axis(0, shape.len())?;
    let (inverse, onesided, n) = (args.flag(1)?, args.flag(2)?, args.extent(3)?);
    let parts = shape[shape.len() - 1];
    let (out, out_parts) = match (inverse, onesided) {
        (true, true) => (n, 1),
        (false, true) => (n / 2 + 1, 2),
        _ => (n, 2),
    };
    let same = (0..shape.len()).all(|a| a == axis || a + 1 == shape.len() || shape[a] == to[a]);
    if to.len() != shape.len()
        || axis + 1 == shape.len()
        || !same
        || to[axis] != out
        || to[to.len() - 1] != out_parts
        || !(1..=2).contains(&parts)
    {
        return Err(error(format!("a transform of {n} does not take {:?} to {:?}", &shape[..], &to[..])));
    }
    // SAFETY: `scratch` asked for `length` roots; this is the only use.
    let table = unsafe { args.scratch::<f64>(2 * n) };
    roots(table);
    let (table, len) = (&*table, shape[axis]);
    let inner: usize = shape[axis + 1..shape.len() - 1].iter().product();
    let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
    rows(args.pool(), y, out_parts, 4 * n, |first, part| {
        for (r, to) in part.chunks_exact_mut(out_parts).enumerate() {
            let (position, column) = ((first + r) / inner, (first + r) % inner);
            let (outer, k) = (position / out, position % out);
            let at = |i: usize| {
                let from = ((outer * len + i) * inner + column) * parts;
                [x[from].to_f64(), if parts == 2 { x[from + 1].to_f64() } else { 0.0 }]
            };
            let sum = match inverse && onesided {
                // The other half is the conjugate of this one.
                true => bin(table, k, n, true, |i| mirrored(i, n, len, at)),
                false => bin(table, k, len, inverse, at),
            };
            let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
            to.iter_mut().zip(sum).for_each(|(to, v)| *to = T::from_f64(v * scale));
        }
    });
    Ok(())
}

/// Element `i` of the spectrum of a real signal of `n`, of which the first `len` elements are given up to `n / 2`.
fn mirrored(i: usize, n: usize, len: usize, at: impl Fn(usize) -> [f64; 2]) -> [f64; 2] {
    let from = if i <= n / 2 { i } else { n - i };
    let [re, im] = if from < len { at(from) } else { [0.0, 0.0] };
    match i {
        _ if from == 0 || 2 * from == n => [re, 0.0],
        _ if i == from => [re, im],
        _ => [re, -im],
    }
}

fn stft<T: Number>(args: &mut Args) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let (step, n, onesided) = (args.extent(0)?, args.extent(1)?, args.flag(2)?);
    let (&[batch, len, parts], &[y_batch, frames, bins, 2]) = (&shape[..], &to[..]) else {
        return Err(error("expected a signal [B, n, 1 or 2] and y [B, frames, bins, 2]"));
    };
    let window = args.optional::<T>(1)?;
    let reach = window.map_or(n, <[T]>::len).min(n);
    let expected = if onesided { n / 2 + 1 } else { n };
    if batch != y_batch || bins != expected || !(1..=2).contains(&parts) {
        return Err(error(format!("frames of {n} do not take {:?} to {:?}", &shape[..], &to[..])));
    }
    // SAFETY: `scratch` asked for `frame_length` roots; this is the only use.
    let table = unsafe { args.scratch::<f64>(2 * n) };
    roots(table);
    let table = &*table;
    let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
    rows(args.pool(), y, 2, 4 * n, |first, part| {
        for (r, to) in part.chunks_exact_mut(2).enumerate() {
            let (frame, k) = ((first + r) / bins, (first + r) % bins);
            let begin = frame % frames * step;
            let sum = bin(table, k, reach, false, |i| {
                if begin + i >= len {
                    return [0.0; 2];
                }
                let from = (frame / frames * len + begin + i) * parts;
                let weight = window.map_or(1.0, |window| window[i].to_f64());
                [x[from].to_f64() * weight, if parts == 2 { x[from + 1].to_f64() * weight } else { 0.0 }]
            });
            to.iter_mut().zip(sum).for_each(|(to, v)| *to = T::from_f64(v));
        }
    });
    Ok(())
}

/// The first element of input `index` as f64.
fn scalar(args: &Args, index: usize) -> Result<f64, KernelError> {
    by_number!(args.dtype(index)?, T => {
        let values = args.input::<T>(index)?;
        values.first().map(|v| v.to_f64()).ok_or_else(|| error(format!("operand #{index} has no element")))
    })
}

fn mel_weight_matrix(args: &mut Args) -> Result<(), KernelError> {
    let (n_mel, length, rate) = (scalar(args, 0)?, scalar(args, 1)?, scalar(args, 2)?);
    let mel = |hertz: f64| 2595.0 * libm::log1p(hertz / 700.0) / std::f64::consts::LN_10;
    let (low, high) = (mel(scalar(args, 3)?), mel(scalar(args, 4)?));
    let to = args.output_shape(0)?;
    let &[bins, columns] = &to[..] else { return Err(error("expected a matrix")) };
    if columns as f64 != n_mel || bins as f64 != (length / 2.0).floor() + 1.0 {
        return Err(error(format!("{n_mel} bins of a transform of {length} do not fit {:?}", &to[..])));
    }
    let step = (high - low) / (n_mel + 2.0);
    // The spectrum's bin at the edge of a mel bin.
    let edge = |i: usize| {
        let hertz = 700.0 * libm::expm1((i as f64 * step + low) / 2595.0 * std::f64::consts::LN_10);
        ((length + 1.0) * hertz / rate).floor() as i64
    };
    by_number!(args.operand(5)?.dtype, T => {
        let y = args.output::<T>()?;
        y.fill(T::ZERO);
        for column in 0..columns {
            let (lower, center, higher) = (edge(column), edge(column + 1), edge(column + 2));
            if lower < 0 || higher > bins as i64 || center >= bins as i64 {
                return Err(error(format!("mel bin {column} is outside of the spectrum's {bins} bins")));
            }
            let mut set = |row: i64, value: f64| y[row as usize * columns + column] = T::from_f64(value);
            if lower == center {
                set(center, 1.0);
            } else {
                (lower..=center).for_each(|row| set(row, (row - lower) as f64 / (center - lower) as f64));
            }
            (center..higher).for_each(|row| set(row, (higher - row) as f64 / (higher - center) as f64));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, assert_close, run_f32};

    /// The values that the reference was run on.
    fn pattern(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed * 3) % 11) as f32 / 8.0 - 0.625).collect()
    }

    #[test]
    fn transforms_as_the_reference_does() {
        let x = || pattern(20, 11);
        let real: Vec<f32> = x().into_iter().step_by(2).collect();
        let check = |x: &[f32], shape: &[usize], attrs: [i64; 4], to: &[usize], expected: &[f32]| {
            assert_close(&run_f32(&DFT, &[Buffer::f32(shape, x)], &attrs, to), expected, 1e-6);
        };
        check(
            &x(),
            &[1, 5, 2, 2],
            [1, 0, 0, 6],
            &[1, 6, 2, 2],
            &[
                -1.125,
                0.5,
                0.75,
                -0.375,
                -0.8080127,
                -0.125,
                -0.6707532,
                0.73774046,
                -0.21650635,
                -0.46650636,
                0.29575318,
                0.7712341,
                -1.875,
                1.75,
                -1.5,
                -0.625,
                0.21650635,
                -0.03349365,
                0.07924683,
                1.8537658,
                0.0580127,
                -0.125,
                -0.45424682,
                1.3872595,
            ],
        );
        check(
            &real,
            &[1, 5, 2, 1],
            [-3, 0, 1, 5],
            &[1, 3, 2, 2],
            &[-1.125, 0.0, 0.75, 0.0, -0.5, -0.03468932, -0.5, -0.03468932, -0.5, -1.007185, -0.5, -1.007185],
        );
        check(
            &x(),
            &[1, 5, 2, 2],
            [1, 1, 0, 5],
            &[1, 5, 2, 2],
            &[
                -0.22500001,
                0.1,
                0.15,
                -0.075,
                -0.0070382594,
                0.044437867,
                -0.10693786,
                0.18193786,
                0.12174449,
                0.238937,
                -0.301437,
                0.376437,
                -0.3217445,
                -0.163937,
                0.101436995,
                -0.026436998,
                -0.19296174,
                0.030562133,
                -0.09306213,
                0.16806214,
            ],
        );
        check(
            &x()[..16],
            &[1, 4, 2, 2],
            [1, 1, 1, 6],
            &[1, 6, 2, 1],
            &[
                -0.1875,
                0.1875,
                -0.041666668,
                0.13875529,
                0.21650635,
                -0.18042195,
                -0.3541667,
                -0.3541667,
                -0.21650635,
                0.18042195,
                -0.04166668,
                -0.22208863,
            ],
        );
    }

    #[test]
    fn transforms_frames_as_the_reference_does() {
        let inputs = [Buffer::f32(&[2, 10, 1], &pattern(20, 12)), Buffer::f32(&[4], &pattern(4, 13))];
        let expected = [
            -0.203125, 0.0, -0.09375, 0.234375, 0.265625, 0.0, -0.234375, 0.0, -0.046875, 0.1875, 0.140625, 0.0,
            -0.265625, 0.0, 0.0, 0.140625, 0.015625, 0.0, 0.4375, 0.0, -0.28125, -0.09375, 0.25, 0.0, 0.40625, 0.0,
            -0.234375, -0.140625, 0.125, 0.0, 0.375, 0.0, -0.1875, -0.1875, 0.0, 0.0,
        ];
        assert_close(&run_f32(&STFT, &inputs, &[3, 4, 1], &[2, 3, 3, 2]), &expected, 1e-6);
    }

    #[test]
    fn weighs_mel_bins_as_the_reference_does() {
        let number = |v| Buffer::i64(&[], &[v]);
        let hertz = |v| Buffer::f32(&[], &[v]);
        let inputs = [number(8), number(16), number(8192), hertz(0.0), hertz(4096.0)];
        let expected = [
            1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0,
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        ];
        assert_close(&run_f32(&MEL_WEIGHT_MATRIX, &inputs, &[], &[9, 8]), &expected, 1e-6);
    }
}
