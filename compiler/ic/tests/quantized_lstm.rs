//! `DynamicQuantizeLSTM` of com.microsoft: artifacts against the evaluator on random layers.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails where it stands, and loads what it has written")]
#![expect(clippy::print_stdout, reason = "a random test prints its seed")]

#[expect(dead_code, reason = "other tests use the rest")]
mod models;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "models/run.rs"]
mod run;

use ic_types::{DType, Element, Tensor};
use models::*;
use onnx_protobuf::{AttributeProto, ModelProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use run::run_model;

/// A small generator of pseudorandom numbers (SplitMix64).
struct Random(u64);

impl Random {
    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// A number from `low` to `high`, ends included.
    fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// A layer: time, batch, inputs, hidden units.
#[derive(Clone, Debug)]
struct Case {
    extents: [usize; 4],
    direction: &'static str,
    /// Type of the weights, U8 or I8.
    dtype: DType,
    /// Whether each column has a scale and a zero point.
    per_column: bool,
    /// Whether weights are constants.
    is_constant: bool,
    /// Whether it has lengths, initial states and peepholes.
    has_all: bool,
}

/// ONNX's number of an element type.
fn code(dtype: DType) -> i32 {
    match dtype {
        DType::U8 => 2,
        DType::I8 => 3,
        DType::I32 => 6,
        _ => 1,
    }
}

fn declared(name: &str, tensor: &Tensor) -> ValueInfoProto {
    let dims: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    typed(code(tensor.dtype()), value(name, &dims.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn constant(name: &str, tensor: &Tensor) -> TensorProto {
    let dims: Vec<i64> = tensor.shape().iter().map(|&d| d as i64).collect();
    let raw_data = tensor.data().to_le_bytes().to_vec();
    TensorProto { data_type: code(tensor.dtype()), raw_data, ..floats(name, &dims, &[]) }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: s.into(), ..AttributeProto::default() }
}

fn tensor<T: Element>(shape: &[usize], mut element: impl FnMut() -> T) -> Tensor {
    Tensor::from_elements(shape.to_vec(), (0..shape.iter().product()).map(|_| element()).collect())
}

/// Numbers in -1..1.
fn reals(r: &mut Random, shape: &[usize]) -> Tensor {
    tensor(shape, || r.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0)
}

impl Case {
    /// The operands in order, absent ones left out, with their names.
    fn operands(&self, r: &mut Random) -> Vec<(&'static str, Tensor)> {
        let [time, batch, inputs, hidden] = self.extents;
        let directions = if self.direction == "bidirectional" { 2 } else { 1 };
        let of_columns = if self.per_column { vec![directions, 4 * hidden] } else { vec![directions] };
        let state = [directions, batch, hidden];
        let bytes = |r: &mut Random, shape: &[usize], low: usize, high: usize| match self.dtype {
            DType::U8 => tensor(shape, || r.between(low, high) as u8),
            _ => tensor(shape, || (r.between(low, high) as i64 - 128) as i8),
        };
        let mut list = vec![
            ("x", reals(r, &[time, batch, inputs])),
            ("w", bytes(r, &[directions, inputs, 4 * hidden], 0, 255)),
            ("r", bytes(r, &[directions, hidden, 4 * hidden], 0, 255)),
            ("b", reals(r, &[directions, 8 * hidden])),
        ];
        if self.has_all {
            list.push(("lens", tensor(&[batch], || r.between(0, time) as i32)));
            list.extend(["h", "c"].map(|name| (name, reals(r, &state))));
            list.push(("p", reals(r, &[directions, 3 * hidden])));
        }
        for [scale, zero] in [["ws", "wz"], ["rs", "rz"]] {
            list.push((scale, tensor(&of_columns, || (1 + r.below(9)) as f32 / 512.0)));
            list.push((zero, bytes(r, &of_columns, 118, 138)));
        }
        list
    }

    fn model(&self, operands: &[(&'static str, Tensor)]) -> ModelProto {
        let there =
            |name: &str| if operands.iter().any(|(n, _)| *n == name) { name.to_string() } else { String::new() };
        let mut layer = node("DynamicQuantizeLSTM", "", "y yh yc");
        layer.domain = "com.microsoft".into();
        layer.input = ["x", "w", "r", "b", "lens", "h", "c", "p", "ws", "wz", "rs", "rz"].map(there).into();
        layer = with(with(layer, text("direction", self.direction)), int("hidden_size", self.extents[3] as i64));
        let is_input = |name: &str| !self.is_constant || !["w", "r", "ws", "wz", "rs", "rz"].contains(&name);
        let (inputs, constants): (Vec<_>, Vec<_>) = operands.iter().partition(|(name, _)| is_input(name));
        let inputs = inputs.into_iter().map(|(name, tensor)| declared(name, tensor)).collect();
        let constants = constants.into_iter().map(|(name, tensor)| constant(name, tensor)).collect();
        let outputs = ["y", "yh", "yc"].map(|name| value(name, &[])).into();
        let mut built = model(graph(vec![layer], inputs, outputs, constants));
        built.graph.as_mut().unwrap().output.iter_mut().for_each(|output| output.type_.clear());
        let opset = OperatorSetIdProto { domain: "com.microsoft".into(), version: 1, ..OperatorSetIdProto::default() };
        built.opset_import.push(opset);
        built
    }

    fn check(&self, seed: u64) {
        let operands = self.operands(&mut Random(seed));
        let model = self.model(&operands);
        let names: Vec<String> = model.graph.input.iter().map(|input| input.name.clone()).collect();
        let inputs = operands.into_iter().filter(|(name, _)| names.contains(&(*name).into())).map(|(_, tensor)| tensor);
        println!("{self:?}, seed {seed}");
        run_model(&model, &inputs.collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn agrees_with_the_evaluator() {
    let mut r = Random(7);
    for (seed, hidden) in [1, 3, 15, 16, 17, 33].into_iter().cycle().take(24).enumerate() {
        let case = Case {
            extents: [r.pick(&[0, 1, 2, 6]), r.pick(&[1, 3]), r.pick(&[1, 4, 7, 20]), hidden],
            direction: r.pick(&["forward", "reverse", "bidirectional"]),
            dtype: r.pick(&[DType::U8, DType::I8]),
            per_column: r.flag(),
            is_constant: r.flag(),
            has_all: r.flag(),
        };
        case.check(seed as u64);
    }
}
