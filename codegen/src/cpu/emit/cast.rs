//! Conversions between element types. ONNX `Cast`.
//!
//! Floats become integers by truncation; NaN becomes 0. What does not fit saturates at 64 bits or, for i32 and narrower
//! integers, at 32 bits, and is then cut to the type's width. Integers of at most 16 bits are 0 there on x86-64.

use super::Emitter;
use super::value::{LANES, Rep, Val};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use ic_types::DType;

impl Emitter<'_> {
    /// `val`, of type `from`, as `to`.
    pub(super) fn cast(&mut self, from: DType, to: DType, val: Val) -> Val {
        if from == to {
            return val;
        }
        // Only wide floats become u32 right.
        let unsigned_float = Rep::of(from) == Rep::F32 && to == DType::U32;
        let by_lane = Rep::of(from).is_wide() || Rep::of(to).is_wide() || unsigned_float;
        match val {
            Val::One(value) => Val::One(self.cast_value(from, to, value)),
            Val::Vector(vector) if !by_lane => Val::Vector(self.cast_value(from, to, vector)),
            _ => {
                let lanes: [Value; LANES] = std::array::from_fn(|lane| {
                    let value = self.lane(val, from, lane);
                    self.cast_value(from, to, value)
                });
                self.joined(lanes, to)
            }
        }
    }

    fn cast_value(&mut self, from: DType, to: DType, value: Value) -> Value {
        let is_vector = self.b.func.dfg.value_type(value).is_vector();
        match (Rep::of(from), Rep::of(to)) {
            (Rep::F32 | Rep::F64, Rep::Bool) => {
                let zero = self.float_like(value, 0.0);
                self.b.ins().fcmp(FloatCC::NotEqual, value, zero)
            }
            (Rep::I32 | Rep::I64, Rep::Bool) => {
                let zero = self.int_like(value, 0);
                self.b.ins().icmp(IntCC::NotEqual, value, zero)
            }
            (Rep::Bool, rep) => {
                let int = if is_vector {
                    let one = self.int_like(value, 1);
                    self.b.ins().band(value, one)
                } else {
                    self.b.ins().uextend(I32, value)
                };
                match rep {
                    Rep::Bool => value,
                    Rep::I64 => self.b.ins().uextend(I64, int),
                    Rep::I32 => int,
                    Rep::F32 => self.int_to_float(DType::I32, to, int, is_vector),
                    Rep::F64 => self.int_to_float(DType::I32, to, int, false),
                }
            }
            (Rep::I32 | Rep::I64, Rep::F32 | Rep::F64) => self.int_to_float(from, to, value, is_vector),
            (Rep::F32, Rep::F32) => self.rounded(to, value),
            (Rep::F64, Rep::F64) => value,
            (Rep::F32, Rep::F64) => self.b.ins().fpromote(F64, value),
            (Rep::F64, Rep::F32) => {
                let narrow = self.b.ins().fdemote(F32, value);
                self.rounded(to, narrow)
            }
            (Rep::F32 | Rep::F64, Rep::I32 | Rep::I64) => self.float_to_int(to, value, is_vector),
            (Rep::I32 | Rep::I64, Rep::I32 | Rep::I64) => self.int_to_int(from, to, value),
        }
    }

    fn int_to_float(&mut self, from: DType, to: DType, value: Value, is_vector: bool) -> Value {
        let ty = match Rep::of(to) {
            Rep::F64 => F64,
            _ if is_vector => F32X4,
            _ => F32,
        };
        let value = if matches!(from, DType::U32 | DType::U64) {
            self.b.ins().fcvt_from_uint(ty, value)
        } else {
            self.b.ins().fcvt_from_sint(ty, value)
        };
        self.rounded(to, value)
    }

    fn float_to_int(&mut self, to: DType, value: Value, is_vector: bool) -> Value {
        let is_f32 = is_vector || self.b.func.dfg.value_type(value) == F32;
        if self.is_x86 && is_f32 && to.bits() <= 16 {
            // The instruction gives the smallest i32 for NaN, and the low bits of that are 0.
            let vector = if is_vector { value } else { self.b.ins().scalar_to_vector(F32X4, value) };
            let ints = self.b.ins().x86_cvtt2dq(I32X4, vector);
            let ints = if is_vector { ints } else { self.b.ins().extractlane(ints, 0) };
            return self.normalized(to, ints);
        }
        if is_vector {
            let ints = self.b.ins().fcvt_to_sint_sat(I32X4, value);
            return self.normalized(to, ints);
        }
        match to {
            DType::I64 => self.b.ins().fcvt_to_sint_sat(I64, value),
            DType::U64 => {
                // Negative numbers wrap.
                let signed = self.b.ins().fcvt_to_sint_sat(I64, value);
                let unsigned = self.b.ins().fcvt_to_uint_sat(I64, value);
                let zero = self.float_like(value, 0.0);
                let negative = self.b.ins().fcmp(FloatCC::LessThan, value, zero);
                self.b.ins().select(negative, signed, unsigned)
            }
            DType::U32 => {
                let wide = self.b.ins().fcvt_to_sint_sat(I64, value);
                self.b.ins().ireduce(I32, wide)
            }
            _ => {
                let int = self.b.ins().fcvt_to_sint_sat(I32, value);
                self.normalized(to, int)
            }
        }
    }

    fn int_to_int(&mut self, from: DType, to: DType, value: Value) -> Value {
        match (Rep::of(from), Rep::of(to)) {
            (Rep::I32, Rep::I64) if from.is_signed_int() => self.b.ins().sextend(I64, value),
            (Rep::I32, Rep::I64) => self.b.ins().uextend(I64, value),
            (Rep::I64, Rep::I32) => {
                let low = self.b.ins().ireduce(I32, value);
                self.normalized(to, low)
            }
            (Rep::I32, _) => self.normalized(to, value),
            _ => value,
        }
    }
}
