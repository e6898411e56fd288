//! Float arithmetic.

use super::Emitter;
use super::value::Width;
use crate::shared::strip_of;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value, ValueDef};
use ic_ir::scalar::ScalarOp;

impl Emitter<'_> {
    /// An arithmetic function of floats. Strips of f32 are not computed here.
    pub(super) fn float_op(&mut self, op: ScalarOp, args: &[Value], width: Width) -> Value {
        let (a, b) = (args[0], args[args.len() - 1]);
        match op {
            ScalarOp::Neg => self.b.ins().fneg(a),
            ScalarOp::Abs => self.b.ins().fabs(a),
            ScalarOp::Sign => self.sign(a),
            ScalarOp::Floor => self.b.ins().floor(a),
            ScalarOp::Ceil => self.b.ins().ceil(a),
            ScalarOp::Round => self.b.ins().nearest(a),
            ScalarOp::Sqrt => self.b.ins().sqrt(a),
            ScalarOp::Reciprocal => {
                let one = self.float_like(a, 1.0);
                self.b.ins().fdiv(one, a)
            }
            ScalarOp::Add => self.b.ins().fadd(a, b),
            ScalarOp::Sub => self.b.ins().fsub(a, b),
            ScalarOp::Mul => self.b.ins().fmul(a, b),
            ScalarOp::Div => self.b.ins().fdiv(a, b),
            ScalarOp::Min => self.float_extreme(FloatCC::LessThan, a, b),
            ScalarOp::Max => self.float_extreme(FloatCC::GreaterThan, a, b),
            ScalarOp::Relu => {
                let zero = self.float_like(a, 0.0);
                self.larger_than(zero, a, FloatCC::GreaterThan)
            }
            ScalarOp::HardSwish => self.hard_swish(a),
            ScalarOp::Rem | ScalarOp::Mod => {
                debug_assert_eq!(width, Width::Scalar);
                let rest = self.call_fmod(a, b);
                if op == ScalarOp::Rem { rest } else { self.with_sign_of_divisor(rest, b) }
            }
            ScalarOp::Pow => self.call_f64_pow(a, b),
            _ => {
                let strip = strip_of(op).expect("what is neither arithmetic nor a strip does not take floats");
                self.call_f64(strip, a)
            }
        }
    }

    /// `x` if it compares so with `y`, else `y`: one instruction, and `y` where either is NaN.
    fn larger_than(&mut self, x: Value, y: Value, condition: FloatCC) -> Value {
        // The order of operands is the one that the code generator knows as a minimum or maximum.
        let chosen = match condition {
            FloatCC::GreaterThan => self.b.ins().fcmp(FloatCC::LessThan, y, x),
            _ => self.b.ins().fcmp(FloatCC::LessThan, x, y),
        };
        self.pick(chosen, x, y)
    }

    /// The smaller or larger; NaN if either is NaN.
    pub(super) fn float_extreme(&mut self, condition: FloatCC, a: Value, b: Value) -> Value {
        // Only the operand that is not constant may be NaN.
        if self.is_number(b) {
            return self.larger_than(b, a, condition);
        }
        if self.is_number(a) {
            return self.larger_than(a, b, condition);
        }
        let extreme = self.larger_than(a, b, condition);
        let is_nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
        self.pick(is_nan, a, extreme)
    }

    /// Whether a value is a constant that is not NaN.
    fn is_number(&self, value: Value) -> bool {
        let dfg = &self.b.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(value) else { return false };
        match dfg.insts[inst] {
            InstructionData::UnaryIeee32 { imm, .. } => !f32::from_bits(imm.bits()).is_nan(),
            InstructionData::UnaryIeee64 { imm, .. } => !f64::from_bits(imm.bits()).is_nan(),
            InstructionData::Unary { opcode: Opcode::Splat, arg } => self.is_number(arg),
            _ => false,
        }
    }

    fn sign(&mut self, a: Value) -> Value {
        let (zero, one) = (self.float_like(a, 0.0), self.float_like(a, 1.0));
        let minus_one = self.float_like(a, -1.0);
        let positive = self.b.ins().fcmp(FloatCC::GreaterThan, a, zero);
        let negative = self.b.ins().fcmp(FloatCC::LessThan, a, zero);
        let rest = self.b.ins().fadd(a, zero);
        let rest = self.pick(negative, minus_one, rest);
        self.pick(positive, one, rest)
    }

    fn hard_swish(&mut self, a: Value) -> Value {
        let (zero, one) = (self.float_like(a, 0.0), self.float_like(a, 1.0));
        let (six, half) = (self.float_like(a, 6.0), self.float_like(a, 0.5));
        let sixth = self.b.ins().fdiv(a, six);
        let sum = self.b.ins().fadd(sixth, half);
        let low = self.larger_than(zero, sum, FloatCC::GreaterThan);
        let gate = self.larger_than(one, low, FloatCC::LessThan);
        self.b.ins().fmul(a, gate)
    }

    fn with_sign_of_divisor(&mut self, rest: Value, b: Value) -> Value {
        let zero = self.float_like(rest, 0.0);
        let is_rest = self.b.ins().fcmp(FloatCC::NotEqual, rest, zero);
        let rest_negative = self.b.ins().fcmp(FloatCC::LessThan, rest, zero);
        let b_negative = self.b.ins().fcmp(FloatCC::LessThan, b, zero);
        let differs = self.b.ins().bxor(rest_negative, b_negative);
        let wraps = self.b.ins().band(is_rest, differs);
        let sum = self.b.ins().fadd(rest, b);
        self.pick(wraps, sum, rest)
    }
}
