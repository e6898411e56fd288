//! `expand_recurrent`: layers expanded against the layers themselves, by the evaluator.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::eval::eval_graph;
use ic_ir::{Graph, text};
use ic_passes::{Options, PASSES};
use ic_types::Tensor;

/// The graph after the pass, for targets without kernels for recurrent layers.
fn expanded(graph: &Graph) -> Graph {
    let pass = PASSES.iter().find(|pass| pass.name == "expand_recurrent").unwrap();
    (pass.run)(graph, &Options { native_compounds: false, ..Options::default() }).unwrap()
}

/// Numbers between -1 and 1.
fn numbers(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(2654435761) + 1;
    let mut number = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::from_elements(shape.to_vec(), (0..shape.iter().product()).map(|_| number()).collect())
}

/// A layer of 3 inputs and 4 units over 2 sequences, expanded and as it is.
fn check(op: &str, attrs: &str, gates: usize, states: usize, directions: usize, layout: usize) {
    for time in [1, 3] {
        let (batch, d) = (2usize, directions);
        let order = |time: usize, batch: usize| if layout == 0 { [time, batch] } else { [batch, time] };
        let state = if layout == 0 { [d, batch, 4] } else { [batch, d, 4] };
        let [a, b] = order(time, batch);
        let mut shapes = vec![vec![a, b, 3], vec![d, 4 * gates, 3], vec![d, 4 * gates, 4], vec![d, 8 * gates]];
        shapes.extend((0..states).map(|_| state.to_vec()));
        if states == 2 {
            shapes.push(vec![d, 12]);
        }
        let names = ["x", "w", "r", "b", "h", "c", "p"];
        let list = |shape: &[usize]| shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let inputs: Vec<String> =
            names.iter().zip(&shapes).map(|(name, shape)| format!("%{name}: f32[{}]", list(shape))).collect();
        let arguments = if states == 2 { "%x, %w, %r, %b, _, %h, %c, %p" } else { "%x, %w, %r, %b, _, %h" };
        let y = if layout == 0 { [time, d, batch, 4] } else { [batch, time, d, 4] };
        let types = std::iter::once(list(&y)).chain((0..states).map(|_| list(&state)));
        let types: Vec<String> = types.map(|shape| format!("f32[{shape}]")).collect();
        let results: Vec<String> = (0..=states).map(|i| format!("%{i}")).collect();
        let outputs: Vec<String> = (0..=states).map(|i| format!("\"y{i}\" = %{i}")).collect();
        let source = format!(
            "graph @layer({}) {{\n  {} = {op}({arguments}) {{hidden_size = 4, layout = {layout}, {attrs}}} : {}\n  \
                 return {}\n}}\n",
            inputs.join(", "),
            results.join(", "),
            types.join(", "),
            outputs.join(", "),
        );
        let graph = text::parse(&source).unwrap();
        let expanded = expanded(&graph);
        assert!(expanded.nodes().all(|(_, node)| node.op.name() != op), "{source}");
        let inputs: Vec<Tensor> = (1..).zip(&shapes).map(|(seed, shape)| numbers(shape, seed)).collect();
        let wanted = eval_graph(&graph, &inputs, &Default::default()).unwrap();
        let found = eval_graph(&expanded, &inputs, &Default::default()).unwrap();
        for (wanted, found) in wanted.iter().zip(&found) {
            assert_eq!(wanted.shape(), found.shape());
            let pairs = wanted.elements::<f32>().unwrap().iter().zip(found.elements::<f32>().unwrap());
            for (wanted, found) in pairs {
                assert!((wanted - found).abs() < 1e-5, "{wanted} is {found} in {source}");
            }
        }
    }
}

#[test]
fn layers_are_what_they_were() {
    for (direction, d) in [("forward", 1), ("reverse", 1), ("bidirectional", 2)] {
        for layout in [0, 1] {
            let attrs = |list: &str, extra: &str| {
                let list = vec![list; d].join(", ");
                format!("direction = {direction}, activations = [{list}]{extra}")
            };
            check("lstm", &attrs("sigmoid, tanh, tanh", ""), 4, 2, d, layout);
            check("lstm", &attrs("hard_sigmoid, softsign, relu", ", clip = 0.5, input_forget = true"), 4, 2, d, layout);
            check("gru", &attrs("sigmoid, tanh", ""), 3, 1, d, layout);
            check("gru", &attrs("sigmoid, elu", ", linear_before_reset = true"), 3, 1, d, layout);
            for activation in ["affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "softplus"] {
                check("rnn", &attrs(activation, ""), 1, 1, d, layout);
            }
        }
    }
}

#[test]
fn sequences_of_unknown_length_stay() {
    let source = "graph @layer(%x: f32[T, 2, 3], %w: f32[1, 4, 3], %r: f32[1, 4, 4]) {
  %0, %1 = rnn(%x, %w, %r) {hidden_size = 4, activations = [tanh]} : f32[T, 1, 2, 4], f32[1, 2, 4]
  return \"y\" = %0
}
";
    let graph = text::parse(source).unwrap();
    assert_eq!(expanded(&graph).nodes().count(), 1);
}
