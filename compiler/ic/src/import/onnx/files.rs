//! The files of a model: the model itself and its external data.

use super::error::{Result, invalid};
use crate::import::FileSource;
use onnx_protobuf::TensorProto;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The files of a model.
#[derive(Debug)]
pub(crate) struct Files {
    /// The model file.
    pub(crate) model: Arc<FileSource>,
    folder: PathBuf,
    external: BTreeMap<String, Arc<FileSource>>,
}

impl Files {
    /// The files of the model at `path`.
    pub(crate) fn new(model: Arc<FileSource>, path: &Path) -> Files {
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Files { model, folder, external: BTreeMap::new() }
    }

    /// Paths of the external files that have been used.
    pub(crate) fn external_paths(&self) -> impl Iterator<Item = PathBuf> {
        self.external.keys().map(|location| self.folder.join(location))
    }

    /// The file and offset of the `bytes` of an external tensor.
    ///
    /// # Errors
    /// If the location leaves the model's folder, or the file is missing or too short.
    pub(crate) fn external(&mut self, tensor: &TensorProto, bytes: u64) -> Result<(Arc<FileSource>, u64)> {
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let name = &tensor.name;
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => {
                let number = text.trim().parse::<u64>();
                number.map(Some).map_err(|_| invalid!("external tensor `{name}` has the {key} `{text}`"))
            }
        };
        let location = entry("location").ok_or_else(|| invalid!("external tensor `{name}` names no file"))?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if let Some(length) = length.filter(|&l| l != bytes) {
            return Err(invalid!("external tensor `{name}` takes {bytes} bytes, but its entry says {length}"));
        }
        let source = self.open(name, location)?;
        if offset.checked_add(bytes).is_none_or(|end| end > source.len()) {
            let len = source.len();
            return Err(invalid!(
                "external tensor `{name}` takes {bytes} bytes at {offset} of `{location}`, which has {len}"
            ));
        }
        Ok((source, offset))
    }

    fn open(&mut self, tensor: &str, location: &str) -> Result<Arc<FileSource>> {
        if let Some(source) = self.external.get(location) {
            return Ok(source.clone());
        }
        let stays = Path::new(location).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !stays || location.is_empty() {
            return Err(invalid!(
                "external tensor `{tensor}` is in `{location}`, which is outside of the model's folder"
            ));
        }
        let source = FileSource::open(&self.folder.join(location))
            .map_err(|e| invalid!("cannot open `{location}` of external tensor `{tensor}`: {e}"))?;
        let source = Arc::new(source);
        self.external.insert(location.into(), source.clone());
        Ok(source)
    }
}
