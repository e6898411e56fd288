//! The CUDA road of the runtime on the emulated GPU: artifacts from graphs, run through cudarc by the driver stand-in,
//! against the evaluator.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(unsafe_code, reason = "the tests run artifacts that they have just compiled")]
#![cfg(target_os = "linux")]

#[path = "cuda/control.rs"]
mod control;

use ic::pipeline::{self, Source};
use ic::tensors::random_tensor;
use ic_artifact::{ArtifactReader, ArtifactWriter, Manifest};
use ic_codegen::Target;
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::{Graph, text};
use ic_passes::{IntegerWeights, Precision};
use ic_runtime::{LoadOptions, Model, Options, Outputs, Profile};
use ic_testsuite::compare;
use ic_types::{Tensor, TensorView};
use std::io::Cursor;
use std::path::Path;

const EMULATED: &str = "emulated-cuda";

/// The emulated GPU, or what `IC_DEVICE` names: `cuda` for the machine's own.
fn device() -> String {
    std::env::var("IC_DEVICE").unwrap_or_else(|_| EMULATED.into())
}

/// Whether tests of what the emulated GPU is and lacks have something to test.
fn is_emulated() -> bool {
    device() == EMULATED
}

/// An artifact of a graph, for these targets.
fn compile(graph: &str, targets: &[&str]) -> Vec<u8> {
    compile_with(graph, targets, pipeline::Options::default())
}

/// An artifact of a graph, for these targets and with these options.
fn compile_with(graph: &str, targets: &[&str], options: pipeline::Options) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (file, artifact) = (folder.path().join("graph.ic"), folder.path().join("graph.ica"));
    std::fs::write(&file, graph).unwrap();
    let targets = targets.iter().map(|name| Target::from_name(name).unwrap()).collect();
    let options = pipeline::Options { targets, ..options };
    let lowered = pipeline::lower(&[Source::main(&file)], &options, &mut |_| {}, &mut |_, _| {}).unwrap();
    pipeline::write(&lowered, &artifact, &options, &mut |_| {}).unwrap();
    std::fs::read(artifact).unwrap()
}

fn load_on(artifact: &[u8], device: &str) -> Result<Model, ic_runtime::Error> {
    // SAFETY: the artifact was written by the compiler under test a moment ago.
    unsafe { Model::from_bytes(artifact, &LoadOptions::new().device(device)) }
}

fn load(graph: &str) -> Model {
    load_on(&compile(graph, &["nvptx:sm_80"]), &device()).unwrap()
}

fn program(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name).with_extension("ic");
    std::fs::read_to_string(path).unwrap()
}

/// Random inputs of a graph, whose symbols have these values.
fn inputs(graph: &Graph, dims: &[(&str, i64)], seed: u64) -> Vec<(String, Tensor)> {
    let value = |name: &str| dims.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let tensor = |(i, &input): (usize, &ic_ir::ValueId)| {
        let ty = graph.tensor_ty(input);
        let shape = ty.shape.iter().map(|dim| dim.eval(&value).unwrap() as usize).collect();
        let name = graph.value(input).name.as_deref().unwrap().to_string();
        (name, random_tensor(ty.dtype, shape, seed + i as u64).unwrap())
    };
    graph.inputs().iter().enumerate().map(tensor).collect()
}

fn views(inputs: &[(String, Tensor)]) -> Vec<(&str, TensorView<'_>)> {
    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect()
}

fn check(graph: &Graph, inputs: &[(String, Tensor)], outputs: &Outputs, tolerance: f64) {
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    let expected = eval_graph(graph, &tensors, &Symbols::new()).unwrap();
    assert_eq!(outputs.len(), expected.len());
    for ((name, found), expected) in outputs.iter().zip(&expected) {
        assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{name}");
        compare(expected, found, tolerance).unwrap_or_else(|e| panic!("`{name}` of @{}: {e}", graph.name));
    }
}

/// Values of symbols.
type Dims = &'static [(&'static str, i64)];

/// Each shape is run one launch after the other, then recorded, then replayed, with other values each time.
#[test]
fn programs_give_the_evaluators_results_on_every_shape() {
    let cases: &[(&str, &[Dims], f64)] = &[
        ("mlp", &[&[("N", 1)], &[("N", 67)], &[("N", 0)], &[("N", 5)]], 1e-5),
        ("mlp_f16", &[&[("N", 33)], &[("N", 1)]], 1e-2),
        ("softmax", &[&[("N", 31)], &[("N", 2)]], 1e-5),
        ("layer_norm", &[&[("N", 3)]], 1e-5),
        ("transformer_layer_f32", &[&[("B", 2), ("S", 5)], &[("B", 1), ("S", 1)]], 1e-4),
        ("transformer_layer_f16", &[&[("B", 1), ("S", 7)]], 2e-2),
    ];
    for (name, shapes, tolerance) in cases {
        let source = program(name);
        let (graph, model) = (text::parse(&source).unwrap(), load(&source));
        assert_eq!(model.target(), "nvptx:sm_80");
        assert!(!is_emulated() || model.device() == "Emulated H100", "{}", model.device());
        let session = model.session(&Options::new()).unwrap();
        let mut outputs = Outputs::new();
        for seed in 1..4 {
            for dims in *shapes {
                let inputs = inputs(&graph, dims, seed);
                session.run_into(&views(&inputs), &mut outputs).unwrap();
                check(&graph, &inputs, &outputs, *tolerance);
            }
        }
        assert!(session.arena_bytes() > 0);
    }
}

/// A table of weights, an output that is there twice, and a view.
const CONSTANTS: &str = "graph @constants(%x: f32[N, 3]) {
  %w = constant() {value = f32[3, 2] [1, 2, 3, 4, 5, 6]} : f32[3, 2]
  %0 = matmul(%x, %w) : f32[N, 2]
  %1 = reshape(%0) {shape = [2 * N]} : f32[2 * N]
  %2 = relu(%1) : f32[2 * N]
  return \"y\" = %0, \"z\" = %2
}
";

/// Integers times the scale 1 as `w8` finds it, or off by half of one in each group as `w4` does.
#[test]
fn weights_are_integers_with_scales() {
    for (to, largest, tolerance) in [(IntegerWeights::I8, 127.0f32, 3e-3), (IntegerWeights::I4, 7.5, 2e-2)] {
        let range = 2 * largest as i64 + 1;
        let element = |(k, n): (i64, i64)| match k % 128 {
            0 => largest,
            _ => ((k * 37 + n * 61) % range - range / 2) as f32,
        };
        let elements = (0..300).flat_map(|k| (0..72).map(move |n| (k, n))).map(|at| element(at).to_string());
        let elements = elements.collect::<Vec<_>>().join(", ");
        let source = format!(
            "graph @weights(%x: f32[N, 300]) {{\n  %w = constant() {{value = f32[300, 72] [{elements}]}} : f32[300, 72]\n  \
             %y = matmul(%x, %w) : f32[N, 72]\n  return \"y\" = %y\n}}\n"
        );
        let passes = ic_passes::Options { precision: Precision::F16, integer_weights: Some(to), ..Default::default() };
        let options = pipeline::Options { passes, ..Default::default() };
        let artifact = compile_with(&source, &["nvptx:sm_80"], options);
        let (graph, model) = (text::parse(&source).unwrap(), load_on(&artifact, &device()).unwrap());
        for n in [1, 20] {
            let inputs = inputs(&graph, &[("N", n)], 3);
            let session = model.session(&Options::new()).unwrap();
            check(&graph, &inputs, &session.run(&views(&inputs)).unwrap(), tolerance);
        }
    }
}

#[test]
fn sessions_share_weights_and_run_at_the_same_time() {
    let (graph, model) = (text::parse(CONSTANTS).unwrap(), load(CONSTANTS));
    let sessions = [model.session(&Options::new()).unwrap(), model.session(&Options::new()).unwrap()];
    std::thread::scope(|scope| {
        for (session, n) in [(&sessions[0], 4), (&sessions[1], 9), (&sessions[0], 17)] {
            let graph = &graph;
            scope.spawn(move || {
                for seed in 0..5 {
                    let inputs = inputs(graph, &[("N", n)], seed);
                    check(graph, &inputs, &session.run(&views(&inputs)).unwrap(), 1e-6);
                }
            });
        }
    });
}

#[test]
fn steps_are_timed() {
    let source = program("mlp");
    let (graph, model) = (text::parse(&source).unwrap(), load(&source));
    let session = model.session(&Options::new()).unwrap();
    let (mut outputs, mut profile) = (Outputs::new(), Profile::new());
    for seed in 1..4 {
        let inputs = inputs(&graph, &[("N", 3)], seed);
        session.run_profiled(&views(&inputs), &mut outputs, &mut profile).unwrap();
        check(&graph, &inputs, &outputs, 1e-5);
    }
    assert!(profile.steps().len() >= 2 && profile.steps().iter().all(|step| step.calls == 3));
    assert!(profile.total() > std::time::Duration::ZERO);
}

#[test]
fn the_best_target_that_a_gpu_runs_is_taken() {
    if !is_emulated() {
        return;
    }
    let graph = program("softmax");
    let target =
        |targets: &[&str]| load_on(&compile(&graph, targets), &device()).map(|model| model.target().to_string());
    assert_eq!(target(&["cpu", "nvptx:sm_80", "nvptx:sm_89"]).unwrap(), "nvptx:sm_89");
    assert_eq!(target(&["nvptx:sm_90a", "nvptx:sm_80"]).unwrap(), "nvptx:sm_90a");
    assert_eq!(target(&["nvptx:sm_80", "nvptx:sm_100a"]).unwrap(), "nvptx:sm_80");
    let error = target(&["cpu", "nvptx:sm_100a"]).unwrap_err().to_string();
    for part in ["no code for this device", "nvptx:sm_100a: Emulated H100 has compute capability 9.0", "for device cpu"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_a_gpu_cannot_do_is_said() {
    if !is_emulated() {
        return;
    }
    let graph = program("softmax");
    let artifact = compile(&graph, &["nvptx:sm_80"]);
    let model = load_on(&artifact, &device()).unwrap();
    let error = load_on(&artifact, "emulated-cuda:7").unwrap_err().to_string();
    assert_eq!(error, "device emulated-cuda:7: the driver has 1 GPUs, counted from 0");
    let error = load_on(&artifact, "cuda").unwrap_err().to_string();
    assert!(error.starts_with("device cuda: this process already uses the other CUDA driver"), "{error}");
    drop(model);
    let error = load_on(&with_code(&artifact, b".version 9.9\nnonsense\0"), &device()).unwrap_err().to_string();
    assert!(error.contains("the driver does not take its PTX"), "{error}");
    let error = load_on(&with_code(&artifact, b".version 9.9"), &device()).unwrap_err().to_string();
    assert!(error.contains("does not end with a zero byte"), "{error}");
    let empty = b".version 7.1\n.target sm_80\n.address_size 64\n\0";
    let error =
        load_on(&with_code(&artifact, empty), &device()).unwrap().session(&Options::new()).unwrap_err().to_string();
    assert!(error.contains("its module has no kernel `"), "{error}");
}

/// The artifact of one target without weights, with other code.
fn with_code(artifact: &[u8], code: &[u8]) -> Vec<u8> {
    let reader = ArtifactReader::open(artifact).unwrap();
    let mut writer = ArtifactWriter::new(Cursor::new(Vec::new())).unwrap();
    let plan_section = writer.plans(&reader.plans(0).unwrap()).unwrap();
    let code_section = writer.device_code(code).unwrap();
    let target = ic_artifact::Target { plan_section, code_section, ..reader.manifest().targets[0].clone() };
    writer.manifest(&Manifest { targets: vec![target], ..reader.manifest().clone() }).unwrap();
    writer.finish_into().unwrap().into_inner()
}

/// More than the emulated GPU's 64 GB.
#[test]
fn a_gpu_whose_memory_is_too_small_refuses_the_shape() {
    if !is_emulated() {
        return;
    }
    let graph = "graph @outer(%x: f64[N, 1], %y: f64[1, N]) {
  %0 = add(%x, %y) : f64[N, N]
  %1 = mul(%x, %y) : f64[N, N]
  %2 = sub(%x, %y) : f64[N, N]
  %3 = div(%x, %y) : f64[N, N]
  %4 = max(%x, %y) : f64[N, N]
  return \"a\" = %0, \"b\" = %1, \"c\" = %2, \"d\" = %3, \"e\" = %4
}
";
    let session = load(graph).session(&Options::new()).unwrap();
    let graph = text::parse(graph).unwrap();
    let large = inputs(&graph, &[("N", 46_000)], 1);
    let error = session.run(&views(&large)).unwrap_err().to_string();
    assert!(error.contains("not enough memory for") && error.contains("Emulated H100"), "{error}");
    // The session goes on.
    let small = inputs(&graph, &[("N", 4)], 1);
    check(&graph, &small, &session.run(&views(&small)).unwrap(), 1e-12);
    // Kernels count elements in 32 bits.
    let larger = inputs(&graph, &[("N", 50_000)], 1);
    assert!(session.run(&views(&larger)).is_err());
}
