//! Reductions and kernels of several stages.

use super::native::{Match, check};
use super::*;

const FUNCTIONS: &[ReduceFn] = &[ReduceFn::Sum, ReduceFn::Prod, ReduceFn::Max, ReduceFn::Min, ReduceFn::Mean];

/// `y[outer] = reduce x` over `inner`, where x is read at `at`.
fn reduction(function: ReduceFn, dtype: DType, x: &[Dim], at: &[Index], outer: &[Dim], inner: &[Dim]) -> Kernel {
    let indices: Vec<Index> = (0..outer.len()).map(ax).collect();
    let body = vec![load(0, at)];
    Kernel {
        params: vec![param(dtype, x, false), param(dtype, outer, true)],
        outer: axes(outer),
        stages: vec![reduce(function, inner, body.clone(), vec![store(&body, 1, &indices)])],
    }
}

fn tolerance(function: ReduceFn, dtype: DType) -> Match {
    match (dtype, function) {
        (_, ReduceFn::Max | ReduceFn::Min | ReduceFn::Any | ReduceFn::All) => Match::Exact,
        (DType::F16, _) => Match::Within(2e-3),
        (DType::BF16, _) => Match::Within(1.6e-2),
        (DType::F32 | DType::F64, _) => Match::Within(2e-5),
        _ => Match::Exact,
    }
}

/// Random elements of which sums and products stay finite.
fn elements(random: &mut Random, dtype: DType, shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    let values: Vec<f32> = (0..len).map(|_| random.moderate() / 2.0).collect();
    let data = match dtype {
        DType::F32 => Data::F32(values),
        DType::F64 => Data::F64(values.into_iter().map(f64::from).collect()),
        DType::F16 => Data::F16(values.into_iter().map(|x| ic_types::f32_to_f16(x.signum())).collect()),
        DType::BF16 => Data::BF16(values.into_iter().map(|x| ic_types::f32_to_bf16(x.signum())).collect()),
        dtype => random.data(dtype, len),
    };
    Tensor::new(shape.to_vec(), data)
}

#[test]
fn rows_of_every_length() {
    let mut random = Random(30);
    for &n in EXTENTS {
        for &function in FUNCTIONS {
            let kernel = reduction(function, DType::F32, &[c(3), c(n)], &[ax(0), ax(1)], &[c(3)], &[c(n)]);
            if n == 0 && function == ReduceFn::Mean {
                continue;
            }
            let buffers = [elements(&mut random, DType::F32, &[3, n as usize]), random.floats(&[3])];
            check(&kernel, &[], &buffers, tolerance(function, DType::F32));
        }
    }
}

#[test]
fn every_type() {
    let mut random = Random(31);
    let types = [
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U64,
        DType::U32,
        DType::U16,
        DType::U8,
    ];
    for dtype in types {
        for &function in FUNCTIONS {
            for columns in [false, true] {
                let (x, at) = if columns { ([c(21), c(37)], [ax(1), ax(0)]) } else { ([c(37), c(21)], [ax(0), ax(1)]) };
                let kernel = reduction(function, dtype, &x, &at, &[c(37)], &[c(21)]);
                let shape = if columns { [21, 37] } else { [37, 21] };
                let buffers = [elements(&mut random, dtype, &shape), elements(&mut random, dtype, &[37])];
                check(&kernel, &[], &buffers, tolerance(function, dtype));
            }
        }
    }
}

#[test]
fn bools() {
    let mut random = Random(32);
    for function in [ReduceFn::Any, ReduceFn::All] {
        for n in [0usize, 1, 3, 40] {
            let kernel =
                reduction(function, DType::Bool, &[c(9), c(n as i64)], &[ax(0), ax(1)], &[c(9)], &[c(n as i64)]);
            let buffers = [
                Tensor::new(vec![9, n], random.data(DType::Bool, 9 * n)),
                Tensor::new(vec![9], random.data(DType::Bool, 9)),
            ];
            check(&kernel, &[], &buffers, Match::Exact);
        }
    }
}

#[test]
fn not_a_number_wins() {
    for n in [5usize, 40] {
        for at in 0..n {
            let mut values = vec![1.0f32; n];
            values[at] = f32::NAN;
            for function in [ReduceFn::Max, ReduceFn::Min] {
                let kernel = reduction(function, DType::F32, &[c(n as i64)], &[ax(0)], &[], &[c(n as i64)]);
                let buffers = [Tensor::from_elements(vec![n], values.clone()), Tensor::scalar(0f32)];
                check(&kernel, &[], &buffers, Match::Exact);
            }
        }
    }
}

#[test]
fn columns_of_every_width() {
    // NHWC global pooling: x[2, h, w, n] over h, w.
    let mut random = Random(33);
    for n in [8, 9, 15, 16, 31, 64, 255, 256, 257, 700] {
        for function in [ReduceFn::Mean, ReduceFn::Max] {
            let at = [ax(0), ax(2), ax(3), ax(1)];
            let x = [c(2), c(3), c(5), c(n)];
            let kernel = reduction(function, DType::F32, &x, &at, &[c(2), c(n)], &[c(3), c(5)]);
            let n = n as usize;
            let buffers = [random.floats(&[2, 3, 5, n]), random.floats(&[2, n])];
            check(&kernel, &[], &buffers, tolerance(function, DType::F32));
        }
    }
}

#[test]
fn reduced_axes_that_do_not_merge() {
    // x[n, 3, m] over the first and last axis.
    let mut random = Random(34);
    for (n, m) in [(1, 1), (2, 7), (5, 16), (3, 33)] {
        let x = [c(n), c(3), c(m)];
        let kernel = reduction(ReduceFn::Sum, DType::F32, &x, &[ax(1), ax(0), ax(2)], &[c(3)], &[c(n), c(m)]);
        let buffers = [random.floats(&[n as usize, 3, m as usize]), random.floats(&[3])];
        check(&kernel, &[], &buffers, Match::Within(1e-5));
    }
}

/// `softmax(x)` over the last axis.
fn softmax(rows: &Dim, n: &Dim) -> Kernel {
    let at = [ax(0), ax(1)];
    let max = vec![load(0, &at)];
    let exp = vec![load(0, &at), Expr::Stage(0), apply(ScalarOp::Sub, &[0, 1]), apply(ScalarOp::Exp, &[2])];
    let sum = vec![Expr::Stage(1)];
    let quotient = vec![Expr::Stage(1), Expr::Stage(2), apply(ScalarOp::Div, &[0, 1])];
    let shape = [rows.clone(), n.clone()];
    let inner = [n.clone()];
    Kernel {
        params: vec![param(DType::F32, &shape, false), param(DType::F32, &shape, true)],
        outer: axes(&shape[..1]),
        stages: vec![
            reduce(ReduceFn::Max, &inner, max, vec![]),
            pointwise(&inner, exp, vec![]),
            reduce(ReduceFn::Sum, &inner, sum, vec![]),
            pointwise(&inner, quotient.clone(), vec![store(&quotient, 1, &at)]),
        ],
    }
}

#[test]
fn softmax_of_every_length() {
    let mut random = Random(35);
    for n in [0usize, 1, 3, 16, 17, 64, 511, 512, 513, 1100] {
        for (rows_dim, n_dim) in [(c(5), c(n as i64)), (Dim::symbol("R"), Dim::symbol("N"))] {
            let kernel = softmax(&rows_dim, &n_dim);
            let buffers = [random.floats(&[5, n]), random.floats(&[5, n])];
            check(&kernel, &[("N", n as i64), ("R", 5)], &buffers, Match::Within(1e-5));
        }
    }
}

/// A layer norm over the axis of extent `n`, which is the last of x or the one before it.
pub(super) fn layer_norm(rows: i64, n: i64, last: bool) -> Kernel {
    let (shape, at) = if last { ([c(rows), c(n)], [ax(0), ax(1)]) } else { ([c(n), c(rows)], [ax(1), ax(0)]) };
    let mean = vec![load(0, &at)];
    let centred = vec![load(0, &at), Expr::Stage(0), apply(ScalarOp::Sub, &[0, 1])];
    let variance = vec![Expr::Stage(1), apply(ScalarOp::Mul, &[0, 0])];
    let factor = vec![
        Expr::Stage(2),
        f32_const(1e-5),
        apply(ScalarOp::Add, &[0, 1]),
        apply(ScalarOp::Sqrt, &[2]),
        apply(ScalarOp::Reciprocal, &[3]),
    ];
    let result = vec![
        Expr::Stage(1),
        Expr::Stage(3),
        apply(ScalarOp::Mul, &[0, 1]),
        load(1, &[ax(1)]),
        apply(ScalarOp::Mul, &[2, 3]),
        load(2, &[ax(1)]),
        apply(ScalarOp::Add, &[4, 5]),
    ];
    let inner = [c(n)];
    Kernel {
        params: vec![
            param(DType::F32, &shape, false),
            param(DType::F32, &[c(n)], false),
            param(DType::F32, &[c(n)], false),
            param(DType::F32, &shape, true),
        ],
        outer: axes(&[c(rows)]),
        stages: vec![
            reduce(ReduceFn::Mean, &inner, mean, vec![]),
            pointwise(&inner, centred, vec![]),
            reduce(ReduceFn::Mean, &inner, variance, vec![]),
            pointwise(&[], factor, vec![]),
            pointwise(&inner, result.clone(), vec![store(&result, 3, &at)]),
        ],
    }
}

#[test]
fn layer_norms() {
    let mut random = Random(36);
    for last in [true, false] {
        for (rows, n) in [(1, 1), (3, 5), (9, 64), (40, 17), (300, 33)] {
            let kernel = layer_norm(rows, n, last);
            let (rows, n) = (rows as usize, n as usize);
            let shape = if last { [rows, n] } else { [n, rows] };
            let buffers = [random.floats(&shape), random.floats(&[n]), random.floats(&[n]), random.floats(&shape)];
            check(&kernel, &[], &buffers, Match::Within(2e-4));
        }
    }
}

#[test]
fn strips_of_values_per_row_and_column() {
    // y[i] = log(sum over j of exp(x)), by rows and by columns.
    let mut random = Random(37);
    for last in [true, false] {
        let (rows, n) = (300usize, 21usize);
        let (shape, at) = if last { ([c(300), c(21)], [ax(0), ax(1)]) } else { ([c(21), c(300)], [ax(1), ax(0)]) };
        let sum = vec![load(0, &at), apply(ScalarOp::Exp, &[0])];
        let log = vec![Expr::Stage(0), apply(ScalarOp::Log, &[0])];
        let kernel = Kernel {
            params: vec![param(DType::F32, &shape, false), param(DType::F32, &[c(300)], true)],
            outer: axes(&[c(300)]),
            stages: vec![
                reduce(ReduceFn::Sum, &[c(21)], sum, vec![]),
                pointwise(&[], log.clone(), vec![store(&log, 1, &[ax(0)])]),
            ],
        };
        let x = if last { [rows, n] } else { [n, rows] };
        check(&kernel, &[], &[random.floats(&x), random.floats(&[rows])], Match::Within(1e-5));
    }
}

#[test]
fn softmax_by_columns_keeps_a_block() {
    // Over the first axis of x[n, m].
    let mut random = Random(38);
    for (n, m) in [(3usize, 8usize), (7, 300), (20, 65)] {
        let mut kernel = softmax(&c(m as i64), &c(n as i64));
        let shape = vec![c(n as i64), c(m as i64)];
        let swap = |indices: &mut Vec<Index>| indices.reverse();
        for param in &mut kernel.params {
            param.shape.clone_from(&shape);
        }
        for stage in &mut kernel.stages {
            for expr in &mut stage.body {
                if let Expr::Load(load) = expr {
                    swap(&mut load.indices);
                }
            }
            stage.stores.iter_mut().for_each(|store| swap(&mut store.indices));
        }
        check(&kernel, &[], &[random.floats(&[n, m]), random.floats(&[n, m])], Match::Within(1e-5));
    }
}

#[test]
fn padded_reductions_keep_their_lanes() {
    // sum over j of (3 <= j < 40 ? x[i, j - 3] : 1).
    let mut random = Random(39);
    let at = ax(1).plus(&Index::constant(c(-3)));
    let bound = ic_ir::kernel::Bound { index: ax(1), low: c(3), high: c(40) };
    let read = Load { param: 0, indices: vec![ax(0), at], gathered: vec![], bounds: vec![bound], otherwise: Some(0) };
    let body = vec![f32_const(1.0), Expr::Load(read)];
    let kernel = Kernel {
        params: vec![param(DType::F32, &[c(4), c(37)], false), param(DType::F32, &[c(4)], true)],
        outer: axes(&[c(4)]),
        stages: vec![reduce(ReduceFn::Sum, &[c(50)], body.clone(), vec![store(&body, 1, &[ax(0)])])],
    };
    check(&kernel, &[], &[random.floats(&[4, 37]), random.floats(&[4])], Match::Within(1e-5));
}

#[test]
fn extremes_of_the_same_elements() {
    let mut random = Random(39);
    for (outer, inner) in [(3, 40), (1, 33), (2, 9000), (5, 16), (4, 4097)] {
        // Both, and the range between them.
        let row = [c(inner)];
        let body = vec![load(0, &[ax(0), ax(1)])];
        let range = vec![Expr::Stage(1), Expr::Stage(0), apply(ScalarOp::Sub, &[0, 1])];
        let kernel = Kernel {
            params: vec![
                param(DType::F32, &[c(outer), c(inner)], false),
                param(DType::F32, &[c(outer)], true),
                param(DType::F32, &[c(outer)], true),
            ],
            outer: axes(&[c(outer)]),
            stages: vec![
                reduce(ReduceFn::Min, &row, body.clone(), vec![store(&body, 1, &[ax(0)])]),
                reduce(ReduceFn::Max, &row, body, vec![]),
                pointwise(&[], range.clone(), vec![store(&range, 2, &[ax(0)])]),
            ],
        };
        let (outer, inner) = (outer as usize, inner as usize);
        let buffers = [random.floats(&[outer, inner]), random.floats(&[outer]), random.floats(&[outer])];
        check(&kernel, &[], &buffers, Match::Exact);
    }
}
