//! Launches as the steps of a plan.

use super::program::{AscendFunctions, AscendLaunch};
use crate::backend::Source;
use crate::shared::dims::DimBuilder;
use crate::shared::plan::{Buffers, Built, Planned, plan_with};
use ic_artifact::Step;
use ic_ir::{Diagnostic, Location};
use ic_types::Dim;

/// Makes the plan of a program from its launches.
///
/// # Errors
/// Every extent that nothing determines, and what plans for these targets cannot have.
pub(crate) fn plan(
    source: &Source,
    launches: &[AscendLaunch],
    functions: &AscendFunctions,
) -> Result<Planned, Vec<Diagnostic>> {
    let file = source.program.name.as_str();
    let refuse = |node: &str, message: String| {
        Diagnostic::new(
            Location { file: file.into(), node: node.into() },
            format!("not supported on Ascend: {message}"),
        )
    };
    if !source.program.states.is_empty() {
        return Err(vec![refuse("", "state buffers".into())]);
    }
    plan_with(source.program, source.graph, &mut |dims, buffers, _| {
        let mut built = Built::default();
        for launch in launches {
            match step(launch, functions, &mut built.functions, dims, buffers) {
                Ok(step) => built.steps.push(step),
                Err(message) => built.errors.push(refuse(&launch.location, message)),
            }
        }
        built
    })
}

fn step(
    launch: &AscendLaunch,
    functions: &AscendFunctions,
    names: &mut Vec<String>,
    dims: &mut DimBuilder,
    buffers: &mut Buffers,
) -> Result<Step, String> {
    let function = &functions.list[launch.function];
    let index = names.iter().position(|name| *name == function.name).unwrap_or_else(|| {
        names.push(function.name.clone());
        names.len() - 1
    });
    let mut slot =
        |dim: &Dim| dims.slot(dim).map_err(|unbound| format!("the extent `{}` has no value at this point", unbound.0));
    let [x, y, z] = function.kernel.grid();
    Ok(Step::Launch {
        name: launch.location.to_string(),
        function: index as u32,
        dims: function.kernel.launch_dims().iter().map(&mut slot).collect::<Result<_, _>>()?,
        grid: [slot(&x)?, slot(&y)?, slot(&z)?],
        buffers: launch.buffers.iter().map(|&buffer| buffers.place(buffer)).collect(),
        block: [1, 1, 1],
        shared_bytes: 0,
    })
}
