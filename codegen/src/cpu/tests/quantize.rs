//! Kernels that end in 8-bit integers with one scale or several, and values that several passes need.

use super::native::{Match, check};
use super::*;

/// `min(max(round(x / scale) + zero, low), high)` of the last expression, whose parameters are loaded at `at`.
fn quantized(mut body: Vec<Expr>, params: (u32, u32), at: &[Index], to: DType) -> Vec<Expr> {
    let x = body.len() as ExprId - 1;
    body.push(load(params.0, at));
    body.push(apply(ScalarOp::Div, &[x, x + 1]));
    rounded(body, params.1, at, to)
}

/// `min(max(round(x) + zero, low), high)` of the last expression.
fn rounded(mut body: Vec<Expr>, zero: u32, at: &[Index], to: DType) -> Vec<Expr> {
    let (low, high) = if to == DType::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let x = body.len() as ExprId - 1;
    body.push(apply(ScalarOp::Round, &[x]));
    body.push(load(zero, at));
    body.push(Expr::Cast(DType::F32, x + 2));
    body.push(apply(ScalarOp::Add, &[x + 1, x + 3]));
    body.push(f32_const(low));
    body.push(apply(ScalarOp::Max, &[x + 4, x + 5]));
    body.push(f32_const(high));
    body.push(apply(ScalarOp::Min, &[x + 6, x + 7]));
    body.push(Expr::Cast(to, x + 8));
    body
}

fn scales(random: &mut Random, n: usize) -> Tensor {
    Tensor::from_elements(vec![n], (0..n).map(|_| random.moderate().abs() + 0.01).collect::<Vec<f32>>())
}

#[test]
fn one_scale_and_several() {
    let mut random = Random(70);
    for to in [DType::U8, DType::I8] {
        for several in [false, true] {
            for &n in &[1, 31, 32, 33, 511, 512, 513, 1100] {
                for functions in
                    [vec![], vec![ScalarOp::Neg], vec![ScalarOp::Tanh], vec![ScalarOp::Tanh, ScalarOp::Neg]]
                {
                    let is_divided = n % 2 == 1;
                    let mut body = vec![load(0, &[ax(0), ax(1)])];
                    functions.iter().for_each(|&op| body.push(apply(op, &[body.len() as ExprId - 1])));
                    let at = if several { ax(1) } else { Index::default() };
                    let body = match is_divided {
                        true => quantized(body, (1, 2), &[at], to),
                        false => rounded(body, 2, &[at], to),
                    };
                    let (shape, parameters) = ([c(2), c(n)], [c(if several { n } else { 1 })]);
                    let kernel = Kernel {
                        params: vec![
                            param(DType::F32, &shape, false),
                            param(DType::F32, &parameters, false),
                            param(to, &parameters, false),
                            param(to, &shape, true),
                        ],
                        outer: axes(&shape),
                        stages: vec![pointwise(&[], body.clone(), vec![store(&body, 3, &[ax(0), ax(1)])])],
                    };
                    let (n, count) = (n as usize, if several { n as usize } else { 1 });
                    let buffers = [
                        Tensor::new(vec![2, n], random.data(DType::F32, 2 * n)),
                        scales(&mut random, count),
                        Tensor::new(vec![count], random.data(to, count)),
                        Tensor::new(vec![2, n], Data::zeros(to, 2 * n)),
                    ];
                    check(&kernel, &[], &buffers, Match::Exact);
                }
            }
        }
    }
}

#[test]
fn softmax_from_bytes_to_bytes() {
    let mut random = Random(71);
    let m = Dim::symbol("M");
    let at = [ax(0), ax(1)];
    let dequantized = vec![
        load(0, &at),
        Expr::Cast(DType::F32, 0),
        f32_const(31.0),
        apply(ScalarOp::Sub, &[1, 2]),
        f32_const(0.125),
        apply(ScalarOp::Mul, &[3, 4]),
        load(1, &[ax(1)]),
        apply(ScalarOp::Add, &[5, 6]),
    ];
    let quotient = vec![Expr::Stage(2), Expr::Stage(3), apply(ScalarOp::Div, &[0, 1])];
    let last = quantized(quotient, (2, 3), &[Index::default()], DType::U8);
    let row = [m.clone()];
    let kernel = Kernel {
        params: vec![
            param(DType::U8, &[c(3), m.clone()], false),
            param(DType::F32, &row, false),
            param(DType::F32, &[c(1)], false),
            param(DType::U8, &[c(1)], false),
            param(DType::U8, &[c(3), m], true),
        ],
        outer: axes(&[c(3)]),
        stages: vec![
            pointwise(&row, dequantized, vec![]),
            reduce(ReduceFn::Max, &row, vec![Expr::Stage(0)], vec![]),
            pointwise(
                &row,
                vec![Expr::Stage(0), Expr::Stage(1), apply(ScalarOp::Sub, &[0, 1]), apply(ScalarOp::Exp, &[2])],
                vec![],
            ),
            reduce(ReduceFn::Sum, &row, vec![Expr::Stage(2)], vec![]),
            pointwise(&row, last.clone(), vec![store(&last, 4, &at)]),
        ],
    };
    for m in [1usize, 5, 16, 33, 128, 600] {
        let buffers = [
            Tensor::new(vec![3, m], random.data(DType::U8, 3 * m)),
            random.floats(&[m]),
            Tensor::from_elements(vec![1], vec![1.0f32 / 255.0]),
            Tensor::new(vec![1], Data::U8(vec![0])),
            Tensor::new(vec![3, m], Data::zeros(DType::U8, 3 * m)),
        ];
        check(&kernel, &[("M", m as i64)], &buffers, Match::Exact);
    }
}
