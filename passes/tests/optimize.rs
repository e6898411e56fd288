//! Optimized graphs compute what the original ones do: random graphs through every pass, both sides evaluated.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::eval::eval_graph;
use ic_ir::ops::*;
use ic_ir::scalar::ScalarOp;
use ic_ir::{Builder, Graph, Op, ValueId};
use ic_passes::{FpMode, Options, PASSES, optimize};
use ic_types::{DType, Dim, Tensor};

/// Random graphs that are compared.
const GRAPHS: u64 = 300;

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let elements = (0..shape.iter().product()).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).collect();
        Tensor::from_elements(shape.to_vec(), elements)
    }
}

#[test]
fn random_graphs_keep_their_results() {
    for seed in 1..=GRAPHS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let graph = random_graph(&mut random);
        let inputs: Vec<Tensor> = graph
            .inputs()
            .iter()
            .map(|&v| {
                let shape: Vec<usize> =
                    graph.tensor_ty(v).shape.iter().map(|d| d.as_const().map_or(3, |d| d as usize)).collect();
                random.tensor(&shape)
            })
            .collect();
        let expected = eval_graph(&graph, &inputs, &Default::default()).unwrap();
        for options in [
            Options { opt_level: 0, ..Options::default() },
            Options { fp: FpMode::Strict, ..Options::default() },
            Options::default(),
        ] {
            let optimized = optimize(&graph, &options).unwrap_or_else(|e| panic!("seed {seed}: {e}")).graph;
            let found = eval_graph(&optimized, &inputs, &Default::default())
                .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", ic_ir::text::print(&optimized)));
            for (a, b) in expected.iter().zip(&found) {
                assert!(
                    close(a, b),
                    "seed {seed}, {options:?}\n{}\n{}",
                    ic_ir::text::print(&graph),
                    ic_ir::text::print(&optimized)
                );
            }
        }
    }
}

#[test]
fn passes_are_deterministic() {
    for seed in 1..=40 {
        let graph = random_graph(&mut Random(seed * 77));
        let run = || ic_ir::text::print(&optimize(&graph, &Options::default()).unwrap().graph);
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn every_pass_runs_alone() {
    for seed in 1..=40 {
        let graph = random_graph(&mut Random(seed * 99));
        for pass in PASSES {
            let result = (pass.run)(&graph, &Options::default()).unwrap();
            assert_eq!(ic_ir::verify(&result), [], "seed {seed}: {}", pass.name);
        }
    }
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    let (x, y) = (a.elements::<f32>().unwrap(), b.elements::<f32>().unwrap());
    let scale = x.iter().filter(|v| v.is_finite()).fold(1.0f32, |m, v| m.max(v.abs()));
    let same = |(x, y): (&f32, &f32)| x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= 1e-4 * scale;
    a.shape() == b.shape() && x.iter().zip(y).all(same)
}

/// A graph of about 15 nodes on an image and a sequence.
fn random_graph(random: &mut Random) -> Graph {
    let mut graph = Graph::new("random");
    let batch = if random.below(2) == 0 { Dim::symbol("N") } else { Dim::constant(2) };
    let image = vec![batch.clone(), 4.into(), 6.into(), 6.into()];
    let sequence = vec![batch, 5.into(), 4.into()];
    let mut values = vec![
        graph.add_input("image", ic_ir::TensorType::new(DType::F32, image)),
        graph.add_input("sequence", ic_ir::TensorType::new(DType::F32, sequence)),
    ];
    for _ in 0..15 {
        let x = values[values.len() - 1 - random.below(values.len().min(3))];
        let mut builder = Builder { graph: &mut graph, location: "test".into() };
        if let Some(value) = random_node(&mut builder, random, x, &values) {
            values.push(value);
        }
    }
    let last = *values.last().unwrap();
    graph.add_output("last", last);
    let middle = values[values.len() / 2];
    graph.add_output("middle", middle);
    graph
}

fn random_node(b: &mut Builder, random: &mut Random, x: ValueId, values: &[ValueId]) -> Option<ValueId> {
    let ty = b.ty(x).clone();
    let (shape, rank) = (ty.shape.clone(), ty.rank());
    let fixed = |i: usize| shape.get(i).and_then(Dim::as_const).map(|d| d as usize);
    match random.below(14) {
        0 => b.push(pick(random, &[ScalarOp::Relu, ScalarOp::Tanh, ScalarOp::Sigmoid, ScalarOp::Abs]), &[x]).ok(),
        1 => {
            let constant = random_operand(b, random, &shape)?;
            b.push(pick(random, &[ScalarOp::Add, ScalarOp::Mul, ScalarOp::Sub, ScalarOp::Max]), &[x, constant]).ok()
        }
        2 => {
            let y = values.iter().copied().find(|&y| y != x && b.ty(y) == &ty)?;
            b.push(pick(random, &[ScalarOp::Add, ScalarOp::Mul, ScalarOp::Sub]), &[x, y]).ok()
        }
        3 | 4 if rank == 4 || rank == 3 => convolution(b, random, x, fixed(1)?, rank - 2),
        5 if rank == 4 => {
            let pool = Pool {
                function: pick(random, &[PoolFn::Max, PoolFn::Average]),
                kernel: vec![2, 2],
                strides: vec![1 + random.below(2), 1],
                pads: vec![0.into(), 0.into(), 1.into(), 0.into()],
                dilations: vec![1, 1],
                ceil: false,
                count_include_pad: false,
                p: 2,
                layout: Layout::ChannelsFirst,
            };
            b.push(pool, &[x]).ok()
        }
        6 => {
            let mut perm: Vec<usize> = (0..rank).collect();
            (1..rank).for_each(|i| perm.swap(i, 1 + random.below(rank - 1)));
            b.push(Transpose { perm }, &[x]).ok()
        }
        7 if rank == 4 => {
            let merged = vec![shape[0].clone(), shape[1].clone(), shape[2].clone() * shape[3].clone()];
            b.push(Reshape { shape: merged }, &[x]).ok()
        }
        8 => {
            let axis = 1 + random.below(rank - 1);
            let keep_dims = random.below(3) > 0 || rank == 2;
            let function = pick(random, &[ReduceFn::Mean, ReduceFn::Sum, ReduceFn::Max]);
            let axes = if random.below(2) == 0 { vec![axis] } else { (axis..rank).collect() };
            let reduced = b.push(Reduce { function, axes, keep_dims }, &[x]).ok()?;
            if keep_dims { b.sub(x, reduced).ok() } else { (b.ty(reduced).rank() > 1).then_some(reduced) }
        }
        9 => b.push(Softmax { axis: 1 + random.below(rank - 1) as i64 }, &[x]).ok(),
        10 => {
            let axis = 1 + random.below(rank - 1);
            b.push(Concat { axis }, &[x, x]).ok()
        }
        11 => {
            let axis = 1 + random.below(rank - 1);
            let extent = fixed(axis).filter(|&d| d > 1)?;
            let (starts, extents) = (vec![1.into()], vec![Dim::constant(extent as i64 - 1)]);
            b.push(Slice { axes: vec![axis], starts, extents, steps: vec![1] }, &[x]).ok()
        }
        12 => {
            let k = fixed(rank - 1)?;
            let w = b.constant(random.tensor(&[k, 3])).ok()?;
            b.push(Matmul {}, &[x, w]).ok()
        }
        _ => spelled(b, random, x),
    }
}

fn pick<T: Clone>(random: &mut Random, list: &[T]) -> T {
    list[random.below(list.len())].clone()
}

/// A constant that broadcasts to `shape`: one number, one per channel, or one per element but the batch.
fn random_operand(b: &mut Builder, random: &mut Random, shape: &[Dim]) -> Option<ValueId> {
    let mut extents: Vec<usize> = shape[1..].iter().map(|d| d.as_const().map(|d| d as usize)).collect::<Option<_>>()?;
    match random.below(4) {
        0 => return b.scalar(DType::F32, [0.0, 1.0, 2.0, 0.5, -1.0][random.below(5)]).ok(),
        1 => extents.iter_mut().skip(1).for_each(|d| *d = 1),
        2 => drop(extents.drain(..extents.len() - 1)),
        _ => {}
    }
    b.constant(random.tensor(&extents)).ok()
}

fn convolution(b: &mut Builder, random: &mut Random, x: ValueId, channels: usize, n_spatial: usize) -> Option<ValueId> {
    let groups = if channels.is_multiple_of(2) { 1 + random.below(2) } else { 1 };
    let kernel: Vec<usize> = (0..n_spatial).map(|_| 1 + random.below(3)).collect();
    let out = groups * (1 + random.below(3));
    let w = random.tensor(&[&[out, channels / groups], kernel.as_slice()].concat());
    let w = b.constant(w).ok()?;
    let op = Convolution {
        strides: vec![1; n_spatial],
        pads: vec![1.into(); 2 * n_spatial],
        dilations: vec![1; n_spatial],
        groups,
        layout: Layout::ChannelsFirst,
        algorithm: ConvAlgorithm::Direct,
    };
    let bias = if random.below(2) == 0 { Some(b.constant(random.tensor(&[out])).ok()?) } else { None };
    Some(b.push_all(Op::from(op), &[Some(x), Some(w), bias]).ok()?[0])
}

/// A compound function in a spelling of exporters.
fn spelled(b: &mut Builder, random: &mut Random, x: ValueId) -> Option<ValueId> {
    let mut build = || match random.below(4) {
        0 => {
            let (half, one, root) = (
                b.scalar(DType::F32, 0.5)?,
                b.scalar(DType::F32, 1.0)?,
                b.scalar(DType::F32, std::f64::consts::SQRT_2)?,
            );
            let scaled = b.div(x, root)?;
            let erf = b.push(ScalarOp::Erf, &[scaled])?;
            let (shifted, halved) = (b.add(erf, one)?, b.mul(x, half)?);
            b.mul(halved, shifted)
        }
        1 => {
            let gate = b.push(ScalarOp::Sigmoid, &[x])?;
            b.mul(x, gate)
        }
        2 => {
            let axes = vec![b.ty(x).rank() - 1];
            let reduce = |function| Reduce { function, axes: axes.clone(), keep_dims: true };
            let (epsilon, two) = (b.scalar(DType::F32, 1e-5)?, b.scalar(DType::F32, 2.0)?);
            let mean = b.push(reduce(ReduceFn::Mean), &[x])?;
            let centred = b.sub(x, mean)?;
            let square = b.push(ScalarOp::Pow, &[centred, two])?;
            let variance = b.push(reduce(ReduceFn::Mean), &[square])?;
            let shifted = b.add(variance, epsilon)?;
            let deviation = b.push(ScalarOp::Sqrt, &[shifted])?;
            b.div(centred, deviation)
        }
        _ => {
            let (three, six, zero) =
                (b.scalar(DType::F32, 3.0)?, b.scalar(DType::F32, 6.0)?, b.scalar(DType::F32, 0.0)?);
            let shifted = b.add(x, three)?;
            let low = b.push(ScalarOp::Max, &[shifted, zero])?;
            let clipped = b.push(ScalarOp::Min, &[low, six])?;
            let product = b.mul(x, clipped)?;
            b.div(product, six)
        }
    };
    build().ok()
}
