//! The plan's steps: library calls with their epilogues, generated code.

use super::epilogue::{MenuOp, match_menu};
use super::following::{Target, epilogue_target, following, rows_apart, used_params, with_temporary_sum};
use super::integer_epilogue::match_integer_menu;
use super::reorder::{Reorder, reorder};
use super::{Generated, Generator, Tiling};
use crate::cpu::select::{Attr, CallOperand, LibraryCall, Site, View, plain, select};
use crate::shared::dims::DimBuilder;
use crate::shared::form::dense_strides;
use crate::shared::plan::{Buffers, Built, KernelSteps, Parts};
use ic_artifact::{CallInput, Callback, DimCheck, DimSlot, Epilogue, KernelRef, Operand, Step};
use ic_ir::Diagnostic;
use ic_ir::kernel::{self, Anchor, BufferKind, Kernel, Param, Program};
use ic_ir::ops::{self, Op};
use ic_kernels::isa::Isa;
use ic_types::{DType, Dim};
use std::sync::Arc;

/// Steps under construction.
pub(super) struct Builder<'a, 'b> {
    program: &'a Program,
    generator: &'b mut dyn Generator,
    dims: &'b mut DimBuilder,
    buffers: &'b mut Buffers<'a>,
    steps: Vec<Step>,
    kernels: Vec<KernelRef>,
    checks: Vec<DimCheck>,
    errors: Vec<Diagnostic>,
}

/// A kernel whose first stage is a whole op.
struct OpKernel<'k> {
    op: &'k Op,
    operands: &'k [Option<kernel::Operand>],
    results: &'k [Option<u32>],
    kernel: &'k Kernel,
    args: &'k [kernel::BufferId],
    location: &'k Arc<str>,
}

impl<'a> KernelSteps<'a> for Builder<'a, '_> {
    fn parts(&mut self) -> Parts<'_, 'a> {
        let program = self.program;
        let Builder { dims, buffers, steps, checks, errors, .. } = self;
        Parts { program, dims, buffers, steps, checks, errors }
    }

    fn kernel(&mut self, kernel: &Kernel, args: &[kernel::BufferId], location: &Arc<str>) -> Result<(), String> {
        match kernel.stages.first().map(|stage| &stage.anchor) {
            Some(Anchor::Op { op, operands, results }) => {
                self.op(&OpKernel { op, operands, results, kernel, args, location })
            }
            _ => self.code(kernel, args, location),
        }
    }
}

impl<'a, 'b> Builder<'a, 'b> {
    pub(super) fn new(
        program: &'a Program,
        generator: &'b mut dyn Generator,
        dims: &'b mut DimBuilder,
        buffers: &'b mut Buffers<'a>,
    ) -> Builder<'a, 'b> {
        Builder {
            program,
            generator,
            dims,
            buffers,
            steps: Vec::new(),
            kernels: Vec::new(),
            checks: Vec::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Built {
        Built {
            steps: self.steps,
            kernels: self.kernels,
            functions: Vec::new(),
            checks: self.checks,
            errors: self.errors,
        }
    }

    fn code(&mut self, kernel: &Kernel, args: &[kernel::BufferId], location: &Arc<str>) -> Result<(), String> {
        if let Some(copy) = reorder(kernel) {
            return self.reorder(kernel, &copy, args, location);
        }
        let generated = self.generator.generate(kernel, Tiling::Free, self.dims)?;
        let buffers = args.iter().map(|&arg| self.buffers.place(arg)).collect();
        self.steps.push(Step::Code {
            name: location.to_string(),
            function: generated.function,
            buffers,
            outer: generated.outer,
            cost_ns: generated.cost_ns,
            scratch_bytes: generated.scratch_bytes,
        });
        Ok(())
    }

    fn reorder(
        &mut self,
        kernel: &Kernel,
        copy: &Reorder,
        args: &[kernel::BufferId],
        location: &Arc<str>,
    ) -> Result<(), String> {
        let call = plain("copy_strided", Vec::new(), Vec::new());
        let shape = self.slots(&copy.shape)?;
        let dtype = kernel.params[copy.from as usize].dtype as u8;
        let offset = (!copy.offset.is(0)).then(|| self.slot(&copy.offset)).transpose()?;
        let strides = Some(self.slots(&copy.strides)?);
        let from = self.buffers.place(args[copy.from as usize]);
        let to = self.buffers.place(args[copy.to as usize]);
        let operands = vec![
            Some(Operand { buffer: from, offset, dtype, shape: shape.clone(), strides }),
            Some(Operand { buffer: to, offset: None, dtype, shape, strides: None }),
        ];
        let (kernel, name) = (self.kernel_ref(&call)?, location.to_string());
        let (attrs, epilogue) = (Vec::new(), Vec::new());
        self.steps.push(Step::Library { name, kernel, operands, attrs, epilogue, callback: None });
        Ok(())
    }

    /// Runs another entry on the operands.
    fn call(&mut self, k: &OpKernel, call: &ops::Call) -> Result<(), String> {
        let entry = call.entry.ok_or("a nested graph that is no entry")?;
        let mut inputs = Vec::new();
        for operand in k.operands.iter().flatten() {
            let shape = operand.shape.iter().map(|dim| self.slot(dim)).collect::<Result<_, _>>()?;
            inputs.push(CallInput { buffer: Some(self.buffers.place(k.args[operand.param as usize])), shape });
        }
        for symbol in &call.symbols {
            inputs.push(CallInput { buffer: None, shape: vec![self.slot(symbol)?] });
        }
        let result = |param: &Option<u32>| param.map(|param| k.args[param as usize]).ok_or("an unused result");
        let outputs = k.results.iter().map(result).collect::<Result<Vec<_>, _>>()?;
        let outputs = outputs.into_iter().map(|buffer| self.buffers.place(buffer)).collect();
        self.steps.push(Step::Call { name: k.location.to_string(), entry: entry as u32, inputs, outputs });
        Ok(())
    }

    fn op(&mut self, k: &OpKernel) -> Result<(), String> {
        if let Op::Call(call) = k.op {
            return self.call(k, call);
        }
        let operands: Vec<Option<View>> = k.operands.iter().map(|operand| self.operand_view(k, operand)).collect();
        if !k.kernel.stages[0].inner.is_empty() {
            return self.op_on_rows(k);
        }
        let target = epilogue_target(k.kernel);
        let is_integer = matches!(k.op, Op::IntegerMatmul(_) | Op::IntegerConvolution(_));
        let integer_menu = match &k.kernel.stages[1..] {
            [stage] if is_integer && target.is_some() => match_integer_menu(k.kernel, stage),
            _ => None,
        };
        if is_integer && k.results.first().is_some_and(Option::is_none) && integer_menu.is_none() {
            return self.op_on_sums(k);
        }
        let mut results: Vec<Option<u32>> = k.results.to_vec();
        let mut result_views: Vec<Option<View>> = results.iter().map(|p| p.map(|p| result_view(k.kernel, p))).collect();
        let in_place = results.first().is_some_and(Option::is_none);
        // An epilogue that stores one tensor of the result's shape works in place on it.
        if let (true, Some(Target { param, strides, .. })) = (in_place, &target) {
            results[0] = Some(*param);
            let outer = || k.kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
            let whole = kernel::op_result(k.kernel, &k.kernel.stages[0]).filter(|_| strides.is_none());
            let shape = whole.map_or_else(outer, |ty| ty.shape);
            result_views[0] = Some(View { shape, strides: strides.clone(), ..result_view(k.kernel, *param) });
        }
        let call = select(k.op, &Site { operands: &operands, results: &result_views })?;
        if !call.takes_epilogue && result_views.iter().flatten().any(|view| view.strides.is_some()) {
            return Err(format!("`{}` into a part of a tensor has no kernel", k.op.name()));
        }
        let offset = target.as_ref().filter(|_| in_place).map_or(Dim::constant(0), |target| target.offset.clone());
        let rest = &k.kernel.stages[1..];
        let (mut epilogue, mut callback) = (self.bias(k, &call)?, None);
        let mut after = None;
        match rest {
            [] => {}
            [_] if integer_menu.is_some() => {
                epilogue.extend(integer_menu.into_iter().flatten().map(|op| self.menu_op(k, op)));
            }
            [stage] if call.takes_epilogue && in_place && target.is_some() => match match_menu(k.kernel, stage) {
                Some(menu) => epilogue.extend(menu.into_iter().map(|op| self.menu_op(k, op))),
                None => callback = Some(self.callback(k, results[0].ok_or("an epilogue without a result")?)?),
            },
            _ => {
                let result = results.first().copied().flatten().ok_or("an epilogue over a result without memory")?;
                after = Some(following(k.kernel, result));
            }
        }
        self.library(k, &call, &Results { params: &results, offset }, epilogue, callback)?;
        let Some(kernel) = after else { return Ok(()) };
        let (kernel, params) = used_params(kernel);
        let args: Vec<kernel::BufferId> = params.iter().map(|&param| k.args[param]).collect();
        self.code(&kernel, &args, k.location)
    }

    /// An op with an epilogue, then stages that fold rows of its result: by the op's kernel as it finishes rows, if it
    /// can do that, else in a step of its own.
    fn op_on_rows(&mut self, k: &OpKernel) -> Result<(), String> {
        if let Some((tiles, rows)) = rows_apart(k.kernel) {
            return self.op_then_rows(k, tiles, rows);
        }
        // No parameter can hold what the rows are of.
        let (kernel, bytes) = with_temporary_sum(k.kernel).ok_or("rows of an op that are not in order")?;
        let buffer = self.buffers.temporary(bytes);
        let args: Vec<kernel::BufferId> = k.args.iter().copied().chain([buffer]).collect();
        let (tiles, rows) = rows_apart(&kernel).ok_or("rows of an op that are not in order")?;
        self.op_then_rows(&OpKernel { kernel: &kernel, args: &args, ..*k }, tiles, rows)
    }

    fn op_then_rows(&mut self, k: &OpKernel, tiles: Kernel, rows: Kernel) -> Result<(), String> {
        self.op(&OpKernel { kernel: &tiles, ..*k })?;
        let (rows, params) = used_params(rows);
        let args: Vec<kernel::BufferId> = params.iter().map(|&param| k.args[param]).collect();
        let is_f32_product = matches!(k.op, Op::Matmul(_)) && kernel::stage_dtype(&tiles, 1) == DType::F32;
        let is_free = matches!(self.steps.last(), Some(Step::Library { callback: None, .. }));
        if !is_f32_product || !is_free {
            return self.code(&rows, &args, k.location);
        }
        let generated = self.generator.generate(&rows, Tiling::Rows, self.dims)?;
        let buffers = args.iter().map(|&arg| self.buffers.place(arg)).collect();
        if let Some(Step::Library { callback, .. }) = self.steps.last_mut() {
            let Generated { function, scratch_bytes, .. } = generated;
            *callback = Some(Callback { function, buffers, scratch_bytes, whole_rows: true });
        }
        Ok(())
    }

    /// An integer contraction whose sums are stored, then generated code for what follows.
    fn op_on_sums(&mut self, k: &OpKernel) -> Result<(), String> {
        let shape: Vec<Dim> = k.kernel.outer.iter().map(|axis| axis.extent.clone()).collect();
        let sums = self.buffers.temporary(shape.iter().cloned().product::<Dim>() * Dim::constant(4));
        let mut kernel = k.kernel.clone();
        let param = kernel.params.len() as u32;
        kernel.params.push(Param { dtype: DType::I32, shape, is_output: true });
        let args: Vec<kernel::BufferId> = k.args.iter().copied().chain([sums]).collect();
        self.op(&OpKernel { results: &[Some(param)], kernel: &kernel, args: &args, ..*k })
    }

    fn operand_view(&self, k: &OpKernel, operand: &Option<kernel::Operand>) -> Option<View> {
        let operand = operand.as_ref()?;
        let param = &k.kernel.params[operand.param as usize];
        let is_dense = operand.strides == dense_strides(&operand.shape);
        let buffer = self.buffers.program_buffer(k.args[operand.param as usize]);
        let (storage, integers) = match buffer.kind {
            BufferKind::Constant(value) => (self.buffers.storage(value), self.buffers.integers(value)),
            _ => (param.dtype, None),
        };
        Some(View {
            storage,
            integers,
            dtype: param.dtype,
            shape: operand.shape.clone(),
            strides: (!is_dense).then(|| operand.strides.clone()),
            is_constant: matches!(buffer.kind, BufferKind::Constant(_)) && is_dense && operand.offset.is(0),
        })
    }

    fn library(
        &mut self,
        k: &OpKernel,
        call: &LibraryCall,
        results: &Results,
        epilogue: Vec<Epilogue>,
        callback: Option<Callback>,
    ) -> Result<(), String> {
        let mut operands = Vec::with_capacity(call.operands.len());
        for operand in &call.operands {
            operands.push(match operand {
                Some(operand) => Some(self.call_operand(k, results, operand)?),
                None => None,
            });
        }
        let attrs = call.attrs.iter().map(|attr| self.attr(attr)).collect::<Result<Vec<_>, _>>()?;
        let kernel = self.kernel_ref(call)?;
        let name = k.location.to_string();
        self.steps.push(Step::Library { name, kernel, operands, attrs, epilogue, callback });
        Ok(())
    }

    fn call_operand(&mut self, k: &OpKernel, results: &Results, operand: &CallOperand) -> Result<Operand, String> {
        let (buffer, offset, dtype, shape, strides) = match operand {
            CallOperand::Input { index, shape, strides } => {
                let source = k.operands[*index].as_ref().ok_or("an absent operand")?;
                let dtype = k.kernel.params[source.param as usize].dtype;
                let buffer = self.buffers.place(k.args[source.param as usize]);
                let offset = (!source.offset.is(0)).then(|| self.slot(&source.offset)).transpose()?;
                (buffer, offset, dtype, shape, strides.as_ref())
            }
            CallOperand::Packed { index, shape, packing, dtype } => {
                let source = k.operands[*index].as_ref().ok_or("an absent operand")?;
                let buffer = self.buffers.packed(k.args[source.param as usize], Some((packing.clone(), *dtype)));
                (buffer, None, *dtype, shape, None)
            }
            CallOperand::Result { index, shape, strides } => {
                let param = results.params[*index].ok_or("an absent result")?;
                let dtype = k.kernel.params[param as usize].dtype;
                let offset = Some(&results.offset).filter(|offset| *index == 0 && !offset.is(0));
                let offset = offset.map(|offset| self.slot(offset)).transpose()?;
                (self.buffers.place(k.args[param as usize]), offset, dtype, shape, strides.as_ref())
            }
        };
        let shape = self.slots(shape)?;
        let strides = strides.map(|strides| self.slots(strides)).transpose()?;
        Ok(Operand { buffer, offset, dtype: dtype as u8, shape, strides })
    }

    fn slot(&mut self, dim: &Dim) -> Result<DimSlot, String> {
        self.dims.slot(dim).map_err(|unbound| format!("no input has an axis `{}`", unbound.0))
    }

    fn slots(&mut self, dims: &[Dim]) -> Result<Vec<DimSlot>, String> {
        dims.iter().map(|dim| self.slot(dim)).collect()
    }

    fn attr(&mut self, attr: &Attr) -> Result<DimSlot, String> {
        match attr {
            Attr::Int(dim) => self.slot(dim),
            Attr::F32(value) => Ok(self.dims.float(*value)),
            Attr::F64(value) => Ok(self.dims.constant(value.to_bits() as i64)),
        }
    }

    fn kernel_ref(&mut self, call: &LibraryCall) -> Result<u32, String> {
        let found = ic_kernels::table::find(call.kernel, call.layout, Isa::Portable);
        let revision = found.ok_or_else(|| format!("kernel `{}` is not in the table", call.kernel))?.revision;
        let kernel = KernelRef { name: call.kernel.into(), layout: call.layout, revision };
        let index = self.kernels.iter().position(|k| *k == kernel).unwrap_or_else(|| {
            self.kernels.push(kernel);
            self.kernels.len() - 1
        });
        Ok(index as u32)
    }

    fn bias(&mut self, k: &OpKernel, call: &LibraryCall) -> Result<Vec<Epilogue>, String> {
        let Some(index) = call.bias else { return Ok(Vec::new()) };
        let bias = k.operands[index].as_ref().ok_or("an absent bias")?;
        if !bias.offset.is(0) || bias.strides != dense_strides(&bias.shape) {
            return Err("a strided bias has no kernel".into());
        }
        Ok(vec![Epilogue::AddColumn(self.buffers.columns(k.args[bias.param as usize]))])
    }

    fn menu_op(&mut self, k: &OpKernel, op: MenuOp) -> Epilogue {
        let mut place = |param: u32| self.buffers.place(k.args[param as usize]);
        match op {
            MenuOp::AddColumn(param) => Epilogue::AddColumn(self.buffers.columns(k.args[param as usize])),
            MenuOp::MulColumn(param) => Epilogue::MulColumn(self.buffers.columns(k.args[param as usize])),
            MenuOp::AddTensor(param) => Epilogue::AddTensor(place(param)),
            MenuOp::MulTensor(param) => Epilogue::MulTensor(place(param)),
            MenuOp::Clamp(low, high) => Epilogue::Clamp(low, high),
            MenuOp::Strip(strip) => Epilogue::Strip(strip as u32),
            MenuOp::MulScalar(param) => Epilogue::MulScalar(place(param)),
            MenuOp::Scale(factor) => Epilogue::Scale(factor),
            MenuOp::Offset(term) => Epilogue::Offset(term),
            MenuOp::AddQuantized { param, scale, zero } => {
                let signed = k.kernel.params[param as usize].dtype == DType::I8;
                Epilogue::AddQuantized { tensor: place(param), signed, scale, zero }
            }
            MenuOp::Quantize { scale, zero, to } => {
                let (low, high) = if to == DType::I8 { (-128.0, 127.0) } else { (0.0, 255.0) };
                Epilogue::Quantize { scale, zero, low, high }
            }
        }
    }

    /// Generated code that finishes the result, in place, tile by tile.
    fn callback(&mut self, k: &OpKernel, result: u32) -> Result<Callback, String> {
        let (kernel, params) = used_params(following(k.kernel, result));
        let generated = self.generator.generate(&kernel, Tiling::RowsAndColumns, self.dims)?;
        let buffers = params.iter().map(|&param| self.buffers.place(k.args[param])).collect();
        let Generated { function, scratch_bytes, .. } = generated;
        Ok(Callback { function, buffers, scratch_bytes, whole_rows: false })
    }
}

fn result_view(kernel: &Kernel, param: u32) -> View {
    let Param { dtype, shape, .. } = &kernel.params[param as usize];
    let shape = shape.clone();
    View { dtype: *dtype, shape, strides: None, is_constant: false, storage: *dtype, integers: None }
}

/// Where the op's results are.
struct Results<'k> {
    /// Parameters; `None` for one that nothing uses.
    params: &'k [Option<u32>],
    /// First element of the first result.
    offset: Dim,
}
