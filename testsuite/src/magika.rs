//! What the magika model takes and gives: features of a file, and labels.

use crate::catalog;
use crate::fetch::crate_sources;
use anyhow::{Context, Result, bail};
use ic_types::Tensor;
use std::fs;
use std::path::Path;

const HALF: usize = 1024;
const BLOCK: usize = 4096;
const PADDING: i32 = 256;

/// The features of a file: 1024 bytes from its start and 1024 from its end, white space stripped outside. `i32[1, 2048]`.
///
/// # Errors
/// If the file cannot be read.
pub fn features(path: &Path) -> Result<Tensor> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_space = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
    let first = &content[..content.len().min(BLOCK)];
    let last = &content[content.len().saturating_sub(BLOCK)..];
    let first = &first[first.iter().position(|b| !is_space(b)).unwrap_or(first.len())..];
    let last = &last[..last.iter().rposition(|b| !is_space(b)).map_or(0, |i| i + 1)];
    let mut features = vec![PADDING; 2 * HALF];
    for (to, &from) in features.iter_mut().zip(&first[..first.len().min(HALF)]) {
        *to = from.into();
    }
    for (to, &from) in features.iter_mut().rev().zip(last.iter().rev().take(HALF)) {
        *to = from.into();
    }
    Ok(Tensor::from_elements(vec![1, 2 * HALF], features))
}

/// The labels in the order of the model's scores, from the crate's sources.
///
/// # Errors
/// If the crate cannot be obtained or does not list labels.
pub fn labels() -> Result<Vec<String>> {
    let model = catalog::find("magika").context("the catalogue lacks magika")?;
    let catalog::Source::Crate { name, version } = model.source else { bail!("magika comes from a crate") };
    let source = fs::read_to_string(crate_sources(name, version)?.join("src/model.rs"))?;
    let (_, after) = source.split_once("enum Label {").context("no list of labels")?;
    let (list, _) = after.split_once('}').context("no end of the list of labels")?;
    let names = list.split(',').filter_map(|item| item.lines().map(str::trim).rfind(|line| !line.is_empty()));
    Ok(names.filter(|n| !n.starts_with("//")).map(|n| n.trim_start_matches('_').to_lowercase()).collect())
}
