//! A graph, compiled for this host and loaded: what calibration runs.

use crate::import::Imported;
use crate::pipeline::{self, CompileError, Options, Source};
use ic_codegen::{Products, Target};
use ic_ir::Graph;
use ic_runtime::{LoadOptions, Model, Session};
use ic_types::{Tensor, TensorView};
use tempfile::TempDir;

/// A session on a graph.
pub(super) struct Runner {
    session: Session,
    inputs: Vec<String>,
    outputs: Vec<String>,
    /// Holds the artifact, which stays mapped.
    _folder: TempDir,
}

impl Runner {
    /// Compiles a graph at the level of `options`, on floats as they are.
    ///
    /// # Errors
    /// If it cannot be compiled or written.
    #[expect(unsafe_code, reason = "calibration runs what it has just compiled")]
    pub(super) fn new(graph: Graph, options: &Options) -> Result<Runner, CompileError> {
        let host =
            Target::host().ok_or_else(|| refuse("calibration runs on the CPU; there is no code for this one"))?;
        let passes = ic_passes::Options {
            precision: ic_passes::Precision::F32,
            integer_weights: None,
            ..options.passes.clone()
        };
        let options = Options { passes, targets: vec![host], products: Products::F32, ..Options::default() };
        let name = |&v| graph.value(v).name.as_deref().unwrap_or_default().to_string();
        let inputs = graph.inputs().iter().map(name).collect();
        let outputs = graph.output_names().iter().map(ToString::to_string).collect();
        let imported =
            Imported { graph, warnings: Vec::new(), metadata: Vec::new(), dims: Vec::new(), files: Vec::new() };
        let models = vec![(Source::main("calibration"), imported)];
        let package = pipeline::lower_imported(models, &options, &mut |_| (), &mut |_, _| ())?;
        let folder = tempfile::tempdir().map_err(|e| refuse(&format!("cannot make a temporary folder: {e}")))?;
        let artifact = folder.path().join("calibration.ica");
        pipeline::write(&package, &artifact, &options, &mut |_| ())?;
        // SAFETY: this process wrote the artifact, into a folder of its own.
        let model = unsafe { Model::load_with(&artifact, &LoadOptions::new()) }.map_err(|e| refuse(&e.to_string()))?;
        let session = model.session(&ic_runtime::Options::new()).map_err(|e| refuse(&e.to_string()))?;
        Ok(Runner { session, inputs, outputs, _folder: folder })
    }

    /// The outputs for one sample, in the graph's order.
    ///
    /// # Errors
    /// If the run fails, on an index out of range for one.
    pub(super) fn run(&self, sample: &[Tensor]) -> Result<Vec<Tensor>, CompileError> {
        let named = self.inputs.iter().zip(sample);
        let views: Vec<(&str, TensorView<'_>)> = named.map(|(name, tensor)| (name.as_str(), tensor.view())).collect();
        let found = self.session.run(&views).map_err(|e| refuse(&format!("a calibration sample: {e}")))?;
        let each = self.outputs.iter().map(|name| found.get(name).cloned());
        each.collect::<Option<_>>().ok_or_else(|| refuse("a calibration run lacks an output"))
    }
}

fn refuse(message: &str) -> CompileError {
    CompileError::Calibration(message.into())
}
