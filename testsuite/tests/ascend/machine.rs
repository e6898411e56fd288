//! Graphs as programs of Ascend kernels, run step by step by any executor of kernels.

use super::Params;
use ic_codegen::AscendTarget;
use ic_codegen::ascend::{AscendKernel, lower_kernel};
use ic_ir::eval::{Symbols, eval_graph, eval_values};
use ic_ir::kernel::{BufferKind, Kernel, Program, Step};
use ic_ir::{Graph, Op, ValueId, text};
use ic_passes::{Options, PASSES, PartitionOptions, hoist_branch_constants, partition};
use ic_types::{DType, Dim, Tensor};
use std::path::Path;

/// A graph to check.
pub(crate) struct Case {
    pub(crate) graph: Graph,
    /// Whether a target whose cube unit takes f16 only refuses it.
    pub(crate) needs_f32_contractions: bool,
}

/// The graphs of `ascend/<file>.ic`.
pub(crate) fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ascend").join(file).with_extension("ic");
    graphs(&path).into_iter().map(Case::new).collect()
}

/// The graphs of `programs/*.ic`, with their symbols bound.
pub(crate) fn programs() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let extent = |name: &str| {
        let extents = [("N", 5), ("B", 2), ("S", 9)];
        extents.iter().find(|(symbol, _)| *symbol == name).map(|&(_, extent)| Dim::constant(extent))
    };
    let graphs = files.iter().flat_map(|file| graphs(file));
    graphs.map(|graph| Case::new(graph.substitute(&extent).unwrap())).collect()
}

fn graphs(path: &Path) -> Vec<Graph> {
    let source = std::fs::read_to_string(path).unwrap();
    let graphs = source.split_inclusive("\n}\n").filter(|graph| !graph.trim().is_empty());
    let parse = |source| text::parse(source).unwrap_or_else(|e| panic!("{}: {e}\n{source}", path.display()));
    graphs.map(parse).collect()
}

impl Case {
    fn new(graph: Graph) -> Case {
        let f32_operand = |v: &Option<ValueId>| v.is_some_and(|v| graph.dtype(v) == DType::F32);
        let is_f32 =
            |op: &Op, operands: &[Option<ValueId>]| matches!(op, Op::Matmul(_)) && operands.iter().any(f32_operand);
        let needs_f32_contractions = graph.nodes().any(|(_, node)| is_f32(&node.op, &node.operands));
        Case { graph, needs_f32_contractions }
    }
}

/// Runs the graph's kernels by `execute` and compares the outputs with the evaluator's.
pub(crate) fn check(case: &Case, target: AscendTarget, execute: &mut dyn FnMut(&AscendKernel, &Kernel, Params)) {
    let mut graph = case.graph.clone();
    for pass in PASSES {
        graph = (pass.run)(&graph, &Options { native_halves: true, ..Default::default() }).unwrap();
    }
    let graph = hoist_branch_constants(&graph).unwrap();
    let program = partition(&graph, &PartitionOptions::default()).unwrap();
    let types: Vec<_> = case.graph.inputs().iter().map(|&v| case.graph.tensor_ty(v)).collect();
    let inputs: Vec<Tensor> = types
        .iter()
        .enumerate()
        .map(|(seed, ty)| {
            let shape = ty.shape.iter().map(|d| d.as_const().unwrap() as usize).collect();
            ic::tensors::random_tensor(ty.dtype, shape, seed as u64 + 1).unwrap()
        })
        .collect();
    let expected = eval_graph(&case.graph, &inputs, &Symbols::new()).unwrap();
    let found = run(&program, &graph, &inputs, target, execute);
    for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
        compare(expected, found).unwrap_or_else(|e| panic!("output {i} of @{}: {e}\n{program}", graph.name));
    }
}

fn run(
    program: &Program,
    graph: &Graph,
    inputs: &[Tensor],
    target: AscendTarget,
    execute: &mut dyn FnMut(&AscendKernel, &Kernel, Params),
) -> Vec<Tensor> {
    let flat = |tensor: &Tensor| tensor.clone().reshaped(vec![tensor.len()]);
    let dummies: Vec<Tensor> = vec![Tensor::scalar(0.0f32); graph.inputs().len()];
    let mut memory: Vec<Tensor> = Vec::new();
    for buffer in &program.buffers {
        let len = buffer.ty.shape.iter().map(|d| d.as_const().unwrap() as usize).product();
        memory.push(match &buffer.kind {
            BufferKind::Input(i) => flat(&inputs[*i as usize]),
            BufferKind::Constant(value) => flat(&eval_values(graph, &dummies, &Symbols::new(), &[*value]).unwrap()[0]),
            _ => Tensor::zeros(buffer.ty.dtype, vec![len]),
        });
    }
    for step in &program.steps {
        let Step::Kernel { kernel, args, location } = step else { panic!("a branch") };
        let lowered = lower_kernel(kernel, target).unwrap_or_else(|e| panic!("`{location}`: {e}\n{kernel}"));
        let Some(lowered) = lowered else { continue };
        let place = |b: u32| match &program.buffers[b as usize].kind {
            BufferKind::View { of, offset } => (*of as usize, offset.as_const().unwrap() as usize),
            _ => (b as usize, 0),
        };
        let mut params: Vec<Tensor> = args
            .iter()
            .zip(&kernel.params)
            .map(|(&b, param)| {
                let (whole, first) = place(b);
                let len: usize = param.shape.iter().map(|d| d.as_const().unwrap() as usize).product();
                Tensor::new(vec![len], memory[whole].data().gather(first..first + len))
            })
            .collect();
        execute(&lowered, kernel, &mut params);
        for ((&b, param), tensor) in args.iter().zip(&kernel.params).zip(&params) {
            if param.is_output {
                let (whole, first) = place(b);
                (0..tensor.len()).for_each(|i| memory[whole].data_mut().set(first + i, tensor.data(), i));
            }
        }
    }
    let output = |i: usize| {
        let id = program.buffers.iter().position(|b| b.kind == BufferKind::Output(i as u32)).unwrap();
        memory[id].clone()
    };
    (0..program.outputs.len()).map(output).collect()
}

/// Floats agree within rounding of their type; everything else is equal.
fn compare(expected: &Tensor, found: &Tensor) -> Result<(), String> {
    let tolerance = match expected.dtype() {
        DType::F16 => 4e-3,
        DType::F32 => 2e-5,
        _ => 0.0,
    };
    if expected.len() != found.len() {
        return Err(format!("{} elements, found {}", expected.len(), found.len()));
    }
    let numbers = |tensor: &Tensor| -> Vec<f64> {
        (0..tensor.len())
            .map(|i| match ic_ir::scalar::Scalar::read(tensor.data(), i) {
                ic_ir::scalar::Scalar::F32(x, _) => f64::from(x),
                ic_ir::scalar::Scalar::F64(x) => x,
                ic_ir::scalar::Scalar::Int(x, _) => x as f64,
                ic_ir::scalar::Scalar::Bool(x) => f64::from(u8::from(x)),
                ic_ir::scalar::Scalar::Text(_) => f64::NAN,
            })
            .collect()
    };
    let scale = numbers(expected).iter().fold(1.0f64, |max, x| max.max(x.abs()));
    for (i, (a, b)) in numbers(expected).iter().zip(numbers(found)).enumerate() {
        let close = (a - b).abs() <= tolerance * scale || a.is_nan() && b.is_nan() || *a == b;
        if !close {
            return Err(format!("element {i} is {b}, expected {a}"));
        }
    }
    Ok(())
}
