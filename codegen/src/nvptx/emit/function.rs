//! Functions of f32 that the CPU computes as strips: the same operations in the same order, so the same bits. In kernels
//! whose floats in memory all have 16 bits, `exp` is `ex2.approx` instead.
//!
//! Their errors are those that `ic_kernels::strips` states: `exp` within 1 ULP, `log`, `erf` and `tanh` within 2,
//! `sigmoid` and `softplus` within 3, `silu` within 4.

use super::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Operand, Rounding, Ty, Unary};
use crate::shared::strip_of;
use ic_ir::scalar::ScalarOp;
use ic_kernels::abi::Strip;
use ic_kernels::strips::{TraceOp, trace};

impl Emitter<'_> {
    /// The function of an f32, if it is a straight-line strip.
    pub(super) fn strip(&mut self, op: ScalarOp, x: Operand) -> Option<Operand> {
        let strip = match op {
            ScalarOp::HardSwish => Strip::HardSwish,
            op => strip_of(op)?,
        };
        let program = trace(strip)?;
        let mut values: Vec<Operand> = Vec::with_capacity(program.len());
        for op in program {
            let value = self.traced(op, x, &values);
            values.push(value);
        }
        values.last().copied()
    }

    /// One operation. Values are floats or integers as they come; the other form is a copy.
    fn traced(&mut self, op: TraceOp, x: Operand, values: &[Operand]) -> Operand {
        let at = |i: u32| values[i as usize];
        let float = |e: &mut Self, i: u32| e.float_of(values[i as usize]);
        let bits = |e: &mut Self, i: u32| e.bits_of(values[i as usize]);
        let floats = |e: &mut Self, op, a, b| {
            let (a, b) = (float(e, a), float(e, b));
            Operand::Reg(e.b.binary(op, Ty::F32, a, b))
        };
        let ints = |e: &mut Self, op, ty, a, b| {
            let (a, b) = (bits(e, a), bits(e, b));
            Operand::Reg(e.b.binary(op, ty, a, b))
        };
        match op {
            TraceOp::Input => x,
            TraceOp::Const(bits) => Operand::F32(bits),
            TraceOp::Add(a, b) => floats(self, Binary::Add, a, b),
            TraceOp::Sub(a, b) => floats(self, Binary::Sub, a, b),
            TraceOp::Mul(a, b) => floats(self, Binary::Mul, a, b),
            TraceOp::Div(a, b) => floats(self, Binary::Div, a, b),
            TraceOp::MulAdd(a, b, c) => {
                let (a, b, c) = (float(self, a), float(self, b), float(self, c));
                self.b.fma(Ty::F32, a, b, c).into()
            }
            TraceOp::Sqrt(a) => {
                let a = float(self, a);
                self.b.unary(Unary::Sqrt, Ty::F32, a).into()
            }
            TraceOp::Round(a) => {
                let a = float(self, a);
                self.b.cvt(Rounding::Rni, Ty::F32, Ty::F32, a).into()
            }
            TraceOp::Max(a, b) | TraceOp::Min(a, b) => {
                let compare = if matches!(op, TraceOp::Max(..)) { Compare::Gt } else { Compare::Lt };
                let (a, b) = (float(self, a), float(self, b));
                let first = self.b.compare(compare, Ty::F32, a, b);
                self.b.select(Ty::F32, first, a, b).into()
            }
            TraceOp::Less(a, b) | TraceOp::Equal(a, b) => {
                let compare = if matches!(op, TraceOp::Less(..)) { Compare::Lt } else { Compare::Eq };
                let (a, b) = (float(self, a), float(self, b));
                self.b.compare(compare, Ty::F32, a, b).into()
            }
            TraceOp::Select(p, a, b) => {
                let (a, b) = (float(self, a), float(self, b));
                let p = self.b.in_register(Ty::Pred, at(p));
                self.b.select(Ty::F32, p, a, b).into()
            }
            TraceOp::And(a, b) => ints(self, Binary::And, Ty::B32, a, b),
            TraceOp::Or(a, b) => ints(self, Binary::Or, Ty::B32, a, b),
            TraceOp::Xor(a, b) => ints(self, Binary::Xor, Ty::B32, a, b),
            TraceOp::AddInt(a, b) => ints(self, Binary::Add, Ty::S32, a, b),
            TraceOp::SubInt(a, b) => ints(self, Binary::Sub, Ty::S32, a, b),
            TraceOp::ShiftLeft(a, n) => {
                let a = bits(self, a);
                self.b.binary(Binary::Shl, Ty::B32, a, i64::from(n)).into()
            }
            TraceOp::ShiftRight(a, n) => {
                let a = bits(self, a);
                self.b.binary(Binary::Shr, Ty::S32, a, i64::from(n)).into()
            }
            TraceOp::ToInt(a) => {
                let a = float(self, a);
                self.b.cvt(Rounding::Rni, Ty::S32, Ty::F32, a).into()
            }
            TraceOp::IntToFloat(a) => {
                let a = bits(self, a);
                let a = self.b.in_register(Ty::S32, a);
                self.b.cvt(Rounding::Rn, Ty::F32, Ty::S32, a).into()
            }
        }
    }

    fn float_of(&mut self, value: Operand) -> Operand {
        match value {
            Operand::Reg(reg) if reg.class != Ty::F32.class() => self.as_float(reg).into(),
            other => other,
        }
    }

    fn bits_of(&mut self, value: Operand) -> Operand {
        match value {
            Operand::Reg(reg) if reg.class == Ty::F32.class() => Operand::Reg(self.as_bits(reg)),
            Operand::F32(bits) => Operand::Int((bits as i32).into()),
            other => other,
        }
    }
}
