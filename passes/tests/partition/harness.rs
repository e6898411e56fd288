//! Runs a graph by the evaluator and its program by the Kernel IR interpreter, on seeded inputs.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic_ir::eval::{Symbols, eval_graph, eval_values};
use ic_ir::kernel::{Program, Step, eval_program};
use ic_ir::{Graph, OpError, ValueId, text};
use ic_passes::{PartitionOptions, hoist_branch_constants, partition};
use ic_types::{DType, Data, Tensor, symbols_of};

/// A small generator of pseudorandom numbers (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub(crate) fn tensor(&mut self, dtype: DType, shape: Vec<usize>) -> Tensor {
        let len = shape.iter().product();
        let mut ints = |n: usize| -> Vec<i64> { (0..n).map(|_| self.below(4) as i64).collect() };
        let data = match dtype {
            DType::F32 => Data::F32(ints(len).iter().map(|&i| i as f32 * 0.75 - 1.0).collect()),
            DType::F16 => Data::F16(ints(len).iter().map(|&i| ic_types::f32_to_f16(i as f32 - 1.5)).collect()),
            DType::Bool => Data::Bool(ints(len).iter().map(|&i| i > 1).collect()),
            DType::I32 => Data::I32(ints(len).iter().map(|&i| i as i32).collect()),
            DType::I64 => Data::I64(ints(len)),
            DType::U8 => Data::U8(ints(len).iter().map(|&i| i as u8).collect()),
            DType::I8 => Data::I8(ints(len).iter().map(|&i| i as i8 - 2).collect()),
            _ => panic!("no random elements of type {dtype}"),
        };
        Tensor::new(shape, data)
    }
}

/// Checks one graph for all symbols in `sizes`, with every way to partition; returns the program of the last: fused,
/// with rows folded by the kernels of products.
pub(crate) fn check(source: &str, sizes: &[usize]) -> Program {
    let graph = text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    check_graph(&graph, sizes)
}

pub(crate) fn check_graph(graph: &Graph, sizes: &[usize]) -> Program {
    let graph = hoist_branch_constants(graph).unwrap();
    let mut fused = None;
    for (fuse, rows_of_products) in [(false, false), (true, false), (true, true)] {
        let program = partition(&graph, &PartitionOptions { fuse, share: fuse, rows_of_products });
        let program = program.unwrap_or_else(|e| panic!("{e:?}\n{}", text::print(&graph)));
        for (seed, &size) in sizes.iter().enumerate() {
            compare(&graph, &program, size, seed as u64);
        }
        fused = Some(program);
    }
    fused.unwrap()
}

fn compare(graph: &Graph, program: &Program, size: usize, seed: u64) {
    let types: Vec<_> = graph.inputs().iter().map(|&v| graph.tensor_ty(v).clone()).collect();
    // The symbol `One` is always 1; others differ from each other.
    let names = symbols_of(types.iter().flat_map(|ty| &ty.shape));
    let symbols: Symbols =
        names.iter().map(|n| (n.clone(), if n.starts_with("One") { 1 } else { size as i64 })).collect();
    let mut random = Random(seed);
    let inputs: Vec<Tensor> = types
        .iter()
        .map(|ty| {
            let extent = |d: &ic_types::Dim| d.eval(&|n| symbols.get(n).copied()).unwrap() as usize;
            random.tensor(ty.dtype, ty.shape.iter().map(extent).collect())
        })
        .collect();
    let expected = match eval_graph(graph, &inputs, &symbols) {
        Ok(expected) => expected,
        Err(e) => panic!("{e}\n{}", text::print(graph)),
    };
    let constants = |v: ValueId| -> Result<Tensor, OpError> {
        eval_values(graph, &vec![Tensor::scalar(0.0f32); graph.inputs().len()], &symbols, &[v]).map(|mut t| t.remove(0))
    };
    let context = || format!("size {size}\n{}\n{program}", text::print(graph));
    let found = eval_program(program, &constants, &inputs, &symbols).unwrap_or_else(|e| panic!("{e}\n{}", context()));
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected.shape(), found.shape(), "{}", context());
        if let Some(i) = first_difference(expected, found) {
            let element = |t: &Tensor| t.data().gather(std::iter::once(i));
            panic!("element {i}: expected {:?}, found {:?}\n{}", element(expected), element(found), context());
        }
    }
}

/// The first element in which two tensors of one shape differ by more than rounding.
fn first_difference(a: &Tensor, b: &Tensor) -> Option<usize> {
    let far = |x: f32, y: f32, tolerance: f32| {
        !(x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= tolerance * (1.0 + x.abs()))
    };
    let wide = |x: u16| ic_types::f16_to_f32(x);
    match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => a.iter().zip(b).position(|(&x, &y)| far(x, y, 1e-4)),
        (Data::F16(a), Data::F16(b)) => a.iter().zip(b).position(|(&x, &y)| far(wide(x), wide(y), 4e-3)),
        (x, y) if x == y => None,
        _ => (0..a.len()).find(|&i| a.data().gather(std::iter::once(i)) != b.data().gather(std::iter::once(i))),
    }
}

/// Number of kernels, those of branches included.
pub(crate) fn n_kernels(program: &Program) -> usize {
    fn count(steps: &[Step]) -> usize {
        let n = |step: &Step| match step {
            Step::Kernel { .. } => 1,
            Step::Read(_) => 0,
            Step::Loop(of) => count(&of.body),
            Step::If { then, otherwise, .. } => count(then) + count(otherwise),
        };
        steps.iter().map(n).sum()
    }
    count(&program.steps)
}
