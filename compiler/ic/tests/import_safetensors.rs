//! Hugging Face folders: a small BERT against its definition in plain loops, shards, and everything that can be wrong.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::import::{ImportOptions, Imported, import};
use ic_ir::eval::{Symbols, eval_graph};
use ic_types::{DType, Tensor};
use safetensors::{Dtype, serialize, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::Path;

const CONFIG: &str = r#"{"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 11, "hidden_size": 4,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 6, "max_position_embeddings": 5,
    "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-5}"#;

/// Tensors of [`CONFIG`]'s checkpoint by name.
type Checkpoint = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Seeded weights.
fn checkpoint() -> Checkpoint {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut tensors = Checkpoint::new();
    let mut add = |name: &str, shape: &[usize]| {
        let elements = (0..shape.iter().product()).map(|_| next()).collect();
        tensors.insert(name.into(), (shape.to_vec(), elements));
    };
    add("embeddings.word_embeddings.weight", &[11, 4]);
    add("embeddings.token_type_embeddings.weight", &[2, 4]);
    add("embeddings.position_embeddings.weight", &[5, 4]);
    let mut pairs = vec![("embeddings.LayerNorm".to_string(), 4, None)];
    for layer in 0..2 {
        let part = |name: &str| format!("encoder.layer.{layer}.{name}");
        for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            pairs.push((part(name), 4, Some(4)));
        }
        pairs.push((part("attention.output.LayerNorm"), 4, None));
        pairs.push((part("intermediate.dense"), 6, Some(4)));
        pairs.push((part("output.dense"), 4, Some(6)));
        pairs.push((part("output.LayerNorm"), 4, None));
    }
    for (name, outputs, inputs) in pairs {
        let shape: Vec<usize> = std::iter::once(outputs).chain(inputs).collect();
        add(&format!("{name}.weight"), &shape);
        add(&format!("{name}.bias"), &[outputs]);
    }
    tensors
}

/// A safetensors file of these tensors.
fn file(tensors: &Checkpoint) -> Vec<u8> {
    let bytes: BTreeMap<&String, Vec<u8>> =
        tensors.iter().map(|(name, (_, x))| (name, x.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let views = tensors
        .iter()
        .map(|(name, (shape, _))| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap()));
    serialize(views, None).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn import_files(files: &[(&str, &[u8])]) -> Result<Imported, String> {
    let folder = folder(files);
    import_folder(folder.path())
}

fn import_folder(path: &Path) -> Result<Imported, String> {
    import(path, &ImportOptions::default()).map_err(|list| list.iter().map(|d| format!("{d}\n")).collect())
}

/// The error of a folder with this configuration and these weights.
fn refusal(config: &str, weights: &[u8]) -> String {
    match import_files(&[("config.json", config.as_bytes()), ("model.safetensors", weights)]) {
        Ok(_) => panic!("the folder is wrong"),
        Err(message) => message,
    }
}

#[track_caller]
fn check_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// BERT's definition, one sequence at a time.
struct Bert<'a>(&'a Checkpoint);

impl Bert<'_> {
    fn tensor(&self, name: &str) -> &[f32] {
        &self.0[name].1
    }

    fn linear(&self, part: &str, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (weight, bias) = (self.tensor(&format!("{part}.weight")), self.tensor(&format!("{part}.bias")));
        let dot = |row: &[f32], x: &[f64]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let apply =
            |x: &Vec<f64>| weight.chunks(x.len()).zip(bias).map(|(row, bias)| dot(row, x) + f64::from(*bias)).collect();
        x.iter().map(apply).collect()
    }

    fn norm(&self, part: &str, x: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let (scale, bias) = (self.tensor(&format!("{part}.weight")), self.tensor(&format!("{part}.bias")));
        let apply = |x: Vec<f64>| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let normal = x.iter().map(|x| (x - mean) / (variance + f64::from(1e-5f32)).sqrt());
            normal.zip(scale.iter().zip(bias)).map(|(x, (s, b))| x * f64::from(*s) + f64::from(*b)).collect()
        };
        x.into_iter().map(apply).collect()
    }

    fn attention(&self, layer: usize, x: &[Vec<f64>], mask: &[i64]) -> Vec<Vec<f64>> {
        let part = |name: &str| format!("encoder.layer.{layer}.attention.{name}");
        let [q, k, v] = ["self.query", "self.key", "self.value"].map(|name| self.linear(&part(name), x));
        let mut joined = vec![vec![0.0; 4]; x.len()];
        for (i, head) in (0..x.len()).flat_map(|i| [(i, 0..2), (i, 2..4)]) {
            let score = |j: usize| {
                let dot: f64 = head.clone().map(|c| q[i][c] * k[j][c]).sum();
                if mask[j] == 0 { f64::NEG_INFINITY } else { dot / 2f64.sqrt() }
            };
            let scores: Vec<f64> = (0..x.len()).map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            let total: f64 = shares.iter().sum();
            for c in head {
                joined[i][c] = (0..x.len()).map(|j| shares[j] / total * v[j][c]).sum();
            }
        }
        self.linear(&part("output.dense"), &joined)
    }

    fn run(&self, ids: &[i64], mask: &[i64], types: &[i64]) -> Vec<Vec<f64>> {
        let row = |name: &str, i: usize| &self.tensor(&format!("embeddings.{name}_embeddings.weight"))[i * 4..][..4];
        let embed = |i: usize| {
            let rows = [row("word", ids[i] as usize), row("token_type", types[i] as usize), row("position", i)];
            (0..4).map(|c| rows.iter().map(|row| f64::from(row[c])).sum()).collect()
        };
        let add = |x: Vec<Vec<f64>>, y: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
            x.into_iter().zip(y).map(|(x, y)| x.into_iter().zip(y).map(|(x, y)| x + y).collect()).collect()
        };
        let mut x = self.norm("embeddings.LayerNorm", (0..ids.len()).map(embed).collect());
        for layer in 0..2 {
            let part = |name: &str| format!("encoder.layer.{layer}.{name}");
            let middle =
                self.norm(&part("attention.output.LayerNorm"), add(self.attention(layer, &x, mask), x.clone()));
            let mut wide = self.linear(&part("intermediate.dense"), &middle);
            let gelu = |x: f64| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
            wide.iter_mut().flatten().for_each(|x| *x = gelu(*x));
            x = self.norm(&part("output.LayerNorm"), add(self.linear(&part("output.dense"), &wide), middle));
        }
        x
    }
}

/// Compares the graph with the definition on two sequences, one of them padded.
fn check_outputs(imported: &Imported, tensors: &Checkpoint) {
    let rows = [([3, 10, 0, 7], [1, 1, 1, 1], [0, 1, 1, 0]), ([5, 5, 1, 2], [1, 1, 1, 0], [0, 0, 0, 0])];
    let joined = |pick: &dyn Fn(usize) -> [i64; 4]| Tensor::from_elements(vec![2, 4], [pick(0), pick(1)].concat());
    let inputs = [joined(&|i| rows[i].0), joined(&|i| rows[i].1), joined(&|i| rows[i].2)];
    let outputs = eval_graph(&imported.graph, &inputs, &Symbols::new()).unwrap();
    let found = outputs[0].elements::<f32>().unwrap();
    let expected = rows.iter().flat_map(|(ids, mask, types)| Bert(tensors).run(ids, mask, types)).flatten();
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < 1e-4, "element {i}: {found}, expected {expected}");
    }
    assert_eq!(outputs[0].shape(), [2, 4, 4]);
}

#[test]
fn a_bert_folder_computes_bert() {
    let tensors = checkpoint();
    let weights = file(&tensors);
    let folder = folder(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &weights)]);
    let imported = import_folder(folder.path()).unwrap();
    check_outputs(&imported, &tensors);
    let graph = &imported.graph;
    let inputs: Vec<&str> = graph.inputs().iter().map(|&v| graph.value(v).name.as_deref().unwrap()).collect();
    assert_eq!(inputs, ["input_ids", "attention_mask", "token_type_ids"]);
    assert_eq!(graph.ty(graph.outputs()[0]).to_string(), "f32[batch, seq, 4]");
    // The configuration's path means the same.
    let by_config = import_folder(&folder.path().join("config.json")).unwrap();
    assert_eq!(ic_ir::text::print(&by_config.graph), ic_ir::text::print(graph));
}

#[test]
fn dims_can_be_bound() {
    let folder = folder(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &file(&checkpoint()))]);
    let bound = |name: &str| ImportOptions { dims: [(name.to_string(), 3)].into(), ..ImportOptions::default() };
    let imported = import(folder.path(), &bound("seq")).unwrap();
    assert_eq!(imported.graph.ty(imported.graph.outputs()[0]).to_string(), "f32[batch, 3, 4]");
    let wrong = import(folder.path(), &bound("sequence")).unwrap_err();
    check_contains(&wrong[0].to_string(), &["no dim is called `sequence`", "`batch`, `seq`"]);
}

#[test]
fn shards_are_one_checkpoint() {
    let tensors = checkpoint();
    let (mut a, mut b) = (tensors.clone(), tensors.clone());
    a.retain(|name, _| name.starts_with("embeddings"));
    b.retain(|name, _| !name.starts_with("embeddings"));
    let file_of = |name: &String| if a.contains_key(name) { "a.safetensors" } else { "b.safetensors" };
    let map: BTreeMap<&String, &str> = tensors.keys().map(|name| (name, file_of(name))).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    let files = |index: &str, b: &Checkpoint| {
        import_files(&[
            ("config.json", CONFIG.as_bytes()),
            ("model.safetensors.index.json", index.as_bytes()),
            ("a.safetensors", &file(&a)),
            ("b.safetensors", &file(b)),
        ])
    };
    check_outputs(&files(&index, &b).unwrap(), &tensors);
    let name = "encoder.layer.1.output.dense.bias";
    let mut cut = b.clone();
    cut.remove(name);
    check_contains(&files(&index, &cut).unwrap_err(), &["index", name, "is not in `b.safetensors`"]);
    let swapped = index.replacen("\"a.safetensors\"", "\"b.safetensors\"", 1);
    check_contains(&files(&swapped, &b).unwrap_err(), &["is in `a.safetensors`, not in `b.safetensors`"]);
    check_contains(&files(&index.replace("b.safetensors", "c.safetensors"), &b).unwrap_err(), &["c.safetensors"]);
    let outside = index.replace("b.safetensors", "../b.safetensors");
    check_contains(&files(&outside, &b).unwrap_err(), &["outside of the model's folder"]);
    check_contains(&files("{}", &b).unwrap_err(), &["`weight_map` is missing"]);
}

#[test]
fn half_precision_weights_are_widened() {
    let tensors = checkpoint();
    let halves = |to: fn(f32) -> u16| {
        let narrow = |x: &Vec<f32>| x.iter().flat_map(|&x| to(x).to_le_bytes()).collect::<Vec<u8>>();
        tensors.iter().map(|(name, (_, x))| (name.clone(), narrow(x))).collect::<BTreeMap<_, _>>()
    };
    type Narrow = fn(f32) -> u16;
    type Widen = fn(u16) -> f32;
    let cases: [(Dtype, Narrow, Widen); 2] = [
        (Dtype::F16, ic_types::f32_to_f16, ic_types::f16_to_f32),
        (Dtype::BF16, ic_types::f32_to_bf16, ic_types::bf16_to_f32),
    ];
    for (dtype, to, from) in cases {
        let bytes = halves(to);
        let view = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
            (name.clone(), TensorView::new(dtype, shape.clone(), &bytes[name]).unwrap())
        };
        let weights = serialize(tensors.iter().map(view), None).unwrap();
        let imported = import_files(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &weights)]).unwrap();
        let mut rounded = tensors.clone();
        rounded.values_mut().flat_map(|(_, x)| x).for_each(|x| *x = from(to(*x)));
        check_outputs(&imported, &rounded);
        assert_eq!(imported.graph.dtype(imported.graph.outputs()[0]), DType::F32);
    }
}

#[test]
fn tensors_that_do_not_fit_are_listed_with_their_file() {
    let mut tensors = checkpoint();
    tensors.remove("encoder.layer.0.intermediate.dense.bias");
    tensors.insert("encoder.layer.0.extra".into(), (vec![1], vec![0.0]));
    tensors.insert("embeddings.LayerNorm.bias".into(), (vec![2, 2], vec![0.0; 4]));
    tensors.insert("pooler.dense.bias".into(), (vec![4], vec![0.0; 4]));
    let message = refusal(CONFIG, &file(&tensors));
    check_contains(
        &message,
        &[
            "model.safetensors",
            "tensors are missing",
            "`encoder.layer.0.intermediate.dense.bias` of shape [6]",
            "tensors are unexpected",
            "`encoder.layer.0.extra` is f32[1]",
            "`embeddings.LayerNorm.bias` is f32[2, 2]; expected [4]",
        ],
    );
    assert!(!message.contains("pooler"), "{message}");
}

#[test]
fn families_that_are_not_known_are_named_with_their_tensors() {
    let config = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#;
    let tensor = |name: &str| (name.to_string(), (vec![2], vec![0.0; 2]));
    let tensors = ["model.layers.0.mlp.weight", "model.layers.1.mlp.weight", "lm_head.weight"].map(tensor);
    let message = refusal(config, &file(&tensors.into()));
    check_contains(&message, &["`llama`", "`LlamaForCausalLM`", "model.layers.<0..1>.mlp.weight f32[2]", "`bert`"]);
    let head = CONFIG.replace("BertModel", "BertForMaskedLM");
    check_contains(&refusal(&head, &file(&checkpoint())), &["`bert`", "`BertForMaskedLM`", "not supported"]);
}

#[test]
fn configurations_are_checked() {
    let weights = file(&checkpoint());
    let cases = [
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        (r#"{"vocab_size": 3}"#, "`model_type` is missing"),
        (&CONFIG.replace("\"hidden_size\": 4,", ""), "`hidden_size` is missing"),
        (&CONFIG.replace("\"hidden_size\": 4,", "\"hidden_size\": -4,"), "`hidden_size` is -4; expected a size"),
        (&CONFIG.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1000000000000"), "checkpoint has"),
        (&CONFIG.replace("\"num_attention_heads\": 2", "\"num_attention_heads\": 3"), "does not divide"),
        (&CONFIG.replace("\"gelu\"", "\"snake\""), "`hidden_act` is `snake`"),
        (&CONFIG.replace("\"vocab_size\"", "\"is_decoder\": true, \"vocab_size\""), "`is_decoder` is true"),
    ];
    for (config, part) in cases {
        check_contains(&refusal(config, &weights), &["config.json", part]);
    }
    let no_weights = import_files(&[("config.json", CONFIG.as_bytes())]).unwrap_err();
    check_contains(&no_weights, &["model.safetensors", "cannot open the weights"]);
    check_contains(&import_files(&[]).unwrap_err(), &["config.json", "cannot open the file"]);
}

/// A file of this header, which is said to have `length` bytes, and `data` bytes of tensors.
fn raw(header: &str, length: u64, data: usize) -> Vec<u8> {
    [&length.to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn malformed_files_are_errors() {
    let of = |header: &str, data: usize| raw(header, header.len() as u64, data);
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let pair = |a: &str, b: &str| {
        let one = |offsets: &str| format!(r#"{{"dtype": "F32", "shape": [1], "data_offsets": {offsets}}}"#);
        format!(r#"{{"a": {}, "b": {}}}"#, one(a), one(b))
    };
    let cases = [
        (vec![0; 5], "ends before byte 8"),
        (raw("{}", u64::MAX, 0), "the header is said to have 18446744073709551615 bytes"),
        (raw("{}", 1 << 40, 100), "the header is said to have"),
        (of("{\"a\"", 0), "not a JSON object"),
        (of("[1]", 0), "not a JSON object"),
        (of(&entry("F33", "[1]", "[0, 4]"), 4), "entry of tensor `a`"),
        (of(&entry("F32", "[-1]", "[0, 4]"), 4), "entry of tensor `a`"),
        (of(&entry("F32", "[1]", "[0, 8]"), 4), "tensor `a` is at bytes 0 to 8 of 4"),
        (of(&entry("F32", "[1]", "[4, 0]"), 4), "tensor `a` is at bytes 4 to 0"),
        (of(&entry("F32", "[2]", "[0, 4]"), 4), "does not take its 4 bytes"),
        (of(&entry("F32", "[18446744073709551615, 18446744073709551615]", "[0, 4]"), 4), "does not take"),
        (of(&entry("F32", "[1]", "[0, 4]"), 9), "the tensors take 4 bytes, but 9 follow"),
        (of(&pair("[0, 4]", "[0, 4]"), 4), "starts at byte 0, but the one before it ends at 4"),
        (of(&pair("[0, 4]", "[8, 12]"), 12), "starts at byte 8"),
    ];
    for (bytes, part) in &cases {
        check_contains(&refusal(CONFIG, bytes), &["model.safetensors", "malformed", part]);
    }
}

#[test]
fn truncated_and_damaged_files_do_not_panic() {
    let bytes = file(&checkpoint());
    for n in (0..bytes.len()).step_by(97) {
        refusal(CONFIG, &bytes[..n]);
    }
    let mut state = 5u64;
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        damaged[(state >> 20) as usize % 3000] ^= 1 << (state >> 56 & 7);
        let _ = import_files(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &damaged)]);
    }
    // Names may be anything.
    let odd: Checkpoint = [("\u{7f}.0.\n".to_string(), (vec![], vec![1.0]))].into();
    refusal(CONFIG, &file(&odd));
}
