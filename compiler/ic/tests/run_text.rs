//! Strings, draws and trees: artifacts against the evaluator, and hand-checked values.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[path = "models/run.rs"]
mod run;

use ic_types::Tensor;
use models::*;
use onnx_protobuf::{AttributeProto, ModelProto, OperatorSetIdProto};
use run::{counting, of, run_model, vector};

fn texts(name: &str, list: &[&str]) -> AttributeProto {
    let strings = list.iter().map(|text| text.as_bytes().to_vec()).collect();
    AttributeProto { name: name.into(), strings, ..AttributeProto::default() }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: text.as_bytes().to_vec(), ..AttributeProto::default() }
}

fn ints(name: &str, list: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: list.to_vec(), ..AttributeProto::default() }
}

/// The model with its first input as strings, and newer or further operator sets.
fn of_strings(mut model: ModelProto) -> ModelProto {
    model.opset_import[0].version = 20;
    let ml = OperatorSetIdProto { domain: "ai.onnx.ml".into(), version: 4, ..OperatorSetIdProto::default() };
    model.opset_import.push(ml);
    let input = &mut model.graph.as_mut().unwrap().input[0];
    *input = typed(8, input.clone());
    model
}

fn strings(list: &[&str]) -> Tensor {
    vector(list.iter().map(|text| text.to_string()).collect::<Vec<String>>())
}

#[test]
fn pieces_of_strings_are_looked_up() {
    let mut encoder = node("LabelEncoder", "pieces", "codes");
    encoder.domain = "ai.onnx.ml".into();
    let encoder = with(with(encoder, texts("keys_strings", &["a", "ü", ""])), ints("values_int64s", &[5, 7, 0]));
    let nodes = vec![
        with(node("StringSplit", "x", "pieces counts"), text("delimiter", ",")),
        encoder,
        node("StringConcat", "x x", "twice"),
        node("Equal", "x twice", "same"),
    ];
    let model = of_strings(of(nodes, &["x:N"], "pieces counts codes twice same"));
    let y = run_model(&model, &[strings(&["a,ü", "", "b,a,"])]).unwrap();
    let found = y[0].elements::<String>().unwrap();
    assert_eq!((y[0].shape(), found.join("|")), (&[3, 3][..], "a|ü|||||b|a|".to_string()));
    assert_eq!(y[1], vector(vec![2i64, 1, 3]));
    assert_eq!(y[2].elements::<i64>().unwrap(), [5, 7, 0, 0, 0, 0, -1, 5, 0]);
    assert_eq!(y[3], strings(&["a,üa,ü", "", "b,a,b,a,"]));
    assert_eq!(y[4], vector(vec![false, true, false]));
}

#[test]
fn stop_words_go_and_one_empty_string_is_left() {
    let nodes = vec![
        with(
            with(node("StringNormalizer", "x", "y"), texts("stopwords", &["monday"])),
            text("case_change_action", "UPPER"),
        ),
        with(node("RegexFullMatch", "y", "z"), text("pattern", "[A-Z]*")),
    ];
    let model = of_strings(of(nodes, &["x:N"], "y z"));
    let y = run_model(&model, &[strings(&["Monday", "tuesday", "b1"])]).unwrap();
    assert_eq!((&y[0], &y[1]), (&strings(&["TUESDAY", "B1"]), &vector(vec![true, false])));
    assert_eq!(run_model(&model, &[strings(&["monday", "MONDAY"])]).unwrap()[0], strings(&[""]));
}

#[test]
fn draws_have_their_range() {
    let nodes = vec![
        with(node("Dropout", "x ratio training", "y mask"), int("seed", 7)),
        node("RandomNormalLike", "x", "z"),
        node("Bernoulli", "p", "b"),
    ];
    let model = of(nodes, &["x:N", "ratio:", "training?", "p:N"], "y mask z b");
    let p = vector((0..4000).map(|i| (i % 5) as f32 / 4.0).collect::<Vec<f32>>());
    let run = |ratio: f32, training: bool| {
        let inputs = [counting(&[4000]), Tensor::scalar(ratio), Tensor::scalar(training), p.clone()];
        run_model(&model, &inputs).unwrap()
    };
    let y = run(0.25, true);
    let (x, kept) = (y[0].elements::<f32>().unwrap(), y[1].elements::<bool>().unwrap());
    assert!(x.iter().zip(kept).enumerate().all(|(i, (&x, &kept))| x == if kept { i as f32 / 0.75 } else { 0.0 }));
    let n = kept.iter().filter(|kept| **kept).count();
    assert!((2850..3150).contains(&n), "{n} of 4000 are kept");
    let z = y[2].elements::<f32>().unwrap();
    let mean = z.iter().sum::<f32>() / 4000.0;
    let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f32>() / 4000.0;
    assert!(mean.abs() < 0.1 && (variance - 1.0).abs() < 0.1, "mean {mean}, variance {variance}");
    let b = y[3].elements::<f32>().unwrap();
    assert!(b.iter().enumerate().all(|(i, &b)| (i % 5 != 0 || b == 0.0) && (i % 5 != 4 || b == 1.0)));
    let idle = run(0.25, false);
    assert_eq!(idle[0], counting(&[4000]));
    assert!(idle[1].elements::<bool>().unwrap().iter().all(|kept| *kept));
}
