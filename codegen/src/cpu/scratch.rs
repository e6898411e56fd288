//! Where generated code keeps values between loops: the scratch memory of one call.
//!
//! Arguments of strips come first, one block each, and what is to be quantized; then 16 lanes of a reduction; then results of passes that later
//! ones need.

use super::quantized::quantized;
use crate::shared::form::{Form, Node, NodeId, Pass, Schedule};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim};

/// Elements of a strip's block.
pub(crate) const BLOCK: i64 = 512;

/// Columns that are walked at a time by [`Schedule::Columns`].
pub(crate) const COLUMNS: i64 = 256;

/// Offsets into scratch, in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// For each pass and node, the block of its strip. A strip of two arguments has two.
    pub(crate) strips: Vec<Vec<Option<i64>>>,
    /// For each pass, the block of floats that it quantizes.
    pub(crate) quantized: Vec<Option<i64>>,
    /// 16 elements of a reduction.
    pub(crate) lanes: i64,
    /// Results of passes.
    pub(crate) kept: Vec<Option<Dim>>,
    /// Total size.
    pub(crate) bytes: Dim,
}

/// The element type in which results of passes are kept.
pub(crate) fn kept_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        dtype => dtype,
    }
}

/// The scratch of a form.
pub(crate) fn lay_out(form: &Form) -> Scratch {
    let strips: Vec<_> = form.passes.iter().map(strip_blocks).collect();
    let end = strips.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
    let quantized: Vec<_> = form.passes.iter().map(|pass| quantized(pass).map(|_| end)).collect();
    let lanes = if quantized.iter().any(Option::is_some) { end + BLOCK * 4 } else { end };
    let has_lanes = form.schedule == Schedule::Rows && form.passes.iter().any(|pass| pass.reduce.is_some());
    let mut bytes = Dim::constant(if has_lanes { lanes + 64 } else { lanes });
    let kept = form.passes.iter().map(|pass| {
        let size = kept_bytes(form, pass)?;
        let offset = bytes.clone();
        let lines = (size + Dim::constant(63)).floor_div(&Dim::constant(64));
        bytes = bytes.clone() + lines * Dim::constant(64);
        Some(offset)
    });
    let kept = kept.collect();
    Scratch { strips: strips.into_iter().map(|(offsets, _)| offsets).collect(), quantized, lanes, kept, bytes }
}

fn strip_blocks(pass: &Pass) -> (Vec<Option<i64>>, i64) {
    let mut bytes = 0;
    let needed = pass.needed();
    let mut block = |id: NodeId| {
        (needed[id] && pass.is_strip(id)).then(|| {
            let offset = bytes;
            let arguments = if matches!(pass.nodes[id], Node::Apply(ScalarOp::Pow, _)) { 2 } else { 1 };
            bytes += arguments * BLOCK * 4;
            offset
        })
    };
    let offsets = (0..pass.nodes.len()).map(&mut block).collect();
    (offsets, bytes)
}

/// Bytes of a pass's result, if it is kept in memory.
fn kept_bytes(form: &Form, pass: &Pass) -> Option<Dim> {
    let dtype = pass.types[pass.root];
    let size = Dim::constant(kept_dtype(dtype).size()? as i64);
    let points: Dim = pass.inner.iter().cloned().product();
    let is_value = pass.inner.is_empty() || pass.reduce.is_some();
    match form.schedule {
        Schedule::Points => None,
        Schedule::Rows => (pass.keep && !is_value).then(|| points * size),
        Schedule::Columns if pass.reduce.is_some() => Some(Dim::constant(COLUMNS) * size),
        Schedule::Columns => pass.keep.then(|| points * Dim::constant(COLUMNS) * size),
    }
}
