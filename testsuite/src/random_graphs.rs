//! Random ONNX graphs, compiled and run against the reference evaluator.
//!
//! A graph grows node by node: each new node is imported and evaluated on the values of its operands, which says its
//! results' types and shapes, and one that is refused is left out. Ops that jump, such as rounding or a comparison, take
//! only what no rounding has touched, so that a difference is a defect. The same seed gives the same graphs on every host.

mod build;
mod case;
mod check;
mod ops;
mod shrink;

pub use build::graph;
pub use case::Case;
pub use check::{Defect, Place, Verdict, check};
pub use shrink::shrink;
