//! Placeholder.
pub mod cpu;
