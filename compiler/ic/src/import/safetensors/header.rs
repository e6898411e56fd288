//! The header of a safetensors file: which tensors it holds and where.
//!
//! A file is the header's length as 8 bytes, the header in JSON, and the tensors' bytes. Everything that the header
//! claims is compared with the file's size before it is believed; the tensors themselves are not read.

use crate::import::FileSource;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};

/// Longest header, in bytes; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) name: String,
    /// Element type.
    pub(super) dtype: Dtype,
    /// Extents.
    pub(super) shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub(super) offset: u64,
}

/// The tensors of a file in the order of their bytes.
///
/// # Errors
/// If the file cannot be read, or its header is malformed or contradicts the file's size.
pub(super) fn read(source: &FileSource) -> Result<Vec<Entry>, String> {
    let mut length = [0; 8];
    source.read_into(0, &mut length).map_err(|e| e.to_string())?;
    let length = u64::from_le_bytes(length);
    let available = source.len().saturating_sub(8);
    if length > available.min(MAX_HEADER) {
        return Err(format!(
            "the header is said to have {length} bytes; at most {} are possible",
            available.min(MAX_HEADER)
        ));
    }
    let mut text = vec![0; length as usize];
    source.read_into(8, &mut text).map_err(|e| e.to_string())?;
    let mut header: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|e| format!("the header is not a JSON object: {e}"))?;
    header.remove("__metadata__");
    let first = 8 + length;
    let mut entries = Vec::with_capacity(header.len());
    for (name, value) in header {
        let info: TensorInfo = serde_json::from_value(value).map_err(|e| format!("entry of tensor `{name}`: {e}"))?;
        entries.push((info.data_offsets, entry(name, info, first, source.len() - first)?));
    }
    entries.sort_by(|(a, x), (b, y)| (a, &x.name).cmp(&(b, &y.name)));
    check_disjoint(&entries, source.len() - first)?;
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The entry, checked by itself. The file has `available` bytes from `first` on.
fn entry(name: String, info: TensorInfo, first: u64, available: u64) -> Result<Entry, String> {
    let (begin, end) = info.data_offsets;
    if begin > end || end as u64 > available {
        return Err(format!("tensor `{name}` is at bytes {begin} to {end} of {available}"));
    }
    let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, &extent| bits.checked_mul(extent));
    if bits != (end - begin).checked_mul(8) {
        let (dtype, shape) = (dtype_name(info.dtype), &info.shape);
        return Err(format!("tensor `{name}` is {dtype}{shape:?}, which does not take its {} bytes", end - begin));
    }
    Ok(Entry { name, dtype: info.dtype, shape: info.shape, offset: first + begin as u64 })
}

/// Checks that the tensors follow each other without gaps and fill the file, as the format demands.
fn check_disjoint(entries: &[((usize, usize), Entry)], available: u64) -> Result<(), String> {
    let mut end = 0;
    for ((begin, next), entry) in entries {
        if *begin != end {
            return Err(format!("tensor `{}` starts at byte {begin}, but the one before it ends at {end}", entry.name));
        }
        end = *next;
    }
    if end as u64 == available {
        Ok(())
    } else {
        Err(format!("the tensors take {end} bytes, but {available} follow the header"))
    }
}

/// The name of an element type, as `ic` spells it.
pub(super) fn dtype_name(dtype: Dtype) -> String {
    dtype.to_string().to_lowercase()
}
