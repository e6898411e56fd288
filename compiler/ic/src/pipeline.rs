//! From models' files to an artifact: import, passes, partition, code generation, writing.
//!
//! A value moves down once. [`lower`] ends with kernels; [`write`] generates code and writes the artifact.

mod flags;
mod states;

use crate::import::{ImportOptions, Imported, import};
use crate::quantize::{self, Calibration, Quantized};
use crate::watch;
use ic_artifact::{ArtifactError, ArtifactWriter, Certificate, Entry, EntryState, KernelError, Manifest, Port, State};
use ic_artifact::{SymbolRange, Target};
use ic_codegen::{Code, Compiled, Products, Refused, TargetClass, WeightPool};
use ic_ir::kernel::{BufferKind, Program};
use ic_ir::{Diagnostic, Graph, Location, ValueId};
use ic_passes::{BoundState, PASSES, PartitionOptions, Pass, PassError, Report, StatePort, bind_states};
use ic_passes::{depends_on_class, extract_calls, hoist_branch_constants, partition_with_states};
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
    /// How far to optimize. What kernels the targets have follows from them.
    pub passes: ic_passes::Options,
    /// What to generate code for, in order of preference.
    pub targets: Vec<ic_codegen::Target>,
    /// How matrix products of f32 are computed.
    pub products: Products,
    /// Inputs and outputs that are state buffers.
    pub states: Vec<StatePair>,
    /// Inputs for which what depends on them alone becomes an entry of its own, by name.
    pub hoist: Vec<String>,
    /// How contractions are quantized, if they are.
    pub calibration: Option<Calibration>,
    /// Whether the certificate holds what each kernel gets wrong.
    pub certify: bool,
    /// Whether every kernel stores its results where they stay, as outputs of the program.
    pub watch: bool,
}

/// Why a model does not compile.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model is malformed or uses what is not supported: everything that is wrong.
    #[error("{}", lines(.0))]
    Model(Vec<Diagnostic>),
    /// Calibration samples do not fit the model, or it cannot run on them.
    #[error("calibration: {0}")]
    Calibration(String),
    /// Kernels cannot be measured.
    #[error("errors of kernels: {0}")]
    Watch(String),
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

/// A model as kernels for some classes of targets.
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

/// The entries as kernels for some classes of targets.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The classes.
    pub classes: Vec<TargetClass>,
    /// The entries.
    pub models: Vec<Lowered>,
}

/// All that becomes one artifact.
#[derive(Clone, Debug)]
pub struct Package {
    /// The entries, once for classes of targets that want the same kernels; at least one. Interfaces are the same in all.
    pub variants: Vec<Variant>,
    /// The state buffers that they share.
    pub states: Vec<State>,
    /// What quantization by calibration did.
    pub quantization: Option<quantize::Report>,
    /// The errors of each entry's kernels, if they were asked for.
    pub kernel_errors: Vec<(String, Vec<KernelError>)>,
}

impl Package {
    /// The entries, as the first class of targets has them.
    pub fn models(&self) -> &[Lowered] {
        &self.variants[0].models
    }
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
    let mut options = options.clone();
    let quantization = match options.calibration.take() {
        Some(calibration) => Some(quantize_only(&mut models, &calibration, &mut options, progress)?),
        None => None,
    };
    let kernel_errors = if options.certify { certify(&models, &options, progress)? } else { Vec::new() };
    Ok(Package { quantization, kernel_errors, ..lower_imported(models, &options, progress, after_pass)? })
}

/// What the kernels of each model get wrong on random inputs, by the portable kernels.
fn certify(
    models: &[(Source, Imported)],
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(String, Vec<KernelError>)>, CompileError> {
    progress("measuring kernels");
    let of_model = |(source, model): &(Source, Imported)| {
        let inputs = watch::random_inputs(&model.graph)?;
        let watched = watch::kernel_errors(model, options, &inputs, Some("portable")).map_err(|error| match error {
            CompileError::Watch(why) => {
                CompileError::Watch(format!("{why}; the model may need dims that fit together: bind them with `--dim`"))
            }
            error => error,
        })?;
        Ok((source.entry.clone(), watched.kernels))
    };
    models.iter().map(of_model).collect()
}

/// Quantizes the contractions of the only model by calibration, or decides how its weights are stored.
fn quantize_only(
    models: &mut [(Source, Imported)],
    calibration: &Calibration,
    options: &mut Options,
    progress: &mut dyn FnMut(&str),
) -> Result<quantize::Report, CompileError> {
    let refuse = |what: &str| CompileError::Calibration(format!("not supported: {what}"));
    let [(_, model)] = models else { return Err(refuse("several models at once")) };
    if !options.states.is_empty() || !options.hoist.is_empty() {
        return Err(refuse("models with states or hoisted inputs"));
    }
    if options.passes.integer_weights.is_some() {
        let (rounded, report) = quantize::round_weights(&model.graph, calibration, options, progress)?;
        options.passes.rounded = rounded;
        return Ok(report);
    }
    let Quantized { graph, report } = quantize::quantize(&model.graph, calibration, options, progress)?;
    model.graph = graph;
    Ok(report)
}

/// The graph after the first passes, up to saturation: what calibration measures.
pub(crate) fn prepared(graph: &Graph, options: &Options) -> Result<Graph, CompileError> {
    let (mut graph, mut report) = (graph.clone(), Report::default());
    let last = PASSES.iter().position(|pass| pass.name == "saturate").map_or(PASSES.len(), |at| at + 1);
    let passes = PASSES[..last].iter().filter(|pass| pass.name != "sink_dequantize");
    run(passes, &options.passes, (&mut graph, &mut report), &mut |_| (), &mut |_, _| ())?;
    Ok(graph)
}

/// The graph as the pass `quantize_weights` finds it.
pub(crate) fn before_weights(graph: &Graph, options: &Options) -> Result<Graph, CompileError> {
    let (mut graph, mut report) = (graph.clone(), Report::default());
    let passes = PASSES.iter().take_while(|pass| pass.name != "quantize_weights");
    run(passes, &options.passes, (&mut graph, &mut report), &mut |_| (), &mut |_, _| ())?;
    Ok(graph)
}

/// As [`lower`], from imported models.
pub(crate) fn lower_imported(
    mut models: Vec<(Source, Imported)>,
    options: &Options,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Package, CompileError> {
    let mut pairs = states::hoist(&mut models, &options.hoist)?;
    pairs.extend_from_slice(&options.states);
    let states = states::resolve(&models, &pairs)?;
    let common = models.into_iter().zip(&states.ports);
    let common = common.map(|((source, model), ports)| optimize(source, model, ports, options, progress, after_pass));
    let common = common.collect::<Result<Vec<_>, _>>()?;
    let is_split = common.iter().any(|model| depends_on_class(&model.graph, &options.passes));
    let mut variants = Vec::new();
    for classes in classes(options, is_split) {
        let native_halves = classes.iter().any(|class| *class != TargetClass::Cpu);
        let native_compounds = !native_halves;
        let flash_attention = classes.iter().all(|class| *class == TargetClass::Nvptx);
        let passes = ic_passes::Options { native_halves, native_compounds, flash_attention, ..options.passes.clone() };
        let to_kernels = ToKernels { passes: &passes, watch: options.watch };
        variants.push(Variant { classes, models: finish_all(&common, &to_kernels, progress, after_pass)? });
    }
    let n_models = |variant: &Variant| variant.models.len();
    if variants.iter().any(|variant| n_models(variant) != n_models(&variants[0])) {
        let location = Location { file: "".into(), node: "".into() };
        let message = "not supported: loops and branches that become other entries on other classes of targets";
        return Err(CompileError::Model(vec![Diagnostic::new(location, message)]));
    }
    let is_quantized = |model: &Lowered| model.report.rules.contains_key("quantize-weight");
    if options.passes.integer_weights.is_some() && !variants.iter().flat_map(|v| &v.models).any(is_quantized) {
        let location = Location { file: "--quantize".into(), node: "".into() };
        let message =
            "nothing to quantize: no product of f32 has a large constant right operand that is not the head's";
        return Err(CompileError::Model(vec![Diagnostic::new(location, message)]));
    }
    Ok(Package { variants, states: states.list, quantization: None, kernel_errors: Vec::new() })
}

/// The classes of the targets, in the order in which they first occur, grouped by the kernels that they want.
fn classes(options: &Options, is_split: bool) -> Vec<Vec<TargetClass>> {
    let mut groups: Vec<Vec<TargetClass>> = Vec::new();
    for class in options.targets.iter().map(|target| target.class()) {
        let is_like = |other: &TargetClass| !is_split || (*other == TargetClass::Cpu) == (class == TargetClass::Cpu);
        match groups.iter_mut().find(|group| group.iter().any(is_like)) {
            Some(group) if group.contains(&class) => {}
            Some(group) => group.push(class),
            None => groups.push(vec![class]),
        }
    }
    if groups.is_empty() { vec![vec![TargetClass::Cpu]] } else { groups }
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

/// A model after the passes that are the same for all targets.
struct Optimized {
    source: Source,
    graph: Graph,
    report: Report,
    states: Vec<BoundState>,
    warnings: Vec<Diagnostic>,
    metadata: Vec<(String, String)>,
    files: Vec<PathBuf>,
}

fn optimize(
    source: Source,
    model: Imported,
    ports: &[StatePort],
    options: &Options,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Optimized, CompileError> {
    let Imported { graph, warnings, metadata, files, .. } = model;
    let (graph, states) = bind_states(&graph, ports).map_err(PassError::Graph)?;
    after_pass("import", &graph);
    let mut optimized = Optimized { source, graph, report: Report::default(), states, warnings, metadata, files };
    let passes = PASSES.iter().take_while(|pass| !pass.depends_on_class);
    run(passes, &options.passes, (&mut optimized.graph, &mut optimized.report), progress, after_pass)?;
    Ok(optimized)
}

/// Runs passes, those of the level.
fn run<'p>(
    passes: impl Iterator<Item = &'p Pass>,
    options: &ic_passes::Options,
    (graph, report): (&mut Graph, &mut Report),
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<(), CompileError> {
    for pass in passes.filter(|pass| pass.min_level <= options.opt_level) {
        progress(pass.name);
        *graph = (pass.report)(graph, options, report)?;
        report.passes.push((pass.name, graph.nodes().len()));
        after_pass(pass.name, graph);
    }
    Ok(())
}

/// How graphs become kernels.
struct ToKernels<'a> {
    passes: &'a ic_passes::Options,
    watch: bool,
}

/// Every model as kernels, then the nested graphs that they call.
fn finish_all(
    models: &[Optimized],
    options: &ToKernels,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Vec<Lowered>, CompileError> {
    let (mut lowered, mut called) = (Vec::new(), Vec::new());
    for model in models {
        let mut list = finish(model, options, models.len() + called.len(), progress, after_pass)?;
        called.extend(list.split_off(1));
        lowered.append(&mut list);
    }
    lowered.append(&mut called);
    Ok(lowered)
}

/// Runs the passes that depend on the class of targets, and divides the graph into kernels: a model, then the nested
/// graphs that it calls, which are the entries from number `first_called` on.
fn finish(
    model: &Optimized,
    &ToKernels { passes: options, watch }: &ToKernels,
    first_called: usize,
    progress: &mut dyn FnMut(&str),
    after_pass: &mut dyn FnMut(&str, &Graph),
) -> Result<Vec<Lowered>, CompileError> {
    let (mut graph, mut report) = (model.graph.clone(), model.report.clone());
    let passes = PASSES.iter().skip_while(|pass| !pass.depends_on_class);
    run(passes, options, (&mut graph, &mut report), progress, after_pass)?;
    progress("partition");
    let (graph, called) = extract_calls(&graph, first_called).map_err(PassError::Graph)?;
    let fuse = options.opt_level > 0;
    let kernels = |graph: &Graph, states: &[BoundState]| {
        let graph = hoist_branch_constants(graph).map_err(PassError::Graph)?;
        let partitioning = PartitionOptions { fuse, share: !watch, rows_of_products: options.native_compounds };
        let program = partition_with_states(&graph, &partitioning, states);
        let mut program = program.map_err(|list| in_file(&model.source.file, list))?;
        if watch {
            watch::watch(&mut program);
        }
        Ok::<_, CompileError>((program, graph))
    };
    let Optimized { states, warnings, metadata, files, .. } = model;
    let (states, warnings, metadata, files) = (states.clone(), warnings.clone(), metadata.clone(), files.clone());
    let (program, graph) = kernels(&graph, &states)?;
    let Source { entry, file } = model.source.clone();
    let mut all = vec![Lowered { entry, file, files, warnings, metadata, graph, report, program, states }];
    for (i, graph) in called.iter().enumerate() {
        let (program, graph) = kernels(graph, &[])?;
        let (entry, file) = (format!("#{}/{}", model.source.entry, i), model.source.file.clone());
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
    let mut compiled = compile(package, options)?;
    let at = |source: ArtifactError| CompileError::Write { path: output.into(), source };
    let mut writer = ArtifactWriter::create(output).map_err(at)?;
    progress("packing weights");
    let mut weights = writer.weights().map_err(at)?;
    let mut pool = WeightPool::new(&mut weights);
    for (models, class) in &mut compiled {
        let graphs: Vec<&Graph> = models.iter().map(|model| &model.graph).collect();
        class.write_weights(&graphs, &mut pool).map_err(|(index, source)| CompileError::Weights {
            model: models[index].file.clone(),
            artifact: output.into(),
            source,
        })?;
    }
    let compiled: Vec<Compiled> = compiled.into_iter().map(|(_, class)| class).collect();
    weights.finish().map_err(at)?;
    let targets = write_targets(&mut writer, &compiled, &options.targets).map_err(at)?;
    let mut manifest = Manifest { features: features(&compiled), ..manifest(package, targets) };
    manifest.certificate.options = flags::flags(options);
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

/// Generates code for every class of targets, each from its variant of the entries.
fn compile<'p>(package: &'p Package, options: &Options) -> Result<Vec<(&'p [Lowered], Compiled)>, CompileError> {
    let (mut compiled, mut refused) = (Vec::new(), Vec::new());
    for Variant { classes, models } in &package.variants {
        let of_classes: Vec<_> = options.targets.iter().copied().filter(|t| classes.contains(&t.class())).collect();
        match ic_codegen::compile(&code_sources(models, options), &of_classes) {
            Ok(list) => compiled.extend(list.into_iter().map(|class| (models.as_slice(), class))),
            Err(list) => refused.extend(list),
        }
    }
    if refused.is_empty() { Ok(compiled) } else { Err(in_files(package.models(), refused)) }
}

/// The entries as code generators take them.
pub fn code_sources<'m>(models: &'m [Lowered], options: &Options) -> Vec<ic_codegen::Source<'m>> {
    let products = options.products;
    let source = |model: &'m Lowered| ic_codegen::Source { program: &model.program, graph: &model.graph, products };
    models.iter().map(source).collect()
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
pub fn in_files(models: &[Lowered], refused: Refused) -> CompileError {
    let mut placed = Vec::new();
    for (index, diagnostic) in refused {
        let file: Arc<str> = models[index].file.to_string_lossy().into();
        placed.push(Diagnostic { location: Location { file, ..diagnostic.location }, ..diagnostic });
    }
    CompileError::Model(placed)
}

fn manifest(package: &Package, targets: Vec<Target>) -> Manifest {
    let models = package.models();
    let mut rules = BTreeMap::new();
    for (rule, &hits) in models.iter().flat_map(|model| &model.report.rules) {
        *rules.entry(rule.to_string()).or_default() += hits as u64;
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
        certificate: Certificate {
            rules: rules.into_iter().collect(),
            kernels: package.kernel_errors.clone(),
            ..Certificate::default()
        },
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
    let mut outputs: Vec<Port> = outputs.collect();
    outputs.extend(watched_ports(&model.program, outputs.len()));
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
        outputs,
        symbols: symbols.map(|(n, r)| SymbolRange { name: n.to_string(), min: r.min, max: r.max }).collect(),
        states: states.collect(),
    }
}

/// The outputs of a program from number `first` on, which its graph does not have.
fn watched_ports(program: &Program, first: usize) -> Vec<Port> {
    let port = |i: usize| {
        let buffer = program.buffers.iter().find(|buffer| buffer.kind == BufferKind::Output(i as u32))?;
        let shape = buffer.ty.shape.iter().map(ToString::to_string).collect();
        Some(Port { name: program.outputs[i].to_string(), dtype: buffer.ty.dtype as u8, shape })
    };
    (first..program.outputs.len()).filter_map(port).collect()
}
