//! How kernels came about and what they get wrong: `verify --per-kernel`, `compile --certify`, `--explain` and the report of
//! the search.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A norm, a product with an activation that is spelled out, and a softmax of what that gives.
const GRAPH: &str = "graph @block(%x: f32[N, 8], %w: f32[8, 16]) {
  %0 = mul(%x, %x) : f32[N, 8] @\"/norm/Pow\"
  %1 = reduce(%0) {function = mean, axes = [1]} : f32[N, 1] @\"/norm/ReduceMean\"
  %2 = constant() {value = f32[] [0.00001]} : f32[]
  %3 = add(%1, %2) : f32[N, 1] @\"/norm/Add\"
  %4 = sqrt(%3) : f32[N, 1] @\"/norm/Sqrt\"
  %5 = div(%x, %4) : f32[N, 8] @\"/norm/Div\"
  %6 = matmul(%5, %w) : f32[N, 16] @\"/up/MatMul\"
  %7 = sigmoid(%6) : f32[N, 16] @\"/act/Sigmoid\"
  %8 = mul(%6, %7) : f32[N, 16] @\"/act/Mul\"
  %9 = softmax(%8) : f32[N, 16] @\"/Softmax\"
  %10 = slice(%9) {axes = [1], starts = [0], extents = [5], steps = [1]} : f32[N, 5] @\"/left\"
  %11 = slice(%9) {axes = [1], starts = [3], extents = [7], steps = [1]} : f32[N, 7] @\"/right\"
  %12 = concat(%11, %10) {axis = 1} : f32[N, 12] @\"/Concat\"
  return \"y\" = %12, \"z\" = %8
}
";

fn ic(args: &[&str]) -> Output {
    let done = Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    done
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with the model in it, and the artifact that some arguments make of it.
fn compiled(args: &[&str]) -> (tempfile::TempDir, PathBuf, Output) {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("block.ic"), folder.path().join("block.ica"));
    std::fs::write(&model, GRAPH).unwrap();
    let done = ic(&[&["compile", text(&model), "-o", text(&artifact)], args].concat());
    (folder, artifact, done)
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kernel_is_compared_with_its_evaluation() {
    for args in [&["--opt-level", "0"][..], &[], &["--fp", "strict", "--dim", "N=3"]] {
        let listed = tempfile::tempdir().unwrap();
        let emit = format!("kernels={}/", text(listed.path()));
        let (folder, artifact, _) = compiled(&[args, &["--emit", &emit]].concat());
        let n_kernels = std::fs::read_dir(listed.path()).unwrap().count();
        let model = folder.path().join("block.ic");
        let verified = ic(&["verify", text(&model), text(&artifact), "--per-kernel", "--json"]);
        let verified = json(&verified);
        let measured = verified["kernels"]["measured"].as_array().unwrap();
        assert_eq!((measured.len(), &verified["kernels"]["not_measured"]), (n_kernels, &Value::from(0)), "{args:?}");
        for kernel in measured {
            assert!(kernel["max_rel"].as_f64().unwrap() < 1e-6, "{args:?}: {kernel}");
            assert!(kernel["elements"].as_u64().unwrap() > 0, "{args:?}: {kernel}");
        }
        assert!(measured.iter().any(|kernel| kernel["nodes"].as_str().unwrap().contains("/up/MatMul")), "{measured:?}");
    }
}

#[test]
fn a_table_has_a_line_for_each_kernel() {
    let (folder, artifact, _) = compiled(&["--opt-level", "0"]);
    let model = folder.path().join("block.ic");
    let done = ic(&["verify", text(&model), text(&artifact), "--per-kernel", "--dim", "N=5"]);
    let table = String::from_utf8(done.stdout).unwrap();
    assert!(table.starts_with("kernel ") && table.contains("\nk0000 "), "{table}");
    assert!(table.contains("reduce + pointwise") && table.contains("/Softmax"), "{table}");
}

/// What differs between two days and machines, as far as a process can see it. That nothing of the compiler asks for the
/// date is checked by the lint `disallowed_methods` (see `clippy.toml`).
#[test]
fn artifacts_are_the_same_on_every_day_in_every_folder() {
    let args = ["--certify", "--dim", "N=1..64", "--precision", "f16"];
    let compiled_at = |zone: &str, days: u64, relative: bool| {
        let folder = tempfile::tempdir().unwrap();
        let (model, artifact) = (folder.path().join("block.ic"), folder.path().join("block.ica"));
        std::fs::write(&model, GRAPH).unwrap();
        let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(days * 86_400);
        std::fs::File::options().write(true).open(&model).unwrap().set_modified(modified).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ic"));
        command.env("TZ", zone).env("HOME", folder.path()).env("USER", zone).env("SOURCE_DATE_EPOCH", days.to_string());
        command.current_dir(folder.path()).arg("compile").args(args);
        let (from, to) = if relative { ("block.ic", "block.ica") } else { (text(&model), text(&artifact)) };
        let done = command.args([from, "-o", to]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(&artifact).unwrap()
    };
    let one = compiled_at("Asia/Tokyo", 1, true);
    assert!(one == compiled_at("America/Lima", 20_000, false));
}

#[test]
fn certificates_are_the_same_in_every_folder() {
    let args = ["--certify", "--dim", "N=1..64", "--precision", "f16"];
    let [(_a, one, _), (_b, other, _)] = [compiled(&args), compiled(&args)];
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&other).unwrap());
    let certificate = &json(&ic(&["inspect", text(&one), "--json"]))["certificate"];
    assert_eq!(certificate["options"], "--dim N=1..64 --precision f16");
    assert_eq!(certificate["rules"]["silu"], 1);
    assert_eq!(certificate["rules"]["rms-normalization"], 1);
    let kernels = certificate["errors of kernels"]["main"].as_array().unwrap();
    assert!(kernels.iter().any(|kernel| kernel.as_str().unwrap().contains("/up/MatMul")), "{kernels:?}");
}

#[test]
fn explanations_name_rules_and_nodes() {
    let (_folder, _, done) = compiled(&["--explain"]);
    let explained = String::from_utf8(done.stdout).unwrap();
    for part in ["k0000: ", "  by silu\n", "  by rms-normalization\n", "= sigmoid(", "in the model at `/act/Sigmoid`"] {
        assert!(explained.contains(part), "`{part}` is not in:\n{explained}");
    }
}

#[test]
fn the_report_counts_matches() {
    let (_folder, _, done) = compiled(&["--emit", "report"]);
    let report = String::from_utf8(done.stdout).unwrap();
    assert!(report.contains("saturation: 1 stretches, 1 searched"), "{report}");
    assert!(
        report.lines().any(|line| line.starts_with("saturation silu: ") && line.ends_with("1 changes")),
        "{report}"
    );
}
