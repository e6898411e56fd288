//! `canonicalize`: one spelling for what means the same without any arithmetic; dead and repeated nodes dropped.
//!
//! Each rule looks at one node whose operands are already canonical. Every rule is exact, so the pass runs at every
//! level. Rules that need alternatives to be weighed belong to the e-graph.

pub(crate) mod movement;
mod pointwise;

pub(crate) use pointwise::{splat, splat_of};

use crate::rebuild::{OperandList, Rebuild, map_regions, prune};
use crate::{Options, PassError, Report};
use ic_ir::{Graph, GraphError, Node, Op, TensorType, Type, ValueId};
use std::sync::Arc;

/// What a node can become.
pub(crate) enum Step {
    /// An existing value.
    Value(ValueId),
    /// Another node.
    Node(Op, OperandList),
}

/// A rule for one node.
pub(crate) struct Peephole {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// What the node can become, if the rule applies.
    pub(crate) run: fn(&mut Site) -> Option<Step>,
}

/// A node that is about to be built.
pub(crate) struct Site<'r, 'g> {
    rebuild: &'r mut Rebuild<'g>,
    op: Op,
    operands: OperandList,
    ty: Type,
    location: Arc<str>,
}

/// See the file's header.
///
/// # Errors
/// If a rule made a node that does not fit together.
#[expect(clippy::only_used_in_recursion, reason = "all passes have one signature")]
pub(crate) fn canonicalize(graph: &Graph, options: &Options, report: &mut Report) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    for (_, node) in rebuild.live_nodes() {
        if node.results.len() == 1 && node.regions.is_empty() {
            let value = simplify(&mut rebuild, node, report)?;
            rebuild.set(node.results[0], value);
        } else {
            let regions = map_regions(node, |region| canonicalize(region, options, report))?;
            rebuild.copy(node, regions)?;
        }
    }
    Ok(prune(&rebuild.finish())?)
}

/// Steps that one node may take: far more than any chain of rules has.
const MAX_STEPS: usize = 16;

fn simplify(rebuild: &mut Rebuild, node: &Node, report: &mut Report) -> Result<ValueId, GraphError> {
    let ty = rebuild.old.ty(node.results[0]).clone();
    let operands = rebuild.operands(node);
    let mut site = Site { rebuild, op: node.op.clone(), operands, ty, location: node.location.clone() };
    for _ in 0..MAX_STEPS {
        match site.step(report) {
            Some(Step::Value(value)) => return Ok(value),
            Some(Step::Node(op, operands)) => (site.op, site.operands) = (op, operands),
            None => break,
        }
    }
    let Site { rebuild, op, operands, location, .. } = site;
    Ok(rebuild.push(op, operands, &location)?[0])
}

impl Site<'_, '_> {
    /// What the first rule that applies makes of the node, the type unchanged.
    fn step(&mut self, report: &mut Report) -> Option<Step> {
        for rule in movement::RULES.iter().chain(pointwise::RULES) {
            let Some(step) = (rule.run)(self) else { continue };
            let value = match &step {
                Step::Value(value) => Some(*value),
                Step::Node(op, operands) => {
                    let pushed = self.rebuild.push(op.clone(), operands.clone(), &self.location);
                    pushed.ok().map(|results| results[0])
                }
            };
            if value.is_some_and(|value| *self.rebuild.new.ty(value) == self.ty) {
                *report.rules.entry(rule.name).or_default() += 1;
                return Some(step);
            }
        }
        None
    }

    /// Operand `i`, if it is present.
    fn operand(&self, i: usize) -> Option<ValueId> {
        self.operands.get(i).copied().flatten()
    }

    /// The tensor type of operand `i`.
    fn operand_ty(&self, i: usize) -> Option<&TensorType> {
        self.rebuild.new.ty(self.operand(i)?).as_tensor()
    }

    /// The tensor type of the node's result.
    fn result_ty(&self) -> Option<&TensorType> {
        self.ty.as_tensor()
    }

    /// The node that defines operand `i`.
    fn def(&self, i: usize) -> Option<&Node> {
        self.rebuild.new.def(self.operand(i)?)
    }

    /// Adds a node.
    fn push(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Option<ValueId> {
        self.rebuild.push_one(op, operands, &self.location).ok()
    }
}
