//! Artifacts with Ascend kernels, from outside.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_artifact::{ArtifactReader, AscendForm, AscendSection, Step};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ic(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The graph `name` of the kernels' tests, as a model of its own.
fn model(folder: &Path, file: &str, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testsuite/ascend").join(file);
    let source = std::fs::read_to_string(path).unwrap();
    let graph = source.split_inclusive("\n}\n").find(|graph| graph.contains(&format!("graph @{name}("))).unwrap();
    let model = folder.join(name).with_extension("ic");
    std::fs::write(&model, graph).unwrap();
    model
}

#[test]
fn a_transformer_layer_is_one_artifact_for_a_cpu_a_gpu_and_an_npu() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), "models.ic", "transformer_layer");
    let artifact = folder.path().join("layer.ica");
    let targets = ["cpu", "nvptx:sm_80", "ascend:910b"].map(|target| ["--target", target]).concat();
    let done = ic(&[["compile", text(&model), "-o", text(&artifact)].as_slice(), &targets].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for args in [vec!["verify", text(&model), text(&artifact)], vec!["inspect", text(&artifact)]] {
        let done = ic(&args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let bytes = std::fs::read(&artifact).unwrap();
    let reader = ArtifactReader::open(&bytes).unwrap();
    let target = reader.manifest().targets.iter().position(|target| target.name == "ascend:910b").unwrap();
    let section = &reader.sections()[reader.manifest().targets[target].code_section as usize];
    let code = &bytes[section.offset as usize..][..section.length as usize];
    let functions = AscendSection::decode(code).unwrap().functions;
    let plan = &reader.plans(target).unwrap()[0];
    for step in &plan.steps {
        let Step::Launch { function, .. } = step else { panic!("no launch: {step:?}") };
        let name = &plan.functions[*function as usize];
        let function = functions.iter().find(|function| function.name == *name).unwrap();
        assert!(function.text.contains(&format!("func.func @{name}(")), "{}", function.text);
    }
    assert!(functions.iter().any(|function| function.form == AscendForm::Mixed));
    assert!(functions.iter().any(|function| function.form == AscendForm::Vector));
}

#[test]
fn kernels_are_printed_as_mlir() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), "rows.ic", "softmax");
    let artifact = folder.path().join("softmax.ica");
    let done = ic(&["compile", text(&model), "--target", "ascend:910b", "--emit", "ascend", "-o", text(&artifact)]);
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.contains("func.func @k0000(") && printed.contains("linalg.reduce"), "{printed}");
}

#[test]
fn every_node_without_a_kernel_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("matrix.ic");
    let graph = "graph @matrix(%x: f32[4, 4]) {
  %d = det(%x) : f32[] @\"/det\"
  %s = cumulative(%x) {function = sum, axis = 1} : f32[4, 4] @\"/sum\"
  return \"s\" = %s, \"d\" = %d
}
";
    std::fs::write(&model, graph).unwrap();
    let done = ic(&["compile", text(&model), "--target", "ascend:910b", "-o", text(&folder.path().join("x.ica"))]);
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{message}");
    for part in ["not supported on ascend:910b", "/det", "`det`", "/sum", "`cumulative`"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// Symbolic extents need no binding, but for a part of an axis of symbolic extent; bound, that compiles too.
#[test]
fn a_part_of_a_symbolic_axis_is_refused_until_it_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("concat.ic"), folder.path().join("x.ica"));
    let graph = "graph @concat(%x: f32[N, 7], %y: f32[2, 7]) {
  %z = concat(%x, %y) {axis = 0} : f32[N+2, 7] @\"/concat\"
  return \"z\" = %z
}
";
    std::fs::write(&model, graph).unwrap();
    let compile = |dim: &[&str]| {
        ic(&[["compile", text(&model), "--target", "ascend:910b", "-o", text(&artifact)].as_slice(), dim].concat())
    };
    let done = compile(&[]);
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{message}");
    for part in ["/concat", "is symbolic", "--dim NAME=N"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    let done = compile(&["--dim", "N=3"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let done = compile(&["--dim", "M=3"]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("no dim is called `M`"));
}

#[test]
fn a_310p_takes_contractions_of_f16_only() {
    let folder = tempfile::tempdir().unwrap();
    let (f32s, f16s) =
        (model(folder.path(), "contraction.ic", "plain"), model(folder.path(), "contraction.ic", "halves"));
    let artifact = folder.path().join("x.ica");
    let compile = |model: &Path| ic(&["compile", text(model), "--target", "ascend:310p", "-o", text(&artifact)]);
    let done = compile(&f32s);
    let message = String::from_utf8_lossy(&done.stderr);
    assert!(message.contains("cube unit takes f16"), "{message}");
    let done = compile(&f16s);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
