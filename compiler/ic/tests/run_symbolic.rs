//! Extents, bounds and axes that only a run knows: artifacts against the evaluator, and hand-checked values.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[path = "models/run.rs"]
mod run;

use ic::tensors::tensor_to_proto;
use ic_types::Tensor;
use models::*;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto};
use run::{counting, of, run_model, vector};

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), ..AttributeProto::default() }
}

/// The shape and elements of the first output.
fn first(model: &ModelProto, inputs: &[Tensor]) -> (Vec<usize>, Vec<f32>) {
    let outputs = run_model(model, inputs).unwrap();
    (outputs[0].shape().to_vec(), outputs[0].elements::<f32>().unwrap().to_vec())
}

#[test]
fn reshape_to_a_shape_of_the_run() {
    let model = of(vec![node("Reshape", "x s", "y")], &["x:N 6", "s#2"], "y");
    let shape = |target: [i64; 2]| {
        run_model(&model, &[counting(&[4, 6]), vector(target.to_vec())]).map(|y| y[0].shape().to_vec())
    };
    assert_eq!(shape([3, 8]), Ok(vec![3, 8]));
    assert_eq!(shape([-1, 2]), Ok(vec![12, 2]));
    assert_eq!(shape([0, -1]), Ok(vec![4, 6]));
    assert!(shape([5, 5]).unwrap_err().contains("must equal"));
    assert!(shape([-1, -1]).is_err() && shape([-2, 12]).is_err() && shape([-1, 0]).is_ok());
    let kept = of(vec![with(node("Reshape", "x s", "y"), int("allowzero", 1))], &["x:N 6", "s#2"], "y");
    let empty = run_model(&kept, &[counting(&[0, 6]), vector(vec![0i64, 5])]).unwrap();
    assert_eq!(empty[0].shape(), [0, 5]);
}

#[test]
fn an_input_that_nothing_reads_beside_a_shape_of_the_run() {
    let model = of(vec![node("Reshape", "x s", "y")], &["unused:3 5 7", "x:N 6", "s#2"], "y");
    let inputs = [counting(&[3, 5, 7]), counting(&[4, 6]), vector(vec![8i64, 3])];
    assert_eq!(run_model(&model, &inputs).unwrap()[0].shape(), [8, 3]);
}

#[test]
fn nothing_is_computed_of_what_has_no_elements() {
    let nodes = vec![node("Transpose", "x", "t"), with(node("Flatten", "t", "y"), int("axis", 1))];
    let model = of(nodes, &["x:2 0 3"], "y");
    assert_eq!(run_model(&model, &[counting(&[2, 0, 3])]).unwrap()[0].shape(), [3, 0]);
}

#[test]
fn rows_are_filled_with_what_they_fold_to() {
    let shape = with(node("Constant", "", "s"), ints("value_ints", &[4, 1, 5]));
    let nodes = vec![shape, node("GlobalAveragePool", "x", "m"), node("Expand", "m s", "y")];
    let (shape, y) = first(&of(nodes, &["x:4 1 5"], "y"), &[counting(&[4, 1, 5])]);
    assert_eq!(shape, [4, 1, 5]);
    assert!(y.chunks(5).all(|row| row.iter().all(|&element| element == row[0])) && y[0] != y[5], "{y:?}");
}

#[test]
fn images_of_bytes_are_resized() {
    let resized = |mode: &str, antialias: i64| {
        let text = |name: &str, s: &str| AttributeProto { name: name.into(), s: s.into(), ..AttributeProto::default() };
        let mut resize = with(with(node("Resize", "b roi s", "h"), text("mode", mode)), int("antialias", antialias));
        resize.input[1].clear();
        let bytes = with(node("Cast", "x", "b"), int("to", 2));
        let back = with(node("Cast", "h", "y"), int("to", 1));
        let mut model = of(vec![bytes, resize, back], &["x:1 1 1 n"], "y");
        model.graph.as_mut().unwrap().initializer.push(floats("s", &[4], &[1.0, 1.0, 1.0, 2.0]));
        first(&model, &[Tensor::from_elements(vec![1, 1, 1, 3], vec![0.0f32, 10.0, 255.0])]).1
    };
    // 0, 2.5, 7.5, 71.25, 193.75, 255
    assert_eq!(resized("linear", 0), [0.0, 2.0, 7.0, 71.0, 193.0, 255.0]);
    assert_eq!(resized("linear", 1), [0.0, 3.0, 8.0, 71.0, 194.0, 255.0]);
    // What goes beyond a byte is cut off.
    assert_eq!(resized("cubic", 0)[5], 255.0);
}

#[test]
fn squares_of_halves_do_not_overflow_in_a_normalization() {
    let cast = |from: &str, name: &str| with(node("Cast", from, name), int("to", 10));
    let back = with(node("Cast", "h", "y"), int("to", 1));
    let normalized = node("InstanceNormalization", "a b c", "h");
    let model =
        of(vec![cast("x", "a"), cast("s", "b"), cast("t", "c"), normalized, back], &["x:1 1 n", "s:1", "t:1"], "y");
    let numbers = |list: &[f32]| Tensor::from_elements(vec![list.len()], list.to_vec());
    let x = Tensor::from_elements(vec![1, 1, 4], vec![1000.0f32, -1000.0, 3000.0, -3000.0]);
    let (_, y) = first(&model, &[x, numbers(&[5.0]), numbers(&[1.0])]);
    // The deviation is the root of five million, and each result is rounded to 11 bits.
    let wanted = [1.0, -1.0, 3.0, -3.0].map(|x: f32| 1.0 + 5.0f32.sqrt() * x);
    assert!(y.iter().zip(wanted).all(|(y, wanted)| (y - wanted).abs() < 4e-3), "{y:?}, expected {wanted:?}");
}

#[test]
fn a_signal_without_the_axis_of_its_parts_is_real() {
    let spectrum = |port: &str, shape: &[usize]| {
        let number = |name: &str, value: i64| with(node("Constant", "", name), int("value_int", value));
        let window = node("Cast", "w", "window");
        let stft = node("STFT", "x step window length", "y");
        let nodes = vec![number("step", 4), number("length", 8), with(window, int("to", 1)), stft];
        run_model(&of(nodes, &[port, "w:8"], "y"), &[counting(shape), counting(&[8])]).map(|y| y[0].clone())
    };
    let found = spectrum("x:2 n", &[2, 20]);
    assert_eq!(found.as_ref().map(Tensor::shape), Ok(&[2, 4, 5, 2][..]));
    assert_eq!(found, spectrum("x:2 n 1", &[2, 20, 1]));
}

#[test]
fn extents_of_the_run_broadcast() {
    let sum = of(vec![node("Add", "a b", "y")], &["a:m", "b:k"], "y");
    let run = |m: usize, k: usize| run_model(&sum, &[counting(&[m]), counting(&[k])]).map(|y| y[0].clone());
    assert_eq!(run(0, 1), Ok(vector(Vec::<f32>::new())));
    assert_eq!(run(1, 0), Ok(vector(Vec::<f32>::new())));
    assert_eq!(run(3, 1), Ok(vector(vec![0.0f32, 1.0, 2.0])));
    assert_eq!(run(1, 3), Ok(vector(vec![0.0f32, 1.0, 2.0])));
    assert_eq!(run(2, 2), Ok(vector(vec![0.0f32, 2.0])));
    assert!(run(2, 3).unwrap_err().contains("extents 2 and 3 must broadcast"));
    assert!(run(0, 2).unwrap_err().contains("must broadcast"));

    let nodes = vec![node("Add", "a b", "ab"), node("Mul", "ab c", "abc"), node("Sub", "abc b", "y")];
    let three = of(nodes, &["a:m", "b:k", "c:n"], "y");
    let run = |extents: [usize; 3]| {
        run_model(&three, &extents.map(|extent| counting(&[extent]))).map(|y| y[0].elements::<f32>().unwrap().to_vec())
    };
    assert_eq!(run([1, 1, 3]), Ok(vec![0.0; 3]));
    assert_eq!(run([3, 1, 3]), Ok(vec![0.0, 1.0, 4.0]));
    assert_eq!(run([1, 3, 1]), Ok(vec![0.0, -1.0, -2.0]));
    assert_eq!(run([1, 1, 0]), Ok(vec![]));
    assert!(run([1, 2, 3]).unwrap_err().contains("must broadcast"));
}

#[test]
fn batches_of_the_run_broadcast() {
    let product = of(vec![node("MatMul", "a b", "y")], &["a:m 2 3", "b:k 3 2"], "y");
    let run = |m: usize, k: usize| run_model(&product, &[counting(&[m, 2, 3]), counting(&[k, 3, 2])]);
    for (m, k, batch) in [(0, 1, 0), (1, 0, 0), (3, 1, 3), (1, 3, 3), (2, 2, 2)] {
        assert_eq!(run(m, k).unwrap()[0].shape(), [batch, 2, 2], "{m} and {k}");
    }
    assert!(run(2, 3).unwrap_err().contains("must broadcast"));
}

#[test]
fn slices_are_clamped_and_count_from_the_end() {
    let model = of(vec![node("Slice", "x s e", "y")], &["x:N", "s#1", "e#1"], "y");
    let slice = |s: i64, e: i64| first(&model, &[counting(&[5]), vector(vec![s]), vector(vec![e])]).1;
    assert_eq!(slice(1, 3), [1.0, 2.0]);
    assert_eq!(slice(-2, i64::MAX), [3.0, 4.0]);
    assert_eq!(slice(-100, 2), [0.0, 1.0]);
    assert!(slice(4, 1).is_empty());
    assert!(slice(100, 200).is_empty());
    let model = of(vec![node("Slice", "x s e a t", "y")], &["x:N M", "s#1", "e#1", "a#1", "t#1"], "y");
    let slice = |list: [i64; 4]| {
        let bounds = list.into_iter().map(|i| vector(vec![i]));
        first(&model, &std::iter::once(counting(&[2, 4])).chain(bounds).collect::<Vec<_>>()).1
    };
    assert_eq!(slice([3, i64::MIN, 1, -2]), [3.0, 1.0, 7.0, 5.0]);
    assert_eq!(slice([-1, 5, -2, 1]), [4.0, 5.0, 6.0, 7.0]);
    assert_eq!(slice([0, 9, 1, i64::MAX]), [0.0, 4.0]);
}

#[test]
fn slices_of_any_extent_follow_numpy() {
    let bounds = [(1, i64::MAX), (-1, i64::MAX), (0, 1), (0, -1), (1, -1), (-1, 1), (-2, -1), (1, 2), (3, 1)];
    for (start, end) in bounds {
        let lists = [("s", start), ("e", end)].map(|(name, bound)| tensor_to_proto(name, &vector(vec![bound])));
        let mut model = of(vec![node("Slice", "x s e", "y")], &["x:N 2"], "y");
        model.graph.as_mut().unwrap().initializer = lists.into();
        for n in [0, 1, 2, 5] {
            let at = |bound: i64| if bound < 0 { (bound + n).max(0) } else { bound.min(n) };
            let rows = at(start)..at(end).max(at(start));
            let expected = rows.flat_map(|row| [2 * row, 2 * row + 1]).map(|x| x as f32).collect::<Vec<_>>();
            assert_eq!(first(&model, &[counting(&[n as usize, 2])]).1, expected, "{start}..{end} of {n}");
        }
    }
}

#[test]
fn counts_are_extents_of_what_follows() {
    // The found elements, then those of them above 2, then as many numbers.
    let compare = vec![
        node("NonZero", "x", "at"),
        node("Transpose", "at", "rows"),
        node("GatherND", "x rows", "found"),
        node("Greater", "found two", "is_large"),
        with(node("Compress", "found is_large", "y"), int("axis", 0)),
        node("Shape", "y", "n"),
        node("Expand", "two n", "z"),
    ];
    let model = of(compare, &["x:N M", "two:1"], "y z");
    let x = Tensor::from_elements(vec![2, 3], vec![0.0f32, 1.0, 3.0, 0.0, 2.5, -1.0]);
    let outputs = run_model(&model, &[x, vector(vec![2.0f32])]).unwrap();
    assert_eq!(outputs, [vector(vec![3.0f32, 2.5]), vector(vec![2.0f32, 2.0])]);
    let nothing = run_model(&model, &[counting(&[0, 3]), vector(vec![2.0f32])]).unwrap();
    assert_eq!(nothing[0].shape(), [0]);
}

#[test]
fn distinct_slices() {
    let unique = with(with(node("Unique", "x", "y first which counts"), int("axis", 0)), int("sorted", 0));
    let model = of(vec![unique], &["x:N 2"], "y first which counts");
    let x = Tensor::from_elements(vec![4, 2], vec![3.0f32, 1.0, 0.0, 1.0, 3.0, 1.0, 0.0, 0.0]);
    let outputs = run_model(&model, &[x]).unwrap();
    assert_eq!(outputs[0], Tensor::from_elements(vec![3, 2], vec![3.0f32, 1.0, 0.0, 1.0, 0.0, 0.0]));
    assert_eq!(outputs[1..], [vector(vec![0i64, 1, 3]), vector(vec![0i64, 1, 0, 2]), vector(vec![2i64, 1, 1])]);
}

#[test]
fn reductions_over_axes_of_the_run() {
    for (op, keep, axes, expected) in [
        ("ReduceSum", 1, vec![1i64], vec![3.0f32, 12.0]),
        ("ReduceSum", 0, vec![-2], vec![3.0, 5.0, 7.0]),
        ("ReduceMean", 0, vec![-1, 0], vec![2.5]),
        ("ReduceMax", 1, vec![0], vec![3.0, 4.0, 5.0]),
        ("ReduceProd", 1, vec![1], vec![0.0, 60.0]),
        ("ReduceLogSumExp", 0, vec![0], vec![3.0485873, 4.0485873, 5.0485873]),
    ] {
        let extent = axes.len().to_string();
        let model =
            of(vec![with(node(op, "x a", "y"), int("keepdims", keep))], &["x:N 3", &format!("a#{extent}")], "y");
        let (shape, found) = first(&model, &[counting(&[2, 3]), vector(axes)]);
        assert_eq!(shape.len(), if keep == 1 { 2 } else { 2 - extent.parse::<usize>().unwrap() }, "{op}");
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{op}: {found:?}");
    }
}

#[test]
fn axes_of_the_run_put_in_and_taken_out() {
    let shape = |op: &str, n: &str, x: &[usize], axes: Vec<i64>| {
        let dims: Vec<String> = (0..x.len()).map(|i| format!("D{i}")).collect();
        let model = of(vec![node(op, "x a", "y")], &[&format!("x:{}", dims.join(" ")), &format!("a#{n}")], "y");
        run_model(&model, &[counting(x), vector(axes)]).map(|y| y[0].shape().to_vec())
    };
    assert_eq!(shape("Unsqueeze", "2", &[3, 4], vec![-1, 1]), Ok(vec![3, 1, 4, 1]));
    assert_eq!(shape("Unsqueeze", "1", &[3], vec![0]), Ok(vec![1, 3]));
    assert_eq!(shape("Squeeze", "2", &[1, 5, 1], vec![0, -1]), Ok(vec![5]));
    assert!(shape("Squeeze", "1", &[2, 5], vec![0]).is_err());
}

#[test]
fn ranges_pads_and_repeats_of_the_run() {
    let model = of(vec![node("Range", "a b c", "y")], &["a:", "b:", "c:"], "y");
    let range = |a: f32, b: f32, c: f32| first(&model, &[a, b, c].map(Tensor::scalar)).1;
    assert_eq!(range(1.0, 5.0, 2.0), [1.0, 3.0]);
    assert_eq!(range(3.0, 0.5, -1.0), [3.0, 2.0, 1.0]);
    assert!(range(3.0, 4.0, -1.0).is_empty());
    let model =
        of(vec![node("Range", "a b c", "i"), with(node("Cast", "i", "y"), int("to", 1))], &["a#", "b#", "c#"], "y");
    assert_eq!(first(&model, &[10i64, 3, -3].map(Tensor::scalar)).1, [10.0, 7.0, 4.0]);
    let model = of(vec![node("Pad", "x p", "y")], &["x:N", "p#2"], "y");
    let pad = |p: [i64; 2]| first(&model, &[counting(&[3]), vector(p.to_vec())]).1;
    assert_eq!(pad([1, 2]), [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
    assert_eq!(pad([-1, 1]), [1.0, 2.0, 0.0]);
    assert_eq!(pad([-4, 1]), [0.0]);
    let model = of(vec![node("Tile", "x r", "y")], &["x:N", "r#1"], "y");
    assert_eq!(first(&model, &[counting(&[2]), vector(vec![2i64])]).1, [0.0, 1.0, 0.0, 1.0]);
    assert!(run_model(&model, &[counting(&[2]), vector(vec![-2i64])]).unwrap_err().contains("-2"));
}

/// A node without inputs that gives one f32.
fn number(name: &str, x: f32) -> NodeProto {
    with(node("Constant", "", name), tensor_attr("value", floats("", &[], &[x])))
}

#[test]
fn ranges_of_extents_begin_and_end_at_fractions() {
    let extent = || {
        vec![
            node("Shape", "x", "shape"),
            node("Squeeze", "shape", "n"),
            with(node("Cast", "n", "extent"), int("to", 1)),
            number("half", 0.5),
            number("two", 2.0),
            number("many", 7.25),
        ]
    };
    let range = |bounds: &str, n: usize| {
        let model = of([extent(), vec![node("Range", bounds, "y")]].concat(), &["x:N"], "y");
        first(&model, &[counting(&[n])]).1
    };
    assert_eq!(range("half extent two", 4), [0.5, 2.5]);
    assert_eq!(range("half extent two", 5), [0.5, 2.5, 4.5]);
    assert_eq!(range("extent many two", 3), [3.0, 5.0, 7.0]);
    assert!(range("extent many two", 8).is_empty());
    // Steps of a fraction are counted by the run.
    assert_eq!(range("two extent half", 4), [2.0, 2.5, 3.0, 3.5]);
    assert!(range("two extent half", 2).is_empty());
}

#[test]
fn a_shape_of_extents_too_long_to_follow() {
    let symbols: Vec<String> = (0..20).map(|i| format!("x{i}")).collect();
    let ports: Vec<String> = (0..20).map(|i| format!("x{i}:N{i}")).collect();
    let nodes = vec![
        with(node("Concat", &symbols.join(" "), "all"), int("axis", 0)),
        with(node("Flatten", "all", "column"), int("axis", 1)),
        with(node("Flatten", "all", "row"), int("axis", 0)),
        node("Add", "column row", "square"),
        with(node("Flatten", "square", "flat"), int("axis", 0)),
        node("Shape", "flat", "s"),
        node("Reshape", "flat s", "y"),
    ];
    let model = of(nodes, &ports.iter().map(String::as_str).collect::<Vec<_>>(), "s y");
    let inputs: Vec<Tensor> = (0..20).map(|i| counting(&[1 + i % 2])).collect();
    assert_eq!(run_model(&model, &inputs).unwrap()[0].elements::<i64>().unwrap(), [1, 900]);
}

#[test]
fn numbers_that_do_not_fit_are_errors() {
    let model = of(vec![node("Split", "x s", "y z")], &["x:N", "s#2"], "y z");
    assert!(run_model(&model, &[counting(&[5]), vector(vec![2i64, 3])]).is_ok());
    assert!(run_model(&model, &[counting(&[5]), vector(vec![2i64, 4])]).is_err());
    let model = of(vec![node("TopK", "x k", "y z")], &["x:N", "k#1"], "y z");
    assert_eq!(first(&model, &[counting(&[5]), vector(vec![2i64])]).1, [4.0, 3.0]);
    assert!(run_model(&model, &[counting(&[5]), vector(vec![6i64])]).is_err());
}
