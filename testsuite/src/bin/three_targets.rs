//! Compiles graphs for a CPU, a GPU and an NPU in one artifact each, and checks everything that needs no device:
//!
//!     three_targets IC GRAPH.ic…
//!
//! `IC` is the compiler to check. Of each artifact, `ic verify` compares the CPU's results with the evaluator; `ptxas`
//! takes every kernel with no spills, and contractions of 16-bit floats run on tensor cores; the Ascend plan, its texts
//! lowered to this CPU, gives the evaluator's numbers; and `bishengir-compile` takes every kernel to
//! `module.hivm.opt.mlir`, contractions on the cube unit. `testsuite/three_targets.sh` fetches the programs, which the
//! variables `IC_PTXAS`, `IC_NVDISASM`, `IC_BISHENGIR` and `IC_LLVM` name, and runs this.
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use anyhow::{Context, Result, bail, ensure};
use ic_artifact::{ArtifactReader, AscendForm, AscendSection};
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::{Graph, text};
use ic_testsuite::ascend::{CUBE_CALLS, Tools, Verdict, run_plan};
use ic_testsuite::gpu::{Assembled, Assembler};
use ic_testsuite::largest_error;
use ic_types::{DType, Data, Tensor};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGETS: [&str; 3] = ["x86-64-v3", "nvptx:sm_80", "ascend:910b"];

/// Values of symbols at which results are compared.
const EXTENTS: [&[(&str, i64)]; 2] = [&[("N", 5), ("B", 2), ("S", 9)], &[("N", 67), ("B", 1), ("S", 33)]];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [ic, graphs @ ..] = args.as_slice() else { bail!("expected: IC GRAPH.ic…") };
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from).with_context(|| format!("`{name}` is not set"));
    let gpu = Assembler { ptxas: path("IC_PTXAS")?, nvdisasm: path("IC_NVDISASM")? };
    let npu = Tools::find()?.context("`IC_BISHENGIR` or MLIR 22 in `IC_LLVM` is missing")?;
    println!(
        "{:<22} {:>9} {:>11} {:>9} {:>12} {:>11} {:>6} {:>6}",
        "graph", "cpu", "PTX kernels", "spills", "tensor cores", "NPU kernels", "error", "cube"
    );
    let mut missed = Vec::new();
    for graph in graphs {
        let mut row = Row::default();
        if let Err(error) = check(ic, Path::new(graph), &gpu, &npu, &mut row) {
            missed.push(format!("{graph}: {error:#}"));
        }
        missed.extend(row.missed.iter().map(|what| format!("{graph}: {what}")));
        let name = Path::new(graph).file_stem().unwrap_or_default().to_string_lossy();
        println!("{name:<22} {}", row.line());
    }
    ensure!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
    Ok(())
}

/// What was found of a graph.
#[derive(Default)]
struct Row {
    is_verified: bool,
    ptx: Vec<Assembled>,
    n_functions: usize,
    n_cube: usize,
    error: f64,
    missed: Vec<String>,
}

impl Row {
    fn line(&self) -> String {
        let cpu = if self.is_verified { "verified" } else { "-" };
        let spills: u64 = self.ptx.iter().map(|kernel| kernel.spilled_bytes).sum();
        let products: Vec<&Assembled> = self.ptx.iter().filter(|kernel| is_product(kernel)).collect();
        let on_tensor_cores = products.iter().filter(|kernel| kernel.n_hmma > 0).count();
        format!(
            "{cpu:>9} {:>11} {spills:>9} {:>12} {:>11} {:>6.0e} {:>6}",
            self.ptx.len(),
            format!("{on_tensor_cores}/{}", products.len()),
            self.n_functions,
            self.error,
            self.n_cube
        )
    }
}

fn is_product(kernel: &Assembled) -> bool {
    kernel.name.contains("matmul")
}

fn check(ic: &str, file: &Path, gpu: &Assembler, npu: &Tools, row: &mut Row) -> Result<()> {
    let graph = text::parse(&std::fs::read_to_string(file)?)?;
    let folder = tempfile::tempdir()?;
    let artifact = folder.path().join("graph.ica");
    let model = file.display().to_string();
    let path = artifact.display().to_string();
    let targets = TARGETS.map(|target| ["--target", target]).concat();
    run(ic, &[["compile", &model, "-o", &path].as_slice(), &targets].concat())?;
    let shown = run(ic, &["inspect", &path])?;
    let unseen = TARGETS.iter().filter(|target| !shown.contains(**target));
    row.missed.extend(unseen.map(|target| format!("`ic inspect` does not show {target}")));
    let dims = dims_of(&graph, EXTENTS[0]);
    run(ic, &[vec!["verify", &model, &path], dims.iter().map(String::as_str).collect()].concat())?;
    row.is_verified = true;
    let bytes = std::fs::read(&artifact)?;
    let reader = ArtifactReader::open(&bytes)?;
    check_gpu(&reader, &graph, gpu, folder.path(), row)?;
    check_npu(&reader, &graph, npu, row)
}

/// `--dim NAME=N` for the symbols of the graph.
fn dims_of(graph: &Graph, extents: &[(&str, i64)]) -> Vec<String> {
    let symbols = ic_types::symbols_of(graph.inputs().iter().flat_map(|&v| &graph.tensor_ty(v).shape));
    let used = extents.iter().filter(|(name, _)| symbols.iter().any(|symbol| **symbol == **name));
    used.flat_map(|(name, extent)| ["--dim".to_string(), format!("{name}={extent}")]).collect()
}

fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_string())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn target(reader: &ArtifactReader, name: &str) -> Result<usize> {
    let position = reader.manifest().targets.iter().position(|target| target.name == name);
    position.with_context(|| format!("the artifact has no target {name}"))
}

fn check_gpu(reader: &ArtifactReader, graph: &Graph, gpu: &Assembler, folder: &Path, row: &mut Row) -> Result<()> {
    let code = reader.device_code(target(reader, TARGETS[1])?)?;
    let text = std::str::from_utf8(code)?.trim_end_matches('\0');
    row.ptx = gpu.assemble(text, "sm_80", folder)?;
    let is_half = |dtype: DType| matches!(dtype, DType::F16 | DType::BF16);
    let are_halves = graph.inputs().iter().all(|&v| is_half(graph.dtype(v)));
    for kernel in &row.ptx {
        if kernel.spilled_bytes > 0 {
            row.missed.push(format!("`{}` spills {} bytes", kernel.name, kernel.spilled_bytes));
        }
        if is_product(kernel) && are_halves && kernel.n_hmma == 0 {
            row.missed.push(format!("`{}` has no HMMA", kernel.name));
        }
        if is_product(kernel) && kernel.n_hmma + kernel.n_ffma == 0 {
            row.missed.push(format!("`{}` has no products", kernel.name));
        }
    }
    ensure!(!row.ptx.is_empty(), "the module has no kernels");
    Ok(())
}

fn check_npu(reader: &ArtifactReader, graph: &Graph, npu: &Tools, row: &mut Row) -> Result<()> {
    let target = target(reader, TARGETS[2])?;
    let section = AscendSection::decode(reader.device_code(target)?).map_err(anyhow::Error::msg)?;
    let plans = reader.plans(target)?;
    let plan = plans.first().context("no plan")?;
    row.n_functions = section.functions.len();
    for function in &section.functions {
        let is_vector = matches!(function.form, AscendForm::Vector);
        row.n_cube += usize::from(!is_vector);
        match npu.compile(&function.name, &function.text, &function.options)? {
            Verdict::Compiled(text) => {
                let missing = CUBE_CALLS.iter().filter(|call| !is_vector && !text.contains(**call));
                row.missed.extend(missing.map(|call| format!("`{}` does not call {call}", function.name)));
            }
            Verdict::Refused(step, log) => row.missed.push(format!("`{}`: {step}: {log}", function.name)),
        }
    }
    for extents in EXTENTS {
        let inputs = inputs(graph, extents)?;
        let expected = eval_graph(graph, &inputs, &Symbols::new())?;
        let ran = run_plan(npu, plan, &section, reader.weights(), &inputs)?;
        for (i, (expected, bytes)) in expected.iter().zip(&ran.outputs).enumerate() {
            let data = Data::from_le_bytes(expected.dtype(), bytes).context("an output of another size")?;
            let error = largest_error(expected, &Tensor::new(expected.shape().to_vec(), data));
            row.error = row.error.max(error);
            let bound = if expected.dtype() == DType::F32 { 2e-5 } else { 8e-3 };
            if error > bound {
                row.missed.push(format!("output {i} on the NPU is off by {error:.1e} at {extents:?}"));
            }
        }
    }
    Ok(())
}

/// Random inputs at these values of the symbols.
fn inputs(graph: &Graph, extents: &[(&str, i64)]) -> Result<Vec<Tensor>> {
    let value = |name: &str| extents.iter().find(|(symbol, _)| *symbol == name).map(|(_, extent)| *extent);
    let input = |(seed, &v): (usize, &ic_ir::ValueId)| {
        let ty = graph.tensor_ty(v);
        let shape = ty.shape.iter().map(|dim| Ok(dim.eval(&value)? as usize)).collect::<Result<Vec<usize>>>()?;
        ic::tensors::random_tensor(ty.dtype, shape, seed as u64 + 1).with_context(|| format!("inputs of {}", ty.dtype))
    };
    graph.inputs().iter().enumerate().map(input).collect()
}
