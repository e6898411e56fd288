//! What quantization did: the error and the gain of each layer.

use super::assign::Assigned;
use super::samples::symbols;
use ic_ir::{Graph, ValueId};
use ic_passes::quantize_contractions::{Candidates, Contraction};
use ic_types::{Dim, Tensor};
use std::fmt;

/// What quantization did to a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// Number of calibration samples.
    pub n_samples: usize,
    /// The least cosine similarity of an output, over all samples, to that of the f32 model.
    pub cosine: f64,
    /// The largest loss that was accepted.
    pub budget: f64,
    /// The contractions that could run on integers, in order.
    pub layers: Vec<Layer>,
}

/// A contraction.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// The model's node.
    pub name: String,
    /// What it runs on: `w8a8`, `w8`, `w4` or `f32`.
    pub precision: &'static str,
    /// In the narrowest form, alone: the root of the mean square of its errors over that of its results,
    /// on a share of the samples.
    pub error: f64,
    /// On integers, alone: one less the cosine similarity of the model's outputs, on a few samples. Measured where all
    /// together are over the budget.
    pub loss: Option<f64>,
    /// Multiply-adds in the first sample, 0 if extents depend on data.
    pub multiply_adds: u64,
    /// Bytes of its weight on floats.
    pub float_bytes: u64,
    /// Bytes of its weight as it is stored.
    pub bytes: u64,
}

/// What `--quantize w8a8` did.
pub(super) fn report(
    graph: &Graph,
    candidates: &Candidates,
    assigned: &Assigned,
    errors: &[f64],
    samples: &[Vec<Tensor>],
    budget: f64,
) -> Report {
    let multiply_adds = multiply_adds(graph, candidates, samples);
    let layer = |(i, contraction): (usize, &Contraction)| {
        let weight = graph.tensor_ty(contraction.weight).constant_shape().unwrap_or_default();
        let elements = weight.iter().product::<usize>() as u64;
        let outputs = weight[contraction.outputs_axis] as u64;
        let on_integers = assigned.choice.weights[i].is_some();
        Layer {
            name: graph.node(contraction.node).location.to_string(),
            precision: if on_integers { "w8a8" } else { "f32" },
            error: errors[i],
            loss: assigned.losses.get(i).copied(),
            multiply_adds: multiply_adds[i],
            float_bytes: 4 * elements,
            bytes: if on_integers { elements + 4 * outputs } else { 4 * elements },
        }
    };
    let layers = candidates.contractions.iter().enumerate().map(layer).collect();
    Report { n_samples: samples.len(), cosine: assigned.cosine, budget, layers }
}

/// The multiply-adds of each contraction in the first sample, 0 if extents depend on data.
pub(super) fn multiply_adds(graph: &Graph, candidates: &Candidates, samples: &[Vec<Tensor>]) -> Vec<u64> {
    let work = |c: &Contraction| work(graph, (c.weight, c.outputs_axis), c.result, samples);
    candidates.contractions.iter().map(work).collect()
}

/// The multiply-adds of a contraction in the first sample, 0 if extents depend on data.
pub(super) fn work(
    graph: &Graph,
    (weight, outputs_axis): (ValueId, usize),
    result: ValueId,
    samples: &[Vec<Tensor>],
) -> u64 {
    let symbols = samples.first().map(|sample| symbols(graph, sample)).unwrap_or_default();
    let extent = |dim: &Dim| dim.eval(&|name| symbols.get(name).copied()).ok().and_then(|d| u64::try_from(d).ok());
    let weight = graph.tensor_ty(weight).constant_shape().unwrap_or_default();
    let (elements, outputs) = (weight.iter().product::<usize>() as u64, weight[outputs_axis] as u64);
    let results = graph.tensor_ty(result).shape.iter().map(extent).product::<Option<u64>>();
    results.map_or(0, |results| results.saturating_mul(elements / outputs.max(1)))
}

impl Report {
    /// How many layers run on what, and how good the model is, in one line.
    pub fn summary(&self) -> String {
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for layer in &self.layers {
            match counts.iter_mut().find(|(precision, _)| *precision == layer.precision) {
                Some((_, count)) => *count += 1,
                None => counts.push((layer.precision, 1)),
            }
        }
        counts.sort_unstable();
        let counts: Vec<String> = counts.iter().map(|(precision, count)| format!("{count} {precision}")).collect();
        let Report { n_samples, cosine, layers, .. } = self;
        let (n, counts) = (layers.len(), counts.join(", "));
        format!("{n} contractions: {counts}; cosine similarity to f32 {cosine:.6} over {n_samples} samples")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.layers.iter().map(|layer| layer.multiply_adds).sum();
        writeln!(f, "quantize: layer: precision, error on integers, share of multiply-adds, bytes of weights saved")?;
        for layer in &self.layers {
            let share = 100.0 * layer.multiply_adds as f64 / total.max(1) as f64;
            let (precision, saved) = (layer.precision, layer.float_bytes.saturating_sub(layer.bytes));
            writeln!(f, "quantize: {}: {precision}, {:.5}, {share:.2}%, {saved}", layer.name, layer.error)?;
        }
        writeln!(f, "quantize: {}", self.summary())
    }
}
