//! Partition: one deterministic pass from Graph IR to Kernel IR.
//!
//! `facts` says what each node can become, `plan` (with `claim`) what becomes a kernel, `kernels` (with `emit`, `rows`
//! and `anchor`) writes the kernels down, `simplify` makes their loops few and long, and `program` puts kernels in
//! order and gives them buffers.

mod access;
mod anchor;
mod body;
mod claim;
mod comparisons;
mod cost;
mod emit;
mod facts;
mod hoist;
mod integer;
mod kernels;
mod order;
mod plan;
mod program;
mod quantized;
mod rows;
mod simplify;

pub use hoist::hoist_branch_constants;
pub use program::{PartitionOptions, partition, partition_with_states};
