//! From a model's file to an artifact: import, passes, partition, code generation, writing.
//!
//! A value moves down once. [`lower`] ends with kernels; [`write`] generates code and writes the artifact.

use crate::import::{ImportOptions, Imported, import};
use ic_artifact::{ArtifactError, ArtifactWriter, Entry, Manifest, Port, SymbolRange, Target};
use ic_codegen::cpu::{self, CpuTarget};
use ic_ir::kernel::Program;
use ic_ir::{Diagnostic, Graph, Location, ValueId};
use ic_passes::{PASSES, PartitionOptions, PassError, Report, hoist_branch_constants, partition};
use std::path::{Path, PathBuf};

/// How a model is compiled.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to import.
    pub import: ImportOptions,
    /// How far to optimize.
    pub passes: ic_passes::Options,
    /// What to generate code for, in order of preference.
    pub targets: Vec<CpuTarget>,
}

/// Why a model does not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model is malformed or uses what is not supported: everything that is wrong.
    #[error("{}", lines(.0))]
    Model(Vec<Diagnostic>),
    /// A defect of the compiler.
    #[error("internal error: {0}")]
    Pass(#[from] PassError),
    /// Weights cannot be read, or the artifact is full.
    #[error("cannot copy the weights of {} to {}: {source}", model.display(), artifact.display())]
    Weights {
        /// The model.
        model: PathBuf,
        /// The artifact.
        artifact: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The artifact cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The artifact.
        path: PathBuf,
        /// Why.
        source: ArtifactError,
    },
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A model as kernels.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The model's file.
    pub file: PathBuf,
    /// What is odd about the model.
    pub warnings: Vec<Diagnostic>,
    /// The model's own key-value pairs.
    pub metadata: Vec<(String, String)>,
    /// The optimized graph.
    pub graph: Graph,
    /// What the passes did.
    pub report: Report,
    /// Its kernels.
    pub program: Program,
}

/// Imports and optimizes the model at `path` and divides it into kernels. `progress` is told what is going on, and
/// `after_pass` sees the graph after each pass, `import` first.
///
/// # Errors
/// If the model is malformed or uses what is not supported, or a pass has a defect.
pub fn lower(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Lowered, CompileError> {
    progress("importing");
    let Imported { mut graph, warnings, metadata, .. } = import(path, &options.import).map_err(CompileError::Model)?;
    after_pass("import", &graph);
    let mut report = Report::default();
    for pass in PASSES.iter().filter(|pass| pass.min_level <= options.passes.opt_level) {
        progress(pass.name);
        graph = (pass.report)(&graph, &options.passes, &mut report)?;
        report.passes.push((pass.name, graph.nodes().len()));
        after_pass(pass.name, &graph);
    }
    progress("partition");
    let graph = hoist_branch_constants(&graph).map_err(PassError::Graph)?;
    let fuse = options.passes.opt_level > 0;
    let program = partition(&graph, &PartitionOptions { fuse }).map_err(|list| in_file(path, list))?;
    Ok(Lowered { file: path.into(), warnings, metadata, graph, report, program })
}

/// The diagnostics with the model's path as their file.
fn in_file(path: &Path, diagnostics: Vec<Diagnostic>) -> CompileError {
    let file: std::sync::Arc<str> = path.to_string_lossy().into();
    let place = |d: Diagnostic| Diagnostic { location: Location { file: file.clone(), ..d.location }, ..d };
    CompileError::Model(diagnostics.into_iter().map(place).collect())
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Size of the artifact.
    pub bytes: u64,
    /// Steps of the plan.
    pub n_steps: usize,
}

/// Generates code for the targets and writes the artifact. The file appears when it is complete.
///
/// # Errors
/// If something has no kernel, a file of the model cannot be read any more, or the artifact cannot be written.
pub fn write(
    model: &Lowered,
    output: &Path,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Written, CompileError> {
    progress("generating code");
    let compiled = cpu::compile(&model.program, &model.graph, &options.targets).map_err(|e| in_file(&model.file, e))?;
    progress("packing weights");
    let at = |source: ArtifactError| CompileError::Write { path: output.into(), source };
    let mut writer = ArtifactWriter::create(output).map_err(at)?;
    let plan_section = writer.plans(std::slice::from_ref(&compiled.plan)).map_err(at)?;
    let mut targets = Vec::new();
    for code in &compiled.code {
        let code_section = writer.code(&code.section).map_err(at)?;
        targets.extend(code.targets.iter().map(|target| Target {
            name: target.name().into(),
            code_section,
            plan_section,
            cpu_features: target.features().iter().map(ToString::to_string).collect(),
        }));
    }
    targets.sort_by_key(|target| options.targets.iter().position(|t| t.name() == target.name));
    let mut weights = writer.weights().map_err(at)?;
    compiled.write_weights(&model.graph, &mut weights).map_err(|source| CompileError::Weights {
        model: model.file.clone(),
        artifact: output.into(),
        source,
    })?;
    weights.finish().map_err(at)?;
    writer.manifest(&manifest(model, targets)).map_err(at)?;
    let bytes = writer.finish().map_err(at)?;
    Ok(Written { bytes, n_steps: compiled.plan.steps.len() })
}

fn manifest(model: &Lowered, targets: Vec<Target>) -> Manifest {
    let graph = &model.graph;
    let port = |name: &str, value: ValueId| {
        let ty = graph.tensor_ty(value);
        Port { name: name.into(), dtype: ty.dtype as u8, shape: ty.shape.iter().map(ToString::to_string).collect() }
    };
    let inputs = graph.inputs().iter().map(|&v| port(graph.value(v).name.as_deref().unwrap_or_default(), v));
    let outputs = graph.outputs().iter().zip(graph.output_names()).map(|(&v, name)| port(name, v));
    let symbols = graph.symbols.iter();
    let entry = Entry {
        name: "main".into(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        symbols: symbols.map(|(n, r)| SymbolRange { name: n.to_string(), min: r.min, max: r.max }).collect(),
    };
    Manifest {
        producer: env!("CARGO_PKG_VERSION").into(),
        entries: vec![entry],
        targets,
        world: 1,
        metadata: model.metadata.clone(),
        certificate: model.report.rules.iter().map(|(rule, &hits)| (rule.to_string(), hits as u64)).collect(),
        ..Manifest::default()
    }
}
