//! Which contractions stay on integers: as many as the budget allows, those that cost the model most first to go.

use super::quantized_graph;
use super::report::multiply_adds;
use crate::pipeline::{CompileError, Options};
use crate::runner::Runner;
use ic_ir::Graph;
use ic_passes::quantize_contractions::{Candidates, Choice};
use ic_types::Tensor;

/// Samples on which the loss of each contraction alone is measured, at most.
const LOSS_SAMPLES: usize = 8;

/// The contractions that stay on integers, and how good the model is with them.
pub(super) struct Assigned {
    pub(super) choice: Choice,
    /// The least cosine similarity of an output, over all samples, to that of the f32 model.
    pub(super) cosine: f64,
    /// What the model loses by each contraction alone; nothing where all together are within the budget.
    pub(super) losses: Vec<f64>,
}

/// Returns contractions to floats until the model as a whole is within the budget.
///
/// Errors of different contractions are nearly independent, so what they cost the model adds up. It is measured for each
/// alone, on a few samples; those that lose most for the multiply-adds that they have go first, and how many is found
/// by bisection on all samples.
///
/// # Errors
/// If the graph cannot be compiled or run.
pub(super) fn assign(
    graph: &Graph,
    candidates: &Candidates,
    choice: Choice,
    samples: &[Vec<Tensor>],
    budget: f64,
    options: &Options,
) -> Result<Assigned, CompileError> {
    let exact = Runner::new(graph.clone(), options)?;
    let similarity_of = |choice: &Choice, samples: &[Vec<Tensor>]| {
        let runner = Runner::new(quantized_graph(graph, candidates, choice)?, options)?;
        similarity(&exact, &runner, samples)
    };
    let whole = Assigned { cosine: similarity_of(&choice, samples)?, choice, losses: Vec::new() };
    let fits = |assigned: &Assigned| 1.0 - assigned.cosine <= budget;
    if fits(&whole) {
        return Ok(whole);
    }
    let n_layers = candidates.contractions.len();
    let few: Vec<Vec<Tensor>> = spread(samples, LOSS_SAMPLES);
    let alone = |layer: usize| {
        let weights = (0..n_layers).map(|i| whole.choice.weights[i].clone().filter(|_| i == layer)).collect();
        Ok(1.0 - similarity_of(&Choice { weights, ..whole.choice.clone() }, &few)?)
    };
    let losses = (0..n_layers).map(alone).collect::<Result<Vec<f64>, CompileError>>()?;
    let order = first_to_go(&losses, &multiply_adds(graph, candidates, samples));
    let measure = |n_floats: usize| {
        let mut choice = whole.choice.clone();
        order[..n_floats].iter().for_each(|&i| choice.weights[i] = None);
        Ok::<_, CompileError>(Assigned { cosine: similarity_of(&choice, samples)?, choice, losses: losses.clone() })
    };
    // With `low` floats the model is over the budget, with `high` it is within: the f32 model is.
    let (mut low, mut high) = (0, n_layers);
    let floats = Choice { weights: vec![None; n_layers], ..whole.choice.clone() };
    let mut best = Assigned { choice: floats, cosine: 1.0, losses: losses.clone() };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let assigned = measure(middle)?;
        if fits(&assigned) {
            (high, best) = (middle, assigned);
        } else {
            low = middle;
        }
    }
    Ok(best)
}

/// At most `n` samples, evenly spread.
pub(super) fn spread(samples: &[Vec<Tensor>], n: usize) -> Vec<Vec<Tensor>> {
    samples.iter().step_by(samples.len().div_ceil(n).max(1)).cloned().collect()
}

/// The contractions by what they lose for each multiply-add, the greatest loss first.
fn first_to_go(losses: &[f64], multiply_adds: &[u64]) -> Vec<usize> {
    let rate = |i: usize| losses[i] / multiply_adds[i].max(1) as f64;
    let mut order: Vec<usize> = (0..losses.len()).collect();
    order.sort_by(|&a, &b| rate(b).total_cmp(&rate(a)).then(a.cmp(&b)));
    order
}

/// The least cosine similarity of a float output, over all samples laid end to end.
pub(super) fn similarity(exact: &Runner, found: &Runner, samples: &[Vec<Tensor>]) -> Result<f64, CompileError> {
    let mut sums: Vec<Products> = Vec::new();
    for sample in samples {
        let (exact, found) = (exact.run(sample)?, found.run(sample)?);
        sums.resize(exact.len(), Products::default());
        for ((sum, exact), found) in sums.iter_mut().zip(&exact).zip(&found) {
            let (Some(exact), Some(found)) = (exact.elements::<f32>(), found.elements::<f32>()) else { continue };
            // An output whose extents depend on data may have another shape.
            let pairs = exact.iter().zip(found).filter(|(a, b)| a.is_finite() && b.is_finite());
            pairs.for_each(|(&a, &b)| sum.add(a.into(), b.into()));
        }
    }
    Ok(sums.iter().map(Products::cosine).fold(1.0, f64::min))
}

/// Scalar products of two vectors.
#[derive(Clone, Default)]
struct Products {
    both: f64,
    left: f64,
    right: f64,
}

impl Products {
    fn add(&mut self, a: f64, b: f64) {
        self.both += a * b;
        self.left += a * a;
        self.right += b * b;
    }

    /// 1 for two vectors of zeros.
    fn cosine(&self) -> f64 {
        if self.left == self.right && self.left == self.both {
            return 1.0;
        }
        (self.both / (self.left * self.right).sqrt().max(f64::MIN_POSITIVE)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_most_for_its_work_goes_first() {
        assert_eq!(first_to_go(&[1e-3, 1e-3, 4e-3, 0.0], &[10, 1, 10, 5]), [1, 2, 0, 3]);
    }

    #[test]
    fn samples_are_spread() {
        let samples: Vec<Vec<Tensor>> = (0..10).map(|i| vec![Tensor::from_elements(vec![], vec![i as f32])]).collect();
        let firsts = |n| spread(&samples, n).iter().map(|s| s[0].elements::<f32>().unwrap()[0]).collect::<Vec<_>>();
        assert_eq!(firsts(4), [0.0, 3.0, 6.0, 9.0]);
        assert_eq!(firsts(20).len(), 10);
    }

    #[test]
    fn similarity_is_of_directions() {
        let cosine = |pairs: &[(f64, f64)]| {
            let mut products = Products::default();
            pairs.iter().for_each(|&(a, b)| products.add(a, b));
            products.cosine()
        };
        assert_eq!(cosine(&[]), 1.0);
        assert!((cosine(&[(1.0, 2.0), (3.0, 6.0)]) - 1.0).abs() < 1e-15);
        assert_eq!(cosine(&[(1.0, 0.0), (0.0, 1.0)]), 0.0);
        assert_eq!(cosine(&[(1.0, 0.0)]), 0.0);
    }
}
