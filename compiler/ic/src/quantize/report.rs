//! What quantization did: the error and the gain of each layer.

use super::assign::Assigned;
use super::samples::symbols;
use ic_ir::Graph;
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
    /// Whether it runs on integers.
    pub on_integers: bool,
    /// On integers, alone: the root of the mean square of its errors over that of its results.
    pub error: f64,
    /// On integers, alone: one less the cosine similarity of the model's outputs, on a few samples. Measured where all
    /// together are over the budget.
    pub loss: Option<f64>,
    /// Multiply-adds in the first sample, 0 if extents depend on data.
    pub multiply_adds: u64,
    /// Bytes of its weight on floats.
    pub float_bytes: u64,
    /// Bytes of its weight on integers.
    pub integer_bytes: u64,
}

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
        Layer {
            name: graph.node(contraction.node).location.to_string(),
            on_integers: assigned.choice.weights[i].is_some(),
            error: errors[i],
            loss: assigned.losses.get(i).copied(),
            multiply_adds: multiply_adds[i],
            float_bytes: 4 * elements,
            integer_bytes: elements + 4 * outputs,
        }
    };
    let layers = candidates.contractions.iter().enumerate().map(layer).collect();
    Report { n_samples: samples.len(), cosine: assigned.cosine, budget, layers }
}

/// The multiply-adds of each contraction in the first sample, 0 if extents depend on data.
pub(super) fn multiply_adds(graph: &Graph, candidates: &Candidates, samples: &[Vec<Tensor>]) -> Vec<u64> {
    let symbols = samples.first().map(|sample| symbols(graph, sample)).unwrap_or_default();
    let extent = |dim: &Dim| dim.eval(&|name| symbols.get(name).copied()).ok().and_then(|d| u64::try_from(d).ok());
    let of = |contraction: &Contraction| {
        let weight = graph.tensor_ty(contraction.weight).constant_shape().unwrap_or_default();
        let outputs = weight[contraction.outputs_axis] as u64;
        let elements = weight.iter().product::<usize>() as u64;
        let results = graph.tensor_ty(contraction.result).shape.iter().map(extent).product::<Option<u64>>();
        results.map_or(0, |results| results.saturating_mul(elements / outputs.max(1)))
    };
    candidates.contractions.iter().map(of).collect()
}

impl Report {
    /// Number of layers on integers.
    pub fn n_integers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.on_integers).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.layers.iter().map(|layer| layer.multiply_adds).sum();
        writeln!(f, "quantize: layer: precision, error on integers, share of multiply-adds, bytes of weights saved")?;
        for layer in &self.layers {
            let (precision, saved) = match layer.on_integers {
                true => ("w8a8", layer.float_bytes.saturating_sub(layer.integer_bytes)),
                false => ("f32", 0),
            };
            let share = 100.0 * layer.multiply_adds as f64 / total.max(1) as f64;
            writeln!(f, "quantize: {}: {precision}, {:.5}, {share:.2}%, {saved}", layer.name, layer.error)?;
        }
        let Report { n_samples, cosine, layers, .. } = self;
        let n_integers = self.n_integers();
        writeln!(
            f,
            "quantize: {n_integers} of {} contractions on integers; cosine similarity to f32 {cosine:.6} over {n_samples} samples",
            layers.len()
        )
    }
}
