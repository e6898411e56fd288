//! Trees against the interpreter of Kernel IR, and what their text looks like.

use super::{Spelling, eval_kernel, lower_kernel};
use crate::target::AscendTarget;
use ic_ir::kernel::{
    Anchor, Axis, Bound, Buffer, BufferKind, Expr, ExprId, Index, Kernel, Load, Operand, Param, Program, Stage, Step,
    Store, eval_program,
};
use ic_ir::ops::Matmul;
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_ir::{OpError, TensorType};
use ic_types::{DType, Data, Dim, Tensor};

fn c(value: usize) -> Dim {
    Dim::constant(value as i64)
}

fn axes(extents: &[usize]) -> Vec<Axis> {
    extents.iter().map(|&extent| Axis { extent: c(extent) }).collect()
}

/// `offset + Σ stride · axis`.
fn at(offset: usize, strides: &[usize]) -> Vec<Index> {
    let start = Index::constant(c(offset));
    vec![strides.iter().enumerate().fold(start, |sum, (axis, &stride)| sum.plus(&Index::axis(axis).times(&c(stride))))]
}

fn param(len: usize, is_output: bool) -> Param {
    Param { dtype: DType::F32, shape: vec![c(len)], is_output }
}

fn load(param: u32, indices: Vec<Index>) -> Expr {
    Expr::Load(Load { param, indices, gathered: vec![], bounds: vec![], otherwise: None })
}

fn apply(op: ScalarOp, args: &[ExprId]) -> Expr {
    Expr::Apply(op, args.to_vec())
}

fn number(value: f32) -> Expr {
    Expr::Const(DType::F32, value.to_bits().into())
}

fn store(value: ExprId, param: u32, indices: Vec<Index>) -> Store {
    Store { value, param, indices, bounds: vec![] }
}

fn stage(anchor: Anchor, inner: &[usize], body: Vec<Expr>, stores: Vec<Store>) -> Stage {
    Stage { inner: axes(inner), anchor, body, stores }
}

/// Softmax of `rows × columns`.
fn softmax(rows: usize, columns: usize) -> Kernel {
    let whole = || at(0, &[columns, 1]);
    let stages = vec![
        stage(Anchor::Reduce(ReduceFn::Max), &[columns], vec![load(0, whole())], vec![]),
        stage(
            Anchor::Pointwise,
            &[columns],
            vec![load(0, whole()), Expr::Stage(0), apply(ScalarOp::Sub, &[0, 1]), apply(ScalarOp::Exp, &[2])],
            vec![],
        ),
        stage(Anchor::Reduce(ReduceFn::Sum), &[columns], vec![Expr::Stage(1)], vec![]),
        stage(
            Anchor::Pointwise,
            &[columns],
            vec![Expr::Stage(1), Expr::Stage(2), apply(ScalarOp::Div, &[0, 1])],
            vec![store(2, 1, whole())],
        ),
    ];
    Kernel { params: vec![param(rows * columns, false), param(rows * columns, true)], outer: axes(&[rows]), stages }
}

/// A transposed, scaled read with a row added, stored twice.
fn transposed(rows: usize, columns: usize) -> Kernel {
    let body = vec![
        load(0, at(0, &[1, rows])),
        load(1, at(0, &[0, 1])),
        apply(ScalarOp::Add, &[0, 1]),
        number(0.5),
        apply(ScalarOp::Mul, &[2, 3]),
        apply(ScalarOp::Gelu, &[4]),
    ];
    let stores = vec![store(4, 2, at(0, &[columns, 1])), store(5, 3, at(0, &[1, rows]))];
    let n = rows * columns;
    let params = vec![param(n, false), param(columns, false), param(n, true), param(n, true)];
    Kernel { params, outer: axes(&[rows, columns]), stages: vec![stage(Anchor::Pointwise, &[], body, stores)] }
}

/// A border of ones around `rows × columns`, in the right part of a wider buffer.
fn bordered(rows: usize, columns: usize) -> Kernel {
    let (height, width) = (rows + 2, columns + 1);
    let bound = |axis: usize, low: usize, high: usize| Bound { index: Index::axis(axis), low: c(low), high: c(high) };
    let inside = Index::axis(0).times(&c(columns)).plus(&Index::axis(1));
    let inside = inside.plus(&Index::constant(Dim::constant(-(columns as i64))));
    let read = Load {
        param: 0,
        indices: vec![inside],
        gathered: vec![],
        bounds: vec![bound(0, 1, rows + 1), bound(1, 0, columns)],
        otherwise: Some(0),
    };
    let body = vec![number(1.0), Expr::Load(read)];
    let stores = vec![store(1, 1, at(3, &[width + 3, 1]))];
    let params = vec![param(rows * columns, false), param(height * (width + 3), true)];
    Kernel { params, outer: axes(&[height, width]), stages: vec![stage(Anchor::Pointwise, &[], body, stores)] }
}

/// `b` transposed or not, with bias, residual and relu.
fn contraction(batch: usize, [m, n, k]: [usize; 3], transposed: bool) -> Kernel {
    let view = |param: u32, shape: [usize; 3], strides: [usize; 3]| {
        Some(Operand { param, shape: shape.map(c).to_vec(), strides: strides.map(c).to_vec(), offset: c(0) })
    };
    let b = if transposed { [n * k, 1, k] } else { [0, n, 1] };
    let operands = vec![view(0, [batch, m, k], [m * k, k, 1]), view(1, [batch, k, n], b)];
    let product = Anchor::Op { op: Matmul {}.into(), operands, results: vec![None] };
    let whole = || vec![Index::axis(0), Index::axis(1), Index::axis(2)];
    let body = vec![
        Expr::Stage(0),
        load(2, vec![Index::axis(2)]),
        apply(ScalarOp::Add, &[0, 1]),
        load(3, whole()),
        apply(ScalarOp::Add, &[2, 3]),
        apply(ScalarOp::Relu, &[4]),
    ];
    let shaped = |shape: &[usize], is_output| Param {
        dtype: DType::F32,
        shape: shape.iter().map(|&extent| c(extent)).collect(),
        is_output,
    };
    let weights = if transposed { batch * n * k } else { n * k };
    Kernel {
        params: vec![
            shaped(&[batch, m, k], false),
            shaped(&[weights], false),
            shaped(&[n], false),
            shaped(&[batch, m, n], false),
            shaped(&[batch, m, n], true),
        ],
        outer: axes(&[batch, m, n]),
        stages: vec![
            stage(product, &[], vec![], vec![]),
            stage(Anchor::Pointwise, &[], body, vec![store(5, 4, whole())]),
        ],
    }
}

/// Kernels of every form, by name.
pub(super) fn kernels() -> Vec<(String, Kernel)> {
    let mut kernels = Vec::new();
    for (rows, columns) in [(1, 1), (1, 7), (5, 1), (3, 16), (17, 33)] {
        kernels.push((format!("softmax {rows}x{columns}"), softmax(rows, columns)));
        kernels.push((format!("transposed {rows}x{columns}"), transposed(rows, columns)));
        kernels.push((format!("bordered {rows}x{columns}"), bordered(rows, columns)));
    }
    for extents in [[1, 1, 1], [1, 17, 5], [16, 16, 64], [65, 66, 67], [3, 130, 20]] {
        for (batch, transposed) in [(1, false), (3, false), (2, true)] {
            let name = format!("contraction {batch} x {extents:?} {transposed}");
            kernels.push((name, contraction(batch, extents, transposed)));
        }
    }
    kernels
}

/// Runs a kernel in the interpreter of Kernel IR; outputs begin as NaN.
fn reference(kernel: &Kernel, inputs: &[Tensor]) -> Vec<Tensor> {
    let (mut n_in, mut n_out) = (0, 0);
    let mut program = Program::default();
    for param in &kernel.params {
        let count = if param.is_output { &mut n_out } else { &mut n_in };
        let kind = if param.is_output { BufferKind::Output(*count) } else { BufferKind::Input(*count) };
        *count += 1;
        let ty = TensorType::new(param.dtype, param.shape.clone());
        program.buffers.push(Buffer { ty, kind });
    }
    program.outputs = (0..n_out).map(|i| i.to_string().into()).collect();
    let args = (0..kernel.params.len() as u32).collect();
    program.steps.push(Step::Kernel { kernel: kernel.clone(), args, location: "test".into() });
    let constants = |_| Err(OpError::new("no constants"));
    eval_program(&program, &constants, inputs, &Default::default()).unwrap()
}

#[test]
fn trees_compute_what_kernels_do() {
    for (name, kernel) in kernels() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let len = |param: &Param| param.shape.iter().map(|d| d.as_const().unwrap() as usize).product::<usize>();
        let mut params: Vec<Tensor> = Vec::new();
        for param in &kernel.params {
            let fill = |_| if param.is_output { f32::NAN } else { random() };
            params.push(Tensor::from_elements(vec![len(param)], (0..len(param)).map(fill).collect::<Vec<f32>>()));
        }
        let of = |is_output: bool| kernel.params.iter().enumerate().filter(move |(_, p)| p.is_output == is_output);
        let inputs: Vec<Tensor> = of(false)
            .map(|(i, p)| {
                let shape = p.shape.iter().map(|d| d.as_const().unwrap() as usize).collect();
                params[i].clone().reshaped(shape)
            })
            .collect();
        let expected = reference(&kernel, &inputs);
        for target in [AscendTarget::A910b] {
            let lowered = lower_kernel(&kernel, target).unwrap_or_else(|e| panic!("{name}: {e}\n{kernel}")).unwrap();
            let mut params = params.clone();
            eval_kernel(&lowered, &mut params).unwrap();
            for ((i, _), expected) in of(true).zip(&expected) {
                let (Data::F32(a), Data::F32(b)) = (expected.data(), params[i].data()) else { panic!("{name}") };
                let close = |a: &f32, b: &f32| (a - b).abs() <= 1e-5 * a.abs().max(1.0) || a.is_nan() && b.is_nan();
                assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)), "{name}\n{kernel}");
            }
        }
    }
}

#[test]
fn a_softmax_is_one_function_of_named_ops() {
    let kernel = softmax(64, 512);
    let lowered = lower_kernel(&kernel, AscendTarget::A910b).unwrap().unwrap();
    let text = lowered.text(&kernel, "softmax", Spelling::Vendor);
    assert_eq!(text.matches("func.func").count(), 1);
    assert_eq!(text.matches("linalg.reduce").count(), 2);
    assert!(!text.contains("linalg.generic"), "{text}");
    let upstream = lowered.text(&kernel, "softmax", Spelling::Upstream);
    assert!(upstream.contains("linalg.generic") && !upstream.contains("elemwise"), "{upstream}");
}

#[test]
fn batches_that_share_weights_are_rows() {
    let kernel = contraction(3, [5, 6, 7], false);
    let super::AscendKernel::Cube(cube) = lower_kernel(&kernel, AscendTarget::A910b).unwrap().unwrap() else {
        panic!("a contraction is for the cube unit")
    };
    assert_eq!((cube.batch.len(), cube.m.clone()), (0, c(15)));
    assert!(cube.is_mixed());
}

#[test]
fn symbolic_extents_are_read_from_arguments() {
    let symbol = |name: &str| vec![Axis { extent: Dim::symbol(name) }];
    let mut kernel = softmax(2, 3);
    kernel.outer = symbol("N");
    kernel.params.iter_mut().for_each(|param| param.shape = vec![Dim::symbol("N") * c(3)]);
    let lowered = lower_kernel(&kernel, AscendTarget::A910b).unwrap().unwrap();
    let text = lowered.text(&kernel, "softmax", Spelling::Vendor);
    assert!(text.contains("@softmax(%a0: tensor<?x3xf32>) -> (tensor<?x3xf32>)"), "{text}");
    assert_eq!(text.matches("tensor.dim").count(), 1, "{text}");
    // The argument's rows and the result's.
    assert_eq!(lowered.launch_dims(), [Dim::symbol("N"), Dim::symbol("N")]);

    let mut kernel = contraction(1, [2, 5, 7], false);
    kernel.outer[1].extent = Dim::symbol("M");
    for param in [0, 3, 4] {
        kernel.params[param].shape[1] = Dim::symbol("M");
    }
    let Anchor::Op { operands, .. } = &mut kernel.stages[0].anchor else { panic!("a contraction") };
    if let Some(a) = &mut operands[0] {
        a.shape[1] = Dim::symbol("M");
        a.strides[0] = Dim::symbol("M") * c(7);
    }
    let lowered = lower_kernel(&kernel, AscendTarget::A910b).unwrap().unwrap();
    let text = lowered.text(&kernel, "product", Spelling::Vendor);
    assert_eq!(lowered.launch_dims(), [Dim::symbol("M")]);
    assert!(text.contains("%d0: i32, %gx: i32"), "{text}");
    assert_eq!(lowered.grid()[0], Dim::symbol("M").ceil_div(&c(64)));
}

#[test]
fn f32_on_the_310p_is_refused() {
    let error = lower_kernel(&contraction(1, [2, 2, 2], false), AscendTarget::A310p).unwrap_err();
    assert!(error.contains("f16"), "{error}");
}
