//! Other choices that an extraction could make, and parts of graphs to try them on: how good the cost model is shows when
//! they are measured beside its own.

use crate::known::known_values;
use crate::rebuild::Rebuild;
use crate::saturate::{saturate, stretches::stretches};
use crate::{Options, PassError, Report};
use ic_ir::{Graph, GraphError, Node, NodeId, Type, ValueId};
use std::collections::BTreeMap;

pub use crate::egraph::extract::Extraction;

/// The graph as equality saturation leaves it, if its nodes are chosen by `extraction`.
///
/// # Errors
/// If a chosen node does not fit its operands, which is a defect of a rule.
pub fn spelled_by(graph: &Graph, extraction: Extraction, options: &Options) -> Result<Graph, PassError> {
    saturate(graph, &Options { extraction, ..options.clone() }, &mut Report::default())
}

/// Parts of a graph of about `size` nodes each, that overlap nowhere, cut where few values cross. What they read of others
/// are their inputs, what others read their outputs; constants go with them. Parts with regions, or with values that
/// are no tensors of constant extents, are left out.
///
/// # Errors
/// Never for a sound graph.
pub fn windows(graph: &Graph, size: usize) -> Result<Vec<Graph>, PassError> {
    let known = known_values(graph);
    let is_known = |node: &Node| !node.results.is_empty() && node.results.iter().all(|r| known[r.index()]);
    let live = Rebuild::new(graph).live_nodes();
    let nodes: Vec<(NodeId, &Node)> = live.into_iter().filter(|(_, node)| !is_known(node)).collect();
    let is_plain = |value: ValueId| match graph.ty(value) {
        Type::Tensor(ty) => ty.constant_shape().is_some_and(|shape| !shape.contains(&0)) && ty.dtype.size().is_some(),
        _ => false,
    };
    let ranges = stretches(graph, &nodes, &known, size);
    let parts = ranges.into_iter().map(|range| &nodes[range]).filter(|part| {
        let mut values = part.iter().flat_map(|(_, node)| node.results.iter().chain(node.operands.iter().flatten()));
        part.iter().all(|(_, node)| node.regions.is_empty()) && values.all(|&value| is_plain(value))
    });
    Ok(parts.map(|part| window(graph, part, &known)).collect::<Result<Vec<_>, GraphError>>()?)
}

fn window(graph: &Graph, part: &[(NodeId, &Node)], known: &[bool]) -> Result<Graph, GraphError> {
    let mut window = Graph::new(graph.name.clone());
    let mut values: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let inside = |value: ValueId| part.iter().any(|(_, node)| node.results.contains(&value));
    let operands = || part.iter().flat_map(|(_, node)| node.operands.iter().flatten());
    for &value in operands().filter(|&&value| !known[value.index()] && !inside(value)) {
        if let std::collections::btree_map::Entry::Vacant(place) = values.entry(value) {
            place.insert(window.add_input(format!("in{}", value.index()), graph.ty(value).clone()));
        }
    }
    for (_, node) in part {
        node.operands.iter().flatten().try_for_each(|&v| copy_known(graph, v, &mut window, &mut values))?;
        let operands = node.operands.iter().map(|operand| operand.map(|value| values[&value])).collect();
        let results = window.push_node(node.op.clone(), operands, Vec::new(), &node.location)?;
        node.results.iter().zip(results).for_each(|(&old, new)| {
            values.insert(old, new);
        });
    }
    let mut wanted: Vec<ValueId> = graph.roots().collect();
    let in_part: Vec<NodeId> = part.iter().map(|(id, _)| *id).collect();
    let others = graph.nodes().filter(|(id, _)| !in_part.contains(id));
    wanted.extend(others.flat_map(|(_, node)| node.operands.iter().flatten().copied()));
    wanted.sort_unstable();
    wanted.dedup();
    for value in part.iter().flat_map(|(_, node)| &node.results).filter(|r| wanted.binary_search(r).is_ok()) {
        window.add_output(format!("out{}", value.index()), values[value]);
    }
    Ok(window)
}

/// Copies a known value and what it depends on, unless it is there already.
fn copy_known(
    graph: &Graph,
    value: ValueId,
    window: &mut Graph,
    values: &mut BTreeMap<ValueId, ValueId>,
) -> Result<(), GraphError> {
    if values.contains_key(&value) {
        return Ok(());
    }
    let Some(node) = graph.def(value) else { return Ok(()) };
    node.operands.iter().flatten().try_for_each(|&operand| copy_known(graph, operand, window, values))?;
    let operands = node.operands.iter().map(|operand| operand.map(|value| values[&value])).collect();
    let results = window.push_node(node.op.clone(), operands, Vec::new(), &node.location)?;
    node.results.iter().zip(results).for_each(|(&old, new)| {
        values.insert(old, new);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_ir::eval::eval_graph;
    use ic_types::Tensor;

    const CHAIN: &str = "graph @chain(%x: f32[4, 8]) {
  %g = constant() {value = f32[8] splat 0.5}
  %a = mul(%x, %g)
  %b = add(%a, %x)
  %c = exp(%b)
  %d = mul(%c, %g)
  %e = add(%d, %c)
  %f = relu(%e)
  return \"y\" = %f
}
";

    #[test]
    fn windows_compute_what_the_whole_does() {
        let graph = ic_ir::text::parse(CHAIN).unwrap();
        let parts = windows(&graph, 3).unwrap();
        assert!(parts.len() > 1);
        let x = Tensor::from_elements(vec![4, 8], (0..32).map(|i| i as f32 / 16.0 - 1.0).collect());
        let mut values = vec![x.clone()];
        for part in &parts {
            assert_eq!(ic_ir::verify(part), []);
            values = eval_graph(part, &values, &Default::default()).unwrap();
        }
        assert_eq!(values, eval_graph(&graph, &[x], &Default::default()).unwrap());
    }

    const SOFTMAX: &str = "graph @softmax(%x: f32[4, 8]) {
  %g = constant() {value = f32[] splat 0.5}
  %a = mul(%x, %g)
  %b = reduce(%a) {function = max, axes = [1], keep_dims = true}
  %c = sub(%a, %b)
  %d = exp(%c)
  %e = reduce(%d) {function = sum, axes = [1], keep_dims = true}
  %f = div(%d, %e)
  return \"y\" = %f
}
";

    #[test]
    fn every_extraction_computes_the_same() {
        let graph = ic_ir::text::parse(SOFTMAX).unwrap();
        let x = Tensor::from_elements(vec![4, 8], (0..32).map(|i| i as f32 / 16.0 - 1.0).collect());
        let expected = eval_graph(&graph, std::slice::from_ref(&x), &Default::default()).unwrap();
        let mut texts = Vec::new();
        let draws = (0..20).map(|seed| Extraction::Drawn { seed, spread: seed as u32 % 3 * 6 + 1 });
        for extraction in [Extraction::Cheapest, Extraction::Trees].into_iter().chain(draws) {
            let found = spelled_by(&graph, extraction, &Options::default()).unwrap();
            assert_eq!(ic_ir::verify(&found), []);
            let y = eval_graph(&found, std::slice::from_ref(&x), &Default::default()).unwrap();
            let [y, expected] = [&y, &expected].map(|list| list[0].elements::<f32>().unwrap().to_vec());
            assert!(y.iter().zip(expected).all(|(y, e)| (y - e).abs() <= 1e-5 * e.abs()), "{extraction:?}");
            assert_eq!(spelled_by(&graph, extraction, &Options::default()).unwrap().nodes().len(), found.nodes().len());
            texts.push(ic_ir::text::print(&found));
        }
        texts.sort();
        texts.dedup();
        assert!(texts.len() > 1, "all draws are alike");
    }
}
