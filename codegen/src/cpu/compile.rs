//! From programs, one per entry, to everything that an artifact holds for CPU targets.

use super::generate::{Functions, Listing};
use super::plan::plan;
use super::target::CpuTarget;
use crate::backend::{Code, Compiled, Refused, Source, TargetCode, whole};
use crate::shared::plan::Planned;
use crate::target::{Target, TargetClass};

/// Compiles programs, one entry each.
///
/// # Errors
/// Everything that has no kernel, with its node.
pub(crate) fn compile(sources: &[Source], targets: &[Target]) -> Result<Compiled, Refused> {
    let targets = cpus(targets);
    let mut functions = Functions::new(&targets).map_err(|message| whole(sources, &message))?;
    let planned = plan_all(sources, &mut functions)?;
    let code = functions.into_sections().into_iter().map(|(code, section)| {
        let sharing = targets.iter().copied().filter(|target| target.code() == code);
        TargetCode { targets: sharing.map(Target::Cpu).collect(), code: Code::Cpu(section) }
    });
    let code = code.collect();
    let (plans, weights) = planned.into_iter().map(|planned| (planned.plan, planned.weights)).unzip();
    Ok(Compiled { class: TargetClass::Cpu, plans, code, weights })
}

/// The assembly of every generated function, on each target that has code of its own.
///
/// # Errors
/// As for [`compile`].
pub fn disassemble(sources: &[Source], targets: &[Target]) -> Result<Vec<Listing>, Refused> {
    let mut functions = Functions::new(&cpus(targets)).map_err(|message| whole(sources, &message))?;
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

/// The CPUs among the targets.
fn cpus(targets: &[Target]) -> Vec<CpuTarget> {
    let cpu = |target: &Target| match target {
        Target::Cpu(cpu) => Some(*cpu),
        Target::Nvptx(_) | Target::Ascend(_) => None,
    };
    targets.iter().filter_map(cpu).collect()
}
