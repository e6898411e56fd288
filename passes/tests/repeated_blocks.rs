//! Blocks that repeat are searched once, and come out as if each had been searched.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::eval::eval_graph;
use ic_ir::{Graph, text};
use ic_passes::{Options, PartitionOptions, Report, optimize, partition};
use ic_types::Tensor;
use std::fmt::Write;

/// Layers of attention with a mask that all share, and of a gated product; the layers numbered `odd` have a ReLU instead
/// of a SiLU.
fn layers(n: usize, odd: &[usize]) -> String {
    let mut lines = Lines { text: "graph @layers(%x: f32[5, 8], %seen: bool[5, 5]) {\n".into(), next: 0 };
    let zero = lines.push("mask", "constant() {value = f32[] [0.0]} : f32[]");
    let never = lines.push("mask", "constant() {value = f32[] [-inf]} : f32[]");
    let mask = lines.push("mask", &format!("select(%seen, {zero}, {never}) : f32[5, 5]"));
    let mut x = "%x".to_string();
    for layer in 0..n {
        x = lines.layer(layer, &x, &mask, if odd.contains(&layer) { Activation::Relu } else { Activation::Silu });
    }
    let _ = writeln!(lines.text, "  return \"y\" = {x}\n}}");
    lines.text
}

#[derive(Clone, Copy)]
enum Activation {
    Silu,
    Relu,
}

struct Lines {
    text: String,
    next: usize,
}

impl Lines {
    fn push(&mut self, location: &str, node: &str) -> String {
        let name = format!("%{}", self.next);
        let _ = writeln!(self.text, "  {name} = {node} @\"{location}\"");
        self.next += 1;
        name
    }

    /// A constant whose elements differ from layer to layer.
    fn weight(&mut self, location: &str, shape: &[usize], seed: usize) -> String {
        let n = shape.iter().product();
        let elements: Vec<String> =
            (0..n).map(|i| format!("{:?}", ((i * 37 + seed * 11) % 29) as f32 / 29.0)).collect();
        self.push(location, &format!("constant() {{value = f32{shape:?} [{}]}} : f32{shape:?}", elements.join(", ")))
    }

    fn product(&mut self, location: &str, x: &str, [k, n]: [usize; 2], seed: usize) -> String {
        let weight = self.weight(location, &[k, n], seed);
        self.push(location, &format!("matmul({x}, {weight}) : f32[5, {n}]"))
    }

    fn norm(&mut self, location: &str, x: &str, seed: usize) -> String {
        let square = self.push(location, &format!("mul({x}, {x}) : f32[5, 8]"));
        let mean = self.push(location, &format!("reduce({square}) {{function = mean, axes = [1]}} : f32[5, 1]"));
        let small = self.push(location, "constant() {value = f32[] [0.00001]} : f32[]");
        let sum = self.push(location, &format!("add({mean}, {small}) : f32[5, 1]"));
        let root = self.push(location, &format!("sqrt({sum}) : f32[5, 1]"));
        let scaled = self.push(location, &format!("div({x}, {root}) : f32[5, 8]"));
        let gain = self.weight(location, &[8], seed);
        self.push(location, &format!("mul({scaled}, {gain}) : f32[5, 8]"))
    }

    fn layer(&mut self, number: usize, x: &str, mask: &str, activation: Activation) -> String {
        let at = |part: &str| format!("/layer{number}/{part}");
        let normed = self.norm(&at("norm"), x, 3 * number);
        let [q, k, v] =
            [0, 1, 2].map(|i| self.product(&at(&format!("projection{i}")), &normed, [8, 8], 7 * number + i));
        let attention = at("attention");
        let k = self.push(&attention, &format!("transpose({k}) {{perm = [1, 0]}} : f32[8, 5]"));
        let scores = self.push(&attention, &format!("matmul({q}, {k}) : f32[5, 5]"));
        let factor = self.push(&attention, "constant() {value = f32[] [0.5]} : f32[]");
        let scores = self.push(&attention, &format!("mul({scores}, {factor}) : f32[5, 5]"));
        let scores = self.push(&attention, &format!("add({scores}, {mask}) : f32[5, 5]"));
        let shares = self.push(&attention, &format!("softmax({scores}) : f32[5, 5]"));
        let heads = self.push(&attention, &format!("matmul({shares}, {v}) : f32[5, 8]"));
        let joined = self.product(&at("out"), &heads, [8, 8], number);
        let x = self.push(&at("residual"), &format!("add({x}, {joined}) : f32[5, 8]"));
        let normed = self.norm(&at("norm2"), &x, 5 * number + 1);
        let gate = self.product(&at("gate"), &normed, [8, 16], 2 * number);
        let gated = match activation {
            Activation::Silu => {
                let sigmoid = self.push(&at("act"), &format!("sigmoid({gate}) : f32[5, 16]"));
                self.push(&at("act"), &format!("mul({gate}, {sigmoid}) : f32[5, 16]"))
            }
            Activation::Relu => self.push(&at("act"), &format!("relu({gate}) : f32[5, 16]")),
        };
        let down = self.product(&at("down"), &gated, [16, 8], 9 * number);
        self.push(&at("residual2"), &format!("add({x}, {down}) : f32[5, 8]"))
    }
}

fn optimized(graph: &Graph, options: &Options) -> (String, Report, Graph) {
    let optimized = optimize(graph, options).unwrap();
    let program = partition(&optimized.graph, &PartitionOptions::default()).unwrap();
    (format!("{}{program}", text::print(&optimized.graph)), optimized.report, optimized.graph)
}

fn check(source: &str) -> Graph {
    let graph = text::parse(source).unwrap_or_else(|e| panic!("{e}"));
    let options = Options { stretch: 100, ..Options::default() };
    let (found, report, result) = optimized(&graph, &options);
    let (expected, each, _) = optimized(&graph, &Options { reuse: false, ..options });
    assert_eq!(found, expected);
    assert_eq!(report.rules, each.rules);
    let x = Tensor::from_elements(vec![5, 8], (0..40).map(|i| ((i * 17) % 23) as f32 / 23.0 - 0.5).collect());
    let seen = ic_types::Data::Bool((0..25).map(|i| i % 5 <= i / 5).collect());
    let seen = Tensor::new(vec![5, 5], seen);
    let reals = |graph: &Graph| {
        let outputs = eval_graph(graph, &[x.clone(), seen.clone()], &Default::default()).unwrap();
        outputs[0].elements::<f32>().unwrap().to_vec()
    };
    for (a, b) in reals(&graph).into_iter().zip(reals(&result)) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{a} and {b}");
    }
    result
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes().filter(|(_, node)| node.op.name() == name).count()
}

#[test]
fn equal_layers_are_searched_once() {
    let result = check(&layers(9, &[]));
    assert_eq!(count(&result, "attention"), 9);
    assert_eq!(count(&result, "rms_normalization"), 18);
    assert_eq!(count(&result, "silu"), 9);
    // All layers read the mask as it was before it became numbers.
    assert_eq!(count(&result, "select"), 0);
}

#[test]
fn a_layer_that_differs_is_searched_too() {
    let result = check(&layers(12, &[7]));
    assert_eq!((count(&result, "silu"), count(&result, "relu")), (11, 1));
}

#[test]
fn names_are_those_of_each_layer() {
    let result = check(&layers(9, &[]));
    for layer in 0..9 {
        let of_layer = |name: &str| {
            result.nodes().any(|(_, n)| n.op.name() == name && n.location.contains(&format!("/layer{layer}/")))
        };
        assert!(of_layer("attention") && of_layer("silu"), "{}", text::print(&result));
    }
}
