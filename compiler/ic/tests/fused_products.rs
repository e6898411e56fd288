//! Normalizations and softmax as stages of the products before them, and gated products: one kernel, right at every
//! size.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "models/run.rs"]
mod run;

use ic::pipeline::{Options, Source, lower};
use ic_ir::kernel::Step;
use ic_types::Tensor;
use run::run_file;

const K: usize = 24;

fn number(i: usize) -> f32 {
    (i * 7919 % 1013) as f32 / 506.5 - 1.0
}

fn constant(name: &str, shape: &[usize], seed: usize) -> String {
    let n = shape.iter().product();
    let elements: Vec<String> = (0..n).map(|i| format!("{:?}", number(seed * 31 + i))).collect();
    format!("  %{name} = constant() {{value = f32{shape:?} [{}]}} : f32{shape:?}\n", elements.join(", "))
}

/// `%x · W + b + %r`, `n` columns, then the nodes of `rest` on `%s`.
fn layer(n: usize, rest: &str) -> String {
    let ty = format!("f32[B, S, {n}]");
    let constants = [("w", vec![K, n]), ("b", vec![n]), ("gain", vec![n]), ("shift", vec![n]), ("e", vec![n, 5])];
    let constants: String = constants.iter().enumerate().map(|(i, (name, shape))| constant(name, shape, i)).collect();
    format!(
        "graph @layer(%x: f32[B, S, {K}], %r: {ty}) {{\n{constants}  %p = matmul(%x, %w) : {ty}\n  \
         %a = add(%p, %b) : {ty}\n  %s = add(%a, %r) : {ty}\n{}\n}}\n",
        rest.replace("TYPE", &ty).replace("NEXT", "f32[B, S, 5]")
    )
}

/// What follows a product, and the kernels of both.
const CASES: [(&str, usize); 7] = [
    // After the sum, as in BERT.
    ("%y = layer_normalization(%s, %gain, %shift) : TYPE\n return \"y\" = %y", 1),
    // The sum is used too, as in GPT-2 and Llama.
    (
        "%n = rms_normalization(%s, %gain) : TYPE\n %m = matmul(%n, %e) : NEXT\n %t = neg(%s) : TYPE\n \
         return \"m\" = %m, \"t\" = %t",
        3,
    ),
    ("%y = rms_normalization(%s, %gain) : TYPE\n return \"s\" = %s, \"y\" = %y", 1),
    // Computed on in the same kernel.
    (
        "%n = layer_normalization(%s, %gain) : TYPE\n %g = gelu(%n) : TYPE\n %y = mul(%g, %r) : TYPE\n \
         return \"y\" = %y",
        1,
    ),
    // Of another type, so that the sum has no place in the result.
    ("%n = softmax(%s) : TYPE\n %y = lt(%n, %r) : bool[B, S, 5]\n return \"y\" = %y", 1),
    // The epilogue is no chain.
    ("%q = mul(%s, %a) : TYPE\n %y = layer_normalization(%q, %gain, %shift) : TYPE\n return \"y\" = %y", 1),
    // What follows must wait for another kernel of the sum.
    (
        "%n = layer_normalization(%s, %gain) : TYPE\n %o = sin(%s) : TYPE\n %h = softmax(%o) : TYPE\n \
         %y = mul(%n, %h) : TYPE\n return \"y\" = %y",
        2,
    ),
];

fn n_kernels(text: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.ic");
    std::fs::write(&path, text).unwrap();
    let lowered = lower(&[Source::main(&path)], &Options::default(), &mut |_| {}, &mut |_, _| {}).unwrap();
    let steps = &lowered.variants[0].models[0].program.steps;
    steps.iter().filter(|step| matches!(step, Step::Kernel { .. })).count()
}

#[test]
fn rows_are_folded_by_the_kernel_of_the_product() {
    for (rest, kernels) in CASES {
        let text = layer(17, &rest.replace("S, 5]", "S, 17]"));
        let text = if rest.contains("NEXT") { layer(17, rest) } else { text };
        assert_eq!(n_kernels(&text), kernels, "{rest}");
    }
}

#[test]
fn results_are_the_evaluators() {
    for (rest, _) in CASES {
        for (batch, rows, n) in [(1, 1, 16), (2, 3, 17), (1, 40, 1), (3, 11, 33), (1, 0, 8), (1, 129, 64)] {
            let rest = if rest.contains("NEXT") { rest.into() } else { rest.replace("S, 5]", &format!("S, {n}]")) };
            let text = layer(n, &rest);
            let graph = ic_ir::text::parse(&text).unwrap();
            let tensor = |width: usize| {
                let len = batch * rows * width;
                Tensor::from_elements(vec![batch, rows, width], (0..len).map(|i| number(i + width)).collect())
            };
            run_file("layer.ic", text.as_bytes(), &graph, &[tensor(K), tensor(n)]).unwrap();
        }
    }
}

/// `f(x · G) * (x · U)`, then a product with what that gives.
fn gated(function: &str, n: usize) -> String {
    let ty = format!("f32[B, S, {n}]");
    let constants = [("g", vec![K, n]), ("u", vec![K, n]), ("b", vec![n]), ("d", vec![n, 7])];
    let constants: String = constants.iter().enumerate().map(|(i, (name, shape))| constant(name, shape, i)).collect();
    format!(
        "graph @gated(%x: f32[B, S, {K}]) {{\n{constants}  %p = matmul(%x, %g) : {ty}\n  %a = {function}(%p) : {ty}\n  \
         %q = matmul(%x, %u) : {ty}\n  %s = add(%q, %b) : {ty}\n  %m = mul(%a, %s) : {ty}\n  \
         %y = matmul(%m, %d) : f32[B, S, 7]\n  return \"y\" = %y\n}}\n"
    )
}

#[test]
fn gated_products_are_one_kernel() {
    assert_eq!(n_kernels(&gated("silu", 48)), 2);
    assert_eq!(n_kernels(&gated("tanh", 48)), 3);
    for function in ["silu", "gelu", "sigmoid", "relu"] {
        for (batch, rows, n) in [(1, 1, 16), (2, 3, 48), (1, 0, 16), (1, 150, 32), (3, 5, 17), (1, 2, 1040)] {
            let text = gated(function, n);
            let graph = ic_ir::text::parse(&text).unwrap();
            let len = batch * rows * K;
            let x = Tensor::from_elements(vec![batch, rows, K], (0..len).map(|i| number(i) * 0.1).collect());
            run_file("gated.ic", text.as_bytes(), &graph, &[x]).unwrap();
        }
    }
}
