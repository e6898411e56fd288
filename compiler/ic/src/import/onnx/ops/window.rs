//! ONNX ops that make tables for signals: `HannWindow`, `HammingWindow`, `BlackmanWindow`, `MelWeightMatrix`.

use super::prelude::*;
use ic_ir::eval::{from_ints, from_reals};
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

/// [`cosine_sum`] of a size that only a run knows, in f32, as ONNX defines it.
fn cosine_sum_in_run(cx: &mut Context, node: &NodeView, coefficients: &[f64]) -> Results {
    let to = node.int("output_datatype").map_or(Ok(DType::F32), |code| dtype(code as i32))?;
    let size = cx.reshape(node.input(0)?, vec![])?;
    let size = cx.cast(size, DType::F32)?;
    let period = if node.flag("periodic", true) { size } else { cx.with_scalar(ScalarOp::Sub, size, 1.0)? };
    let turn = cx.scalar(DType::F32, 2.0 * PI)?;
    let step = cx.binary(ScalarOp::Div, turn, period)?;
    let (zero, one) = (cx.scalar(DType::F32, 0.0)?, cx.scalar(DType::F32, 1.0)?);
    let position = super::constant::range_of(cx, zero, size, one)?;
    let angle = cx.binary(ScalarOp::Mul, position, step)?;
    let mut sum = cx.scalar(DType::F32, coefficients[0])?;
    for (k, &coefficient) in coefficients.iter().enumerate().skip(1) {
        let angle = if k == 1 { angle } else { cx.with_scalar(ScalarOp::Mul, angle, k as f64)? };
        let cosine = cx.unary(ScalarOp::Cos, angle)?;
        let term = cx.with_scalar(ScalarOp::Mul, cosine, coefficient.abs())?;
        let function = if coefficient < 0.0 { ScalarOp::Sub } else { ScalarOp::Add };
        sum = cx.binary(function, sum, term)?;
    }
    Ok(vec![cx.cast(sum, to)?])
}

/// `MelWeightMatrix`: triangular filters from a spectrum to the mel scale, `[dft_length / 2 + 1, num_mel_bins]`.
pub(super) fn mel_weight_matrix(cx: &mut Context, node: &NodeView) -> Results {
    let to = node.int("output_datatype").map_or(Ok(DType::F32), |code| dtype(code as i32))?;
    let mut sizes = Vec::new();
    for (i, name) in ["num_mel_bins", "dft_length"].into_iter().enumerate() {
        sizes.push(cx.ints(node.input(i)?, name)?.pop().ok_or_else(|| invalid!("`{name}` is empty"))?);
    }
    let (bands, bins) = (sizes[0].clone(), sizes[1].floor_div(&Dim::constant(2)) + Dim::constant(1));
    let edges = band_edges(cx, node, &bands)?;
    let bin = cx.iota(bins, DType::F64)?;
    let bin = cx.unsqueeze(bin, &[1])?;
    let edge = |cx: &mut Context, first: i64| cx.slice(edges, 0, Dim::constant(first), bands.clone());
    let (low, centre, high) = (edge(cx, 0)?, edge(cx, 1)?, edge(cx, 2)?);
    let slope = |cx: &mut Context, from: ValueId, to: ValueId| -> Result<ValueId> {
        let (part, whole) = (cx.binary(ScalarOp::Sub, bin, from)?, cx.binary(ScalarOp::Sub, to, from)?);
        cx.binary(ScalarOp::Div, part, whole)
    };
    let (rising, falling) = (slope(cx, low, centre)?, slope(cx, high, centre)?);
    let (one, zero) = (cx.scalar(DType::F64, 1.0)?, cx.scalar(DType::F64, 0.0)?);
    let before = cx.binary(ScalarOp::Lt, bin, centre)?;
    let slopes = cx.select(before, rising, falling)?;
    // A triangle without a side still has its peak.
    let is_peak = cx.binary(ScalarOp::Eq, bin, centre)?;
    let weights = cx.select(is_peak, one, slopes)?;
    let (is_above, is_below) = (cx.binary(ScalarOp::Ge, bin, low)?, cx.binary(ScalarOp::Lt, bin, high)?);
    let is_inside = cx.binary(ScalarOp::And, is_above, is_below)?;
    let is_inside = cx.binary(ScalarOp::Or, is_inside, is_peak)?;
    let weights = cx.select(is_inside, weights, zero)?;
    Ok(vec![cx.cast(weights, to)?])
}

/// The f64 bins at which triangles begin, peak and end, two more than bands: equal steps on the mel scale.
fn band_edges(cx: &mut Context, node: &NodeView, bands: &Dim) -> Result<ValueId> {
    let number = |cx: &mut Context, index: usize| -> Result<ValueId> {
        let number = cx.reshape(node.input(index)?, vec![])?;
        cx.cast(number, DType::F64)
    };
    let (length, rate) = (number(cx, 1)?, number(cx, 2)?);
    // 2595 * log10(1 + f / 700)
    let mel = |cx: &mut Context, index: usize| -> Result<ValueId> {
        let hertz = number(cx, index)?;
        let ratio = cx.with_scalar(ScalarOp::Div, hertz, 700.0)?;
        let ratio = cx.with_scalar(ScalarOp::Add, ratio, 1.0)?;
        let log = cx.unary(ScalarOp::Log, ratio)?;
        cx.with_scalar(ScalarOp::Mul, log, 2595.0 / 10f64.ln())
    };
    let (low, high) = (mel(cx, 3)?, mel(cx, 4)?);
    let count = bands.clone() + Dim::constant(2);
    let n = cx.dim_scalar(count.clone())?;
    let n = cx.cast(n, DType::F64)?;
    let range = cx.binary(ScalarOp::Sub, high, low)?;
    let step = cx.binary(ScalarOp::Div, range, n)?;
    let i = cx.iota(count, DType::F64)?;
    let along = cx.binary(ScalarOp::Mul, i, step)?;
    let mels = cx.binary(ScalarOp::Add, along, low)?;
    let power = cx.with_scalar(ScalarOp::Mul, mels, 10f64.ln() / 2595.0)?;
    let power = cx.unary(ScalarOp::Exp, power)?;
    let ratio = cx.with_scalar(ScalarOp::Sub, power, 1.0)?;
    let hertz = cx.with_scalar(ScalarOp::Mul, ratio, 700.0)?;
    let length = cx.with_scalar(ScalarOp::Add, length, 1.0)?;
    let bins = cx.binary(ScalarOp::Mul, length, hertz)?;
    let bins = cx.binary(ScalarOp::Div, bins, rate)?;
    cx.unary(ScalarOp::Floor, bins)
}
