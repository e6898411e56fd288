//! Backends: one per class of targets, in one table. Each turns the programs of an artifact into plans, code and weights.
//!
//! Invariant: what a backend makes depends on the programs and its own targets alone, so that a target's code is the
//! same whatever other targets share the artifact.

use crate::WeightPool;
use crate::ascend;
use crate::cpu;
use crate::nvptx;
use crate::shared::weights::Weight;
use crate::target::{Target, TargetClass};
use ic_artifact::{BufferId, CodeSection, Place, Plan};
use ic_ir::kernel::Program;
use ic_ir::{Diagnostic, Graph, Location};
use std::io;

/// A program, one entry of the artifact, and the graph that its constants are values of.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The program.
    pub program: &'a Program,
    /// The graph that it was made from.
    pub graph: &'a Graph,
    /// How products of f32 are computed.
    pub products: Products,
}

/// How matrix products of f32 are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Products {
    /// In f32.
    #[default]
    F32,
    /// Of factors rounded to tf32, 10 bits of fraction, with sums in f32.
    Tf32,
}

/// What cannot be compiled: the index of the program, and why.
pub type Refused = Vec<(usize, Diagnostic)>;

/// Programs compiled for one class of targets.
#[derive(Clone, PartialEq, Debug)]
pub struct Compiled {
    /// The class.
    pub class: TargetClass,
    /// The plan of each program, which all targets of the class share. Weights have no place before
    /// [`write_weights`](Self::write_weights).
    pub plans: Vec<Plan>,
    /// Code, once for targets that share it.
    pub code: Vec<TargetCode>,
    /// The weights of each plan, with their buffers.
    pub(crate) weights: Vec<Vec<(BufferId, Weight)>>,
}

/// Code and the targets that it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct TargetCode {
    /// The targets.
    pub targets: Vec<Target>,
    /// The code.
    pub code: Code,
}

/// The contents of a code section.
#[derive(Clone, PartialEq, Debug)]
pub enum Code {
    /// Machine code of a CPU.
    Cpu(CodeSection),
    /// What a device's driver takes.
    Device(Vec<u8>),
}

impl Compiled {
    /// Evaluates and packs the weights, one at a time, adds them to the pool and gives them their place in the plans.
    /// What other classes have added is stored once. `graphs` are those of the programs.
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

/// The code generator of a class of targets.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// The class.
    pub class: TargetClass,
    /// Whether it has products of tf32.
    pub has_tf32: bool,
    /// Compiles programs, one entry each, for targets of the class, or says what has no kernel, with its node.
    pub compile: fn(&[Source], &[Target]) -> Result<Compiled, Refused>,
}

/// Every backend.
pub const BACKENDS: &[Backend] = &[
    Backend { class: TargetClass::Cpu, has_tf32: false, compile: cpu::compile },
    Backend { class: TargetClass::Nvptx, has_tf32: true, compile: nvptx::compile },
    Backend { class: TargetClass::Ascend, has_tf32: false, compile: ascend::compile },
];

/// Compiles programs, one entry each: one result per class of targets, in the order in which the classes first occur.
///
/// # Errors
/// Everything that has no kernel on some target, with its node.
pub fn compile(sources: &[Source], targets: &[Target]) -> Result<Vec<Compiled>, Refused> {
    let (mut compiled, mut refused, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for target in targets {
        let class = target.class();
        if done.contains(&class) {
            continue;
        }
        done.push(class);
        let of_class: Vec<Target> = targets.iter().copied().filter(|t| t.class() == class).collect();
        match BACKENDS.iter().find(|backend| backend.class == class) {
            Some(backend) if !backend.has_tf32 && sources.iter().any(|s| s.products == Products::Tf32) => {
                let refuse = |target| whole(sources, &format!("not supported on {target}: products of tf32"));
                refused.extend(of_class.iter().flat_map(refuse));
            }
            Some(backend) => match (backend.compile)(sources, &of_class) {
                Ok(result) => compiled.push(result),
                Err(list) => refused.extend(list),
            },
            None => refused.extend(
                of_class.iter().flat_map(|target| whole(sources, &format!("target `{target}` is not supported yet"))),
            ),
        }
    }
    if refused.is_empty() { Ok(compiled) } else { Err(refused) }
}

/// A refusal that is not about one node.
pub(crate) fn whole(sources: &[Source], message: &str) -> Refused {
    let file = sources.first().map_or("", |source| &source.program.name).into();
    vec![(0, Diagnostic::new(Location { file, node: "".into() }, message))]
}
