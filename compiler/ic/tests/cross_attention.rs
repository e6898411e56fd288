//! Attention whose keys and values come from another modality: one kernel each, with the products around it merged.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::import::ImportOptions;
use ic::pipeline::{Options, Source, lower};
use ic_ir::kernel::Step;
use std::fmt::Write;
use std::process::Command;

/// Width of the text, of the vision tokens, and of a head.
const TEXT: usize = 16;
const VISION: usize = 24;
const HEAD: usize = 4;

/// A graph in text form, under construction.
#[derive(Default)]
struct Builder {
    text: String,
    n: usize,
}

impl Builder {
    /// Adds a node and gives its name.
    fn node(&mut self, op: &str, ty: &str) -> String {
        self.n += 1;
        writeln!(self.text, "  %v{} = {op} : {ty}", self.n).unwrap();
        format!("%v{}", self.n)
    }

    fn constant(&mut self, shape: &[usize]) -> String {
        let len: usize = shape.iter().product();
        let seed = self.n;
        let element = |i: usize| format!("{:?}", ((seed * 31 + i) * 7919 % 1013) as f32 / 2026.0 - 0.25);
        let elements: Vec<String> = (0..len).map(element).collect();
        let ty = format!("f32{shape:?}");
        self.node(&format!("constant() {{value = {ty} [{}]}}", elements.join(", ")), &ty)
    }

    /// `x · W + b`, of `[B, rows, from]`.
    fn linear(&mut self, x: &str, rows: &str, from: usize, to: usize) -> String {
        let (w, b) = (self.constant(&[from, to]), self.constant(&[to]));
        let ty = format!("f32[B, {rows}, {to}]");
        let product = self.node(&format!("matmul({x}, {w})"), &ty);
        self.node(&format!("add({product}, {b})"), &ty)
    }

    fn unary(&mut self, op: &str, x: &str, rows: &str, width: usize) -> String {
        self.node(&format!("{op}({x})"), &format!("f32[B, {rows}, {width}]"))
    }

    fn binary(&mut self, op: &str, a: &str, b: &str, rows: &str) -> String {
        self.node(&format!("{op}({a}, {b})"), &format!("f32[B, {rows}, {TEXT}]"))
    }

    fn heads(&mut self, x: &str, rows: &str) -> String {
        let n = TEXT / HEAD;
        let split = format!("[B, {rows}, {n}, {HEAD}]");
        let split = self.node(&format!("reshape({x}) {{shape = {split}}}"), &format!("f32{split}"));
        self.node(&format!("transpose({split}) {{perm = [0, 2, 1, 3]}}"), &format!("f32[B, {n}, {rows}, {HEAD}]"))
    }

    /// Softmax of scaled products, as exporters spell it, then the projection of the result.
    fn attention(&mut self, q: &str, k: &str, v: &str, rows: &str, keys: &str) -> String {
        let n = TEXT / HEAD;
        let (q, k, v) = (self.heads(q, rows), self.heads(k, keys), self.heads(v, keys));
        let columns =
            self.node(&format!("transpose({k}) {{perm = [0, 1, 3, 2]}}"), &format!("f32[B, {n}, {HEAD}, {keys}]"));
        let scores = format!("f32[B, {n}, {rows}, {keys}]");
        let products = self.node(&format!("matmul({q}, {columns})"), &scores);
        let scale = self.node("constant() {value = f32[] [0.5]}", "f32[]");
        let scaled = self.node(&format!("mul({products}, {scale})"), &scores);
        let weights = self.node(&format!("softmax({scaled}) {{axis = -1}}"), &scores);
        let mixed = self.node(&format!("matmul({weights}, {v})"), &format!("f32[B, {n}, {rows}, {HEAD}]"));
        let back =
            self.node(&format!("transpose({mixed}) {{perm = [0, 2, 1, 3]}}"), &format!("f32[B, {rows}, {n}, {HEAD}]"));
        let joined = format!("[B, {rows}, {TEXT}]");
        let joined = self.node(&format!("reshape({back}) {{shape = {joined}}}"), &format!("f32{joined}"));
        self.linear(&joined, rows, TEXT, TEXT)
    }

    fn finish(self, inputs: &str, output: &str) -> String {
        format!("graph @cross({inputs}) {{\n{}  return \"y\" = {output}\n}}\n", self.text)
    }
}

/// Text that attends to vision tokens, keys and values scaled by a gate: `σ(Linear(ReLU(Linear(vision))))`.
fn gated() -> String {
    let mut b = Builder::default();
    let hidden = b.linear("%vision", "P", VISION, TEXT);
    let hidden = b.unary("relu", &hidden, "P", TEXT);
    let gate = b.linear(&hidden, "P", TEXT, TEXT);
    let gate = b.unary("sigmoid", &gate, "P", TEXT);
    let (k, v) = (b.linear("%vision", "P", VISION, TEXT), b.linear("%vision", "P", VISION, TEXT));
    let (k, v) = (b.binary("mul", &k, &gate, "P"), b.binary("mul", &v, &gate, "P"));
    let q = b.linear("%text", "T", TEXT, TEXT);
    let y = b.attention(&q, &k, &v, "T", "P");
    let sum = b.binary("add", "%text", &y, "T");
    b.finish(&format!("%text: f32[B, T, {TEXT}], %vision: f32[B, P, {VISION}]"), &sum)
}

/// Queries that attend to themselves, then to vision tokens, as in a query-former.
fn query_former() -> String {
    let mut b = Builder::default();
    let [q, k, v] = [0; 3].map(|_| b.linear("%text", "T", TEXT, TEXT));
    let y = b.attention(&q, &k, &v, "T", "T");
    let x = b.binary("add", "%text", &y, "T");
    let q = b.linear(&x, "T", TEXT, TEXT);
    let (k, v) = (b.linear("%vision", "P", VISION, TEXT), b.linear("%vision", "P", VISION, TEXT));
    let y = b.attention(&q, &k, &v, "T", "P");
    let sum = b.binary("add", &x, &y, "T");
    b.finish(&format!("%text: f32[B, T, {TEXT}], %vision: f32[B, P, {VISION}]"), &sum)
}

/// How many kernels have an anchor of this name.
fn count(kernels: &[String], anchor: &str) -> usize {
    kernels.iter().filter(|kernel| kernel.contains(&format!("= {anchor}("))).count()
}

/// The kernels of a graph in a file, after `ic verify` has accepted its artifact, with and without hoisting of what
/// depends on the vision tokens alone.
fn kernels_of(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (model, artifact) = (folder.path().join("cross.ic"), folder.path().join("cross.ica"));
    std::fs::write(&model, text).unwrap();
    let ic = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_ic")).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let (m, a) = (model.to_str().unwrap(), artifact.to_str().unwrap());
    for hoist in [&[][..], &["--hoist", "vision", "--dim", "B=1..2", "--dim", "P=1..9"]] {
        ic(&[&["compile", m, "-o", a], hoist].concat());
        for [t, p] in [["T=1", "P=1"], ["T=5", "P=9"]] {
            ic(&["verify", m, a, "--entry", "main", "--dim", "B=2", "--dim", t, "--dim", p, "--tolerance", "1e-5"]);
        }
    }
    let options = Options { import: ImportOptions::default(), ..Options::default() };
    let package = lower(&[Source::main(&model)], &options, &mut |_| {}, &mut |_, _| {}).unwrap();
    let kernel = |step: &Step| match step {
        Step::Kernel { kernel, .. } => kernel.to_string(),
        step => format!("{step:?}"),
    };
    package.models()[0].program.steps.iter().map(kernel).collect()
}

#[test]
fn gates_are_part_of_the_products() {
    let kernels = kernels_of(&gated());
    assert_eq!(count(&kernels, "attention"), 1);
    // The gate's two, keys, values, queries, and the projection of the result with the sum.
    assert_eq!(count(&kernels, "matmul"), 6);
    assert_eq!(kernels.len(), 7, "{}", kernels.join("\n"));
}

#[test]
fn keys_and_values_are_one_product() {
    let kernels = kernels_of(&query_former());
    assert_eq!(count(&kernels, "attention"), 2);
    // Three at once and the projection; then queries, keys and values at once, and the projection.
    assert_eq!(count(&kernels, "matmul"), 5);
    assert_eq!(kernels.len(), 7, "{}", kernels.join("\n"));
}
