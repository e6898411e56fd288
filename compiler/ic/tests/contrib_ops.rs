//! Fused ops of com.microsoft give what the standard ops that they stand for do, in the evaluator and as artifacts.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "models/run.rs"]
mod run;

use ic_types::Tensor;
use models::*;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use run::{of, run_model};

const DOMAIN: &str = "com.microsoft";

fn contrib(op: &str, inputs: &str, outputs: &str) -> NodeProto {
    // A blank name leaves an input out.
    let mut node = node(op, inputs, outputs);
    node.input.iter_mut().filter(|name| *name == "-").for_each(String::clear);
    NodeProto { domain: DOMAIN.into(), ..node }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f, ..AttributeProto::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), ..AttributeProto::default() }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.into(), ..AttributeProto::default() }
}

fn all(node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    attributes.into_iter().fold(node, with)
}

/// Numbers between -1 and 1 that no two seeds share.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let element = |i: usize| ((i * 7919 + seed * 104_729) % 2027) as f32 / 1013.5 - 1.0;
    Tensor::from_elements(shape.to_vec(), (0..n).map(element).collect())
}

/// A model of these nodes at opset 23 with constants.
fn built(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &str, constants: Vec<TensorProto>) -> ModelProto {
    let mut model = of(nodes, inputs, outputs);
    let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version, ..Default::default() };
    model.opset_import = vec![opset("", 23), opset(DOMAIN, 1)];
    model.graph.as_mut().unwrap().initializer = constants;
    model
}

/// Runs both spellings on the same inputs and compares all outputs.
fn check(fused: &[NodeProto], plain: &[NodeProto], inputs: &[(&str, Tensor)], outputs: &str) {
    check_with(fused, plain, inputs, outputs, &[]);
}

fn check_with(
    fused: &[NodeProto],
    plain: &[NodeProto],
    inputs: &[(&str, Tensor)],
    outputs: &str,
    constants: &[TensorProto],
) {
    let dims = |tensor: &Tensor| tensor.shape().iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
    let kind = |tensor: &Tensor| if tensor.dtype().is_float() { ':' } else { '#' };
    let ports: Vec<String> = inputs.iter().map(|(name, t)| format!("{name}{}{}", kind(t), dims(t))).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let feed: Vec<Tensor> = inputs.iter().map(|(_, tensor)| tensor.clone()).collect();
    let [found, expected] = [fused, plain]
        .map(|nodes| run_model(&built(nodes.to_vec(), &ports, outputs, constants.to_vec()), &feed).unwrap());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.shape(), expected.shape());
        let pairs = found.elements::<f32>().unwrap().iter().zip(expected.elements::<f32>().unwrap());
        let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-5, "{error}: {:?}", fused.iter().map(|node| &node.op_type).collect::<Vec<_>>());
    }
}

/// Standard attention on packed operands.
fn attention(inputs: &str, outputs: &str, heads: i64, key_heads: i64) -> NodeProto {
    let mut node = node("Attention", inputs, outputs);
    node.input.iter_mut().filter(|name| *name == "-").for_each(String::clear);
    all(node, vec![int("q_num_heads", heads), int("kv_num_heads", key_heads)])
}

#[test]
fn multi_head_attention() {
    let fused = |inputs, attributes| {
        vec![all(contrib("MultiHeadAttention", inputs, "y k2 v2"), [vec![int("num_heads", 4)], attributes].concat())]
    };
    let operands = [("q", numbers(&[2, 3, 16], 1)), ("k", numbers(&[2, 5, 16], 2)), ("v", numbers(&[2, 5, 16], 3))];
    check(&fused("q k v", vec![]), &[attention("q k v", "y", 4, 4)], &operands, "y");
    let scaled = with(attention("q k v - pk pv", "y k2 v2", 4, 4), float("scale", 0.3));
    let past = [("pk", numbers(&[2, 4, 2, 4], 4)), ("pv", numbers(&[2, 4, 2, 4], 5))];
    let feed = [&operands[..], &past].concat();
    check(&fused("q k v - - - pk pv", vec![float("scale", 0.3)]), &[scaled], &feed, "y k2 v2");
    let new = [("q", numbers(&[2, 3, 16], 1)), ("k", numbers(&[2, 3, 16], 2)), ("v", numbers(&[2, 3, 16], 3))];
    let causal = with(attention("q k v - pk pv", "y k2 v2", 4, 4), int("is_causal", 1));
    let feed = [&new[..], &past].concat();
    check(&fused("q k v - - - pk pv", vec![int("unidirectional", 1)]), &[causal], &feed, "y k2 v2");
    // A bias of all three projections.
    let bias = floats("b", &[48], numbers(&[48], 6).elements::<f32>().unwrap());
    let parts = ["bq", "bk", "bv"]
        .iter()
        .enumerate()
        .map(|(i, name)| floats(name, &[16], &numbers(&[48], 6).elements::<f32>().unwrap()[16 * i..16 * i + 16]));
    let constants: Vec<TensorProto> = parts.chain([bias]).collect();
    let sum = |x: &str| node("Add", &format!("{x} b{x}"), &format!("{x}b"));
    let plain = [sum("q"), sum("k"), sum("v"), attention("qb kb vb", "y", 4, 4)];
    check_with(&fused("q k v b", vec![]), &plain, &operands, "y", &constants);
}

#[test]
fn masks_of_lengths_and_flags() {
    let operands = [("q", numbers(&[2, 3, 16], 1)), ("k", numbers(&[2, 5, 16], 2)), ("v", numbers(&[2, 5, 16], 3))];
    let fused = vec![with(contrib("MultiHeadAttention", "q k v - m", "y"), int("num_heads", 4))];
    let hidden = [0.0, 0.0, 0.0, -1e4, -1e4, 0.0, 0.0, 0.0, 0.0, -1e4];
    let mask = floats("bias", &[2, 1, 1, 5], &hidden);
    let plain = vec![attention("q k v bias", "y", 4, 4)];
    let lengths = Tensor::from_elements(vec![2], vec![3i64, 4]);
    let flags = Tensor::from_elements(vec![2, 5], hidden.map(|h| i64::from(h == 0.0)).to_vec());
    for mask_input in [lengths, flags] {
        let feed = [&operands[..], &[("m", mask_input)]].concat();
        check_with(&fused, &plain, &feed, "y", std::slice::from_ref(&mask));
    }
}

#[test]
fn attention_with_its_projections() {
    let feed = [("x", numbers(&[2, 3, 8], 1)), ("past", numbers(&[2, 2, 2, 4, 6], 2))];
    let weight = floats("w", &[8, 36], numbers(&[8, 36], 3).elements::<f32>().unwrap());
    let bias = floats("b", &[36], numbers(&[36], 4).elements::<f32>().unwrap());
    let attributes = vec![int("num_heads", 2), int("unidirectional", 1)];
    let fused = all(contrib("Attention", "x w b - past", "y present"), attributes);
    let split = |x: &str, outputs: &str, axis, parts| {
        all(node("Split", x, outputs), vec![int("axis", axis), int("num_outputs", parts)])
    };
    let shape = |name: &str, dims: &[i64]| TensorProto {
        data_type: 7,
        raw_data: dims.iter().flat_map(|d| d.to_le_bytes()).collect(),
        ..floats(name, &[dims.len() as i64], &[])
    };
    let plain = [
        node("MatMul", "x w", "xw"),
        node("Add", "xw b", "qkv"),
        split("qkv", "q k v", 2, 3),
        split("past", "pk1 pv1", 0, 2),
        node("Squeeze", "pk1 zero", "pk"),
        node("Squeeze", "pv1 zero", "pv"),
        with(attention("q k v - pk pv", "y k2 v2", 2, 2), int("is_causal", 1)),
        node("Unsqueeze", "k2 zero", "k3"),
        node("Unsqueeze", "v2 zero", "v3"),
        with(node("Concat", "k3 v3", "present"), int("axis", 0)),
    ];
    check_with(&[fused], &plain, &feed, "y present", &[weight, bias, shape("zero", &[0])]);
}

#[test]
fn group_query_attention_and_rotary_embeddings() {
    let tables = [("cos", numbers(&[16, 4], 7)), ("sin", numbers(&[16, 4], 8))];
    let constants: Vec<TensorProto> =
        tables.iter().map(|(name, t)| floats(name, &[16, 4], t.elements::<f32>().unwrap())).collect();
    for (length, past, interleaved) in [(5, 0, 0), (1, 6, 0), (3, 4, 1)] {
        let feed = [
            ("q", numbers(&[1, length, 32], 1)),
            ("k", numbers(&[1, length, 16], 2)),
            ("v", numbers(&[1, length, 16], 3)),
            ("pk", numbers(&[1, 2, past, 8], 4)),
            ("pv", numbers(&[1, 2, past, 8], 5)),
            ("last", Tensor::from_elements(vec![1], vec![(length + past - 1) as i64])),
            ("total", Tensor::from_elements(vec![], vec![(length + past) as i64])),
            ("at", Tensor::from_elements(vec![1, length], (past..past + length).map(|i| i as i64).collect())),
        ];
        let heads = vec![int("num_heads", 4), int("kv_num_heads", 2)];
        let rotary = vec![int("do_rotary", 1), int("rotary_interleaved", interleaved)];
        let fused = contrib("GroupQueryAttention", "q k v pk pv last total cos sin", "y k2 v2");
        let fused = all(fused, [heads, rotary].concat());
        let rotate = |op: NodeProto, heads| all(op, vec![int("num_heads", heads), int("interleaved", interleaved)]);
        let standard = [
            rotate(node("RotaryEmbedding", "q cos sin at", "qr"), 4),
            rotate(node("RotaryEmbedding", "k cos sin at", "kr"), 2),
            with(attention("qr kr v - pk pv", "y k2 v2", 4, 2), int("is_causal", 1)),
        ];
        check_with(&[fused], &standard, &feed, "y k2 v2", &constants);
        let by_positions = [
            rotate(contrib("RotaryEmbedding", "q at cos sin", "qr"), 4),
            rotate(contrib("RotaryEmbedding", "k at cos sin", "kr"), 2),
            standard[2].clone(),
        ];
        check_with(&by_positions, &standard, &feed, "y k2 v2", &constants);
    }
}

#[test]
fn a_window_hides_what_is_farther_back() {
    let feed = [
        ("q", numbers(&[1, 5, 8], 1)),
        ("k", numbers(&[1, 5, 8], 2)),
        ("v", numbers(&[1, 5, 8], 3)),
        ("last", Tensor::from_elements(vec![1], vec![4i64])),
        ("total", Tensor::from_elements(vec![], vec![5i64])),
    ];
    let attributes = vec![int("num_heads", 2), int("kv_num_heads", 2), int("local_window_size", 2)];
    let fused = all(contrib("GroupQueryAttention", "q k v - - last total", "y"), attributes);
    let visible = |i: usize| if i / 5 >= i % 5 && i / 5 < i % 5 + 2 { 0.0 } else { -1e9 };
    let mask = floats("mask", &[5, 5], &(0..25).map(visible).collect::<Vec<f32>>());
    check_with(&[fused], &[attention("q k v mask", "y", 2, 2)], &feed, "y", &[mask]);
}

#[test]
fn contractions_with_activations() {
    let feed = [("x", numbers(&[1, 3, 6, 6], 1)), ("z", numbers(&[1, 4, 4, 4], 2))];
    let constants = [
        floats("w", &[4, 3, 3, 3], numbers(&[4, 3, 3, 3], 3).elements::<f32>().unwrap()),
        floats("b", &[4], numbers(&[4], 4).elements::<f32>().unwrap()),
    ];
    let params = AttributeProto { name: "activation_params".into(), floats: vec![0.2], ..Default::default() };
    let fused = contrib("FusedConv", "x w b z", "y");
    let fused = all(fused, vec![ints("kernel_shape", &[3, 3]), text("activation", "LeakyRelu"), params]);
    let plain =
        [node("Conv", "x w b", "c"), node("Add", "c z", "s"), with(node("LeakyRelu", "s", "y"), float("alpha", 0.2))];
    check_with(&[fused], &plain, &feed, "y", &constants);
    let feed = [("a", numbers(&[3, 5], 1)), ("b", numbers(&[4, 5], 2)), ("c", numbers(&[4], 3))];
    let fused = all(contrib("FusedGemm", "a b c", "y"), vec![int("transB", 1), text("activation", "Tanh")]);
    let plain = [with(node("Gemm", "a b c", "s"), int("transB", 1)), node("Tanh", "s", "y")];
    check(&[fused], &plain, &feed, "y");
}

#[test]
fn products_with_transposed_batches() {
    let perm = |x: &str, y: &str, perm: &[i64]| with(node("Transpose", x, y), ints("perm", perm));
    let feed = [("a", numbers(&[4, 2, 3, 5], 1)), ("b", numbers(&[6, 2, 3, 5], 2))];
    let attributes = ["transBatchA", "transBatchB", "transB"].map(|name| int(name, 1));
    let fused = all(contrib("FusedMatMul", "a b", "y"), attributes.to_vec());
    let plain = [perm("a", "at", &[1, 2, 0, 3]), perm("b", "bt", &[1, 2, 3, 0]), node("MatMul", "at bt", "y")];
    check(&[fused], &plain, &feed, "y");
}

#[test]
fn embeddings_of_tokens_positions_and_segments() {
    let ids = |n: i64| Tensor::from_elements(vec![2, 3], (0..6).map(|i| (i * 5 + 1) % n).collect());
    let feed = [("ids", ids(9)), ("segments", ids(2))];
    let table = |name: &str, rows: usize, seed| {
        floats(name, &[rows as i64, 4], numbers(&[rows, 4], seed).elements::<f32>().unwrap())
    };
    let vector = |name: &str, seed| floats(name, &[4], numbers(&[4], seed).elements::<f32>().unwrap());
    let constants = [
        table("words", 9, 1),
        table("places", 7, 2),
        table("kinds", 2, 3),
        vector("g", 4),
        vector("b", 5),
        table("three", 3, 2),
    ];
    let fused = contrib("EmbedLayerNormalization", "ids segments words places kinds g b", "y count sum");
    let fused = with(fused, float("epsilon", 1e-5));
    let plain = [
        node("Gather", "words ids", "w"),
        node("Gather", "kinds segments", "k"),
        node("Add", "w three", "wp"),
        node("Add", "wp k", "sum"),
        with(node("LayerNormalization", "sum g b", "y"), float("epsilon", 1e-5)),
    ];
    check_with(&[fused], &plain, &feed, "y sum", &constants);
}

#[test]
fn weights_of_four_and_eight_bits() {
    let (k, n) = (40usize, 3usize);
    for (bits, size, with_zeros) in [(4, 16, false), (4, 16, true), (8, 32, true), (8, 16, false)] {
        let count = k.div_ceil(size);
        let per_byte = 8 / bits;
        let bytes: Vec<u8> = (0..n * count * size / per_byte).map(|i| (i * 37 + 11) as u8).collect();
        let zero_bytes: Vec<u8> = (0..n * count.div_ceil(per_byte)).map(|i| (i * 91 + 5) as u8).collect();
        let scales: Vec<f32> = (0..n * count).map(|i| 0.01 * (i + 1) as f32).collect();
        let code = |bytes: &[u8], row: usize, row_len: usize, i: usize| match bits {
            8 => i32::from(bytes[row * row_len + i]),
            _ => i32::from(bytes[row * row_len + i / 2]) >> (4 * (i % 2)) & 15,
        };
        let weight = |i: usize| {
            let (at, row) = (i / n, i % n);
            let zero = match with_zeros {
                true => code(&zero_bytes, row, count.div_ceil(per_byte), at / size),
                false => 1 << (bits - 1),
            };
            (code(&bytes, row, count * size / per_byte, at) - zero) as f32 * scales[row * count + at / size]
        };
        let raw = |name: &str, dims: &[i64], raw_data: &[u8]| TensorProto {
            data_type: 2,
            raw_data: raw_data.to_vec(),
            ..floats(name, dims, &[])
        };
        let constants = [
            raw("bytes", &[n as i64, count as i64, (size / per_byte) as i64], &bytes),
            floats("scales", &[(n * count) as i64], &scales),
            raw("zeros", &[zero_bytes.len() as i64], &zero_bytes),
            floats("w", &[k as i64, n as i64], &(0..k * n).map(weight).collect::<Vec<_>>()),
        ];
        let inputs = if with_zeros { "x bytes scales zeros" } else { "x bytes scales" };
        let attributes =
            [("K", k), ("N", n), ("bits", bits), ("block_size", size)].map(|(name, i)| int(name, i as i64));
        let fused = all(contrib("MatMulNBits", inputs, "y"), attributes.to_vec());
        check_with(&[fused], &[node("MatMul", "x w", "y")], &[("x", numbers(&[2, k], 1))], "y", &constants);
    }
}

#[test]
fn average_pools_of_bytes() {
    let byte = |name: &str, value: i32| {
        let tensor = TensorProto { data_type: 2, int32_data: vec![value], name: name.into(), ..Default::default() };
        with(node("Constant", "", name), tensor_attr("value", tensor))
    };
    let scale = |name: &str, value| with(node("Constant", "", name), tensor_attr("value", floats("", &[], &[value])));
    let around = |pool: Vec<NodeProto>| {
        // Scales whose quotient leaves no average half-way between two bytes, where round-off would decide.
        let parameters = vec![scale("xs", 0.01), byte("xz", 120), scale("ys", 0.0083), byte("yz", 131)];
        let ends = [node("QuantizeLinear", "x xs xz", "q"), node("DequantizeLinear", "p ys yz", "y")];
        let [first, last] = ends;
        [parameters, vec![first], pool, vec![last]].concat()
    };
    let window = || vec![ints("kernel_shape", &[3, 2]), ints("strides", &[2, 1]), ints("pads", &[1, 0, 1, 1])];
    let fused = |extra: Vec<AttributeProto>| {
        around(vec![all(contrib("QLinearAveragePool", "q xs xz ys yz", "p"), [window(), extra].concat())])
    };
    let transpose = |x: &str, y: &str, perm: &[i64]| with(node("Transpose", x, y), ints("perm", perm));
    let plain = |image: &str, extra: Vec<AttributeProto>| {
        vec![
            node("DequantizeLinear", "q xs xz", image),
            all(node("AveragePool", "f", "a"), [window(), extra].concat()),
            node("QuantizeLinear", if image == "f" { "a ys yz" } else { "b ys yz" }, "p"),
        ]
    };
    let x = [("x", numbers(&[2, 3, 7, 6], 1))];
    check(&fused(vec![]), &around(plain("f", vec![])), &x, "y");
    let counted = || vec![int("count_include_pad", 1), int("ceil_mode", 1)];
    check(&fused(counted()), &around(plain("f", counted())), &x, "y");
    let mut last = plain("l", vec![]);
    last.insert(1, transpose("l", "f", &[0, 3, 1, 2]));
    last.insert(3, transpose("a", "b", &[0, 2, 3, 1]));
    check(&fused(vec![int("channels_last", 1)]), &around(last), &[("x", numbers(&[2, 7, 6, 3], 1))], "y");
}
