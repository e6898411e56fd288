//! Calibration samples: archives to inputs.

use crate::pipeline::CompileError;
use crate::tensors::read_npz;
use ic_ir::{Graph, TensorType, ValueId};
use ic_types::{Data, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The samples of all archives: a tensor for each input, in the graph's order.
///
/// # Errors
/// If an archive cannot be read, lacks an input, holds something else, or does not fit the model; if there are none.
pub(super) fn read(graph: &Graph, files: &[PathBuf]) -> Result<Vec<Vec<Tensor>>, CompileError> {
    let mut samples = Vec::new();
    for file in files {
        let refuse = |message: String| CompileError::Calibration(format!("{}: {message}", file.display()));
        samples.extend(read_archive(graph, file).map_err(refuse)?);
    }
    if samples.is_empty() {
        return Err(CompileError::Calibration(
            "there are no calibration samples; give `--calibration FILE.npz`".into(),
        ));
    }
    Ok(samples)
}

fn read_archive(graph: &Graph, file: &Path) -> Result<Vec<Vec<Tensor>>, String> {
    let arrays: BTreeMap<String, Tensor> = read_npz(file).map_err(|e| e.to_string())?.into_iter().collect();
    let held = || if arrays.is_empty() { "nothing".into() } else { names(arrays.keys()) };
    let name = |input: ValueId| graph.value(input).name.as_deref().unwrap_or_default();
    let inputs: Vec<&str> = graph.inputs().iter().map(|&input| name(input)).collect();
    if let Some(unknown) = arrays.keys().find(|array| !inputs.contains(&array.as_str())) {
        return Err(format!("array `{unknown}` is no input; inputs are {}", names(inputs.iter())));
    }
    let mut columns = Vec::new();
    for &input in graph.inputs() {
        let array =
            arrays.get(name(input)).ok_or_else(|| format!("no array `{}`; it holds {}", name(input), held()))?;
        let ty = graph.ty(input).as_tensor().ok_or_else(|| format!("input `{}` is no tensor", name(input)))?;
        columns.push(split(array, ty).map_err(|problem| format!("array `{}` {problem}", name(input)))?);
    }
    let count = columns.first().map_or(0, Vec::len);
    if let Some(i) = columns.iter().position(|column| column.len() != count) {
        let (first, other) = (inputs[0], inputs[i]);
        return Err(format!("array `{first}` has {count} samples, array `{other}` has {}", columns[i].len()));
    }
    if count == 0 {
        return Err("it holds no samples".into());
    }
    let samples: Vec<Vec<Tensor>> =
        (0..count).map(|i| columns.iter().map(|column| column[i].clone()).collect()).collect();
    samples.iter().try_for_each(|sample| check(graph, sample))?;
    Ok(samples)
}

fn names(list: impl Iterator<Item = impl std::fmt::Display>) -> String {
    list.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The samples of an array: itself, or its parts along an axis before those of the input.
fn split(array: &Tensor, ty: &TensorType) -> Result<Vec<Tensor>, String> {
    if array.dtype() != ty.dtype {
        return Err(format!("is of {}, the model takes {}", array.dtype(), ty.dtype));
    }
    let rank = ty.rank();
    if array.rank() == rank {
        return Ok(vec![array.clone()]);
    }
    if array.rank() != rank + 1 {
        return Err(format!("has {} axes, the model's input has {rank}, or one more of samples", array.rank()));
    }
    let shape = array.shape()[1..].to_vec();
    let len = shape.iter().product::<usize>() * ty.dtype.size().unwrap_or(0);
    let bytes = array.data().to_le_bytes();
    let part = |i: usize| {
        let data = Data::from_le_bytes(ty.dtype, &bytes[i * len..][..len]);
        Some(Tensor::new(shape.clone(), data?))
    };
    (0..array.shape()[0]).map(|i| part(i).ok_or_else(|| format!("of {} cannot be divided", ty.dtype))).collect()
}

/// Whether the extents are those of the inputs, the same symbol standing for the same extent.
fn check(graph: &Graph, sample: &[Tensor]) -> Result<(), String> {
    let symbols = symbols(graph, sample);
    // A cache of keys may be empty before the first token.
    if sample.iter().all(Tensor::is_empty) {
        return Err("it holds a sample without elements".into());
    }
    for (&input, tensor) in graph.inputs().iter().zip(sample) {
        let name = graph.value(input).name.as_deref().unwrap_or_default();
        for (axis, (dim, &extent)) in graph.tensor_ty(input).shape.iter().zip(tensor.shape()).enumerate() {
            let expected = dim.eval(&|symbol| symbols.get(symbol).copied());
            if expected.as_ref().is_ok_and(|&expected| expected != extent as i64) {
                let expected = expected.unwrap_or_default();
                return Err(format!(
                    "array `{name}` has {extent} elements along axis {axis}, where `{dim}` is {expected}"
                ));
            }
        }
    }
    Ok(())
}

/// What symbols are in a sample: from the first axis that is just that symbol.
pub(super) fn symbols(graph: &Graph, sample: &[Tensor]) -> BTreeMap<String, i64> {
    let mut symbols = BTreeMap::new();
    for (&input, tensor) in graph.inputs().iter().zip(sample) {
        let Some(ty) = graph.ty(input).as_tensor() else { continue };
        for (dim, &extent) in ty.shape.iter().zip(tensor.shape()) {
            if let Some(symbol) = dim.as_symbol() {
                symbols.entry(symbol.to_string()).or_insert(extent as i64);
            }
        }
    }
    symbols
}
