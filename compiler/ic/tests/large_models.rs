//! Models of thousands of nodes: residual networks of blocks that differ, against the evaluator.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[path = "models/run.rs"]
mod run;

use ic::tensors::tensor_to_proto;
use ic_types::Tensor;
use models::{int, node, with};
use onnx_protobuf::{NodeProto, TensorProto};
use run::{counting, of, run_model, vector};

/// Features of the residual stream.
const WIDTH: usize = 8;

/// A network as it grows.
struct Network {
    /// The state of a linear congruential generator.
    random: u32,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Network {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 16) as usize % n
    }

    fn constant(&mut self, tensor: &Tensor) -> String {
        let name = format!("c{}", self.constants.len());
        self.constants.push(tensor_to_proto(&name, tensor));
        name
    }

    fn weights(&mut self, shape: &[usize]) -> String {
        let n = shape.iter().product();
        let weights = (0..n).map(|_| self.below(255) as f32 / 512.0 - 0.25).collect();
        self.constant(&Tensor::from_elements(shape.to_vec(), weights))
    }

    fn push(&mut self, op: &str, operands: &[&str], axis: Option<i64>) -> String {
        let result = format!("v{}", self.nodes.len());
        let plain = node(op, &operands.join(" "), &result);
        self.nodes.push(match axis {
            Some(axis) => with(plain, int("axis", axis)),
            None => plain,
        });
        result
    }

    fn linear(&mut self, x: &str, from: usize, to: usize) -> String {
        let (weights, bias) = (self.weights(&[from, to]), self.weights(&[to]));
        let product = self.push("MatMul", &[x, &weights], None);
        self.push("Add", &[&product, &bias], None)
    }

    fn normalized(&mut self, x: &str) -> String {
        let (scale, bias) = (self.weights(&[WIDTH]), self.weights(&[WIDTH]));
        self.push("LayerNormalization", &[x, &scale, &bias], Some(-1))
    }

    /// `x` and what one of several kinds of block adds to it.
    fn block(&mut self, x: &str) -> String {
        let inner = 1 + self.below(24);
        let y = self.normalized(x);
        let added = match self.below(3) {
            0 => {
                let wide = self.linear(&y, WIDTH, inner);
                let active = self.push("Softplus", &[&wide], None);
                self.linear(&active, inner, WIDTH)
            }
            1 => {
                let (gate, value) = (self.linear(&y, WIDTH, inner), self.linear(&y, WIDTH, inner));
                let gate = self.push("Sigmoid", &[&gate], None);
                let product = self.push("Mul", &[&gate, &value], None);
                self.linear(&product, inner, WIDTH)
            }
            _ => {
                let cut = 1 + self.below(WIDTH - 1) as i64;
                let [zero, cut, end, last] = [0, cut, i64::MAX, -1].map(|x| self.constant(&vector(vec![x])));
                let left = self.push("Slice", &[&y, &zero, &cut, &last], None);
                let right = self.push("Slice", &[&y, &cut, &end, &last], None);
                let right = self.push("Tanh", &[&right], None);
                let turned = self.push("Concat", &[&right, &left], Some(-1));
                self.linear(&turned, WIDTH, WIDTH)
            }
        };
        self.push("Add", &[x, &added], None)
    }
}

#[test]
fn two_thousand_nodes() {
    let mut network = Network { random: 1, nodes: vec![], constants: vec![] };
    let mut x = "x".to_string();
    while network.nodes.len() < 2000 {
        x = network.block(&x);
    }
    let y = network.normalized(&x);
    let mut model = of(network.nodes, &["x:batch length 8"], &y);
    model.graph.as_mut().unwrap().initializer = network.constants;
    let outputs = run_model(&model, &[counting(&[2, 3, WIDTH])]).unwrap();
    assert_eq!(outputs[0].shape(), [2, 3, WIDTH]);
}
