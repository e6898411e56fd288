//! Sequences, which the importer resolves: artifacts against the evaluator, and hand-checked values.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[path = "models/run.rs"]
mod run;

use ic::import::ImportOptions;
use ic_types::{Object, Tensor};
use models::*;
use onnx_protobuf::TensorProto;
use run::{counting, of, run_model, vector};

/// A constant of rank 0.
fn number(name: &str, value: i64) -> onnx_protobuf::NodeProto {
    let tensor = TensorProto { data_type: 7, int64_data: vec![value], ..TensorProto::default() };
    with(node("Constant", "", name), tensor_attr("value", tensor))
}

#[test]
fn elements_are_put_in_taken_out_and_joined() {
    let nodes = vec![
        node("SequenceConstruct", "a b", "s"),
        number("first", 0),
        number("last", -1),
        node("SequenceInsert", "s c first", "t"),
        node("SequenceErase", "t last", "u"),
        node("SequenceInsert", "u b", "v"),
        node("SequenceAt", "v last", "y"),
        with(node("ConcatFromSequence", "v", "z"), int("axis", 0)),
        node("SequenceLength", "v", "n"),
    ];
    let model = of(nodes, &["a:2", "b:1", "c:2"], "y z n");
    let inputs = [vector(vec![1.0f32, 2.0]), vector(vec![3.0f32]), vector(vec![4.0f32, 5.0])];
    let y = run_model(&model, &inputs).unwrap();
    assert_eq!(y[0], vector(vec![3.0f32]));
    assert_eq!(y[1], vector(vec![4.0f32, 5.0, 1.0, 2.0, 3.0]));
    assert_eq!(y[2], Tensor::scalar(3i64));
}

#[test]
fn parts_of_a_tensor() {
    let nodes = vec![
        number("two", 2),
        with(node("SplitToSequence", "x two", "s"), int("axis", 1)),
        number("at", 2),
        node("SequenceAt", "s at", "y"),
        with(with(node("SplitToSequence", "x", "rows"), int("keepdims", 0)), int("axis", 0)),
        with(with(node("ConcatFromSequence", "rows", "z"), int("axis", 1)), int("new_axis", 1)),
    ];
    let y = run_model(&of(nodes, &["x:2 5"], "y z"), &[counting(&[2, 5])]).unwrap();
    assert_eq!(y[0], Tensor::from_elements(vec![2, 1], vec![4.0f32, 9.0]));
    assert_eq!((y[1].shape(), y[1].elements::<f32>().unwrap()[1]), (&[5, 2][..], 5.0));
}

#[test]
fn a_sequence_is_no_tensor() {
    for (nodes, expected) in [
        (vec![node("SequenceConstruct", "x x", "s"), node("Relu", "s", "y")], "an input is a sequence"),
        (vec![node("SequenceLength", "x", "y")], "input 0 is not a sequence"),
    ] {
        let problems = import_model(&of(nodes, &["x:2"], "y"), &ImportOptions::default()).unwrap_err();
        assert!(format!("{problems:?}").contains(expected), "{problems:?}");
    }
}

#[test]
fn places_and_parts_that_a_run_knows() {
    let nodes = vec![
        with(node("SplitToSequence", "x size", "parts"), int("axis", 0)),
        node("SequenceAt", "parts at", "y"),
        node("SequenceInsert", "parts x at", "more"),
        node("SequenceErase", "more", "less"),
        with(node("ConcatFromSequence", "less", "z"), int("axis", 0)),
        node("SequenceLength", "less", "n"),
    ];
    let model = of(nodes, &["x:N", "size#", "at#"], "y z n less");
    let inputs = [counting(&[5]), Tensor::scalar(2i64), Tensor::scalar(1i64)];
    let y = run_model(&model, &inputs).unwrap();
    assert_eq!(y[0], vector(vec![2.0f32, 3.0]));
    assert_eq!(y[1], vector(vec![0.0f32, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 2.0, 3.0]));
    assert_eq!(y[2], Tensor::scalar(3i64));
    let Some([Object::Sequence(list)]) = y[3].elements::<Object>() else { panic!("{:?}", y[3]) };
    assert_eq!(list[0], Object::Tensor(vector(vec![0.0f32, 1.0])));
    let outside = [counting(&[5]), Tensor::scalar(2i64), Tensor::scalar(7i64)];
    assert!(run_model(&model, &outside).unwrap_err().contains("position 7 is outside of a sequence of 3 elements"));
}

#[test]
fn a_body_runs_for_each_element() {
    let body = graph(vec![node("Add", "a c", "b")], vec![value("a", &["?"])], vec![value("b", &[])], vec![]);
    let mut body = body;
    body.output[0].type_.clear();
    let nodes = vec![
        node("SplitToSequence", "x size", "parts"),
        with(node("SequenceMap", "parts", "sums"), graph_attr("body", body)),
        with(node("ConcatFromSequence", "sums", "y"), int("axis", 0)),
    ];
    let model = of(nodes, &["x:N", "size#", "c:1"], "y");
    let y = run_model(&model, &[counting(&[5]), Tensor::scalar(2i64), vector(vec![10.0f32])]).unwrap();
    assert_eq!(y[0], vector(vec![10.0f32, 11.0, 12.0, 13.0, 14.0]));
}
