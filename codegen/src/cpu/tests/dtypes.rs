//! Every scalar function and conversion on every element type.

use super::native::{Match, check};
use super::*;
use ic_ir::scalar::ResultRule;

const FLOATS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::BF16];
const INTS: &[DType] = &[DType::I64, DType::I32, DType::I16, DType::I8, DType::U64, DType::U32, DType::U16, DType::U8];

/// Element types that a function takes, last operand first.
fn operand_types(op: ScalarOp) -> Vec<DType> {
    let all: Vec<DType> = FLOATS.iter().chain(INTS).copied().collect();
    match op.rule() {
        ResultRule::Number => all.into_iter().filter(|&dtype| takes(op, dtype)).collect(),
        ResultRule::Float | ResultRule::Test => FLOATS.to_vec(),
        ResultRule::Int => INTS.to_vec(),
        ResultRule::Bool => vec![DType::Bool],
        ResultRule::Compare | ResultRule::Select => all.into_iter().chain([DType::Bool]).collect(),
    }
}

/// Whether the evaluator defines a function of numbers for the type.
fn takes(op: ScalarOp, dtype: DType) -> bool {
    let mut random = Random(99);
    let data = random.data(dtype, 1);
    let value = ic_ir::scalar::Scalar::read(&data, 0);
    op.eval(&vec![value; op.arity()]).is_ok()
}

/// How close results must be: what the machine computes as the evaluator does is exact.
fn tolerance(op: ScalarOp, dtype: DType) -> Match {
    let computed = matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
        && (op == ScalarOp::Pow || crate::shared::strip_of(op).is_some());
    match (computed, dtype) {
        (false, _) => Match::Exact,
        (true, DType::F32) => Match::Within(2e-5),
        (true, DType::F16) => Match::Within(2e-3),
        (true, _) => Match::Within(1.6e-2),
    }
}

#[test]
fn every_function_on_every_type() {
    let mut random = Random(20);
    for &op in ScalarOp::ALL {
        for dtype in operand_types(op) {
            let mut types = vec![dtype; op.arity()];
            if op == ScalarOp::Select {
                types[0] = DType::Bool;
            }
            let result = op.result_dtype(&types).unwrap();
            let mut body: Vec<Expr> = (0..types.len()).map(|i| load(i as u32, &[ax(0)])).collect();
            body.push(apply(op, &(0..types.len() as u32).collect::<Vec<_>>()));
            types.push(result);
            // Vectors, their rest, and a type mixed with wider ones.
            let n = 61;
            let kernel = elementwise(&[c(n as i64)], &types, body);
            let buffers: Vec<Tensor> = types.iter().map(|&ty| Tensor::new(vec![n], random.data(ty, n))).collect();
            let bounded: Vec<Tensor> = buffers.into_iter().map(|buffer| moderate(op, buffer)).collect();
            check(&kernel, &[], &bounded, tolerance(op, dtype));
        }
    }
}

/// Arguments for which a relative bound makes sense.
fn moderate(op: ScalarOp, buffer: Tensor) -> Tensor {
    let trigonometric = matches!(op, ScalarOp::Pow | ScalarOp::Sinh | ScalarOp::Cosh | ScalarOp::Tan);
    match buffer.data() {
        Data::F32(v) if trigonometric => {
            let shape = buffer.shape().to_vec();
            Tensor::from_elements(shape, v.iter().map(|x| if x.abs() > 10.0 { 1.25 } else { x / 4.0 }).collect())
        }
        _ => buffer,
    }
}

#[test]
fn every_conversion() {
    let mut random = Random(21);
    let all: Vec<DType> = FLOATS.iter().chain(INTS).copied().chain([DType::Bool]).collect();
    for &from in &all {
        for &to in &all {
            let n = 97;
            let data = if from.is_float() { any_floats(&mut random, from, n) } else { random.data(from, n) };
            let body = vec![load(0, &[ax(0)]), Expr::Cast(to, 0)];
            let kernel = elementwise(&[c(n as i64)], &[from, to], body);
            let buffers = [Tensor::new(vec![n], data), Tensor::new(vec![n], random.data(to, n))];
            check(&kernel, &[], &buffers, Match::Exact);
        }
    }
}

/// Floats of every magnitude, halves and ties of narrower floats among them, beyond the range of every integer.
fn any_floats(random: &mut Random, dtype: DType, n: usize) -> Data {
    const SPECIAL: &[f64] = &[0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 65519.99, 65520.0, -2.5, 9.3e18];
    let value = |i: usize, r: &mut Random| {
        let share = r.below(1 << 20) as f64 / f64::from(1 << 20);
        let sign = if r.below(2) == 0 { 1.0 } else { -1.0 };
        let scale = 2f64.powi(r.below(140) as i32 - 60);
        // A tie of 11 bits, and of 8 bits, with something far below it.
        let tie = 1.0 + r.below(1 << 10) as f64 / 1024.0 + 1.0 / 2048.0;
        match i % 4 {
            0 => SPECIAL.get(i / 4).copied().unwrap_or(share * scale),
            1 => sign * tie * (1.0 + sign * 1e-12) * 2f64.powi(r.below(30) as i32 - 15),
            2 => sign * share * 300.0,
            _ => sign * (1.0 + share) * scale,
        }
    };
    let values: Vec<f64> = (0..n).map(|i| value(i, random)).collect();
    match dtype {
        DType::F64 => Data::F64(values),
        DType::F32 => Data::F32(values.iter().map(|&x| x as f32).collect()),
        DType::F16 => Data::F16(values.iter().map(|&x| ic_types::f32_to_f16(x as f32)).collect()),
        _ => Data::BF16(values.iter().map(|&x| ic_types::f32_to_bf16(x as f32)).collect()),
    }
}

#[test]
fn clamped_floats_become_integers() {
    let mut random = Random(23);
    for (to, low, high) in [(DType::U8, 0.0, 255.0), (DType::I8, -128.0, 127.0), (DType::I32, -1e9, 1e9f32)] {
        let n = 97;
        let number = |x: f32| Expr::Const(DType::F32, x.to_bits().into());
        let body = vec![
            load(0, &[ax(0)]),
            number(low),
            apply(ScalarOp::Max, &[0, 1]),
            number(high),
            apply(ScalarOp::Min, &[2, 3]),
            Expr::Cast(to, 4),
        ];
        let kernel = elementwise(&[c(n as i64)], &[DType::F32, to], body);
        let data = any_floats(&mut random, DType::F32, n);
        let buffers = [Tensor::new(vec![n], data), Tensor::new(vec![n], random.data(to, n))];
        check(&kernel, &[], &buffers, Match::Exact);
    }
}

#[test]
fn types_mix_in_one_kernel() {
    // select(i64 a < i64 b, f32 x, cast(u8 z)) with an index.
    let mut random = Random(22);
    for n in [5usize, 16, 67] {
        let body = vec![
            load(0, &[ax(0)]),
            load(1, &[ax(0)]),
            apply(ScalarOp::Lt, &[0, 1]),
            load(2, &[ax(0)]),
            load(3, &[ax(0)]),
            Expr::Cast(DType::F32, 4),
            apply(ScalarOp::Select, &[2, 3, 5]),
            Expr::Index(ax(0)),
            Expr::Cast(DType::F32, 7),
            apply(ScalarOp::Add, &[6, 8]),
        ];
        let types = [DType::I64, DType::I64, DType::F32, DType::U8, DType::F32];
        let kernel = elementwise(&[c(n as i64)], &types, body);
        let buffers: Vec<Tensor> = types.iter().map(|&ty| Tensor::new(vec![n], random.data(ty, n))).collect();
        check(&kernel, &[], &buffers, Match::Exact);
    }
}

#[test]
fn opaque_types_are_moved() {
    for (dtype, data) in [
        (DType::C64, Data::C64((0..21).map(|i| [i as f32, -1.0]).collect())),
        (DType::F8E4M3FN, Data::F8E4M3FN((0..21).collect())),
        (DType::U4, Data::U4((0..21).map(|i| i % 16).collect())),
    ] {
        let body = vec![load(0, &[ax(0)])];
        let kernel = elementwise(&[c(21)], &[dtype, dtype], body);
        let result = Tensor::new(vec![21], Data::zeros(dtype, 21));
        // The interpreter has no scalars of these types: compare bytes.
        super::native::check_moves(&kernel, &Tensor::new(vec![21], data), &result);
    }
}
