//! Sequences, strings, keys, and what else works on what a run holds.

use super::{Attr, CallOperand, LibraryCall, Site, plain};
use ic_ir::ops::{ImageDecode, PixelFormat, Random, SequenceConcat, SequenceOf, SequenceShape, SequenceSplit};
use ic_ir::ops::{StringCase, TfIdf};
use ic_kernels::library::codes;
use ic_types::Dim;

/// The first `n` operands, absent ones at the end included, and the result.
fn operands(n: usize, site: &Site) -> Result<Vec<Option<CallOperand>>, String> {
    (0..n).map(|i| site.dense(i)).chain([Ok(site.give(0))]).collect()
}

/// The kernel of an op without attributes.
pub(super) fn as_it_is(kernel: &'static str, n: usize, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain(kernel, operands(n, site)?, vec![]))
}

pub(super) fn sequence_of(op: &SequenceOf, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain("sequence_of", operands(site.operands.len(), site)?, vec![op.optional.into()]))
}

pub(super) fn sequence_shape(op: &SequenceShape, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain("sequence_shape", operands(2, site)?, vec![(op.dtype as i64).into()]))
}

pub(super) fn sequence_split(op: &SequenceSplit, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain("sequence_split", operands(2, site)?, vec![op.axis.into(), op.keep.into()]))
}

pub(super) fn sequence_concat(op: &SequenceConcat, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain("sequence_concat", operands(1, site)?, vec![op.axis.into(), op.new_axis.into()]))
}

pub(super) fn tf_idf(op: &TfIdf, site: &Site) -> Result<LibraryCall, String> {
    let numbers = [op.min, op.max, op.max_skip].into_iter().chain(op.starts.iter().copied());
    Ok(plain("tf_idf", operands(3, site)?, numbers.map(Attr::from).collect()))
}

pub(super) fn random(op: &Random, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain("random", operands(0, site)?, vec![Attr::Int(Dim::constant(op.seed)), op.normal.into()]))
}

pub(super) fn string_case(op: &StringCase, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain("string_case", operands(1, site)?, vec![op.upper.into()]))
}

pub(super) fn pieces(kernel: &'static str, max_splits: i64, site: &Site) -> Result<LibraryCall, String> {
    Ok(plain(kernel, operands(2, site)?, vec![max_splits.into()]))
}

pub(super) fn image_decode(op: &ImageDecode, site: &Site) -> Result<LibraryCall, String> {
    let format = match op.format {
        PixelFormat::Rgb => codes::PixelFormat::Rgb,
        PixelFormat::Bgr => codes::PixelFormat::Bgr,
        PixelFormat::Grayscale => codes::PixelFormat::Grayscale,
    };
    Ok(plain("image_decode", operands(1, site)?, vec![format.code().into()]))
}
