//! The families of models, one file and one line each.

mod bert;
mod distilbert;

use super::family::Family;

/// All families.
pub(super) const FAMILIES: &[&Family] = &[&bert::BERT, &distilbert::DISTILBERT];
