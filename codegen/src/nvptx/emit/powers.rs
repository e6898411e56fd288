//! Exponentials, logarithms, powers and hyperbolic functions in f64. Errors are a few units in the last place of an f64, so
//! that f32 results are correctly rounded but for rare ties; those of f64 powers grow with the exponent's magnitude.

use super::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Operand, Reg, Rounding, Ty, Unary};
use ic_ir::scalar::ScalarOp;
use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// What LN_2 lacks of the logarithm of 2.
const LN_2_REST: f64 = 2.319_046_813_846_299_6e-17;
/// Beyond it, exponentials overflow or vanish.
const MOST: f64 = 800.0;
/// Smaller arguments of odd functions are followed by their cubes.
const SMALL: f64 = 1e-4;
/// The bits of a fraction, and of 1.
const FRACTION: i64 = (1 << 52) - 1;
const ONE: i64 = 1023 << 52;

fn constant(x: f64) -> Operand {
    Operand::F64(x.to_bits())
}

impl Emitter<'_> {
    /// Functions of a float of type `ty` that have code here.
    pub(super) fn power(&mut self, op: ScalarOp, ty: Ty, args: &[Operand]) -> Option<Reg> {
        let is_here = match op {
            ScalarOp::Exp | ScalarOp::Log => ty == Ty::F64,
            ScalarOp::Pow | ScalarOp::Sinh | ScalarOp::Cosh => true,
            ScalarOp::Asinh | ScalarOp::Acosh | ScalarOp::Atanh => true,
            _ => false,
        };
        if !is_here {
            return None;
        }
        let wide: Vec<Reg> = args.iter().map(|&arg| self.widened(ty, arg)).collect();
        let (x, y) = (wide[0], wide[wide.len() - 1]);
        let value = match op {
            ScalarOp::Exp => self.exponential(x),
            ScalarOp::Log => self.logarithm(x),
            ScalarOp::Pow => self.raised(x, y),
            ScalarOp::Sinh | ScalarOp::Cosh => self.hyperbolic(op, x),
            _ => self.inverse_hyperbolic(op, x),
        };
        Some(if ty == Ty::F64 { value } else { self.b.cvt(Rounding::Rn, Ty::F32, Ty::F64, value) })
    }

    fn widened(&mut self, ty: Ty, x: Operand) -> Reg {
        let x = self.b.in_register(ty, x);
        if ty == Ty::F64 { x } else { self.b.cvt(Rounding::None, Ty::F64, Ty::F32, x) }
    }

    fn two(&mut self, op: Binary, a: impl Into<Operand>, b: impl Into<Operand>) -> Reg {
        self.b.binary(op, Ty::F64, a, b)
    }

    /// `c[0] + c[1] x + …`.
    fn polynomial(&mut self, x: Reg, coefficients: &[f64]) -> Reg {
        let (last, rest) = coefficients.split_last().unwrap_or((&0.0, &[]));
        let mut sum = self.b.mov(Ty::F64, constant(*last));
        for &coefficient in rest.iter().rev() {
            sum = self.b.fma(Ty::F64, sum, x, constant(coefficient));
        }
        sum
    }

    /// `e^x`: a power of two and a Taylor polynomial of at most half a binary order.
    fn exponential(&mut self, x: Reg) -> Reg {
        let x = self.extreme(Binary::Min, Ty::F64, x.into(), constant(MOST));
        let x = self.extreme(Binary::Max, Ty::F64, x.into(), constant(-MOST));
        let orders = self.two(Binary::Mul, x, constant(LOG2_E));
        let orders = self.b.cvt(Rounding::Rni, Ty::F64, Ty::F64, orders);
        let rest = self.b.fma(Ty::F64, orders, constant(-LN_2), x);
        let rest = self.b.fma(Ty::F64, orders, constant(-LN_2_REST), rest);
        let mut coefficients = vec![1.0];
        for i in 1..=14 {
            coefficients.push(coefficients[i - 1] / i as f64);
        }
        let value = self.polynomial(rest, &coefficients);
        // In two steps, as neither need be a float of its own.
        let orders = self.b.cvt(Rounding::Rzi, Ty::S64, Ty::F64, orders);
        let half = self.b.binary(Binary::Shr, Ty::S64, orders, 1);
        let other = self.b.binary(Binary::Sub, Ty::S64, orders, half);
        let (half, other) = (self.power_of_two(half), self.power_of_two(other));
        let value = self.two(Binary::Mul, value, half);
        self.two(Binary::Mul, value, other)
    }

    /// `2^n` for an integer.
    fn power_of_two(&mut self, n: Reg) -> Reg {
        let biased = self.b.binary(Binary::Add, Ty::S64, n, 1023);
        let bits = self.b.binary(Binary::Shl, Ty::B64, biased, 52);
        self.b.mov_bits(Class::F64, Ty::B64, bits)
    }

    /// `ln(x)`: the exponent, and the fraction by `2 artanh((m - 1) / (m + 1))`.
    fn logarithm(&mut self, x: Reg) -> Reg {
        let is_tiny = self.b.compare(Compare::Lt, Ty::F64, x, constant(f64::MIN_POSITIVE));
        let scaled = self.two(Binary::Mul, x, constant((1u64 << 54) as f64));
        let normal = self.b.select(Ty::F64, is_tiny, scaled, x);
        let bits = self.b.mov_bits(Class::B64, Ty::B64, normal);
        let exponent = self.b.binary(Binary::Shr, Ty::U64, bits, 52);
        let exponent = self.b.cvt(Rounding::Rn, Ty::F64, Ty::S64, exponent);
        let bias = self.b.select(Ty::F64, is_tiny, constant(-1077.0), constant(-1023.0));
        let exponent = self.two(Binary::Add, exponent, bias);
        let fraction = self.b.binary(Binary::And, Ty::B64, bits, FRACTION);
        let fraction = self.b.binary(Binary::Or, Ty::B64, fraction, ONE);
        let fraction = self.b.mov_bits(Class::F64, Ty::B64, fraction);
        let is_high = self.b.compare(Compare::Gt, Ty::F64, fraction, constant(SQRT_2));
        let halved = self.two(Binary::Mul, fraction, constant(0.5));
        let fraction = self.b.select(Ty::F64, is_high, halved, fraction);
        let next = self.two(Binary::Add, exponent, constant(1.0));
        let exponent = self.b.select(Ty::F64, is_high, next, exponent);
        let above = self.two(Binary::Add, fraction, constant(-1.0));
        let below = self.two(Binary::Add, fraction, constant(1.0));
        let ratio = self.two(Binary::Div, above, below);
        let square = self.two(Binary::Mul, ratio, ratio);
        let series: Vec<f64> = (0..12).map(|i| 2.0 / f64::from(2 * i + 1)).collect();
        let series = self.polynomial(square, &series);
        let value = self.two(Binary::Mul, ratio, series);
        let value = self.b.fma(Ty::F64, exponent, constant(LN_2_REST), value);
        let value = self.b.fma(Ty::F64, exponent, constant(LN_2), value);
        // NaN and infinity stay; of what is negative there is none.
        let is_finite = self.b.compare(Compare::Lt, Ty::F64, x, constant(f64::INFINITY));
        let value = self.b.select(Ty::F64, is_finite, value, x);
        let is_negative = self.b.compare(Compare::Lt, Ty::F64, x, constant(0.0));
        let value = self.b.select(Ty::F64, is_negative, constant(f64::NAN), value);
        let is_zero = self.b.compare(Compare::Eq, Ty::F64, x, constant(0.0));
        self.b.select(Ty::F64, is_zero, constant(f64::NEG_INFINITY), value)
    }

    /// `x^y`, with the special values of IEEE 754.
    fn raised(&mut self, x: Reg, y: Reg) -> Reg {
        let magnitude = self.b.unary(Unary::Abs, Ty::F64, x);
        let logarithm = self.logarithm(magnitude);
        let product = self.two(Binary::Mul, y, logarithm);
        let value = self.exponential(product);
        let whole = self.b.cvt(Rounding::Rni, Ty::F64, Ty::F64, y);
        let is_fraction = self.b.compare(Compare::Ne, Ty::F64, y, whole);
        let half = self.two(Binary::Mul, y, constant(0.5));
        let whole_half = self.b.cvt(Rounding::Rni, Ty::F64, Ty::F64, half);
        let is_even = self.b.compare(Compare::Eq, Ty::F64, half, whole_half);
        // An odd power has the sign of `x`, also of zero and infinity.
        let minus = self.b.unary(Unary::Neg, Ty::F64, value);
        let bits = self.b.mov_bits(Class::B64, Ty::B64, x);
        let is_minus = self.b.compare(Compare::Lt, Ty::S64, bits, 0);
        let signed = self.b.select(Ty::F64, is_minus, minus, value);
        let even_or_fraction = self.b.binary(Binary::Or, Ty::Pred, is_even, is_fraction);
        let mut result = self.b.select(Ty::F64, even_or_fraction, value, signed);
        // Of what is negative and finite there is no fractional power.
        let is_negative = self.b.compare(Compare::Lt, Ty::F64, x, constant(0.0));
        let is_finite = self.b.compare(Compare::Lt, Ty::F64, magnitude, constant(f64::INFINITY));
        let has_none = self.b.binary(Binary::And, Ty::Pred, is_negative, is_finite);
        let has_none = self.b.binary(Binary::And, Ty::Pred, has_none, is_fraction);
        result = self.b.select(Ty::F64, has_none, constant(f64::NAN), result);
        // `x^0` and `1^y` are 1, also of NaN; so is `(-1)^±∞`.
        let is_unit = self.b.compare(Compare::Eq, Ty::F64, magnitude, constant(1.0));
        let endless = self.b.unary(Unary::Abs, Ty::F64, y);
        let endless = self.b.compare(Compare::Eq, Ty::F64, endless, constant(f64::INFINITY));
        let unit_endless = self.b.binary(Binary::And, Ty::Pred, is_unit, endless);
        let is_one = self.b.compare(Compare::Eq, Ty::F64, x, constant(1.0));
        let no_power = self.b.compare(Compare::Eq, Ty::F64, y, constant(0.0));
        let always_one = self.b.binary(Binary::Or, Ty::Pred, unit_endless, is_one);
        let always_one = self.b.binary(Binary::Or, Ty::Pred, always_one, no_power);
        self.b.select(Ty::F64, always_one, constant(1.0), result)
    }

    fn hyperbolic(&mut self, op: ScalarOp, x: Reg) -> Reg {
        let minus = self.b.unary(Unary::Neg, Ty::F64, x);
        let (up, down) = (self.exponential(x), self.exponential(minus));
        let combine = if op == ScalarOp::Cosh { Binary::Add } else { Binary::Sub };
        let sum = self.two(combine, up, down);
        let value = self.two(Binary::Mul, sum, constant(0.5));
        if op == ScalarOp::Cosh { value } else { self.or_cubic(x, value, 1.0 / 6.0) }
    }

    fn inverse_hyperbolic(&mut self, op: ScalarOp, x: Reg) -> Reg {
        let magnitude = self.b.unary(Unary::Abs, Ty::F64, x);
        let value = if op == ScalarOp::Atanh {
            let above = self.two(Binary::Add, magnitude, constant(1.0));
            let below = self.two(Binary::Sub, constant(1.0), magnitude);
            let ratio = self.two(Binary::Div, above, below);
            let logarithm = self.logarithm(ratio);
            self.two(Binary::Mul, logarithm, constant(0.5))
        } else {
            let of = if op == ScalarOp::Acosh { x } else { magnitude };
            let rest = constant(if op == ScalarOp::Acosh { -1.0 } else { 1.0 });
            let square = self.b.fma(Ty::F64, of, of, rest);
            let root = self.b.unary(Unary::Sqrt, Ty::F64, square);
            let sum = self.two(Binary::Add, of, root);
            self.logarithm(sum)
        };
        if op == ScalarOp::Acosh {
            return value;
        }
        let minus = self.b.unary(Unary::Neg, Ty::F64, value);
        let is_negative = self.b.compare(Compare::Lt, Ty::F64, x, constant(0.0));
        let value = self.b.select(Ty::F64, is_negative, minus, value);
        self.or_cubic(x, value, if op == ScalarOp::Atanh { 1.0 / 3.0 } else { -1.0 / 6.0 })
    }

    /// `value`, or `x + x^3 factor` where `x` is small.
    fn or_cubic(&mut self, x: Reg, value: Reg, factor: f64) -> Reg {
        let square = self.two(Binary::Mul, x, x);
        let cubic = self.two(Binary::Mul, square, constant(factor));
        let cubic = self.b.fma(Ty::F64, cubic, x, x);
        let magnitude = self.b.unary(Unary::Abs, Ty::F64, x);
        let is_small = self.b.compare(Compare::Lt, Ty::F64, magnitude, constant(SMALL));
        self.b.select(Ty::F64, is_small, cubic, value)
    }
}
