//! Importers: model files to Graph IR.
//!
//! Weights stay in their files: large constants of an imported graph are ranges of them.

pub mod onnx;
mod prune;
mod safetensors;
mod source;

use ic_ir::{Diagnostic, Graph, Location, SymbolRange};
use ic_types::{Dim, Tensor, symbols_of};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use source::FileSource;

/// What to import.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Values of symbolic dims.
    pub dims: BTreeMap<String, i64>,
    /// Ranges of symbolic dims.
    pub ranges: BTreeMap<String, SymbolRange>,
    /// Whether `dims` and `ranges` may name dims that the model does not have, as those of another entry.
    pub dims_of_others: bool,
    /// Values to compute, by name, instead of the model's outputs.
    pub outputs: Option<Vec<String>>,
    /// Inputs that are constants, by name.
    pub constants: BTreeMap<String, Tensor>,
}

/// An imported model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model, decomposed into core ops.
    pub graph: Graph,
    /// What is odd about the model but does not keep it from running.
    pub warnings: Vec<Diagnostic>,
    /// The model's own key-value pairs.
    pub metadata: Vec<(String, String)>,
    /// Names of the model's symbolic dims, those in [`ImportOptions::dims`] included.
    pub dims: Vec<String>,
    /// The files that the model consists of, the model itself first.
    pub files: Vec<PathBuf>,
}

/// Imports the model at `path`: a Hugging Face folder or its `config.json`, Graph IR text where the extension is `ic`,
/// else ONNX.
///
/// # Errors
/// If a file cannot be read or is malformed, or the model uses what is not supported: everything that is wrong.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, Vec<Diagnostic>> {
    if path.extension().is_some_and(|e| e == "ic") {
        import_text(path, options).map_err(|e| vec![e])
    } else if let Some(folder) = safetensors::folder_of(path) {
        safetensors::import(&folder, options)
    } else {
        onnx::import(path, options)
    }
}

fn import_text(path: &Path, options: &ImportOptions) -> Result<Imported, Diagnostic> {
    let location = Location { file: path.to_string_lossy().into(), node: "".into() };
    let text = std::fs::read_to_string(path)
        .map_err(|e| Diagnostic::new(location.clone(), format!("cannot read the graph: {e}")))?;
    let refuse = |message: String| Diagnostic::new(location.clone(), message);
    let mut graph = ic_ir::text::parse(&text).map_err(|e| refuse(e.to_string()))?;
    let inputs = graph.inputs().iter().filter_map(|&v| graph.ty(v).as_tensor());
    let dims = symbols_of(inputs.flat_map(|ty| &ty.shape));
    let dims: Vec<String> = dims.iter().map(|name| name.to_string()).collect();
    let unknown = options.dims.keys().chain(options.ranges.keys()).find(|name| !dims.contains(name));
    if let Some(name) = unknown.filter(|_| !options.dims_of_others) {
        let known = if dims.is_empty() { "none".into() } else { format!("`{}`", dims.join("`, `")) };
        return Err(refuse(format!("no dim is called `{name}`; the graph's dims are {known}")));
    }
    let extent = |name: &str| options.dims.get(name).map(|&extent| Dim::constant(extent));
    graph = graph.substitute(&extent).map_err(|e| refuse(e.to_string()))?;
    set_ranges(&mut graph, options);
    Ok(Imported { graph, warnings: Vec::new(), metadata: Vec::new(), dims, files: vec![path.to_path_buf()] })
}

/// Gives the symbols of the graph's inputs their ranges.
fn set_ranges(graph: &mut Graph, options: &ImportOptions) {
    let inputs = graph.inputs().iter().filter_map(|&v| graph.ty(v).as_tensor());
    for name in symbols_of(inputs.flat_map(|ty| &ty.shape)) {
        if let Some(&range) = options.ranges.get(&*name) {
            graph.symbols.insert(name, range);
        }
    }
}
