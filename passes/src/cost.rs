//! What ops cost, roughly: enough to choose between spellings of one function.
//!
//! Symbolic dims count as [`ASSUMED_EXTENT`]. The unit is a byte moved to or from memory.

use ic_ir::TensorType;
use ic_types::Dim;

/// The extent that an unbound symbol is taken to have.
const ASSUMED_EXTENT: i64 = 64;

/// The value of a dim where every symbol has the assumed extent.
pub(crate) fn assumed(dim: &Dim) -> u64 {
    u64::try_from(dim.eval(&|_| Some(ASSUMED_EXTENT)).unwrap_or(1)).unwrap_or(0)
}

/// Number of elements, symbols assumed.
pub(crate) fn assumed_elements(ty: &TensorType) -> u64 {
    ty.shape.iter().map(assumed).fold(1, u64::saturating_mul)
}

/// Bytes of a tensor, symbols assumed.
pub(crate) fn assumed_bytes(ty: &TensorType) -> u64 {
    assumed_elements(ty).saturating_mul(ty.dtype.size().unwrap_or(16) as u64)
}
