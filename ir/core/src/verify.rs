//! The verifier: reports every violated invariant with its node.

use crate::diagnostic::{Diagnostic, Location};
use crate::graph::{Graph, Inferred, Node, infer_node};
use ic_types::DType;

/// Everything that is wrong with the graph, in node order; empty if it is sound.
///
/// Operands must be defined before use, each node's recorded types must be those that inference gives, and outputs
/// must exist.
pub fn verify(graph: &Graph) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut defined = graph.inputs().len();
    for (_, node) in graph.nodes() {
        let report = |message: String| {
            let location = Location { file: graph.name.as_str().into(), node: node.location.clone() };
            Diagnostic::new(location, format!("{}: {message}", node.op.name()))
        };
        let late = node.operands.iter().flatten().filter(|operand| operand.index() >= defined);
        let n_late = late.count();
        if n_late > 0 {
            problems.push(report(format!("{n_late} operands are used before they are defined")));
        } else {
            problems.extend(check_types(graph, node).map(report));
        }
        problems.extend(node.regions.iter().flat_map(verify));
        defined += node.results.len();
    }
    for binding in graph.bindings() {
        let elements = graph.values().nth(binding.value.index()).and_then(|(_, value)| value.ty.as_tensor());
        let fits = elements.is_some_and(|ty| {
            matches!(ty.dtype, DType::I64 | DType::F64)
                && ty.elements().as_const().is_none_or(|n| i64::from(binding.element) < n)
        });
        if binding.value.index() >= defined || !fits {
            let location = Location { file: graph.name.as_str().into(), node: "".into() };
            problems
                .push(Diagnostic::new(location, format!("`{}` is no element of a tensor of 64 bits", binding.symbol)));
        }
    }
    for (output, name) in graph.outputs().iter().zip(graph.output_names()) {
        if output.index() >= defined {
            let location = Location { file: graph.name.as_str().into(), node: name.clone() };
            problems.push(Diagnostic::new(location, "the output has no definition"));
        }
    }
    problems
}

fn check_types(graph: &Graph, node: &Node) -> Option<String> {
    match infer_node(graph, &node.op, &node.operands, &node.regions) {
        Err(error) => Some(error.to_string()),
        Ok(Inferred { types, .. }) => {
            let recorded = node.results.iter().map(|&v| graph.ty(v));
            let differs = types.len() != node.results.len() || recorded.zip(&types).any(|(a, b)| a != b);
            differs.then(|| "the recorded types are not those that inference gives".into())
        }
    }
}
