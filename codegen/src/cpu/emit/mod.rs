//! Machine code of one kernel.
//!
//! A function walks the part of the outer space that its tile covers. Everything that does not change along the vector
//! axis is computed once before the loop over it. Elements are computed four at a time; what has no vector form is
//! computed lane by lane, so vector and scalar code give the same bits.

mod call;
mod cast;
mod float;
mod half;
mod index;
mod int;
mod loops;
mod memory;
mod ops;
mod range;
mod reduce;
mod run;
mod space;
mod strip;
mod value;

use super::scratch::Scratch;
use crate::shared::dims::DimBuilder;
use crate::shared::form::Form;
use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Signature, UserFuncName, Value, types};
use cranelift_codegen::isa::{TargetFrontendConfig, TargetIsa};

use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use ic_kernels::abi::Tile;
use ic_types::Dim;
use std::mem::offset_of;

/// Emits the code of a form.
struct Emitter<'a> {
    b: FunctionBuilder<'a>,
    form: &'a Form,
    scratch_layout: &'a Scratch,
    slots: &'a mut DimBuilder,
    config: TargetFrontendConfig,
    is_x86: bool,
    /// The function's arguments.
    dims: Value,
    table: Value,
    /// Base of scratch.
    scratch: Value,
    /// Base of each parameter.
    params: Vec<Value>,
    /// Value of each axis, outer ones first; `None` for the vector axis.
    axes: Vec<Option<Value>>,
    /// Result of each pass where that is one value at this outer point.
    results: Vec<Option<Value>>,
}

/// Compiles `form` to Cranelift IR.
pub(crate) fn function(
    form: &Form,
    scratch: &Scratch,
    slots: &mut DimBuilder,
    isa: &dyn TargetIsa,
    context: &mut FunctionBuilderContext,
) -> ir::Function {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = vec![AbiParam::new(types::I64); 4];
    let mut function = ir::Function::with_name_signature(UserFuncName::user(0, 0), signature);
    let mut b = FunctionBuilder::new(&mut function, context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let &[buffers, dims, table, tile] = b.block_params(entry) else {
        unreachable!("the signature has four parameters")
    };
    let flags = MemFlagsData::trusted();
    let scratch_base = b.ins().load(types::I64, flags, tile, offset_of!(Tile, scratch) as i32);
    let params =
        (0..form.params.len()).map(|i| b.ins().load(types::I64, flags, buffers, 8 * i as i32)).collect::<Vec<_>>();
    let config = isa.frontend_config();
    let mut emitter = Emitter {
        b,
        form,
        scratch_layout: scratch,
        slots,
        config,
        is_x86: isa.name() == "x64",
        dims,
        table,
        scratch: scratch_base,
        params,
        axes: Vec::new(),
        results: vec![None; form.passes.len()],
    };
    emitter.space(tile);
    emitter.b.ins().return_(&[]);
    emitter.b.seal_all_blocks();
    emitter.b.finalize(config);
    function
}

impl Emitter<'_> {
    fn iconst(&mut self, value: i64) -> Value {
        self.b.ins().iconst(types::I64, value)
    }

    /// The value of a dimension expression.
    fn dim(&mut self, dim: &Dim) -> Value {
        if let Some(value) = dim.as_const() {
            return self.iconst(value);
        }
        let slot = self.slots.slot(dim).expect("the symbols of a step are bound before it is compiled");
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        self.b.ins().load(types::I64, flags, self.dims, 8 * slot as i32)
    }

    /// `value * dim`.
    fn times(&mut self, value: Value, dim: &Dim) -> Value {
        if dim.is(1) {
            return value;
        }
        let factor = self.dim(dim);
        self.b.ins().imul(value, factor)
    }

    /// `value * 2^n` for a power of two.
    fn scaled(&mut self, value: Value, bytes: i64) -> Value {
        match bytes {
            1 => value,
            _ => {
                let shift = self.b.ins().iconst(types::I64, i64::from(bytes.trailing_zeros()));
                self.b.ins().ishl(value, shift)
            }
        }
    }

    /// An address in scratch.
    fn scratch_at(&mut self, offset: &Dim) -> Value {
        if offset.is(0) {
            return self.scratch;
        }
        let offset = self.dim(offset);
        self.b.ins().iadd(self.scratch, offset)
    }
}
