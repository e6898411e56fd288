//! The device description of the extraction's cost model, measured on this machine.
//!
//!     cargo xtask fit-cost [passes/src/cost/device.rs]
//!
//! Graphs of one op each are compiled and timed on one thread: sums of arrays far larger than caches give the time in
//! which a byte moves, which is the unit of the model, and matrix products what else happens in that time. Numbers are
//! rounded to powers of two: the model is to choose alike on machines that are nearly alike. What starting a kernel and
//! functions of arrays in cache take is said beside, as the model's weights for these are rules of thumb.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that says what it measures")]

use anyhow::{Context, Result};
use ic::pipeline::Options;
use ic::runner::Runner;
use ic::tensors::random_tensor;
use ic_runtime::{Outputs, TensorView};
use ic_types::Tensor;
use std::time::Instant;

/// Measurements of a graph; the least counts.
const ROUNDS: usize = 15;

fn main() -> Result<()> {
    let large = 1 << 24;
    let byte = seconds(&pointwise("add(%x, %z)", large))? / (3 * 4 * large) as f64;
    let launch = seconds(&pointwise("add(%x, %z)", 16))? / byte;
    // Less what its bytes take, in cache.
    let small = 1 << 14;
    let sum = seconds(&pointwise("add(%x, %z)", small))?;
    let per_element = |function: &str| {
        Ok::<f64, anyhow::Error>((seconds(&pointwise(function, small))? - sum).max(0.0) / byte / small as f64)
    };
    let (exp, div) = (per_element("exp(%x)")?, per_element("div(%x, %z)")?);
    let n = 512;
    let floats = (n * n * n) as f64 / (seconds(&product(n))? / byte);
    let integers = (n * n * n) as f64 / (seconds(&integer_product(n))? / byte);
    eprintln!(
        "a byte moves in {:.4} ns; in bytes: a launch takes {launch:.0}, an exp {exp:.1}, a division {div:.1}; multiply-adds \
         in the time of a byte: {floats:.1} of f32, {integers:.1} of 8 bits",
        byte * 1e9
    );
    let text = device(floats, integers);
    match std::env::args().nth(1) {
        Some(path) => std::fs::write(&path, text).with_context(|| path.clone())?,
        None => print!("{text}"),
    }
    Ok(())
}

/// The device description as Rust.
fn device(floats: f64, integers: f64) -> String {
    let power = |x: f64| 1u64 << (x.max(1.0).log2().round() as u32);
    let (floats, integers) = (power(floats), power(integers));
    format!(
        "//! The device that the cost model assumes: written by `cargo xtask fit-cost passes/src/cost/device.rs`.

use super::Device;

/// One core of a CPU.
pub(super) const DEVICE: Device = Device {{ multiply_adds: {floats}, integer_multiply_adds: {integers} }};
"
    )
}

fn pointwise(function: &str, n: usize) -> String {
    format!("graph @p(%x: f32[{n}], %z: f32[{n}]) {{\n  %y = {function}\n  return \"y\" = %y\n}}\n")
}

fn product(n: usize) -> String {
    format!(
        "graph @m(%x: f32[{n}, {n}]) {{
  %w = constant() {{value = f32[{n}, {n}] splat 0.5}}
  %y = matmul(%x, %w)
  return \"y\" = %y
}}
"
    )
}

fn integer_product(n: usize) -> String {
    format!(
        "graph @m(%x: u8[{n}, {n}]) {{
  %w = constant() {{value = i8[{n}, {n}] splat 3}}
  %y = integer_matmul(%x, %w)
  return \"y\" = %y
}}
"
    )
}

/// The least time of a run.
fn seconds(text: &str) -> Result<f64> {
    let graph = ic_ir::text::parse(text).map_err(|e| anyhow::anyhow!("{e}"))?;
    let inputs: Vec<(String, Tensor)> = graph
        .inputs()
        .iter()
        .map(|&value| {
            let shape = graph.tensor_ty(value).constant_shape().context("extents are constant")?;
            let tensor = random_tensor(graph.dtype(value), shape, 1).context("the type has random numbers")?;
            let name = graph.value(value).name.as_deref().context("inputs have names")?;
            Ok((name.to_string(), tensor))
        })
        .collect::<Result<_>>()?;
    let options = Options::default();
    let passes = ic_passes::Options { iterations: 0, ..options.passes.clone() };
    let runner = Runner::with(graph, &Options { passes, ..options }, &ic_runtime::Options::new().threads(1))?;
    let views: Vec<(&str, TensorView<'_>)> = inputs.iter().map(|(name, x)| (name.as_str(), x.view())).collect();
    let mut outputs = Outputs::new();
    runner.session().run_into(&views, &mut outputs)?;
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut runs = 0;
        while runs == 0 || start.elapsed().as_secs_f64() < 2e-3 {
            runner.session().run_into(&views, &mut outputs)?;
            runs += 1;
        }
        least = least.min(start.elapsed().as_secs_f64() / f64::from(runs));
    }
    Ok(least)
}
