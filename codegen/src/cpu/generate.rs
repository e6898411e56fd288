//! Generated functions of an artifact: one machine-code blob per target, functions deduplicated by form and by bytes.

use super::emit;
use super::plan::{Generated, Generator, Tiling};
use super::scratch::{Scratch, lay_out};
use super::target::CpuTarget;
use crate::shared::dims::DimBuilder;
use crate::shared::form::{Form, Node, Pass, Repeats, Schedule, describe, form_of};
use crate::shared::strip_of;
use cranelift_codegen::Context;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_frontend::FunctionBuilderContext;
use ic_artifact::CodeSection;
use ic_ir::kernel::Kernel;
use ic_types::{DType, Dim};
use std::collections::HashMap;

/// Alignment of functions in their blob.
const ALIGNMENT: usize = 32;

/// Generates the functions of the plans of all entries.
pub(crate) struct Functions {
    blobs: Vec<Blob>,
    /// The functions of the plan under construction.
    current: HashMap<Form, Generated>,
    names: Vec<String>,
    listing: Option<Vec<Listing>>,
}

/// Machine code of one target.
struct Blob {
    target: CpuTarget,
    isa: OwnedTargetIsa,
    section: CodeSection,
    by_code: HashMap<Vec<u8>, u32>,
}

/// The assembly of a function on one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The function's name in the plan.
    pub function: String,
    /// The target.
    pub target: CpuTarget,
    /// Assembly text.
    pub text: String,
}

impl Functions {
    /// No functions yet, for these targets. Those that share code share a blob.
    ///
    /// # Errors
    /// If there is no code generator for a target.
    pub(crate) fn new(targets: &[CpuTarget]) -> Result<Functions, String> {
        let mut blobs: Vec<Blob> = Vec::new();
        for target in targets.iter().map(|target| target.code()) {
            if blobs.iter().all(|blob| blob.target != target) {
                let isa = target.isa()?;
                blobs.push(Blob { target, isa, section: CodeSection::default(), by_code: HashMap::new() });
            }
        }
        Ok(Functions { blobs, current: HashMap::new(), names: Vec::new(), listing: None })
    }

    /// Begins the plan of the next entry: its functions are named and numbered anew.
    pub(crate) fn begin_plan(&mut self) {
        self.current.clear();
        self.names.clear();
    }

    /// Keeps the assembly of all functions from here on.
    pub(crate) fn keep_listing(&mut self) {
        self.listing.get_or_insert_default();
    }

    /// The assembly kept so far.
    pub(crate) fn take_listing(&mut self) -> Vec<Listing> {
        self.listing.take().unwrap_or_default()
    }

    /// The code section of each target whose code is its own.
    pub(crate) fn into_sections(self) -> Vec<(CpuTarget, CodeSection)> {
        self.blobs.into_iter().map(|blob| (blob.target, blob.section)).collect()
    }

    fn compile(&mut self, form: &Form, scratch: &Scratch, name: &str, dims: &mut DimBuilder) -> Result<(), String> {
        let mut builder = FunctionBuilderContext::new();
        for blob in &mut self.blobs {
            let function = emit::function(form, scratch, dims, &*blob.isa, &mut builder);
            let mut context = Context::for_function(function);
            context.set_disasm(self.listing.is_some());
            let code = context
                .compile(&*blob.isa, &mut Default::default())
                .map_err(|e| format!("the code generator failed: {:?}", e.inner))?;
            if !code.buffer.relocs().is_empty() {
                return Err("the code generator needed a linker".into());
            }
            if let Some(listing) = &mut self.listing {
                let text = code.vcode.clone().unwrap_or_default();
                listing.push(Listing { function: name.into(), target: blob.target, text });
            }
            let bytes = code.code_buffer().to_vec();
            let section = &mut blob.section;
            let offset = *blob.by_code.entry(bytes).or_insert_with_key(|bytes| {
                let offset = section.code.len().next_multiple_of(ALIGNMENT);
                section.code.resize(offset, 0);
                section.code.extend_from_slice(bytes);
                offset as u32
            });
            section.offsets.push(offset);
        }
        Ok(())
    }
}

impl Generator for Functions {
    fn generate(&mut self, kernel: &Kernel, tiling: Tiling, dims: &mut DimBuilder) -> Result<Generated, String> {
        let fixed = match tiling {
            Tiling::Free => None,
            Tiling::RowsAndColumns => Some(Schedule::Points),
            Tiling::Rows => Some(Schedule::Rows),
        };
        let form = form_of(kernel, 0, fixed, Repeats::Short)?;
        if let Some(&generated) = self.current.get(&form) {
            return Ok(generated);
        }
        let scratch = lay_out(&form);
        let name = format!("{}_{}", describe(&form), self.names.len());
        self.compile(&form, &scratch, &name, dims)?;
        let mut slot = |dim: &Dim| {
            dims.slot(dim).map_err(|unbound| format!("the extent `{}` has no value at this point", unbound.0))
        };
        let generated = Generated {
            function: self.names.len() as u32,
            outer: [slot(&rows(&form))?, slot(&columns(&form))?],
            cost_ns: slot(&cost_ns(&form))?,
            scratch_bytes: slot(&scratch.bytes)?,
        };
        self.names.push(name);
        self.current.insert(form, generated);
        Ok(generated)
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }
}

/// The extent of the first axis of tiles.
fn rows(form: &Form) -> Dim {
    let n_columns = usize::from(form.schedule != Schedule::Rows);
    form.outer[..form.outer.len() - n_columns].iter().cloned().product()
}

/// The extent of the second axis of tiles.
fn columns(form: &Form) -> Dim {
    match form.schedule {
        Schedule::Rows => Dim::constant(1),
        _ if form.whole_columns => Dim::constant(1),
        _ => form.outer[form.outer.len() - 1].clone(),
    }
}

/// About how many nanoseconds an outer point takes.
fn cost_ns(form: &Form) -> Dim {
    let tenths = form.passes.iter().map(|pass| {
        let points: Dim = pass.inner.iter().cloned().product();
        points * Dim::constant(tenths_per_point(pass))
    });
    let columns = form.outer.last().filter(|_| form.whole_columns).cloned().unwrap_or(Dim::constant(1));
    let total = tenths.sum::<Dim>() * columns;
    (total + Dim::constant(9)).floor_div(&Dim::constant(10))
}

fn tenths_per_point(pass: &Pass) -> i64 {
    let needed = pass.needed();
    let nodes = (0..pass.nodes.len()).filter(|&id| needed[id]);
    nodes
        .map(|id| match &pass.nodes[id] {
            Node::Const(_) => 0,
            Node::Apply(..) if pass.is_strip(id) => 6,
            Node::Apply(op, _) if pass.types[id] == DType::F64 && strip_of(*op).is_some() => 150,
            _ => 1,
        })
        .sum::<i64>()
        + 1
}
