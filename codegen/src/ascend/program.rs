//! The kernels of a program.

use super::kernel::{AscendKernel, lower_kernel};
use super::print::Spelling;
use crate::target::AscendTarget;
use ic_ir::kernel::{BufferId, Kernel, Program, Step};
use ic_ir::{Diagnostic, Location};
use std::sync::Arc;

/// A function, which several launches may share.
#[derive(Clone, PartialEq, Debug)]
pub struct AscendFunction {
    /// Its name.
    pub name: String,
    /// Its form.
    pub kernel: AscendKernel,
    /// What it was lowered from.
    pub source: Kernel,
}

impl AscendFunction {
    /// The text of the function.
    pub fn text(&self, spelling: Spelling) -> String {
        self.kernel.text(&self.source, &self.name, spelling)
    }
}

/// One launch.
#[derive(Clone, PartialEq, Debug)]
pub struct AscendLaunch {
    /// Index into [`AscendFunctions::list`].
    pub function: usize,
    /// The buffer of each argument of the function.
    pub buffers: Vec<BufferId>,
    /// Names of the model's nodes.
    pub location: Arc<str>,
}

/// The functions of all programs of an artifact, each once.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AscendFunctions {
    /// The functions, by first use.
    pub list: Vec<AscendFunction>,
}

impl AscendFunctions {
    /// Lowers a program to launches.
    ///
    /// # Errors
    /// Every node that has no kernel.
    pub fn lower(&mut self, program: &Program, target: AscendTarget) -> Result<Vec<AscendLaunch>, Vec<Diagnostic>> {
        let (mut launches, mut errors) = (Vec::new(), Vec::new());
        for step in &program.steps {
            let (kernel, args, location) = match step {
                Step::Kernel { kernel, args, location } => (kernel, args, location),
                Step::Read(_) => {
                    let location = Arc::from("");
                    errors.push(refusal(program, &location, target, "an extent that depends on data"));
                    continue;
                }
                Step::If { location, .. } => {
                    errors.push(refusal(program, location, target, "a branch"));
                    continue;
                }
                Step::Loop(of) => {
                    errors.push(refusal(program, &of.location, target, "a loop"));
                    continue;
                }
            };
            match lower_kernel(kernel, target) {
                Ok(Some(form)) => {
                    let buffers = form.arguments().into_iter().map(|param| args[param as usize]).collect();
                    let function = self.add(form, kernel);
                    launches.push(AscendLaunch { function, buffers, location: location.clone() });
                }
                Ok(None) => {}
                Err(what) => errors.push(refusal(program, location, target, &what)),
            }
        }
        if errors.is_empty() { Ok(launches) } else { Err(errors) }
    }

    /// The function with this form, added if there is none.
    fn add(&mut self, kernel: AscendKernel, source: &Kernel) -> usize {
        let known = self.list.iter().position(|f| f.kernel == kernel && f.source.params == source.params);
        known.unwrap_or_else(|| {
            let name = format!("k{:04}", self.list.len());
            self.list.push(AscendFunction { name, kernel, source: source.clone() });
            self.list.len() - 1
        })
    }
}

fn refusal(program: &Program, location: &Arc<str>, target: AscendTarget, what: &str) -> Diagnostic {
    let location = Location { file: program.name.as_str().into(), node: location.clone() };
    let diagnostic = Diagnostic::new(location, format!("not supported on {}: {what}", target.name()));
    if what.ends_with("is symbolic") { diagnostic.with_help("bind it: `ic compile --dim NAME=N`") } else { diagnostic }
}
