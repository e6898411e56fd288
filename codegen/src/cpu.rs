//! CPU targets.

mod compile;
pub(crate) mod dims;
mod emit;
pub(crate) mod form;
pub(crate) mod generate;
pub(crate) mod plan;
mod schedule;
mod scratch;
mod select;
mod strips;
mod target;
mod weights;

#[cfg(test)]
mod tests;

pub(crate) use compile::compile;
pub use compile::disassemble;
pub use generate::Listing;
pub(crate) use strips::strip_of;
pub use target::CpuTarget;
pub(crate) use weights::Weight;
