//! Partition against the evaluator: a program computes what its graph computes, for several values of the symbols.

mod harness;
mod movement;
mod ops;
mod random;
mod rows;
