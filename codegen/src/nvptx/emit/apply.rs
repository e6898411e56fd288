//! Scalar functions.

use super::{Emitter, arithmetic, class_of};
use crate::nvptx::ptx::{Binary, Class, Compare, Operand, Reg, Rounding, Ty, Unary};
use ic_ir::scalar::ScalarOp;
use ic_types::DType;
use std::f64::consts::LOG2_E;

impl Emitter<'_> {
    /// `op(args)`, where `types` are the arguments' types and `result` is the result's.
    ///
    /// # Errors
    /// If there is no code for it.
    pub(super) fn apply(
        &mut self,
        op: ScalarOp,
        types: &[DType],
        result: DType,
        args: &[Operand],
    ) -> Result<Operand, String> {
        let operand = types[types.len() - 1];
        if op == ScalarOp::Select {
            let p = self.b.in_register(Ty::Pred, args[0]);
            return Ok(self.pick(operand, p, args[1], args[2]));
        }
        let unsupported = || format!("`{}` of {operand} has no code for nvptx", op.name());
        match class_of(operand) {
            Class::Pred => self.logical(op, args).ok_or_else(unsupported),
            Class::F32 | Class::F64 => {
                let ty = arithmetic(operand);
                let args: Vec<Operand> = args.iter().map(|&arg| self.b.in_register(ty, arg).into()).collect();
                if let Some(value) = self.compared(op, ty, &args) {
                    return Ok(value);
                }
                self.float(op, ty, &args).ok_or_else(unsupported)
            }
            _ => {
                let ty = arithmetic(operand);
                let args: Vec<Operand> = args.iter().map(|&arg| self.b.in_register(ty, arg).into()).collect();
                if let Some(value) = self.compared(op, ty, &args) {
                    return Ok(value);
                }
                let value = self.integer(op, ty, &args).ok_or_else(unsupported)?;
                Ok(self.normalized(result, value).into())
            }
        }
    }

    fn logical(&mut self, op: ScalarOp, args: &[Operand]) -> Option<Operand> {
        let (a, b) = (args[0], args[args.len() - 1]);
        let not = |e: &mut Self, x: Operand| e.b.unary(Unary::Not, Ty::Pred, x);
        let two = |e: &mut Self, op, a: Operand, b: Operand| e.b.binary(op, Ty::Pred, a, b);
        Some(Operand::Reg(match op {
            ScalarOp::Not => not(self, a),
            ScalarOp::And => two(self, Binary::And, a, b),
            ScalarOp::Or => two(self, Binary::Or, a, b),
            ScalarOp::Xor | ScalarOp::Ne => two(self, Binary::Xor, a, b),
            ScalarOp::Eq => {
                let differs = two(self, Binary::Xor, a, b);
                not(self, differs.into())
            }
            // false < true
            ScalarOp::Lt | ScalarOp::Ge => {
                let not_a = not(self, a);
                let less = two(self, Binary::And, not_a.into(), b);
                if op == ScalarOp::Lt { less } else { not(self, less.into()) }
            }
            ScalarOp::Gt | ScalarOp::Le => {
                let not_b = not(self, b);
                let greater = two(self, Binary::And, a, not_b.into());
                if op == ScalarOp::Gt { greater } else { not(self, greater.into()) }
            }
            _ => return None,
        }))
    }

    fn compared(&mut self, op: ScalarOp, ty: Ty, args: &[Operand]) -> Option<Operand> {
        let (a, b) = (args[0], args[args.len() - 1]);
        let compare = match op {
            ScalarOp::Eq => Compare::Eq,
            ScalarOp::Ne => Compare::Ne,
            ScalarOp::Lt => Compare::Lt,
            ScalarOp::Le => Compare::Le,
            ScalarOp::Gt => Compare::Gt,
            ScalarOp::Ge => Compare::Ge,
            // NaN alone differs from itself.
            ScalarOp::IsNan => return Some(self.b.compare(Compare::Ne, ty, a, a).into()),
            ScalarOp::IsInf => {
                let magnitude = self.b.unary(Unary::Abs, ty, a);
                let infinity = float_constant(ty, f64::INFINITY);
                return Some(self.b.compare(Compare::Eq, ty, magnitude, infinity).into());
            }
            _ => return None,
        };
        Some(self.b.compare(compare, ty, a, b).into())
    }

    fn float(&mut self, op: ScalarOp, ty: Ty, args: &[Operand]) -> Option<Operand> {
        let (a, b) = (args[0], args[args.len() - 1]);
        let constant = |x: f64| float_constant(ty, x);
        let whole = |e: &mut Self, rounding| e.b.cvt(rounding, ty, ty, a);
        Some(Operand::Reg(match op {
            ScalarOp::Add => self.sum(ty, a, b),
            ScalarOp::Sub => self.b.binary(Binary::Sub, ty, a, b),
            ScalarOp::Mul => self.product(ty, a, b),
            ScalarOp::Div => self.b.binary(Binary::Div, ty, a, b),
            ScalarOp::Reciprocal if ty == Ty::F32 && self.is_rounded => self.b.unary(Unary::ReciprocalApprox, ty, a),
            ScalarOp::Reciprocal => self.b.binary(Binary::Div, ty, constant(1.0), a),
            ScalarOp::Neg => self.b.unary(Unary::Neg, ty, a),
            ScalarOp::Abs => self.b.unary(Unary::Abs, ty, a),
            ScalarOp::Sqrt if ty == Ty::F32 && self.is_rounded => self.b.unary(Unary::SqrtApprox, ty, a),
            ScalarOp::Sqrt => self.b.unary(Unary::Sqrt, ty, a),
            ScalarOp::Floor => whole(self, Rounding::Rmi),
            ScalarOp::Ceil => whole(self, Rounding::Rpi),
            ScalarOp::Round => whole(self, Rounding::Rni),
            ScalarOp::Min => self.extreme(Binary::Min, ty, a, b),
            ScalarOp::Max => self.extreme(Binary::Max, ty, a, b),
            ScalarOp::Relu => self.extreme(Binary::Max, ty, a, constant(0.0)),
            ScalarOp::Sign => {
                // Both zeros give zero, and NaN stays NaN.
                let above = self.b.compare(Compare::Gt, ty, a, constant(0.0));
                let below = self.b.compare(Compare::Lt, ty, a, constant(0.0));
                let rest = self.b.binary(Binary::Add, ty, a, constant(0.0));
                let rest = self.b.select(ty, below, constant(-1.0), rest);
                self.b.select(ty, above, constant(1.0), rest)
            }
            ScalarOp::Sin | ScalarOp::Cos | ScalarOp::Tan => self.circular(op, ty, a),
            ScalarOp::Exp if ty == Ty::F32 && self.is_rounded => {
                let power = self.b.binary(Binary::Mul, ty, a, constant(LOG2_E));
                self.b.unary(Unary::Exp2, ty, power)
            }
            _ => {
                let strip = if ty == Ty::F32 { self.strip(op, a) } else { None };
                return strip.or_else(|| self.power(op, ty, args).map(Operand::Reg));
            }
        }))
    }

    /// `a * b`.
    fn product(&mut self, ty: Ty, a: Operand, b: Operand) -> Reg {
        let product = self.b.binary(Binary::Mul, ty, a, b);
        if ty == Ty::F32 && self.is_rounded {
            self.products.insert(product, [a, b]);
        }
        product
    }

    /// `a + b`, rounded once with a product if f32 need not be exact.
    pub(crate) fn sum(&mut self, ty: Ty, a: Operand, b: Operand) -> Reg {
        let factors = |x: Operand| if let Operand::Reg(reg) = x { self.products.get(&reg).copied() } else { None };
        match (factors(a), factors(b)) {
            (Some([x, y]), _) => self.b.fma(ty, x, y, b),
            (None, Some([x, y])) => self.b.fma(ty, x, y, a),
            (None, None) => self.b.binary(Binary::Add, ty, a, b),
        }
    }

    /// The smaller or the larger, NaN if either is NaN.
    pub(crate) fn extreme(&mut self, op: Binary, ty: Ty, a: Operand, b: Operand) -> Reg {
        if ty != Ty::F64 {
            return self.b.binary(op, ty, a, b);
        }
        let compare = if op == Binary::Min { Compare::Lt } else { Compare::Gt };
        let (first, nan) = (self.b.compare(compare, ty, a, b), self.b.compare(Compare::Ne, ty, a, a));
        let first = self.b.binary(Binary::Or, Ty::Pred, first, nan);
        self.b.select(ty, first, a, b)
    }

    fn integer(&mut self, op: ScalarOp, ty: Ty, args: &[Operand]) -> Option<Reg> {
        let (a, b) = (args[0], args[args.len() - 1]);
        let bits = if ty.bytes() == 8 { Ty::B64 } else { Ty::B32 };
        let signed = matches!(ty, Ty::S32 | Ty::S64);
        Some(match op {
            ScalarOp::Add => self.b.binary(Binary::Add, ty, a, b),
            ScalarOp::Sub => self.b.binary(Binary::Sub, ty, a, b),
            ScalarOp::Mul => self.b.binary(Binary::Mul, ty, a, b),
            ScalarOp::Min => self.b.binary(Binary::Min, ty, a, b),
            ScalarOp::Max => self.b.binary(Binary::Max, ty, a, b),
            ScalarOp::Relu => self.b.binary(Binary::Max, ty, a, 0),
            ScalarOp::Neg => self.b.binary(Binary::Sub, ty, 0, a),
            ScalarOp::Abs if signed => self.b.unary(Unary::Abs, ty, a),
            ScalarOp::Abs => self.b.mov(bits, a),
            ScalarOp::Sign => {
                let (above, below) = (self.b.compare(Compare::Gt, ty, a, 0), self.b.compare(Compare::Lt, ty, a, 0));
                let rest = self.b.select(bits, below, -1, 0);
                self.b.select(bits, above, 1, rest)
            }
            ScalarOp::Div | ScalarOp::Rem | ScalarOp::Mod => self.divided_by(op, ty, bits, a, b),
            ScalarOp::BitAnd => self.b.binary(Binary::And, bits, a, b),
            ScalarOp::BitOr => self.b.binary(Binary::Or, bits, a, b),
            ScalarOp::BitXor => self.b.binary(Binary::Xor, bits, a, b),
            ScalarOp::BitNot => self.b.unary(Unary::Not, bits, a),
            _ => return None,
        })
    }

    /// Division by zero gives 0; `Mod` has the sign of the divisor.
    fn divided_by(&mut self, op: ScalarOp, ty: Ty, bits: Ty, a: Operand, b: Operand) -> Reg {
        let is_zero = self.b.compare(Compare::Eq, ty, b, 0);
        let safe = self.b.select(bits, is_zero, 1, b);
        let value = if op == ScalarOp::Div {
            self.b.binary(Binary::Div, ty, a, safe)
        } else {
            let rest = self.b.binary(Binary::Rem, ty, a, safe);
            if op == ScalarOp::Rem || !matches!(ty, Ty::S32 | Ty::S64) {
                rest
            } else {
                let differs = self.b.binary(Binary::Xor, bits, rest, safe);
                let differs = self.b.compare(Compare::Lt, ty, differs, 0);
                let some = self.b.compare(Compare::Ne, ty, rest, 0);
                let wrong = self.b.binary(Binary::And, Ty::Pred, differs, some);
                let moved = self.b.binary(Binary::Add, ty, rest, safe);
                self.b.select(bits, wrong, moved, rest)
            }
        };
        self.b.select(bits, is_zero, 0, value)
    }
}

fn float_constant(ty: Ty, x: f64) -> Operand {
    if ty == Ty::F64 { Operand::F64(x.to_bits()) } else { (x as f32).into() }
}
