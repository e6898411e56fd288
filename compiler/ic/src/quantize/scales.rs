//! Scales of activations and weights from runs on the samples, and the error of each contraction.

use super::Calibration;
use super::ranges::{Extremes, Histogram, Method};
use crate::pipeline::{CompileError, Options};
use crate::runner::Runner;
use ic_codegen::constant_value;
use ic_ir::{Graph, ValueId};
use ic_passes::quantize_contractions::{Affine, Candidates, Choice, Contraction, compare_contractions, with_outputs};
use ic_types::Tensor;
use std::collections::BTreeMap;

/// Samples on which the error of each contraction is measured, at most.
const ERROR_SAMPLES: usize = 16;

/// The least factor of a channel.
const LEAST: f32 = 1e-5;

/// What is seen of the values of a group.
struct Observed {
    /// Those of all elements, after smoothing.
    extremes: Extremes,
    /// Those of each channel, the last axis, before.
    channels: Vec<Extremes>,
    smoothing: Option<Vec<f32>>,
    histogram: Option<Histogram>,
}

/// Runs the graph on floats and lets every candidate run on integers.
///
/// # Errors
/// If the graph cannot be compiled or run, or a weight cannot be read.
pub(super) fn choose(
    graph: &Graph,
    candidates: &Candidates,
    samples: &[Vec<Tensor>],
    calibration: &Calibration,
    options: &Options,
) -> Result<Choice, CompileError> {
    let weights = weight_extremes(graph, candidates)?;
    let mut values: Vec<(ValueId, usize)> = Vec::new();
    for (group, of_group) in candidates.groups.iter().enumerate() {
        values.extend(of_group.sources.iter().map(|&value| (value, group)));
    }
    let outputs: Vec<ValueId> = values.iter().map(|(value, _)| *value).collect();
    let runner = Runner::new(with_outputs(graph, &outputs)?, options)?;
    let none = |_| Observed { extremes: Extremes::NONE, channels: Vec::new(), smoothing: None, histogram: None };
    let mut observed: Vec<Observed> = candidates.groups.iter().map(none).collect();
    each_output(&runner, samples, &values, &mut |group, tensor| {
        let smoothable = candidates.groups[group].smoothable && calibration.smoothing > 0.0;
        see_extremes(&mut observed[group], tensor, smoothable);
    })?;
    for (group, seen) in observed.iter_mut().enumerate() {
        if !seen.channels.is_empty() {
            smooth(seen, &inputs_of(candidates, group, &weights), calibration.smoothing);
        }
    }
    if calibration.method != Method::MinMax {
        for seen in &mut observed {
            seen.histogram = Some(Histogram::new(seen.extremes.around_zero()));
        }
        each_output(&runner, samples, &values, &mut |group, tensor| count(&mut observed[group], tensor))?;
    }
    let groups = observed.into_iter().map(|seen| {
        let range = seen.histogram.map_or(seen.extremes.around_zero(), |histogram| histogram.range(calibration.method));
        Affine { smoothing: seen.smoothing, ..Affine::covering(range.low, range.high) }
    });
    let groups: Vec<Affine> = groups.collect();
    let scales = candidates
        .contractions
        .iter()
        .zip(&weights)
        .map(|(contraction, magnitudes)| Some(magnitudes.scales(groups[contraction.group].smoothing.as_deref())));
    Ok(Choice { weights: scales.collect(), groups })
}

/// Calls `see` with the group and the elements of each value of each sample.
fn each_output(
    runner: &Runner,
    samples: &[Vec<Tensor>],
    values: &[(ValueId, usize)],
    see: &mut dyn FnMut(usize, &Tensor),
) -> Result<(), CompileError> {
    for sample in samples {
        for ((_, group), tensor) in values.iter().zip(&runner.run(sample)?) {
            see(*group, tensor);
        }
    }
    Ok(())
}

fn see_extremes(seen: &mut Observed, tensor: &Tensor, by_channel: bool) {
    let elements = tensor.elements::<f32>().unwrap_or_default();
    seen.extremes = elements.iter().fold(seen.extremes, |extremes, &x| extremes.with(x));
    if by_channel {
        let channels = tensor.shape().last().copied().unwrap_or(1);
        seen.channels.resize(channels, Extremes::NONE);
        for row in elements.chunks_exact(channels.max(1)) {
            seen.channels.iter_mut().zip(row).for_each(|(channel, &x)| *channel = channel.with(x));
        }
    }
}

fn count(seen: &mut Observed, tensor: &Tensor) {
    let elements = tensor.elements::<f32>().unwrap_or_default();
    let Some(histogram) = &mut seen.histogram else { return };
    match &seen.smoothing {
        None => elements.iter().for_each(|&x| histogram.add(x)),
        Some(factors) => {
            for row in elements.chunks_exact(factors.len().max(1)) {
                row.iter().zip(factors).for_each(|(x, factor)| histogram.add(x * (1.0 / factor)));
            }
        }
    }
}

/// Divides channels by factors that share their range between the activation and the weights: the activation's
/// magnitude to the power `alpha` over the weights' to the power `1 - alpha`.
fn smooth(seen: &mut Observed, weights: &[f32], alpha: f32) {
    let factor = |(channel, weight): (&Extremes, &f32)| {
        let (x, w) = (f64::from(channel.magnitude().max(LEAST)), f64::from(weight.max(LEAST)));
        let factor = (libm::pow(x, alpha.into()) / libm::pow(w, f64::from(1.0 - alpha))) as f32;
        factor.max(LEAST)
    };
    let factors: Vec<f32> = seen.channels.iter().zip(weights).map(factor).collect();
    let scaled = |(channel, factor): (&Extremes, &f32)| {
        let Extremes { low, high } = channel.around_zero();
        Extremes { low: low * (1.0 / factor), high: high * (1.0 / factor) }
    };
    seen.extremes = seen.channels.iter().zip(&factors).map(scaled).fold(Extremes::NONE, Extremes::join);
    seen.smoothing = Some(factors);
}

/// Magnitudes of a weight.
struct Magnitudes {
    /// Row-major, `[outer, outputs, inner]` of which `outer` are the rows of a matrix.
    elements: Vec<f32>,
    outer: usize,
    outputs: usize,
    inner: usize,
}

impl Magnitudes {
    /// The scale of each output, after the rows have been multiplied by their factors.
    fn scales(&self, smoothing: Option<&[f32]>) -> Vec<f32> {
        let mut largest = vec![0.0f32; self.outputs];
        for (i, x) in self.elements.iter().enumerate() {
            let (row, output) = (i / (self.outputs * self.inner), i / self.inner % self.outputs);
            let factor = smoothing.map_or(1.0, |factors| factors[row]);
            largest[output] = largest[output].max(x * factor);
        }
        largest.into_iter().map(|x| (x / 127.0).max(f32::MIN_POSITIVE)).collect()
    }

    /// The greatest magnitude of each row.
    fn rows(&self) -> Vec<f32> {
        let of_row = |row: &[f32]| row.iter().fold(0.0f32, |largest, &x| largest.max(x));
        self.elements.chunks_exact((self.outputs * self.inner).max(1)).map(of_row).collect()
    }
}

fn weight_extremes(graph: &Graph, candidates: &Candidates) -> Result<Vec<Magnitudes>, CompileError> {
    let read = |contraction: &Contraction| {
        let refuse = |message: &str| CompileError::Calibration(format!("cannot read a weight: {message}"));
        let weight = constant_value(graph, contraction.weight).map_err(|e| refuse(&e.to_string()))?;
        let (shape, axis) = (weight.shape(), contraction.outputs_axis);
        let elements = weight.elements::<f32>().ok_or_else(|| refuse("it is not f32"))?;
        Ok(Magnitudes {
            elements: elements.iter().map(|x| x.abs()).collect(),
            outer: shape[..axis].iter().product(),
            outputs: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        })
    };
    candidates.contractions.iter().map(read).collect()
}

/// The greatest magnitude that the weights of a group's products have in each row.
fn inputs_of(candidates: &Candidates, group: usize, weights: &[Magnitudes]) -> Vec<f32> {
    let of_group = candidates.contractions.iter().zip(weights).filter(|(c, _)| c.group == group);
    let mut largest: Vec<f32> = Vec::new();
    for (_, weight) in of_group {
        largest.resize(weight.outer, 0.0);
        largest.iter_mut().zip(weight.rows()).for_each(|(largest, x)| *largest = largest.max(x));
    }
    largest
}

/// The error of each contraction that runs on integers, alone: the root of the mean square of its errors over that of its
/// results, on a share of the samples. Of the others 0.
///
/// # Errors
/// If the graph cannot be compiled or run.
pub(super) fn errors(
    graph: &Graph,
    candidates: &Candidates,
    choice: &Choice,
    samples: &[Vec<Tensor>],
    options: &Options,
) -> Result<Vec<f64>, CompileError> {
    let runner = Runner::new(compare_contractions(graph, candidates, choice)?, options)?;
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for sample in samples.iter().step_by(samples.len().div_ceil(ERROR_SAMPLES)) {
        let found = runner.run(sample)?;
        for (i, pair) in found.chunks_exact(2).enumerate() {
            let number =
                |tensor: &Tensor| tensor.elements::<f32>().and_then(|x| x.first().copied()).map_or(0.0, f64::from);
            let sum = sums.entry(i).or_default();
            *sum = (sum.0 + number(&pair[0]), sum.1 + number(&pair[1]));
        }
    }
    let mut measured = sums.into_values();
    let each = choice.weights.iter().map(|weights| match weights {
        Some(_) => measured.next().map_or(0.0, |(error, power)| (error / power.max(f64::MIN_POSITIVE)).sqrt()),
        None => 0.0,
    });
    Ok(each.collect())
}
