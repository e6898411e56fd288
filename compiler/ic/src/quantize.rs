//! `--calibration`: quantization that is decided by running the model on samples.
//!
//! `--quantize w8a8` lets contractions run on 8-bit integers; `--quantize w4` chooses the integers of weights by what they
//! are multiplied with (see [`round_weights`]).
//!
//! The optimized f32 graph is compiled with its activations as outputs and run on the samples. What is measured there
//! gives the scales; a second graph gives the error of each contraction alone; the quantized model as a whole is compared
//! with the f32 one, and where it is worse than the budget allows, the contractions that lose most for their work return
//! to floats, as few as will do. Kernels give the same bits on every host, so the choice is the same everywhere.

mod assign;
mod factor;
mod ranges;
mod report;
mod rounding;
mod samples;
mod scales;
mod similarity;
mod spill;
mod weights;

pub use ranges::Method;
pub use report::{Layer, Report};
pub(crate) use weights::round_weights;

use crate::pipeline::{CompileError, Options};
use assign::assign;
use ic_ir::Graph;
use ic_passes::quantize_contractions::{Candidates, Choice, quantize_contractions};
use std::path::PathBuf;

/// How a model is calibrated.
#[derive(Clone, PartialEq, Debug)]
pub struct Calibration {
    /// NumPy archives of samples. An array is named after an input; it is one sample, or has one more axis in front, of
    /// samples.
    pub files: Vec<PathBuf>,
    /// How ranges follow from what was measured.
    pub method: Method,
    /// How far the scales of channels after a normalization move from activations to weights, between 0 and 1.
    pub smoothing: f32,
    /// The largest loss, as one less the cosine similarity of outputs to those of the f32 model, that is accepted.
    pub budget: f64,
}

impl Calibration {
    /// The budget of `w8a8` where none is asked for. Other inputs than the samples may lose as much again.
    pub const BUDGET: f64 = 0.005;
    /// That of `w4`.
    pub const BUDGET_OF_WEIGHTS: f64 = 0.015;
}

/// A graph with quantized contractions, and what that does.
pub(crate) struct Quantized {
    pub(crate) graph: Graph,
    pub(crate) report: Report,
}

/// Quantizes the contractions of `graph`, which is as imported.
///
/// # Errors
/// If the samples do not fit the model, or the model cannot be compiled or run.
pub(crate) fn quantize(
    graph: &Graph,
    calibration: &Calibration,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Quantized, CompileError> {
    let samples = samples::read(graph, &calibration.files)?;
    progress("optimizing before calibration");
    let graph = crate::pipeline::prepared(graph, options)?;
    let candidates = Candidates::new(&graph);
    if candidates.contractions.is_empty() {
        let message = "nothing to quantize: no contraction of f32 with a large constant factor";
        return Err(CompileError::Calibration(message.into()));
    }
    progress("calibrating");
    let choice = scales::choose(&graph, &candidates, &samples, calibration, options)?;
    progress("measuring layers");
    let errors = scales::errors(&graph, &candidates, &choice, &samples, options)?;
    progress("measuring the quantized model");
    let assigned = assign(&graph, &candidates, choice, &samples, calibration.budget, options)?;
    let report = report::report(&graph, &candidates, &assigned, &errors, &samples, calibration.budget);
    let graph = quantized_graph(&graph, &candidates, &assigned.choice)?;
    Ok(Quantized { graph, report })
}

fn quantized_graph(graph: &Graph, candidates: &Candidates, choice: &Choice) -> Result<Graph, CompileError> {
    Ok(quantize_contractions(graph, candidates, choice)?)
}
