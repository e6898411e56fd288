//! ONNX ops that make tables for signals: `HannWindow`, `HammingWindow`, `BlackmanWindow`, `MelWeightMatrix`.

use super::prelude::*;
use ic_ir::eval::{from_ints, from_reals, ints, reals};
use std::f64::consts::PI;

/// Coefficients of `HannWindow`.
pub(super) const HANN: &[f64] = &[0.5, -0.5];

/// Coefficients of `HammingWindow`.
pub(super) const HAMMING: &[f64] = &[25.0 / 46.0, -21.0 / 46.0];

/// Coefficients of `BlackmanWindow`.
pub(super) const BLACKMAN: &[f64] = &[0.42, -0.5, 0.08];

/// Elements beyond which a table is refused.
const MAX_ELEMENTS: i64 = 1 << 24;

/// A float or integer tensor of these elements.
fn table(cx: &mut Context, node: &NodeView, shape: Vec<usize>, elements: Vec<f64>) -> Results {
    let to = node.int("output_datatype").map_or(Ok(DType::F32), |code| dtype(code as i32))?;
    let tensor = match to.is_float() {
        true => from_reals(to, shape, elements)?,
        false => from_ints(to, shape, elements.into_iter().map(|x| x as i128).collect())?,
    };
    Ok(vec![cx.constant(tensor)?])
}

/// A sum of cosines: term `k` is `coefficients[k] * cos(2 pi k n / period)`.
pub(super) fn cosine_sum(cx: &mut Context, node: &NodeView, coefficients: &[f64]) -> Results {
    if cx.tensor(node.input(0)?).is_none() {
        return cosine_sum_in_run(cx, node, coefficients);
    }
    let size = *cx.constant_ints(node.input(0)?, "size")?.first().ok_or_else(|| invalid!("`size` is empty"))?;
    if !(0..=MAX_ELEMENTS).contains(&size) {
        return Err(invalid!("`size` is {size}"));
    }
    let period = if node.flag("periodic", true) { size } else { size - 1 };
    let angle = |n: i64| if period == 0 { 0.0 } else { 2.0 * PI * n as f64 / period as f64 };
    let element = |n: i64| coefficients.iter().enumerate().map(|(k, c)| c * (k as f64 * angle(n)).cos()).sum();
    table(cx, node, vec![size as usize], (0..size).map(element).collect())
}

/// [`cosine_sum`] of a size that only a run knows.
fn cosine_sum_in_run(cx: &mut Context, node: &NodeView, coefficients: &[f64]) -> Results {
    let size = cx.ints(node.input(0)?, "size")?.pop().ok_or_else(|| invalid!("`size` is empty"))?;
    let to = node.int("output_datatype").map_or(Ok(DType::F32), |code| dtype(code as i32))?;
    let period = if node.flag("periodic", true) { size.clone() } else { size.clone() - Dim::constant(1) };
    let period = cx.dim_scalar(period.maximum(&Dim::constant(1)))?;
    let period = cx.cast(period, DType::F64)?;
    let position = cx.iota(size, DType::I64)?;
    let position = cx.cast(position, DType::F64)?;
    let turns = cx.binary(ScalarOp::Div, position, period)?;
    let mut sum = cx.scalar(DType::F64, 0.0)?;
    for (k, &coefficient) in coefficients.iter().enumerate() {
        let angle = cx.with_scalar(ScalarOp::Mul, turns, 2.0 * PI * k as f64)?;
        let cosine = cx.unary(ScalarOp::Cos, angle)?;
        let term = cx.with_scalar(ScalarOp::Mul, cosine, coefficient)?;
        sum = cx.binary(ScalarOp::Add, sum, term)?;
    }
    Ok(vec![cx.cast(sum, to)?])
}

/// `MelWeightMatrix`: triangular filters from a spectrum to the mel scale.
pub(super) fn mel_weight_matrix(cx: &mut Context, node: &NodeView) -> Results {
    let names = ["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"];
    let mut numbers = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let tensor = cx.tensor(node.input(i)?).ok_or_else(|| unsupported!("`{name}` is not a constant"))?;
        let number = match tensor.dtype().is_float() {
            true => reals(&tensor)?.first().copied(),
            false => ints(&tensor)?.first().map(|&x| x as f64),
        };
        numbers.push(number.ok_or_else(|| invalid!("`{name}` is empty"))?);
    }
    let (n_bands, n_bins) = (numbers[0] as i64, numbers[1] as i64 / 2 + 1);
    let plausible = n_bands >= 0 && n_bins >= 1 && numbers[2] > 0.0;
    if !plausible || n_bands.checked_mul(n_bins).is_none_or(|n| n > MAX_ELEMENTS) {
        return Err(invalid!("`num_mel_bins`, `dft_length` or `sample_rate` is out of range"));
    }
    let edges = band_edges(n_bands as usize, &numbers);
    let (n_bands, n_bins) = (n_bands as usize, n_bins as usize);
    let mut weights = vec![0.0; n_bands * n_bins];
    for (band, edge) in edges.windows(3).enumerate() {
        let (low, centre, high) = (edge[0], edge[1], edge[2]);
        for bin in (low.max(0)..high.max(centre + 1)).take_while(|&bin| bin < n_bins as i64) {
            let weight = match bin {
                bin if bin == centre => 1.0,
                bin if bin < centre => (bin - low) as f64 / (centre - low) as f64,
                bin => (high - bin) as f64 / (high - centre) as f64,
            };
            weights[bin as usize * n_bands + band] = weight;
        }
    }
    table(cx, node, vec![n_bins, n_bands], weights)
}

/// The bins at which triangles begin, peak and end: equal steps on the mel scale.
fn band_edges(n_bands: usize, numbers: &[f64]) -> Vec<i64> {
    let [length, rate, low, high] = [numbers[1], numbers[2], numbers[3], numbers[4]];
    let mel = |hertz: f64| 2595.0 * (hertz / 700.0).ln_1p() / 10f64.ln();
    let step = (mel(high) - mel(low)) / (n_bands + 2) as f64;
    let hertz = |i: usize| 700.0 * ((i as f64 * step + mel(low)) / 2595.0 * 10f64.ln()).exp_m1();
    (0..n_bands + 2).map(|i| ((length + 1.0) * hertz(i) / rate).floor() as i64).collect()
}
