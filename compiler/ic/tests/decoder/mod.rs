//! A one-layer decoder and other graphs with state, small enough to be evaluated.

use ic_ir::ops::{Concat, Expand, Iota, Matmul, Reshape, Softmax, Transpose};
use ic_ir::scalar::ScalarOp;
use ic_ir::{Builder, Graph, TensorType, ValueId};
use ic_types::{DType, Dim, Tensor};

/// Width of the model.
pub(crate) const DIM: usize = 8;
/// Number of heads.
pub(crate) const HEADS: usize = 2;
/// Most rows of the memory that cross attention reads.
pub(crate) const SOURCE: usize = 5;

/// What a decoder has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Whether it attends to a memory.
    pub(crate) cross: bool,
    /// Whether it takes the memory's keys and values rather than the memory.
    pub(crate) given_keys: bool,
    /// Whether it has no past.
    pub(crate) begins: bool,
}

/// Seeded values from -1 to 1.
pub(crate) fn tensor(seed: u64, shape: Vec<usize>) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let len = shape.iter().product();
    Tensor::from_elements(shape, (0..len).map(|_| next()).collect())
}

fn symbol(name: &str) -> Dim {
    Dim::symbol(name)
}

fn constant(value: usize) -> Dim {
    Dim::constant(value as i64)
}

/// `[batch, HEADS, rows, DIM / HEADS]`.
fn by_head(rows: Dim) -> Vec<Dim> {
    vec![symbol("batch"), constant(HEADS), rows, constant(DIM / HEADS)]
}

fn project(b: &mut Builder, x: ValueId, seed: u64) -> ValueId {
    let weight = b.constant(tensor(seed, vec![DIM, DIM])).unwrap();
    b.push(Matmul {}, &[x, weight]).unwrap()
}

/// The projection of rows, one head after the other.
fn heads(b: &mut Builder, x: ValueId, rows: Dim, seed: u64) -> ValueId {
    let projected = project(b, x, seed);
    let shape = vec![symbol("batch"), rows, constant(HEADS), constant(DIM / HEADS)];
    let split = b.push(Reshape { shape }, &[projected]).unwrap();
    b.push(Transpose { perm: vec![0, 2, 1, 3] }, &[split]).unwrap()
}

/// Attention, heads put together again: `[batch, seq, DIM]`.
fn attention(b: &mut Builder, q: ValueId, [k, v]: [ValueId; 2], mask: Option<ValueId>) -> ValueId {
    let k = b.push(Transpose { perm: vec![0, 1, 3, 2] }, &[k]).unwrap();
    let mut scores = b.push(Matmul {}, &[q, k]).unwrap();
    if let Some(mask) = mask {
        scores = b.add(scores, mask).unwrap();
    }
    let shares = b.push(Softmax { axis: -1 }, &[scores]).unwrap();
    let mixed = b.push(Matmul {}, &[shares, v]).unwrap();
    let rows = b.push(Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]).unwrap();
    b.push(Reshape { shape: vec![symbol("batch"), symbol("seq"), constant(DIM)] }, &[rows]).unwrap()
}

/// 0 where a row may look, else a large negative number: `[seq, all]`.
fn causal_mask(b: &mut Builder, past: &Dim, all: &Dim) -> ValueId {
    let keys = b.push(Iota { extent: all.clone(), dtype: DType::I64 }, &[]).unwrap();
    let rows = b.push(Iota { extent: symbol("seq"), dtype: DType::I64 }, &[]).unwrap();
    let past = b.dims(vec![past.clone()]).unwrap();
    let rows = b.add(rows, past).unwrap();
    let rows = b.push(Reshape { shape: vec![symbol("seq"), constant(1)] }, &[rows]).unwrap();
    let rows = b.push(Expand { shape: vec![symbol("seq"), all.clone()] }, &[rows]).unwrap();
    let visible = b.push(ScalarOp::Le, &[keys, rows]).unwrap();
    let (zero, far) = (b.scalar(DType::F32, 0.0).unwrap(), b.scalar(DType::F32, -1e9).unwrap());
    b.push(ScalarOp::Select, &[visible, zero, far]).unwrap()
}

/// A decoder layer: `y` from `x` and what `shape` says; `past_k` and `past_v` grow to `present_k` and `present_v`.
pub(crate) fn decoder(shape: Shape) -> Graph {
    let mut graph = Graph::new("decoder");
    let f32 = |shape: Vec<Dim>| TensorType::new(DType::F32, shape);
    let x = graph.add_input("x", f32(vec![symbol("batch"), symbol("seq"), constant(DIM)]));
    let past = if shape.begins { constant(0) } else { symbol("past") };
    let pasts =
        (!shape.begins).then(|| ["past_k", "past_v"].map(|name| graph.add_input(name, f32(by_head(past.clone())))));
    let crossed = (shape.cross && shape.given_keys)
        .then(|| ["cross_k", "cross_v"].map(|name| graph.add_input(name, f32(by_head(symbol("source"))))));
    let memory = (shape.cross && !shape.given_keys)
        .then(|| graph.add_input("memory", f32(vec![symbol("batch"), symbol("source"), constant(DIM)])));
    let mut b = Builder { graph: &mut graph, location: "layer".into() };
    let q = heads(&mut b, x, symbol("seq"), 10);
    let mut present = [11, 12].map(|seed| heads(&mut b, x, symbol("seq"), seed));
    if let Some(pasts) = pasts {
        for (new, past) in present.iter_mut().zip(pasts) {
            *new = b.push(Concat { axis: 2 }, &[past, *new]).unwrap();
        }
    }
    let mask = causal_mask(&mut b, &past, &(past.clone() + symbol("seq")));
    let own = attention(&mut b, q, present, Some(mask));
    let own = project(&mut b, own, 13);
    let mut y = b.add(x, own).unwrap();
    let crossed = crossed.or_else(|| memory.map(|memory| cross_keys(&mut b, memory)));
    if let Some(crossed) = crossed {
        let q = heads(&mut b, y, symbol("seq"), 14);
        let mixed = attention(&mut b, q, crossed, None);
        y = b.add(y, mixed).unwrap();
    }
    graph.add_output("y", y);
    graph.add_output("present_k", present[0]);
    graph.add_output("present_v", present[1]);
    graph
}

fn cross_keys(b: &mut Builder, memory: ValueId) -> [ValueId; 2] {
    [15, 16].map(|seed| heads(b, memory, symbol("source"), seed))
}

/// The keys and values of a memory.
pub(crate) fn keys() -> Graph {
    let mut graph = Graph::new("keys");
    let shape = vec![symbol("batch"), symbol("source"), constant(DIM)];
    let memory = graph.add_input("memory", TensorType::new(DType::F32, shape));
    let crossed = cross_keys(&mut Builder { graph: &mut graph, location: "keys".into() }, memory);
    for (name, value) in ["cross_k", "cross_v"].into_iter().zip(crossed) {
        graph.add_output(name, value);
    }
    graph
}

/// `h_next = (x + h) W` and `y = h + x`, so that `h` is read after and before what replaces it is known.
pub(crate) fn recurrence() -> Graph {
    let mut graph = Graph::new("recurrence");
    let ty = || TensorType::new(DType::F32, vec![symbol("batch"), constant(DIM)]);
    let (x, h) = (graph.add_input("x", ty()), graph.add_input("h", ty()));
    let mut b = Builder { graph: &mut graph, location: "cell".into() };
    let sum = b.add(x, h).unwrap();
    let next = project(&mut b, sum, 20);
    let mixed = b.mul(next, h).unwrap();
    let y = b.add(mixed, x).unwrap();
    graph.add_output("y", y);
    graph.add_output("h_next", next);
    graph
}
