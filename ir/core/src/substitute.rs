//! Symbols of a graph replaced by extents: types are inferred again, so what no longer fits is an error.

use crate::graph::{Graph, GraphError, ValueId};
use crate::types::{TensorType, Type};
use ic_types::Dim;
use std::sync::Arc;

/// What a symbol stands for, if it is to be replaced.
pub type Replacement<'a> = &'a dyn Fn(&str) -> Option<Dim>;

impl Graph {
    /// The graph with every symbol for which `replace` has an answer replaced by it: in inputs, attributes, and so in
    /// every type.
    ///
    /// # Errors
    /// If a node does not take its operands any more.
    pub fn substitute(&self, replace: Replacement) -> Result<Graph, GraphError> {
        let mut bound = Graph::new(self.name.clone());
        let ranges = self.symbols.iter().filter(|(name, _)| replace(name).is_none());
        bound.symbols = ranges.map(|(name, range)| (name.clone(), *range)).collect();
        let mut map: Vec<Option<ValueId>> = vec![None; self.values().len()];
        let name = |value: ValueId| self.value(value).name.clone();
        for &input in self.inputs() {
            let name = name(input).unwrap_or_else(|| Arc::from(""));
            map[input.index()] = Some(bound.add_input(name, self.ty(input).substitute(replace)));
        }
        for (_, node) in self.nodes() {
            let mut op = node.op.clone();
            op.substitute(replace);
            let operands = node.operands.iter().map(|operand| operand.and_then(|v| map[v.index()])).collect();
            let regions = node.regions.iter().map(|region| region.substitute(replace)).collect::<Result<_, _>>()?;
            let results = bound.push_node(op, operands, regions, &node.location)?;
            for (&old, &new) in node.results.iter().zip(&results) {
                map[old.index()] = Some(new);
                name(old).into_iter().for_each(|name| bound.set_name(new, name));
            }
        }
        let moved = |value: ValueId| map[value.index()].expect("a value comes before its users");
        for (&value, name) in self.outputs().iter().zip(self.output_names()) {
            bound.add_output(name.clone(), moved(value));
        }
        for binding in self.bindings() {
            bound.bind_symbol(binding.symbol.clone(), moved(binding.value), binding.element);
        }
        Ok(bound)
    }
}

impl Type {
    fn substitute(&self, replace: Replacement) -> Type {
        match self {
            Type::Tensor(ty) => {
                let shape = ty.shape.iter().map(|dim| dim.substitute(replace)).collect();
                Type::Tensor(TensorType::new(ty.dtype, shape))
            }
            Type::Sequence(element) => Type::Sequence(Box::new(element.substitute(replace))),
            Type::Optional(element) => Type::Optional(Box::new(element.substitute(replace))),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::text;
    use ic_types::Dim;

    #[test]
    fn symbols_of_inputs_and_attributes_become_extents() {
        let graph = text::parse(
            "graph @g(%x: f32[N, S, 6]) {
               symbol N = 1..8
               %y = reshape(%x) {shape = [N*S, 2, 3]} : f32[N*S, 2, 3]
               return \"y\" = %y
             }",
        )
        .unwrap();
        let bound = graph.substitute(&|name| (name == "N").then(|| Dim::constant(4))).unwrap();
        assert_eq!(bound.ty(bound.outputs()[0]).to_string(), "f32[4*S, 2, 3]");
        assert!(bound.symbols.is_empty());
    }

    #[test]
    fn extents_that_do_not_fit_are_an_error() {
        let source = "graph @g(%x: f32[N], %y: f32[4]) {\n  %z = add(%x, %y)\n  return \"z\" = %z\n}";
        let graph = text::parse(source).unwrap();
        assert!(graph.substitute(&|_| Some(Dim::constant(3))).is_err());
    }
}
