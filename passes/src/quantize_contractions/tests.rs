//! Graphs with quantized contractions against the floats that they came from.

use super::*;
use ic_ir::eval::eval_graph;

fn parse(text: &str) -> Graph {
    ic_ir::text::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

/// Every candidate on integers that cover `-most` to `most`, weights of at most 1.
fn all(candidates: &Candidates, outputs: usize, most: f32) -> Choice {
    let groups = vec![Affine::covering(-most, most); candidates.groups.len()];
    Choice { groups, weights: vec![Some(vec![1.0 / 127.0; outputs]); candidates.contractions.len()] }
}

fn input(shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    Tensor::from_elements(shape.to_vec(), (0..len).map(|i| ((i * 37) % 101) as f32 * 0.04 - 2.0).collect())
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes().filter(|(_, node)| node.op.name() == name).count()
}

/// The root of the mean square of the difference of the first outputs over that of the first's elements.
fn error(a: &Graph, b: &Graph, x: &Tensor) -> f64 {
    let [a, b] = [a, b].map(|g| eval_graph(g, std::slice::from_ref(x), &Default::default()).unwrap().remove(0));
    let (a, b) = (a.elements::<f32>().unwrap(), b.elements::<f32>().unwrap());
    let squares = |f: &dyn Fn(f32, f32) -> f32| a.iter().zip(b).map(|(&a, &b)| f64::from(f(a, b)).powi(2)).sum::<f64>();
    (squares(&|a, b| a - b) / squares(&|a, _| a)).sqrt()
}

const CONVOLUTIONS: &str = "graph @g(%x: f32[1, 4, 6, 6]) {
  %w = constant() {value = f32[4, 4, 1, 1] [0.5, -0.2, 0.9, 1.0, 0.3, 0.1, -1.0, 0.4, 0.6, -0.7, 0.2, 0.8, -0.9, 0.5, 0.3, -0.1]}
  %v = constant() {value = f32[4, 8, 1, 1] splat 0.125}
  %a = convolution(%x, %w) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]}
  %r = relu(%a)
  %b = convolution(%r, %w) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]}
  %s = add(%b, %r)
  %c = concat(%s, %r) {axis = 1}
  %y = convolution(%c, %v) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]}
  return \"y\" = %y
}
";

#[test]
fn values_that_are_concatenated_are_quantized_alike() {
    let graph = parse(CONVOLUTIONS);
    let candidates = Candidates::new(&graph);
    assert_eq!(candidates.contractions.len(), 3);
    // The input; and the two operands of the concatenation, one of which the second convolution reads too.
    assert_eq!(candidates.groups.iter().map(|g| g.sources.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(candidates.groups.iter().all(|g| g.everywhere && !g.smoothable));
    let found = quantize_contractions(&graph, &candidates, &all(&candidates, 4, 8.0)).unwrap();
    assert_eq!(ic_ir::verify(&found), []);
    assert!(error(&graph, &found, &input(&[1, 4, 6, 6])) < 0.05);
    // All three on integers, and nothing between is made of floats again but the residual sum.
    let optimized = crate::optimize(&found, &crate::Options::default()).unwrap().graph;
    assert_eq!((count(&optimized, "integer_convolution"), count(&optimized, "convolution")), (3, 0));
    assert_eq!(count(&optimized, "concat"), 1, "{}", ic_ir::text::print(&optimized));
    let concat = optimized.nodes().find(|(_, node)| node.op.name() == "concat").unwrap().1;
    assert_eq!(optimized.dtype(concat.results[0]), DType::U8);
    assert_eq!(count(&optimized, "dequantize"), 1);
    assert!(error(&graph, &optimized, &input(&[1, 4, 6, 6])) < 0.05);
}

#[test]
fn what_returns_to_floats_reads_floats() {
    let graph = parse(CONVOLUTIONS);
    let candidates = Candidates::new(&graph);
    let mut choice = all(&candidates, 4, 8.0);
    choice.weights[0] = None;
    let found = quantize_contractions(&graph, &candidates, &choice).unwrap();
    assert_eq!(count(&found, "quantize"), 4, "two activations and two weights");
    choice.weights.fill(None);
    let found = quantize_contractions(&graph, &candidates, &choice).unwrap();
    let ordered = crate::rebuild::prune(&graph).unwrap();
    assert_eq!(ic_ir::text::print(&found), ic_ir::text::print(&ordered));
}

/// A normalization whose result a product of `[64, 32]` reads, and `more`.
fn normalized(more: &str, result: &str) -> Graph {
    let weight: Vec<String> = (0..64 * 32).map(|i| format!("{}", ((i * 61) % 199) as f32 / 99.5 - 1.0)).collect();
    parse(&format!(
        "graph @g(%x: f32[5, 64]) {{
  %gain = constant() {{value = f32[64] splat 0.5}}
  %bias = constant() {{value = f32[64] splat 0.25}}
  %w = constant() {{value = f32[64, 32] [{}]}}
  %n = layer_normalization(%x, %gain, %bias) {{axis = -1}}
  %m = matmul(%n, %w)
  {more}
  return \"y\" = %{result}
}}
",
        weight.join(", ")
    ))
}

#[test]
fn smoothing_moves_into_the_normalization_where_nothing_else_reads_it() {
    for (more, result, n_products) in
        [("", "m", 0), ("%r = reduce(%n) {function = sum, axes = [1]}\n%s = add(%m, %r)", "s", 1)]
    {
        let graph = normalized(more, result);
        let candidates = Candidates::new(&graph);
        assert!(candidates.groups.len() == 1 && candidates.groups[0].smoothable);
        let mut choice = all(&candidates, 32, 4.0);
        let factors: Vec<f32> = (0..64).map(|i| 0.5 + i as f32 / 64.0).collect();
        choice.weights[0] = Some(vec![1.6 / 127.0; 32]);
        choice.groups[0].smoothing = Some(factors);
        let found = quantize_contractions(&graph, &candidates, &choice).unwrap();
        assert_eq!(ic_ir::verify(&found), []);
        assert!(error(&graph, &found, &input(&[5, 64])) < 0.05);
        let norm = found.nodes().find(|(_, node)| node.op.name() == "layer_normalization").unwrap().1;
        let users = &found.users()[norm.results[0].index()];
        let n_scaled = users.iter().filter(|&&user| found.node(user).op.name() == "mul").count();
        assert_eq!(n_scaled, n_products, "{}", ic_ir::text::print(&found));
        let optimized = crate::optimize(&found, &crate::Options::default()).unwrap().graph;
        assert_eq!((count(&optimized, "integer_matmul"), count(&optimized, "matmul")), (1, 0));
        assert!(error(&graph, &optimized, &input(&[5, 64])) < 0.05);
    }
}

#[test]
fn each_contraction_is_compared_alone() {
    let graph = parse(CONVOLUTIONS);
    let candidates = Candidates::new(&graph);
    let mut choice = all(&candidates, 4, 8.0);
    choice.weights[1] = None;
    let compared = compare_contractions(&graph, &candidates, &choice).unwrap();
    assert_eq!(ic_ir::verify(&compared), []);
    let found = eval_graph(&compared, &[input(&[1, 4, 6, 6])], &Default::default()).unwrap();
    let numbers: Vec<f32> = found.iter().map(|t| t.elements::<f32>().unwrap()[0]).collect();
    assert_eq!(numbers.len(), 4);
    for pair in numbers.chunks(2) {
        assert!(0.0 < pair[0] && pair[0] < 2e-3 * pair[1], "{numbers:?}");
    }
}

#[test]
fn a_switched_graph_is_every_choice() {
    let graph = parse(CONVOLUTIONS);
    let candidates = Candidates::new(&graph);
    let choice = all(&candidates, 4, 8.0);
    let switched = switched_contractions(&graph, &candidates, &choice).unwrap();
    assert_eq!(ic_ir::verify(&switched), []);
    let x = input(&[1, 4, 6, 6]);
    for set in 0..8 {
        let flags: Vec<bool> = (0..3).map(|i| set >> i & 1 == 1).collect();
        let weights = choice.weights.iter().zip(&flags).map(|(w, &on)| w.clone().filter(|_| on)).collect();
        let only = Choice { weights, ..choice.clone() };
        let only = quantize_contractions(&graph, &candidates, &only).unwrap();
        let expected = eval_graph(&only, std::slice::from_ref(&x), &Default::default()).unwrap().remove(0);
        let inputs: Vec<Tensor> = [x.clone()].into_iter().chain(flags.iter().map(|&f| Tensor::scalar(f))).collect();
        let found = eval_graph(&switched, &inputs, &Default::default()).unwrap().remove(0);
        let pairs = expected.elements::<f32>().unwrap().iter().zip(found.elements::<f32>().unwrap());
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() <= 1e-5), "{flags:?}");
    }
}
