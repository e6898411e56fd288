//! CPU targets.

mod compile;
mod emit;
mod generate;
mod plan;
mod quantized;
mod scratch;
mod select;
mod target;

#[cfg(test)]
mod tests;

pub(crate) use compile::compile;
pub use compile::disassemble;
pub use generate::Listing;
pub use target::CpuTarget;
