//! Random ONNX graphs against the reference evaluator: `cargo xtask random-graphs [--graphs N] [--seed S] [--failures DIR]
//! [--save DIR] [--target T --device D]`. Failing graphs are made smaller and written; `--save` writes all graphs with inputs and outputs, for
//! `testsuite/random_graphs.py`.
#![expect(clippy::print_stdout, reason = "a command line prints")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ic_codegen::Target;
use ic_ir::testing::Random;
use ic_testsuite::random_graphs::{Case, Defect, Place, Verdict, check, graph, shrink};
use ic_types::Tensor;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Parser)]
struct Args {
    /// Number of graphs
    #[arg(long, default_value_t = 20_000)]
    graphs: u64,
    /// Seed of the first; the others follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where failing graphs go
    #[arg(long, default_value = "target/random_graphs")]
    failures: PathBuf,
    /// Write every graph with its inputs and outputs here
    #[arg(long)]
    save: Option<PathBuf>,
    /// What to compile for, such as nvptx:sm_80 [default: this host]; what it has no code for is counted
    #[arg(long, requires = "device")]
    target: Option<String>,
    /// The device that runs it, such as emulated-cuda or cuda
    #[arg(long, requires = "target")]
    device: Option<String>,
}

/// Where graphs run.
fn place(args: &Args) -> Result<Place> {
    let (Some(target), Some(device)) = (&args.target, &args.device) else { return Ok(Place::host()) };
    let target = Target::from_name(target).with_context(|| format!("there is no target `{target}`"))?;
    Ok(Place { target, device: device.clone() })
}

fn main() -> Result<()> {
    let args = Args::parse();
    let place = place(&args)?;
    std::fs::create_dir_all(&args.failures)?;
    std::panic::set_hook(Box::new(|_| {}));
    let (next, counts) = (AtomicU64::new(0), Mutex::new(BTreeMap::<String, usize>::new()));
    let work = || -> Result<()> {
        let folder = tempfile::tempdir()?;
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= args.graphs {
                return Ok(());
            }
            let outcome = one(args.seed + i, &place, folder.path(), &args)?;
            *counts.lock().expect("no thread panics with the lock").entry(outcome).or_default() += 1;
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let n = std::thread::available_parallelism().map_or(1, usize::from);
        let start = |_| std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, work);
        let threads = (0..n).map(start).collect::<std::io::Result<Vec<_>>>()?;
        threads.into_iter().try_for_each(|thread| thread.join().expect("defects are caught"))
    })?;
    let counts = counts.into_inner().expect("no thread panics with the lock");
    let broken: usize = counts
        .iter()
        .filter(|(kind, _)| !["right", "not imported", "unsupported", "out of bounds"].contains(&kind.as_str()))
        .map(|(_, n)| n)
        .sum();
    println!("{} graphs from seed {}: {counts:?}", args.graphs, args.seed);
    ensure!(broken == 0, "{broken} graphs have defects: see {}", args.failures.display());
    Ok(())
}

/// The outcome of the graph of a seed.
fn one(seed: u64, place: &Place, folder: &Path, args: &Args) -> Result<String> {
    let case = graph(&mut Random(seed), folder);
    Ok(match check(&case, place, folder) {
        Verdict::Right(outputs) => {
            if let Some(all) = &args.save {
                save(&case, &outputs, &all.join(seed.to_string()))?;
            }
            "right".into()
        }
        Verdict::OutOfBounds => "out of bounds".into(),
        Verdict::Unsupported(_) => "unsupported".into(),
        Verdict::NotImported(why) => {
            println!("{seed}: not imported: {why}");
            "not imported".into()
        }
        // A device that has failed once fails for all graphs of the process.
        Verdict::Broken(defect, why) if args.device.is_some() && defect != Defect::Wrong => {
            save(&case, &[], &args.failures.join(seed.to_string()))?;
            anyhow::bail!("{seed}: {defect:?}: {why}");
        }
        Verdict::Broken(defect, why) => {
            let small = shrink(&case, defect, place, folder);
            let ops: Vec<&str> = small.nodes.iter().map(|node| node.op_type.as_str()).collect();
            println!("{seed}: {defect:?} [{}]: {}", ops.join(" "), why.chars().take(300).collect::<String>());
            save(&small, &[], &args.failures.join(seed.to_string()))?;
            format!("{defect:?}")
        }
    })
}

fn save(case: &Case, outputs: &[Tensor], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    case.write(&folder.join("model.onnx"))?;
    let inputs: Vec<(&str, &Tensor)> = case.inputs().collect();
    // NumPy has no 16-bit brain floats: what has them is saved without values.
    let named: Vec<(&str, &Tensor)> = case.outputs.iter().map(String::as_str).zip(outputs).collect();
    let _ = ic::tensors::write_npz(&folder.join("inputs.npz"), &inputs);
    let _ = ic::tensors::write_npz(&folder.join("outputs.npz"), &named);
    Ok(())
}
