//! Trees, linear models and features of ONNX-ML: values worked out by hand, from the evaluator and from artifacts.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "models/run.rs"]
mod run;

use ic_types::Tensor;
use models::*;
use onnx_protobuf::{AttributeProto, NodeProto, OperatorSetIdProto, TypeProto, type_proto};
use run::{of, run_model};

fn ml(op: &str, attributes: Vec<AttributeProto>, outputs: &str) -> NodeProto {
    NodeProto { domain: "ai.onnx.ml".into(), attribute: attributes, ..node(op, "x", outputs) }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), ..AttributeProto::default() }
}

fn reals(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto { name: name.into(), floats: floats.to_vec(), ..AttributeProto::default() }
}

fn real(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, ..AttributeProto::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.into(), ..AttributeProto::default() }
}

fn texts(name: &str, list: &[&str]) -> AttributeProto {
    let strings = list.iter().map(|s| s.as_bytes().to_vec()).collect();
    AttributeProto { name: name.into(), strings, ..AttributeProto::default() }
}

/// The outputs of a node on rows of `width` features.
fn outputs(node: NodeProto, width: usize, x: &[f32]) -> Vec<Tensor> {
    let names = node.output.join(" ");
    let mut model = of(vec![node], &[&format!("x:rows {width}")], &names);
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version, ..Default::default() };
    model.opset_import = vec![opset("", 18), opset("ai.onnx.ml", 3)];
    run_model(&model, &[Tensor::from_elements(vec![x.len() / width, width], x.to_vec())]).unwrap()
}

fn check_near(found: &Tensor, expected: &[f32]) {
    let found = found.elements::<f32>().unwrap();
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && error < 1e-6, "{found:?}, expected {expected:?}");
}

fn check_labels(found: &Tensor, expected: &[i64]) {
    assert_eq!(found.elements::<i64>().unwrap(), expected);
}

/// Two trees of one node: feature 0 at most 0.5, feature 1 at most 1.5. Leaves give `weights` to the classes `ids`, the
/// first tree's first.
fn two_trees(ids: [i64; 4], weights: [f32; 4], labels: &[i64], more: Vec<AttributeProto>) -> NodeProto {
    let modes = ["BRANCH_LEQ", "LEAF", "LEAF"];
    let attributes = vec![
        ints("nodes_treeids", &[0, 0, 0, 1, 1, 1]),
        ints("nodes_nodeids", &[0, 1, 2, 0, 1, 2]),
        ints("nodes_featureids", &[0, 0, 0, 1, 0, 0]),
        reals("nodes_values", &[0.5, 0.0, 0.0, 1.5, 0.0, 0.0]),
        texts("nodes_modes", &[modes, modes].concat()),
        ints("nodes_truenodeids", &[1, 0, 0, 1, 0, 0]),
        ints("nodes_falsenodeids", &[2, 0, 0, 2, 0, 0]),
        ints("class_treeids", &[0, 0, 1, 1]),
        ints("class_nodeids", &[1, 2, 1, 2]),
        ints("class_ids", &ids),
        reals("class_weights", &weights),
        ints("classlabels_int64s", labels),
    ];
    ml("TreeEnsembleClassifier", [attributes, more].concat(), "label scores")
}

/// Both leaves of both trees.
const ROWS: [f32; 8] = [0.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0, 2.0];

#[test]
fn trees_for_three_labels() {
    let found = outputs(two_trees([0, 1, 2, 1], [0.25, 0.5, 1.0, 0.125], &[7, 8, 9], vec![]), 2, &ROWS);
    check_labels(&found[0], &[9, 7, 9, 8]);
    check_near(&found[1], &[0.25, 0.0, 1.0, 0.25, 0.125, 0.0, 0.0, 0.5, 1.0, 0.0, 0.625, 0.0]);
    let based = vec![reals("base_values", &[2.0, 0.0, 0.0])];
    let found = outputs(two_trees([0, 1, 2, 1], [0.25, 0.5, 1.0, 0.125], &[7, 8, 9], based), 2, &ROWS);
    check_labels(&found[0], &[7, 7, 7, 7]);
}

#[test]
fn trees_for_two_labels() {
    // No weight is negative: the sum is the second label's share.
    let found = outputs(two_trees([1; 4], [0.125, 0.5, 0.25, 0.375], &[4, 6], vec![]), 2, &ROWS);
    check_labels(&found[0], &[4, 4, 6, 6]);
    check_near(&found[1], &[0.625, 0.375, 0.5, 0.5, 0.25, 0.75, 0.125, 0.875]);
    // Else its sign decides.
    let logistic = vec![text("post_transform", "LOGISTIC"), reals("base_values", &[0.5])];
    let found = outputs(two_trees([0; 4], [-1.0, 1.0, -1.0, 0.25], &[4, 6], logistic), 2, &ROWS);
    check_labels(&found[0], &[4, 4, 6, 6]);
    let share = |x: f32| 1.0 / (1.0 + (-x).exp());
    let scores = [-1.5f32, -0.25, 0.5, 1.75];
    check_near(&found[1], &scores.map(|x| [share(-x), share(x)]).concat());
}

#[test]
fn modes_of_trees() {
    let x = [-1.0f32, 0.0, -0.0, 0.5, f32::MIN_POSITIVE / 2.0, 2.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    type Relation = fn(&f32, &f32) -> bool;
    let modes: [(&str, Relation); 6] = [
        ("BRANCH_LEQ", |x, y| x <= y),
        ("BRANCH_LT", |x, y| x < y),
        ("BRANCH_GTE", |x, y| x >= y),
        ("BRANCH_GT", |x, y| x > y),
        ("BRANCH_EQ", |x, y| x == y),
        ("BRANCH_NEQ", |x, y| x != y),
    ];
    for (mode, holds) in modes {
        for split in x {
            for tracks in [0, 1] {
                let attributes = vec![
                    ints("nodes_treeids", &[0; 3]),
                    ints("nodes_nodeids", &[0, 1, 2]),
                    ints("nodes_featureids", &[0; 3]),
                    reals("nodes_values", &[split, 0.0, 0.0]),
                    texts("nodes_modes", &[mode, "LEAF", "LEAF"]),
                    ints("nodes_truenodeids", &[1, 0, 0]),
                    ints("nodes_falsenodeids", &[2, 0, 0]),
                    ints("nodes_missing_value_tracks_true", &[tracks, 0, 0]),
                    ints("target_treeids", &[0, 0]),
                    ints("target_nodeids", &[1, 2]),
                    ints("target_ids", &[0, 0]),
                    reals("target_weights", &[1.0, 2.0]),
                    int("n_targets", 1),
                ];
                let found = &outputs(ml("TreeEnsembleRegressor", attributes, "y"), 1, &x)[0];
                let wanted = x.map(|x| if holds(&x, &split) || tracks == 1 && x.is_nan() { 1.0 } else { 2.0 });
                assert_eq!(found.elements::<f32>().unwrap(), wanted, "{mode} {split}, {tracks}");
            }
        }
    }
}

#[test]
fn an_output_of_maps_is_the_scores() {
    let keys = ml("ZipMap", vec![ints("classlabels_int64s", &[4, 6])], "y");
    let mut model = of(vec![keys], &["x:rows 2"], "y");
    let float = TypeProto { value: Some(type_proto::Value::TensorType(Default::default())), ..Default::default() };
    let map = type_proto::Map { key_type: 7, value_type: Some(float).into(), ..Default::default() };
    let map = TypeProto { value: Some(type_proto::Value::MapType(map)), ..Default::default() };
    let maps = type_proto::Sequence { elem_type: Some(map).into(), ..Default::default() };
    let maps = TypeProto { value: Some(type_proto::Value::SequenceType(maps)), ..Default::default() };
    model.graph.as_mut().unwrap().output[0].type_ = Some(maps).into();
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version, ..Default::default() };
    model.opset_import = vec![opset("", 18), opset("ai.onnx.ml", 3)];
    let scores = Tensor::from_elements(vec![1, 2], vec![0.25f32, 0.75]);
    assert_eq!(run_model(&model, std::slice::from_ref(&scores)).unwrap(), [scores]);
}

#[test]
fn linear_models() {
    let coefficients =
        vec![reals("coefficients", &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0]), reals("intercepts", &[0.0, 0.5, 1.0])];
    let labels = texts("classlabels_strings", &["a", "b", "c"]);
    let found = outputs(
        ml("LinearClassifier", [coefficients.clone(), vec![labels]].concat(), "label scores"),
        2,
        &[3.0, 1.0, -1.0, -2.0],
    );
    assert_eq!(found[0].elements::<String>().unwrap(), ["a", "c"]);
    check_near(&found[1], &[3.0, 1.5, -3.0, -1.0, -1.5, 4.0]);
    let found = outputs(ml("LinearRegressor", [coefficients, vec![int("targets", 3)]].concat(), "y"), 2, &[3.0, 1.0]);
    check_near(&found[0], &[3.0, 1.5, -3.0]);
    let one = vec![reals("coefficients", &[2.0, -1.0]), ints("classlabels_ints", &[0, 1])];
    let found = outputs(ml("LinearClassifier", one, "label scores"), 2, &[1.0, 1.0, 0.0, 1.0]);
    check_labels(&found[0], &[1, 0]);
    check_near(&found[1], &[-1.0, 1.0, 1.0, -1.0]);
}

#[test]
fn kernels_of_support_vectors() {
    let machine = |kernel: &str, params: [f32; 3]| {
        let attributes = vec![
            text("kernel_type", kernel),
            reals("kernel_params", &params),
            reals("support_vectors", &[1.0, 0.0, 0.0, 2.0]),
            reals("coefficients", &[0.5, -1.0]),
            reals("rho", &[0.25]),
            int("n_supports", 2),
        ];
        outputs(ml("SVMRegressor", attributes, "y"), 2, &[1.0, 1.0])[0].clone()
    };
    check_near(&machine("LINEAR", [0.0; 3]), &[0.5 - 2.0 + 0.25]);
    check_near(&machine("POLY", [0.5, 1.0, 2.0]), &[0.5 * 2.25 - 4.0 + 0.25]);
    check_near(&machine("RBF", [0.5, 0.0, 0.0]), &[0.5 * (-0.5f32).exp() - (-1.0f32).exp() + 0.25]);
    check_near(&machine("SIGMOID", [0.5, 0.0, 0.0]), &[0.5 * 0.5f32.tanh() - 1f32.tanh() + 0.25]);
}

/// A machine with the vectors (1, 0), (0, 2) and (-1, -1), of as many classes, and a linear kernel.
fn three_vectors(more: Vec<AttributeProto>) -> NodeProto {
    let attributes = vec![
        text("kernel_type", "LINEAR"),
        reals("kernel_params", &[0.0; 3]),
        reals("support_vectors", &[1.0, 0.0, 0.0, 2.0, -1.0, -1.0]),
        ints("vectors_per_class", &[1, 1, 1]),
        // Of each vector, against the two other classes.
        reals("coefficients", &[1.0, -0.5, -1.0, 2.0, 0.5, -2.0]),
        reals("rho", &[0.25, 0.0, -0.5]),
        ints("classlabels_ints", &[3, 5, 9]),
    ];
    ml("SVMClassifier", [attributes, more].concat(), "label scores")
}

#[test]
fn votes_of_support_vectors() {
    // Kernels of (1, 3) with the vectors: 1, 6, -4.
    let pairs = [1.0 - 0.5 * 6.0 + 0.25, 2.0 + 4.0, 0.5 * 6.0 + 8.0 - 0.5];
    let found = outputs(three_vectors(vec![]), 2, &[1.0, 3.0]);
    check_labels(&found[0], &[5]);
    check_near(&found[1], &pairs);
    // The middle of three shares is what each pair of them says it is.
    let found = outputs(three_vectors(vec![reals("prob_a", &[-1.0; 3]), reals("prob_b", &[0.0; 3])]), 2, &[1.0, 3.0]);
    check_labels(&found[0], &[5]);
    let shares = found[1].elements::<f32>().unwrap();
    let share = |score: f32| 1.0 / (1.0 + (-score).exp());
    assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{shares:?}");
    assert!((shares[0] / (shares[0] + shares[1]) - share(pairs[0])).abs() < 5e-3, "{shares:?}");
    let two = vec![
        text("kernel_type", "LINEAR"),
        reals("support_vectors", &[1.0, 0.0, 0.0, 2.0]),
        ints("vectors_per_class", &[1, 1]),
        reals("coefficients", &[1.0, -1.0]),
        reals("rho", &[0.25]),
        texts("classlabels_strings", &["no", "yes"]),
    ];
    let found = outputs(ml("SVMClassifier", two, "label scores"), 2, &[1.0, 3.0, 4.0, 0.0]);
    check_near(&found[1], &[4.75, -4.75, -4.25, 4.25]);
    let linear =
        vec![reals("coefficients", &[1.0, 0.0, 0.0, 1.0]), reals("rho", &[0.5]), ints("classlabels_ints", &[1, 2])];
    let found = outputs(ml("SVMClassifier", linear, "label scores"), 2, &[1.0, 3.0]);
    check_labels(&found[0], &[2]);
    check_near(&found[1], &[1.5, 3.5]);
}

#[test]
fn quantiles_of_the_normal_distribution() {
    let coefficients = vec![reals("coefficients", &[1.0]), text("post_transform", "PROBIT")];
    let found = outputs(ml("LinearRegressor", coefficients, "y"), 1, &[0.5, 0.975, 0.025, 0.84134]);
    let found = found[0].elements::<f32>().unwrap();
    let wanted = [0.0, 1.95996, -1.95996, 1.0];
    assert!(found.iter().zip(wanted).all(|(a, b): (&f32, f32)| (a - b).abs() < 5e-3), "{found:?}");
}

#[test]
fn features() {
    let norm =
        |name: &str| outputs(ml("Normalizer", vec![text("norm", name)], "y"), 2, &[3.0, -4.0, 0.0, 0.0])[0].clone();
    check_near(&norm("MAX"), &[0.75, -1.0, 0.0, 0.0]);
    check_near(&norm("L1"), &[3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0]);
    check_near(&norm("L2"), &[0.6, -0.8, 0.0, 0.0]);
    let imputed = vec![reals("imputed_value_floats", &[5.0, 6.0]), real("replaced_value_float", f32::NAN)];
    let found = outputs(ml("Imputer", imputed, "y"), 2, &[f32::NAN, 1.0, 2.0, f32::NAN]);
    check_near(&found[0], &[5.0, 1.0, 2.0, 6.0]);
    let found = outputs(ml("OneHotEncoder", vec![ints("cats_int64s", &[3, 5])], "y"), 2, &[5.0, 4.0]);
    check_near(&found[0], &[0.0, 1.0, 0.0, 0.0]);
    check_near(&outputs(ml("FeatureVectorizer", vec![], "y"), 2, &[1.0, 2.0])[0], &[1.0, 2.0]);
}
