//! Calls through the table of functions.

use super::Emitter;
use cranelift_codegen::ir::types::{F32, F64, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Type, Value};
use ic_kernels::abi::{Strip, Table};
use std::mem::{offset_of, size_of};

const POINTER: usize = size_of::<usize>();

/// Which element of many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extreme {
    Smallest,
    Greatest,
}

impl Emitter<'_> {
    fn function(&mut self, offset: usize) -> Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(I64, flags, self.table, offset as i32)
    }

    fn call(&mut self, offset: usize, params: &[Type], returns: Option<Type>, args: &[Value]) -> Option<Value> {
        let mut signature = Signature::new(self.config.default_call_conv);
        signature.params.extend(params.iter().map(|&ty| AbiParam::new(ty)));
        signature.returns.extend(returns.map(AbiParam::new));
        let signature = self.b.import_signature(signature);
        let function = self.function(offset);
        let call = self.b.ins().call_indirect(signature, function, args);
        self.b.inst_results(call).first().copied()
    }

    /// `dst[i] = strip(src[i])` for `i < n`.
    pub(super) fn call_strip(&mut self, strip: Strip, dst: Value, src: Value, n: Value) {
        let offset = offset_of!(Table, strips) + POINTER * strip as usize;
        self.call(offset, &[I64; 3], None, &[dst, src, n]);
    }

    /// `dst[i] = a[i]^b[i]` for `i < n`.
    pub(super) fn call_pow(&mut self, dst: Value, a: Value, b: Value, n: Value) {
        self.call(offset_of!(Table, pow), &[I64; 4], None, &[dst, a, b, n]);
    }

    /// `dst[i] = round(src[i] / scale) + zero` as bytes for `i < n`, limited; `numbers` are scale, zero point and limits.
    pub(super) fn call_quantize(&mut self, dst: Value, src: Value, n: Value, numbers: [Value; 4]) {
        let args: Vec<Value> = [dst, src, n].into_iter().chain(numbers).collect();
        self.call(offset_of!(Table, quantize), &[I64, I64, I64, F32, F32, F32, F32], None, &args);
    }

    /// The smallest or greatest of `n` f32.
    pub(super) fn call_extreme(&mut self, extreme: Extreme, src: Value, n: Value) -> Value {
        let offset = match extreme {
            Extreme::Smallest => offset_of!(Table, smallest),
            Extreme::Greatest => offset_of!(Table, greatest),
        };
        self.call(offset, &[I64; 2], Some(F32), &[src, n]).expect("the function returns a value")
    }

    /// The strip's function of one f64.
    pub(super) fn call_f64(&mut self, strip: Strip, x: Value) -> Value {
        let offset = offset_of!(Table, f64_functions) + POINTER * strip as usize;
        self.call(offset, &[F64], Some(F64), &[x]).expect("the function returns a value")
    }

    /// `a^b` of f64.
    pub(super) fn call_f64_pow(&mut self, a: Value, b: Value) -> Value {
        self.call(offset_of!(Table, f64_pow), &[F64; 2], Some(F64), &[a, b]).expect("the function returns a value")
    }

    /// C's `fmod` of f32 or f64.
    pub(super) fn call_fmod(&mut self, a: Value, b: Value) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let offset = if ty == F32 { offset_of!(Table, f32_fmod) } else { offset_of!(Table, f64_fmod) };
        self.call(offset, &[ty; 2], Some(ty), &[a, b]).expect("the function returns a value")
    }
}
