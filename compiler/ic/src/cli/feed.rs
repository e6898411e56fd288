//! Inputs of a run: from a folder of protos, from an archive, or seeded random ones.

use super::args::FeedArgs;
use anyhow::{Context, Result, bail, ensure};
use ic::tensors::{random_tensor, read_npz, read_proto};
use ic_ir::SymbolRange;
use ic_runtime::Entry;
use ic_types::{DType, Dim, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Inputs by name, in the entry's order.
pub(crate) type Feed = Vec<(String, Tensor)>;

/// The inputs that the arguments ask for.
pub(crate) fn feed(entry: &Entry, args: &FeedArgs) -> Result<Feed> {
    match &args.inputs {
        None => random_feed(entry, &parse_bindings(&args.dims)?),
        Some(path) if path.is_dir() => read_folder(entry, path),
        Some(path) => read_archive(entry, path),
    }
}

/// `NAME=N` bindings.
pub(crate) fn parse_bindings(texts: &[String]) -> Result<BTreeMap<String, i64>> {
    let parse = |text: &String| {
        let (name, value) = text.rsplit_once('=').with_context(|| format!("`--dim {text}`: expected NAME=N"))?;
        let value: i64 = value.parse().with_context(|| format!("`--dim {text}`: expected a number after `=`"))?;
        ensure!(value >= 0, "`--dim {text}`: an extent is not negative");
        Ok((name.to_string(), value))
    };
    texts.iter().map(parse).collect()
}

/// `NAME=N` bindings and `NAME=LO..HI` ranges.
pub(crate) fn parse_dims(texts: &[String]) -> Result<(BTreeMap<String, i64>, BTreeMap<String, SymbolRange>)> {
    let (ranged, bound): (Vec<String>, Vec<String>) = texts.iter().cloned().partition(|text| text.contains(".."));
    let parse = |text: &String| {
        let shape = || format!("`--dim {text}`: expected NAME=LO..HI");
        let (name, range) = text.rsplit_once('=').with_context(shape)?;
        let (low, high) = range.split_once("..").with_context(shape)?;
        let (min, max): (i64, i64) = (low.parse().with_context(shape)?, high.parse().with_context(shape)?);
        ensure!(0 <= min && min <= max, "`--dim {text}`: expected 0 <= LO <= HI");
        Ok((name.to_string(), SymbolRange { min, max }))
    };
    Ok((parse_bindings(&bound)?, ranged.iter().map(parse).collect::<Result<_>>()?))
}

fn read_folder(entry: &Entry, folder: &Path) -> Result<Feed> {
    let read = |(i, port): (usize, &ic_runtime::Port)| {
        let (_, tensor) = read_proto(&folder.join(format!("input_{i}.pb")))?;
        Ok((port.name.clone(), tensor))
    };
    entry.inputs.iter().enumerate().map(read).collect()
}

fn read_archive(entry: &Entry, path: &Path) -> Result<Feed> {
    let arrays = read_npz(path)?;
    let known: Vec<&str> = entry.inputs.iter().map(|port| port.name.as_str()).collect();
    let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    for port in &known {
        ensure!(names.contains(port), "{}: no array `{port}`; it holds {}", path.display(), names.join(", "));
    }
    for name in &names {
        ensure!(
            known.contains(name),
            "{}: array `{name}` is no input; inputs are {}",
            path.display(),
            known.join(", ")
        );
    }
    Ok(arrays)
}

fn random_feed(entry: &Entry, bindings: &BTreeMap<String, i64>) -> Result<Feed> {
    let mut values = bindings.clone();
    let mut unbound = Vec::new();
    for port in &entry.inputs {
        for (axis, text) in port.shape.iter().enumerate() {
            let dim: Dim = text.parse().with_context(|| format!("input `{}` of the artifact", port.name))?;
            match dim.as_symbol() {
                Some(name) if !values.contains_key(&**name) && axis == 0 => {
                    values.insert(name.to_string(), 1);
                }
                Some(name) if !values.contains_key(&**name) => unbound.push(format!("`{name}` of `{}`", port.name)),
                _ => {}
            }
        }
    }
    if !unbound.is_empty() {
        bail!("bind these dims with `--dim NAME=N`, or give `--inputs`: {}", unbound.join(", "));
    }
    let tensors = entry.inputs.iter().enumerate().map(|(i, port)| {
        let extent = |text: &String| -> Result<usize> {
            let dim: Dim = text.parse()?;
            Ok(usize::try_from(dim.eval(&|name| values.get(name).copied())?)?)
        };
        let shape = port.shape.iter().map(extent).collect::<Result<Vec<_>>>();
        let shape = shape.with_context(|| format!("input `{}`", port.name))?;
        let elements = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d)).filter(|&n| n <= 1 << 32);
        ensure!(elements.is_some(), "input `{}` would have shape {shape:?}", port.name);
        let dtype = DType::from_code(port.dtype).context("the artifact names an unknown element type")?;
        let tensor = random_tensor(dtype, shape, i as u64 + 1);
        let tensor = tensor.with_context(|| format!("input `{}`: no random {dtype}; give `--inputs`", port.name))?;
        Ok((port.name.clone(), tensor))
    });
    tensors.collect()
}
