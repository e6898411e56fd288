//! The chosen nodes of an e-graph as a graph.

use super::extract::Choice;
use super::{EGraph, Kind};
use crate::rebuild::{OperandList, Rebuild};
use egg::Id;
use ic_ir::{Graph, GraphError, ValueId};
use std::collections::BTreeMap;

/// Builds the chosen node of every class on which `roots` depend, operands first, and returns each class's values.
///
/// # Errors
/// If a chosen node does not fit its operands.
pub(crate) fn emit(
    rebuild: &mut Rebuild,
    egraph: &EGraph,
    choice: &Choice,
    roots: &[Id],
    mut region: impl FnMut(&Graph) -> Result<Graph, crate::PassError>,
) -> Result<BTreeMap<Id, Vec<ValueId>>, crate::PassError> {
    let mut built: BTreeMap<Id, Vec<ValueId>> = BTreeMap::new();
    for root in roots {
        let mut stack = vec![(egraph.find(*root), false)];
        while let Some((class, operands_built)) = stack.pop() {
            if built.contains_key(&class) {
                continue;
            }
            let node = choice.node(egraph, class);
            if operands_built {
                let values = emit_class(rebuild, egraph, &built, class, choice, &mut region)?;
                built.insert(class, values);
            } else {
                stack.push((class, true));
                stack.extend(node.children.iter().rev().map(|&child| (egraph.find(child), false)));
            }
        }
    }
    Ok(built)
}

fn emit_class(
    rebuild: &mut Rebuild,
    egraph: &EGraph,
    built: &BTreeMap<Id, Vec<ValueId>>,
    class: Id,
    choice: &Choice,
    region: &mut impl FnMut(&Graph) -> Result<Graph, crate::PassError>,
) -> Result<Vec<ValueId>, crate::PassError> {
    let node = choice.node(egraph, class);
    let child = |id: &Id| &built[&egraph.find(*id)];
    let operands = || -> OperandList {
        let mut list: OperandList = node.children.iter().map(|id| child(id).first().copied()).collect();
        // The e-graph spells absent operands out.
        while list.last() == Some(&None) {
            list.pop();
        }
        list
    };
    let location = &egraph[class].data.location;
    Ok(match egraph.analysis.ops.kind(node.op) {
        Kind::Absent => Vec::new(),
        Kind::Leaf(value) => vec![rebuild.value(*value)],
        Kind::Result(index) => vec![child(&node.children[0])[*index]],
        Kind::Op(op) => rebuild.push(op.clone(), operands(), location)?,
        Kind::Opaque(id) => {
            let old = rebuild.old.node(*id);
            let regions = old.regions.iter().map(region).collect::<Result<Vec<_>, _>>()?;
            let results: Result<_, GraphError> =
                rebuild.new.push_node(old.op.clone(), operands(), regions, &old.location);
            results?
        }
    })
}
