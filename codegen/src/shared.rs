//! What all classes of targets share: dims as slots of a program, kernels in the form that code is generated from, the
//! walk over indices, weights, and plans but for their steps.

pub(crate) mod dims;
pub(crate) mod form;
pub(crate) mod index;
pub(crate) mod plan;
mod strips;
pub(crate) mod weights;

pub(crate) use strips::strip_of;
