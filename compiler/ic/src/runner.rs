//! A graph, compiled for this host and loaded: what calibration and the check of kernels run, and what measures how well
//! graphs are compiled.

use crate::import::Imported;
use crate::pipeline::{self, CompileError, Options, Package, Source};
use ic_codegen::{Products, Target};
use ic_ir::Graph;
use ic_ir::kernel::Step;
use ic_runtime::{LoadOptions, Model, Session};
use ic_types::{Tensor, TensorView};
use std::path::PathBuf;
use tempfile::TempDir;

/// The name of the artifact in its folder.
const ARTIFACT: &str = "package.ica";

/// A session on a graph.
pub struct Runner {
    session: Session,
    inputs: Vec<String>,
    outputs: Vec<String>,
    kernels: String,
    /// Holds the artifact, which stays mapped.
    folder: TempDir,
}

impl Runner {
    /// Compiles a graph at the level of `options`, on floats as they are.
    ///
    /// # Errors
    /// If it cannot be compiled or written.
    pub fn new(graph: Graph, options: &Options) -> Result<Runner, CompileError> {
        Runner::with(graph, options, &ic_runtime::Options::new())
    }

    /// As [`new`](Self::new), for a session with these options.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with(graph: Graph, options: &Options, session: &ic_runtime::Options) -> Result<Runner, CompileError> {
        let host =
            Target::host().ok_or_else(|| refuse("calibration runs on the CPU; there is no code for this one"))?;
        Runner::on(graph, options, session, host, &LoadOptions::new())
    }

    /// As [`with`](Self::with), for another target, and loaded with these options.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn on(
        graph: Graph,
        options: &Options,
        session: &ic_runtime::Options,
        target: Target,
        load: &LoadOptions,
    ) -> Result<Runner, CompileError> {
        let passes = ic_passes::Options {
            precision: ic_passes::Precision::F32,
            integer_weights: None,
            rounded: Vec::new(),
            ..options.passes.clone()
        };
        let options = Options { passes, targets: vec![target], products: Products::F32, ..Options::default() };
        let name = |&v| graph.value(v).name.as_deref().unwrap_or_default().to_string();
        let inputs = graph.inputs().iter().map(name).collect();
        let outputs = graph.output_names().iter().map(ToString::to_string).collect();
        let imported =
            Imported { graph, warnings: Vec::new(), metadata: Vec::new(), dims: Vec::new(), files: Vec::new() };
        let models = vec![(Source::main("calibration"), imported)];
        let package = pipeline::lower_imported(models, &options, &mut |_| (), &mut |_, _| ())?;
        let mut kernels = String::new();
        package.models().iter().for_each(|model| print(&model.program.steps, &mut kernels));
        let (session, folder) = start(&package, &options, session, load)?;
        Ok(Runner { session, inputs, outputs, kernels, folder })
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The kernels, as `--emit kernels` prints them: equal kernels give equal text.
    pub fn kernels(&self) -> &str {
        &self.kernels
    }

    /// The artifact that the session runs, which is deleted with `self`.
    pub fn artifact(&self) -> PathBuf {
        self.folder.path().join(ARTIFACT)
    }

    /// The outputs for one sample, in the graph's order.
    ///
    /// # Errors
    /// If the run fails, on an index out of range for one.
    pub fn run(&self, sample: &[Tensor]) -> Result<Vec<Tensor>, CompileError> {
        let named = self.inputs.iter().zip(sample);
        let views: Vec<(&str, TensorView<'_>)> = named.map(|(name, tensor)| (name.as_str(), tensor.view())).collect();
        let found = self.session.run(&views).map_err(|e| refuse(&format!("a calibration sample: {e}")))?;
        let each = self.outputs.iter().map(|name| found.get(name).cloned());
        each.collect::<Option<_>>().ok_or_else(|| refuse("a calibration run lacks an output"))
    }
}

fn print(steps: &[Step], text: &mut String) {
    for step in steps {
        match step {
            Step::Kernel { kernel, .. } => *text += &format!("{kernel}\n"),
            Step::Read(_) => {}
            Step::Loop(of) => print(&of.body, text),
            Step::If { then, otherwise, .. } => {
                print(then, text);
                print(otherwise, text);
            }
        }
    }
}

/// Writes a package to a folder of its own, which must outlive the session, and loads it.
///
/// # Errors
/// If it cannot be compiled, written or loaded.
#[expect(unsafe_code, reason = "what runs has just been compiled")]
pub(crate) fn start(
    package: &Package,
    options: &Options,
    session: &ic_runtime::Options,
    load: &LoadOptions,
) -> Result<(Session, TempDir), CompileError> {
    let folder = tempfile::tempdir().map_err(|e| refuse(&format!("cannot make a temporary folder: {e}")))?;
    let artifact = folder.path().join(ARTIFACT);
    pipeline::write(package, &artifact, options, &mut |_| ())?;
    // SAFETY: this process wrote the artifact, into a folder of its own.
    let model = unsafe { Model::load_with(&artifact, load) }.map_err(|e| refuse(&e.to_string()))?;
    let session = model.session(session).map_err(|e| refuse(&e.to_string()))?;
    Ok((session, folder))
}

fn refuse(message: &str) -> CompileError {
    CompileError::Calibration(message.into())
}
