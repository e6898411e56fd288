//! One order of the operands of functions that commute, whatever the order in the model.
//!
//! What is computed comes first, the longest chain of nodes before the others, then inputs, then what is known when the
//! model is compiled. Values that this does not tell apart are ordered by numbers that follow from what they compute,
//! never from where the model lists them. Ops that only move elements count last: models spell movement in many ways.

use crate::canonicalize::splat_of;
use crate::egraph::pattern::commutes;
use ic_ir::{Graph, LiteralData, Node, Op, ValueDef, ValueId};
use ic_types::Data;
use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a value is to the order of operands: least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: Kind,
    /// Nodes on the longest way from an input, movement left out, the most first.
    height: Reverse<u32>,
    /// Follows from what the value computes, movement left out; of an input, its number.
    function: u64,
    /// Follows from the movement since the last computation.
    movement: u64,
    /// Follows from everything.
    whole: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Computed,
    Input,
    Known,
}

/// The places of the values of a graph under construction.
#[derive(Default)]
pub(crate) struct OperandOrder {
    places: Vec<Place>,
}

impl OperandOrder {
    /// Puts the operands of a function that commutes in order.
    pub(crate) fn arrange(&mut self, graph: &Graph, op: &Op, operands: &mut [Option<ValueId>]) {
        let Op::Pointwise(pointwise) = op else { return };
        let &mut [Some(a), Some(b)] = operands else { return };
        if !commutes(pointwise.function) || a == b {
            return;
        }
        self.extend(graph);
        if self.places[b.index()] < self.places[a.index()] {
            operands.swap(0, 1);
        }
    }

    /// Adds the places of values that are new.
    fn extend(&mut self, graph: &Graph) {
        for (id, value) in graph.values().skip(self.places.len()) {
            let place = match value.def {
                ValueDef::Input(i) => {
                    let i = u64::from(i);
                    Place { kind: Kind::Input, height: Reverse(0), function: i, movement: 0, whole: i }
                }
                ValueDef::Result(node, i) => self.of_result(graph.node(node), i),
            };
            debug_assert_eq!(id.index(), self.places.len(), "places are by value");
            self.places.push(place);
        }
    }

    fn of_result(&self, node: &Node, index: u32) -> Place {
        let operand = |v: &Option<ValueId>| v.map(|v| self.places[v.index()]);
        let places = || node.operands.iter().filter_map(operand);
        let whole: Vec<Option<u64>> = node.operands.iter().map(|v| operand(v).map(|p| p.whole)).collect();
        let op = code_of_op(&node.op);
        let whole = code(&(op, index, whole));
        if let (Op::Reshape(_) | Op::Transpose(_) | Op::Expand(_) | Op::Slice(_), Some(moved)) =
            (&node.op, places().next())
        {
            return Place { movement: code(&(op, moved.movement)), whole, ..moved };
        }
        let constant = if let Op::Constant(constant) = &node.op { constant.value.as_inline() } else { None };
        if let Some(data) = constant {
            let height = Reverse(1);
            return Place { kind: Kind::Known, height, function: elements_code(data), movement: whole, whole };
        }
        let function: Vec<Option<u64>> = node.operands.iter().map(|v| operand(v).map(|p| p.function)).collect();
        let is_known = node.regions.is_empty() && node.op.is_foldable() && places().all(|p| p.kind == Kind::Known);
        Place {
            kind: if is_known { Kind::Known } else { Kind::Computed },
            height: Reverse(places().map(|p| p.height.0).max().unwrap_or(0).saturating_add(1)),
            function: code(&(op, index, function)),
            movement: 0,
            whole,
        }
    }
}

/// Follows from an op and its attributes. Of a constant in a file it is where in the file: the name of the file must not
/// matter.
fn code_of_op(op: &Op) -> u64 {
    match op {
        Op::Constant(constant) => match constant.value.data {
            LiteralData::File { offset, .. } => code(&(constant.value.dtype, &constant.value.shape, offset)),
            LiteralData::Inline(_) => code(op),
        },
        _ => code(op),
    }
}

/// Follows from the elements of a constant, of any shape; one number repeated is that number.
fn elements_code(data: &Data) -> u64 {
    match splat_of(data) {
        Some(number) => code(&(data.dtype(), number.to_bits())),
        None => code(&(data.dtype(), data.to_le_bytes())),
    }
}

fn code(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use crate::rebuild::prune;
    use ic_ir::ops::{Constant, Matmul};
    use ic_ir::{Graph, Literal, LiteralData, ScalarOp, Source, TensorType};
    use ic_types::{DType, Dim};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    /// A file of which nothing is read.
    #[derive(Debug)]
    struct File(PathBuf);

    impl Source for File {
        fn path(&self) -> &Path {
            &self.0
        }

        fn read(&self, _offset: u64, _len: usize) -> std::io::Result<Vec<u8>> {
            Err(std::io::Error::other("nothing is read"))
        }
    }

    /// `x` times one matrix of a file plus `x` times another.
    fn sum_of_products(path: &str, offsets: [u64; 2]) -> String {
        let source: Arc<dyn Source> = Arc::new(File(path.into()));
        let here = Arc::from("here");
        let mut graph = Graph::new("sum");
        let x = graph.add_input("x", TensorType::new(DType::F32, vec![Dim::constant(2), Dim::constant(64)]));
        let products = offsets.map(|offset| {
            let data = LiteralData::File { source: source.clone(), offset };
            let value = Literal { dtype: DType::F32, shape: vec![64, 64], data };
            let weight = graph.push(Constant { value }.into(), &[], &here).unwrap();
            graph.push(Matmul {}.into(), &[x, weight], &here).unwrap()
        });
        let sum = graph.push(ScalarOp::Add.into(), &products, &here).unwrap();
        graph.add_output("y", sum);
        ic_ir::text::print(&prune(&graph).unwrap()).replace(path, "FILE")
    }

    #[test]
    fn names_of_files_do_not_matter() {
        for offset in 0..40 {
            let [here, there] =
                ["model.onnx", "/there/./model.onnx"].map(|path| sum_of_products(path, [offset, 4096 + offset]));
            assert_eq!(here, there, "at {offset}");
        }
    }
}
