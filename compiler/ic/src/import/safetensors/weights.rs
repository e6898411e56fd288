//! The weights of a folder: one safetensors file, or several and an index.

use super::header::{self, Entry, dtype_name};
use crate::import::FileSource;
use ic_ir::{Diagnostic, Literal, LiteralData, Location, Source};
use ic_types::{DType, Data};
use safetensors::Dtype;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The file of an unsharded checkpoint.
const SINGLE: &str = "model.safetensors";
/// The index of a sharded checkpoint.
const INDEX: &str = "model.safetensors.index.json";
/// Longest index, in bytes.
const MAX_INDEX: u64 = 100_000_000;
/// Largest tensor that is read at import, in bytes; the same as for ONNX models, so that both fold alike.
const INLINE_BYTES: u64 = 8 << 10;

/// A tensor of the checkpoint and the file that holds it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// Which of [`Weights::files`].
    pub(super) file: usize,
    /// What the file's header says.
    pub(super) entry: Entry,
}

/// All tensors of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Weights {
    /// Paths, the index left out.
    pub(super) files: Vec<PathBuf>,
    sources: Vec<Arc<FileSource>>,
    /// By name.
    pub(super) tensors: BTreeMap<String, Stored>,
}

impl Weights {
    /// Opens the checkpoint in `folder`.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub(super) fn open(folder: &Path) -> Result<Weights, Vec<Diagnostic>> {
        let index = folder.join(INDEX);
        if folder.join(SINGLE).exists() || !index.exists() {
            let mut weights = Weights::default();
            weights.add(&folder.join(SINGLE)).map_err(|e| vec![e])?;
            return Ok(weights);
        }
        let map = read_index(&index).map_err(|message| vec![at(&index, message)])?;
        let names: BTreeSet<&str> = map.values().map(String::as_str).collect();
        let mut weights = Weights::default();
        let problems: Vec<Diagnostic> = names.iter().filter_map(|name| weights.add(&folder.join(name)).err()).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let strays = weights.strays(&map);
        if strays.is_empty() {
            Ok(weights)
        } else {
            Err(vec![Diagnostic { notes: strays, ..at(&index, "the index contradicts the files") }])
        }
    }

    /// Adds the tensors of a file.
    fn add(&mut self, path: &Path) -> Result<(), Diagnostic> {
        let source = FileSource::open(path).map_err(|e| at(path, format!("cannot open the weights: {e}")))?;
        let entries = header::read(&source).map_err(|e| at(path, format!("malformed safetensors file: {e}")))?;
        let file = self.files.len();
        for entry in entries {
            let name = entry.name.clone();
            if let Some(other) = self.tensors.insert(name.clone(), Stored { file, entry }) {
                let other = self.files[other.file].display();
                return Err(at(path, format!("tensor `{name}` is in `{other}` too")));
            }
        }
        self.files.push(path.into());
        self.sources.push(Arc::new(source));
        Ok(())
    }

    /// Where the index says something else than the files.
    fn strays(&self, map: &BTreeMap<String, String>) -> Vec<String> {
        let file_of = |stored: &Stored| self.files[stored.file].file_name().unwrap_or_default().to_string_lossy();
        let listed = map.iter().filter_map(|(name, file)| match self.tensors.get(name) {
            Some(stored) if file_of(stored) == Path::new(file).file_name().unwrap_or_default().to_string_lossy() => {
                None
            }
            Some(stored) => Some(format!("tensor `{name}` is in `{}`, not in `{file}`", file_of(stored))),
            None => Some(format!("tensor `{name}` is not in `{file}`")),
        });
        let unlisted = self.tensors.iter().filter(|(name, _)| !map.contains_key(*name));
        let unlisted = unlisted.map(|(name, stored)| format!("tensor `{name}` of `{}` is not listed", file_of(stored)));
        listed.chain(unlisted).collect()
    }

    /// The tensor as a constant: small ones inline, large ones as ranges of their file.
    ///
    /// # Errors
    /// If there is no such tensor of a float type that `ic` computes with, or its file cannot be read.
    pub(super) fn literal(&self, name: &str) -> Result<Literal, String> {
        let stored = self.tensors.get(name).ok_or_else(|| format!("tensor `{name}` is missing"))?;
        let Entry { dtype, shape, offset, .. } = &stored.entry;
        let dtype = float(*dtype).ok_or_else(|| format!("tensor `{name}` is of type {}", dtype_name(*dtype)))?;
        let source = self.sources[stored.file].clone();
        let mut literal = Literal { dtype, shape: shape.clone(), data: LiteralData::File { source, offset: *offset } };
        if literal.bytes() as u64 <= INLINE_BYTES {
            let tensor = literal.tensor().map_err(|e| format!("tensor `{name}`: {e}"))?;
            literal.data = LiteralData::Inline(Arc::new(Data::clone(tensor.data())));
        }
        Ok(literal)
    }
}

/// The element type of weights, if it is one that `ic` computes with.
pub(super) fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F64 => Some(DType::F64),
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// A diagnostic about a file.
pub(super) fn at(path: &Path, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(Location { file: path.to_string_lossy().into(), node: "".into() }, message)
}

/// The bytes of a small file.
///
/// # Errors
/// If it is larger than `limit` or cannot be read.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let source = FileSource::open(path).map_err(|e| format!("cannot open the file: {e}"))?;
    if source.len() > limit {
        return Err(format!("the file has {} bytes; at most {limit} are possible", source.len()));
    }
    source.read(0, source.len() as usize).map_err(|e| e.to_string())
}

/// The file of each tensor.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let index: Value = serde_json::from_slice(&read_small(path, MAX_INDEX)?).map_err(|e| format!("not JSON: {e}"))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or("`weight_map` is missing")?;
    let entry = |(name, file): (&String, &Value)| {
        let file = file.as_str().ok_or_else(|| format!("the file of tensor `{name}` is {file}"))?;
        let stays = Path::new(file).components().all(|c| matches!(c, Component::Normal(_)));
        if !stays || file.is_empty() {
            return Err(format!("tensor `{name}` is in `{file}`, which is outside of the model's folder"));
        }
        Ok((name.clone(), file.to_string()))
    };
    map.iter().map(entry).collect()
}
