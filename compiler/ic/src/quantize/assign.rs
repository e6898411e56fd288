//! Which contractions stay on integers: as many as the budget allows, those that cost the model most first to go.

use super::quantized_graph;
use super::report::multiply_adds;
use super::similarity::Reference;
use crate::pipeline::{CompileError, Options};
use crate::runner::Runner;
use ic_ir::Graph;
use ic_passes::quantize_contractions::{Candidates, Choice, switched_contractions};
use ic_types::Tensor;

/// Multiply-adds that measuring the loss of each contraction alone may take.
const LOSS_WORK: u64 = 1 << 37;

/// Samples on which the loss of each contraction alone is measured: at least the first, at most the second number.
const LOSS_SAMPLES: [u64; 2] = [4, 16];

/// Samples on which choices are tried, at most, before the one that is taken is measured on all.
const TRIAL_SAMPLES: usize = 16;

/// Contractions that are tried on integers again, one at a time, as the trial's samples are not all.
const STEPS_BACK: usize = 3;

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
/// alone, on a few samples; those that lose most for the multiply-adds that they have go first. How many is found by
/// bisection on a share of the samples. Both take one graph, compiled once, in which every contraction can be switched.
/// What is found is compiled as it will be and measured on all samples: more go until it is within the budget, or some
/// return if it is already.
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
    let mut reference = Reference::new(Runner::new(graph.clone(), options)?, samples);
    let all: Vec<usize> = (0..samples.len()).collect();
    let measured = |reference: &mut Reference, choice: Choice, losses: &[f64]| {
        let runner = Runner::new(quantized_graph(graph, candidates, &choice)?, options)?;
        let cosine = reference.similarity(&all, |sample| runner.run(sample))?;
        Ok::<_, CompileError>(Assigned { cosine, choice, losses: losses.to_vec() })
    };
    let whole = measured(&mut reference, choice, &[])?;
    let fits = |assigned: &Assigned| 1.0 - assigned.cosine <= budget;
    if fits(&whole) {
        return Ok(whole);
    }
    let work = multiply_adds(graph, candidates, samples);
    let mut trial = Trial::new(graph, candidates, &whole.choice, &mut reference, options)?;
    let losses = trial.losses(&work)?;
    let order = first_to_go(&losses, &work);
    // The trial's samples are not all.
    let share = trial.loss(&vec![true; order.len()])? / (1.0 - whole.cosine);
    let mut n_floats = trial.fewest(&order, budget * share)?;
    drop(trial);
    let step = (order.len() / 24).max(1);
    // What is within the budget, and how far back from the first that was.
    let mut best: Option<(Assigned, usize)> = None;
    let mut too_few = 0;
    loop {
        let mut choice = whole.choice.clone();
        order[..n_floats].iter().for_each(|&i| choice.weights[i] = None);
        let assigned = measured(&mut reference, choice, &losses)?;
        let is_fit = fits(&assigned) || n_floats == order.len();
        match best {
            Some((best, _)) if !is_fit => return Ok(best),
            None if !is_fit => (too_few, n_floats) = (n_floats, (n_floats + step).min(order.len())),
            _ => {
                let n_back = best.map_or(0, |(_, n_back)| n_back + 1);
                if n_back == STEPS_BACK || n_floats - 1 == too_few {
                    return Ok(assigned);
                }
                (best, n_floats) = (Some((assigned, n_back)), n_floats - 1);
            }
        }
    }
}

/// The graph with switches, on a share of the samples.
struct Trial<'r, 's> {
    runner: Runner,
    reference: &'r mut Reference<'s>,
}

impl<'r, 's> Trial<'r, 's> {
    fn new(
        graph: &Graph,
        candidates: &Candidates,
        choice: &Choice,
        reference: &'r mut Reference<'s>,
        options: &Options,
    ) -> Result<Trial<'r, 's>, CompileError> {
        let runner = Runner::new(switched_contractions(graph, candidates, choice)?, options)?;
        Ok(Trial { runner, reference })
    }

    /// One less the similarity of the model with these contractions on integers.
    fn loss(&mut self, on_integers: &[bool]) -> Result<f64, CompileError> {
        self.loss_on(on_integers, TRIAL_SAMPLES)
    }

    fn loss_on(&mut self, on_integers: &[bool], n_samples: usize) -> Result<f64, CompileError> {
        let samples = self.reference.spread(n_samples);
        let runner = &self.runner;
        let cosine = self.reference.similarity(&samples, |sample| {
            let flags = on_integers.iter().map(|&flag| Tensor::scalar(flag));
            runner.run(&sample.iter().cloned().chain(flags).collect::<Vec<_>>())
        })?;
        Ok(1.0 - cosine)
    }

    /// What the model loses by each contraction alone.
    fn losses(&mut self, multiply_adds: &[u64]) -> Result<Vec<f64>, CompileError> {
        let of_all_layers = multiply_adds.iter().sum::<u64>().saturating_mul(multiply_adds.len() as u64);
        let n_samples = (LOSS_WORK / of_all_layers.max(1)).clamp(LOSS_SAMPLES[0], LOSS_SAMPLES[1]) as usize;
        let n_layers = multiply_adds.len();
        let alone = |layer: usize| self.loss_on(&(0..n_layers).map(|i| i == layer).collect::<Vec<_>>(), n_samples);
        (0..n_layers).map(alone).collect()
    }

    /// The least number of contractions, of the first of `order`, that go to floats so that the loss is at most `budget`.
    fn fewest(&mut self, order: &[usize], budget: f64) -> Result<usize, CompileError> {
        // With `low` floats the model is over the budget, with `high` it is within: the f32 model is.
        let (mut low, mut high) = (0, order.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut on_integers = vec![true; order.len()];
            order[..middle].iter().for_each(|&i| on_integers[i] = false);
            if self.loss(&on_integers)? <= budget { high = middle } else { low = middle }
        }
        Ok(high)
    }
}

/// The contractions by what they lose for each multiply-add, the greatest loss first.
fn first_to_go(losses: &[f64], multiply_adds: &[u64]) -> Vec<usize> {
    let rate = |i: usize| losses[i] / multiply_adds[i].max(1) as f64;
    let mut order: Vec<usize> = (0..losses.len()).collect();
    order.sort_by(|&a, &b| rate(b).total_cmp(&rate(a)).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_most_for_its_work_goes_first() {
        assert_eq!(first_to_go(&[1e-3, 1e-3, 4e-3, 0.0], &[10, 1, 10, 5]), [1, 2, 0, 3]);
    }
}
