//! The command line from outside: exit codes, messages, and that nothing half-written is left behind.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const GRAPH: &str = "graph @scale(%x: f32[N, 4]) {
  %0 = constant() {value = f32[] [2.0]} : f32[]
  %1 = mul(%x, %0) : f32[N, 4] @\"scale\"
  return \"y\" = %1
}
";

fn ic(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with a compiled artifact of [`GRAPH`].
fn compiled() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("scale.ic"), folder.path().join("scale.ica"));
    std::fs::write(&model, GRAPH).unwrap();
    let done = ic(&["compile", text(&model), "-o", text(&artifact)]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (folder, artifact)
}

/// The command fails as a user error with one message that holds all `parts`.
fn check_refused(args: &[&str], parts: &[&str]) {
    let done = ic(args);
    let message = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{args:?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{args:?}: `{part}` is not in: {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_graph_compiles_runs_and_verifies() {
    let (folder, artifact) = compiled();
    let model = folder.path().join("scale.ic");
    for args in [
        vec!["run", text(&artifact), "--dim", "N=3"],
        vec!["run", text(&artifact), "--json"],
        vec!["bench", text(&artifact), "--runs", "3", "--json"],
        vec!["bench", text(&artifact), "--runs", "3", "--profile"],
        vec!["verify", text(&model), text(&artifact), "--dim", "N=5"],
        vec!["inspect", text(&artifact)],
        vec!["inspect", text(&model), "--json"],
        vec!["opt", text(&model), "--passes", "canonicalize,fold_constants"],
        vec!["completions", "bash"],
    ] {
        let done = ic(&args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(!done.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn an_artifact_is_compared_with_stored_outputs() {
    let (folder, artifact) = compiled();
    let outputs = folder.path().join("outputs.npz");
    assert!(ic(&["run", text(&artifact), "--dim", "N=3", "--outputs", text(&outputs)]).status.success());
    let done = ic(&["verify", text(&outputs), text(&artifact), "--dim", "N=3"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    check_refused(&["verify", text(&outputs), text(&artifact), "--dim", "N=4"], &["[4", "[3"]);
}

#[test]
fn two_compiles_give_the_same_bytes() {
    let ((_a, first), (_b, second)) = (compiled(), compiled());
    assert_eq!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
}

#[test]
fn an_artifact_for_several_targets_names_them_all() {
    let (folder, _) = compiled();
    let (model, artifact) = (folder.path().join("scale.ic"), folder.path().join("all.ica"));
    let targets = ["--target", "x86-64-v3", "--target", "x86-64-v4", "--target", "aarch64"];
    let done = ic(&[&["compile", text(&model), "-o", text(&artifact)], &targets[..]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let shown = String::from_utf8(ic(&["inspect", text(&artifact)]).stdout).unwrap();
    for target in ["x86-64-v3", "x86-64-v4", "aarch64"] {
        assert!(shown.contains(target), "{shown}");
    }
}

/// A graph that multiplies its input by `w`, 64 KiB of weights, and scales the result.
fn layer(name: &str, scale: f32) -> String {
    format!(
        "graph @{name}(%x: f32[N, 128]) {{
  %w = constant() {{value = f32[128, 128] splat 0.5}} : f32[128, 128]
  %y = matmul(%x, %w) : f32[N, 128]
  %s = constant() {{value = f32[] [{scale}]}} : f32[]
  %z = mul(%y, %s) : f32[N, 128]
  return \"y\" = %z
}}
"
    )
}

#[test]
fn entries_share_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("a.ic"), layer("a", 2.0)).unwrap();
    std::fs::write(path("b.ic"), layer("b", 3.0)).unwrap();
    let named = |entry: &str, file: &str| format!("{entry}={}", text(&path(file)));
    let (a, b, both) = (named("double", "a.ic"), named("triple", "b.ic"), path("both.ica"));
    // Strict: the scales stay out of the weights.
    let compile = |args: &[&str]| {
        let done = ic(&[&["compile", "--fp", "strict"], args].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    compile(&[&a, "-o", text(&path("one.ica"))]);
    compile(&[&a, &b, "-o", text(&both)]);
    let size = |name: &str| std::fs::metadata(path(name)).unwrap().len();
    assert!(size("both.ica") < size("one.ica") + (32 << 10), "{} and {}", size("one.ica"), size("both.ica"));
    for (entry, model) in [("double", &a), ("triple", &b)] {
        let done = ic(&["verify", model, text(&both), "--dim", "N=3"]);
        assert!(done.status.success(), "{entry}: {}", String::from_utf8_lossy(&done.stderr));
        assert!(ic(&["bench", text(&both), "--entry", entry, "--runs", "2"]).status.success());
    }
    let shown = String::from_utf8(ic(&["inspect", text(&both)]).stdout).unwrap();
    assert!(shown.contains("double") && shown.contains("triple"), "{shown}");
    check_refused(&["run", text(&both)], &["no entry `main`", "double", "triple"]);
    check_refused(&["compile", &a, &a, "-o", text(&both)], &["two models are called `double`"]);
    check_refused(&["compile", &a, text(&path("b.ic")), "-o", text(&both)], &["NAME=FILE"]);
    check_refused(&["compile", &a, &b, "-o", text(&both), "--dim", "M=1..4"], &["no dim is called `M`", "`N`"]);
    check_refused(&["compile", &a, &b, "-o", text(&both), "--dim", "N=4..1"], &["LO <= HI"]);
}

/// A graph with a matrix product of halves, a softmax and an activation.
const DEVICE_GRAPH: &str = "graph @head(%x: f16[N, 32], %w: f16[32, 16]) {
  %0 = matmul(%x, %w) : f16[N, 16]
  %1 = gelu(%0) : f16[N, 16]
  %2 = cast(%1) {to = f32} : f32[N, 16]
  %3 = softmax(%2) {axis = 1} : f32[N, 16]
  return \"y\" = %3
}
";

#[test]
fn an_artifact_for_a_device_runs_on_the_cpu_without_reading_the_devices_sections() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("scale.ic"), folder.path().join("scale.ica"));
    std::fs::write(&model, GRAPH).unwrap();
    let done = ic(&["compile", text(&model), "-o", text(&artifact), "--target", "cpu", "--target", "nvptx:sm_80"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let shown = String::from_utf8(ic(&["inspect", text(&artifact)]).stdout).unwrap();
    assert!(shown.contains("nvptx:sm_80") && shown.contains("_mul_0"), "{shown}");
    // Whether there is a driver or not, there are not so many GPUs.
    check_refused(&["run", text(&artifact), "--device", "cuda:99"], &["device cuda:99: "]);
    check_refused(&["run", text(&artifact), "--device", "ascend"], &["no code for this device"]);
    let mut bytes = std::fs::read(&artifact).unwrap();
    let code = bytes.windows(8).position(|w| w == b".version").unwrap();
    bytes[code] ^= 1;
    std::fs::write(&artifact, bytes).unwrap();
    let done = ic(&["run", text(&artifact), "--dim", "N=3"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// 16-bit contractions are widened for the CPU and left to the matrix units of devices.
#[test]
fn an_artifact_of_halves_serves_every_class_of_targets() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("head.ic"), folder.path().join("head.ica"));
    std::fs::write(&model, DEVICE_GRAPH).unwrap();
    let targets = ["--target", "cpu", "--target", "nvptx:sm_80", "--target", "ascend:910b"];
    let compile =
        ["compile", text(&model), "-o", text(&artifact), "--dim", "N=5", "--emit", "ptx", "--emit", "kernels"];
    let done = ic(&[&compile[..], &targets].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.contains("mma.sync.aligned.m16n8k16"), "{printed}");
    let done = ic(&["verify", text(&model), text(&artifact), "--dim", "N=5", "--tolerance", "2e-3"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let shown = String::from_utf8(ic(&["inspect", text(&artifact)]).stdout).unwrap();
    assert!(shown.contains("nvptx:sm_80") && shown.contains("ascend:910b"), "{shown}");
    check_refused(&["compile", text(&model), "-o", text(&artifact), "--dim", "M=5"], &["no dim is called `M`", "`N`"]);
}

/// `--precision` rounds the factors of f32 products where tensor cores multiply them.
#[test]
fn a_precision_brings_products_of_f32_to_tensor_cores() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("head.ic"), folder.path().join("head.ica"));
    std::fs::write(&model, DEVICE_GRAPH.replace("f16", "f32")).unwrap();
    let compile = ["compile", text(&model), "-o", text(&artifact), "--target", "nvptx:sm_80", "--emit", "ptx"];
    for (precision, instruction) in [("f16", "f32.f16.f16.f32"), ("bf16", "f32.bf16.bf16.f32")] {
        let done = ic(&[&compile[..], &["--precision", precision]].concat());
        let printed = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(printed.contains(&format!("mma.sync.aligned.m16n8k16.row.col.{instruction}")), "{printed}");
    }
    let done = ic(&[&compile[..], &["--precision", "tf32"]].concat());
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.contains("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"), "{printed}");
    let refused = [&compile[..], &["--precision", "tf32", "--target", "x86-64-v3"]].concat();
    check_refused(&refused, &["not supported on x86-64-v3: products of tf32"]);
}

#[test]
fn ptx_is_printed_whole_or_by_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("head.ic"), folder.path().join("head.ica"));
    std::fs::write(&model, DEVICE_GRAPH).unwrap();
    let kernels = format!("ptx={}/", text(&folder.path().join("kernels")));
    let compile = ["compile", text(&model), "-o", text(&artifact), "--target", "nvptx:sm_90a", "--emit"];
    let done = ic(&[&compile[..], &["ptx"]].concat());
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for part in [".target sm_90a", "mma.sync.aligned.m16n8k16", "ldmatrix", "cp.async", "shfl.sync"] {
        assert!(printed.contains(part), "`{part}` is not in:\n{printed}");
    }
    assert!(ic(&[&compile[..], &[&kernels]].concat()).status.success());
    assert!(files(&folder.path().join("kernels")).len() >= 2);
    check_refused(&["compile", text(&model), "-o", text(&artifact), "--emit", "ptx"], &["--target nvptx:sm_80"]);
}

#[test]
fn what_a_device_has_no_kernel_for_is_listed_by_node() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("sort.ic"), folder.path().join("sort.ica"));
    let graph = "graph @matrix(%x: f32[4, 4]) {
  %0 = det(%x) : f32[] @\"volume\"
  %1 = asin(%x) : f32[4, 4] @\"angle\"
  return \"y\" = %0, \"z\" = %1
}
";
    std::fs::write(&model, graph).unwrap();
    let args = ["compile", text(&model), "-o", text(&artifact), "--target", "nvptx:sm_80"];
    check_refused(&args, &["volume", "angle", "not supported on nvptx"]);
    assert!(!artifact.exists());
}

/// `y` is the sum over all rows so far, by a factor that depends on `scale` alone.
const CACHE: &str = "graph @cache(%x: f32[1, seq, 4], %past: f32[1, past, 4], %scale: f32[4]) {
  %present = concat(%past, %x) {axis = 1} : f32[1, seq + past, 4] @\"append\"
  %sum = reduce(%present) {function = sum, axes = [1]} : f32[1, 1, 4] @\"sum\"
  %factor = exp(%scale) : f32[4] @\"factor\"
  %y = mul(%sum, %factor) : f32[1, 1, 4] @\"scale\"
  return \"y\" = %y, \"present\" = %present
}
";

#[test]
fn states_are_compiled_shown_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("cache.ic"), folder.path().join("cache.ica"));
    std::fs::write(&model, CACHE).unwrap();
    let (model, artifact) = (text(&model), text(&artifact));
    let compile = ["compile", model, "-o", artifact, "--state", "past=present"];
    check_refused(&compile, &["largest extent of `past` on axis 1", "--dim past=0..N"]);
    let state = |pair: &'static str| ["compile", model, "-o", artifact, "--state", pair];
    check_refused(&state("past=presence"), &["no model has an output `presence`"]);
    check_refused(&state("fast=presence"), &["no model has an input `fast` or an output `presence`"]);
    check_refused(&state("past=y"), &["neither input `past`", "nor of its type"]);
    check_refused(&state("past_*=present"), &["one `*` on each side"]);
    check_refused(&["compile", model, "-o", artifact, "--hoist", "z"], &["no model has an input `z`"]);
    for hoist in [&[][..], &["--hoist", "scale"]] {
        let done = ic(&[&compile[..], &["--dim", "past=0..8"], hoist].concat());
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let verify = |past: &str| ic(&["verify", model, artifact, "--entry", "main", "--dim", past, "--dim", "seq=3"]);
        let done = verify("past=5");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let full = String::from_utf8(verify("past=6").stderr).unwrap();
        assert!(full.contains("state `past` is full: it holds up to 8 on axis 1"), "{full}");
        let done = ic(&["bench", artifact, "--entry", "main", "--dim", "seq=1", "--dim", "past=7", "--runs", "3"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let shown = String::from_utf8(ic(&["inspect", artifact]).stdout).unwrap();
        assert!(shown.contains("past: f32[1, 8, 4], grows along axis 1"), "{shown}");
        assert_eq!(shown.contains("main.scale"), !hoist.is_empty(), "{shown}");
    }
}

#[test]
fn wrong_models_and_options_are_refused() {
    let (folder, _) = compiled();
    let model = folder.path().join("scale.ic");
    let garbage = folder.path().join("garbage.onnx");
    std::fs::write(&garbage, [0xff; 100]).unwrap();
    check_refused(&["compile", "/nowhere/model.onnx"], &["/nowhere/model.onnx"]);
    check_refused(&["compile", text(&garbage)], &["garbage.onnx"]);
    check_refused(&["compile", text(&model), "--target", "vax"], &["no target `vax`", "x86-64-v3"]);
    check_refused(&["compile", text(&model), "--emit", "song"], &["song"]);
    check_refused(&["compile", text(&model), "--print-after", "nap"], &["no pass `nap`"]);
    check_refused(&["compile", text(&model), "--dim", "N"], &["NAME=N"]);
    check_refused(&["opt", text(&model), "--passes", "nap"], &["no pass `nap`"]);
}

#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let (folder, _) = compiled();
    let model = folder.path().join("scale.ic");
    let before = files(folder.path());
    check_refused(&["compile", text(&model), "-o", "/nowhere/x.ica"], &["/nowhere/x.ica"]);
    check_refused(&["compile", text(&model), "-o", text(folder.path())], &[text(folder.path())]);
    assert_eq!(files(folder.path()), before);
}

#[test]
fn wrong_inputs_are_refused() {
    let (folder, artifact) = compiled();
    let feed = |name: &str, tensor: ic_types::Tensor| {
        let path = folder.path().join("feed.npz");
        ic::tensors::write_npz(&path, &[(name, &tensor)]).unwrap();
        path
    };
    let floats = |shape: Vec<usize>| {
        let len = shape.iter().product();
        ic_types::Tensor::from_elements(shape, vec![1.0f32; len])
    };
    let run = |path: &Path, parts: &[&str]| check_refused(&["run", text(&artifact), "--inputs", text(path)], parts);
    run(&feed("z", floats(vec![2, 4])), &["`x`"]);
    run(&feed("x", floats(vec![2, 5])), &["x", "4", "5"]);
    run(&feed("x", floats(vec![2, 4, 1])), &["x"]);
    run(&feed("x", ic_types::Tensor::from_elements(vec![1, 4], vec![1i64; 4])), &["x", "f32", "i64"]);
    run(Path::new("/nowhere/feed.npz"), &["/nowhere/feed.npz"]);
    check_refused(&["run", text(&artifact), "--entry", "side"], &["no entry `side`", "main"]);
    check_refused(&["run", text(&artifact), "--device", "cuda"], &["no code for this device, cuda"]);
}

#[test]
fn a_damaged_artifact_is_refused() {
    let (folder, artifact) = compiled();
    let bytes = std::fs::read(&artifact).unwrap();
    let damaged = folder.path().join("damaged.ica");
    for end in [0, 7, 100, 4096, bytes.len() - 1] {
        std::fs::write(&damaged, &bytes[..end]).unwrap();
        check_refused(&["run", text(&damaged)], &["damaged.ica"]);
    }
    for at in [0, 9, 40, 70] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&damaged, flipped).unwrap();
        check_refused(&["run", text(&damaged)], &["damaged.ica"]);
    }
}

/// A graph with 128 MB of weights, so that writing the artifact takes long enough to be interrupted.
fn large_graph(folder: &Path) -> PathBuf {
    let mut text = String::from("graph @large(%x: f32[1, 2048]) {\n");
    for i in 0..8 {
        text += &format!("  %w{i} = constant() {{value = f32[2048, 2048] splat {i}.5}} : f32[2048, 2048]\n");
        let x = if i == 0 { "x".to_string() } else { format!("y{}", i - 1) };
        text += &format!("  %y{i} = matmul(%{x}, %w{i}) : f32[1, 2048]\n");
    }
    text += "  return \"y\" = %y7\n}\n";
    let path = folder.join("large.ic");
    std::fs::write(&path, text).unwrap();
    path
}

/// A limit on the size of files fails a write half-way, as a full disk does.
#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let (folder, artifact) = compiled();
    let model = folder.path().join("scale.ic");
    let before = files(folder.path());
    let limited = |command: &str, wanted: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 1; exec \"$0\" {command}");
        let shell = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_ic")]).output().unwrap();
        let message = String::from_utf8_lossy(&shell.stderr);
        assert_eq!(shell.status.code(), Some(1), "{message}");
        assert!(message.contains(wanted) && message.contains("too large"), "{message}");
        assert_eq!(files(folder.path()), before);
    };
    let at = |name: &str| folder.path().join(name).display().to_string();
    limited(&format!("compile {} -o {}", model.display(), at("full.ica")), "full.ica");
    limited(&format!("run {} --dim N=4096 --outputs {}", artifact.display(), at("full.npz")), "full.npz");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_130_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = large_graph(folder.path());
    let artifact = folder.path().join("large.ica");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ic"))
        .args(["compile", text(&model), "-o", text(&artifact)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Wait until the artifact is being written, then interrupt.
    let started = Instant::now();
    while files(folder.path()).len() < 2 && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files(folder.path()), ["large.ic"]);
}
