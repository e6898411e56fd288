//! What a family of models is: a table of layer → tensor names, and a graph; and the comparison of a checkpoint with
//! the table.
//!
//! A family's graph is built only of a checkpoint that has all its tensors, in their shapes, and no others.

use super::config::Config;
use super::header::{Entry, dtype_name};
use super::layers::Model;
use super::weights::{Weights, at, float};
use ic_ir::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A family of models.
pub(crate) struct Family {
    /// Its `model_type`.
    pub(crate) model_type: &'static str,
    /// The classes whose checkpoints have this graph; a configuration that names none is taken for the first.
    pub(crate) architectures: &'static [&'static str],
    /// The field that gives the number of layers.
    pub(crate) layers: &'static str,
    /// Fields that must have these values, in JSON, where they are present.
    pub(crate) required: &'static [(&'static str, &'static str)],
    /// The tensors, in the order of the graph.
    pub(crate) tensors: &'static [(&'static str, Part)],
    /// Starts of the names of tensors that checkpoints may have and the graph does not use.
    pub(crate) unused: &'static [&'static str],
    /// Builds the graph.
    pub(crate) build: fn(&mut Model) -> super::Result<()>,
}

/// What a part of a model consists of. Extents are fields of the configuration. `{}` in the name of the part is the
/// number of the layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// `weight` of `[rows, columns]`.
    Table(&'static str, &'static str),
    /// `weight` of `[outputs, inputs]` and `bias` of `[outputs]`.
    Linear(&'static str, &'static str),
    /// `weight` and `bias` of one extent.
    Norm(&'static str),
}

impl Part {
    /// Its tensors and their extents.
    fn tensors(self) -> Vec<(&'static str, Vec<&'static str>)> {
        match self {
            Part::Table(rows, columns) => vec![("weight", vec![rows, columns])],
            Part::Linear(outputs, inputs) => vec![("weight", vec![outputs, inputs]), ("bias", vec![outputs])],
            Part::Norm(extent) => vec![("weight", vec![extent]), ("bias", vec![extent])],
        }
    }
}

/// Compares the checkpoint with the family's table.
///
/// # Errors
/// All tensors that are missing, unexpected, or of the wrong shape or type, and fields that are missing or have values
/// that are not supported.
pub(super) fn check(family: &Family, config: &Config, weights: &Weights, folder: &Path) -> Result<(), Vec<Diagnostic>> {
    let file = folder.join("config.json");
    let in_config = |message: String| at(&file, message);
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (field, value) in family.required {
        let value = serde_json::from_str(value).expect("the values of a family's table are JSON");
        problems.extend(config.require(field, &value).err().map(in_config));
    }
    let expected = expected(family, config, weights.tensors.len());
    let Ok(expected) = expected else {
        problems.extend(expected.err().map(in_config));
        return Err(problems);
    };
    problems.extend(missing(&expected, weights, folder));
    problems.extend(unexpected(family, &expected, weights));
    problems.extend(misshaped(&expected, weights));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Shape by name. A checkpoint of `available` tensors cannot have more layers.
fn expected(family: &Family, config: &Config, available: usize) -> Result<BTreeMap<String, Vec<usize>>, String> {
    let n_layers = config.size(family.layers)?;
    if n_layers > available {
        return Err(format!("`{}` is {n_layers}, but the checkpoint has {available} tensors", family.layers));
    }
    let mut expected = BTreeMap::new();
    for (part, kind) in family.tensors {
        for layer in 0..if part.contains("{}") { n_layers } else { 1 } {
            for (tensor, extents) in kind.tensors() {
                let shape = extents.iter().map(|field| config.size(field)).collect::<Result<_, _>>()?;
                expected.insert(format!("{}.{tensor}", part.replace("{}", &layer.to_string())), shape);
            }
        }
    }
    Ok(expected)
}

/// The diagnostic of `notes` about one file, if there are any.
fn listed(path: &Path, message: &str, notes: Vec<String>) -> Option<Diagnostic> {
    (!notes.is_empty()).then(|| Diagnostic { notes, ..at(path, message) })
}

fn missing(expected: &BTreeMap<String, Vec<usize>>, weights: &Weights, folder: &Path) -> Option<Diagnostic> {
    let names = expected.iter().filter(|(name, _)| !weights.tensors.contains_key(*name));
    let path = match weights.files.as_slice() {
        [file] => file,
        _ => folder,
    };
    listed(path, "tensors are missing", names.map(|(name, shape)| format!("`{name}` of shape {shape:?}")).collect())
}

/// One diagnostic a file.
fn unexpected(family: &Family, expected: &BTreeMap<String, Vec<usize>>, weights: &Weights) -> Vec<Diagnostic> {
    let is_known =
        |name: &str| expected.contains_key(name) || family.unused.iter().any(|start| name.starts_with(start));
    by_file(weights, "tensors are unexpected", &|name, entry| {
        (!is_known(name)).then(|| format!("`{name}` is {}{:?}", dtype_name(entry.dtype), entry.shape))
    })
}

/// One diagnostic a file.
fn misshaped(expected: &BTreeMap<String, Vec<usize>>, weights: &Weights) -> Vec<Diagnostic> {
    by_file(weights, "tensors have another shape or type than the configuration says", &|name, entry| {
        let shape = expected.get(name)?;
        let dtype = dtype_name(entry.dtype);
        if entry.shape != *shape {
            Some(format!("`{name}` is {dtype}{:?}; expected {shape:?}", entry.shape))
        } else if float(entry.dtype).is_none() {
            Some(format!("`{name}` is {dtype}; expected f64, f32, f16 or bf16"))
        } else {
            None
        }
    })
}

fn by_file(weights: &Weights, message: &str, note: &dyn Fn(&str, &Entry) -> Option<String>) -> Vec<Diagnostic> {
    let of_file = |(file, path): (usize, &std::path::PathBuf)| {
        let tensors = weights.tensors.iter().filter(|(_, stored)| stored.file == file);
        listed(path, message, tensors.filter_map(|(name, stored)| note(name, &stored.entry)).collect())
    };
    weights.files.iter().enumerate().filter_map(of_file).collect()
}

/// The tensors of a checkpoint, those that differ in numbers alone as one line each: `layers.{0..3}.weight bf16[4, 4]`.
pub(super) fn groups(weights: &Weights) -> Vec<String> {
    /// Most lines.
    const MAX_LINES: usize = 60;
    let mut groups: BTreeMap<(String, String), Vec<BTreeSet<u64>>> = BTreeMap::new();
    for (name, stored) in &weights.tensors {
        let numbers = name.split('.').map(|part| part.parse::<u64>().ok());
        let pattern: Vec<&str> =
            name.split('.').map(|part| if part.parse::<u64>().is_ok() { "{}" } else { part }).collect();
        let ty = format!("{}{:?}", dtype_name(stored.entry.dtype), stored.entry.shape);
        let ranges = groups.entry((pattern.join("."), ty)).or_default();
        for (i, number) in numbers.flatten().enumerate() {
            ranges.resize_with(ranges.len().max(i + 1), BTreeSet::new);
            ranges[i].insert(number);
        }
    }
    let n_groups = groups.len();
    let mut lines: Vec<String> =
        groups.into_iter().take(MAX_LINES).map(|(key, ranges)| group_line(key, &ranges)).collect();
    if n_groups > MAX_LINES {
        lines.push(format!("and {} more kinds of tensors", n_groups - MAX_LINES));
    }
    lines
}

fn group_line((pattern, ty): (String, String), ranges: &[BTreeSet<u64>]) -> String {
    let mut name = pattern;
    for numbers in ranges {
        let range = match (numbers.first(), numbers.last()) {
            (Some(first), Some(last)) if first != last => format!("<{first}..{last}>"),
            (first, _) => first.map(u64::to_string).unwrap_or_default(),
        };
        name = name.replacen("{}", &range, 1);
    }
    format!("{name} {ty}")
}
