//! Symbols whose values a run reads from tensors, and the order in which nodes can run because of them.
//!
//! An extent that depends on data is a symbol that a graph binds to an element of an i64 tensor. What the element is
//! computed by runs before whatever has the symbol in a type or an attribute.

use crate::graph::{Graph, Node, NodeId, ValueDef, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A symbol whose value is an element of a tensor that the graph computes or takes as an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The symbol.
    pub symbol: Arc<str>,
    /// An i64 tensor, or one of f64, of which the symbol is the bits.
    pub value: ValueId,
    /// Row-major number of the element, which is not negative.
    pub element: u32,
}

impl Graph {
    /// What must be computed: the outputs, then the tensors that symbols are elements of.
    pub fn roots(&self) -> impl Iterator<Item = ValueId> {
        self.outputs().iter().copied().chain(self.bindings().iter().map(|binding| binding.value))
    }

    /// The symbols of a node's attributes, results and regions.
    pub fn node_symbols(&self, node: &Node) -> BTreeSet<Arc<str>> {
        let mut names = BTreeSet::new();
        node.op.collect_symbols(&mut names);
        let types = node.results.iter().filter_map(|&v| self.ty(v).as_tensor());
        types.flat_map(|ty| &ty.shape).for_each(|dim| dim.collect_symbols(&mut names));
        for region in &node.regions {
            let inner = region.nodes().flat_map(|(_, node)| region.node_symbols(node));
            let bound = |name: &Arc<str>| region.bindings().iter().any(|binding| binding.symbol == *name);
            names.extend(inner.filter(|name| !bound(name)));
        }
        names
    }

    /// All nodes, operands before users, and what symbols are elements of before what depends on the symbols.
    pub fn schedule(&self) -> Vec<NodeId> {
        if self.bindings().is_empty() {
            return self.nodes().map(|(id, _)| id).collect();
        }
        let definition = |value: ValueId| match self.value(value).def {
            ValueDef::Input(_) => None,
            ValueDef::Result(node, _) => Some(node),
        };
        let sources: BTreeMap<&Arc<str>, Option<NodeId>> =
            self.bindings().iter().map(|binding| (&binding.symbol, definition(binding.value))).collect();
        let mut order = Vec::with_capacity(self.nodes().len());
        // Seen nodes are in the order or on the stack.
        let mut seen = vec![false; self.nodes().len()];
        for first in 0..self.nodes().len() as u32 {
            let mut stack = vec![(NodeId(first), false)];
            while let Some((id, is_ready)) = stack.pop() {
                if is_ready {
                    order.push(id);
                } else if !std::mem::replace(&mut seen[id.index()], true) {
                    stack.push((id, true));
                    let node = self.node(id);
                    let operands = node.operands.iter().flatten().filter_map(|&v| definition(v));
                    let symbols = self.node_symbols(node);
                    let bound = symbols.iter().filter_map(|name| sources.get(name).copied().flatten());
                    stack.extend(operands.chain(bound).filter(|id| !seen[id.index()]).map(|id| (id, false)));
                }
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use crate::eval::{Symbols, eval_graph};
    use crate::text::{parse, print};
    use ic_types::Tensor;

    #[test]
    fn values_are_read_before_symbols_are_used() {
        let text = "graph @g(%x: f32[N], %k: i64[2]) {
               %0 = slice(%x) {axes = [0], starts = [0], extents = [M], steps = [1]} : f32[M]
               %1 = neg(%k) : i64[2]
               %2 = neg(%1) : i64[2]
               bind M = %2[1]
               return \"y\" = %0
             }";
        let graph = parse(text).unwrap();
        assert_eq!(print(&parse(&print(&graph)).unwrap()), print(&graph));
        let x = Tensor::from_elements(vec![3], vec![1.0f32, 2.0, 3.0]);
        let eval =
            |k: i64| eval_graph(&graph, &[x.clone(), Tensor::from_elements(vec![2], vec![0, k])], &Symbols::new());
        assert_eq!(eval(2).unwrap()[0], Tensor::from_elements(vec![2], vec![1.0f32, 2.0]));
        assert!(eval(-1).unwrap_err().0.contains("`M` is -1"));
    }
}
