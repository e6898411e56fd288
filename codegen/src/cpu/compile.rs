//! From programs, one per entry, to everything that an artifact holds for CPU targets.

use super::generate::{Functions, Listing};
use super::plan::{Planned, plan};
use super::target::CpuTarget;
use super::weights::Weight;
use crate::WeightPool;
use ic_artifact::{BufferId, CodeSection, Place, Plan};
use ic_ir::kernel::Program;
use ic_ir::{Diagnostic, Graph, Location};
use std::io;

/// A program and the graph that its constants are values of.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The program.
    pub program: &'a Program,
    /// The graph that it was made from.
    pub graph: &'a Graph,
}

/// What cannot be compiled: the index of the program, and why.
pub type Refused = Vec<(usize, Diagnostic)>;

/// Programs compiled for CPU targets.
#[derive(Clone, PartialEq, Debug)]
pub struct Compiled {
    /// The plan of each program, which all targets share. Weights have no place before
    /// [`write_weights`](Self::write_weights).
    pub plans: Vec<Plan>,
    /// Machine code, once for targets that share it.
    pub code: Vec<TargetCode>,
    /// The weights of each plan, with their buffers.
    weights: Vec<Vec<(BufferId, Weight)>>,
}

/// Machine code and the targets that it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetCode {
    /// The targets.
    pub targets: Vec<CpuTarget>,
    /// The code.
    pub section: CodeSection,
}

/// Compiles programs, one entry each.
///
/// # Errors
/// Everything that has no kernel, with its node.
pub fn compile(sources: &[Source], targets: &[CpuTarget]) -> Result<Compiled, Refused> {
    let mut functions = Functions::new(targets).map_err(|message| whole(sources, &message))?;
    let planned = plan_all(sources, &mut functions)?;
    let code = functions.into_sections().into_iter().map(|(code, section)| {
        let sharing = targets.iter().copied().filter(|target| target.code() == code);
        TargetCode { targets: sharing.collect(), section }
    });
    let code = code.collect();
    let (plans, weights) = planned.into_iter().map(|planned| (planned.plan, planned.weights)).unzip();
    Ok(Compiled { plans, code, weights })
}

/// The assembly of every generated function, on each target that has code of its own.
///
/// # Errors
/// As for [`compile`].
pub fn disassemble(sources: &[Source], targets: &[CpuTarget]) -> Result<Vec<Listing>, Refused> {
    let mut functions = Functions::new(targets).map_err(|message| whole(sources, &message))?;
    functions.keep_listing();
    plan_all(sources, &mut functions)?;
    Ok(functions.take_listing())
}

/// The plan of each program.
fn plan_all(sources: &[Source], functions: &mut Functions) -> Result<Vec<Planned>, Refused> {
    let (mut plans, mut refused) = (Vec::new(), Vec::new());
    for (index, source) in sources.iter().enumerate() {
        functions.begin_plan();
        match plan(source.program, source.graph, functions) {
            Ok(planned) => plans.push(planned),
            Err(diagnostics) => refused.extend(diagnostics.into_iter().map(|diagnostic| (index, diagnostic))),
        }
    }
    if refused.is_empty() { Ok(plans) } else { Err(refused) }
}

fn whole(sources: &[Source], message: &str) -> Refused {
    let file = sources.first().map_or("", |source| &source.program.name).into();
    vec![(0, Diagnostic::new(Location { file, node: "".into() }, message))]
}

impl Compiled {
    /// Evaluates and packs the weights, one at a time, adds them to the pool and gives them their place in the plans.
    /// `graphs` are those of the programs.
    ///
    /// # Errors
    /// If a file of a model cannot be read any more, or the pool cannot be written: with the index of the program.
    pub fn write_weights(&mut self, graphs: &[&Graph], pool: &mut WeightPool) -> Result<(), (usize, io::Error)> {
        for (index, ((plan, weights), graph)) in self.plans.iter_mut().zip(&self.weights).zip(graphs).enumerate() {
            for (buffer, weight) in weights {
                let offset = weight.contents(graph).and_then(|contents| pool.add(&contents));
                plan.buffers[*buffer as usize].place = Place::Weight { offset: offset.map_err(|e| (index, e))? };
            }
        }
        Ok(())
    }
}
