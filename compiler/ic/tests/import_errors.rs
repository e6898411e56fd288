//! Models that are wrong: every one is an error that names what is wrong, and none a panic.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod models;

use ic::import::{ImportOptions, Imported, import};
use ic_ir::Diagnostic;
use models::*;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{FunctionProto, Message, ModelProto, StringStringEntryProto, TensorProto};
use std::collections::BTreeMap;
use std::path::Path;

/// All messages of an error, notes included.
fn messages(result: Result<Imported, Vec<Diagnostic>>) -> String {
    let problems = result.map(|model| ic_ir::text::print(&model.graph)).expect_err("the model is wrong");
    problems.iter().map(|p| format!("{p}\n")).collect()
}

/// A model with most kinds of messages in it, large payloads included.
fn rich_model() -> ModelProto {
    let branch = |scale: f32| {
        let constant = with(node("Constant", "", "c"), tensor_attr("value", floats("", &[4096], &[scale; 4096])));
        let shift = floats("shift", &[1], &[1.0]);
        graph(
            vec![constant, node("Mul", "x c", "m"), node("Add", "m shift", "r")],
            vec![],
            vec![value("r", &[])],
            vec![shift],
        )
    };
    let choice = with(node("If", "flag", "y"), graph_attr("then_branch", branch(2.0)));
    let choice = with(choice, graph_attr("else_branch", branch(3.0)));
    let nodes = vec![choice, node("Add", "y w", "z"), with(node("Softmax", "z", "s"), int("axis", -1))];
    let inputs = vec![value("x", &["N", "4096"]), typed(9, value("flag", &[]))];
    model(graph(nodes, inputs, vec![value("s", &["N", "4096"])], vec![floats("w", &[4096], &[0.5; 4096])]))
}

#[test]
fn truncated_files_are_errors() {
    let bytes = rich_model().write_to_bytes().unwrap();
    assert!(import_bytes(&bytes, &ImportOptions::default()).is_ok());
    let offsets = (0..bytes.len()).filter(|&n| n < 400 || n % 1009 == 0 || n + 300 > bytes.len());
    for n in offsets {
        // What is left may be a smaller model; it must not be the whole one.
        if let Ok(model) = import_bytes(&bytes[..n], &ImportOptions::default()) {
            assert!(model.graph.outputs().is_empty(), "the first {n} bytes import");
        }
    }
}

#[test]
fn flipped_bits_do_not_panic() {
    let bytes = rich_model().write_to_bytes().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..600 {
        let mut damaged = bytes.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Most of the bytes are weights; half of the flips go to the rest.
            let range = if state >> 63 == 0 { bytes.len() } else { 400 };
            let at = (state >> 20) as usize % range;
            damaged[at] ^= 1 << (state >> 56 & 7);
        }
        let _ = import_bytes(&damaged, &ImportOptions::default());
    }
}

#[test]
fn malformed_wire_format_names_file_and_offset() {
    let found = messages(import_bytes(&[0x3a, 0xff, 0x01, 0x00], &ImportOptions::default()));
    assert!(found.contains("model.onnx` is not a valid ONNX model: at byte 0"), "{found}");
    let found = messages(import_bytes(&[0x0b], &ImportOptions::default()));
    assert!(found.contains("expected a wire type"), "{found}");
}

#[test]
fn deep_nesting_is_refused() {
    let mut inner = graph(vec![node("Identity", "x", "r")], vec![], vec![value("r", &[])], vec![]);
    for _ in 0..60 {
        let choice = with(node("If", "flag", "r"), graph_attr("then_branch", inner.clone()));
        inner = graph(
            vec![with(choice, graph_attr("else_branch", inner_identity()))],
            vec![],
            vec![value("r", &[])],
            vec![],
        );
    }
    inner.input = vec![value("x", &["4"]), typed(9, value("flag", &[]))];
    let found = messages(import_model(&model(inner), &ImportOptions::default()));
    assert!(found.contains("expected less deep nesting"), "{found}");
}

fn inner_identity() -> onnx_protobuf::GraphProto {
    graph(vec![node("Identity", "x", "r")], vec![], vec![value("r", &[])], vec![])
}

fn with_initializer(tensor: TensorProto) -> ModelProto {
    model(graph(vec![node("Add", "x w", "y")], vec![value("x", &["1"])], vec![value("y", &["1"])], vec![tensor]))
}

#[test]
fn impossible_shapes_allocate_nothing() {
    for dims in [vec![1 << 31, 1 << 31], vec![-1], vec![i64::MAX, 2], vec![1 << 40]] {
        let tensor = TensorProto { dims, ..floats("w", &[1], &[1.0]) };
        let found = messages(import_model(&with_initializer(tensor), &ImportOptions::default()));
        assert!(found.contains("tensor `w`"), "{found}");
    }
    let huge = model(graph(
        vec![node("Relu", "x", "y")],
        vec![value("x", &["4611686018427387904"])],
        vec![value("y", &[])],
        vec![],
    ));
    assert!(messages(import_model(&huge, &ImportOptions::default())).contains("impossible type"));
}

#[test]
fn payloads_must_fit_shape_and_type() {
    let short = TensorProto { dims: vec![3], ..floats("w", &[], &[1.0, 2.0]) };
    let found = messages(import_model(&with_initializer(short), &ImportOptions::default()));
    assert!(found.contains("takes 12 bytes, found 8"), "{found}");
    let large = TensorProto { dims: vec![5000], ..floats("w", &[], &[1.0; 4096]) };
    let found = messages(import_model(&with_initializer(large), &ImportOptions::default()));
    assert!(found.contains("takes 20000 bytes, found 16384"), "{found}");
    let unknown = TensorProto { data_type: 99, ..floats("w", &[1], &[1.0]) };
    let found = messages(import_model(&with_initializer(unknown), &ImportOptions::default()));
    assert!(found.contains("element type 99 is unknown"), "{found}");
}

fn external(location: &str, offset: &str, length: &str) -> TensorProto {
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: key.into(),
        value: value.into(),
        ..StringStringEntryProto::default()
    };
    let mut tensor = TensorProto { raw_data: vec![], dims: vec![4], ..floats("w", &[], &[]) };
    tensor.external_data = vec![entry("location", location), entry("offset", offset), entry("length", length)];
    tensor.data_location = DataLocation::EXTERNAL.into();
    tensor
}

#[test]
fn external_data_must_be_there_and_inside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weights.bin"), [0u8; 24]).unwrap();
    let import_with = |tensor: TensorProto| {
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, with_initializer(tensor).write_to_bytes().unwrap()).unwrap();
        import(&path, &ImportOptions::default())
    };
    assert_eq!(import_with(external("weights.bin", "8", "16")).unwrap().files.len(), 2);
    let outside = format!("{}/weights.bin", folder.path().display());
    let cases = [
        (external("absent.bin", "0", "16"), "cannot open `absent.bin`"),
        (external("weights.bin", "12", "16"), "which has 24"),
        (external("weights.bin", "18446744073709551615", "16"), "which has 24"),
        (external("weights.bin", "0", "12"), "its entry says 12"),
        (external("weights.bin", "x", "16"), "has the offset `x`"),
        (external("../weights.bin", "0", "16"), "outside of the model's folder"),
        (external("a/../../weights.bin", "0", "16"), "outside of the model's folder"),
        (external(&outside, "0", "16"), "outside of the model's folder"),
        (external(".", "0", "16"), "not a regular file"),
    ];
    for (tensor, expected) in cases {
        let found = messages(import_with(tensor));
        assert!(found.contains(expected) && found.contains("`w`"), "{expected}: {found}");
    }
}

#[test]
fn names_must_be_defined_once_and_without_cycles() {
    let small = |nodes| model(graph(nodes, vec![value("x", &["4"])], vec![value("y", &["4"])], vec![]));
    let cases = [
        (small(vec![node("Add", "x z", "y")]), "input 1, `z`, is not defined"),
        (small(vec![node("Relu", "x", "z")]), "output `y` is not defined"),
        (small(vec![node("Relu", "x", "y"), node("Abs", "x", "y")]), "value `y` is defined twice"),
        (small(vec![node("Relu", "x", "x"), node("Abs", "x", "y")]), "value `x` is defined twice"),
        (
            small(vec![node("Add", "x b", "a"), node("Relu", "a", "b"), node("Abs", "b", "y")]),
            "cycle: `node a`, `node b`",
        ),
    ];
    for (model, expected) in cases {
        let found = messages(import_model(&model, &ImportOptions::default()));
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn one_error_lists_all_unsupported_nodes() {
    let branch = || graph(vec![node("Oracle", "x", "r")], vec![], vec![value("r", &[])], vec![]);
    let choice =
        with(with(node("If", "flag", "c"), graph_attr("then_branch", branch())), graph_attr("else_branch", branch()));
    let nodes = vec![
        node("Wonder", "x", "a"),
        node("Relu", "a", "b"),
        with(node("Riddle", "b", "d"), graph_attr("body", branch())),
        choice,
        node("Sum", "b c d", "y"),
    ];
    let inputs = vec![value("x", &["4"]), typed(9, value("flag", &[]))];
    let found =
        messages(import_model(&model(graph(nodes, inputs, vec![value("y", &[])], vec![])), &ImportOptions::default()));
    assert!(found.contains("5 nodes are not supported"), "{found}");
    for line in ["`node a` (Wonder)", "`node d` (Riddle)", "`node r` (Oracle)"] {
        assert!(found.contains(line), "{line}: {found}");
    }
    assert!(!found.contains("Relu") && !found.contains("Sum"), "{found}");
}

#[test]
fn functions_must_not_call_themselves() {
    let function = FunctionProto {
        name: "Loopy".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![onnx_protobuf::NodeProto { domain: "own".into(), ..node("Loopy", "a", "b") }],
        ..FunctionProto::default()
    };
    let call = onnx_protobuf::NodeProto { domain: "own".into(), ..node("Loopy", "x", "y") };
    let mut model = model(graph(vec![call], vec![value("x", &["4"])], vec![value("y", &["4"])], vec![]));
    model.functions = vec![function];
    let found = messages(import_model(&model, &ImportOptions::default()));
    assert!(found.contains("function `Loopy` calls itself"), "{found}");
}

#[test]
fn options_must_name_what_there_is() {
    let relu = model(graph(vec![node("Relu", "x", "y")], vec![value("x", &["N"])], vec![value("y", &["N"])], vec![]));
    let dims = ImportOptions { dims: BTreeMap::from([("M".to_string(), 3)]), ..ImportOptions::default() };
    assert!(messages(import_model(&relu, &dims)).contains("no dim is called `M`; the model's dims are `N`"));
    let outputs = ImportOptions { outputs: Some(vec!["q".into()]), ..ImportOptions::default() };
    assert!(messages(import_model(&relu, &outputs)).contains("no value `q`"));
}

#[test]
fn missing_files_are_errors() {
    let found = messages(import(Path::new("no/such/model.onnx"), &ImportOptions::default()));
    assert!(found.contains("cannot open the model"), "{found}");
    assert!(!messages(import(Path::new("no/such/graph.ic"), &ImportOptions::default())).is_empty());
    assert!(messages(import(Path::new("/dev"), &ImportOptions::default())).contains("config.json"));
    let found = messages(import(Path::new("/dev/null"), &ImportOptions::default()));
    assert!(found.contains("not a regular file"), "{found}");
    assert!(messages(import_bytes(&[], &ImportOptions::default())).contains("no graph"));
}

#[test]
fn data_dependent_shapes_name_the_operand() {
    let inputs = vec![value("x", &["4"]), typed(7, value("shape", &["?"]))];
    let reshape = model(graph(vec![node("Reshape", "x shape", "y")], inputs, vec![value("y", &[])], vec![]));
    let found = messages(import_model(&reshape, &ImportOptions::default()));
    assert!(found.contains("`node y` (Reshape): `shape` is computed from data"), "{found}");
}

#[test]
fn ill_typed_nodes_are_named() {
    let inputs = vec![value("x", &["4", "3"]), value("w", &["5", "2"])];
    let matmul = model(graph(vec![node("MatMul", "x w", "y")], inputs, vec![value("y", &[])], vec![]));
    let found = messages(import_model(&matmul, &ImportOptions::default()));
    assert!(found.contains("model.onnx:node y") && found.contains("3") && found.contains("5"), "{found}");
}

#[test]
fn windows_have_the_rank_of_their_images() {
    for op in ["Conv", "ConvTranspose"] {
        for name in ["output_shape", "auto_pad"] {
            let attribute = match name {
                "output_shape" => {
                    let ints = vec![1, 1, 10, 8];
                    onnx_protobuf::AttributeProto { name: name.into(), ints, ..Default::default() }
                }
                _ => {
                    onnx_protobuf::AttributeProto { name: name.into(), s: b"SAME_UPPER".to_vec(), ..Default::default() }
                }
            };
            let sliding = with(node(op, "x w", "y"), attribute);
            let inputs = vec![value("x", &["1", "1", "3", "3"]), value("w", &["1", "2", "3"])];
            let sliding = model(graph(vec![sliding], inputs, vec![value("y", &[])], vec![]));
            let found = messages(import_model(&sliding, &ImportOptions::default()));
            assert!(found.contains("1 spatial axes for an image of 2") && found.contains("node y"), "{found}");
        }
    }
}
