//! ONNX models to Graph IR.
//!
//! The file is scanned at the level of the wire format, so that weights stay where they are ([`wire`]); the small rest is
//! parsed; then the nodes are walked in topological order and each ONNX op is decomposed into core ops by its file in
//! [`ops`]. The walk goes on after a node that is refused, so that one error lists all of them.

mod build;
mod context;
mod error;
mod files;
mod function;
mod known;
mod lengths;
mod node;
mod objects;
mod ops;
mod order;
mod outputs;
mod regions;
mod runtime;
mod symbols;
mod tensor;
mod walk;
mod wire;

use super::{FileSource, ImportOptions, Imported};
use context::{Binding, Context, Opsets, Problems};
use error::Refusal;
use files::Files;
use ic_ir::{Diagnostic, Graph, Literal, Location, TensorType, ValueId};
use ic_types::DType;
use objects::Kind;
use onnx_protobuf::{GraphProto, Message, ModelProto, OperatorSetIdProto, TypeProto};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use symbols::Symbols;

/// Newest version of the default operator set that the importer knows.
const NEWEST_OPSET: i64 = 28;

/// Imports the ONNX model at `path`.
///
/// # Errors
/// If a file cannot be read or is malformed, or the model uses what is not supported: everything that is wrong.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, Vec<Diagnostic>> {
    let location = Location { file: path.to_string_lossy().into(), node: "".into() };
    let (source, mut model) = load(path).map_err(|message| vec![Diagnostic::new(location.clone(), message)])?;
    let files = Files::new(source, path);
    let functions = function::functions_of(&mut model);
    let mut cx = Context::new(location.file.clone(), files, Symbols::new(options.dims.clone()), functions);
    cx.open_closed_scope(opsets_of(&model.opset_import));
    let Some(graph) = model.graph.take() else {
        return Err(vec![Diagnostic::new(location, "the model has no graph")]);
    };
    check_versions(&mut cx, &model);
    cx.frame().graph = Graph::new(graph_name(&graph, path));
    walk::bind_initializers(&mut cx, &graph);
    for (name, tensor) in &options.constants {
        cx.bind_literal(name, Literal::inline(tensor.clone()));
    }
    add_inputs(&mut cx, &graph);
    let wanted = outputs::wanted(&mut cx, &graph, options);
    walk::import_nodes(&mut cx, &graph.node, &wanted);
    outputs::add(&mut cx, &graph, &wanted);
    check_bindings(&mut cx, options);
    finish(cx, path, &model, options)
}

/// Domain and name of every op that is imported, sorted; the domain of ONNX itself is empty.
#[must_use]
pub fn ops() -> Vec<(&'static str, &'static str)> {
    ops::names()
}

/// Names of the model's inputs, those with a constant value left out, in their order.
///
/// # Errors
/// If the file cannot be read or is malformed.
pub fn input_names(path: &Path) -> Result<Vec<String>, String> {
    let (_, model) = load(path)?;
    let Some(graph) = model.graph.into_option() else { return Ok(Vec::new()) };
    let constants: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs = graph.input.iter().map(|input| input.name.clone());
    Ok(inputs.filter(|name| !constants.contains(name.as_str())).collect())
}

/// The model without its large payloads, and its file.
fn load(path: &Path) -> Result<(Arc<FileSource>, ModelProto), String> {
    let source = FileSource::open(path).map_err(|e| format!("cannot open the model: {e}"))?;
    let bytes = wire::scan(&source).map_err(|e| e.to_string())?;
    let model = ModelProto::parse_from_bytes(&bytes).map_err(|e| format!("not a valid ONNX model: {e}"))?;
    Ok((Arc::new(source), model))
}

/// Versions by domain.
fn opsets_of(imports: &[OperatorSetIdProto]) -> Opsets {
    let domain = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_string() };
    Rc::new(imports.iter().map(|import| (domain(&import.domain), import.version)).collect::<BTreeMap<_, _>>())
}

fn graph_name(graph: &GraphProto, path: &Path) -> String {
    if graph.name.is_empty() {
        path.file_stem().map_or_else(|| "main".into(), |s| s.to_string_lossy().into_owned())
    } else {
        graph.name.clone()
    }
}

fn check_versions(cx: &mut Context, model: &ModelProto) {
    let version = cx.opsets().get("").copied();
    if let Some(version) = version.filter(|&v| !(1..=NEWEST_OPSET).contains(&v)) {
        cx.warn(format!("operator set {version} is outside of 1 to {NEWEST_OPSET}, which are known"));
    }
    if model.ir_version < 3 && version.is_none() {
        // Such models precede operator sets.
        let opsets: Opsets = Rc::new([(String::new(), 1)].into());
        cx.close_scope();
        cx.open_closed_scope(opsets);
    }
}

/// Declares the graph's inputs. One that is an initializer too is a constant.
fn add_inputs(cx: &mut Context, graph: &GraphProto) {
    for input in &graph.input {
        if let Some(ty) = input.type_.as_ref() {
            cx.symbols.reserve(ty);
        }
    }
    cx.symbols.fix(lengths::fixed(graph));
    let mut seen = BTreeSet::new();
    for input in &graph.input {
        let name = input.name.as_str();
        if !name.is_empty() && !seen.contains(name) && cx.is_local(name) {
            continue;
        }
        if name.is_empty() || !seen.insert(name) {
            cx.report(name, "", error::invalid!("input `{name}` has no name of its own"));
            continue;
        }
        let ty = input.type_.as_ref().ok_or_else(|| error::invalid!("input `{name}` has no type"));
        match ty.and_then(|ty| declare_input(cx, name, ty)) {
            Ok(value) => cx.bind(name, Binding::Value(value)),
            Err(refusal) => {
                cx.report(name, "input", refusal);
                cx.bind(name, Binding::Refused);
            }
        }
    }
}

/// Declares an input of the graph: a tensor, or an object.
fn declare_input(cx: &mut Context, name: &str, ty: &TypeProto) -> error::Result<ValueId> {
    match Kind::of(ty)? {
        Kind::Tensor(..) => {
            let ty = cx.symbols.input_type(name, ty)?;
            Ok(cx.frame().graph.add_input(name, ty))
        }
        kind => {
            let object = cx.frame().graph.add_input(name, TensorType::fixed(DType::Object, &[]));
            Ok(cx.with_kind(object, kind))
        }
    }
}

fn check_bindings(cx: &mut Context, options: &ImportOptions) {
    if options.dims_of_others {
        return;
    }
    let bound = options.dims.keys().chain(options.ranges.keys());
    let unused: Vec<&String> = bound.filter(|name| !cx.symbols.names().contains(&name.as_str())).collect();
    for name in unused {
        let known = cx.symbols.names().join("`, `");
        let known = if known.is_empty() { "none".to_string() } else { format!("`{known}`") };
        cx.report("", "", Refusal::Invalid(format!("no dim is called `{name}`; the model's dims are {known}")));
    }
}

fn finish(
    mut cx: Context,
    path: &Path,
    model: &ModelProto,
    options: &ImportOptions,
) -> Result<Imported, Vec<Diagnostic>> {
    let Problems { unsupported, mut invalid } = std::mem::take(&mut cx.problems);
    let location = Location { file: cx.file.clone(), node: "".into() };
    if !unsupported.is_empty() {
        let n = unsupported.len();
        let message = if n == 1 { "1 node is not supported".into() } else { format!("{n} nodes are not supported") };
        invalid.push(Diagnostic { notes: unsupported, ..Diagnostic::new(location.clone(), message) });
    }
    if !invalid.is_empty() {
        return Err(invalid);
    }
    let mut graph = super::prune::prune(cx.graph()).map_err(|e| vec![Diagnostic::new(location, e.to_string())])?;
    super::set_ranges(&mut graph, options);
    let dims = cx.symbols.names().into_iter().map(String::from).collect();
    let metadata = model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
    let files = std::iter::once(path.to_path_buf()).chain(cx.files.external_paths()).collect();
    Ok(Imported { graph, warnings: cx.warnings, metadata, dims, files })
}
