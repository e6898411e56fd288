//! Prints graphs.

use crate::attr::quote;
use crate::graph::{Graph, Node, ValueDef, ValueId};
use crate::types::Type;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The graph as text.
pub fn print(graph: &Graph) -> String {
    let mut out = String::new();
    write_graph(&mut out, graph, 0).expect("writing to a string cannot fail");
    out
}

fn write_graph(out: &mut String, graph: &Graph, depth: usize) -> std::fmt::Result {
    let names = value_names(graph);
    let indent = "  ".repeat(depth + 1);
    write!(out, "graph @{}(", symbol_name(&graph.name))?;
    for (i, &input) in graph.inputs().iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(out, "{comma}%{}: {}", names[input.index()], graph.ty(input))?;
        if let Some(name) = graph.value(input).name.as_deref().filter(|n| *n != names[input.index()]) {
            write!(out, " @{}", quote(name))?;
        }
    }
    writeln!(out, ") {{")?;
    for (name, range) in &graph.symbols {
        writeln!(out, "{indent}symbol {} = {}..{}", ic_types::Dim::symbol(name), range.min, range.max)?;
    }
    for (_, node) in graph.nodes() {
        write_node(out, graph, node, &names, depth)?;
    }
    for binding in graph.bindings() {
        let (symbol, value) = (ic_types::Dim::symbol(&binding.symbol), &names[binding.value.index()]);
        writeln!(out, "{indent}bind {symbol} = %{value}[{}]", binding.element)?;
    }
    write!(out, "{indent}return")?;
    for (i, (&output, name)) in graph.outputs().iter().zip(graph.output_names()).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(out, "{comma} {} = %{}", quote(name), names[output.index()])?;
    }
    writeln!(out, "\n{}}}", "  ".repeat(depth))
}

fn write_node(out: &mut String, graph: &Graph, node: &Node, names: &[String], depth: usize) -> std::fmt::Result {
    let list = |ids: &[ValueId]| ids.iter().map(|v| format!("%{}", names[v.index()])).collect::<Vec<_>>().join(", ");
    let operands: Vec<String> =
        node.operands.iter().map(|v| v.map_or_else(|| "_".into(), |v| format!("%{}", names[v.index()]))).collect();
    let types: Vec<String> = node.results.iter().map(|&v| Type::to_string(graph.ty(v))).collect();
    write!(out, "{}{} = {}({})", "  ".repeat(depth + 1), list(&node.results), node.op.name(), operands.join(", "))?;
    let attrs: Vec<String> = node.op.attrs().into_iter().map(|(name, text)| format!("{name} = {text}")).collect();
    if !attrs.is_empty() {
        write!(out, " {{{}}}", attrs.join(", "))?;
    }
    write!(out, " : {}", types.join(", "))?;
    if !node.location.is_empty() {
        write!(out, " @{}", quote(&node.location))?;
    }
    if node.regions.is_empty() {
        return writeln!(out);
    }
    writeln!(out, " regions {{")?;
    for region in &node.regions {
        out.push_str(&"  ".repeat(depth + 2));
        write_graph(out, region, depth + 2)?;
    }
    writeln!(out, "{}}}", "  ".repeat(depth + 1))
}

/// A name per value: the model's for inputs where it is plain and free, else a number.
fn value_names(graph: &Graph) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut next = 0;
    graph
        .values()
        .map(|(_, value)| {
            let given = value.name.as_deref().filter(|_| matches!(value.def, ValueDef::Input(_)));
            if let Some(name) = given.filter(|n| is_plain(n) && taken.insert(n.to_string())) {
                return name.to_string();
            }
            next += 1;
            (next - 1).to_string()
        })
        .collect()
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

fn symbol_name(name: &str) -> String {
    if is_plain(name) { name.into() } else { quote(name) }
}
