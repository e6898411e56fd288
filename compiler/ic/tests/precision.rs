//! Element types other than f32 from the command line: 16-bit models, 16-bit weights of f32 models, f64 and integers.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::ops::{Gather, Matmul};
use ic_ir::{Builder, Graph, ScalarOp, TensorType};
use ic_types::{DType, Dim, Tensor, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `ic`, which must succeed, and returns what it prints.
fn ic(args: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap();
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Compiles a graph in text form and compares the artifact with its evaluation.
fn check(graph: &str, tolerance: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("g.ic"), folder.path().join("g.ica"));
    std::fs::write(&model, graph).unwrap();
    for level in ["0", "2"] {
        ic(&["compile", text(&model), "-o", text(&artifact), "--opt-level", level]);
        let verify = ["verify", text(&model), text(&artifact), "--tolerance", tolerance];
        ic(&verify);
        ic(&[verify.as_slice(), &["--kernels", "portable"]].concat());
    }
}

#[test]
fn contractions_of_halves_accumulate_in_f32() {
    for (dtype, tolerance) in [("f16", "2e-3"), ("bf16", "1.6e-2")] {
        check(
            &format!(
                "graph @matmul(%a: {dtype}[3, 5, 37], %b: {dtype}[37, 19], %c: {dtype}[19]) {{
  %0 = matmul(%a, %b) : {dtype}[3, 5, 19]
  %1 = add(%0, %c) : {dtype}[3, 5, 19]
  %2 = relu(%1) : {dtype}[3, 5, 19]
  return \"y\" = %2
}}
"
            ),
            tolerance,
        );
    }
}

#[test]
fn halves_pool_search_and_reduce() {
    for (dtype, tolerance) in [("f16", "2e-3"), ("bf16", "1.6e-2")] {
        check(
            &format!(
                "graph @ops(%x: {dtype}[2, 3, 9, 7]) {{
  %0 = pool(%x) {{function = max, kernel = [3, 2], strides = [2, 1], pads = [1, 0, 1, 0], dilations = [1, 1]}} : {dtype}[2, 3, 5, 6]
  %1 = reduce(%0) {{function = mean, axes = [2]}} : {dtype}[2, 3, 1, 6]
  %2, %3 = top_k(%x) {{k = 3, axis = 3}} : {dtype}[2, 3, 9, 3], i64[2, 3, 9, 3]
  %4 = softmax(%x) {{axis = 1}} : {dtype}[2, 3, 9, 7]
  return \"mean\" = %1, \"values\" = %2, \"indices\" = %3, \"shares\" = %4
}}
"
            ),
            tolerance,
        );
    }
}

#[test]
fn wide_floats_and_integers_multiply() {
    for (dtype, tolerance) in [("f64", "1e-15"), ("i32", "0"), ("i64", "0"), ("u32", "0"), ("u64", "0"), ("u8", "0")] {
        check(
            &format!(
                "graph @matmul(%a: {dtype}[2, 1, 5, 7], %b: {dtype}[3, 7, 4]) {{
  %0 = transpose(%b) {{perm = [0, 2, 1]}} : {dtype}[3, 4, 7]
  %1 = transpose(%0) {{perm = [0, 2, 1]}} : {dtype}[3, 7, 4]
  %2 = matmul(%a, %1) : {dtype}[2, 3, 5, 4]
  %3 = add(%2, %2) : {dtype}[2, 3, 5, 4]
  return \"y\" = %3
}}
"
            ),
            tolerance,
        );
    }
}

/// A comparison of a product, which no kernel can leave where the sums are.
#[test]
fn results_of_another_type_follow_a_contraction() {
    check(
        "graph @compare(%a: f32[5, 7], %b: f32[7, 33], %c: f32[33]) {
  %0 = matmul(%a, %b) : f32[5, 33]
  %1 = lt(%0, %c) : bool[5, 33]
  return \"y\" = %1
}
",
        "0",
    );
}

/// An MLP with an embedding, its weights rounded by `round`, as text.
fn mlp(round: fn(f32) -> f32) -> String {
    let mut state = 3u64;
    let mut graph = Graph::new("mlp");
    let ids = graph.add_input("ids", TensorType::new(DType::I64, vec![Dim::symbol("N")]));
    let mut b = Builder { graph: &mut graph, location: "".into() };
    let mut weight = |b: &mut Builder, shape: &[usize], round: fn(f32) -> f32| {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let elements: Vec<f32> = (0..shape.iter().product()).map(|_| round(next())).collect();
        b.constant(Tensor::from_elements(shape.to_vec(), elements)).unwrap()
    };
    let table = weight(&mut b, &[50, 64], round);
    let x = b.push(Gather { axis: 0 }, &[table, ids]).unwrap();
    let w = weight(&mut b, &[64, 200], round);
    let h = b.push(Matmul {}, &[x, w]).unwrap();
    let bias = weight(&mut b, &[200], |x| x);
    let s = b.add(h, bias).unwrap();
    let r = b.push(ScalarOp::Relu, &[s]).unwrap();
    let w = weight(&mut b, &[200, 40], round);
    let y = b.push(Matmul {}, &[r, w]).unwrap();
    graph.add_output("y", y);
    ic_ir::text::print(&graph)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn precision_rounds_weights_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let exact = write(folder.path(), "exact.ic", &mlp(|x| x));
    let artifact = folder.path().join("m.ica");
    ic(&["compile", text(&exact), "-o", text(&artifact)]);
    let whole = std::fs::metadata(&artifact).unwrap().len();
    let rounds: [fn(f32) -> f32; 2] = [|x| f16_to_f32(f32_to_f16(x)), |x| bf16_to_f32(f32_to_bf16(x))];
    for (precision, round) in ["f16", "bf16"].into_iter().zip(rounds) {
        let rounded = write(folder.path(), "rounded.ic", &mlp(round));
        ic(&["compile", text(&exact), "-o", text(&artifact), "--precision", precision]);
        let weights = 2 * (50 * 64 + 64 * 200 + 200 * 40);
        let bytes = std::fs::metadata(&artifact).unwrap().len();
        assert!(bytes < whole - weights * 9 / 10, "{precision}: {bytes} of {whole} bytes");
        ic(&["verify", text(&rounded), text(&artifact), "--tolerance", "1e-5", "--dim", "N=7"]);
        let listing = ic(&["inspect", text(&artifact)]);
        assert!(listing.contains(&format!("f32_matmul_packed, weights {precision}: 2")), "{listing}");
    }
}
