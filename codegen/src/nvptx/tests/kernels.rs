//! Whole programs: plans of launches, run launch by launch, against the reference evaluation of the graph.

use crate::WeightPool;
use crate::backend::{Code, Products, Source};
use crate::nvptx::compile::{Functions, compile_with, cores, plan_all};
use crate::target::{NvptxTarget, Target};
use ic_artifact::{Place, Plan, Step, SymbolSource};
use ic_ir::eval::{eval_graph, from_ints, from_reals, ints, reals};
use ic_ir::text;
use ic_ir::{Graph, Type};
use ic_passes::{Options, PartitionOptions, Precision, optimize, partition};
use ic_ptx_emulator::{Class, Counts, Launch, Memory, Module, launch};
use ic_types::{DType, Data, Tensor};
use std::collections::BTreeMap;

/// A graph of the testsuite, by the text of its file.
pub(super) const PROGRAMS: &[(&str, &str)] = &[
    ("mlp", include_str!("../../../../testsuite/programs/mlp.ic")),
    ("softmax", include_str!("../../../../testsuite/programs/softmax.ic")),
    ("layer_norm", include_str!("../../../../testsuite/programs/layer_norm.ic")),
    ("transformer_layer_f32", include_str!("../../../../testsuite/programs/transformer_layer_f32.ic")),
    ("transformer_layer_f16", include_str!("../../../../testsuite/programs/transformer_layer_f16.ic")),
];

fn program(name: &str) -> &'static str {
    PROGRAMS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Pseudo-random numbers from -1 to 1 that are the same in every run.
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 40) as f64 / (1 << 23) as f64 - 1.0
}

fn inputs(graph: &Graph, dims: &[(&str, i64)]) -> Vec<Tensor> {
    let mut state = 7;
    let lookup = |name: &str| dims.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
    let tensor = |value| {
        let Type::Tensor(ty) = graph.ty(value) else { panic!("an input that is no tensor") };
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.eval(&lookup).unwrap() as usize).collect();
        let n = shape.iter().product();
        if ty.dtype.is_int() {
            return from_ints(ty.dtype, shape, (0..n).map(|_| (random(&mut state).abs() * 40.0) as i128).collect())
                .unwrap();
        }
        // Of weights, sums stay of order 1.
        let scale = (3.0 / shape[0].max(1) as f64).sqrt().min(1.0);
        from_reals(ty.dtype, shape, (0..n).map(|_| random(&mut state) * scale).collect()).unwrap()
    };
    graph.inputs().iter().copied().map(tensor).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.dtype().is_int() {
        true => ints(tensor).unwrap().into_iter().map(|x| x as f64).collect(),
        false => reals(tensor).unwrap(),
    }
}

/// Runs a plan's launches on copies of the inputs; the outputs' bytes, and what all launches did.
fn run(plan: &Plan, module: &Module, weights: &[u8], inputs: &[Tensor]) -> (Vec<Vec<u8>>, Counts) {
    let symbols: Vec<i64> = plan
        .symbols
        .iter()
        .map(|source| match source {
            SymbolSource::Input { input, axis } => inputs[*input as usize].shape()[*axis as usize] as i64,
            other => panic!("{other:?} is not of an input"),
        })
        .collect();
    let mut slots: Vec<i64> = Vec::new();
    for op in &plan.dims {
        let value = op.apply(&|slot| slots.get(slot as usize).copied(), &|symbol| Some(symbols[symbol as usize]));
        slots.push(value.unwrap());
    }
    let mut memory = Memory::new();
    let mut bases: Vec<u64> = Vec::new();
    let mut outputs: BTreeMap<u32, (u64, usize)> = BTreeMap::new();
    for buffer in &plan.buffers {
        let bytes = slots[buffer.bytes as usize] as usize;
        let mut copy = |contents: &[u8]| {
            let base = memory.allocate(contents.len() as u64).unwrap();
            memory.write(base, contents).unwrap();
            base
        };
        let base = match buffer.place {
            Place::Input(i) => copy(&inputs[i as usize].data().to_le_bytes()),
            Place::Weight { offset } => copy(&weights[offset as usize..][..bytes]),
            Place::View { of, offset } => bases[of as usize] + slots[offset as usize] as u64,
            _ => memory.allocate(bytes as u64).unwrap(),
        };
        if let Place::Output(i) = buffer.place {
            outputs.entry(i).or_insert((base, bytes));
        }
        bases.push(base);
    }
    let mut counts = Counts::default();
    for step in &plan.steps {
        let Step::Launch { function, buffers, dims, grid, block, shared_bytes, .. } = step else { panic!("{step:?}") };
        let function = module.function(&plan.functions[*function as usize]).unwrap();
        let grid = grid.map(|slot| slots[slot as usize] as u32);
        let buffers = buffers.iter().map(|&b| bases[b as usize]);
        let params = buffers.chain(dims.iter().map(|&slot| slots[slot as usize] as u64)).collect::<Vec<_>>();
        let params = function.pack(&params).unwrap();
        let how = Launch { grid, block: *block, params, dynamic_shared: *shared_bytes, host_threads: 0 };
        counts += &launch(function, &memory, &how).unwrap_or_else(|fault| panic!("{fault}"));
    }
    let contents = outputs.into_values().map(|(base, bytes)| {
        let mut contents = vec![0; bytes];
        memory.read(base, &mut contents).unwrap();
        contents
    });
    (contents.collect(), counts)
}

/// Compiles a graph, runs it on random inputs and compares each output: the largest error as a share of the largest
/// magnitude is at most `tolerance`. No access is out of bounds, of unwritten memory or in a race.
pub(super) fn check(text: &str, dims: &[(&str, i64)], tolerance: f64) -> Counts {
    check_with(text, dims, tolerance, &options(), Products::F32)
}

/// As the pipeline has it for GPUs.
pub(super) fn options() -> Options {
    Options { native_halves: true, native_compounds: false, flash_attention: true, ..Default::default() }
}

pub(super) fn check_with(
    text: &str,
    dims: &[(&str, i64)],
    tolerance: f64,
    options: &Options,
    products: Products,
) -> Counts {
    check_on(NvptxTarget::Sm80, text, dims, tolerance, options, products)
}

/// [`check`] of a GPU with products of warpgroups.
pub(super) fn check_warpgroups(text: &str, dims: &[(&str, i64)], tolerance: f64) -> Counts {
    check_on(NvptxTarget::Sm90a, text, dims, tolerance, &options(), Products::F32)
}

fn check_on(
    gpu: NvptxTarget,
    text: &str,
    dims: &[(&str, i64)],
    tolerance: f64,
    options: &Options,
    products: Products,
) -> Counts {
    let graph = text::parse(text).unwrap();
    let inputs = inputs(&graph, dims);
    let expected = eval_graph(&graph, &inputs, &Default::default()).unwrap();
    let (plan, module, weights) = compiled(gpu, &graph, options, products);
    let (outputs, counts) = run(&plan, &module, &weights, &inputs);
    assert_eq!(outputs.len(), expected.len());
    for (i, (found, want)) in outputs.iter().zip(&expected).enumerate() {
        let found = Tensor::new(want.shape().to_vec(), Data::from_le_bytes(want.dtype(), found).unwrap());
        let (found, want) = (numbers(&found), numbers(want));
        let scale = want.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
        for (at, (a, b)) in found.iter().zip(&want).enumerate() {
            let error = (a - b).abs() / scale;
            assert!(
                error <= tolerance || a.is_nan() && b.is_nan(),
                "{} {dims:?}: output {i}, element {at}: {a}, expected {b}",
                graph.name
            );
        }
    }
    counts
}

/// The plan, the module and the weights of a graph.
fn compiled(gpu: NvptxTarget, graph: &Graph, options: &Options, products: Products) -> (Plan, Module, Vec<u8>) {
    let targets = [Target::Nvptx(gpu)];
    let graph = optimize(graph, options).unwrap().graph;
    let program = partition(&graph, &PartitionOptions::default()).unwrap();
    let source = Source { program: &program, graph: &graph, products };
    let mut functions = Functions::default();
    let planned = plan_all(&[source], cores(&targets), &mut functions).unwrap();
    let mut compiled = compile_with(planned, &functions, &targets);
    let mut weights = Vec::new();
    compiled.write_weights(&[&graph], &mut WeightPool::new(&mut weights)).unwrap();
    let Code::Device(code) = &compiled.code[0].code else { panic!("no device's code") };
    let module = Module::parse(std::str::from_utf8(code).unwrap()).unwrap_or_else(|e| panic!("{e}"));
    (compiled.plans.remove(0), module, weights)
}

/// Bytes of the weights of a graph.
pub(super) fn weight_bytes(gpu: NvptxTarget, text: &str) -> usize {
    compiled(gpu, &text::parse(text).unwrap(), &options(), Products::F32).2.len()
}

#[test]
fn an_mlp() {
    for n in [0, 1, 5, 67] {
        check(program("mlp"), &[("N", n)], 2e-6);
    }
}

#[test]
fn softmax_of_short_and_of_unknown_rows() {
    for n in [1, 2, 31, 300] {
        check(program("softmax"), &[("N", n)], 2e-6);
    }
}

#[test]
fn a_layer_norm_of_a_sum() {
    for n in [1, 3, 6] {
        check(program("layer_norm"), &[("N", n)], 1e-5);
    }
}

#[test]
fn a_transformer_layer_of_f32() {
    for (b, s) in [(1, 1), (2, 5)] {
        check(program("transformer_layer_f32"), &[("B", b), ("S", s)], 1e-5);
    }
}

#[test]
fn a_transformer_layer_of_f16() {
    for (b, s) in [(1, 3), (2, 8)] {
        check(program("transformer_layer_f16"), &[("B", b), ("S", s)], 1e-2);
    }
}

/// Products whose extents are around tiles, of every layout.
#[test]
fn products_of_halves() {
    for (m, k, n) in [(1, 8, 8), (17, 40, 24), (64, 64, 64), (70, 33, 65), (3, 7, 5)] {
        for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::BF16, 1.6e-2), (DType::F32, 2e-6)] {
            check(&product(dtype, [m, k, n], [false, false]), &[], tolerance);
        }
        check(&product(DType::F16, [m, k, n], [true, false]), &[], 2e-3);
        check(&product(DType::F16, [m, k, n], [false, true]), &[], 2e-3);
        check(&product(DType::F32, [m, k, n], [true, true]), &[], 2e-6);
    }
}

/// Of inputs and results whole sectors move, and each of them once.
#[test]
fn pointwise_kernels_norms_and_softmax_move_each_sector_once() {
    for (dtype, rows, columns) in
        [("f16", 5, 4096), ("f16", 9, 1024), ("f32", 6, 1024), ("f32", 3, 4096), ("bf16", 7, 768)]
    {
        let ty = format!("{dtype}[{rows}, {columns}]");
        let body = |operands: &str, node: &str| {
            format!("graph @rows(%x: {ty}{operands}) {{\n  %0 = {node} : {ty}\n  return \"y\" = %0\n}}\n")
        };
        let scales = format!(", %s: {dtype}[{columns}], %b: {dtype}[{columns}]");
        let graphs = [
            (body(&format!(", %y: {ty}"), "add(%x, %y)"), 3 * rows, true),
            (body("", "softmax(%x) {axis = 1}"), 2 * rows, true),
            (body(&scales, "layer_normalization(%x, %s, %b)"), 2 * rows + 2, false),
        ];
        let size = if dtype == "f32" { 4 } else { 2 };
        for (text, n_rows, is_alone) in graphs {
            let counts = check(&text, &[], if size == 2 { 1e-2 } else { 1e-5 });
            let least = n_rows * columns * size / 32;
            let moved = counts.sectors_read + counts.sectors_written;
            assert!(moved * 100 <= least * 105, "{moved} of {least}: {text}");
            assert_eq!(counts.global_sectors, counts.global_sectors_ideal, "{text}");
            // Scales are read again for each row, from a cache.
            let requested = if is_alone { least } else { (4 * rows) * columns * size / 32 };
            assert!(counts.global_sectors * 100 <= requested * 105, "{} of {requested}: {text}", counts.global_sectors);
        }
    }
}

/// No bank conflicts in the main loop, whole sectors, and every product on tensor cores.
#[test]
fn a_large_product_of_halves() {
    for transposed in [[false, false], [true, false], [false, true]] {
        let counts = check(&product(DType::F16, [256, 64, 264], transposed), &[], 2e-3);
        // Tiles of 128 columns hold 264.
        assert_eq!(counts.tensor_flops, 2 * 256 * 64 * 384, "{transposed:?}");
        assert_eq!(counts.bank_conflicts, 0, "{transposed:?}");
    }
}

/// Enough tiles for the widest ones, whose stages take more shared memory than a function may declare.
#[test]
fn a_product_of_many_tiles() {
    let counts = check(&product(DType::F16, [1216, 72, 2568], [false, false]), &[], 2e-3);
    assert_eq!(counts.tensor_flops, 2 * 1280 * 96 * 2816);
    assert_eq!(counts.bank_conflicts, 0);
}

/// Products of warpgroups: tiles of each size that are not full, steps of K that are no whole stages, every layout.
#[test]
fn products_of_warpgroups() {
    for transposed in [[false, false], [true, false], [false, true], [true, true]] {
        for shape in [[24, 64, 72], [64, 584, 128], [72, 200, 136]] {
            let counts = check_warpgroups(&product(DType::F16, shape, transposed), &[], 2e-3);
            assert!(counts.of(Class::Matrix) == 0 && counts.tensor_flops > 0, "{transposed:?}");
            assert_eq!(counts.bank_conflicts, 0, "{transposed:?}");
        }
    }
    check_warpgroups(&product(DType::BF16, [128, 1032, 128], [false, false]), &[], 1.6e-2);
    check_warpgroups(&product(DType::F16, [520, 72, 1096], [false, false]), &[], 2e-3);
    let rows = "graph @rows(%a: f16[N, 96], %b: f16[96, 152], %r: f16[N, 152]) {
  %c = matmul(%a, %b) : f16[N, 152]
  %d = add(%c, %r) : f16[N, 152]
  return \"y\" = %d
}
";
    for n in [0, 1, 65, 130] {
        check_warpgroups(rows, &[("N", n)], 2e-3);
    }
}

/// Enough tiles for the largest ones of warpgroups.
#[test]
fn products_of_many_warpgroups() {
    let wide = check_warpgroups(&product(DType::F16, [1224, 136, 2568], [false, false]), &[], 2e-3);
    assert_eq!(wide.tensor_flops, 2 * 1280 * 192 * 2816);
    let large = check_warpgroups(&product(DType::F16, [1160, 72, 1300 / 8 * 8], [false, true]), &[], 2e-3);
    assert_eq!(large.tensor_flops, 2 * 1280 * 128 * 1408);
    assert_eq!(wide.bank_conflicts + large.bank_conflicts, 0);
}

/// Few rows: narrow tiles, of each layout of B.
#[test]
fn products_of_few_rows() {
    for transposed in [[false, false], [false, true]] {
        for shape in [[16, 1096, 64], [5, 600, 72]] {
            let counts = check(&product(DType::F16, shape, transposed), &[], 2e-3);
            assert_eq!(counts.bank_conflicts, 0, "{transposed:?}");
        }
    }
}

/// `--precision` brings products of f32 to tensor cores.
#[test]
fn products_of_rounded_factors() {
    for (precision, tolerance) in [(Precision::F16, 2e-3), (Precision::BF16, 1.6e-2)] {
        let options = Options { native_halves: true, native_compounds: false, precision, ..Default::default() };
        let counts =
            check_with(&product(DType::F32, [70, 32, 40], [false, false]), &[], tolerance, &options, Products::F32);
        assert!(counts.tensor_flops > 0, "{precision:?}");
    }
}

#[test]
fn products_of_tf32() {
    let options = Options { native_halves: true, native_compounds: false, ..Default::default() };
    for transposed in [[false, false], [true, false], [false, true], [true, true]] {
        for shape in [[1, 8, 8], [70, 33, 65], [17, 40, 24], [64, 16, 64], [256, 48, 256]] {
            let counts = check_with(&product(DType::F32, shape, transposed), &[], 1e-3, &options, Products::Tf32);
            assert!(counts.tensor_flops > 0, "{transposed:?}");
            assert!(shape[0] < 256 || counts.bank_conflicts == 0, "{transposed:?}: {}", counts.bank_conflicts);
        }
    }
}

fn product(dtype: DType, [m, k, n]: [i64; 3], [a, b]: [bool; 2]) -> String {
    let side = |name: &str, transposed: bool, r: i64, c: i64| match transposed {
        false => (format!("%{name}: {dtype}[{r}, {c}]"), format!("%{name}"), String::new()),
        true => (
            format!("%{name}: {dtype}[{c}, {r}]"),
            format!("%{name}t"),
            format!("  %{name}t = transpose(%{name}) {{perm = [1, 0]}} : {dtype}[{r}, {c}]\n"),
        ),
    };
    let (a_input, a, a_text) = side("a", a, m, k);
    let (b_input, b, b_text) = side("b", b, k, n);
    format!(
        "graph @product({a_input}, {b_input}) {{\n{a_text}{b_text}  %c = matmul({a}, {b}) : {dtype}[{m}, {n}]\n  \
         %d = relu(%c) : {dtype}[{m}, {n}]\n  return \"y\" = %d\n}}\n"
    )
}

/// Shapes whose last axis holds whole groups of 16 bytes, and a broadcast operand.
#[test]
fn neighbours_in_memory() {
    for dtype in ["f32", "f16", "bf16", "i32", "u8"] {
        let graph = format!(
            "graph @wide(%x: {dtype}[N, 32], %y: {dtype}[32], %z: {dtype}[N, 1]) {{\n  %0 = add(%x, %y) : {dtype}[N, 32]\n  \
             %1 = add(%0, %z) : {dtype}[N, 32]\n  return \"y\" = %1\n}}\n"
        );
        let tolerance = if dtype.contains("16") { 1e-2 } else { 0.0 };
        check(&graph, &[("N", 19)], tolerance);
    }
}

/// Matrices of which either side is repeated for those of the other, as a run decides.
#[test]
fn batches_that_may_be_one() {
    for dtype in ["f32", "f16"] {
        let graph = format!(
            "graph @batches(%a: {dtype}[B, 20, 40], %b: {dtype}[C, 40, 24], %c: {dtype}[C, 20, 1]) {{\n  \
             %0 = matmul(%a, %b) : {dtype}[broadcast(B, C), 20, 24]\n  \
             %1 = add(%0, %c) : {dtype}[broadcast(B, C), 20, 24]\n  return \"y\" = %1\n}}\n"
        );
        let tolerance = if dtype == "f16" { 1e-2 } else { 1e-5 };
        for (b, c) in [(3, 1), (1, 3), (2, 2), (1, 1), (0, 1), (1, 0)] {
            check(&graph, &[("B", b), ("C", c)], tolerance);
        }
    }
}

/// Pointwise functions, data movement and reductions on odd shapes.
#[test]
fn scalar_kernels() {
    let unary =
        ["exp", "log", "erf", "tanh", "sigmoid", "silu", "gelu_tanh", "softplus", "sqrt", "floor", "neg", "sign"];
    for op in unary {
        let graph = format!(
            "graph @unary(%x: f32[N, 7]) {{\n  %a = abs(%x) : f32[N, 7]\n  %y = {op}(%a) : f32[N, 7]\n  return \"y\" = %y\n}}\n"
        );
        check(&graph, &[("N", 37)], 1e-6);
    }
    check(
        "graph @moved(%x: f32[N, 6, 8]) {\n  %0 = transpose(%x) {perm = [2, 0, 1]} : f32[8, N, 6]\n  %1 = neg(%0) : f32[8, N, 6]\n  return \"y\" = %1\n}\n",
        &[("N", 5)],
        0.0,
    );
    for function in ["sum", "mean", "max", "min", "prod"] {
        for dtype in ["f32", "f16", "f64"] {
            let graph = format!(
                "graph @reduced(%x: {dtype}[N, 9, 40]) {{\n  %0 = reduce(%x) {{function = {function}, axes = [2]}} : {dtype}[N, 9, 1]\n  %1 = reduce(%x) {{function = {function}, axes = [1]}} : {dtype}[N, 1, 40]\n  return \"y\" = %0, \"z\" = %1\n}}\n"
            );
            check(&graph, &[("N", 3)], if dtype == "f16" { 4e-3 } else { 1e-5 });
        }
    }
}
