//! Integer arithmetic: wraps, and never traps.

use super::Emitter;
use super::value::Rep;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use ic_ir::scalar::ScalarOp;
use ic_types::DType;

impl Emitter<'_> {
    /// The low bits of a value, extended by the sign of the type.
    pub(super) fn normalized(&mut self, dtype: DType, value: Value) -> Value {
        let bits = dtype.bits() as i64;
        if Rep::of(dtype) == Rep::I64 || bits == 32 {
            return value;
        }
        if dtype.is_signed_int() {
            let shifted = self.shl(value, 32 - bits);
            let amount = self.b.ins().iconst(I32, 32 - bits);
            return self.b.ins().sshr(shifted, amount);
        }
        let mask = self.int_like(value, (1 << bits) - 1);
        self.b.ins().band(value, mask)
    }

    /// An arithmetic function of integers, up to the bits above the type's width.
    pub(super) fn int_op(&mut self, op: ScalarOp, dtype: DType, args: &[Value]) -> Value {
        let (a, b) = (args[0], args[args.len() - 1]);
        let signed = dtype.is_signed_int();
        match op {
            ScalarOp::Neg => self.b.ins().ineg(a),
            ScalarOp::Abs if signed => self.b.ins().iabs(a),
            ScalarOp::Relu if signed => {
                let zero = self.int_like(a, 0);
                self.b.ins().smax(a, zero)
            }
            ScalarOp::Abs | ScalarOp::Relu => a,
            ScalarOp::Sign => self.int_sign(a, signed),
            ScalarOp::BitNot => self.b.ins().bnot(a),
            ScalarOp::Add => self.b.ins().iadd(a, b),
            ScalarOp::Sub => self.b.ins().isub(a, b),
            ScalarOp::Mul => self.b.ins().imul(a, b),
            ScalarOp::Min if signed => self.b.ins().smin(a, b),
            ScalarOp::Min => self.b.ins().umin(a, b),
            ScalarOp::Max if signed => self.b.ins().smax(a, b),
            ScalarOp::Max => self.b.ins().umax(a, b),
            ScalarOp::BitAnd => self.b.ins().band(a, b),
            ScalarOp::BitOr => self.b.ins().bor(a, b),
            ScalarOp::BitXor => self.b.ins().bxor(a, b),
            ScalarOp::Shl | ScalarOp::Shr => self.shift(op, dtype, a, b),
            ScalarOp::Div => self.quotient(a, b, signed),
            ScalarOp::Rem => self.remainder(a, b, signed),
            ScalarOp::Mod => {
                let rest = self.remainder(a, b, signed);
                if signed { self.int_with_sign_of(rest, b) } else { rest }
            }
            ScalarOp::Pow => self.int_pow(a, b, signed),
            _ => unreachable!("the type rule of `{}` excludes integers", op.name()),
        }
    }

    fn int_sign(&mut self, a: Value, signed: bool) -> Value {
        let (zero, one) = (self.int_like(a, 0), self.int_like(a, 1));
        if signed {
            let minus_one = self.int_like(a, -1);
            let low = self.b.ins().smin(a, one);
            self.b.ins().smax(low, minus_one)
        } else {
            let is_zero = self.b.ins().icmp(IntCC::Equal, a, zero);
            self.pick(is_zero, zero, one)
        }
    }

    /// A shift by an amount that may be too large. Of one element.
    fn shift(&mut self, op: ScalarOp, dtype: DType, a: Value, b: Value) -> Value {
        let width = self.int_like(b, dtype.bits() as i64);
        let fits = self.b.ins().icmp(IntCC::UnsignedLessThan, b, width);
        if op == ScalarOp::Shr && dtype.is_signed_int() {
            let most = self.int_like(b, dtype.bits() as i64 - 1);
            let amount = self.pick(fits, b, most);
            return self.b.ins().sshr(a, amount);
        }
        let shifted = if op == ScalarOp::Shl {
            self.b.ins().ishl(a, b)
        } else {
            let bits = match Rep::of(dtype) {
                Rep::I32 if dtype.bits() < 32 => {
                    let mask = self.int_like(a, (1 << dtype.bits()) - 1);
                    self.b.ins().band(a, mask)
                }
                _ => a,
            };
            self.b.ins().ushr(bits, b)
        };
        let zero = self.int_like(a, 0);
        self.pick(fits, shifted, zero)
    }

    /// `b`, or 1 where division would trap; whether `b` is 0; whether it is -1.
    fn safe_divisor(&mut self, b: Value, signed: bool) -> (Value, Value, Option<Value>) {
        let (zero, one) = (self.int_like(b, 0), self.int_like(b, 1));
        let is_zero = self.b.ins().icmp(IntCC::Equal, b, zero);
        let safe = self.pick(is_zero, one, b);
        if !signed {
            return (safe, is_zero, None);
        }
        let minus_one = self.int_like(b, -1);
        let is_minus_one = self.b.ins().icmp(IntCC::Equal, b, minus_one);
        (self.pick(is_minus_one, one, safe), is_zero, Some(is_minus_one))
    }

    fn quotient(&mut self, a: Value, b: Value, signed: bool) -> Value {
        let (safe, is_zero, is_minus_one) = self.safe_divisor(b, signed);
        let quotient = match is_minus_one {
            Some(is_minus_one) => {
                let quotient = self.b.ins().sdiv(a, safe);
                let negated = self.b.ins().ineg(a);
                self.pick(is_minus_one, negated, quotient)
            }
            None => self.b.ins().udiv(a, safe),
        };
        let zero = self.int_like(a, 0);
        self.pick(is_zero, zero, quotient)
    }

    /// The remainder by 0 and by -1 is 0, as it is by 1.
    fn remainder(&mut self, a: Value, b: Value, signed: bool) -> Value {
        let (safe, ..) = self.safe_divisor(b, signed);
        if signed { self.b.ins().srem(a, safe) } else { self.b.ins().urem(a, safe) }
    }

    fn int_with_sign_of(&mut self, rest: Value, b: Value) -> Value {
        let zero = self.int_like(rest, 0);
        let is_rest = self.b.ins().icmp(IntCC::NotEqual, rest, zero);
        let signs = self.b.ins().bxor(rest, b);
        let differ = self.b.ins().icmp(IntCC::SignedLessThan, signs, zero);
        let wraps = self.b.ins().band(is_rest, differ);
        let sum = self.b.ins().iadd(rest, b);
        self.pick(wraps, sum, rest)
    }

    /// `a^b` by repeated squaring. Of one element.
    fn int_pow(&mut self, a: Value, b: Value, signed: bool) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let (zero, one) = (self.int_like(a, 0), self.int_like(a, 1));
        let (result, base, exponent) = (self.b.declare_var(ty), self.b.declare_var(ty), self.b.declare_var(ty));
        self.b.def_var(result, one);
        self.b.def_var(base, a);
        let mut start = if signed { self.b.ins().smax(b, zero) } else { b };
        if ty == I64 {
            // Larger exponents count as the largest of 32 bits.
            let largest = self.iconst(u32::MAX.into());
            start = self.b.ins().umin(start, largest);
        }
        self.b.def_var(exponent, start);
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(header);
        let left = self.b.use_var(exponent);
        let done = self.b.ins().icmp(IntCC::Equal, left, zero);
        self.b.ins().brif(done, exit, &[], inside, &[]);
        self.b.switch_to_block(inside);
        let (product, power) = (self.b.use_var(result), self.b.use_var(base));
        let odd = self.b.ins().band(left, one);
        let next = self.b.ins().imul(product, power);
        let next = self.b.ins().select(odd, next, product);
        let square = self.b.ins().imul(power, power);
        let half = self.b.ins().ushr(left, one);
        self.b.def_var(result, next);
        self.b.def_var(base, square);
        self.b.def_var(exponent, half);
        self.b.ins().jump(header, &[]);
        self.b.switch_to_block(exit);
        let power = self.b.use_var(result);
        if signed { self.negative_power(a, b, power) } else { power }
    }

    /// `power` unless the exponent `b` is negative: then 1 and -1 have a power, and all else becomes 0.
    fn negative_power(&mut self, a: Value, b: Value, power: Value) -> Value {
        let (zero, one, minus_one) = (self.int_like(a, 0), self.int_like(a, 1), self.int_like(a, -1));
        let odd = self.b.ins().band(b, one);
        let alternating = self.b.ins().select(odd, minus_one, one);
        let is_minus_one = self.b.ins().icmp(IntCC::Equal, a, minus_one);
        let is_one = self.b.ins().icmp(IntCC::Equal, a, one);
        let value = self.b.ins().select(is_minus_one, alternating, zero);
        let value = self.b.ins().select(is_one, one, value);
        let negative = self.b.ins().icmp(IntCC::SignedLessThan, b, zero);
        self.b.ins().select(negative, value, power)
    }
}
