//! Quantized graphs through every pass: contractions and movement on integers, the same results.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::eval::eval_graph;
use ic_ir::{Graph, text};
use ic_passes::{Options, optimize};
use ic_types::{Data, Tensor};

/// Optimizes a graph of one f32 input and compares on it, up to one step of an integer result.
fn check(source: &str, shape: &[usize]) -> Graph {
    let graph = text::parse(source).unwrap_or_else(|e| panic!("{e}"));
    let len = shape.iter().product();
    let x = Tensor::from_elements(shape.to_vec(), (0..len).map(|i| ((i * 37) % 101) as f32 * 0.13 - 6.0).collect());
    let expected = eval_graph(&graph, std::slice::from_ref(&x), &Default::default()).unwrap();
    let mut optimized = None;
    for opt_level in [0, 2] {
        let options = Options { opt_level, ..Options::default() };
        let result = optimize(&graph, &options).unwrap().graph;
        let found = eval_graph(&result, std::slice::from_ref(&x), &Default::default()).unwrap();
        for (a, b) in expected.iter().zip(&found) {
            assert!(is_close(a, b), "{}", text::print(&result));
        }
        optimized = Some(result);
    }
    optimized.unwrap()
}

fn is_close(a: &Tensor, b: &Tensor) -> bool {
    match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * (1.0 + a.abs())),
        (Data::U8(a), Data::U8(b)) => a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1),
        (Data::I8(a), Data::I8(b)) => a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1),
        _ => false,
    }
}

fn count(graph: &Graph, name: &str) -> usize {
    graph.nodes().filter(|(_, node)| node.op.name() == name).count()
}

const CONSTANTS: &str = "
    %s = constant() {value = f32[] [0.1]}
    %z = constant() {value = u8[] [120]}
    %i = constant() {value = i8[] [-3]}
    %t = constant() {value = f32[] [0.2]}
    %w = constant() {value = i8[3, 2] [1, -128, 127, 5, -6, 7]}
    %ws = constant() {value = f32[2] [0.01, 0.02]}";

#[test]
fn products_of_dequantized_factors_are_of_integers() {
    let graph = check(
        &format!(
            "graph @g(%x: f32[4, 3]) {{{CONSTANTS}
               %q = quantize(%x, %s, %z) {{axis = 0, to = u8}}
               %d = dequantize(%q, %s, %z) {{axis = 0}}
               %v = dequantize(%w, %ws) {{axis = 1}}
               %m = matmul(%d, %v)
               %y = quantize(%m, %t, %z) {{axis = 0, to = u8}}
               return \"y\" = %y
             }}"
        ),
        &[4, 3],
    );
    assert_eq!((count(&graph, "matmul"), count(&graph, "integer_matmul")), (0, 1), "{}", text::print(&graph));
}

#[test]
fn signed_activations_become_unsigned() {
    let graph = check(
        &format!(
            "graph @g(%x: f32[3, 4]) {{{CONSTANTS}
               %q = quantize(%x, %s, %i) {{axis = 0, to = i8}}
               %d = dequantize(%q, %s, %i) {{axis = 0}}
               %a = transpose(%d) {{perm = [1, 0]}}
               %v = dequantize(%w, %ws) {{axis = 1}}
               %y = matmul(%a, %v)
               return \"y\" = %y
             }}"
        ),
        &[3, 4],
    );
    let product = graph.nodes().find(|(_, node)| node.op.name() == "integer_matmul").unwrap().1;
    assert_eq!(graph.dtype(product.operands[0].unwrap()).name(), "u8", "{}", text::print(&graph));
    assert_eq!(count(&graph, "dequantize"), 0);
}

#[test]
fn movement_and_maxima_between_equal_quantizations_are_on_integers() {
    let graph = check(
        &format!(
            "graph @g(%x: f32[1, 4, 4, 2]) {{{CONSTANTS}
               %q = quantize(%x, %s, %z) {{axis = 0, to = u8}}
               %d = dequantize(%q, %s, %z) {{axis = 0}}
               %r = relu(%d)
               %p = pool(%r) {{function = max, kernel = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1]}}
               %m = reshape(%p) {{shape = [4, 2]}}
               %c = concat(%m, %m) {{axis = 0}}
               %y = quantize(%c, %s, %z) {{axis = 0, to = u8}}
               return \"y\" = %y
             }}"
        ),
        &[1, 4, 4, 2],
    );
    assert_eq!((count(&graph, "quantize"), count(&graph, "dequantize")), (1, 0), "{}", text::print(&graph));
}

#[test]
fn quantizing_otherwise_is_not_dropped() {
    let graph = check(
        &format!(
            "graph @g(%x: f32[4, 3]) {{{CONSTANTS}
               %q = quantize(%x, %s, %z) {{axis = 0, to = u8}}
               %d = dequantize(%q, %s, %z) {{axis = 0}}
               %y = quantize(%d, %t, %z) {{axis = 0, to = u8}}
               return \"y\" = %y
             }}"
        ),
        &[4, 3],
    );
    assert_eq!(count(&graph, "quantize"), 2);
}

#[test]
fn convolutions_of_integers_take_scales_of_channels() {
    let graph = check(
        "graph @g(%x: f32[1, 2, 5, 4]) {
           %s = constant() {value = f32[] [0.1]}
           %z = constant() {value = i8[] [4]}
           %w = constant() {value = i8[2, 1, 2, 2] [1, -128, 127, 5, -6, 7, 9, -100]}
           %ws = constant() {value = f32[2] [0.01, 0.02]}
           %b = constant() {value = f32[2] [0.5, -0.5]}
           %q = quantize(%x, %s, %z) {axis = 0, to = i8}
           %d = dequantize(%q, %s, %z) {axis = 0}
           %v = dequantize(%w, %ws) {axis = 0}
           %c = convolution(%d, %v, %b) {strides = [1, 1], pads = [1, 0, 1, 0], dilations = [1, 1], groups = 2}
           %r = relu(%c)
           %y = quantize(%r, %s, %z) {axis = 0, to = i8}
           return \"y\" = %y
         }",
        &[1, 2, 5, 4],
    );
    assert_eq!((count(&graph, "convolution"), count(&graph, "integer_convolution")), (0, 1));
}

#[test]
fn half_quantized_contractions_are_reported() {
    let source = "graph @g(%x: f32[4, 3]) {
        %w = constant() {value = i8[3, 2] [1, 2, 3, 4, 5, 6]}
        %s = constant() {value = f32[] [0.1]}
        %v = dequantize(%w, %s) {axis = 0}
        %y = matmul(%x, %v)
        return \"y\" = %y
      }";
    assert_eq!(reasons(source), ["its left operand is not quantized"]);
    // The same without `dequantize`.
    let spelled = source.replace("%v = dequantize(%w, %s) {axis = 0}", "%f = cast(%w) {to = f32}\n %v = mul(%f, %s)");
    assert_eq!(reasons(&spelled), ["its left operand is not quantized"]);
}

fn reasons(source: &str) -> Vec<String> {
    let optimized = optimize(&text::parse(source).unwrap(), &Options::default()).unwrap();
    optimized.report.float_contractions.into_iter().map(|(_, reason)| reason).collect()
}
