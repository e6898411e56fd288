//! One graph for every choice of contractions: each runs on integers if a flag says so, which is an input.

use super::{Affine, Candidates, Choice, smoothed, through_integers, weight};
use crate::PassError;
use crate::rebuild::Rebuild;
use ic_ir::{Graph, GraphError, Node, NodeId, ScalarOp, TensorType, ValueId};
use ic_types::DType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the inputs are called that say which contractions run on integers, before their index.
const FLAG: &str = "runs on integers ";

/// The graph with an input more for each contraction of the candidates, a scalar `bool`, in order: whether it runs on
/// integers. All must have scales.
///
/// Both results of each are computed, so it is slower than [`quantize_contractions`](super::quantize_contractions) and
/// gives the same but for round-off: what is read through a concatenation or a pool is multiplied as floats.
///
/// # Errors
/// If something does not fit, which is a defect.
pub fn switched_contractions(graph: &Graph, candidates: &Candidates, choice: &Choice) -> Result<Graph, PassError> {
    let mut rebuild = Rebuild::new(graph);
    let flag = |i| rebuild.new.add_input(format!("{FLAG}{i}"), TensorType::new(DType::Bool, Vec::new()));
    let flags: Vec<ValueId> = (0..candidates.contractions.len()).map(flag).collect();
    let mut switch = Switch { candidates, choice, flags, groups: Vec::new(), values: BTreeMap::new() };
    switch.groups = (0..candidates.groups.len())
        .map(|group| switch.any_of(&mut rebuild, group))
        .collect::<Result<_, GraphError>>()?;
    for &input in graph.inputs() {
        switch.see(&mut rebuild, input, &"".into())?;
    }
    for (id, node) in rebuild.live_nodes() {
        if node.regions.is_empty() {
            switch.node(&mut rebuild, id, node)?;
        } else {
            rebuild.copy(node, node.regions.clone())?;
        }
        for &result in &node.results {
            switch.see(&mut rebuild, result, &node.location)?;
        }
    }
    Ok(rebuild.finish())
}

/// A value that can be quantized.
struct Switched {
    /// Its integers as floats.
    integers: ValueId,
    /// What all others than contractions read, if not the value itself: that, or its integers if any
    /// contraction of the group runs on integers.
    other: Option<ValueId>,
}

struct Switch<'a> {
    candidates: &'a Candidates,
    choice: &'a Choice,
    /// One for each contraction.
    flags: Vec<ValueId>,
    /// One for each group: whether any contraction of it runs on integers. `None` if nobody asks.
    groups: Vec<Option<ValueId>>,
    values: BTreeMap<ValueId, Switched>,
}

impl Switch<'_> {
    fn any_of(&self, rebuild: &mut Rebuild, group: usize) -> Result<Option<ValueId>, GraphError> {
        if !self.candidates.groups[group].everywhere {
            return Ok(None);
        }
        let mut any = None;
        for (contraction, &flag) in self.candidates.contractions.iter().zip(&self.flags) {
            if contraction.group == group {
                any = match any {
                    Some(any) => Some(rebuild.push_one(ScalarOp::Or, &[any, flag], &"".into())?),
                    None => Some(flag),
                };
            }
        }
        Ok(any)
    }

    /// Adds the integers of `value` if a group has it.
    fn see(&mut self, rebuild: &mut Rebuild, value: ValueId, at: &Arc<str>) -> Result<(), GraphError> {
        let Some(group) = self.candidates.groups.iter().position(|group| group.sources.contains(&value)) else {
            return Ok(());
        };
        let by: &Affine = &self.choice.groups[group];
        let x = rebuild.value(value);
        let scaled = smoothed(rebuild, x, by, at)?;
        let integers = through_integers(rebuild, scaled, by, at)?;
        let other = match self.groups[group] {
            Some(any) => Some(rebuild.push_one(ScalarOp::Select, &[any, integers, x], at)?),
            None => None,
        };
        self.values.insert(value, Switched { integers, other });
        Ok(())
    }

    fn node(&self, rebuild: &mut Rebuild, id: NodeId, node: &Node) -> Result<(), GraphError> {
        let at = &node.location;
        let index = self.candidates.contractions.iter().position(|c| c.node == id);
        let mut operands = rebuild.operands(node);
        // A contraction on floats multiplies floats.
        let n_own = usize::from(index.is_some());
        for (new, old) in operands.iter_mut().zip(&node.operands).skip(n_own) {
            *new = old.and_then(|old| self.values.get(&old)?.other).or(*new);
        }
        let mut results = rebuild.push(node.op.clone(), operands.clone(), at)?;
        if let Some(index) = index
            && let Some(scales) = &self.choice.weights[index]
        {
            let contraction = &self.candidates.contractions[index];
            let smoothing = self.choice.groups[contraction.group].smoothing.as_deref();
            if let Some(switched) = self.values.get(&contraction.activation) {
                operands[0] = Some(switched.integers);
            }
            operands[1] = Some(weight(rebuild, contraction, scales, smoothing, at)?);
            let found = rebuild.push(node.op.clone(), operands, at)?[0];
            results[0] = rebuild.push_one(ScalarOp::Select, &[self.flags[index], found, results[0]], at)?;
        }
        node.results.iter().zip(results).for_each(|(&old, new)| rebuild.set(old, new));
        Ok(())
    }
}
