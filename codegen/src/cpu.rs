//! CPU targets.

mod compile;
mod dims;
mod emit;
mod form;
mod generate;
mod plan;
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
pub use target::CpuTarget;
pub(crate) use weights::Weight;
