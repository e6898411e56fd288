//! What ops on strings share.

use crate::{OpError, Operands, TensorType, Tensors, ensure};
use ic_types::DType;

/// The type of operand `i`.
///
/// # Errors
/// If its elements are no strings.
pub(super) fn string_type<'a>(x: &Operands<'a>, i: usize) -> Result<&'a TensorType, OpError> {
    let ty = x.ty(i)?;
    ensure!(ty.dtype == DType::String, "operand {i} must be strings, found {}", ty.dtype);
    Ok(ty)
}

/// The elements of operand `i`.
pub(super) fn texts<'a>(x: &Tensors<'a>, i: usize) -> Result<&'a [String], OpError> {
    x.get(i)?.elements().ok_or_else(|| OpError(format!("operand {i} must be strings")))
}

/// The only element of operand `i`.
pub(super) fn text<'a>(x: &Tensors<'a>, i: usize) -> Result<&'a str, OpError> {
    texts(x, i)?.first().map(String::as_str).ok_or_else(|| OpError(format!("operand {i} is empty")))
}

/// The pieces of a string between occurrences of `delimiter`, or of white space if that is empty, as Python's `str.split`
/// finds them. At most `max_splits` occurrences from the start count; a negative number is no limit.
pub(super) fn pieces(x: &str, delimiter: &str, max_splits: i64) -> Vec<String> {
    let limit = usize::try_from(max_splits).unwrap_or(usize::MAX);
    let (mut pieces, mut rest) = (Vec::new(), x);
    if delimiter.is_empty() {
        rest = rest.trim_start();
        while !rest.is_empty() && pieces.len() < limit {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            pieces.push(rest[..end].to_string());
            rest = rest[end..].trim_start();
        }
        pieces.extend((!rest.is_empty()).then(|| rest.to_string()));
        return pieces;
    }
    while let Some(at) = rest.find(delimiter).filter(|_| pieces.len() < limit) {
        pieces.push(rest[..at].to_string());
        rest = &rest[at + delimiter.len()..];
    }
    pieces.push(rest.to_string());
    pieces
}
