//! Loads and stores: elements in memory to values in registers and back.

use super::Emitter;
use super::value::{LANES, Rep, Val, little};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, F64, I8, I8X16, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use ic_types::DType;

/// Bytes of one element in memory.
pub(super) fn size(dtype: DType) -> i64 {
    dtype.size().map_or(1, |size| size as i64)
}

fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Emitter<'_> {
    /// The element at `address + offset` bytes.
    pub(super) fn load_one(&mut self, dtype: DType, address: Value, offset: i32) -> Value {
        let ins = self.b.ins();
        match dtype {
            DType::F32 => ins.load(F32, flags(), address, offset),
            DType::F64 => ins.load(F64, flags(), address, offset),
            DType::I32 | DType::U32 => ins.load(I32, flags(), address, offset),
            DType::Bool => ins.load(I8, flags(), address, offset),
            DType::I16 => ins.sload16(I32, flags(), address, offset),
            DType::U16 => ins.uload16(I32, flags(), address, offset),
            DType::F16 | DType::BF16 => {
                let bits = ins.uload16(I32, flags(), address, offset);
                self.widen_half(dtype, bits)
            }
            _ if size(dtype) == 8 => ins.load(I64, flags(), address, offset),
            _ if dtype.is_signed_int() => ins.sload8(I32, flags(), address, offset),
            _ => ins.uload8(I32, flags(), address, offset),
        }
    }

    /// Four neighbouring elements from `address + offset` bytes on.
    pub(super) fn load_four(&mut self, dtype: DType, address: Value, offset: i32) -> Val {
        if Rep::of(dtype).is_wide() {
            let step = size(dtype) as i32;
            return Val::Lanes(std::array::from_fn(|i| self.load_one(dtype, address, offset + step * i as i32)));
        }
        let ins = self.b.ins();
        Val::Vector(match dtype {
            DType::F32 => ins.load(F32X4, flags(), address, offset),
            DType::I32 | DType::U32 => ins.load(I32X4, flags(), address, offset),
            DType::I16 => ins.sload16x4(flags(), address, offset),
            DType::U16 => ins.uload16x4(flags(), address, offset),
            DType::F16 | DType::BF16 => {
                let bits = ins.uload16x4(flags(), address, offset);
                self.widen_half(dtype, bits)
            }
            _ => {
                let word = ins.load(I32, flags(), address, offset);
                let word = self.b.ins().scalar_to_vector(I32X4, word);
                let bytes = self.b.ins().bitcast(I8X16, little(), word);
                if dtype.is_signed_int() {
                    let halves = self.b.ins().swiden_low(bytes);
                    self.b.ins().swiden_low(halves)
                } else {
                    let halves = self.b.ins().uwiden_low(bytes);
                    let words = self.b.ins().uwiden_low(halves);
                    if dtype == DType::Bool { self.is_not_zero(words) } else { words }
                }
            }
        })
    }

    fn is_not_zero(&mut self, words: Value) -> Value {
        let zero = self.int_like(words, 0);
        self.b.ins().icmp(IntCC::NotEqual, words, zero)
    }

    /// Stores an element at `address + offset` bytes.
    pub(super) fn store_one(&mut self, dtype: DType, value: Value, address: Value, offset: i32) {
        match dtype {
            DType::F16 | DType::BF16 => {
                let bits = self.narrow_half(dtype, value);
                self.b.ins().istore16(flags(), bits, address, offset);
            }
            DType::I16 | DType::U16 => {
                self.b.ins().istore16(flags(), value, address, offset);
            }
            _ if Rep::of(dtype) == Rep::I32 && size(dtype) == 1 => {
                self.b.ins().istore8(flags(), value, address, offset);
            }
            _ => {
                self.b.ins().store(flags(), value, address, offset);
            }
        }
    }

    /// Stores four neighbouring elements from `address + offset` bytes on.
    pub(super) fn store_four(&mut self, dtype: DType, val: Val, address: Value, offset: i32) {
        if Rep::of(dtype).is_wide() {
            for i in 0..LANES {
                let lane = self.lane(val, dtype, i);
                self.store_one(dtype, lane, address, offset + size(dtype) as i32 * i as i32);
            }
            return;
        }
        let vector = self.vector(val, dtype);
        let packed = match dtype {
            DType::F32 | DType::I32 | DType::U32 => vector,
            DType::F16 | DType::BF16 => {
                let bits = self.narrow_half(dtype, vector);
                self.packed_halves(bits)
            }
            DType::I16 | DType::U16 => self.packed_halves(vector),
            _ => {
                let mask = self.int_like(vector, if dtype == DType::Bool { 1 } else { 0xff });
                let bytes = self.b.ins().band(vector, mask);
                let halves = self.b.ins().unarrow(bytes, bytes);
                let bytes = self.b.ins().unarrow(halves, halves);
                let words = self.b.ins().bitcast(I32X4, little(), bytes);
                self.b.ins().extractlane(words, 0)
            }
        };
        self.b.ins().store(flags(), packed, address, offset);
    }

    /// The low halves of four i32 as one i64.
    fn packed_halves(&mut self, words: Value) -> Value {
        let mask = self.int_like(words, 0xffff);
        let halves = self.b.ins().band(words, mask);
        let packed = self.b.ins().unarrow(halves, halves);
        debug_assert_eq!(self.b.func.dfg.value_type(packed), I16X8);
        let pairs = self.b.ins().bitcast(I64X2, little(), packed);
        self.b.ins().extractlane(pairs, 0)
    }
}
