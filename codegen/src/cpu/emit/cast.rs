//! Conversions between element types. ONNX `Cast`.
//!
//! As the evaluator does it: floats become integers by truncation to 64 bits, saturated, and then lose their high bits;
//! NaN becomes 0; 16-bit floats are rounded once. Floats that are known to fit 32 bits take a shorter way.

use super::Emitter;
use super::range::fits_i32;
use super::value::{LANES, Rep, Val};
use crate::shared::form::{NodeId, Pass};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, F64, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use ic_types::DType;

/// What is known of a float that becomes an integer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Nothing.
    None,
    /// It is NaN or fits an i32.
    Int32,
}

impl Emitter<'_> {
    /// Node `arg` of `pass`, whose value is `val`, as `to`.
    pub(super) fn cast_node(&mut self, pass: &Pass, arg: NodeId, to: DType, val: Val) -> Val {
        let bound = if fits_i32(pass, arg) { Bound::Int32 } else { Bound::None };
        self.cast_bounded(pass.types[arg], to, val, bound)
    }

    /// `val`, of type `from`, as `to`.
    pub(super) fn cast(&mut self, from: DType, to: DType, val: Val) -> Val {
        self.cast_bounded(from, to, val, Bound::None)
    }

    fn cast_bounded(&mut self, from: DType, to: DType, val: Val, bound: Bound) -> Val {
        if from == to {
            return val;
        }
        let to_int = Rep::of(from) == Rep::F32 && Rep::of(to) == Rep::I32;
        let wide_float = to_int && bound == Bound::None;
        let by_lane = Rep::of(from).is_wide() || Rep::of(to).is_wide() || wide_float || rounds_twice(from, to);
        match val {
            Val::One(value) => Val::One(self.cast_value(from, to, value, bound)),
            Val::Vector(vector) if !by_lane => Val::Vector(self.cast_value(from, to, vector, bound)),
            _ => {
                let lanes: [Value; LANES] = std::array::from_fn(|lane| {
                    let value = self.lane(val, from, lane);
                    self.cast_value(from, to, value, bound)
                });
                self.joined(lanes, to)
            }
        }
    }

    fn cast_value(&mut self, from: DType, to: DType, value: Value, bound: Bound) -> Value {
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
                    Rep::F32 => self.int_to_float(DType::I8, to, int, is_vector),
                    Rep::F64 => self.int_to_float(DType::I8, to, int, false),
                }
            }
            (Rep::I32 | Rep::I64, Rep::F32 | Rep::F64) => self.int_to_float(from, to, value, is_vector),
            (Rep::F32, Rep::F32) => self.rounded(to, value),
            (Rep::F64, Rep::F64) => value,
            (Rep::F32, Rep::F64) => self.b.ins().fpromote(F64, value),
            (Rep::F64, Rep::F32) if to == DType::F32 => self.b.ins().fdemote(F32, value),
            (Rep::F64, Rep::F32) => {
                let odd = self.demoted_to_odd(value);
                self.rounded(to, odd)
            }
            (Rep::F32 | Rep::F64, Rep::I32 | Rep::I64) => self.float_to_int(to, value, is_vector, bound),
            (Rep::I32 | Rep::I64, Rep::I32 | Rep::I64) => self.int_to_int(from, to, value),
        }
    }

    fn int_to_float(&mut self, from: DType, to: DType, value: Value, is_vector: bool) -> Value {
        let ty = match Rep::of(to) {
            Rep::F64 => F64,
            _ if is_vector => F32X4,
            _ => F32,
        };
        let ty = if rounds_twice(from, to) { F64 } else { ty };
        let value = if matches!(from, DType::U32 | DType::U64) {
            self.b.ins().fcvt_from_uint(ty, value)
        } else {
            self.b.ins().fcvt_from_sint(ty, value)
        };
        if rounds_twice(from, to) {
            return self.cast_value(DType::F64, to, value, Bound::None);
        }
        self.rounded(to, value)
    }

    /// An f64 as the f32 next to it that is odd in its last bit, or as itself where it is an f32. Rounding that to fewer
    /// bits gives what rounding the f64 gives.
    fn demoted_to_odd(&mut self, value: Value) -> Value {
        let nearest = self.b.ins().fdemote(F32, value);
        let back = self.b.ins().fpromote(F64, nearest);
        let bits = self.bits(I32, nearest);
        let (zero, one, minus_one) = (self.int_like(bits, 0), self.int_like(bits, 1), self.int_like(bits, -1));
        let (magnitude, rounded) = (self.b.ins().fabs(value), self.b.ins().fabs(back));
        let is_low = self.b.ins().fcmp(FloatCC::LessThan, rounded, magnitude);
        let is_high = self.b.ins().fcmp(FloatCC::GreaterThan, rounded, magnitude);
        let last = self.b.ins().band(bits, one);
        let is_odd = self.b.ins().icmp(IntCC::NotEqual, last, zero);
        let step = self.b.ins().select(is_high, minus_one, zero);
        let step = self.b.ins().select(is_low, one, step);
        let step = self.b.ins().select(is_odd, zero, step);
        let odd = self.b.ins().iadd(bits, step);
        self.bits(F32, odd)
    }

    fn float_to_int(&mut self, to: DType, value: Value, is_vector: bool, bound: Bound) -> Value {
        let is_f32 = is_vector || self.b.func.dfg.value_type(value) == F32;
        if self.is_x86 && is_f32 && to.bits() <= 16 && bound == Bound::Int32 {
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
            _ if bound == Bound::Int32 && to != DType::U32 => {
                let int = self.b.ins().fcvt_to_sint_sat(I32, value);
                self.normalized(to, int)
            }
            _ => {
                let wide = self.b.ins().fcvt_to_sint_sat(I64, value);
                let int = self.b.ins().ireduce(I32, wide);
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

/// Whether a conversion by way of f32 would round twice.
fn rounds_twice(from: DType, to: DType) -> bool {
    matches!(to, DType::F16 | DType::BF16) && from.is_int() && from.bits() > 16
}
