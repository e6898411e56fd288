//! Graphs as programs of Ascend kernels, run step by step by any executor of kernels.

use ic_codegen::AscendTarget;
use ic_codegen::ascend::{AscendKernel, lower_kernel};
use ic_ir::eval::{Symbols, bind_symbols, eval_graph, eval_values};
use ic_ir::kernel::{BufferKind, Kernel, Program, Step};
use ic_ir::{Graph, Op, ValueId, text};
use ic_passes::{Options, PASSES, PartitionOptions, hoist_branch_constants, partition};
use ic_types::{DType, Dim, Tensor};
use std::path::Path;

/// A graph to check, at these values of its symbols.
pub(crate) struct Case {
    pub(crate) graph: Graph,
    pub(crate) symbols: Symbols,
    /// Whether a target whose cube unit takes f16 only refuses it.
    pub(crate) needs_f32_contractions: bool,
}

/// A kernel that is to run.
pub(crate) struct Work<'a> {
    pub(crate) kernel: &'a AscendKernel,
    pub(crate) source: &'a Kernel,
    pub(crate) symbols: &'a Symbols,
}

impl Work<'_> {
    /// The kernel with numbers for its symbols.
    pub(crate) fn bound(&self) -> AscendKernel {
        self.kernel.bound(&|name| self.symbols.get(name).copied()).unwrap()
    }

    /// The values of extents.
    pub(crate) fn values(&self, dims: &[Dim]) -> Vec<i64> {
        dims.iter().map(|dim| value(dim, self.symbols) as i64).collect()
    }
}

/// The elements of a kernel's parameters.
pub(crate) type Params<'a> = &'a mut [Tensor];

/// Values of the symbols that graphs use.
const EXTENTS: &[&[(&str, i64)]] = &[&[("N", 5), ("B", 2), ("S", 9)], &[("N", 1), ("B", 1), ("S", 1)]];

/// The graphs of `ascend/<file>.ic`, at several values of their symbols if they have some.
pub(crate) fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ascend").join(file).with_extension("ic");
    graphs(&path).into_iter().flat_map(Case::each).collect()
}

/// The graphs of `programs/*.ic`, at several values of their symbols.
pub(crate) fn programs() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|file| graphs(file)).flat_map(Case::each).collect()
}

fn graphs(path: &Path) -> Vec<Graph> {
    let source = std::fs::read_to_string(path).unwrap();
    let graphs = source.split_inclusive("\n}\n").filter(|graph| !graph.trim().is_empty());
    let parse = |source| text::parse(source).unwrap_or_else(|e| panic!("{}: {e}\n{source}", path.display()));
    graphs.map(parse).collect()
}

impl Case {
    fn each(graph: Graph) -> Vec<Case> {
        let is_symbolic = graph.inputs().iter().any(|&v| graph.tensor_ty(v).constant_shape().is_none());
        let f32_operand = |v: &Option<ValueId>| v.is_some_and(|v| graph.dtype(v) == DType::F32);
        let is_f32 =
            |op: &Op, operands: &[Option<ValueId>]| matches!(op, Op::Matmul(_)) && operands.iter().any(f32_operand);
        let needs_f32_contractions = graph.nodes().any(|(_, node)| is_f32(&node.op, &node.operands));
        let at = |extents: &&[(&str, i64)]| Case {
            graph: graph.clone(),
            symbols: extents.iter().map(|&(name, extent)| (name.into(), extent)).collect(),
            needs_f32_contractions,
        };
        EXTENTS[..if is_symbolic { EXTENTS.len() } else { 1 }].iter().map(at).collect()
    }

    fn inputs(&self) -> Vec<Tensor> {
        let types = self.graph.inputs().iter().map(|&v| self.graph.tensor_ty(v));
        let shape = |dims: &[Dim]| dims.iter().map(|dim| value(dim, &self.symbols)).collect();
        types
            .enumerate()
            .map(|(seed, ty)| ic::tensors::random_tensor(ty.dtype, shape(&ty.shape), seed as u64 + 1).unwrap())
            .collect()
    }
}

fn value(dim: &Dim, symbols: &Symbols) -> usize {
    dim.eval(&|name| symbols.get(name).copied()).unwrap() as usize
}

/// Runs the graph's kernels by `execute` and compares the outputs with the evaluator's.
pub(crate) fn check(case: &Case, target: AscendTarget, execute: &mut dyn FnMut(&Work, Params)) {
    let mut graph = case.graph.clone();
    for pass in PASSES {
        graph = (pass.run)(&graph, &Options { native_halves: true, native_compounds: false, ..Default::default() })
            .unwrap();
    }
    let graph = hoist_branch_constants(&graph).unwrap();
    let program = partition(&graph, &PartitionOptions::default()).unwrap();
    let inputs = case.inputs();
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
    execute: &mut dyn FnMut(&Work, Params),
) -> Vec<Tensor> {
    let symbols = &bind_symbols(graph, inputs, &Symbols::new()).unwrap();
    let elements = |shape: &[Dim]| shape.iter().map(|dim| value(dim, symbols)).product::<usize>();
    let flat = |tensor: &Tensor| tensor.clone().reshaped(vec![tensor.len()]);
    let constant = |value| flat(&eval_values(graph, inputs, symbols, &[value]).unwrap()[0]);
    let mut memory: Vec<Tensor> = Vec::new();
    for buffer in &program.buffers {
        memory.push(match &buffer.kind {
            BufferKind::Input(i) => flat(&inputs[*i as usize]),
            BufferKind::Constant(value) => constant(*value),
            _ => Tensor::zeros(buffer.ty.dtype, vec![elements(&buffer.ty.shape)]),
        });
    }
    for step in &program.steps {
        let Step::Kernel { kernel: source, args, location } = step else { panic!("a branch") };
        let lowered = lower_kernel(source, target).unwrap_or_else(|e| panic!("`{location}`: {e}\n{source}"));
        let Some(kernel) = lowered else { continue };
        let place = |b: u32| match &program.buffers[b as usize].kind {
            BufferKind::View { of, offset } => (*of as usize, value(offset, symbols)),
            _ => (b as usize, 0),
        };
        let part = |(&b, param): (&u32, &ic_ir::kernel::Param)| {
            let ((whole, first), len) = (place(b), elements(&param.shape));
            Tensor::new(vec![len], memory[whole].data().gather(first..first + len))
        };
        let mut params: Vec<Tensor> = args.iter().zip(&source.params).map(part).collect();
        execute(&Work { kernel: &kernel, source, symbols }, &mut params);
        for ((&b, param), tensor) in args.iter().zip(&source.params).zip(&params) {
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
    ic_testsuite::compare(expected, found, tolerance)
}
