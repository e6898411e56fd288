//! `ic compile`.

mod explain;

use super::args::{CalibrationMethod, CompileArgs, Fp, Precision, Quantize};
use super::feed::parse_dims;
use super::output::Say;
use super::report::{collect_kernels, report};
use anyhow::{Context, Result, bail, ensure};
use ic::import::ImportOptions;
use ic::pipeline::{self, Lowered, Options, Package, Source, StatePair, Variant};
use ic::quantize::{Calibration, Method, Report};
use ic::{Form, bindings};
use ic_artifact::Manifest;
use ic_codegen::{Products, Target, TargetClass, ascend, cpu, nvptx};
use ic_ir::kernel::Step;
use ic_ir::text;
use ic_passes::{FpMode, IntegerWeights, PASSES};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(crate) fn compile(args: &CompileArgs, say: &mut Say) -> Result<()> {
    let start = Instant::now();
    let sources = sources(&args.models)?;
    let output = output(args, &sources)?;
    let options = options(args)?;
    ensure!(
        sources.len() == 1 || args.outputs.is_empty(),
        "`--outputs` names the outputs of one model, not of several"
    );
    let emits = args.emit.iter().map(|text| Emit::parse(text)).collect::<Result<Vec<_>>>()?;
    check_passes(&args.print_after)?;
    let mut printed = String::new();
    let lowered = pipeline::lower(&sources, &options, &mut |what| say.phase(what), &mut |pass, graph| {
        if args.print_after.iter().any(|name| name == pass) {
            printed += &format!("; after {pass}\n{}", text::print(graph));
        }
    })?;
    if !printed.is_empty() {
        say.text(&printed)?;
    }
    lowered.models().iter().for_each(warn);
    for emit in emits.iter().filter(|emit| emit.kind.form().is_none()) {
        emit.write(&emit.texts(&lowered, &options)?, say)?;
    }
    if args.explain {
        say.text(&explain::explanations(&lowered))?;
    }
    let written = pipeline::write(&lowered, &output, &options, &mut |what| say.phase(what))?;
    for emit in &emits {
        if let Some(beside) = emit.kind.form() {
            emit.write(&[("model".into(), rust(&written.manifest, &output, beside)?)], say)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if let Some(report) = lowered.quantization.as_ref().filter(|_| !args.json) {
        say.line(&report.summary())?;
    }
    if args.json {
        return say.json(&json!({
            "quantization": lowered.quantization.as_ref().map(quantized_json),
            "artifact": output.display().to_string(),
            "entries": written.manifest.callable().iter().map(|entry| &entry.name).collect::<Vec<_>>(),
            "bytes": written.bytes,
            "steps": written.n_steps,
            "seconds": seconds,
            "targets": options.targets.iter().map(|target| target.name()).collect::<Vec<_>>(),
        }));
    }
    let megabytes = written.bytes as f64 / 1e6;
    say.line(&format!("wrote {} ({megabytes:.1} MB, {} steps) in {seconds:.2} s", output.display(), written.n_steps))
}

fn quantized_json(report: &Report) -> serde_json::Value {
    let layers = report.layers.iter().map(|layer| {
        json!({
            "name": layer.name,
            "precision": layer.precision,
            "error": layer.error,
            "loss": layer.loss,
            "multiply_adds": layer.multiply_adds,
            "float_bytes": layer.float_bytes,
            "bytes": layer.bytes,
        })
    });
    json!({
        "cosine": report.cosine,
        "budget": report.budget,
        "samples": report.n_samples,
        "layers": layers.collect::<Vec<_>>(),
    })
}

/// The model's name with `.ica`; that of a Hugging Face folder beside the folder.
fn default_output(model: &Path) -> PathBuf {
    let is_config = model.file_name().is_some_and(|name| name == "config.json");
    let named = if is_config { model.parent().unwrap_or(Path::new("")) } else { model };
    let named = if named.as_os_str().is_empty() { Path::new(".") } else { named };
    let absolute = if named.is_dir() { named.canonicalize().ok() } else { None };
    let mut name = absolute.unwrap_or_else(|| named.into()).into_os_string();
    if named.is_dir() {
        name.push(".ica");
        return name.into();
    }
    PathBuf::from(name).with_extension("ica")
}

/// The artifact's path: as given, or that of the only model with another extension.
fn output(args: &CompileArgs, sources: &[Source]) -> Result<PathBuf> {
    match (&args.output, sources) {
        (Some(output), _) => Ok(output.clone()),
        (None, [only]) => Ok(default_output(&only.file)),
        (None, _) => bail!("several models: name the artifact with `-o OUT.ica`"),
    }
}

/// The models, each `NAME=FILE`; an only one may be `FILE` and is `main`.
fn sources(models: &[String]) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for model in models {
        let source = match model.split_once('=') {
            Some((entry, file)) if !Path::new(model).exists() => Source { entry: entry.into(), file: file.into() },
            _ if models.len() == 1 => Source::main(model),
            _ => bail!("`{model}`: each of several models has the form NAME=FILE, where NAME is its entry"),
        };
        ensure!(!source.entry.is_empty(), "`{model}`: an entry needs a name before `=`");
        ensure!(sources.iter().all(|s| s.entry != source.entry), "two models are called `{}`", source.entry);
        sources.push(source);
    }
    Ok(sources)
}

/// What the arguments ask for.
pub(super) fn options(args: &CompileArgs) -> Result<Options> {
    let names: Vec<&str> =
        if args.targets.is_empty() { vec!["cpu"] } else { args.targets.iter().map(|t| &**t).collect() };
    let known = || Target::all().map(Target::name).collect::<Vec<_>>().join(", ");
    let mut targets = Vec::new();
    for name in names {
        let target =
            Target::from_name(name).with_context(|| format!("no target `{name}`; there are: cpu, {}", known()))?;
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let fp = match args.fp {
        Fp::Strict => FpMode::Strict,
        Fp::Default => FpMode::Default,
        Fp::Fast => FpMode::Fast,
    };
    let precision = match args.precision {
        Precision::F32 | Precision::Tf32 => ic_passes::Precision::F32,
        Precision::F16 => ic_passes::Precision::F16,
        Precision::Bf16 => ic_passes::Precision::BF16,
    };
    targets.iter().try_for_each(|target| check_quantize(args, *target))?;
    let integer_weights = match args.quantize {
        Some(Quantize::W8) => Some(IntegerWeights::I8),
        Some(Quantize::W4) => Some(IntegerWeights::I4),
        Some(Quantize::W8a8) | None => None,
    };
    let outputs = (!args.outputs.is_empty()).then(|| args.outputs.clone());
    let (dims, ranges) = parse_dims(&args.dims)?;
    let import = ImportOptions { dims, ranges, outputs, ..Default::default() };
    let opt_level = args.opt_level;
    let explain = args.explain;
    let passes = ic_passes::Options { opt_level, fp, precision, integer_weights, explain, ..Default::default() };
    let states = args.states.iter().map(|text| state_pair(text)).collect::<Result<_>>()?;
    let products = if args.precision == Precision::Tf32 { Products::Tf32 } else { Products::F32 };
    let calibration = calibration(args)?;
    let (hoist, certify) = (args.hoist.clone(), args.certify);
    Ok(Options { import, passes, targets, products, states, hoist, calibration, certify, ..Options::default() })
}

/// Fails where a target has no kernels for what is quantized.
fn check_quantize(args: &CompileArgs, target: Target) -> Result<()> {
    let is_narrow = matches!(args.precision, Precision::F16 | Precision::Bf16);
    match (args.quantize, target.class()) {
        (None, _) | (Some(_), TargetClass::Cpu) => Ok(()),
        (Some(Quantize::W8 | Quantize::W4), TargetClass::Nvptx) if is_narrow => Ok(()),
        (Some(Quantize::W8 | Quantize::W4), TargetClass::Nvptx) => bail!(
            "not supported: `--quantize` for {} with `--precision f32`; its kernels widen integers to 16 bits: add \
             `--precision f16` or `bf16`",
            target.name()
        ),
        _ => bail!("not supported: this `--quantize` for {}; its kernels are for CPUs", target.name()),
    }
}

/// How the model is calibrated, if it is.
fn calibration(args: &CompileArgs) -> Result<Option<Calibration>> {
    let can_be = matches!(args.quantize, Some(Quantize::W8a8 | Quantize::W4));
    ensure!(can_be || args.calibration.is_empty(), "`--calibration` goes with `--quantize w8a8` or `w4`");
    let is_calibrated = args.quantize == Some(Quantize::W8a8) || !args.calibration.is_empty();
    ensure!(is_calibrated || args.accuracy_budget.is_none(), "`--accuracy-budget` goes with `--calibration`");
    if !is_calibrated {
        return Ok(None);
    }
    ensure!(!args.calibration.is_empty(), "`--quantize w8a8` needs samples: `--calibration FILE.npz`");
    ensure!((0.0..=1.0).contains(&args.smoothing), "`--smoothing {}`: expected 0 to 1", args.smoothing);
    ensure!(args.accuracy_budget.is_none_or(|budget| budget >= 0.0), "`--accuracy-budget`: a loss is not negative");
    let method = match args.calibration_method {
        CalibrationMethod::Minmax => Method::MinMax,
        CalibrationMethod::Percentile => Method::Percentile,
        CalibrationMethod::Mse => Method::Mse,
    };
    let (files, smoothing) = (args.calibration.clone(), args.smoothing);
    let of_scheme = match args.quantize {
        Some(Quantize::W4) => Calibration::BUDGET_OF_WEIGHTS,
        _ => Calibration::BUDGET,
    };
    let budget = args.accuracy_budget.unwrap_or(of_scheme);
    Ok(Some(Calibration { files, method, smoothing, budget }))
}

/// `IN=OUT`, or one name for both.
fn state_pair(text: &str) -> Result<StatePair> {
    let (input, output) = text.split_once('=').unwrap_or((text, text));
    let n_stars = |name: &str| name.matches('*').count();
    ensure!(!input.is_empty() && !output.is_empty(), "`--state {text}`: expected IN=OUT");
    ensure!(n_stars(input) == n_stars(output) && n_stars(input) < 2, "`--state {text}`: one `*` on each side, or none");
    Ok(StatePair { input: input.into(), output: output.into() })
}

fn check_passes(names: &[String]) -> Result<()> {
    for name in names {
        let known = || PASSES.iter().map(|pass| pass.name).collect::<Vec<_>>().join(", ");
        let is_known = name == "import" || PASSES.iter().any(|pass| pass.name == name);
        ensure!(is_known, "no pass `{name}`; there are: import, {}", known());
    }
    Ok(())
}

fn warn(lowered: &Lowered) {
    for warning in &lowered.warnings {
        eprintln!("{}", warning.to_string().replacen("error:", "warning:", 1));
    }
}

/// One `--emit KIND[=PATH]`.
struct Emit {
    kind: Kind,
    path: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    Graph,
    Kernels,
    Asm,
    Ptx,
    Ascend,
    Dot,
    Report,
    Deps,
    Rust,
    RustBeside,
}

impl Kind {
    /// For kinds that describe the written artifact, whether it is to be found beside the program.
    fn form(self) -> Option<Place> {
        match self {
            Kind::Rust => Some(Place::Embedded),
            Kind::RustBeside => Some(Place::Beside),
            _ => None,
        }
    }
}

/// Where a program finds its artifact.
#[derive(Clone, Copy)]
enum Place {
    Embedded,
    Beside,
}

/// The typed interface of the artifact in the file `output`.
fn rust(manifest: &Manifest, output: &Path, place: Place) -> Result<String> {
    let name = output.file_stem().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{}: the name is not Unicode", output.display()))?;
    let form = match place {
        Place::Embedded => Form::Embedded,
        Place::Beside => {
            let file = File::open(output).with_context(|| format!("cannot open {}", output.display()))?;
            Form::Beside(ic_artifact::read_identity(file).with_context(|| output.display().to_string())?)
        }
    };
    bindings(manifest, name, &form).map_err(anyhow::Error::msg)
}

impl Emit {
    fn parse(text: &str) -> Result<Emit> {
        let (kind, path) = text.split_once('=').map_or((text, None), |(kind, path)| (kind, Some(path.into())));
        let kind = match kind {
            "graph" => Kind::Graph,
            "kernels" => Kind::Kernels,
            "asm" => Kind::Asm,
            "ptx" => Kind::Ptx,
            "ascend" => Kind::Ascend,
            "dot" => Kind::Dot,
            "report" => Kind::Report,
            "deps" => Kind::Deps,
            "rust" => Kind::Rust,
            "rust-beside" => Kind::RustBeside,
            _ => bail!(
                "`--emit {text}`: expected graph, kernels, asm, ptx, ascend, dot, report, deps, rust or rust-beside"
            ),
        };
        Ok(Emit { kind, path })
    }

    /// The texts of this form, by name: one per kernel for kernels and functions.
    fn texts(&self, package: &Package, options: &Options) -> Result<Vec<(String, String)>> {
        let mut texts = Vec::new();
        for variant in &package.variants {
            // What does not depend on the targets is printed once.
            if matches!(self.kind, Kind::Deps) && !texts.is_empty() {
                break;
            }
            let of_variant = self.variant_texts(variant, options)?;
            let classes: Vec<&str> = variant.classes.iter().map(|class| class.name()).collect();
            let prefix = match &self.kind {
                Kind::Graph | Kind::Kernels | Kind::Dot | Kind::Report if package.variants.len() > 1 => {
                    format!("{}.", classes.join("-"))
                }
                _ => String::new(),
            };
            texts.extend(of_variant.into_iter().map(|(name, text)| (format!("{prefix}{name}"), text)));
        }
        if let (Kind::Report, Some(report)) = (self.kind, &package.quantization) {
            texts.push(("quantization".into(), report.to_string()));
        }
        if let (Kind::Ptx, true) = (self.kind, texts.is_empty()) {
            bail!("`--emit ptx` needs a target: `--target nvptx:sm_80`");
        }
        Ok(texts)
    }

    fn variant_texts(&self, variant: &Variant, options: &Options) -> Result<Vec<(String, String)>> {
        let Variant { classes, models } = variant;
        let sources = pipeline::code_sources(models, options);
        let targets: Vec<Target> = options.targets.iter().copied().filter(|t| classes.contains(&t.class())).collect();
        let in_files = |refused| pipeline::in_files(models, refused);
        match self.kind {
            Kind::Asm if classes.contains(&TargetClass::Cpu) => {
                let listings = cpu::disassemble(&sources, &targets).map_err(in_files)?.into_iter();
                return Ok(listings.map(|l| (format!("{}.{}", l.function, l.target.name()), l.text)).collect());
            }
            Kind::Ptx if classes.contains(&TargetClass::Nvptx) => {
                return Ok(self.ptx(nvptx::listings(&sources, &targets).map_err(in_files)?));
            }
            Kind::Ascend if classes.contains(&TargetClass::Ascend) => {
                return Ok(ascend::listing(&sources, &targets, ascend::Spelling::Vendor).map_err(in_files)?);
            }
            _ => {}
        }
        let mut texts = Vec::new();
        for model in models {
            let one = |text: String| vec![("model".to_string(), text)];
            let of_model = match self.kind {
                Kind::Graph => one(text::print(&model.graph)),
                Kind::Dot => one(ic::dot(&model.graph)),
                Kind::Report => one(report(model)),
                Kind::Deps => one(model.files.iter().map(|file| format!("{}\n", file.display())).collect()),
                Kind::Kernels => kernel_texts(&model.program.steps),
                Kind::Asm | Kind::Ptx | Kind::Ascend | Kind::Rust | Kind::RustBeside => Vec::new(),
            };
            let prefix = if models.len() == 1 { String::new() } else { format!("{}.", model.entry) };
            texts.extend(of_model.into_iter().map(|(name, text)| (format!("{prefix}{name}"), text)));
        }
        Ok(texts)
    }

    /// The module of each NVIDIA GPU, or into a folder, each kernel as a module of its own.
    fn ptx(&self, listings: Vec<nvptx::Listing>) -> Vec<(String, String)> {
        let by_kernel = self.path.as_ref().is_some_and(|path| path.to_string_lossy().ends_with('/'));
        let texts = listings.into_iter().flat_map(|listing| {
            let target = listing.target.name().replace(':', "-");
            match by_kernel {
                true => listing.functions.into_iter().map(|(name, text)| (format!("{name}.{target}"), text)).collect(),
                false => vec![(target, listing.module)],
            }
        });
        texts.collect()
    }

    fn write(&self, texts: &[(String, String)], say: &mut Say) -> Result<()> {
        let all = || texts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
        let Some(path) = &self.path else { return say.text(&all()) };
        if !path.to_string_lossy().ends_with('/') {
            return std::fs::write(path, all()).with_context(|| format!("cannot write {}", path.display()));
        }
        std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        for (name, text) in texts {
            let file = path.join(format!("{name}.txt"));
            std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// Each kernel in order, branches included, as text.
fn kernel_texts(steps: &[Step]) -> Vec<(String, String)> {
    let mut kernels = Vec::new();
    collect_kernels(steps, &mut kernels);
    kernels.iter().enumerate().map(|(i, (kernel, ..))| (format!("k{i:04}"), kernel.to_string())).collect()
}
