//! From programs, one per entry, to everything that an artifact holds for Ascend targets.

use super::kernel::AscendKernel;
use super::plan::plan;
use super::print::Spelling;
use super::program::{AscendFunctions, AscendLaunch};
use crate::backend::{Code, Compiled, Refused, Source, TargetCode, whole};
use crate::target::{AscendTarget, Target, TargetClass};
use ic_artifact::{AscendForm, AscendFunction, AscendSection};

/// Compiles programs, one entry each. All targets have the same functions, each with its own options.
///
/// # Errors
/// Everything that has no kernel on one of the targets, with its node.
pub(crate) fn compile(sources: &[Source], targets: &[Target]) -> Result<Compiled, Refused> {
    let (mut code, mut lowered, mut refused) = (Vec::new(), None, Vec::new());
    for target in npus(targets) {
        match lower(sources, target) {
            Ok((functions, launches)) => {
                verify(sources, &functions)?;
                let section = section(&functions, target).encode().map_err(|message| whole(sources, &message))?;
                code.push(TargetCode { targets: vec![Target::Ascend(target)], code: Code::Device(section) });
                lowered = Some((functions, launches));
            }
            Err(list) => refused.extend(list),
        }
    }
    let Some((functions, launches)) = lowered.filter(|_| refused.is_empty()) else { return Err(refused) };
    let (mut plans, mut weights) = (Vec::new(), Vec::new());
    for (index, (source, launches)) in sources.iter().zip(&launches).enumerate() {
        match plan(source, launches, &functions) {
            Ok(planned) => {
                plans.push(planned.plan);
                weights.push(planned.weights);
            }
            Err(list) => refused.extend(list.into_iter().map(|diagnostic| (index, diagnostic))),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    Ok(Compiled { class: TargetClass::Ascend, plans, code, weights })
}

/// The text of every function, by name, for the first Ascend target.
///
/// # Errors
/// As for compiling.
pub fn listing(sources: &[Source], targets: &[Target], spelling: Spelling) -> Result<Vec<(String, String)>, Refused> {
    let target = npus(targets).next().unwrap_or(AscendTarget::A910b);
    let (functions, _) = lower(sources, target)?;
    Ok(functions.list.iter().map(|function| (function.name.clone(), function.text(spelling))).collect())
}

/// The functions of all programs, and the launches of each.
fn lower(sources: &[Source], target: AscendTarget) -> Result<(AscendFunctions, Vec<Vec<AscendLaunch>>), Refused> {
    let mut functions = AscendFunctions::default();
    let (mut launches, mut refused) = (Vec::new(), Vec::new());
    for (index, source) in sources.iter().enumerate() {
        match functions.lower(source.program, target) {
            Ok(list) => launches.push(list),
            Err(diagnostics) => refused.extend(diagnostics.into_iter().map(|diagnostic| (index, diagnostic))),
        }
    }
    if refused.is_empty() { Ok((functions, launches)) } else { Err(refused) }
}

/// With the feature `mlir`, refuses functions whose text MLIR does not take.
fn verify(sources: &[Source], functions: &AscendFunctions) -> Result<(), Refused> {
    #[cfg(feature = "mlir")]
    for function in &functions.list {
        super::mlir::lower_in_process(&function.name, &function.text(Spelling::Upstream))
            .map_err(|error| whole(sources, &error.to_string()))?;
    }
    #[cfg(not(feature = "mlir"))]
    let _ = (sources, functions);
    Ok(())
}

fn section(functions: &AscendFunctions, target: AscendTarget) -> AscendSection {
    let functions = functions.list.iter().map(|function| AscendFunction {
        name: function.name.clone(),
        form: match &function.kernel {
            AscendKernel::Vector(_) => AscendForm::Vector,
            AscendKernel::Cube(cube) if cube.is_mixed() => AscendForm::Mixed,
            AscendKernel::Cube(_) => AscendForm::Cube,
        },
        options: function.kernel.compiler_options(target),
        text: function.text(Spelling::Vendor),
        object: None,
    });
    AscendSection { functions: functions.collect() }
}

/// The NPUs among the targets.
fn npus(targets: &[Target]) -> impl Iterator<Item = AscendTarget> {
    targets.iter().filter_map(|target| match target {
        Target::Ascend(npu) => Some(*npu),
        Target::Cpu(_) | Target::Nvptx(_) => None,
    })
}
