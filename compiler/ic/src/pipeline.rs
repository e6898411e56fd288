//! From models' files to an artifact: import, passes, partition, code generation, writing.
//!
//! A value moves down once. [`lower`] ends with kernels; [`write`] generates code and writes the artifact.

mod states;

use crate::import::{ImportOptions, Imported, import};
use ic_artifact::{ArtifactError, ArtifactWriter, Entry, EntryState, Manifest, Port, State, SymbolRange, Target};
use ic_codegen::{Code, Compiled, WeightPool};
use ic_ir::kernel::Program;
use ic_ir::{Diagnostic, Graph, Location, ValueId};
use ic_passes::{BoundState, PASSES, PartitionOptions, PassError, Report, StatePort, bind_states};
use ic_passes::{extract_calls, hoist_branch_constants, partition_with_states};
use ic_types::Dim;
pub use states::StatePair;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How models are compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What to import.
    pub import: ImportOptions,
    /// How far to optimize.
    pub passes: ic_passes::Options,
    /// What to generate code for, in order of preference.
    pub targets: Vec<ic_codegen::Target>,
    /// Inputs and outputs that are state buffers.
    pub states: Vec<StatePair>,
    /// Inputs for which what depends on them alone becomes an entry of its own, by name.
    pub hoist: Vec<String>,
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

/// A model and the entry that it becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The entry's name.
    pub entry: String,
    /// The model's file.
    pub file: PathBuf,
}

impl Source {
    /// The entry `main` of an artifact with one model.
    pub fn main(file: impl Into<PathBuf>) -> Source {
        Source { entry: "main".into(), file: file.into() }
    }
}

/// A model as kernels.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The entry's name.
    pub entry: String,
    /// The model's file.
    pub file: PathBuf,
    /// The files that the model consists of, the model itself first.
    pub files: Vec<PathBuf>,
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
    /// Which of the graph's inputs and outputs are states.
    pub states: Vec<BoundState>,
}

/// All that becomes one artifact.
#[derive(Clone, Debug)]
pub struct Package {
    /// The entries.
    pub models: Vec<Lowered>,
    /// The state buffers that they share.
    pub states: Vec<State>,
}

/// Imports and optimizes models, one per entry, and divides them into kernels. `progress` is told what is going on, and
/// `after_pass` sees the graph of each entry after each pass, `import` first.
///
/// # Errors
/// If a model is malformed or uses what is not supported, or a pass has a defect.
pub fn lower(
    sources: &[Source],
    options: &Options,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Package, CompileError> {
    progress("importing");
    let mut models = import_all(sources, &options.import)?;
    let mut pairs = states::hoist(&mut models, &options.hoist)?;
    pairs.extend_from_slice(&options.states);
    let states = states::resolve(&models, &pairs)?;
    let first_called = models.len();
    let (mut lowered, mut called) = (Vec::new(), Vec::new());
    for ((source, model), ports) in models.into_iter().zip(&states.ports) {
        let from = first_called + called.len();
        let mut list = lower_one(source, model, ports, options, from, progress, after_pass)?;
        called.extend(list.split_off(1));
        lowered.append(&mut list);
    }
    lowered.append(&mut called);
    Ok(Package { models: lowered, states: states.list })
}

/// Imports every model. A dim that the options name must be one of some model's.
fn import_all(sources: &[Source], options: &ImportOptions) -> Result<Vec<(Source, Imported)>, CompileError> {
    let is_checked_here = sources.len() > 1 && !options.dims_of_others;
    let options = ImportOptions { dims_of_others: options.dims_of_others || sources.len() > 1, ..options.clone() };
    let (mut models, mut errors) = (Vec::new(), Vec::new());
    for source in sources {
        match import(&source.file, &options) {
            Ok(model) => models.push((source.clone(), model)),
            Err(diagnostics) => errors.extend(diagnostics),
        }
    }
    let known: BTreeSet<&String> = models.iter().flat_map(|(_, model)| &model.dims).collect();
    let given = options.dims.keys().chain(options.ranges.keys());
    let is_checked_here = is_checked_here && errors.is_empty();
    for name in given.filter(|name| is_checked_here && !known.contains(name)) {
        let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let location = Location { file: "--dim".into(), node: "".into() };
        errors.push(Diagnostic::new(location, format!("no dim is called `{name}`; the models' dims are {known}")));
    }
    if errors.is_empty() { Ok(models) } else { Err(CompileError::Model(errors)) }
}

/// A model as kernels, then the nested graphs that it calls, which are the entries from number `first_called` on.
fn lower_one(
    source: Source,
    model: Imported,
    ports: &[StatePort],
    options: &Options,
    first_called: usize,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Vec<Lowered>, CompileError> {
    let Imported { graph, warnings, metadata, files, .. } = model;
    let (mut graph, states) = bind_states(&graph, ports).map_err(PassError::Graph)?;
    after_pass("import", &graph);
    let mut report = Report::default();
    for pass in PASSES.iter().filter(|pass| pass.min_level <= options.passes.opt_level) {
        progress(pass.name);
        graph = (pass.report)(&graph, &options.passes, &mut report)?;
        report.passes.push((pass.name, graph.nodes().len()));
        after_pass(pass.name, &graph);
    }
    progress("partition");
    let (graph, called) = extract_calls(&graph, first_called).map_err(PassError::Graph)?;
    let fuse = options.passes.opt_level > 0;
    let kernels = |graph: &Graph, states: &[BoundState]| {
        let graph = hoist_branch_constants(graph).map_err(PassError::Graph)?;
        let program = partition_with_states(&graph, &PartitionOptions { fuse }, states);
        Ok::<_, CompileError>((program.map_err(|list| in_file(&source.file, list))?, graph))
    };
    let (program, graph) = kernels(&graph, &states)?;
    let Source { entry, file } = source.clone();
    let mut all = vec![Lowered { entry, file, files, warnings, metadata, graph, report, program, states }];
    for (i, graph) in called.iter().enumerate() {
        let (program, graph) = kernels(graph, &[])?;
        let (entry, file) = (format!("#{}/{}", source.entry, i), source.file.clone());
        let (files, warnings, metadata) = (Vec::new(), Vec::new(), Vec::new());
        let (report, states) = (Report::default(), Vec::new());
        all.push(Lowered { entry, file, files, warnings, metadata, graph, report, program, states });
    }
    Ok(all)
}

/// The diagnostics with the model's path as their file.
fn in_file(path: &Path, diagnostics: Vec<Diagnostic>) -> CompileError {
    let file: Arc<str> = path.to_string_lossy().into();
    let place = |d: Diagnostic| Diagnostic { location: Location { file: file.clone(), ..d.location }, ..d };
    CompileError::Model(diagnostics.into_iter().map(place).collect())
}

/// What was written.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// Size of the artifact.
    pub bytes: u64,
    /// Steps of the plans, of the class of targets that has the most.
    pub n_steps: usize,
    /// The artifact's manifest.
    pub manifest: Manifest,
}

/// Generates code for the targets and writes the artifact, one entry per model. The file appears when it is complete.
///
/// # Errors
/// If something has no kernel, a file of a model cannot be read any more, or the artifact cannot be written.
pub fn write(
    package: &Package,
    output: &Path,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Written, CompileError> {
    progress("generating code");
    let models = &package.models;
    let sources: Vec<_> = models.iter().map(|m| ic_codegen::Source { program: &m.program, graph: &m.graph }).collect();
    let mut compiled = ic_codegen::compile(&sources, &options.targets).map_err(|refused| in_files(models, refused))?;
    let at = |source: ArtifactError| CompileError::Write { path: output.into(), source };
    let mut writer = ArtifactWriter::create(output).map_err(at)?;
    progress("packing weights");
    let mut weights = writer.weights().map_err(at)?;
    let graphs: Vec<&Graph> = models.iter().map(|model| &model.graph).collect();
    let mut pool = WeightPool::new(&mut weights);
    let packed = compiled.iter_mut().try_for_each(|class| class.write_weights(&graphs, &mut pool));
    packed.map_err(|(index, source)| CompileError::Weights {
        model: models[index].file.clone(),
        artifact: output.into(),
        source,
    })?;
    weights.finish().map_err(at)?;
    let targets = write_targets(&mut writer, &compiled, &options.targets).map_err(at)?;
    let manifest = Manifest { features: features(&compiled), ..manifest(package, targets) };
    writer.manifest(&manifest).map_err(at)?;
    let bytes = writer.finish().map_err(at)?;
    let n_steps = |class: &Compiled| class.plans.iter().map(|plan| plan.steps.len()).sum();
    Ok(Written { bytes, n_steps: compiled.iter().map(n_steps).max().unwrap_or(0), manifest })
}

/// The features of a runtime that has every kernel which the plans name.
fn features(compiled: &[Compiled]) -> Vec<String> {
    let kernels = compiled.iter().flat_map(|class| &class.plans).flat_map(|plan| &plan.kernels);
    let features: BTreeSet<&str> = kernels.filter_map(|kernel| ic_kernels::table::feature_of(&kernel.name)).collect();
    features.into_iter().map(String::from).collect()
}

/// Writes one section of plans per class and one section of code per architecture; the targets, in the order of `order`.
fn write_targets(
    writer: &mut ArtifactWriter,
    compiled: &[Compiled],
    order: &[ic_codegen::Target],
) -> Result<Vec<Target>, ArtifactError> {
    let mut targets = Vec::new();
    for class in compiled {
        let plan_section = writer.plans(&class.plans)?;
        for code in &class.code {
            let code_section = match &code.code {
                Code::Cpu(section) => writer.code(section)?,
                Code::Device(bytes) => writer.device_code(bytes)?,
            };
            targets.extend(code.targets.iter().map(|target| Target {
                name: target.name().into(),
                code_section,
                plan_section,
                cpu_features: target.cpu_features().iter().map(ToString::to_string).collect(),
            }));
        }
    }
    targets.sort_by_key(|target| order.iter().position(|t| t.name() == target.name));
    Ok(targets)
}

/// What cannot be compiled, with the paths of the models.
pub fn in_files(models: &[Lowered], refused: ic_codegen::Refused) -> CompileError {
    let mut placed = Vec::new();
    for (index, diagnostic) in refused {
        let file: Arc<str> = models[index].file.to_string_lossy().into();
        placed.push(Diagnostic { location: Location { file, ..diagnostic.location }, ..diagnostic });
    }
    CompileError::Model(placed)
}

fn manifest(package: &Package, targets: Vec<Target>) -> Manifest {
    let models = &package.models;
    let mut certificate = BTreeMap::new();
    for (rule, &hits) in models.iter().flat_map(|model| &model.report.rules) {
        *certificate.entry(rule.to_string()).or_default() += hits as u64;
    }
    let n_callable = models.iter().filter(|model| !model.entry.starts_with('#')).count();
    // Keys of several models could clash.
    let metadata = models.iter().flat_map(|model| {
        let key = |key: &str| if n_callable == 1 { key.to_string() } else { format!("{}.{key}", model.entry) };
        model.metadata.iter().map(move |(k, value)| (key(k), value.clone()))
    });
    Manifest {
        producer: env!("CARGO_PKG_VERSION").into(),
        entries: models.iter().map(entry).collect(),
        states: package.states.clone(),
        targets,
        world: 1,
        metadata: metadata.collect(),
        certificate: certificate.into_iter().collect(),
        float_contractions: models.iter().flat_map(|model| model.report.float_contractions.clone()).collect(),
        ..Manifest::default()
    }
}

fn entry(model: &Lowered) -> Entry {
    let graph = &model.graph;
    let port = |name: &str, value: ValueId| {
        let ty = graph.tensor_ty(value);
        Port { name: name.into(), dtype: ty.dtype as u8, shape: ty.shape.iter().map(ToString::to_string).collect() }
    };
    let is_state_input = |i: usize| model.states.iter().any(|state| state.input == Some(i));
    let is_state_output = |i: usize| model.states.iter().any(|state| state.output == Some(i));
    let inputs = graph.inputs().iter().enumerate().filter(|(i, _)| !is_state_input(*i));
    let inputs = inputs.map(|(_, &v)| port(graph.value(v).name.as_deref().unwrap_or_default(), v));
    let outputs = graph.outputs().iter().zip(graph.output_names()).enumerate();
    let outputs = outputs.filter(|(i, _)| !is_state_output(*i)).map(|(_, (&v, name))| port(name, v));
    let state_port = |name: &str, value: ValueId, shape: &[Dim]| Port {
        name: name.into(),
        dtype: graph.dtype(value) as u8,
        shape: shape.iter().map(ToString::to_string).collect(),
    };
    let reads = |state: &BoundState| {
        let value = graph.inputs()[state.input?];
        Some(state_port(graph.value(value).name.as_deref().unwrap_or_default(), value, state.before.as_ref()?))
    };
    let writes = |state: &BoundState| {
        let i = state.output?;
        Some(state_port(&graph.output_names()[i], graph.outputs()[i], state.after.as_ref()?))
    };
    let states = model.states.iter();
    let states = states.map(|s| EntryState { state: s.state, reads: reads(s), writes: writes(s) });
    let symbols = graph.symbols.iter();
    Entry {
        name: model.entry.clone(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        symbols: symbols.map(|(n, r)| SymbolRange { name: n.to_string(), min: r.min, max: r.max }).collect(),
        states: states.collect(),
    }
}
