//! The chosen nodes of an e-graph as a list, and as nodes of a graph.
//!
//! A plan says nothing about which values the leaves are: it is made once for all blocks of one form.

use super::block::Block;
use super::explain::{Chain, Explainer};
use super::extract::Choice;
use super::language::Kind;
use super::{EGraph, ENode};
use crate::PassError;
use crate::fold_constants::folded;
use crate::rebuild::{OperandList, Rebuild, copy_known};
use egg::Id;
use ic_ir::{Graph, GraphError, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The chosen nodes, operands first.
pub(crate) struct Plan {
    steps: Vec<Step>,
    /// The step of each local value that is computed or read.
    values: Vec<Option<u32>>,
    /// Why the steps that the model does not have are right, where that was asked for.
    chains: Vec<Chain>,
}

struct Step {
    kind: Kind,
    operands: Vec<u32>,
    location: u32,
    known: bool,
}

impl Plan {
    /// The chosen node of every class on which `roots` depend; `classes` are those of the local values.
    pub(crate) fn new(
        egraph: &EGraph,
        choice: &Choice,
        roots: &[Id],
        classes: &[Id],
        explainer: Option<&Explainer>,
    ) -> Plan {
        let mut plan = Plan { steps: Vec::new(), values: Vec::new(), chains: Vec::new() };
        let mut planned: BTreeMap<Id, u32> = BTreeMap::new();
        for root in roots {
            let mut stack = vec![(egraph.find(*root), false)];
            while let Some((class, are_operands_planned)) = stack.pop() {
                if planned.contains_key(&class) {
                    continue;
                }
                let node = choice.node(egraph, class);
                if are_operands_planned {
                    planned.insert(class, plan.steps.len() as u32);
                    plan.steps.push(step(egraph, class, node, &planned));
                    plan.chains.extend(explainer.and_then(|explainer| explainer.chain(class, node)));
                } else {
                    stack.push((class, true));
                    stack.extend(node.children.iter().rev().map(|&child| (egraph.find(child), false)));
                }
            }
        }
        plan.values = classes.iter().map(|&class| planned.get(&egraph.find(class)).copied()).collect();
        plan
    }

    /// The local values that it reads.
    pub(crate) fn leaves(&self) -> BTreeSet<u32> {
        let leaf = |step: &Step| if let Kind::Leaf(local) = step.kind { Some(local) } else { None };
        self.steps.iter().filter_map(leaf).collect()
    }

    /// Why what a block becomes is right: for each node that is not the model's its place in the model, and the rules.
    pub(crate) fn explain(&self, graph: &Graph, block: &Block) -> Vec<(Arc<str>, Vec<String>)> {
        self.chains.iter().map(|chain| chain.of_block(graph, block)).collect()
    }

    /// Adds the nodes for a block, and lets their values stand for the block's.
    ///
    /// # Errors
    /// If a chosen node does not fit its operands.
    pub(crate) fn build(
        &self,
        rebuild: &mut Rebuild,
        block: &Block,
        mut region: impl FnMut(&Graph) -> Result<Graph, PassError>,
    ) -> Result<(), PassError> {
        let mut built: Vec<Vec<ValueId>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let values = step.build(rebuild, block, &built, &mut region)?;
            built.push(values);
        }
        for (local, old) in block.results() {
            if let Some(step) = self.values[local as usize]
                && let [value] = built[step as usize][..]
            {
                rebuild.set(old, value);
            }
        }
        Ok(())
    }
}

fn step(egraph: &EGraph, class: Id, node: &ENode, planned: &BTreeMap<Id, u32>) -> Step {
    let facts = &egraph[class].data;
    Step {
        kind: egraph.analysis.ops.kind(node.op).clone(),
        operands: node.children.iter().map(|child| planned[&egraph.find(*child)]).collect(),
        location: facts.location,
        known: facts.known,
    }
}

impl Step {
    fn build(
        &self,
        rebuild: &mut Rebuild,
        block: &Block,
        built: &[Vec<ValueId>],
        region: &mut impl FnMut(&Graph) -> Result<Graph, PassError>,
    ) -> Result<Vec<ValueId>, PassError> {
        let operand = |step: &u32| &built[*step as usize];
        let operands = || -> OperandList {
            let mut list: OperandList = self.operands.iter().map(|step| operand(step).first().copied()).collect();
            // The e-graph spells absent operands out.
            while list.last() == Some(&None) {
                list.pop();
            }
            list
        };
        let location = &block.locations[self.location as usize];
        Ok(match &self.kind {
            Kind::Absent => Vec::new(),
            Kind::Leaf(local) => {
                let value = block.values[*local as usize];
                copy_known(rebuild, value)?;
                vec![rebuild.value(value)]
            }
            Kind::Result(index) => vec![operand(&self.operands[0])[*index]],
            Kind::Op(op) => {
                let values = rebuild.push(op.clone(), operands(), location)?;
                match values[..] {
                    [value] if self.known => vec![folded(rebuild, value, op, location)?.unwrap_or(value)],
                    _ => values,
                }
            }
            Kind::Opaque(id) => {
                let old = rebuild.old.node(*id);
                let regions = old.regions.iter().map(region).collect::<Result<Vec<_>, _>>()?;
                let results: Result<_, GraphError> =
                    rebuild.new.push_node(old.op.clone(), operands(), regions, &old.location);
                results?
            }
        })
    }
}
