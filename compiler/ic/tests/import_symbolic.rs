//! Ops that become many core ops keep symbolic extents.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;

use ic::import::ImportOptions;
use models::*;
use onnx_protobuf::{AttributeProto, NodeProto};

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.into(), ..AttributeProto::default() }
}

/// Imports one node with inputs of these extents and compares the extents of its first output.
fn check(node: NodeProto, inputs: &[&[&str]], expected: &[&str]) {
    let inputs = node.input.iter().zip(inputs).map(|(name, dims)| value(name, dims)).collect();
    let outputs = vec![value(&node.output[0].clone(), &[])];
    let op = node.op_type.clone();
    let imported = import_model(&model(graph(vec![node], inputs, outputs, vec![])), &ImportOptions::default());
    let graph = imported.unwrap_or_else(|problems| panic!("{op}: {problems:?}")).graph;
    assert!(ic_ir::verify(&graph).is_empty(), "{op}");
    let shape: Vec<String> = graph.tensor_ty(graph.outputs()[0]).shape.iter().map(ToString::to_string).collect();
    assert_eq!(shape, expected, "{op}");
}

#[test]
fn attention_with_shared_keys() {
    let attention = with(node("Attention", "q k v", "y"), int("is_causal", 1));
    check(attention, &[&["B", "4", "S", "16"], &["B", "2", "T", "16"], &["B", "2", "T", "8"]], &["B", "4", "S", "8"]);
    let packed = with(with(node("Attention", "q k v", "y"), int("q_num_heads", 4)), int("kv_num_heads", 2));
    check(packed, &[&["B", "S", "64"], &["B", "T", "32"], &["B", "T", "16"]], &["B", "S", "32"]);
}

#[test]
fn attention_of_symbolic_heads_and_widths() {
    let inputs: [&[&str]; 4] =
        [&["B", "H", "S", "D"], &["B", "G", "T", "D"], &["B", "G", "T", "E"], &["B", "M", "S", "T"]];
    check(node("Attention", "q k v mask", "y"), &inputs, &["B", "H", "S", "E"]);
    let packed = with(with(node("Attention", "q k v", "y"), int("q_num_heads", 4)), int("kv_num_heads", 2));
    check(packed, &[&["B", "S", "D"], &["B", "T", "K"], &["B", "T", "V"]], &["B", "S", "4*floordiv(V, 2)"]);
}

#[test]
fn kernels_of_symbolic_extents() {
    check(node("Conv", "x w", "y"), &[&["N", "C", "W"], &["O", "I", "K"]], &["N", "O", "W - K + 1"]);
    let strides = AttributeProto { name: "strides".into(), ints: vec![2], ..AttributeProto::default() };
    let transposed = with(node("ConvTranspose", "x w", "y"), strides);
    check(transposed, &[&["N", "C", "W"], &["C", "O", "K"]], &["N", "O", "2*W + K - 2"]);
}

#[test]
fn what_ops_take_fixes_open_extents() {
    let check = |node: NodeProto, lengths: &[&[&str]], output: &[&str], expected: &[&str]| {
        let names = node.input.clone();
        let mut inputs = vec![value(&names[0], &["A", "B"])];
        inputs.extend(names[1..].iter().zip(lengths).map(|(name, dims)| typed(7, value(name, dims))));
        let op = node.op_type.clone();
        let built = model(graph(vec![node], inputs, vec![value("y", output)], vec![]));
        let imported = import_model(&built, &ImportOptions::default());
        let graph = imported.unwrap_or_else(|problems| panic!("{op}: {problems:?}")).graph;
        let types: Vec<String> = graph.inputs()[1..].iter().map(|&input| graph.tensor_ty(input).to_string()).collect();
        assert_eq!(types, expected, "{op}");
        assert_eq!(graph.tensor_ty(graph.outputs()[0]).rank(), output.len(), "{op}");
    };
    check(node("Reshape", "x s", "y"), &[&["n"]], &["a", "b", "c"], &["i64[3]"]);
    check(node("Expand", "x s", "y"), &[&["n"]], &["a", "b"], &["i64[2]"]);
    check(node("Tile", "x r", "y"), &[&["n"]], &["a", "b"], &["i64[2]"]);
    check(node("Pad", "x p", "y"), &[&["n"]], &["a", "b"], &["i64[4]"]);
    check(node("Unsqueeze", "x a", "y"), &[&["n"]], &["a", "b", "c"], &["i64[1]"]);
    check(node("TopK", "x k", "y"), &[&["n"]], &["a", "b"], &["i64[1]"]);
    check(node("GatherND", "x i", "y"), &[&["n", "k"]], &["n"], &["i64[n, 2]"]);
}

#[test]
fn rotary_embedding_of_a_part() {
    let rotary = with(node("RotaryEmbedding", "x cos sin", "y"), int("rotary_embedding_dim", 8));
    check(rotary, &[&["B", "4", "S", "16"], &["B", "S", "4"], &["B", "S", "4"]], &["B", "4", "S", "16"]);
}

#[test]
fn einsum_with_and_without_an_ellipsis() {
    let einsum = |equation| with(node("Einsum", "a b", "y"), text("equation", equation));
    check(einsum("bhid, bhjd -> bhij"), &[&["B", "4", "I", "8"], &["B", "4", "J", "8"]], &["B", "4", "I", "J"]);
    check(einsum("...ij,jk->...ik"), &[&["A", "B", "I", "J"], &["J", "K"]], &["A", "B", "I", "K"]);
    check(einsum("i,j"), &[&["I"], &["J"]], &["I", "J"]);
}

#[test]
fn blocks_of_images() {
    let block = |op| with(node(op, "x", "y"), int("blocksize", 2));
    check(block("DepthToSpace"), &[&["N", "8", "H", "W"]], &["N", "2", "2*H", "2*W"]);
    check(block("SpaceToDepth"), &[&["N", "2", "6", "8"]], &["N", "8", "3", "4"]);
}

#[test]
fn losses_of_any_rank() {
    let loss = with(node("NegativeLogLikelihoodLoss", "x t", "y"), text("reduction", "none"));
    let inputs = vec![value("x", &["N", "5", "D"]), typed(7, value("t", &["N", "D"]))];
    let built = model(graph(vec![loss], inputs, vec![value("y", &[])], vec![]));
    let graph = import_model(&built, &ImportOptions::default()).unwrap().graph;
    assert_eq!(graph.tensor_ty(graph.outputs()[0]).to_string(), "f32[N, D]");
}

#[test]
fn what_counts_its_results_has_a_symbol_of_its_own() {
    let nodes = vec![node("NonZero", "x", "a"), node("NonZero", "x", "b")];
    let outputs = vec![value("a", &[]), value("b", &[])];
    let built = model(graph(nodes, vec![value("x", &["N", "a_count"])], outputs, vec![]));
    let graph = import_model(&built, &ImportOptions::default()).unwrap().graph;
    let types: Vec<String> = graph.outputs().iter().map(|&v| graph.tensor_ty(v).to_string()).collect();
    assert_eq!(types, ["i64[2, a_count_2]", "i64[2, b_count]"]);
}
