//! `--quantize` from the command line: what is stored, what is computed, what is refused.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::pipeline::{Options, Source, lower};
use ic::quantize::{Calibration, Method};
use ic::tensors::{read_npz, write_npz};
use ic_ir::eval::eval_graph;
use ic_ir::ops::{Gather, Matmul};
use ic_ir::{Builder, Graph, ScalarOp, TensorType};
use ic_passes::IntegerWeights;
use ic_types::{DType, Dim, Tensor};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `ic`, which must succeed, and returns what it prints.
fn ic(args: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// Runs `ic`, which must refuse its arguments, and returns what it says.
fn refused(args: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{args:?}");
    String::from_utf8(done.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Rounds a matrix of `n` columns.
type Round = fn(&mut [f32], usize);

/// An MLP with an embedding whose weights are rounded, as text.
fn mlp(round: Round) -> String {
    let mut state = 3u64;
    let mut graph = Graph::new("mlp");
    let ids = graph.add_input("ids", TensorType::new(DType::I64, vec![Dim::symbol("N")]));
    let mut b = Builder { graph: &mut graph, location: "".into() };
    let mut constant = |b: &mut Builder, shape: &[usize], round: Round| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut elements: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
        round(&mut elements, shape[shape.len() - 1]);
        b.constant(Tensor::from_elements(shape.to_vec(), elements)).unwrap()
    };
    let table = constant(&mut b, &[50, 130], |_, _| ());
    let x = b.push(Gather { axis: 0 }, &[table, ids]).unwrap();
    let w = constant(&mut b, &[130, 1003], round);
    let h = b.push(Matmul {}, &[x, w]).unwrap();
    let bias = constant(&mut b, &[1003], |_, _| ());
    let s = b.add(h, bias).unwrap();
    let r = b.push(ScalarOp::Relu, &[s]).unwrap();
    let w = constant(&mut b, &[1003, 40], round);
    let y = b.push(Matmul {}, &[r, w]).unwrap();
    graph.add_output("y", y);
    ic_ir::text::print(&graph)
}

/// Rounds each block of `rows` rows of each column to multiples of its largest magnitude over `steps`, at least
/// `-low` and at most `high` of them.
fn round_columns(elements: &mut [f32], n: usize, rows: usize, steps: f32, (low, high): (f32, f32)) {
    for block in elements.chunks_mut(rows * n) {
        for column in 0..n {
            let largest = block.iter().skip(column).step_by(n).fold(0.0f32, |largest, x| largest.max(x.abs()));
            let scale = largest / steps;
            let rounded = |x: f32| (x / scale).round_ties_even().clamp(low, high) * scale;
            block.iter_mut().skip(column).step_by(n).for_each(|x| *x = rounded(*x));
        }
    }
}

#[test]
fn weights_are_stored_as_integers_and_nothing_else_is_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let exact = write(folder.path(), "exact.ic", &mlp(|_, _| ()));
    let artifact = folder.path().join("m.ica");
    ic(&["compile", text(&exact), "-o", text(&artifact)]);
    let whole = std::fs::metadata(&artifact).unwrap().len();
    let schemes: [(&str, &str, Round, u64); 2] = [
        ("w8", "i8", |w, n| round_columns(w, n, w.len(), 127.0, (-127.0, 127.0)), 8),
        ("w4", "i4", |w, n| round_columns(w, n, 128, 7.5, (-8.0, 7.0)), 4),
    ];
    for (scheme, dtype, round, bits) in schemes {
        let rounded = write(folder.path(), "rounded.ic", &mlp(round));
        ic(&["compile", text(&exact), "-o", text(&artifact), "--quantize", scheme]);
        let bytes = std::fs::metadata(&artifact).unwrap().len();
        let saved = (130 * 1003 + 1003 * 40) * (32 - bits) / 8;
        assert!(bytes < whole - saved * 8 / 10, "{scheme}: {bytes} of {whole} bytes");
        for rows in ["N=1", "N=3", "N=7", "N=30"] {
            let verify = ["verify", text(&rounded), text(&artifact), "--tolerance", "1e-5", "--dim", rows];
            ic(&verify);
            ic(&[verify.as_slice(), &["--kernels", "portable"]].concat());
        }
        let listing = ic(&["inspect", text(&artifact)]);
        assert!(listing.contains(&format!("f32_matmul_packed, weights {dtype}: 2")), "{listing}");
        assert!(listing.contains(&format!("2 f32 ({dtype} weights with scales)")), "{listing}");
    }
}

#[test]
fn other_devices_and_models_without_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "m.ic", &mlp(|_, _| ()));
    let gpu = ["compile", text(&model), "--target", "nvptx:sm_80", "--quantize"];
    let said = refused(&[gpu.as_slice(), &["w8"]].concat());
    assert!(said.contains("add `--precision f16` or `bf16`"), "{said}");
    let said = refused(&["compile", text(&model), "--quantize", "w8", "--target", "ascend:910b"]);
    assert!(said.contains("not supported: this `--quantize` for ascend:910b"), "{said}");
    let graph = "graph @g(%x: f32[4]) {\n  %y = relu(%x)\n  return \"y\" = %y\n}\n";
    let model = write(folder.path(), "none.ic", graph);
    let said = refused(&["compile", text(&model), "--quantize", "w4"]);
    assert!(said.contains("nothing to quantize"), "{said}");
}

/// Samples of the tokens of [`mlp`].
fn tokens(n: usize, seed: usize) -> Tensor {
    Tensor::from_elements(vec![n, 7], (0..n * 7).map(|i| ((i * 7919 + seed * 31) % 50) as i64).collect())
}

#[test]
fn samples_choose_the_integers_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "m.ic", &mlp(|_, _| ()));
    let (samples, inputs) = (folder.path().join("samples.npz"), folder.path().join("in.npz"));
    write_npz(&samples, &[("ids", &tokens(30, 1))]).unwrap();
    write_npz(&inputs, &[("ids", &Tensor::from_elements(vec![50], (0..50i64).collect()))]).unwrap();
    let compile = ["compile", text(&model), "--quantize", "w4", "--calibration", text(&samples)];
    let run = |name: &str, args: &[&str]| {
        let [artifact, outputs] = ["ica", "npz"].map(|extension| folder.path().join(name).with_extension(extension));
        let said = ic(&[args, &["-o", text(&artifact), "--json"]].concat());
        ic(&["run", text(&artifact), "--inputs", text(&inputs), "--outputs", text(&outputs)]);
        let found = read_npz(&outputs).unwrap().remove(0).1.elements::<f32>().unwrap().to_vec();
        (found, serde_json::from_str::<serde_json::Value>(&said).unwrap(), std::fs::read(artifact).unwrap())
    };
    let (exact, ..) = run("f32", &compile[..2]);
    let (nearest, ..) = run("nearest", &compile[..4]);
    let all_narrow = [&compile[..], &["--accuracy-budget", "1"]].concat();
    let (chosen, said, bytes) = run("chosen", &all_narrow);
    let precisions = |said: &serde_json::Value| {
        let layers = said["quantization"]["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| layer["precision"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(precisions(&said), ["w4", "w4"]);
    let [blind, seeing] = [&nearest, &chosen].map(|found| 1.0 - cosine(&exact, found));
    assert!(seeing < 0.6 * blind, "{seeing}, to nearest {blind}");
    let measured = said["quantization"]["cosine"].as_f64().unwrap();
    assert!((1.0 - measured - seeing).abs() < 0.5 * seeing, "{measured}, other inputs {}", 1.0 - seeing);
    assert!(bytes == run("again", &all_narrow).2, "two compiles differ");
    // A budget between that of 4 and that of 8 bits makes one of them wide, and none lets all stay.
    let budget = format!("{}", (1.0 - measured) / 1.5);
    let (_, said, _) = run("some", &[&compile[..], &["--accuracy-budget", &budget]].concat());
    assert!(precisions(&said).contains(&"w8".to_string()), "{said}");
    assert!(said["quantization"]["cosine"].as_f64().unwrap() > measured, "{said}");
    let (_, said, _) = run("wide", &[&compile[..], &["--accuracy-budget", "0"]].concat());
    assert_eq!(precisions(&said), ["w8", "w8"]);
    // What is computed is what the graph says.
    let calibration = Calibration { files: vec![samples], method: Method::MinMax, smoothing: 0.5, budget: 1.0 };
    let passes = ic_passes::Options { integer_weights: Some(IntegerWeights::I4), ..Default::default() };
    let options = Options { calibration: Some(calibration), passes, ..Default::default() };
    let package = lower(&[Source::main(&model)], &options, &mut |_| (), &mut |_, _| ()).unwrap();
    let ids = Tensor::from_elements(vec![50], (0..50i64).collect());
    let evaluated = eval_graph(&package.models()[0].graph, &[ids], &Default::default()).unwrap();
    let pairs = evaluated[0].elements::<f32>().unwrap().iter().zip(&chosen);
    let largest = chosen.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    assert!(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-5 * largest);
}

/// Two convolutions with a residual sum, a pool and two products, as text. The image has `N` batches.
fn image_model() -> String {
    let mut state = 11u64;
    let mut numbers = |n: usize| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:.4}", (state >> 40) as f32 / (1 << 23) as f32 - 1.0)
        };
        (0..n).map(|_| next()).collect::<Vec<_>>().join(", ")
    };
    let constants = [("w", "8, 3, 3, 3", 216), ("b", "8", 8), ("v", "8, 8, 3, 3", 576), ("g", "72", 72)]
        .map(|(name, shape, n)| format!("%{name} = constant() {{value = f32[{shape}] [{}]}}\n", numbers(n)));
    let matrices = [("m", "72, 40", 2880), ("k", "40, 40", 1600)]
        .map(|(name, shape, n)| format!("%{name} = constant() {{value = f32[{shape}] [{}]}}\n", numbers(n)));
    format!(
        "graph @image(%x: f32[N, 3, 12, 12]) {{
{}{}  %a = convolution(%x, %w, %b) {{strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]}}
  %c = silu(%a)
  %d = convolution(%c, %v) {{strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]}}
  %e = add(%d, %c)
  %f = relu(%e)
  %h = pool(%f) {{function = max, kernel = [4, 4], strides = [4, 4], pads = [0, 0, 0, 0], dilations = [1, 1]}}
  %i = reshape(%h) {{shape = [N, 72]}}
  %n = layer_normalization(%i, %g) {{axis = -1}}
  %j = matmul(%n, %m)
  %l = gelu(%j)
  %y = matmul(%l, %k)
  return \"y\" = %y
}}
",
        constants.concat(),
        matrices.concat()
    )
}

/// `n` images, each with a value range of its own.
fn images(shape: &[usize], seed: usize) -> Tensor {
    let len: usize = shape.iter().product();
    let element = |i: usize| (((i * 7919 + seed * 104_729) % 2017) as f32 / 1008.5 - 1.0) * (1.0 + (i % 5) as f32);
    Tensor::from_elements(shape.to_vec(), (0..len).map(element).collect())
}

/// A folder with the model and its samples: 8 of one image in one archive, one of three images in another.
fn calibrated() -> (tempfile::TempDir, PathBuf, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "image.ic", &image_model());
    let archives = ["many.npz", "one.npz"].map(|name| folder.path().join(name));
    write_npz(&archives[0], &[("x", &images(&[8, 1, 3, 12, 12], 1))]).unwrap();
    write_npz(&archives[1], &[("x", &images(&[3, 3, 12, 12], 2))]).unwrap();
    (folder, model, archives)
}

/// What an artifact gives for three other images.
fn outputs(folder: &Path, artifact: &Path) -> Vec<f32> {
    let (inputs, outputs) = (folder.join("in.npz"), folder.join("out.npz"));
    write_npz(&inputs, &[("x", &images(&[3, 3, 12, 12], 5))]).unwrap();
    ic(&["run", text(artifact), "--inputs", text(&inputs), "--outputs", text(&outputs)]);
    read_npz(&outputs).unwrap().remove(0).1.elements::<f32>().unwrap().to_vec()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

#[test]
fn calibrated_models_run_on_integers() {
    let (folder, model, [many, one]) = calibrated();
    let (plain, artifact) = (folder.path().join("f32.ica"), folder.path().join("w8a8.ica"));
    ic(&["compile", text(&model), "-o", text(&plain)]);
    let exact = outputs(folder.path(), &plain);
    let compile = ["compile", text(&model), "-o", text(&artifact), "--quantize", "w8a8"];
    let samples = ["--calibration", text(&many), "--calibration", text(&one)];
    for method in ["minmax", "percentile", "mse"] {
        let report = folder.path().join("report");
        let emit = format!("report={}", text(&report));
        let more = ["--calibration-method", method, "--emit", &emit, "--json"];
        let said: serde_json::Value = serde_json::from_str(&ic(&[&compile[..], &samples, &more].concat())).unwrap();
        let found = &said["quantization"];
        assert_eq!((found["samples"].as_u64(), found["layers"].as_array().map(Vec::len)), (Some(9), Some(4)), "{said}");
        assert!(found["cosine"].as_f64().unwrap() > 0.999, "{method}: {said}");
        let similarity = cosine(&exact, &outputs(folder.path(), &artifact));
        assert!(similarity > 0.999, "{method}: {similarity}");
        let listing = ic(&["inspect", text(&artifact)]);
        assert!(listing.contains("contractions: 4 int8 (u8 × i8 → i32)"), "{listing}");
        let report = std::fs::read_to_string(report).unwrap();
        assert!(report.contains("quantize: 4 contractions: 4 w8a8;"), "{report}");
    }
    // Two compiles give the same bytes.
    ic(&[&compile[..], &samples].concat());
    let first = std::fs::read(&artifact).unwrap();
    ic(&[&compile[..], &samples].concat());
    assert!(first == std::fs::read(&artifact).unwrap());
}

#[test]
fn layers_return_to_floats_until_the_budget_is_met() {
    let (folder, model, [many, _]) = calibrated();
    let artifact = folder.path().join("m.ica");
    let json = |budget: &str| {
        let said = ic(&[
            "compile",
            text(&model),
            "-o",
            text(&artifact),
            "--quantize",
            "w8a8",
            "--calibration",
            text(&many),
            "--accuracy-budget",
            budget,
            "--json",
        ]);
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["quantization"].clone()
    };
    let on_integers = |found: &serde_json::Value| {
        found["layers"].as_array().unwrap().iter().filter(|layer| layer["precision"] == "w8a8").count()
    };
    let all = json("0.5");
    assert_eq!(on_integers(&all), 4);
    let loss = 1.0 - all["cosine"].as_f64().unwrap();
    let some = json(&format!("{}", loss / 2.0));
    assert!((1.0 - some["cosine"].as_f64().unwrap()) <= loss / 2.0, "{some}");
    assert!(on_integers(&some) < 4, "{some}");
    // What returned first loses most for its work.
    let rate = |layer: &serde_json::Value| layer["loss"].as_f64().unwrap() / layer["multiply_adds"].as_f64().unwrap();
    let layers = some["layers"].as_array().unwrap();
    let worst = layers.iter().max_by(|a, b| rate(a).total_cmp(&rate(b))).unwrap();
    assert_eq!(worst["precision"], "f32", "{some}");
    assert_eq!(on_integers(&json("0")), 0);
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let (folder, model, [many, _]) = calibrated();
    let archive = folder.path().join("bad.npz");
    let x = images(&[2, 1, 3, 12, 12], 1);
    let wide = Tensor::from_elements(vec![1, 3, 12, 12], vec![0.5f64; 432]);
    let cases: [(&[(&str, &Tensor)], &str); 6] = [
        (&[], "no array `x`; it holds nothing"),
        (&[("x", &x), ("z", &x)], "array `z` is no input; inputs are `x`"),
        (&[("x", &wide)], "array `x` is of f64, the model takes f32"),
        (&[("x", &images(&[3, 12, 12], 1))], "array `x` has 3 axes, the model's input has 4, or one more of samples"),
        (&[("x", &images(&[2, 1, 3, 12, 13], 1))], "array `x` has 13 elements along axis 3, where `12` is 12"),
        (&[("x", &images(&[0, 1, 3, 12, 12], 1))], "it holds no samples"),
    ];
    let compile = ["compile", text(&model), "--quantize", "w8a8"];
    for (arrays, message) in cases {
        write_npz(&archive, arrays).unwrap();
        let said = refused(&[&compile[..], &["--calibration", text(&archive)]].concat());
        assert!(said.contains("bad.npz: ") && said.contains(message), "{said}");
    }
    assert!(refused(&compile).contains("`--quantize w8a8` needs samples"));
    let said = refused(&["compile", text(&model), "--calibration", text(&many)]);
    assert!(said.contains("`--calibration` goes with `--quantize w8a8` or `w4`"), "{said}");
    std::fs::write(&archive, b"no archive").unwrap();
    refused(&[&compile[..], &["--calibration", text(&archive)]].concat());
}
