//! Pointwise kernels: shapes, broadcasting, strides, bounds, gathers, strips.

use super::native::{Match, check};
use super::*;
use ic_ir::kernel::Bound;

#[test]
fn sums_of_every_length() {
    let mut random = Random(1);
    for &n in EXTENTS {
        let body = vec![load(0, &[ax(0)]), load(1, &[ax(0)]), apply(ScalarOp::Add, &[0, 1])];
        let kernel = elementwise(&[c(n)], &[DType::F32; 3], body);
        let buffers: Vec<Tensor> = (0..3).map(|_| random.floats(&[n as usize])).collect();
        check(&kernel, &[], &buffers, Match::Exact);
    }
}

#[test]
fn symbolic_extents() {
    let mut random = Random(2);
    let (n, m) = (Dim::symbol("N"), Dim::symbol("M"));
    let at = [ax(0), ax(1)];
    let body = vec![load(0, &at), load(1, &at), apply(ScalarOp::Mul, &[0, 1])];
    let kernel = elementwise(&[n, m], &[DType::F32; 3], body);
    for (n, m) in [(1, 1), (3, 5), (7, 64), (0, 4), (2, 1000)] {
        let buffers: Vec<Tensor> = (0..3).map(|_| random.floats(&[n, m])).collect();
        check(&kernel, &[("N", n as i64), ("M", m as i64)], &buffers, Match::Exact);
    }
}

#[test]
fn operands_broadcast() {
    let mut random = Random(3);
    for &n in EXTENTS {
        // x[2, 3, n] * row[n] + column[3, 1] - scalar[]
        let body = vec![
            load(0, &[ax(0), ax(1), ax(2)]),
            load(1, &[ax(2)]),
            load(2, &[ax(1), Index::default()]),
            load(3, &[]),
            apply(ScalarOp::Mul, &[0, 1]),
            apply(ScalarOp::Add, &[4, 2]),
            apply(ScalarOp::Sub, &[5, 3]),
        ];
        let shape = [c(2), c(3), c(n)];
        let kernel = Kernel {
            params: vec![
                param(DType::F32, &shape, false),
                param(DType::F32, &[c(n)], false),
                param(DType::F32, &[c(3), c(1)], false),
                param(DType::F32, &[], false),
                param(DType::F32, &shape, true),
            ],
            outer: axes(&shape),
            stages: vec![pointwise(&[], body.clone(), vec![store(&body, 4, &[ax(0), ax(1), ax(2)])])],
        };
        let n = n as usize;
        let buffers = [&[2, 3, n][..], &[n], &[3, 1], &[], &[2, 3, n]].map(|shape| random.floats(shape));
        check(&kernel, &[], &buffers, Match::Exact);
    }
}

#[test]
fn transposed_reads() {
    let mut random = Random(4);
    for dtype in [DType::F32, DType::I64, DType::U8] {
        for (n, m) in [(1, 7), (5, 4), (17, 33)] {
            let body = vec![load(0, &[ax(1), ax(0)])];
            let kernel = Kernel {
                params: vec![param(dtype, &[c(m), c(n)], false), param(dtype, &[c(n), c(m)], true)],
                outer: axes(&[c(n), c(m)]),
                stages: vec![pointwise(&[], body.clone(), vec![store(&body, 1, &[ax(0), ax(1)])])],
            };
            let (n, m) = (n as usize, m as usize);
            let buffers = [
                Tensor::new(vec![m, n], random.data(dtype, n * m)),
                Tensor::new(vec![n, m], Data::zeros(dtype, n * m)),
            ];
            check(&kernel, &[], &buffers, Match::Exact);
        }
    }
}

#[test]
fn divided_indices() {
    // y[i] = x[(i - 3) // 2, i % 5] over a symbolic extent.
    let mut random = Random(5);
    let n = Dim::symbol("N");
    let shifted = ax(0).plus(&Index::constant(c(-3)));
    let extents = [n.clone()];
    let row = shifted.floor_div(&c(2), &extents).plus(&Index::constant(c(2)));
    let column = shifted.modulo(&c(5), &extents);
    let body =
        vec![load(0, &[row, column]), Expr::Index(ax(0)), Expr::Cast(DType::F32, 1), apply(ScalarOp::Add, &[0, 2])];
    let kernel = Kernel {
        params: vec![param(DType::F32, &[n.clone(), c(5)], false), param(DType::F32, &[n], true)],
        outer: axes(&extents),
        stages: vec![pointwise(&[], body.clone(), vec![store(&body, 1, &[ax(0)])])],
    };
    for n in [4, 9, 40] {
        let buffers = [random.floats(&[n, 5]), random.floats(&[n])];
        check(&kernel, &[("N", n as i64)], &buffers, Match::Exact);
    }
}

/// `y[r, i] = low <= i * scale + offset < high ? x[r, that] : otherwise`, with a symbolic `low`.
fn padded(scale: i64, n: i64, m: i64, dtype: DType) -> Kernel {
    let start = if scale < 0 { c(n - 1) } else { -Dim::symbol("P") };
    let at = ax(1).times(&c(scale)).plus(&Index::constant(start));
    let bound = Bound { index: at.clone(), low: c(0), high: c(n) };
    let value = if dtype == DType::F32 { f32_const(-1.5) } else { Expr::Const(dtype, 7) };
    let read = Load { param: 0, indices: vec![ax(0), at], gathered: vec![], bounds: vec![bound], otherwise: Some(0) };
    let body = vec![value, Expr::Load(read)];
    Kernel {
        params: vec![param(dtype, &[c(3), c(n)], false), param(dtype, &[c(3), c(m)], true)],
        outer: axes(&[c(3), c(m)]),
        stages: vec![pointwise(&[], body.clone(), vec![store(&body, 1, &[ax(0), ax(1)])])],
    }
}

#[test]
fn padding() {
    let mut random = Random(6);
    for dtype in [DType::F32, DType::I64, DType::I16] {
        for (scale, n, m, p) in [(1, 5, 30, 4), (1, 40, 30, 0), (1, 9, 30, 100), (-1, 20, 33, 0), (2, 20, 17, 3)] {
            let kernel = padded(scale, n, m, dtype);
            let data = random.data(dtype, 3 * n as usize);
            let buffers = [
                Tensor::new(vec![3, n as usize], data),
                Tensor::new(vec![3, m as usize], Data::zeros(dtype, 3 * m as usize)),
            ];
            check(&kernel, &[("P", p)], &buffers, Match::Exact);
        }
    }
}

#[test]
fn concatenation_reads_each_piece() {
    // Along the last axis and along the first.
    let mut random = Random(7);
    for axis in [0, 1] {
        let piece = |n: i64| if axis == 1 { [c(6), c(n)] } else { [c(n), c(6)] };
        let total = piece(5 + 17);
        let at = |offset: i64| {
            let mut indices = vec![ax(0), ax(1)];
            indices[axis] = indices[axis].plus(&Index::constant(c(-offset)));
            indices
        };
        let bound = |low: i64, high: i64| Bound { index: ax(axis), low: c(low), high: c(high) };
        let read = |param, offset, bounds, otherwise| {
            Expr::Load(Load { param, indices: at(offset), gathered: vec![], bounds, otherwise })
        };
        let body =
            vec![f32_const(f32::NAN), read(1, 5, vec![bound(5, 22)], Some(0)), read(0, 0, vec![bound(0, 5)], Some(1))];
        let kernel = Kernel {
            params: vec![
                param(DType::F32, &piece(5), false),
                param(DType::F32, &piece(17), false),
                param(DType::F32, &total, true),
            ],
            outer: axes(&total),
            stages: vec![pointwise(&[], body.clone(), vec![store(&body, 2, &[ax(0), ax(1)])])],
        };
        let shape = |n: usize| if axis == 1 { [6, n] } else { [n, 6] };
        let buffers = [random.floats(&shape(5)), random.floats(&shape(17)), random.floats(&shape(22))];
        check(&kernel, &[], &buffers, Match::Exact);
    }
}

#[test]
fn bounded_stores_leave_the_rest() {
    let mut random = Random(8);
    let body = vec![load(0, &[ax(0)])];
    let bounds = vec![Bound { index: ax(0), low: c(3), high: c(21) }];
    let kernel = Kernel {
        params: vec![param(DType::F32, &[c(37)], false), param(DType::F32, &[c(37)], true)],
        outer: axes(&[c(37)]),
        stages: vec![pointwise(&[], body, vec![Store { value: 0, param: 1, indices: vec![ax(0)], bounds }])],
    };
    check(&kernel, &[], &[random.floats(&[37]), random.floats(&[37])], Match::Exact);
}

#[test]
fn gathers_clamp_and_count_from_the_end() {
    // y[i, j] = table[ids[i], j] and y[i, j] = table[j, ids[i]] with ids out of range.
    let mut random = Random(9);
    for index_type in [DType::I64, DType::I32] {
        for (gathered, d) in [(0u32, 19i64), (1, 6)] {
            let extent = if gathered == 0 { Dim::symbol("V") } else { c(9) };
            let shape = if gathered == 0 { [extent, c(d)] } else { [c(d), extent] };
            let body = vec![
                load(1, &[ax(0)]),
                Expr::Load(Load {
                    param: 0,
                    indices: vec![
                        if gathered == 0 { Index::default() } else { ax(1) },
                        if gathered == 0 { ax(1) } else { Index::default() },
                    ],
                    gathered: vec![(gathered, 0)],
                    bounds: vec![],
                    otherwise: None,
                }),
            ];
            let kernel = Kernel {
                params: vec![
                    param(DType::F32, &shape, false),
                    param(index_type, &[c(7)], false),
                    param(DType::F32, &[c(7), c(d)], true),
                ],
                outer: axes(&[c(7), c(d)]),
                stages: vec![pointwise(&[], body.clone(), vec![store(&body, 2, &[ax(0), ax(1)])])],
            };
            let ids = [0i64, 8, -1, -9, 3, 100, -100];
            let ids = match index_type {
                DType::I64 => Tensor::from_elements(vec![7], ids.to_vec()),
                _ => Tensor::from_elements(vec![7], ids.map(|i| i as i32).to_vec()),
            };
            let table = if gathered == 0 { [9, d as usize] } else { [d as usize, 9] };
            let buffers = [random.floats(&table), ids, random.floats(&[7, d as usize])];
            check(&kernel, &[("V", 9)], &buffers, Match::Exact);
        }
    }
}

#[test]
fn gathers_along_the_vector_axis() {
    let mut random = Random(10);
    let body = vec![
        load(1, &[ax(1)]),
        Expr::Load(Load {
            param: 0,
            indices: vec![ax(0), Index::default()],
            gathered: vec![(1, 0)],
            bounds: vec![],
            otherwise: None,
        }),
    ];
    let kernel = Kernel {
        params: vec![
            param(DType::F32, &[c(3), c(9)], false),
            param(DType::I64, &[c(21)], false),
            param(DType::F32, &[c(3), c(21)], true),
        ],
        outer: axes(&[c(3), c(21)]),
        stages: vec![pointwise(&[], body.clone(), vec![store(&body, 2, &[ax(0), ax(1)])])],
    };
    let ids = Tensor::from_elements(vec![21], (0..21).map(|i| (i * 5) % 13 - 4).collect::<Vec<i64>>());
    check(&kernel, &[], &[random.floats(&[3, 9]), ids, random.floats(&[3, 21])], Match::Exact);
}

#[test]
fn strips_run_in_blocks() {
    // y = tanh(exp(-x * x) + a) * pow(|x|, b), where a is a scalar and its own exponential is uniform.
    let mut random = Random(11);
    for n in [0, 1, 3, 17, 511, 512, 513, 1500] {
        let body = vec![
            load(0, &[ax(0), ax(1)]),
            apply(ScalarOp::Mul, &[0, 0]),
            apply(ScalarOp::Neg, &[1]),
            apply(ScalarOp::Exp, &[2]),
            load(1, &[]),
            apply(ScalarOp::Exp, &[4]),
            apply(ScalarOp::Add, &[3, 5]),
            apply(ScalarOp::Tanh, &[6]),
            apply(ScalarOp::Abs, &[0]),
            load(2, &[ax(1)]),
            apply(ScalarOp::Pow, &[8, 9]),
            apply(ScalarOp::Mul, &[7, 10]),
        ];
        let shape = [c(2), c(n)];
        let kernel = Kernel {
            params: vec![
                param(DType::F32, &shape, false),
                param(DType::F32, &[], false),
                param(DType::F32, &[c(n)], false),
                param(DType::F32, &shape, true),
            ],
            outer: axes(&shape),
            stages: vec![pointwise(&[], body.clone(), vec![store(&body, 3, &[ax(0), ax(1)])])],
        };
        let n = n as usize;
        let buffers = [random.floats(&[2, n]), random.floats(&[]), random.floats(&[n]), random.floats(&[2, n])];
        check(&kernel, &[], &buffers, Match::Within(1e-5));
    }
}

#[test]
fn a_single_strip_needs_no_copies() {
    let mut random = Random(12);
    for n in [1, 7, 600] {
        let body = vec![load(0, &[ax(0)]), apply(ScalarOp::Gelu, &[0])];
        let kernel = elementwise(&[c(n)], &[DType::F32; 2], body);
        let n = n as usize;
        check(&kernel, &[], &[random.floats(&[n]), random.floats(&[n])], Match::Within(1e-6));
    }
}

#[test]
fn stages_without_inner_axes_are_one_pass() {
    let mut random = Random(13);
    let first = vec![load(0, &[ax(0)]), load(0, &[ax(0)]), apply(ScalarOp::Mul, &[0, 1])];
    let second = vec![Expr::Stage(0), load(0, &[ax(0)]), apply(ScalarOp::Sub, &[0, 1])];
    let kernel = Kernel {
        params: (0..3).map(|i| param(DType::F32, &[c(50)], i > 0)).collect(),
        outer: axes(&[c(50)]),
        stages: vec![
            pointwise(&[], first.clone(), vec![store(&first, 1, &[ax(0)])]),
            pointwise(&[], second.clone(), vec![store(&second, 2, &[ax(0)])]),
        ],
    };
    let buffers = [random.floats(&[50]), random.floats(&[50]), random.floats(&[50])];
    check(&kernel, &[], &buffers, Match::Exact);
}

#[test]
fn rank_zero() {
    let body = vec![load(0, &[]), apply(ScalarOp::Exp, &[0])];
    let kernel = elementwise(&[], &[DType::F32; 2], body);
    check(&kernel, &[], &[Tensor::scalar(1.5f32), Tensor::scalar(0f32)], Match::Within(1e-6));
}
