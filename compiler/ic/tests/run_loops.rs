//! Loops: artifacts against the evaluator, and hand-checked values.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[path = "models/run.rs"]
mod run;

use ic_types::Tensor;
use models::*;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto};
use run::{counting, of, port, run_model, vector};

fn body(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &str) -> GraphProto {
    let outputs = outputs.split_whitespace().map(|name| value(name, &[])).collect();
    graph(nodes, inputs.iter().map(|text| port(text)).collect(), outputs, vec![])
}

fn looped(inputs: &str, outputs: &str, body: GraphProto) -> NodeProto {
    // `_` is an input that is left out.
    let mut node = with(node("Loop", inputs, outputs), graph_attr("body", body));
    node.input.iter_mut().filter(|name| *name == "_").for_each(String::clear);
    node
}

fn elements(tensor: &Tensor) -> Vec<f32> {
    tensor.elements::<f32>().unwrap().to_vec()
}

/// Adds `c` to `a` and gives the sums, `n` times.
fn sums() -> ModelProto {
    let step = vec![node("Identity", "go", "more"), node("Add", "a c", "b"), node("Mul", "b b", "s")];
    let body = body(step, &["i#", "go?", "a:N"], "more b s");
    of(vec![looped("n _ x", "y all", body)], &["n#", "x:N", "c:N"], "y all")
}

#[test]
fn a_number_of_iterations_that_the_run_knows() {
    let inputs = |n: i64| [Tensor::scalar(n), vector(vec![1.0f32, 2.0]), vector(vec![1.0f32, -1.0])];
    let y = run_model(&sums(), &inputs(3)).unwrap();
    assert_eq!(elements(&y[0]), [4.0, -1.0]);
    assert_eq!((y[1].shape(), elements(&y[1])), (&[3, 2][..], vec![4.0, 1.0, 9.0, 0.0, 16.0, 1.0]));
    let none = run_model(&sums(), &inputs(0)).unwrap();
    assert_eq!((elements(&none[0]), none[1].shape()), (vec![1.0, 2.0], &[0, 2][..]));
    assert_eq!(run_model(&sums(), &inputs(-5)).unwrap()[1].shape(), [0, 2]);
    assert_eq!(run_model(&sums(), &inputs(100)).unwrap()[1].shape(), [100, 2]);
}

#[test]
fn a_condition_ends_the_loop() {
    let step = |output: &str| {
        let nodes = vec![
            node("Add", "a a", "b"),
            node("ReduceMax", "b", "m"),
            node("Squeeze", "m", "top"),
            node("Less", "top limit", "more"),
        ];
        body(nodes, &["i#", "go?", "a:N"], output)
    };
    let endless = of(vec![looped("_ go x", "y", step("more b"))], &["go?", "x:2", "limit:"], "y");
    let run = |model: &ModelProto, go: bool, limit: f32| {
        run_model(model, &[Tensor::scalar(go), vector(vec![1.0f32, 2.0]), Tensor::scalar(limit)]).unwrap()
    };
    assert_eq!(elements(&run(&endless, true, 20.0)[0]), [16.0, 32.0]);
    assert_eq!(elements(&run(&endless, false, 20.0)[0]), [1.0, 2.0]);
    let both = of(vec![looped("n go x", "y all", step("more b a"))], &["n#", "go?", "x:2", "limit:"], "y all");
    let run = |n: i64, limit: f32| {
        let x = vector(vec![1.0f32, 2.0]);
        run_model(&both, &[Tensor::scalar(n), Tensor::scalar(true), x, Tensor::scalar(limit)]).unwrap()
    };
    assert_eq!(elements(&run(50, 6.0)[1]), [1.0, 2.0, 2.0, 4.0]);
    assert_eq!(elements(&run(3, 1e9)[1]), [1.0, 2.0, 2.0, 4.0, 4.0, 8.0]);
    // What collects elements without a limit does so in a sequence.
    let collects = of(vec![looped("_ go x", "y all", step("more b a"))], &["go?", "x:2", "limit:"], "y all");
    let inputs = [Tensor::scalar(true), vector(vec![1.0f32, 2.0]), Tensor::scalar(6.0f32)];
    assert_eq!(elements(&run_model(&collects, &inputs).unwrap()[1]), [1.0, 2.0, 2.0, 4.0]);
}

#[test]
fn carried_values_change_places() {
    let step = vec![node("Identity", "go", "more"), node("Identity", "b", "p"), node("Identity", "a", "q")];
    let body = body(step, &["i#", "go?", "a:N", "b:N"], "more p q");
    let model = of(vec![looped("n _ x z", "y w", body)], &["n#", "x:N", "z:N"], "y w");
    let (one, two) = (vector(vec![1.0f32, 1.0]), vector(vec![2.0f32, 2.0]));
    let y = run_model(&model, &[Tensor::scalar(300i64), one.clone(), two.clone()]).unwrap();
    assert_eq!(y, [one.clone(), two.clone()]);
    assert_eq!(run_model(&model, &[Tensor::scalar(301i64), one.clone(), two.clone()]).unwrap(), [two, one]);
}

#[test]
fn loops_nest() {
    // The inner loop adds the outer one's iteration as often.
    let cast = with(node("Cast", "i", "f"), int("to", 1));
    let inner = body(
        vec![node("Identity", "inner_go", "inner_more"), node("Add", "inner_a f", "inner_b")],
        &["j#", "inner_go?", "inner_a:N"],
        "inner_more inner_b",
    );
    let halves = body(vec![node("Mul", "s c", "then_b")], &[], "then_b");
    let keeps = body(vec![node("Identity", "s", "else_b")], &[], "else_b");
    let choose =
        with(with(node("If", "is_large", "b"), graph_attr("then_branch", halves)), graph_attr("else_branch", keeps));
    let step = vec![
        node("Identity", "go", "more"),
        cast,
        looped("i _ a", "s", inner),
        node("ReduceMax", "s", "m"),
        node("Squeeze", "m", "top"),
        node("Greater", "top limit", "is_large"),
        choose,
    ];
    let outer = body(step, &["i#", "go?", "a:N"], "more b");
    let model = of(vec![looped("n _ x", "y", outer)], &["n#", "x:2", "c:", "limit:"], "y");
    let y = run_model(&model, &[Tensor::scalar(5i64), counting(&[2]), Tensor::scalar(0.5f32), Tensor::scalar(9.5f32)]);
    // 0 + 1 + 4 = 5 and 6; then 14 and 15, halved; then 23 and 23.5, halved.
    assert_eq!(elements(&y.unwrap()[0]), [11.5, 11.75]);
}

#[test]
fn scans_cut_and_join_along_any_axis() {
    let step = vec![node("Add", "state part", "next"), node("Identity", "next", "out")];
    let scan =
        with(node("Scan", "s x", "last all"), graph_attr("body", body(step, &["state:2", "part:2"], "next out")));
    let list = |name: &str, ints: &[i64]| onnx_protobuf::AttributeProto {
        name: name.into(),
        ints: ints.to_vec(),
        ..Default::default()
    };
    let scan = with(with(scan, int("num_scan_inputs", 1)), list("scan_input_axes", &[1]));
    let reversed = with(with(scan.clone(), list("scan_input_directions", &[1])), list("scan_output_directions", &[1]));
    let reversed = with(reversed, list("scan_output_axes", &[-1]));
    let inputs = |n: usize| [vector(vec![10.0f32, 20.0]), counting(&[2, n])];
    let forward = of(vec![scan], &["s:2", "x:2 N"], "last all");
    let y = run_model(&forward, &inputs(3)).unwrap();
    assert_eq!(elements(&y[0]), [13.0, 32.0]);
    assert_eq!((y[1].shape(), elements(&y[1])), (&[3, 2][..], vec![10.0, 23.0, 11.0, 27.0, 13.0, 32.0]));
    let backward = of(vec![reversed], &["s:2", "x:2 N"], "last all");
    let y = run_model(&backward, &inputs(3)).unwrap();
    assert_eq!((y[1].shape(), elements(&y[1])), (&[2, 3][..], vec![13.0, 13.0, 12.0, 32.0, 29.0, 25.0]));
    assert_eq!(run_model(&forward, &inputs(0)).unwrap()[1].shape(), [0, 2]);
}

#[test]
fn what_grows_is_put_in_place() {
    let step = |n: &str| {
        let nodes = vec![node("Identity", "go", "more"), with(node("Concat", "a x", "b"), int("axis", 0))];
        let body = body(nodes, &["i#", "go?", "a:?"], "more b");
        let mut model = of(vec![looped("n _ x", "y", body)], &["x:2"], "y");
        let n = onnx_protobuf::TensorProto {
            name: "n".into(),
            data_type: 7,
            int64_data: vec![n.parse().unwrap()],
            ..Default::default()
        };
        model.graph.as_mut().unwrap().initializer.push(n);
        model
    };
    assert_eq!(run_model(&step("3"), &[counting(&[2])]).unwrap()[0].shape(), [8]);
    assert_eq!(run_model(&step("2000"), &[counting(&[2])]).unwrap()[0].shape(), [4002]);
}

#[test]
fn what_grows_is_carried_in_a_sequence() {
    let nodes = vec![
        node("Identity", "go", "more"),
        with(node("Concat", "a x", "b"), int("axis", 0)),
        node("ReduceSum", "b", "s"),
    ];
    let body = body(nodes, &["i#", "go?", "a:?"], "more b s");
    let model = of(vec![looped("n _ x", "y sums", body)], &["n#", "x:N"], "y sums");
    for n in [1i64, 4] {
        let y = run_model(&model, &[Tensor::scalar(n), counting(&[3])]).unwrap();
        assert_eq!((y[0].shape(), y[1].len()), (&[3 * (n as usize + 1)][..], n as usize));
        assert_eq!(elements(&y[1])[n as usize - 1], 3.0 * (n + 1) as f32);
    }
}

#[test]
fn extents_of_iterations_depend_on_data() {
    let number = |name: &str, value: i64| {
        let (name, data_type) = (name.to_string(), 7);
        onnx_protobuf::TensorProto { name, data_type, dims: vec![1], int64_data: vec![value], ..Default::default() }
    };
    let nodes = vec![
        node("Identity", "go", "more"),
        node("Add", "i one", "end"),
        node("Slice", "x zero end", "part"),
        with(node("ReduceSum", "part", "s"), int("keepdims", 0)),
        node("Add", "a s", "b"),
    ];
    let body = body(nodes, &["i#", "go?", "a:"], "more b b");
    let mut model = of(vec![looped("n _ start", "y all", body)], &["n#", "x:N", "start:"], "y all");
    model.graph.as_mut().unwrap().initializer.extend([number("zero", 0), number("one", 1)]);
    let y = run_model(&model, &[Tensor::scalar(4i64), counting(&[5]), Tensor::scalar(1.0f32)]).unwrap();
    // Sums of 0; 0, 1; 0, 1, 2; 0, 1, 2, 3.
    assert_eq!((elements(&y[0]), elements(&y[1])), (vec![11.0], vec![1.0, 2.0, 5.0, 11.0]));
}

#[test]
fn branches_give_different_shapes() {
    let branch = |nodes: Vec<NodeProto>| body(nodes, &[], "r");
    let twice = branch(vec![with(node("Concat", "x x", "r"), int("axis", 0))]);
    let places =
        branch(vec![node("NonZero", "x", "places"), node("Cast", "places", "wide"), node("ReduceSum", "wide k", "r")]);
    let mut places = places;
    places.node[1].attribute.push(int("to", 1));
    places.node[2].attribute.push(int("keepdims", 0));
    let choice = with(with(node("If", "c", "y"), graph_attr("then_branch", twice)), graph_attr("else_branch", places));
    let mut model = of(vec![choice], &["c?", "x:3"], "y");
    let axis = onnx_protobuf::TensorProto {
        name: "k".into(),
        data_type: 7,
        dims: vec![1],
        int64_data: vec![0],
        ..Default::default()
    };
    model.graph.as_mut().unwrap().initializer.push(axis);
    let run = |c: bool| run_model(&model, &[Tensor::scalar(c), counting(&[3])]).unwrap().remove(0);
    assert_eq!(elements(&run(true)), [0.0, 1.0, 2.0, 0.0, 1.0, 2.0]);
    assert_eq!(elements(&run(false)), [1.0, 2.0]);
}
