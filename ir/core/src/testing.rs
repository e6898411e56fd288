//! Random valid instances of every op, for tests of this crate and of what is built on it.
//!
//! One line per op in [`SAMPLES`]; a test checks that none is missing. Everything follows from a seed.

mod experts;
mod handles;
mod random;
mod samples;
mod trees;

pub use random::Random;
pub use samples::{Make, SAMPLES, pointwise};

use crate::graph::{Graph, GraphError, ValueId};
use crate::literal::Literal;
use crate::ops::{Constant, Op};
use crate::types::TensorType;
use ic_types::{Dim, Tensor};
use std::sync::Arc;

/// An op with operands that fit it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The op.
    pub op: Op,
    /// Its operands; `None` for an absent optional one.
    pub operands: Vec<Option<Tensor>>,
    /// Nested graphs.
    pub regions: Vec<Graph>,
}

/// How the operands of a sample are put into a graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// As inputs with constant extents.
    Input,
    /// As inputs whose extents are symbols of their own, but for those of 1, on which broadcasting depends.
    SymbolicInput,
    /// As constants.
    Constant,
}

impl Sample {
    /// A sample without regions, all of whose operands are present.
    pub fn new(op: impl Into<Op>, operands: Vec<Tensor>) -> Sample {
        Sample { op: op.into(), operands: operands.into_iter().map(Some).collect(), regions: Vec::new() }
    }

    /// The graph of this op alone. Its inputs, if operands are inputs, are [`Sample::inputs`].
    ///
    /// # Errors
    /// If the op refuses its operands.
    pub fn graph(&self, operand: Operand) -> Result<Graph, GraphError> {
        let mut graph = Graph::new(self.op.name());
        let location: Arc<str> = "sample".into();
        let mut values: Vec<Option<ValueId>> = Vec::new();
        for (i, tensor) in self.operands.iter().enumerate() {
            let Some(tensor) = tensor else {
                values.push(None);
                continue;
            };
            let extent = |(axis, &extent): (usize, &usize)| match operand {
                Operand::SymbolicInput if extent != 1 => Dim::symbol(&format!("d{i}_{axis}")),
                _ => Dim::constant(extent as i64),
            };
            let shape = tensor.shape().iter().enumerate().map(extent).collect();
            values.push(Some(match operand {
                Operand::Constant => {
                    let constant = Constant { value: Literal::inline(tensor.clone()) };
                    graph.push(constant.into(), &[], &location)?
                }
                _ => graph.add_input(format!("x{i}"), TensorType::new(tensor.dtype(), shape)),
            }));
        }
        let results = graph.push_node(self.op.clone(), values, self.regions.clone(), &location)?;
        for (i, value) in results.into_iter().enumerate() {
            graph.add_output(format!("y{i}"), value);
        }
        Ok(graph)
    }

    /// The operands that are present, in order.
    pub fn inputs(&self) -> Vec<Tensor> {
        self.operands.iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
