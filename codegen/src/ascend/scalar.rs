//! Scalar functions as operations of the tree.
//!
//! What the vendor's compiler has is taken from the table; everything else is composed here as its definition reads.

use super::functions::{BinaryFn, CompareFn, UnaryFn};
use super::lanes::{Lane, Lanes};
use super::tree::Number;
use ic_ir::scalar::{Scalar, ScalarOp};
use ic_types::{DType, Data, f32_to_bf16, f32_to_f16};

/// The number `value` in a float or integer type that vector kernels compute in.
pub(crate) fn number(dtype: DType, value: f64) -> Result<Number, String> {
    let bits = match dtype {
        DType::F32 => u128::from((value as f32).to_bits()),
        DType::F16 => u128::from(f32_to_f16(value as f32)),
        DType::BF16 => u128::from(f32_to_bf16(value as f32)),
        DType::I64 => u128::from(value as i64 as u64),
        DType::I32 => u128::from(value as i32 as u32),
        DType::Bool => u128::from(value != 0.0),
        _ => return Err(format!("arithmetic on {dtype}")),
    };
    Ok(Number { dtype, bits })
}

/// Applies `op`.
///
/// # Errors
/// If nothing accepted computes it; says what.
pub(crate) fn apply(lanes: &mut Lanes, op: ScalarOp, args: &[Lane]) -> Result<Lane, String> {
    if let Some(number) = fold_numbers(op, args) {
        return Ok(Lane::Number(number));
    }
    let dtype = args.first().map_or(DType::F32, |x| lanes.dtype(x));
    let unsupported = || format!("`{}` of {dtype}", op.name());
    match (op, args) {
        (_, [x]) if dtype.is_float() => float_unary(lanes, op, x, dtype)?.ok_or_else(unsupported),
        (ScalarOp::Not, [x]) => {
            let set = Lane::Number(number(DType::Bool, 1.0)?);
            Ok(lanes.binary(BinaryFn::Xor, x, &set))
        }
        (_, [x]) if dtype.is_int() => int_unary(lanes, op, x, dtype)?.ok_or_else(unsupported),
        (ScalarOp::Select, [c, a, b]) => Ok(lanes.select(c, a, b)),
        (_, [a, b]) => {
            if let Some(function) = CompareFn::of(op).filter(|_| dtype != DType::Bool) {
                return Ok(lanes.compare(function, a, b));
            }
            let function = BinaryFn::of(op).filter(|function| match function {
                BinaryFn::And | BinaryFn::Or | BinaryFn::Xor => dtype == DType::Bool,
                // Integer division of the vendor's compiler goes through f32.
                BinaryFn::Div | BinaryFn::Pow => dtype.is_float(),
                _ => dtype != DType::Bool,
            });
            function.map(|function| lanes.binary(function, a, b)).ok_or_else(unsupported)
        }
        _ => Err(unsupported()),
    }
}

/// The result where every argument is a number.
fn fold_numbers(op: ScalarOp, args: &[Lane]) -> Option<Number> {
    let scalars = args.iter().map(|arg| match arg {
        Lane::Number(number) => Some(Scalar::read(&number.data()?, 0)),
        Lane::Tensor { .. } => None,
    });
    let result = op.eval(&scalars.collect::<Option<Vec<_>>>()?).ok()?;
    let dtype = match &result {
        Scalar::F32(_, dtype) | Scalar::Int(_, dtype) => *dtype,
        Scalar::Bool(_) => DType::Bool,
        Scalar::F64(_) | Scalar::Text(_) => return None,
    };
    let mut data = Data::zeros(dtype, 1);
    result.write(&mut data, 0).ok()?;
    bits_of(&data).map(|bits| Number { dtype, bits })
}

/// The only element of `data`, as a number's bytes.
fn bits_of(data: &Data) -> Option<u128> {
    Some(match data {
        Data::F32(v) => v[0].to_bits().into(),
        Data::F16(v) | Data::BF16(v) | Data::U16(v) => v[0].into(),
        Data::I64(v) => (v[0] as u64).into(),
        Data::I32(v) => (v[0] as u32).into(),
        Data::I8(v) => (v[0] as u8).into(),
        Data::U8(v) => v[0].into(),
        Data::Bool(v) => v[0].into(),
        _ => return None,
    })
}

fn float_unary(lanes: &mut Lanes, op: ScalarOp, x: &Lane, dtype: DType) -> Result<Option<Lane>, String> {
    if let Some(function) = UnaryFn::of(op) {
        return Ok(Some(lanes.unary(function, x)));
    }
    let c = |value: f64| number(dtype, value).map(Lane::Number);
    let (zero, half, one) = (c(0.0)?, c(0.5)?, c(1.0)?);
    Ok(Some(match op {
        ScalarOp::Round => round(lanes, x, dtype)?,
        ScalarOp::Relu => lanes.binary(BinaryFn::Max, x, &zero),
        ScalarOp::Sign => {
            let positive = lanes.compare(CompareFn::Gt, x, &zero);
            let negative = lanes.compare(CompareFn::Lt, x, &zero);
            let rest = lanes.binary(BinaryFn::Add, x, &zero);
            let below = lanes.select(&negative, &c(-1.0)?, &rest);
            lanes.select(&positive, &one, &below)
        }
        ScalarOp::Sigmoid => sigmoid(lanes, x, &one),
        ScalarOp::Silu => {
            let gate = sigmoid(lanes, x, &one);
            lanes.binary(BinaryFn::Mul, x, &gate)
        }
        ScalarOp::Gelu => {
            let scaled = lanes.binary(BinaryFn::Mul, x, &c(std::f64::consts::FRAC_1_SQRT_2)?);
            let erf = lanes.unary(UnaryFn::Erf, &scaled);
            halved(lanes, x, &erf, (&half, &one))
        }
        ScalarOp::GeluTanh => {
            let square = lanes.binary(BinaryFn::Mul, x, x);
            let cube = lanes.binary(BinaryFn::Mul, &square, x);
            let small = lanes.binary(BinaryFn::Mul, &cube, &c(0.044715)?);
            let sum = lanes.binary(BinaryFn::Add, x, &small);
            let scaled = lanes.binary(BinaryFn::Mul, &sum, &c(0.797_884_560_802_865_4)?);
            let tanh = lanes.unary(UnaryFn::Tanh, &scaled);
            halved(lanes, x, &tanh, (&half, &one))
        }
        ScalarOp::HardSwish => {
            let scaled = lanes.binary(BinaryFn::Div, x, &c(6.0)?);
            let shifted = lanes.binary(BinaryFn::Add, &scaled, &half);
            let low = lanes.binary(BinaryFn::Max, &shifted, &zero);
            let gate = lanes.binary(BinaryFn::Min, &low, &one);
            lanes.binary(BinaryFn::Mul, x, &gate)
        }
        ScalarOp::Softplus => {
            let magnitude = lanes.unary(UnaryFn::Abs, x);
            let negative = lanes.unary(UnaryFn::Neg, &magnitude);
            let exp = lanes.unary(UnaryFn::Exp, &negative);
            let sum = lanes.binary(BinaryFn::Add, &exp, &one);
            let log = lanes.unary(UnaryFn::Log, &sum);
            let positive = lanes.binary(BinaryFn::Max, x, &zero);
            lanes.binary(BinaryFn::Add, &positive, &log)
        }
        ScalarOp::Sinh => exponentials(lanes, x, BinaryFn::Sub, &half),
        ScalarOp::Cosh => exponentials(lanes, x, BinaryFn::Add, &half),
        ScalarOp::IsNan => lanes.compare(CompareFn::Ne, x, x),
        ScalarOp::IsInf => {
            let magnitude = lanes.unary(UnaryFn::Abs, x);
            lanes.compare(CompareFn::Eq, &magnitude, &c(f64::INFINITY)?)
        }
        _ => return Ok(None),
    }))
}

/// Rounds to nearest, ties to even, by adding and subtracting the number from which on f32 has no fractions.
fn round(lanes: &mut Lanes, x: &Lane, dtype: DType) -> Result<Lane, String> {
    let wide = lanes.cast(x, DType::F32);
    let number = |value: f32| Lane::Number(Number::f32(value));
    let shift = number(12_582_912.0);
    let up = lanes.binary(BinaryFn::Add, &wide, &shift);
    let rounded = lanes.binary(BinaryFn::Sub, &up, &shift);
    let magnitude = lanes.unary(UnaryFn::Abs, &wide);
    let has_fraction = lanes.compare(CompareFn::Lt, &magnitude, &number(4_194_304.0));
    let result = lanes.select(&has_fraction, &rounded, &wide);
    Ok(lanes.cast(&result, dtype))
}

fn sigmoid(lanes: &mut Lanes, x: &Lane, one: &Lane) -> Lane {
    let negative = lanes.unary(UnaryFn::Neg, x);
    let exp = lanes.unary(UnaryFn::Exp, &negative);
    let sum = lanes.binary(BinaryFn::Add, &exp, one);
    lanes.binary(BinaryFn::Div, one, &sum)
}

/// `x * half * (one + f)`.
fn halved(lanes: &mut Lanes, x: &Lane, f: &Lane, (half, one): (&Lane, &Lane)) -> Lane {
    let factor = lanes.binary(BinaryFn::Mul, x, half);
    let sum = lanes.binary(BinaryFn::Add, f, one);
    lanes.binary(BinaryFn::Mul, &factor, &sum)
}

/// `(e^x ± e^-x) / 2`.
fn exponentials(lanes: &mut Lanes, x: &Lane, function: BinaryFn, half: &Lane) -> Lane {
    let up = lanes.unary(UnaryFn::Exp, x);
    let negative = lanes.unary(UnaryFn::Neg, x);
    let down = lanes.unary(UnaryFn::Exp, &negative);
    let both = lanes.binary(function, &up, &down);
    lanes.binary(BinaryFn::Mul, &both, half)
}

fn int_unary(lanes: &mut Lanes, op: ScalarOp, x: &Lane, dtype: DType) -> Result<Option<Lane>, String> {
    let zero = Lane::Number(number(dtype, 0.0)?);
    Ok(match op {
        ScalarOp::Neg => Some(lanes.binary(BinaryFn::Sub, &zero, x)),
        ScalarOp::Abs => {
            let negative = lanes.binary(BinaryFn::Sub, &zero, x);
            Some(lanes.binary(BinaryFn::Max, x, &negative))
        }
        ScalarOp::Relu => Some(lanes.binary(BinaryFn::Max, x, &zero)),
        _ => None,
    })
}

/// Converts to `to`.
///
/// # Errors
/// If there is no such conversion.
pub(crate) fn cast(lanes: &mut Lanes, x: &Lane, to: DType) -> Result<Lane, String> {
    let from = lanes.dtype(x);
    if to == DType::Bool && from != DType::Bool {
        let zero = Lane::Number(number(from, 0.0)?);
        return Ok(lanes.compare(CompareFn::Ne, x, &zero));
    }
    Ok(lanes.cast(x, to))
}
