//! Which contractions stay on integers: as many as the budget allows, the most sensitive ones first to go.

use super::quantized_graph;
use super::runner::Runner;
use crate::pipeline::{CompileError, Options};
use ic_ir::Graph;
use ic_passes::quantize_contractions::{Candidates, Choice};
use ic_types::Tensor;

/// The contractions that stay on integers, and how good the model is with them.
pub(super) struct Assigned {
    pub(super) choice: Choice,
    /// The least cosine similarity of an output, over all samples, to that of the f32 model.
    pub(super) cosine: f64,
}

/// Returns contractions to floats, those with the largest errors first, until the model as a whole is within the budget.
/// How many is found by bisection.
///
/// # Errors
/// If the graph cannot be compiled or run.
pub(super) fn assign(
    graph: &Graph,
    candidates: &Candidates,
    choice: Choice,
    errors: &[f64],
    samples: &[Vec<Tensor>],
    budget: Option<f64>,
    options: &Options,
) -> Result<Assigned, CompileError> {
    let exact = Runner::new(graph.clone(), options)?;
    let mut order: Vec<usize> = (0..errors.len()).collect();
    order.sort_by(|&a, &b| errors[b].total_cmp(&errors[a]).then(a.cmp(&b)));
    let measure = |n_floats: usize| {
        let mut choice = choice.clone();
        order[..n_floats].iter().for_each(|&i| choice.weights[i] = None);
        let runner = Runner::new(quantized_graph(graph, candidates, &choice)?, options)?;
        let cosine = similarity(&exact, &runner, samples)?;
        Ok::<_, CompileError>(Assigned { choice, cosine })
    };
    let mut best = measure(0)?;
    let Some(budget) = budget else { return Ok(best) };
    let fits = |assigned: &Assigned| 1.0 - assigned.cosine <= budget;
    // With `low` floats the model is over the budget, with `high` it is within: the f32 model is.
    let (mut low, mut high) = (0, order.len());
    if fits(&best) {
        return Ok(best);
    }
    let floats = vec![None; order.len()];
    best = Assigned { choice: Choice { weights: floats, ..choice.clone() }, cosine: 1.0 };
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

/// The least cosine similarity of a float output, over all samples laid end to end.
fn similarity(exact: &Runner, found: &Runner, samples: &[Vec<Tensor>]) -> Result<f64, CompileError> {
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
