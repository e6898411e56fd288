//! Values of expressions: one for all lanes, a vector of four, or four scalars.
//!
//! In registers, 16-bit floats are f32 that a 16-bit float can hold, integers of at most 32 bits are i32 extended by
//! their sign, and bools are 0 or 1 (i8), or 0 or -1 in vectors (i32).

use super::Emitter;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I32, I32X4, I64};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};
use ic_types::DType;

/// Elements computed at a time.
pub(super) const LANES: usize = 4;

/// What a dtype is in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rep {
    F32,
    F64,
    I32,
    I64,
    Bool,
}

impl Rep {
    pub(super) fn of(dtype: DType) -> Rep {
        match dtype {
            DType::F32 | DType::F16 | DType::BF16 => Rep::F32,
            DType::F64 => Rep::F64,
            DType::I64 | DType::U64 | DType::C64 | DType::String | DType::Object => Rep::I64,
            DType::Bool => Rep::Bool,
            // 8-bit and narrower floats are only moved, as bytes.
            _ => Rep::I32,
        }
    }

    /// Whether elements are computed one by one.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Rep::F64 | Rep::I64)
    }

    /// The type of one element.
    pub(super) fn scalar(self) -> Type {
        match self {
            Rep::F32 => F32,
            Rep::F64 => F64,
            Rep::I32 => I32,
            Rep::I64 => I64,
            Rep::Bool => I8,
        }
    }

    /// The type of four elements.
    pub(super) fn vector(self) -> Type {
        match self {
            Rep::F32 => F32X4,
            _ => I32X4,
        }
    }
}

/// Whether a value is of one element or four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    Scalar,
    Vector,
}

/// The value of an expression.
#[derive(Clone, Copy, Debug)]
pub(super) enum Val {
    /// The same for all lanes, or that of the only lane.
    One(Value),
    /// Four lanes of at most 32 bits.
    Vector(Value),
    /// Four lanes.
    Lanes([Value; LANES]),
}

/// Flags of casts between vector types.
pub(super) fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

impl Emitter<'_> {
    /// The bits of `value` as another type of the same size.
    pub(super) fn bits(&mut self, ty: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty { value } else { self.b.ins().bitcast(ty, little(), value) }
    }

    /// A bool as a lane of a vector.
    fn mask(&mut self, bool: Value) -> Value {
        let wide = self.b.ins().uextend(I32, bool);
        self.b.ins().ineg(wide)
    }

    /// Four lanes as a vector.
    pub(super) fn vector(&mut self, val: Val, dtype: DType) -> Value {
        let rep = Rep::of(dtype);
        match val {
            Val::Vector(vector) => vector,
            Val::One(value) => {
                let value = if rep == Rep::Bool { self.mask(value) } else { value };
                self.b.ins().splat(rep.vector(), value)
            }
            Val::Lanes(lanes) => {
                let lanes = if rep == Rep::Bool { lanes.map(|lane| self.mask(lane)) } else { lanes };
                let mut vector = self.b.ins().scalar_to_vector(rep.vector(), lanes[0]);
                for (i, &lane) in lanes.iter().enumerate().skip(1) {
                    vector = self.b.ins().insertlane(vector, lane, i as u8);
                }
                vector
            }
        }
    }

    /// One lane.
    pub(super) fn lane(&mut self, val: Val, dtype: DType, lane: usize) -> Value {
        match val {
            Val::One(value) => value,
            Val::Lanes(lanes) => lanes[lane],
            Val::Vector(vector) => {
                let value = self.b.ins().extractlane(vector, lane as u8);
                if Rep::of(dtype) == Rep::Bool {
                    let zero = self.b.ins().iconst(I32, 0);
                    self.b.ins().icmp(IntCC::NotEqual, value, zero)
                } else {
                    value
                }
            }
        }
    }

    /// Lanes in the form that their type is computed in.
    pub(super) fn joined(&mut self, lanes: [Value; LANES], dtype: DType) -> Val {
        if Rep::of(dtype).is_wide() { Val::Lanes(lanes) } else { Val::Vector(self.vector(Val::Lanes(lanes), dtype)) }
    }

    /// A float constant of the type of `like`, of one element or more.
    pub(super) fn float_like(&mut self, like: Value, value: f64) -> Value {
        match self.b.func.dfg.value_type(like) {
            F64 => self.b.ins().f64const(value),
            ty => {
                let scalar = self.b.ins().f32const(value as f32);
                if ty == F32 { scalar } else { self.b.ins().splat(F32X4, scalar) }
            }
        }
    }

    /// An integer constant of the type of `like`, of one element or more.
    pub(super) fn int_like(&mut self, like: Value, value: i64) -> Value {
        let ty = self.b.func.dfg.value_type(like);
        if ty == I32X4 {
            let scalar = self.b.ins().iconst(I32, value & 0xffff_ffff);
            return self.b.ins().splat(I32X4, scalar);
        }
        let mask = if ty == I64 { -1i64 as u64 } else { (1u64 << ty.bits()) - 1 };
        self.b.ins().iconst(ty, (value as u64 & mask) as i64)
    }

    /// `yes` where `condition`, else `no`; each of one element or four.
    pub(super) fn pick(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        let ty = self.b.func.dfg.value_type(yes);
        if ty.is_vector() {
            let condition = self.bits(ty, condition);
            self.b.ins().bitselect(condition, yes, no)
        } else {
            self.b.ins().select(condition, yes, no)
        }
    }

    /// Logical not of one or four bools.
    pub(super) fn not(&mut self, condition: Value) -> Value {
        if self.b.func.dfg.value_type(condition).is_vector() {
            return self.b.ins().bnot(condition);
        }
        let one = self.b.ins().iconst(I8, 1);
        self.b.ins().bxor(condition, one)
    }
}
