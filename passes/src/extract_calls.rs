//! Calls become entries: the nested graph of each `call` turns into a graph that is compiled as an entry of its own.
//!
//! Its inputs are the operands of the call, then, for each symbol of the graph around it, a tensor that no node reads and
//! whose only extent is the symbol's value. Results that nothing uses are left out.

use crate::rebuild::{Rebuild, map_regions};
use ic_ir::ops::{Call, Op};
use ic_ir::{Graph, GraphError, Node, TensorType};
use ic_types::{DType, Dim, symbols_of};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A graph whose calls name entries, and the graphs of those entries, in the order of their numbers, from `first` on.
/// Every graph calls only later ones.
///
/// # Errors
/// If a graph does not fit together, which is a defect.
pub fn extract_calls(graph: &Graph, first: usize) -> Result<(Graph, Vec<Graph>), GraphError> {
    let mut entries: Vec<Option<Graph>> = Vec::new();
    let graph = extract(graph, first, &mut entries)?;
    Ok((graph, entries.into_iter().flatten().collect()))
}

fn extract(graph: &Graph, first: usize, entries: &mut Vec<Option<Graph>>) -> Result<Graph, GraphError> {
    let used = used_results(graph);
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        match &node.op {
            Op::Call(_) => call(&mut rebuild, node, &used, first, entries)?,
            _ => {
                let regions = map_regions(node, |region| extract(region, first, entries))?;
                rebuild.copy(node, regions)?;
            }
        }
    }
    Ok(rebuild.finish())
}

/// Whether a node, an output or a symbol needs each value.
fn used_results(graph: &Graph) -> Vec<bool> {
    let mut used = vec![false; graph.values().len()];
    graph.roots().for_each(|v| used[v.index()] = true);
    graph.nodes().flat_map(|(_, node)| node.operands.iter().flatten()).for_each(|v| used[v.index()] = true);
    used
}

fn call(
    rebuild: &mut Rebuild,
    node: &Node,
    used: &[bool],
    first: usize,
    entries: &mut Vec<Option<Graph>>,
) -> Result<(), GraphError> {
    let at = entries.len();
    entries.push(None);
    let wanted: Vec<bool> = node.results.iter().map(|v| used[v.index()]).collect();
    let region = with_outputs(&node.regions[0], &wanted)?;
    let symbols = outer_symbols(&region);
    let mut inner = extract(&region, first, entries)?;
    inner.symbols.clone_from(&rebuild.old.symbols);
    for symbol in &symbols {
        inner.add_input(format!("#{symbol}"), TensorType::new(DType::U8, vec![Dim::symbol(symbol)]));
    }
    entries[at] = Some(inner);
    let op = Call { entry: Some(first + at), symbols: symbols.iter().map(|name| Dim::symbol(name)).collect() };
    let operands = rebuild.operands(node);
    let results = rebuild.new.push_node(op.into(), operands, vec![region], &node.location)?;
    let kept = node.results.iter().zip(&wanted).filter(|(_, wanted)| **wanted);
    kept.zip(results).for_each(|((&old, _), new)| rebuild.set(old, new));
    Ok(())
}

/// The graph with these of its outputs.
fn with_outputs(graph: &Graph, wanted: &[bool]) -> Result<Graph, GraphError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        rebuild.copy(node, node.regions.clone())?;
    }
    Ok(rebuild.finish_with(wanted))
}

/// The symbols that a region does not bind itself.
fn outer_symbols(region: &Graph) -> BTreeSet<Arc<str>> {
    let types = region.values().filter_map(|(_, value)| value.ty.as_tensor());
    let mut names = symbols_of(types.flat_map(|ty| &ty.shape));
    region.nodes().for_each(|(_, node)| names.extend(region.node_symbols(node)));
    names.retain(|name| !region.bindings().iter().any(|binding| binding.symbol == *name));
    names.into_iter().collect()
}
