//! Spellings of one computation end in the same kernels: a Hugging Face folder and its ONNX export, an ONNX op and the
//! nodes that define it, a graph and the same one with nodes and operands in another order.
//!
//! `data/bert` is a BERT of two layers with random weights as `transformers` saves it, and `model.onnx` what
//! `torch.onnx.export(dynamo=True)` makes of it, without its comments.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;

use ic::import::ImportOptions;
use ic::pipeline::{Options, Source, lower};
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::kernel::Step;
use ic_types::Tensor;
use models::*;
use onnx_protobuf::{AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bert")
}

/// The optimized graph's outputs for one feed, and the text of its kernels.
fn lowered(path: &Path, opt_level: u8) -> (Vec<Tensor>, Vec<String>) {
    let passes = ic_passes::Options { opt_level, ..Default::default() };
    let options = Options { import: ImportOptions::default(), passes, ..Options::default() };
    let package = lower(&[Source::main(path)], &options, &mut |_| {}, &mut |_, _| {}).unwrap();
    let model = &package.models()[0];
    let kernel = |step: &Step| match step {
        Step::Kernel { kernel, .. } => kernel.to_string(),
        step => format!("{step:?}"),
    };
    let ints = |elements: [i64; 6]| Tensor::from_elements(vec![2, 3], elements.to_vec());
    let inputs = [ints([1, 10, 4, 0, 2, 2]), ints([1, 1, 1, 1, 1, 0]), ints([0, 0, 1, 0, 1, 1])];
    let outputs = eval_graph(&model.graph, &inputs, &Symbols::new()).unwrap();
    (outputs, model.program.steps.iter().map(kernel).collect())
}

#[test]
fn bert_from_safetensors_and_from_onnx() {
    for opt_level in [0, 2] {
        let (folder, onnx) = (lowered(&data(), opt_level), lowered(&data().join("model.onnx"), opt_level));
        assert_eq!(folder.1, onnx.1, "kernels at level {opt_level}");
        assert_eq!(folder.0, onnx.0, "outputs at level {opt_level}");
    }
}

/// The kernels of a graph at opset 23, without names.
fn kernels(graph: GraphProto) -> Vec<String> {
    let opset = OperatorSetIdProto { version: 23, ..OperatorSetIdProto::default() };
    let model = ModelProto { opset_import: vec![opset], ..model(graph) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model.write_to_bytes().unwrap()).unwrap();
    let package = lower(&[Source::main(&path)], &Options::default(), &mut |_| {}, &mut |_, _| {});
    let package = package.unwrap_or_else(|e| panic!("{e}"));
    let kernel = |step: &Step| match step {
        Step::Kernel { kernel, .. } => kernel.to_string(),
        step => format!("{step:?}"),
    };
    package.models()[0].program.steps.iter().map(kernel).collect()
}

/// Nodes from lines of `outputs = Op inputs`, with attributes `name=int` or `name=float.` behind the inputs.
fn nodes(text: &str) -> Vec<NodeProto> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(parse_node).collect()
}

fn parse_node(line: &str) -> NodeProto {
    let (outputs, rest) = line.split_once(" = ").unwrap();
    let (op, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (attributes, inputs): (Vec<&str>, Vec<&str>) = rest.split_whitespace().partition(|word| word.contains('='));
    let inputs = inputs.iter().map(|&name| if name == "_" { "" } else { name }.to_string()).collect();
    let attribute = |text: &&str| {
        let (name, value) = text.split_once('=').unwrap();
        let mut attribute = AttributeProto { name: name.into(), ..AttributeProto::default() };
        match value.split_once(',') {
            Some(_) => attribute.ints = value.split(',').filter_map(|i| i.parse().ok()).collect(),
            None if value.contains('.') => attribute.f = value.parse().unwrap(),
            None if value.starts_with(|c: char| c.is_ascii_alphabetic()) => attribute.s = value.into(),
            None => attribute.i = value.parse().unwrap(),
        }
        attribute
    };
    NodeProto { input: inputs, attribute: attributes.iter().map(attribute).collect(), ..node(op, "", outputs) }
}

/// Constants that spellings use, and parameters of 8 features.
fn constants() -> Vec<TensorProto> {
    let scalar = |name: &str, value: f32| floats(name, &[], &[value]);
    let ints = |name: &str, values: &[i64]| TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: 7,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    };
    let features: Vec<f32> = (0..8).map(|i| 0.5 + i as f32 * 0.1).collect();
    vec![
        scalar("half", 0.5),
        scalar("one", 1.0),
        scalar("two", 2.0),
        scalar("three", 3.0),
        scalar("zero", 0.0),
        scalar("never", f32::NEG_INFINITY),
        scalar("root_2", std::f32::consts::SQRT_2),
        scalar("root_2_pi", 0.797_884_6),
        scalar("cubic", 0.044_715),
        scalar("epsilon", 1e-5),
        scalar("six", 6.0),
        scalar("root_scale", (1.0 / 8f32.sqrt()).sqrt()),
        ints("last", &[-1]),
        ints("third", &[2]),
        ints("wide", &[2, 2, 3, 5, 8]),
        ints("joined", &[2, 6, 5, 8]),
        floats("w", &[8], &features),
        floats("b", &[8], &features),
    ]
}

/// Pairs of spellings of `y`, with the number of their kernels.
const SPELLINGS: &[(&str, &str, &str, usize)] = &[
    ("softmax", "y = Softmax x", "e = Exp x\n s = ReduceSum e last keepdims=1\n y = Div e s", 1),
    (
        "softmax with its maximum taken off",
        "y = Softmax x",
        "m = ReduceMax x last keepdims=1\n d = Sub x m\n e = Exp d\n s = ReduceSum e last keepdims=1\n y = Div e s",
        1,
    ),
    (
        "gelu",
        "y = Gelu x",
        "f = Div x root_2\n e = Erf f\n a = Add one e\n p = Mul a x\n y = Mul half p",
        1,
    ),
    (
        "gelu by tanh",
        "y = Gelu x approximate=tanh",
        "c = Pow x three\n l = Mul cubic c\n s = Add x l\n r = Mul s root_2_pi\n t = Tanh r\n a = Add t one\n
         h = Mul x half\n y = Mul h a",
        1,
    ),
    ("silu", "g = Sigmoid x\n y = Mul x g", "n = Neg x\n e = Exp n\n d = Add one e\n y = Div x d", 1),
    (
        "layer normalization",
        "y = LayerNormalization x w b axis=-1",
        "m = ReduceMean x last keepdims=1\n d = Sub x m\n sq = Pow d two\n var = ReduceMean sq last keepdims=1\n
         s = Add var epsilon\n r = Sqrt s\n n = Div d r\n a = Mul w n\n y = Add b a",
        1,
    ),
    (
        "RMS normalization",
        "y = RMSNormalization x w axis=-1",
        "sq = Mul x x\n var = ReduceMean sq last keepdims=1\n s = Add var epsilon\n r = Sqrt s\n i = Reciprocal r\n
         n = Mul x i\n y = Mul w n",
        1,
    ),
    (
        "clip",
        "y = Clip x zero six",
        "c = Less x zero\n l = Where c zero x\n d = Less six l\n y = Where d six l",
        1,
    ),
    ("at least", "y = GreaterOrEqual x w", "g = Less w x\n e = Equal x w\n y = Or e g", 1),
    (
        "attention",
        "y = Attention q k v",
        "t = Transpose k perm=0,1,3,2\n a = Mul q root_scale\n c = Mul root_scale t\n s = MatMul a c\n
         p = Softmax s\n y = MatMul p v",
        1,
    ),
    (
        "attention with a mask",
        "y = Attention q k v mask",
        "h = Where mask zero never\n t = Transpose k perm=0,1,3,2\n a = Mul q root_scale\n c = Mul root_scale t\n
         s = MatMul a c\n m = Add h s\n p = Softmax m\n g = ReduceMax h last keepdims=1\n n = Equal g never\n
         z = Where n zero p\n y = MatMul z v",
        1,
    ),
    (
        "attention with keys that queries share",
        "y = Attention q shared_k shared_v",
        "ku = Unsqueeze shared_k third\n kx = Expand ku wide\n kr = Reshape kx joined\n
         vu = Unsqueeze shared_v third\n vx = Expand vu wide\n vr = Reshape vx joined\n
         t = Transpose kr perm=0,1,3,2\n a = Mul q root_scale\n c = Mul t root_scale\n s = MatMul a c\n
         p = Softmax s\n y = MatMul p vr",
        1,
    ),
    (
        "group normalization",
        "y = GroupNormalization image channels channels num_groups=2",
        "f = Reshape image by_group\n m = ReduceMean f last keepdims=1\n d = Sub f m\n sq = Mul d d\n
         var = ReduceMean sq last keepdims=1\n s = Add var epsilon\n r = Sqrt s\n n = Div d r\n o = Reshape n by_channel\n
         u = Reshape channels column\n a = Mul o u\n p = Add u a\n y = Reshape p whole",
        1,
    ),
];

/// A graph of these nodes with the inputs that they use.
fn spelling(nodes: Vec<NodeProto>) -> GraphProto {
    let inputs = [
        value("x", &["2", "5", "8"]),
        value("q", &["2", "6", "4", "8"]),
        value("k", &["2", "6", "5", "8"]),
        value("v", &["2", "6", "5", "8"]),
        typed(9, value("mask", &["4", "5"])),
        value("shared_k", &["2", "2", "5", "8"]),
        value("shared_v", &["2", "2", "5", "8"]),
        value("image", &["2", "4", "3", "3"]),
        value("channels", &["4"]),
    ];
    let used = |name: &str| nodes.iter().any(|node| node.input.iter().any(|input| input == name));
    let inputs = inputs.into_iter().filter(|input| used(&input.name)).collect();
    let mut output = value("y", &[]);
    output.type_.clear();
    let mut initializers = constants();
    for (name, shape) in
        [("by_group", &[2, 2, -1][..]), ("by_channel", &[2, 4, -1]), ("column", &[1, 4, 1]), ("whole", &[2, 4, 3, 3])]
    {
        let dims = vec![shape.len() as i64];
        initializers.push(TensorProto {
            name: name.into(),
            dims,
            data_type: 7,
            int64_data: shape.to_vec(),
            ..TensorProto::default()
        });
    }
    graph(nodes, inputs, vec![output], initializers)
}

#[test]
fn ops_and_the_nodes_that_define_them() {
    for &(name, op, spelled, n_kernels) in SPELLINGS {
        let [one, other] = [op, spelled].map(|text| kernels(spelling(nodes(text))));
        assert_eq!(one, other, "{name}");
        assert_eq!(one.len(), n_kernels, "{name}: {one:#?}");
    }
}

/// A small random number generator.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// Random nodes on `x`, the last of which gives `y`.
fn random_nodes(random: &mut Random) -> Vec<NodeProto> {
    let mut names = vec!["x".to_string()];
    let mut nodes = Vec::new();
    let n = 4 + random.below(10);
    for i in 0..n {
        let mut pick = || names[names.len() - 1 - random.below(names.len().min(4))].clone();
        let (a, b) = (pick(), pick());
        let name = if i + 1 == n { "y".to_string() } else { format!("v{i}") };
        nodes.push(match random.below(8) {
            0 => node("Tanh", &a, &name),
            1 => node("Softmax", &a, &name),
            2 => node("Sub", &format!("{a} {b}"), &name),
            3 => node("Mul", &format!("{a} w"), &name),
            4 => node("Add", &format!("b {a}"), &name),
            5 => node("Max", &format!("{a} {b}"), &name),
            6 => node("Mul", &format!("{a} {b}"), &name),
            _ => node("Add", &format!("{a} {b}"), &name),
        });
        names.push(name);
    }
    nodes
}

/// The nodes in another order, and the operands of those that commute.
fn shuffled(nodes: &[NodeProto], random: &mut Random) -> Vec<NodeProto> {
    let mut nodes = nodes.to_vec();
    for i in 0..nodes.len() {
        let j = random.below(nodes.len());
        nodes.swap(i, j);
    }
    for node in &mut nodes {
        if node.op_type != "Sub" && node.input.len() == 2 && random.below(2) == 0 {
            node.input.swap(0, 1);
        }
    }
    nodes
}

#[test]
fn nodes_and_operands_in_any_order() {
    for seed in 1..=30 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let nodes = random_nodes(&mut random);
        let other = shuffled(&nodes, &mut random);
        assert_eq!(kernels(spelling(nodes.clone())), kernels(spelling(other)), "seed {seed}: {nodes:#?}");
    }
}
