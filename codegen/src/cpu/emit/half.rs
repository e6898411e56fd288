//! 16-bit floats: bit patterns to f32 and back, one element or four, as [`ic_types::f16_to_f32`] and its siblings do it.

use super::Emitter;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{InstBuilder, Type, Value};
use ic_types::DType;

fn floats(ty: Type) -> Type {
    if ty == I32X4 { F32X4 } else { F32 }
}

fn ints(ty: Type) -> Type {
    if ty == F32X4 { I32X4 } else { I32 }
}

impl Emitter<'_> {
    /// The f32 that a 16-bit pattern, zero-extended to i32, stands for.
    pub(super) fn widen_half(&mut self, dtype: DType, bits: Value) -> Value {
        let ty = floats(self.b.func.dfg.value_type(bits));
        if dtype == DType::BF16 {
            let shifted = self.shl(bits, 16);
            return self.bits(ty, shifted);
        }
        let mask = self.int_like(bits, 0x7fff);
        let magnitude = self.b.ins().band(bits, mask);
        let shifted = self.shl(magnitude, 13);
        // The product moves the exponent by 112 and normalizes subnormals.
        let small = self.bits(ty, shifted);
        let scale = self.float_like(small, 2f64.powi(112));
        let scaled = self.b.ins().fmul(small, scale);
        let scaled = self.bits(ints(ty), scaled);
        let infinity = self.int_like(bits, 0x7c00);
        let special = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, magnitude, infinity);
        let exponent = self.int_like(bits, 0x7f80_0000);
        let all_ones = self.b.ins().bor(shifted, exponent);
        let value = self.pick(special, all_ones, scaled);
        let sign_mask = self.int_like(bits, 0x8000);
        let sign = self.b.ins().band(bits, sign_mask);
        let sign = self.shl(sign, 16);
        let value = self.b.ins().bor(value, sign);
        self.bits(ty, value)
    }

    /// The 16-bit pattern nearest to an f32, zero-extended to i32.
    pub(super) fn narrow_half(&mut self, dtype: DType, value: Value) -> Value {
        if dtype == DType::BF16 { self.bf16_bits(value) } else { self.f16_bits(value) }
    }

    /// The f32 rounded to what `dtype` can hold.
    pub(super) fn rounded(&mut self, dtype: DType, value: Value) -> Value {
        match dtype {
            DType::F16 | DType::BF16 => {
                let bits = self.narrow_half(dtype, value);
                self.widen_half(dtype, bits)
            }
            _ => value,
        }
    }

    fn bf16_bits(&mut self, value: Value) -> Value {
        let ty = self.b.func.dfg.value_type(value);
        let is_nan = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        let bits = self.bits(ints(ty), value);
        let high = self.shr(bits, 16);
        let one = self.int_like(bits, 1);
        let odd = self.b.ins().band(high, one);
        let half = self.int_like(bits, 0x7fff);
        let rounding = self.b.ins().iadd(odd, half);
        let sum = self.b.ins().iadd(bits, rounding);
        let nearest = self.shr(sum, 16);
        let quiet_bit = self.int_like(bits, 0x40);
        let quiet = self.b.ins().bor(high, quiet_bit);
        self.pick(is_nan, quiet, nearest)
    }

    fn f16_bits(&mut self, value: Value) -> Value {
        let ty = self.b.func.dfg.value_type(value);
        let bits = self.bits(ints(ty), value);
        let mask = self.int_like(bits, 0x7fff_ffff);
        let magnitude = self.b.ins().band(bits, mask);
        let high = self.shr(bits, 16);
        let sign_mask = self.int_like(bits, 0x8000);
        let sign = self.b.ins().band(high, sign_mask);
        // Normal results: round at bit 13, then rebias the exponent.
        let shifted = self.shr(magnitude, 13);
        let one = self.int_like(bits, 1);
        let odd = self.b.ins().band(shifted, one);
        let bias = self.int_like(bits, 0x0fff - (112 << 23));
        let biased = self.b.ins().iadd(magnitude, bias);
        let biased = self.b.ins().iadd(biased, odd);
        let normal = self.shr(biased, 13);
        // Subnormal results: the addition rounds at 2^-24.
        let float = self.bits(ty, magnitude);
        let half = self.float_like(float, 0.5);
        let sum = self.b.ins().fadd(float, half);
        let sum = self.bits(ints(ty), sum);
        let half_bits = self.int_like(bits, i64::from(0.5f32.to_bits()));
        let subnormal = self.b.ins().isub(sum, half_bits);
        let result = self.at_least(magnitude, 0x3880_0000, normal, subnormal);
        let infinity = self.int_like(bits, 0x7c00);
        let result = self.at_least(magnitude, 0x4780_0000, infinity, result);
        let nan = self.int_like(bits, 0x7e00);
        let result = self.at_least(magnitude, 0x7f80_0001, nan, result);
        self.b.ins().bor(result, sign)
    }

    /// `yes` where `magnitude >= bound`, else `no`. Magnitudes are not negative.
    fn at_least(&mut self, magnitude: Value, bound: i64, yes: Value, no: Value) -> Value {
        let bound = self.int_like(magnitude, bound);
        let condition = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, magnitude, bound);
        self.pick(condition, yes, no)
    }

    /// `value << amount`, in every lane.
    pub(super) fn shl(&mut self, value: Value, amount: i64) -> Value {
        let amount = self.b.ins().iconst(I32, amount);
        self.b.ins().ishl(value, amount)
    }

    /// Logical `value >> amount`, in every lane.
    pub(super) fn shr(&mut self, value: Value, amount: i64) -> Value {
        let amount = self.b.ins().iconst(I32, amount);
        self.b.ins().ushr(value, amount)
    }
}
