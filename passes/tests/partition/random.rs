//! Random graphs of everything that partition puts together.

use crate::harness::{Random, check_graph};
use ic_ir::{Builder, Graph, ScalarOp, TensorType, ValueId, ops};
use ic_types::{DType, Dim};

const N_GRAPHS: u64 = 2000;

#[test]
fn random_graphs() {
    for seed in 0..N_GRAPHS {
        let graph = random_graph(seed);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_graph(&graph, &[1, 0, 3])));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// A graph of shapes `[N, 4, 6]` and what follows from them.
fn random_graph(seed: u64) -> Graph {
    let mut random = Random(seed);
    let mut graph = Graph::new(format!("random{seed}"));
    let c = |d: i64| Dim::constant(d);
    let n = Dim::symbol("N");
    let mut values: Vec<ValueId> = Vec::new();
    for (name, shape) in
        [("x", vec![n.clone(), c(4), c(6)]), ("y", vec![c(4), c(6)]), ("z", vec![n.clone(), c(1), c(6)])]
    {
        values.push(graph.add_input(name, TensorType::new(DType::F32, shape)));
    }
    let mut builder = Builder { graph: &mut graph, location: "node".into() };
    for _ in 0..3 + random.below(12) {
        let a = values[values.len() - 1 - random.below(values.len().min(4))];
        let b = values[random.below(values.len())];
        if let Some(value) = random_node(&mut random, &mut builder, a, b) {
            values.push(value);
        }
    }
    let last = values.len() - 1;
    graph.add_output("last", values[last]);
    if random.below(2) == 0 {
        graph.add_output("other", values[random.below(values.len())]);
    }
    graph
}

/// A node on `a` and perhaps `b`; `None` where they do not fit.
fn random_node(random: &mut Random, builder: &mut Builder, a: ValueId, b: ValueId) -> Option<ValueId> {
    let shape = builder.ty(a).shape.clone();
    let rank = shape.len();
    if rank == 0 {
        return builder.push(ScalarOp::Exp, &[a]).ok();
    }
    let axis = random.below(rank);
    // Only pairs that surely broadcast.
    let other = builder.ty(b).shape.clone();
    let fits = other.len() <= rank && other.iter().rev().zip(shape.iter().rev()).all(|(x, y)| x == y || x.is(1));
    match random.below(14) {
        0 | 1 => {
            let functions = [ScalarOp::Neg, ScalarOp::Relu, ScalarOp::Tanh, ScalarOp::Abs];
            builder.push(functions[random.below(functions.len())], &[a]).ok()
        }
        2..=4 if fits => {
            let functions = [ScalarOp::Add, ScalarOp::Sub, ScalarOp::Mul, ScalarOp::Max];
            builder.push(functions[random.below(functions.len())], &[a, b]).ok()
        }
        5 if rank > 1 => {
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(axis, random.below(rank));
            builder.push(ops::Transpose { perm }, &[a]).ok()
        }
        6 if rank > 1 => {
            let at = random.below(rank - 1);
            let mut merged = shape.clone();
            let next = merged.remove(at + 1);
            merged[at] = merged[at].clone() * next;
            builder.push(ops::Reshape { shape: merged }, &[a]).ok()
        }
        7 => {
            let at = shape.iter().position(|d| d.as_const().is_some_and(|d| d % 2 == 0 && d > 0))?;
            let mut split = shape.clone();
            split[at] = Dim::constant(shape[at].as_const()? / 2);
            split.insert(at + random.below(2), Dim::constant(2));
            builder.push(ops::Reshape { shape: split }, &[a]).ok()
        }
        8 => {
            let extent = shape[axis].as_const().filter(|&d| d > 1)?;
            let slice = ops::Slice {
                axes: vec![axis],
                starts: vec![Dim::constant(extent - 1)],
                extents: vec![Dim::constant(extent / 2)],
                steps: vec![-1],
            };
            builder.push(slice, &[a]).ok()
        }
        9 => builder.push(ops::Concat { axis }, &[a, a]).ok(),
        10 => {
            let mut pads = vec![Dim::constant(0); 2 * rank];
            pads[axis] = Dim::constant(random.below(3) as i64);
            pads[rank + axis] = Dim::constant(random.below(2) as i64);
            builder.push(ops::Pad { mode: ops::PadMode::Constant, pads }, &[a]).ok()
        }
        11 => builder.push(ops::Softmax { axis: axis as i64 }, &[a]).ok(),
        12 => {
            let function = [ops::ReduceFn::Sum, ops::ReduceFn::Max][random.below(2)];
            let axes = vec![axis];
            builder.push(ops::Reduce { function, axes, keep_dims: random.below(2) == 0 }, &[a]).ok()
        }
        13 if rank > 1 => {
            let columns = builder.ty(a).shape[rank - 1].as_const()?;
            let w = ic_types::Tensor::from_elements(
                vec![columns as usize, 4],
                (0..columns * 4).map(|i| (i % 5) as f32 * 0.25 - 0.5).collect(),
            );
            let w = builder.constant(w).ok()?;
            builder.push(ops::Matmul {}, &[a, w]).ok()
        }
        _ => None,
    }
}
