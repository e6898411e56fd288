//! Builds the graph in which every node works on its form.

use super::Form;
use super::roles::{Take, take, to_channels_last};
use crate::PassError;
use crate::canonicalize::movement::keeps_order;
use crate::rebuild::{OperandList, Rebuild, map_regions};
use ic_ir::ops::{Reshape, Transpose};
use ic_ir::{Graph, GraphError, Node, Op, ValueId};
use ic_types::Dim;
use std::sync::Arc;

/// The graph with every node on the form that `forms` says, and transposes where forms meet.
///
/// # Errors
/// If a permuted node does not fit together, or `region` fails.
pub(super) fn build(
    graph: &Graph,
    forms: &[Form],
    mut region: impl FnMut(&Graph) -> Result<Graph, PassError>,
) -> Result<Graph, PassError> {
    let mut builder =
        Builder { rebuild: Rebuild::new(graph), last: vec![None; graph.values().len()], plain: Vec::new() };
    builder.plain = vec![None; graph.values().len()];
    for &input in graph.inputs() {
        builder.plain[input.index()] = Some(builder.rebuild.value(input));
    }
    for (id, node) in builder.rebuild.live_nodes() {
        match (&node.op, forms[id.index()]) {
            // Built when a user says in which form.
            (Op::Transpose(_), _) => {}
            (_, Form::ChannelsLast) => builder.push_last(node)?,
            (_, Form::Plain) => {
                let regions = map_regions(node, &mut region)?;
                builder.push_plain(node, regions)?;
            }
        }
    }
    for output in graph.roots() {
        let value = builder.get(output, Form::Plain, &Arc::from(""))?;
        builder.rebuild.set(output, value);
    }
    Ok(builder.rebuild.finish())
}

struct Builder<'a> {
    rebuild: Rebuild<'a>,
    /// The channels-last form of each old value, where it has been built.
    last: Vec<Option<ValueId>>,
    /// The plain form of each old value, where it has been built.
    plain: Vec<Option<ValueId>>,
}

impl Builder<'_> {
    fn push_plain(&mut self, node: &Node, regions: Vec<Graph>) -> Result<(), GraphError> {
        let mut operands = OperandList::new();
        for operand in &node.operands {
            operands.push(operand.map(|v| self.get(v, Form::Plain, &node.location)).transpose()?);
        }
        let results = if regions.is_empty() {
            self.rebuild.push(node.op.clone(), operands, &node.location)?
        } else {
            self.rebuild.new.push_node(node.op.clone(), operands, regions, &node.location)?
        };
        for (&old, new) in node.results.iter().zip(results) {
            self.plain[old.index()] = Some(new);
            self.rebuild.set(old, new);
        }
        Ok(())
    }

    fn push_last(&mut self, node: &Node) -> Result<(), GraphError> {
        let old = self.rebuild.old;
        let ty = old.tensor_ty(node.results[0]);
        let x = node.operands[0].map(|v| old.tensor_ty(v)).unwrap_or(ty);
        let op = to_channels_last(&node.op, ty, x).expect("only ops with a channels-last form are given it");
        let mut operands = OperandList::new();
        for (i, operand) in node.operands.iter().enumerate() {
            operands.push(match *operand {
                None => None,
                Some(v) => Some(match take(old, node, i) {
                    Take::ChannelsLast => self.get(v, Form::ChannelsLast, &node.location)?,
                    Take::Broadcast => self.broadcast(v, ty.rank(), &node.location)?,
                    Take::Plain => self.get(v, Form::Plain, &node.location)?,
                }),
            });
        }
        let results = self.rebuild.push(op, operands, &node.location)?;
        for (&old, new) in node.results.iter().zip(results) {
            self.last[old.index()] = Some(new);
            self.rebuild.set(old, new);
        }
        Ok(())
    }

    /// `value` with axes of extent 1 put before its own, channels last.
    fn broadcast(&mut self, value: ValueId, rank: usize, location: &Arc<str>) -> Result<ValueId, GraphError> {
        let plain = self.get(value, Form::Plain, location)?;
        let own = self.rebuild.new.tensor_ty(plain).shape.clone();
        let shape: Vec<Dim> = std::iter::repeat_n(Dim::constant(1), rank - own.len()).chain(own).collect();
        let reshaped = self.rebuild.push_one(Reshape { shape }, &[plain], location)?;
        self.permute(reshaped, Form::ChannelsLast.perm(rank), location)
    }

    fn built(&self, value: ValueId, form: Form) -> Option<ValueId> {
        match form {
            Form::Plain => self.plain[value.index()],
            Form::ChannelsLast => self.last[value.index()],
        }
    }

    /// An old value in a form.
    fn get(&mut self, value: ValueId, form: Form, location: &Arc<str>) -> Result<ValueId, GraphError> {
        if let Some(built) = self.built(value, form) {
            return Ok(built);
        }
        let old = self.rebuild.old;
        let rank = old.ty(value).as_tensor().map_or(0, |ty| ty.rank());
        let wanted = form.perm(rank);
        let node = old.def(value);
        let new = match node.map(|node| (&node.op, node)) {
            Some((Op::Transpose(op), node)) => {
                let source = node.operands[0].expect("a transpose has an operand");
                let axes: Vec<usize> = wanted.iter().map(|&axis| op.perm[axis]).collect();
                self.transposed(source, &axes, &node.location)?
            }
            _ => self.transposed(value, &wanted, location)?,
        };
        match form {
            Form::Plain => self.plain[value.index()] = Some(new),
            Form::ChannelsLast => self.last[value.index()] = Some(new),
        }
        self.rebuild.set(value, new);
        Ok(new)
    }

    /// The old value `source` stored with its axes in the order `axes`, from the form that makes it cheapest.
    fn transposed(&mut self, source: ValueId, axes: &[usize], location: &Arc<str>) -> Result<ValueId, GraphError> {
        let forms = [Form::Plain, Form::ChannelsLast];
        let mut best: Option<(bool, ValueId, Vec<usize>)> = None;
        for form in forms {
            let Some(built) = self.built(source, form) else { continue };
            let stored = form.perm(axes.len());
            let position = |axis: &usize| stored.iter().position(|a| a == axis).expect("perms hold every axis");
            let perm: Vec<usize> = axes.iter().map(position).collect();
            let free = keeps_order(&perm, &self.rebuild.new.tensor_ty(built).shape);
            if best.as_ref().is_none_or(|(best_free, ..)| free && !best_free) {
                best = Some((free, built, perm));
            }
        }
        match best {
            Some((_, built, perm)) => self.permute(built, perm, location),
            // A transpose of a transpose that nobody has asked for yet.
            None => {
                let plain = self.get(source, Form::Plain, location)?;
                self.permute(plain, axes.to_vec(), location)
            }
        }
    }

    fn permute(&mut self, value: ValueId, perm: Vec<usize>, location: &Arc<str>) -> Result<ValueId, GraphError> {
        let shape = &self.rebuild.new.tensor_ty(value).shape;
        if perm.is_sorted() {
            return Ok(value);
        }
        if keeps_order(&perm, shape) {
            let shape = perm.iter().map(|&axis| shape[axis].clone()).collect();
            return self.rebuild.push_one(Reshape { shape }, &[value], location);
        }
        self.rebuild.push_one(Transpose { perm }, &[value], location)
    }
}
