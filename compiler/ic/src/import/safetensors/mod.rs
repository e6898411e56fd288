//! Hugging Face folders to Graph IR: `config.json`, and weights in safetensors files.
//!
//! The configuration names the family of the model; the family's table says which tensors it consists of, and the
//! family builds the graph that the model's ONNX export has. Large weights stay in their files.

mod config;
mod families;
mod family;
mod header;
mod layers;
mod weights;

use super::{ImportOptions, Imported};
use config::Config;
use families::FAMILIES;
use family::Family;
use ic_ir::{Diagnostic, Graph, GraphError};
use layers::Model;
use std::path::{Path, PathBuf};
use weights::{Weights, at, read_small};

/// Why a family's graph cannot be built.
#[derive(Debug)]
pub(crate) struct Refusal {
    message: String,
    node: String,
}

/// The result of building a part of a graph.
pub(crate) type Result<T> = std::result::Result<T, Refusal>;

impl From<String> for Refusal {
    fn from(message: String) -> Refusal {
        Refusal { message, node: String::new() }
    }
}

impl From<GraphError> for Refusal {
    fn from(error: GraphError) -> Refusal {
        Refusal { message: format!("{}: {}", error.op, error.source), node: error.location.to_string() }
    }
}

/// The folder of a model, if `path` is one or its `config.json`.
pub(super) fn folder_of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.into());
    }
    let is_config = path.file_name().is_some_and(|name| name == "config.json");
    is_config.then(|| path.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// Imports the model in `folder`.
///
/// # Errors
/// If a file cannot be read or is malformed, the family is not supported, or the weights do not fit the configuration:
/// everything that is wrong.
pub(super) fn import(folder: &Path, options: &ImportOptions) -> std::result::Result<Imported, Vec<Diagnostic>> {
    let file = folder.join("config.json");
    let config = read_small(&file, config::MAX_BYTES).and_then(|text| Config::parse(&text));
    let config = config.map_err(|message| vec![at(&file, message)])?;
    let model_type = config.model_type().map_err(|message| vec![at(&file, message)])?;
    let weights = Weights::open(folder)?;
    let family = FAMILIES.iter().find(|family| family.model_type == model_type);
    let Some(family) = family.filter(|family| has_architecture(family, &config)) else {
        return Err(vec![unknown_family(&file, &config, model_type, &weights)]);
    };
    family::check(family, &config, &weights, folder)?;
    let (graph, dims) = build(family, &config, &weights, options).map_err(|refusal| {
        let mut diagnostic = at(&file, refusal.message);
        diagnostic.location.node = refusal.node.into();
        vec![diagnostic]
    })?;
    let files = std::iter::once(file).chain(weights.files).collect();
    Ok(Imported { graph, warnings: Vec::new(), metadata: Vec::new(), dims, files })
}

fn has_architecture(family: &Family, config: &Config) -> bool {
    config.architectures().iter().all(|name| family.architectures.contains(name))
}

/// The refusal of a model that no family describes: what it is, what there is, and what its tensors are.
fn unknown_family(file: &Path, config: &Config, model_type: &str, weights: &Weights) -> Diagnostic {
    let architectures = config.architectures().join("`, `");
    let message = match architectures.as_str() {
        "" => format!("models of family `{model_type}` are not supported"),
        names => format!("models of family `{model_type}` with architecture `{names}` are not supported"),
    };
    let known = FAMILIES.iter().map(|family| format!("`{}` ({})", family.model_type, family.architectures.join(", ")));
    let help = format!("supported are {}; or compile the model's ONNX export", known.collect::<Vec<_>>().join(", "));
    let notes = family::groups(weights).into_iter().map(|group| format!("found {group}")).collect();
    Diagnostic { notes, ..at(file, message) }.with_help(help)
}

/// The graph, and the names of its symbolic dims.
fn build(family: &Family, config: &Config, weights: &Weights, options: &ImportOptions) -> Result<(Graph, Vec<String>)> {
    let mut model = Model {
        config,
        weights,
        graph: Graph::new("main_graph"),
        dims: &options.dims,
        constants: &options.constants,
        symbols: Vec::new(),
        outputs: Vec::new(),
        location: String::new(),
    };
    (family.build)(&mut model)?;
    let Model { mut graph, outputs, symbols, .. } = model;
    let mut bound = options.dims.keys().chain(options.ranges.keys()).filter(|_| !options.dims_of_others);
    if let Some(name) = bound.find(|name| !symbols.contains(&name.as_str())) {
        return Err(format!("no dim is called `{name}`; the model's dims are `{}`", symbols.join("`, `")).into());
    }
    let names: Vec<&str> = outputs.iter().map(|(name, _)| *name).collect();
    let wanted = options.outputs.as_ref().map(|wanted| wanted.iter().map(String::as_str).collect());
    for name in wanted.unwrap_or_else(|| names.clone()) {
        let output = outputs.iter().find(|(output, _)| *output == name);
        let (_, value) = output
            .ok_or_else(|| format!("the model has no output `{name}`; its outputs are `{}`", names.join("`, `")))?;
        graph.add_output(name, *value);
    }
    let mut graph = super::prune::prune(&graph)?;
    super::set_ranges(&mut graph, options);
    Ok((graph, symbols.iter().map(|name| name.to_string()).collect()))
}
