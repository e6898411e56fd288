//! What importing does to a model as a whole: constants, symbols, nested graphs, functions, outputs.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod models;

use ic::import::ImportOptions;
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::{LiteralData, ops::Op};
use ic_types::{Dim, Tensor};
use models::*;
use onnx_protobuf::{AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use std::collections::BTreeMap;

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, ..AttributeProto::default() }
}

/// A constant of i64 and rank 1.
fn ints(name: &str, values: &[i64]) -> TensorProto {
    let (dims, int64_data) = (vec![values.len() as i64], values.to_vec());
    TensorProto { name: name.into(), dims, data_type: 7, int64_data, ..TensorProto::default() }
}

fn text(model: &ModelProto, options: &ImportOptions) -> String {
    ic_ir::text::print(&import_model(model, options).unwrap().graph)
}

#[test]
fn large_constants_stay_in_the_file() {
    let weights: Vec<f32> = (0..5000).map(|i| i as f32).collect();
    let constant = with(node("Constant", "", "c"), tensor_attr("value", floats("", &[5000], &weights)));
    let nodes = vec![constant, node("Add", "x c", "a"), node("Add", "a w", "b"), node("Add", "b s", "y")];
    let initializers = vec![floats("w", &[5000], &weights), floats("s", &[1], &[1.0])];
    let built = model(graph(nodes, vec![value("x", &["5000"])], vec![value("y", &["5000"])], initializers));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, onnx_protobuf::Message::write_to_bytes(&built).unwrap()).unwrap();
    let imported = ic::import::import(&path, &ImportOptions::default()).unwrap();
    let in_file = imported.graph.nodes().filter_map(|(_, node)| match &node.op {
        Op::Constant(constant) => Some(matches!(constant.value.data, LiteralData::File { .. })),
        _ => None,
    });
    assert_eq!(in_file.collect::<Vec<_>>(), [true, true, false]);
    let x = Tensor::from_elements(vec![5000], vec![0.5f32; 5000]);
    let y = eval_graph(&imported.graph, &[x], &Symbols::new()).unwrap();
    assert_eq!(y[0].elements::<f32>().unwrap()[4999], 0.5 + 4999.0 * 2.0 + 1.0);
}

#[test]
fn dims_are_symbols_constants_or_bound() {
    let dims = ["batch", "?", "0", "2 * batch", "past + seq", "7"];
    let relu = model(graph(vec![node("Relu", "x", "y")], vec![value("x", &dims)], vec![value("y", &[])], vec![]));
    let free = import_model(&relu, &ImportOptions::default()).unwrap().graph;
    let shape: Vec<String> = free.tensor_ty(free.inputs()[0]).shape.iter().map(Dim::to_string).collect();
    assert_eq!(shape, ["batch", "x_1", "x_2", "`2 * batch`", "`past + seq`", "7"]);
    let bindings = [("batch", 3), ("past", 2), ("seq", 8), ("x_1", 5)];
    let dims = bindings.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    let bound = import_model(&relu, &ImportOptions { dims, ..ImportOptions::default() }).unwrap().graph;
    let shape: Vec<String> = bound.tensor_ty(bound.inputs()[0]).shape.iter().map(Dim::to_string).collect();
    assert_eq!(shape, ["3", "5", "x_2", "6", "10", "7"]);
}

#[test]
fn nodes_may_come_in_any_order_and_dead_ones_vanish() {
    let nodes = vec![node("Abs", "a", "y"), node("Wonder", "x", "dead"), node("Relu", "x", "a"), node("Neg", "a", "n")];
    let built =
        model(graph(nodes, vec![value("x", &["4"]), value("unused", &["1"])], vec![value("y", &["4"])], vec![]));
    let imported = import_model(&built, &ImportOptions::default()).unwrap().graph;
    assert_eq!(imported.nodes().len(), 2);
    assert_eq!(imported.inputs().len(), 2);
    let outputs = Some(vec!["n".to_string(), "a".to_string()]);
    let chosen = import_model(&built, &ImportOptions { outputs, ..ImportOptions::default() }).unwrap().graph;
    assert_eq!(chosen.output_names().iter().map(|n| n.to_string()).collect::<Vec<_>>(), ["n", "a"]);
}

#[test]
fn shapes_that_are_computed_become_symbolic() {
    let nodes = vec![
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n"),
        node("Concat", "n minus", "target"),
        node("Reshape", "x target", "y"),
    ];
    let constants = vec![ints("zero", &[0]), ints("minus", &[-1])];
    let nodes: Vec<NodeProto> =
        nodes.into_iter().map(|n| if n.op_type == "Concat" { with(n, int("axis", 0)) } else { n }).collect();
    let built = model(graph(nodes, vec![value("x", &["N", "4", "M"])], vec![value("y", &[])], constants));
    let printed = text(&built, &ImportOptions::default());
    assert!(printed.contains("reshape(%x) {shape = [N, 4*M]}") && !printed.contains("concat"), "{printed}");
}

fn choice(condition: &str, then: Vec<NodeProto>, otherwise: Vec<NodeProto>) -> NodeProto {
    let branch = |nodes| graph(nodes, vec![], vec![value("r", &[])], vec![]);
    with(
        with(node("If", condition, "y"), graph_attr("then_branch", branch(then))),
        graph_attr("else_branch", branch(otherwise)),
    )
}

#[test]
fn a_known_condition_takes_its_branch() {
    let nodes = vec![
        node("Size", "x", "size"),
        node("Equal", "size four", "is"),
        choice("is", vec![node("Relu", "x", "r")], vec![node("Wonder", "x", "r")]),
    ];
    let four = onnx_protobuf::TensorProto { dims: vec![], ..ints("four", &[4]) };
    let built = model(graph(nodes, vec![value("x", &["4"])], vec![value("y", &[])], vec![four]));
    let printed = text(&built, &ImportOptions::default());
    assert!(printed.contains("relu(%x)") && !printed.contains("if"), "{printed}");
}

#[test]
fn branches_share_their_captures() {
    let then = vec![node("Add", "a w", "r")];
    let otherwise = vec![node("Mul", "b w", "t"), node("Sub", "t a", "r")];
    let nodes = vec![node("Relu", "x", "a"), node("Neg", "x", "b"), choice("flag", then, otherwise)];
    let inputs = vec![value("x", &["N", "2"]), typed(9, value("flag", &[]))];
    let built = model(graph(nodes, inputs, vec![value("y", &[])], vec![floats("w", &[2], &[2.0, 3.0])]));
    let imported = import_model(&built, &ImportOptions::default()).unwrap().graph;
    assert!(ic_ir::verify(&imported).is_empty());
    let (_, node) = imported.nodes().last().unwrap();
    assert_eq!(node.operands.len(), 3, "condition, a and b");
    let x = Tensor::from_elements(vec![1, 2], vec![1.0f32, -4.0]);
    for (flag, expected) in [(true, [3.0f32, 3.0]), (false, [-3.0, 12.0])] {
        let y = eval_graph(&imported, &[x.clone(), Tensor::scalar(flag)], &Symbols::new()).unwrap();
        assert_eq!(y[0].elements::<f32>().unwrap(), expected);
    }
}

#[test]
fn functions_are_put_in_place_with_their_attributes() {
    let reference = AttributeProto { name: "alpha".into(), ref_attr_name: "slope".into(), ..AttributeProto::default() };
    let own = |node: NodeProto| NodeProto { domain: "own".into(), ..node };
    let opset =
        |domain: &str| OperatorSetIdProto { domain: domain.into(), version: 18, ..OperatorSetIdProto::default() };
    let inner = FunctionProto {
        name: "Leaky".into(),
        domain: "own".into(),
        input: vec!["a".into(), "b".into()],
        output: vec!["c".into()],
        attribute: vec!["slope".into()],
        node: vec![with(node("LeakyRelu", "a", "c"), reference.clone())],
        opset_import: vec![opset("")],
        ..FunctionProto::default()
    };
    let call = with(own(node("Leaky", "a", "t")), AttributeProto { name: "slope".into(), ..reference });
    let outer = FunctionProto {
        name: "Twice".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["c".into()],
        node: vec![call, with(own(node("Leaky", "t", "c")), float("slope", 0.25))],
        opset_import: vec![opset(""), opset("own")],
        ..FunctionProto::default()
    };
    let nodes = vec![with(own(node("Twice", "x", "y")), float("slope", 0.5))];
    let mut built = model(graph(nodes, vec![value("x", &["1"])], vec![value("y", &["1"])], vec![]));
    built.functions = vec![inner, outer];
    built.opset_import.push(opset("own"));
    let imported = import_model(&built, &ImportOptions::default()).unwrap().graph;
    let y = eval_graph(&imported, &[Tensor::from_elements(vec![1], vec![-16.0f32])], &Symbols::new()).unwrap();
    assert_eq!(y[0].elements::<f32>().unwrap(), [-2.0]);
    assert!(imported.nodes().any(|(_, node)| &*node.location == "node y/node t/node c"));
}

#[test]
fn wrong_output_declarations_are_warnings() {
    let built =
        model(graph(vec![node("Relu", "x", "y")], vec![value("x", &["2", "3"])], vec![value("y", &["6"])], vec![]));
    let imported = import_model(&built, &ImportOptions::default()).unwrap();
    assert_eq!(imported.warnings.len(), 1);
    assert!(imported.warnings[0].message.contains("declared with rank 1"));
}

#[test]
fn inputs_can_be_made_constants() {
    let inputs = vec![value("x", &["N", "6"]), typed(7, value("shape", &["2"]))];
    let built = model(graph(vec![node("Reshape", "x shape", "y")], inputs, vec![value("y", &[])], vec![]));
    let constants = BTreeMap::from([("shape".to_string(), Tensor::from_elements(vec![2], vec![-1i64, 3]))]);
    let printed = text(&built, &ImportOptions { constants, ..ImportOptions::default() });
    assert!(printed.contains("reshape(%x) {shape = [2*N, 3]}"), "{printed}");
}
