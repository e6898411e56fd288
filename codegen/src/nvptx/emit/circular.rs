//! Sine, cosine and tangent: arguments are reduced to an eighth of a turn in f64, where Taylor polynomials are exact to the
//! last bits. An f32 result is correctly rounded but for rare ties; arguments beyond 2^50 are reduced inexactly.

use super::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Operand, Reg, Rounding, Ty, Unary};
use ic_ir::scalar::ScalarOp;
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

/// What FRAC_PI_2 lacks of a quarter turn.
const FRAC_PI_2_REST: f64 = 6.123_233_995_736_766e-17;
/// Coefficients of the powers of `x^2` in `sin(x) / x` are `(-1)^i / (2i + 1)!`, in `cos(x)` they are `(-1)^i / (2i)!`.
const N_TERMS: u32 = 9;

fn constant(x: f64) -> Operand {
    Operand::F64(x.to_bits())
}

impl Emitter<'_> {
    /// `sin`, `cos` or `tan` of a float of type `ty`.
    pub(super) fn circular(&mut self, op: ScalarOp, ty: Ty, x: Operand) -> Reg {
        let x = self.b.in_register(ty, x);
        let x = if ty == Ty::F64 { x } else { self.b.cvt(Rounding::None, Ty::F64, Ty::F32, x) };
        let turns = self.b.binary(Binary::Mul, Ty::F64, x, constant(FRAC_2_PI));
        let quarters = self.b.cvt(Rounding::Rni, Ty::F64, Ty::F64, turns);
        let rest = self.b.fma(Ty::F64, quarters, constant(-FRAC_PI_2), x);
        let rest = self.b.fma(Ty::F64, quarters, constant(-FRAC_PI_2_REST), rest);
        let quarters = self.b.cvt(Rounding::Rzi, Ty::S64, Ty::F64, quarters);
        let quarters = self.b.cvt(Rounding::None, Ty::U32, Ty::U64, quarters);
        let square = self.b.binary(Binary::Mul, Ty::F64, rest, rest);
        let sine = self.series(square, 1);
        let sine = self.b.binary(Binary::Mul, Ty::F64, sine, rest);
        let cosine = self.series(square, 0);
        let is_odd = self.bit(quarters, 1);
        let value = match op {
            ScalarOp::Sin => {
                let value = self.b.select(Ty::F64, is_odd, cosine, sine);
                self.negated_where(quarters, value)
            }
            ScalarOp::Cos => {
                let value = self.b.select(Ty::F64, is_odd, sine, cosine);
                let next = self.b.binary(Binary::Add, Ty::S32, quarters, 1);
                self.negated_where(next, value)
            }
            _ => {
                let minus = self.b.unary(Unary::Neg, Ty::F64, cosine);
                let above = self.b.select(Ty::F64, is_odd, minus, sine);
                let below = self.b.select(Ty::F64, is_odd, sine, cosine);
                self.b.binary(Binary::Div, Ty::F64, above, below)
            }
        };
        if ty == Ty::F64 { value } else { self.b.cvt(Rounding::Rn, Ty::F32, Ty::F64, value) }
    }

    /// The sum of `(-1)^i square^i / (2i + first)!`.
    fn series(&mut self, square: Reg, first: u32) -> Reg {
        let coefficient = |i: u32| {
            let factorial: f64 = (1..=2 * i + first).map(f64::from).product();
            if i.is_multiple_of(2) { 1.0 / factorial } else { -1.0 / factorial }
        };
        let mut sum = self.b.mov(Ty::F64, constant(coefficient(N_TERMS - 1)));
        for i in (0..N_TERMS - 1).rev() {
            sum = self.b.fma(Ty::F64, sum, square, constant(coefficient(i)));
        }
        sum
    }

    /// Whether an integer has one of these bits.
    fn bit(&mut self, of: Reg, mask: i64) -> Reg {
        let bit = self.b.binary(Binary::And, Ty::B32, of, mask);
        self.b.compare(Compare::Ne, Ty::S32, bit, 0)
    }

    /// The value, or what it is on the other half of the turn.
    fn negated_where(&mut self, quarters: Reg, value: Reg) -> Reg {
        let is_other = self.bit(quarters, 2);
        let minus = self.b.unary(Unary::Neg, Ty::F64, value);
        self.b.select(Ty::F64, is_other, minus, value)
    }
}
