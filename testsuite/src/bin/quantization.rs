//! What quantization costs in accuracy and saves in bytes, as a table.
//!
//!     cargo run --release -p ic-testsuite --bin quantization -- IC MODEL CALIBRATION.npz INPUTS.npz [--dim NAME=N]…
//!
//! `IC` is a release of the compiler. The model is compiled in f32, by every scheme without samples, and by those that take
//! them with `CALIBRATION.npz`; all run on `INPUTS.npz`, which should be other inputs. The cosine similarity is that of the
//! f32 model's outputs and the quantized one's: that of the first output, and the least of all outputs of floats.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context, Result, bail, ensure};
use ic::tensors::read_npz;
use ic_types::Tensor;
use std::path::Path;
use std::process::Command;

/// A scheme, and whether samples are given.
const SCHEMES: [(&str, bool); 4] = [("w8a8", true), ("w8", false), ("w4", false), ("w4", true)];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [ic, model, calibration, inputs, more @ ..] = args.as_slice() else {
        bail!("expected: IC MODEL CALIBRATION.npz INPUTS.npz [--dim NAME=N]…");
    };
    let folder = tempfile::tempdir()?;
    let (artifact, outputs) = (folder.path().join("m.ica"), folder.path().join("out.npz"));
    let run = |options: &[&str]| -> Result<(Vec<(String, Tensor)>, u64)> {
        let compile =
            Command::new(ic).args(["compile", model, "-o"]).arg(&artifact).args(more).args(options).output()?;
        ensure!(compile.status.success(), "{}", String::from_utf8_lossy(&compile.stderr));
        let mut run = Command::new(ic);
        run.arg("run").arg(&artifact).args(["--inputs", inputs, "--outputs"]).arg(&outputs);
        ensure!(run.output()?.status.success(), "the artifact does not run on {inputs}");
        Ok((read_npz(&outputs)?, std::fs::metadata(&artifact)?.len()))
    };
    let (exact, bytes) = run(&[])?;
    println!("| {} | first output | least of all | MB |\n|-|-|-|-|", Path::new(model).display());
    println!("| f32 | 1 | 1 | {:.1} |", bytes as f64 / 1e6);
    for (scheme, takes_samples) in SCHEMES {
        let samples = ["--calibration", calibration.as_str()];
        let options = [&["--quantize", scheme][..], if takes_samples { &samples } else { &[] }].concat();
        let name = if takes_samples { format!("{scheme}, samples") } else { scheme.to_string() };
        let (found, bytes) = match run(&options) {
            Ok(found) => found,
            // A model without products of matrices, for one.
            Err(refused) => {
                println!("| {name} | {} | | |", refused.to_string().trim());
                continue;
            }
        };
        let all = similarities(&exact, &found);
        let least = all.iter().copied().fold(1.0, f64::min);
        let first = all.first().context("no output is of floats")?;
        println!("| {name} | {first:.5} | {least:.5} | {:.1} |", bytes as f64 / 1e6);
    }
    Ok(())
}

/// The cosine similarity of each output of floats.
fn similarities(exact: &[(String, Tensor)], found: &[(String, Tensor)]) -> Vec<f64> {
    let pairs =
        exact.iter().zip(found).filter_map(|((_, a), (_, b))| Some((a.elements::<f32>()?, b.elements::<f32>()?)));
    let cosine = |(a, b): (&[f32], &[f32])| {
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        product(a, b) / (product(a, a) * product(b, b)).sqrt().max(f64::MIN_POSITIVE)
    };
    pairs.filter(|(a, _)| !a.is_empty()).map(cosine).collect()
}
