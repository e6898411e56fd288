//! A graph in the language of Graphviz.

use ic_ir::{Graph, ValueDef};
use petgraph::dot::Dot;

/// The nodes of `graph` and the values between them, as DOT text.
pub fn dot(graph: &Graph) -> String {
    let mut picture = petgraph::Graph::<String, String>::new();
    let inputs: Vec<_> = graph
        .inputs()
        .iter()
        .map(|&input| picture.add_node(graph.value(input).name.as_deref().unwrap_or_default().to_string()))
        .collect();
    let nodes: Vec<_> =
        graph.nodes().map(|(_, node)| picture.add_node(format!("{}\n{}", node.op.name(), node.location))).collect();
    let source = |value| match graph.value(value).def {
        ValueDef::Input(i) => inputs[i as usize],
        ValueDef::Result(node, _) => nodes[node.index()],
    };
    for (id, node) in graph.nodes() {
        for &operand in node.operands.iter().flatten() {
            picture.add_edge(source(operand), nodes[id.index()], graph.ty(operand).to_string());
        }
    }
    for (&output, name) in graph.outputs().iter().zip(graph.output_names()) {
        let sink = picture.add_node(name.to_string());
        picture.add_edge(source(output), sink, graph.ty(output).to_string());
    }
    format!("{}", Dot::new(&picture))
}
