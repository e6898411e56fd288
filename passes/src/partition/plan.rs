//! What becomes a kernel, what lives in a buffer and what is computed where it is used.
//!
//! Anchors claim their epilogues first. Then every other value is decided from the last to the first, so that the fate
//! of all users is known: it is inlined where that repeats no work worth mentioning, else a kernel stores it.

use super::access;
use super::claim::{claim_ops, claim_rows};
use super::cost::{Cost, costs};
use super::facts::{Facts, Kind};
use super::integer;
use super::rows::RowSpace;
use ic_ir::ops::Op;
use ic_ir::{NodeId, ValueId};
use ic_types::Dim;
use std::collections::{BTreeMap, BTreeSet};

/// Most nodes in a kernel, so that expressions stay small.
const MAX_NODES: usize = 96;

/// Largest number of known elements that are chosen between where they are used.
const MAX_CONTENT: usize = 8;

/// Concatenations of at most this many elements are one kernel rather than one per piece.
const SMALL_CONCAT: i64 = 2048;

/// What a group of nodes becomes.
#[derive(Clone, Debug)]
pub(crate) enum GroupKind {
    /// One scalar expression per element of the root.
    Pointwise,
    /// A concatenation or an update in place: one kernel per piece.
    Pieces,
    /// Reductions over the same rows, with what surrounds them.
    Rows(RowSpace),
    /// A whole op, then perhaps pointwise stages on its result.
    Op,
    /// A matrix product with an epilogue, then what folds rows of its result.
    OpRows {
        /// The rows.
        space: RowSpace,
        /// How many of the nodes are the product and its epilogue.
        n_op: usize,
    },
    /// Two lists of steps.
    Branch,
}

/// Nodes that become a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) kind: GroupKind,
    /// The nodes that are not merely inlined, in order; of an op, the anchor is the first.
    pub(crate) nodes: Vec<NodeId>,
    /// The values that it stores.
    pub(crate) roots: Vec<ValueId>,
}

/// The decisions.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
    /// The group that claims each node, by node index.
    pub(crate) group_of: Vec<Option<u32>>,
    /// Values that kernels store.
    pub(crate) stored: BTreeSet<ValueId>,
    /// Values that are runs of the elements of a value in a buffer, with the number of the first, and must be buffers.
    pub(crate) views: BTreeMap<ValueId, (ValueId, Dim)>,
    /// Values that depend on constants alone and could be computed, but must be buffers.
    pub(crate) constants: BTreeSet<ValueId>,
}

impl Plan {
    /// Whether the value is read from a buffer rather than computed.
    pub(crate) fn is_buffer(&self, facts: &Facts, value: ValueId) -> bool {
        self.stored.contains(&value)
            || self.views.contains_key(&value)
            || self.constants.contains(&value)
            || matches!(facts.kind(value), None | Some(Kind::Constant))
    }

    pub(crate) fn add_group(&mut self, kind: GroupKind, nodes: Vec<NodeId>, roots: Vec<ValueId>) {
        let number = self.groups.len() as u32;
        nodes.iter().for_each(|node| self.group_of[node.index()] = Some(number));
        self.stored.extend(&roots);
        self.groups.push(Group { kind, nodes, roots });
    }
}

/// Where a value is evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Site {
    /// The group, and which of its kernels.
    kernel: (u32, u32),
    /// Whether it is at the points of the kernel's own space, each once.
    is_identity: bool,
}

/// Whether nodes are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fusion {
    /// As far as it saves traffic; rows of products are folded by the kernels that compute them.
    WithRows,
    /// As far as it saves traffic, but kernels that fold rows are others than those of products.
    On,
    /// Each node is a kernel of its own.
    Off,
}

/// Decides for a graph.
pub(crate) fn plan(facts: &Facts, fusion: Fusion) -> Plan {
    let mut plan = Plan { group_of: vec![None; facts.live.len()], ..Plan::default() };
    claim_ops(facts, &mut plan, fusion);
    claim_rows(facts, &mut plan, fusion);
    let costs = costs(facts, &|id| plan.group_of[id.index()].is_some());
    let sites = vec![None; facts.live.len()];
    let mut decisions = Decisions { facts, plan, costs, sites, sizes: BTreeMap::new(), fusion };
    for output in facts.graph.roots() {
        decisions.need_buffer(output);
    }
    for (id, _) in facts.graph.nodes().rev().filter(|(id, _)| facts.live[id.index()]) {
        decisions.decide(id);
    }
    decisions.plan.groups.sort_by_key(|group| group.nodes.last().copied());
    for (number, group) in decisions.plan.groups.iter().enumerate() {
        group.nodes.iter().for_each(|node| decisions.plan.group_of[node.index()] = Some(number as u32));
    }
    decisions.plan
}

struct Decisions<'a> {
    facts: &'a Facts<'a>,
    plan: Plan,
    /// What elements cost, by value index.
    costs: Vec<Cost>,
    /// The one site of each inlined node, by node index, if there is but one.
    sites: Vec<Option<Site>>,
    /// Nodes in each kernel.
    sizes: BTreeMap<(u32, u32), usize>,
    fusion: Fusion,
}

impl Decisions<'_> {
    fn decide(&mut self, id: NodeId) {
        let (node, kind) = (self.facts.graph.node(id), self.facts.kinds[id.index()]);
        let claimed = self.plan.group_of[id.index()].is_some();
        if kind.is_inlineable() && !claimed {
            let value = node.results[0];
            match self.inline_site(value, kind) {
                Some(site) => self.sites[id.index()] = site,
                None => self.store(id, value),
            }
        }
        match (&node.op, kind) {
            (_, Kind::Constant | Kind::Source) => {}
            (_, Kind::Op) => self.need_operands(id),
            (_, Kind::Branch) => node.operands.iter().flatten().for_each(|&v| self.need_buffer(v)),
            (_, Kind::Gather) => node.operands[..1].iter().flatten().for_each(|&v| self.need_buffer(v)),
            _ => {}
        }
    }

    fn store(&mut self, id: NodeId, value: ValueId) {
        let number = self.plan.groups.len() as u32;
        if matches!(self.facts.graph.node(id).op, Op::Gather(_)) {
            self.plan.add_group(GroupKind::Op, vec![id], vec![value]);
            self.need_operands(id);
            return;
        }
        let elements = self.facts.graph.tensor_ty(value).elements().as_const();
        let is_concat = matches!(self.facts.graph.node(id).op, Op::Concat(_));
        let is_in_place = self.facts.in_place.contains(&value);
        let kind = if is_in_place || is_concat && elements.is_none_or(|n| n > SMALL_CONCAT) {
            GroupKind::Pieces
        } else {
            GroupKind::Pointwise
        };
        self.plan.add_group(kind, vec![id], vec![value]);
        self.sites[id.index()] = Some(Site { kernel: (number, 0), is_identity: true });
    }

    /// `None` if a kernel must store the value, else where it is inlined: `Some(None)` is in several places.
    fn inline_site(&mut self, value: ValueId, kind: Kind) -> Option<Option<Site>> {
        if self.plan.stored.contains(&value) {
            return None;
        }
        let known = self.facts.graph.elements(value).map_or(0, |content| content.len());
        let (id, node, _) = self.facts.def(value)?;
        if kind == Kind::Source || self.facts.constant[value.index()] {
            let is_number = matches!(node.op, Op::Iota(_) | Op::Constant(_));
            return (known <= MAX_CONTENT || is_number).then_some(None);
        }
        if self.fusion == Fusion::Off {
            if let Some((operand, _)) = access::dense_part(self.facts.graph, node) {
                self.need_buffer(operand);
                return Some(None);
            }
            return self.facts.users[value.index()].is_empty().then_some(None);
        }
        let mut edges = Vec::new();
        for &user in &self.facts.users[value.index()] {
            edges.extend(self.edges(value, user)?);
        }
        let one_site = match edges.as_slice() {
            [] => return Some(None),
            [Some(edge)] => Some(*edge),
            [Some(first), rest @ ..] if first.is_identity && rest.iter().all(|e| e == &Some(*first)) => Some(*first),
            _ => None,
        };
        let site = one_site.filter(|site| self.sizes.get(&site.kernel).is_none_or(|&n| n < MAX_NODES));
        if let Some(site) = site {
            *self.sizes.entry(site.kernel).or_default() += 1;
            return Some(Some(site));
        }
        debug_assert!(self.facts.live[id.index()]);
        self.costs[value.index()].is_cheap().then_some(None)
    }

    /// Where `user` evaluates `value`, one entry per operand; `Some(None)` in several places or more often than the
    /// value has elements. `None` if the user must have it in a buffer.
    fn edges(&self, value: ValueId, user: NodeId) -> Option<Vec<Option<Site>>> {
        let (node, kind) = (self.facts.graph.node(user), self.facts.kinds[user.index()]);
        let uses = node.operands.iter().enumerate().filter(|(_, v)| **v == Some(value)).map(|(i, _)| i);
        let group = self.plan.group_of[user.index()];
        let site = match group {
            Some(number) => match &self.plan.groups[number as usize].kind {
                // Operands of the op itself are views; those of its epilogue must be cheap to read.
                GroupKind::Op | GroupKind::OpRows { .. } if kind == Kind::Op => return Some(Vec::new()),
                GroupKind::Op | GroupKind::OpRows { .. } => {
                    let anchor = self.plan.groups[number as usize].nodes[0];
                    let fits = self.fits_epilogue(value) || integer::reads(self.facts, anchor, value);
                    return fits.then(|| uses.map(|_| None).collect());
                }
                GroupKind::Branch => return Some(Vec::new()),
                GroupKind::Pieces => {
                    return Some(uses.map(|i| Some(Site { kernel: (number, i as u32), is_identity: true })).collect());
                }
                GroupKind::Pointwise | GroupKind::Rows(_) => Some(Site { kernel: (number, 0), is_identity: true }),
            },
            None => self.sites[user.index()],
        };
        Some(uses.map(|i| site.and_then(|site| self.through(value, user, i, site))).collect())
    }

    /// The site of an operand of a node that is evaluated at `site`; `None` if the operand is evaluated more often than
    /// it has elements.
    fn through(&self, value: ValueId, user: NodeId, operand: usize, site: Site) -> Option<Site> {
        let graph = self.facts.graph;
        let (node, kind) = (graph.node(user), self.facts.kinds[user.index()]);
        let (shape, result) = (graph.tensor_ty(value), graph.tensor_ty(node.results[0]));
        let moved = Site { is_identity: false, ..site };
        match (&node.op, kind) {
            (Op::Expand(_), _) if shape.elements() != result.elements() => None,
            (_, Kind::Movement) if access::dense_part(graph, node).is_some() => {
                Some(Site { is_identity: site.is_identity && shape.elements() == result.elements(), ..site })
            }
            (_, Kind::Movement | Kind::Piecewise) => Some(moved),
            (_, Kind::Pointwise) => (shape.elements() == result.elements()).then_some(site),
            (_, Kind::Gather) => (operand == 1 && shape.elements() == result.elements()).then_some(moved),
            (_, Kind::Rows) if operand == 0 => Some(site),
            _ => None,
        }
    }

    /// Whether an epilogue can read the value: nothing is computed, and full tensors are runs of a buffer.
    fn fits_epilogue(&self, value: ValueId) -> bool {
        let Some((_, node, kind)) = self.facts.def(value) else { return true };
        match kind {
            Kind::Movement if self.costs[value.index()].work > 0 => false,
            Kind::Movement => matches!(node.op, Op::Expand(_)) || access::dense_part(self.facts.graph, node).is_some(),
            _ => false,
        }
    }

    /// Makes sure that a value is in a buffer of its own or a run of another buffer.
    fn need_buffer(&mut self, value: ValueId) {
        let (mut base, mut offset) = (value, Dim::constant(0));
        while let Some((_, node, Kind::Movement)) = self.facts.def(base)
            && !self.plan.stored.contains(&base)
            && !self.facts.constant[base.index()]
            && let Some((operand, first)) = access::dense_part(self.facts.graph, node)
        {
            (base, offset) = (operand, offset + first);
        }
        if base != value {
            self.plan.views.insert(value, (base, offset));
        }
        self.need_store(base);
    }

    fn need_store(&mut self, value: ValueId) {
        if self.facts.kind(value).is_some_and(Kind::is_inlineable) {
            let is_constant = self.facts.constant[value.index()];
            let list = if is_constant { &mut self.plan.constants } else { &mut self.plan.stored };
            list.insert(value);
        }
    }

    /// Makes sure that the operands of an op are buffers or strided views of buffers.
    fn need_operands(&mut self, id: NodeId) {
        let node = self.facts.graph.node(id);
        for &operand in node.operands.iter().flatten() {
            let is_stored = |v| self.plan.stored.contains(&v);
            match super::anchor::strided_view(self.facts, node, operand, &is_stored) {
                Some(view) => self.need_store(view.base),
                None => self.need_buffer(operand),
            }
        }
    }
}
