//! From a program to everything that an artifact holds for CPU targets.

use super::generate::{Functions, Listing};
use super::plan::{Planned, plan};
use super::target::CpuTarget;
use super::weights::Weight;
use ic_artifact::{CodeSection, Plan};
use ic_ir::kernel::Program;
use ic_ir::{Diagnostic, Graph, Location};
use std::io::{self, Write};

/// A program compiled for CPU targets.
#[derive(Clone, PartialEq, Debug)]
pub struct Compiled {
    /// The plan, which all targets share.
    pub plan: Plan,
    /// Machine code, once for targets that share it.
    pub code: Vec<TargetCode>,
    weights: Vec<(u64, Weight)>,
}

/// Machine code and the targets that it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetCode {
    /// The targets.
    pub targets: Vec<CpuTarget>,
    /// The code.
    pub section: CodeSection,
}

/// Compiles `program`, whose constants are values of `graph`.
///
/// # Errors
/// Everything that has no kernel, with its node.
pub fn compile(program: &Program, graph: &Graph, targets: &[CpuTarget]) -> Result<Compiled, Vec<Diagnostic>> {
    let mut functions = Functions::new(targets).map_err(|message| vec![whole(program, message)])?;
    let Planned { plan, weights } = plan(program, graph, 0, &mut functions)?;
    let code = functions.into_sections().into_iter().map(|(code, section)| {
        let sharing = targets.iter().copied().filter(|target| target.code() == code);
        TargetCode { targets: sharing.collect(), section }
    });
    Ok(Compiled { plan, code: code.collect(), weights })
}

/// The assembly of every generated function, on each target that has code of its own.
///
/// # Errors
/// As for [`compile`].
pub fn disassemble(program: &Program, graph: &Graph, targets: &[CpuTarget]) -> Result<Vec<Listing>, Vec<Diagnostic>> {
    let mut functions = Functions::new(targets).map_err(|message| vec![whole(program, message)])?;
    functions.keep_listing();
    plan(program, graph, 0, &mut functions)?;
    Ok(functions.take_listing())
}

fn whole(program: &Program, message: String) -> Diagnostic {
    Diagnostic::new(Location { file: program.name.as_str().into(), node: "".into() }, message)
}

impl Compiled {
    /// Evaluates, packs and writes the weights, one at a time, each at its offset from the start of `out`.
    ///
    /// # Errors
    /// If a file of the model cannot be read any more, or `out` cannot be written.
    pub fn write_weights(&self, graph: &Graph, out: &mut dyn Write) -> io::Result<()> {
        let mut position = 0;
        for (offset, weight) in &self.weights {
            out.write_all(&vec![0; (offset - position) as usize])?;
            weight.write(graph, out)?;
            position = offset + weight.bytes(graph);
        }
        Ok(())
    }
}
