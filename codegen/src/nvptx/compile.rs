//! From programs, one per entry, to plans of launches and a module per target.

use super::lower::lower;
use super::ptx::{Function, module_text};
use super::schedule::{Contraction, Cores, Scheduled, attention, contraction, convolution, flash, generate};
use crate::backend::{Code, Compiled, Products, Refused, Source, TargetCode};
use crate::shared::dims::DimBuilder;
use crate::shared::form::{Repeats, describe, form_of};
use crate::shared::plan::{Buffers, Built, KernelSteps, Parts, Planned, add_steps, plan_with};
use crate::shared::weights::{Integers, WidenedShape};
use crate::target::{NvptxTarget, Target, TargetClass};
use ic_artifact::{DimCheck, Step};
use ic_ir::kernel::{Anchor, BufferId, BufferKind, Kernel, Program};
use ic_ir::ops::Op;
use ic_types::Dim;
use std::collections::HashMap;
use std::sync::Arc;

/// Compiles programs. All targets share the plans, so that products of warpgroups are there only if all have them.
///
/// # Errors
/// Everything that has no kernel, with its node.
pub(crate) fn compile(sources: &[Source], targets: &[Target]) -> Result<Compiled, Refused> {
    let mut functions = Functions::default();
    let planned = plan_all(sources, cores(targets), &mut functions)?;
    Ok(compile_with(planned, &functions, targets))
}

/// What the artifact holds of these plans and functions.
pub(super) fn compile_with(planned: Vec<Planned>, functions: &Functions, targets: &[Target]) -> Compiled {
    let code = gpus(targets).map(|(target, gpu)| {
        // The driver takes text that ends with a zero.
        let text = module_text(gpu, &functions.list) + "\0";
        TargetCode { targets: vec![target], code: Code::Device(text.into_bytes()) }
    });
    let code = code.collect();
    let (plans, weights) = planned.into_iter().map(|planned| (planned.plan, planned.weights)).unzip();
    Compiled { class: TargetClass::Nvptx, plans, code, weights }
}

/// The PTX of a target: the whole module, and each function as a module of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The target.
    pub target: Target,
    /// The module.
    pub module: String,
    /// Each function's name and module.
    pub functions: Vec<(String, String)>,
}

/// The PTX for every NVIDIA GPU among the targets.
///
/// # Errors
/// Everything that has no kernel, with its node.
pub fn listings(sources: &[Source], targets: &[Target]) -> Result<Vec<Listing>, Refused> {
    let mut functions = Functions::default();
    plan_all(sources, cores(targets), &mut functions)?;
    let listing = |(target, gpu): (Target, NvptxTarget)| Listing {
        target,
        module: module_text(gpu, &functions.list),
        functions: functions
            .list
            .iter()
            .map(|function| (function.name.clone(), module_text(gpu, std::slice::from_ref(function))))
            .collect(),
    };
    Ok(gpus(targets).map(listing).collect())
}

fn gpus(targets: &[Target]) -> impl Iterator<Item = (Target, NvptxTarget)> {
    targets.iter().filter_map(|&target| match target {
        Target::Nvptx(gpu) => Some((target, gpu)),
        Target::Cpu(_) | Target::Ascend(_) => None,
    })
}

/// The matrix instructions that all of these GPUs have, as they share plans.
pub(super) fn cores(targets: &[Target]) -> Cores {
    if gpus(targets).all(|(_, gpu)| gpu == NvptxTarget::Sm90a) { Cores::Warpgroups } else { Cores::Warps }
}

pub(super) fn plan_all(sources: &[Source], cores: Cores, functions: &mut Functions) -> Result<Vec<Planned>, Refused> {
    let (mut plans, mut refused) = (Vec::new(), Vec::new());
    for (index, source) in sources.iter().enumerate() {
        let result = plan_with(source.program, source.graph, &mut |dims, buffers, segments| {
            let (program, products) = (source.program, source.products);
            let built = Built::default();
            let mut launches = Launches { program, products, cores, functions, dims, buffers, built };
            add_steps(&mut launches, &source.program.steps, segments);
            launches.built
        });
        match result {
            Ok(planned) => plans.push(planned),
            Err(diagnostics) => refused.extend(diagnostics.into_iter().map(|diagnostic| (index, diagnostic))),
        }
    }
    if refused.is_empty() { Ok(plans) } else { Err(refused) }
}

/// The functions of the module. Equal ones are one.
#[derive(Default)]
pub(super) struct Functions {
    pub(super) list: Vec<Function>,
    by_text: HashMap<String, usize>,
}

impl Functions {
    /// The name of a function, which is added unless there is an equal one.
    fn add(&mut self, scheduled: Scheduled, what: &str) -> String {
        let text = super::ptx::function_text(&scheduled.function);
        let next = self.list.len();
        let index = *self.by_text.entry(text).or_insert(next);
        if index == next {
            let name = format!("{}_{what}_{next}", scheduled.name);
            self.list.push(Function { name, ..scheduled.function });
        }
        self.list[index].name.clone()
    }
}

/// Steps under construction.
struct Launches<'a, 'b> {
    program: &'a Program,
    products: Products,
    cores: Cores,
    functions: &'b mut Functions,
    dims: &'b mut DimBuilder,
    buffers: &'b mut Buffers<'a>,
    built: Built,
}

impl<'a> KernelSteps<'a> for Launches<'a, '_> {
    fn parts(&mut self) -> Parts<'_, 'a> {
        let program = self.program;
        let Launches { dims, buffers, built: Built { steps, checks, errors, .. }, .. } = self;
        Parts { program, dims, buffers, steps, checks, errors }
    }

    fn kernel(&mut self, kernel: &Kernel, args: &[BufferId], location: &Arc<str>) -> Result<(), String> {
        self.launch(kernel, args, location).map_err(|message| format!("not supported on nvptx: {message}"))
    }
}

impl Launches<'_, '_> {
    fn launch(&mut self, kernel: &Kernel, args: &[BufferId], location: &str) -> Result<(), String> {
        let aligned: Vec<bool> = args.iter().map(|&arg| self.is_aligned(arg)).collect();
        let (scheduled, what) = match kernel.stages.first().map(|stage| &stage.anchor) {
            Some(Anchor::Op { op: Op::Matmul(_), operands, results }) => {
                let problem = Contraction::new(kernel, operands, results, &|param| self.integers(args[param]))?;
                (contraction(&problem, &aligned, self.products, self.cores)?, "matmul".to_string())
            }
            Some(Anchor::Op { op: Op::Convolution(op), operands, results })
                if convolution::is_product(op, kernel, operands, &|param| self.is_constant(args[param])) =>
            {
                let problem = convolution::new(op, kernel, operands, results)?;
                (contraction(&problem, &aligned, self.products, self.cores)?, "convolution".to_string())
            }
            Some(Anchor::Op { op: Op::Attention(op), operands, results }) => {
                (attention(&flash(op, kernel, operands, results)?, &aligned, self.cores)?, "attention".to_string())
            }
            Some(Anchor::Op { op, .. }) => {
                let lowered = lower(kernel).ok_or_else(|| format!("`{}` has no kernel", op.name()))?;
                let form = form_of(
                    &lowered.map_err(|problem| format!("`{}`: {problem}", op.name()))?,
                    0,
                    None,
                    Repeats::Always,
                )?;
                (generate(&form, &aligned)?, op.name().to_string())
            }
            _ => {
                let form = form_of(kernel, 0, None, Repeats::Always)?;
                (generate(&form, &aligned)?, describe(&form))
            }
        };
        args.iter().try_for_each(|&arg| self.check_extent(arg, location))?;
        let mut slot = |dim: &Dim| {
            self.dims.slot(dim).map_err(|unbound| format!("the extent `{}` has no value at this point", unbound.0))
        };
        let dims = scheduled.dims.iter().map(&mut slot).collect::<Result<Vec<_>, _>>()?;
        let blocks = slot(&scheduled.blocks)?;
        let one = slot(&Dim::constant(1))?;
        let block = [scheduled.function.threads, 1, 1];
        let shared_bytes = scheduled.function.dynamic_bytes();
        let packings = scheduled.packings.clone();
        let function = self.function(scheduled, &what);
        let packing = |param: usize| packings.iter().find(|(of, _)| *of == param).map(|(_, packing)| packing.clone());
        let buffers = args.iter().enumerate().map(|(param, &arg)| match packing(param) {
            Some(packing) => self.buffers.packed(arg, Some((packing, self.buffers.program_buffer(arg).ty.dtype))),
            None => self.buffers.place(arg),
        });
        let buffers = buffers.collect();
        let (name, grid) = (location.to_string(), [blocks, one, one]);
        self.built.steps.push(Step::Launch { name, function, buffers, dims, grid, block, shared_bytes });
        Ok(())
    }

    /// The index of a function among the plan's.
    fn function(&mut self, scheduled: Scheduled, what: &str) -> u32 {
        let name = self.functions.add(scheduled, what);
        let names = &mut self.built.functions;
        let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        index as u32
    }

    /// The integers with scales that a constant matrix of 16-bit floats is made of.
    fn integers(&self, id: BufferId) -> Option<WidenedShape> {
        let buffer = self.buffers.program_buffer(id);
        let BufferKind::Constant(value) = buffer.kind else { return None };
        let Integers { dtype, group, .. } = self.buffers.narrow_integers(value)?;
        let [k, n] = self.buffers.constant_shape(value)?[..] else { return None };
        let group = Some(group).filter(|&group| group < k);
        Some(WidenedShape { k, n, group, bits: dtype.bits() as u32, half: buffer.ty.dtype })
    }

    /// Whether the elements of a buffer are known at compile time.
    fn is_constant(&self, id: BufferId) -> bool {
        matches!(self.buffers.program_buffer(id).kind, BufferKind::Constant(_))
    }

    /// Whether a buffer begins at a multiple of 16 bytes: every buffer does, but not every view of one.
    fn is_aligned(&self, id: BufferId) -> bool {
        let buffer = self.buffers.program_buffer(id);
        match &buffer.kind {
            BufferKind::View { offset, .. } => {
                let size = buffer.ty.dtype.size().unwrap_or(1) as i64;
                (offset.clone() * Dim::constant(size)).exact_div(&Dim::constant(16)).is_some() || offset.is(0)
            }
            _ => true,
        }
    }

    /// Kernels compute indices in 32 bits, so a buffer must have fewer than 2^31 elements.
    fn check_extent(&mut self, id: BufferId, location: &str) -> Result<(), String> {
        let limit = i64::from(i32::MAX);
        let elements = self.buffers.program_buffer(id).ty.elements();
        match elements.as_const() {
            Some(n) if n > limit => return Err(format!("a tensor of {n} elements")),
            Some(_) => return Ok(()),
            None => {}
        }
        let slot = |dims: &mut DimBuilder, dim: &Dim| dims.slot(dim).map_err(|unbound| unbound.0.to_string());
        let left = slot(self.dims, &elements)?;
        let right = slot(self.dims, &elements.minimum(&Dim::constant(limit)))?;
        let check = DimCheck { left, right, or_one: false, step: None, node: location.into() };
        if left != right && !self.built.checks.contains(&check) {
            self.built.checks.push(check);
        }
        Ok(())
    }
}
