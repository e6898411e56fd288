//! Row kernels: reductions, softmax and normalizations, with pointwise values on the same rows before and after.
//!
//! The outer axes are those that stay, the inner ones those that are folded. A value that several stages read and that
//! is not itself in a buffer becomes a stage of its own: a temporary of one row.

use super::access;
use super::anchor;
use super::emit::{Emitter, Misaligned, Staged, Target, compute_dtype};
use super::facts::{Facts, Kind};
use ic_ir::kernel::{Anchor, Axis, Expr, ExprId, Index, Stage};
use ic_ir::ops::{Op, axis_of};
use ic_ir::scalar::{ReduceFn, ScalarOp};
use ic_ir::{Graph, Node, NodeId, ValueId};
use ic_types::{DType, Dim};

/// The space of a row kernel: a shape and which of its axes are folded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RowSpace {
    shape: Vec<Dim>,
    folded: Vec<bool>,
}

impl RowSpace {
    /// The space over which a row op works.
    pub(crate) fn of(graph: &Graph, node: &Node) -> RowSpace {
        let shape = node.operands[0].map_or(Vec::new(), |v| graph.tensor_ty(v).shape.clone());
        let rank = shape.len();
        let from = |axis| axis_of(axis, rank).unwrap_or(0);
        let folded = |axis: usize| match &node.op {
            Op::Reduce(op) => op.axes.contains(&axis),
            Op::Softmax(op) => axis == from(op.axis),
            Op::LayerNormalization(op) => axis >= from(op.axis),
            Op::RmsNormalization(op) => axis >= from(op.axis),
            _ => false,
        };
        let folded = (0..rank).map(folded).collect();
        RowSpace { shape, folded }
    }

    fn axes(&self, folded: bool) -> Vec<Dim> {
        let axes = self.shape.iter().zip(&self.folded).filter(|(extent, f)| **f == folded && !extent.is(1));
        axes.map(|(extent, _)| extent.clone()).collect()
    }

    /// Extents of the outer axes.
    pub(crate) fn outer(&self) -> Vec<Dim> {
        self.axes(false)
    }

    /// Extents of the inner axes; never empty.
    pub(crate) fn inner(&self) -> Vec<Dim> {
        let inner = self.axes(true);
        if inner.is_empty() { vec![Dim::constant(1)] } else { inner }
    }

    /// Number of elements.
    pub(crate) fn elements(&self) -> Dim {
        self.shape.iter().cloned().product()
    }

    /// Number of rows.
    pub(crate) fn n_rows(&self) -> Dim {
        self.outer().into_iter().product()
    }

    /// Whether neighbours in memory are in different rows.
    pub(crate) fn is_strided(&self) -> bool {
        let mut axes = self.shape.iter().zip(&self.folded).rev();
        axes.find(|(extent, _)| !extent.is(1)).is_some_and(|(_, folded)| !folded)
    }

    /// Whether the last axis alone is folded.
    pub(crate) fn is_last_axis(&self) -> bool {
        self.folded.iter().rev().enumerate().all(|(i, folded)| *folded == (i == 0))
    }

    /// Whether a row op folds the same rows.
    pub(crate) fn has_rows_of(&self, graph: &Graph, node: &Node) -> bool {
        let other = RowSpace::of(graph, node);
        let product = |axes: Vec<Dim>| axes.into_iter().product::<Dim>();
        let same_sizes = self.n_rows() == other.n_rows() && product(self.inner()) == product(other.inner());
        *self == other || same_sizes && self.is_trailing() && other.is_trailing()
    }

    /// Whether the folded axes are the last ones.
    fn is_trailing(&self) -> bool {
        let mut axes = self.shape.iter().zip(&self.folded).filter(|(extent, _)| !extent.is(1)).map(|(_, f)| *f);
        axes.by_ref().find(|folded| *folded).is_some() && axes.all(|folded| folded)
    }

    /// The element of the space at a point of the kernel.
    fn point(&self) -> Vec<Index> {
        let n_outer = self.outer().len();
        let (mut outer, mut inner) = (0..n_outer, n_outer..);
        let axes = self.shape.iter().zip(&self.folded);
        axes.map(|(extent, folded)| match (extent.is(1), folded) {
            (true, _) => Index::default(),
            (false, true) => inner.next().map_or_else(Index::default, Index::axis),
            (false, false) => outer.next().map_or_else(Index::default, Index::axis),
        })
        .collect()
    }

    /// The element of a value of `shape` at a point: along the rows, or one per row.
    fn element(&self, shape: &[Dim]) -> Option<Vec<Index>> {
        let elements: Dim = shape.iter().cloned().product();
        let extents = [self.outer(), self.inner()].concat();
        if elements == self.elements() {
            Some(access::reshape(&self.point(), &self.shape, shape, &extents))
        } else if elements == self.n_rows() {
            let outer = self.outer();
            Some(access::reshape(&access::domain(&outer), &outer, shape, &extents))
        } else {
            None
        }
    }
}

/// Checks that a region can be one row kernel that stores `roots`.
pub(crate) fn trial(facts: &Facts, space: &RowSpace, nodes: &[NodeId], roots: &[ValueId]) -> Result<(), Misaligned> {
    let results: Vec<ValueId> = nodes.iter().map(|&id| facts.graph.node(id).results[0]).collect();
    let is_buffer = |v: ValueId| !results.contains(&v);
    let roots: Vec<_> = roots.iter().map(|&root| (root, Target::of(root))).collect();
    emit(facts, space, nodes, &roots, &is_buffer).map(|_| ())
}

/// Checks that an op with an epilogue that ends in `sum`, and what folds its rows, can be one kernel.
pub(crate) fn trial_after(
    facts: &Facts,
    space: &RowSpace,
    (op, nodes): (&[NodeId], &[NodeId]),
    sum: ValueId,
    roots: &[ValueId],
) -> Result<(), Misaligned> {
    let results: Vec<ValueId> = op.iter().chain(nodes).map(|&id| facts.graph.node(id).results[0]).collect();
    let is_buffer = |v: ValueId| !results.contains(&v);
    let roots: Vec<_> = roots.iter().map(|&root| (root, Target::of(root))).collect();
    emit_after(facts, space, (op, nodes), (sum, &roots), (&is_buffer, &|_| true)).map(|_| ())
}

/// Emits an op, the first of `op`, with its epilogue, which ends in `sum`, and the stages of `nodes` on its rows.
pub(crate) fn emit_after<'a>(
    facts: &'a Facts,
    space: &RowSpace,
    (op, nodes): (&[NodeId], &[NodeId]),
    (sum, roots): (ValueId, &[(ValueId, Target)]),
    (is_buffer, is_stored): (&'a dyn Fn(ValueId) -> bool, &dyn Fn(ValueId) -> bool),
) -> Result<Emitter<'a>, Misaligned> {
    let extents = [space.outer(), space.inner()].concat();
    let mut rows = Rows { space, emitter: Emitter::new(facts.graph, is_buffer, extents) };
    let node = facts.graph.node(op[0]);
    let (product, dtype) = (node.results[0], facts.graph.dtype(node.results[0]));
    let operands = anchor::operands(facts, &mut rows.emitter, node, is_stored);
    let anchor = Anchor::Op { op: node.op.clone(), operands, results: vec![None; node.results.len()] };
    let stage = Stage { inner: rows.inner(), anchor, body: Vec::new(), stores: Vec::new() };
    rows.emitter.push_stage(stage, dtype);
    let at = rows.element(product)?;
    rows.emitter.set_staged(product, Staged::Result(0), at);
    rows.stage_sum(sum, roots)?;
    rows.stage_nodes(facts, nodes)?;
    for (root, target) in roots.iter().filter(|(root, _)| *root != sum) {
        rows.store(*root, target)?;
    }
    Ok(rows.emitter)
}

/// Emits the stages of a row kernel that stores `roots`.
pub(crate) fn emit<'a>(
    facts: &'a Facts,
    space: &RowSpace,
    nodes: &[NodeId],
    roots: &[(ValueId, Target)],
    is_buffer: &'a dyn Fn(ValueId) -> bool,
) -> Result<Emitter<'a>, Misaligned> {
    let extents = [space.outer(), space.inner()].concat();
    let mut rows = Rows { space, emitter: Emitter::new(facts.graph, is_buffer, extents) };
    rows.stage_nodes(facts, nodes)?;
    for (root, target) in roots {
        rows.store(*root, target)?;
    }
    Ok(rows.emitter)
}

struct Rows<'a, 's> {
    space: &'s RowSpace,
    emitter: Emitter<'a>,
}

impl Rows<'_, '_> {
    /// Emits the folds of nodes, and what several of them share.
    fn stage_nodes(&mut self, facts: &Facts, nodes: &[NodeId]) -> Result<(), Misaligned> {
        for &id in nodes {
            let node = facts.graph.node(id);
            if facts.kinds[id.index()] == Kind::Rows {
                self.stage_operand(facts, node, nodes)?;
                self.fold(node)?;
            }
            self.stage_shared(facts, node.results[0], nodes)?;
        }
        Ok(())
    }

    /// Makes a stage of what an op's epilogue ends in.
    fn stage_sum(&mut self, sum: ValueId, roots: &[(ValueId, Target)]) -> Result<(), Misaligned> {
        let (at, dtype) = (self.element(sum)?, self.emitter.graph.dtype(sum));
        let root = self.emitter.value(sum, &at, &[])?;
        let target = roots.iter().find(|(root, _)| *root == sum);
        let stores = target.map(|(_, target)| self.emitter.store(root, &at, target)).into_iter().collect();
        let stage = self.emitter.finish_stage(self.inner(), Anchor::Pointwise, (root, dtype), stores);
        self.emitter.set_staged(sum, Staged::Result(stage), at);
        Ok(())
    }

    fn inner(&self) -> Vec<Axis> {
        self.space.inner().into_iter().map(|extent| Axis { extent }).collect()
    }

    fn element(&self, value: ValueId) -> Result<Vec<Index>, Misaligned> {
        self.space.element(&self.emitter.graph.tensor_ty(value).shape).ok_or(Misaligned)
    }

    /// Whether there is one element of the value per row.
    fn is_per_row(&self, value: ValueId) -> bool {
        let elements = self.emitter.graph.tensor_ty(value).elements();
        elements == self.space.n_rows() && elements != self.space.elements()
    }

    /// Emits the value's element at the point, as a type.
    fn value_as(&mut self, value: ValueId, dtype: DType) -> Result<ExprId, Misaligned> {
        let at = self.element(value)?;
        let element = self.emitter.value(value, &at, &[])?;
        Ok(self.emitter.cast(element, self.emitter.graph.dtype(value), dtype))
    }

    /// Makes a stage of a row op's operand if more than one pass reads it and it takes more than a load.
    fn stage_operand(&mut self, facts: &Facts, node: &Node, nodes: &[NodeId]) -> Result<(), Misaligned> {
        let operand = node.operands[0].ok_or(Misaligned)?;
        let others = facts.users[operand.index()].iter().filter(|user| nodes.contains(user)).count() > 1;
        if others || !matches!(node.op, Op::Reduce(_)) { self.stage(operand) } else { Ok(()) }
    }

    /// Makes a stage of a member that more than one node of the kernel reads, or of a function of one element per row.
    fn stage_shared(&mut self, facts: &Facts, value: ValueId, nodes: &[NodeId]) -> Result<(), Misaligned> {
        let users = facts.users[value.index()].iter().filter(|user| nodes.contains(user)).count();
        if users > 1 || users == 1 && self.is_per_row(value) { self.stage(value) } else { Ok(()) }
    }

    /// Makes a stage of a value unless it is a load or a result of a stage anyway.
    fn stage(&mut self, value: ValueId) -> Result<(), Misaligned> {
        let (at, dtype) = (self.element(value)?, self.emitter.graph.dtype(value));
        let root = self.emitter.value(value, &at, &[])?;
        let simple = self.emitter.body.iter().all(|expr| match expr {
            Expr::Load(load) => load.gathered.is_empty() && load.bounds.is_empty(),
            Expr::Const(..) | Expr::Stage(_) | Expr::Cast(..) => true,
            Expr::Apply(..) | Expr::Index(_) => false,
        });
        if simple {
            self.emitter.drop_body();
            return Ok(());
        }
        let inner = if self.is_per_row(value) { Vec::new() } else { self.inner() };
        let stage = self.emitter.finish_stage(inner, Anchor::Pointwise, (root, dtype), Vec::new());
        self.emitter.set_staged(value, Staged::Result(stage), at);
        Ok(())
    }

    /// Emits the folds of a row op, so that its result follows from stages.
    fn fold(&mut self, node: &Node) -> Result<(), Misaligned> {
        let (x, result) = (node.operands[0].ok_or(Misaligned)?, node.results[0]);
        let staged = match &node.op {
            Op::Reduce(op) => self.reduce(x, op.function)?,
            Op::Softmax(_) => self.softmax(x)?,
            Op::LayerNormalization(op) => {
                let wide = compute_dtype(self.emitter.graph.dtype(x));
                let root = self.value_as(x, wide)?;
                let mean = self.fold_stage(ReduceFn::Mean, (root, wide));
                self.normalized(node, op.axis, op.epsilon.0, Some(mean))?
            }
            Op::RmsNormalization(op) => self.normalized(node, op.axis, op.epsilon.0, None)?,
            _ => return Err(Misaligned),
        };
        let at = self.element(result)?;
        self.emitter.set_staged(result, staged, at);
        Ok(())
    }

    fn fold_stage(&mut self, function: ReduceFn, root: (ExprId, DType)) -> u32 {
        self.emitter.finish_stage(self.inner(), Anchor::Reduce(function), root, Vec::new())
    }

    fn reduce(&mut self, x: ValueId, function: ReduceFn) -> Result<Staged, Misaligned> {
        let dtype = self.emitter.graph.dtype(x);
        // Sums of narrow integers keep their low bits, and means must not wrap before the division.
        let widens = matches!(function, ReduceFn::Sum | ReduceFn::Prod | ReduceFn::Mean) && dtype.is_int();
        let wide = match dtype {
            DType::U64 => DType::U64,
            _ if widens => DType::I64,
            _ => compute_dtype(dtype),
        };
        let function = match (function, dtype) {
            (ReduceFn::Max, DType::Bool) => ReduceFn::Any,
            (ReduceFn::Min, DType::Bool) => ReduceFn::All,
            _ => function,
        };
        let root = self.value_as(x, wide)?;
        if function != ReduceFn::Mean || wide.is_float() {
            return Ok(Staged::Result(self.fold_stage(function, (root, wide))));
        }
        let sum = self.fold_stage(ReduceFn::Sum, (root, wide));
        let sum = self.emitter.push(Expr::Stage(sum));
        let count = self.emitter.push(Expr::Index(Index::constant(self.space.inner().into_iter().product())));
        let count = self.emitter.cast(count, DType::I64, wide);
        let mean = self.emitter.apply(ScalarOp::Div, &[sum, count]);
        Ok(Staged::Result(self.emitter.finish_stage(Vec::new(), Anchor::Pointwise, (mean, wide), Vec::new())))
    }

    fn softmax(&mut self, x: ValueId) -> Result<Staged, Misaligned> {
        let wide = compute_dtype(self.emitter.graph.dtype(x));
        let root = self.value_as(x, wide)?;
        let max = self.fold_stage(ReduceFn::Max, (root, wide));
        let element = self.value_as(x, wide)?;
        let max = self.emitter.push(Expr::Stage(max));
        let shifted = self.emitter.apply(ScalarOp::Sub, &[element, max]);
        let exp = self.emitter.apply(ScalarOp::Exp, &[shifted]);
        let exp = self.emitter.finish_stage(self.inner(), Anchor::Pointwise, (exp, wide), Vec::new());
        let root = self.emitter.push(Expr::Stage(exp));
        let sum = self.fold_stage(ReduceFn::Sum, (root, wide));
        Ok(Staged::Quotient(exp, sum))
    }

    /// `1 / sqrt(mean((x - mean)²) + epsilon)` per row, and with it the normalized operand.
    fn normalized(&mut self, node: &Node, axis: i64, epsilon: f32, mean: Option<u32>) -> Result<Staged, Misaligned> {
        let x = node.operands[0].ok_or(Misaligned)?;
        let wide = compute_dtype(self.emitter.graph.dtype(x));
        let mut element = self.value_as(x, wide)?;
        if let Some(mean) = mean {
            let mean = self.emitter.push(Expr::Stage(mean));
            element = self.emitter.apply(ScalarOp::Sub, &[element, mean]);
        }
        let square = self.emitter.apply(ScalarOp::Mul, &[element, element]);
        let variance = self.fold_stage(ReduceFn::Mean, (square, wide));
        let variance = self.emitter.push(Expr::Stage(variance));
        let epsilon = self.emitter.number(wide, f64::from(epsilon));
        let sum = self.emitter.apply(ScalarOp::Add, &[variance, epsilon]);
        let deviation = self.emitter.apply(ScalarOp::Sqrt, &[sum]);
        let factor = self.emitter.apply(ScalarOp::Reciprocal, &[deviation]);
        let factor = self.emitter.finish_stage(Vec::new(), Anchor::Pointwise, (factor, wide), Vec::new());
        let axis = axis_of(axis, self.emitter.graph.tensor_ty(x).rank()).map_err(|_| Misaligned)?;
        Ok(Staged::Normalized { mean, factor, axis })
    }

    /// Whether a stage has one result per row.
    fn is_one_per_row(&self, stage: u32) -> bool {
        let stage = &self.emitter.stages[stage as usize];
        stage.inner.is_empty() || matches!(stage.anchor, Anchor::Reduce(_))
    }

    /// Stores a value, in the stage that computes it if it has just that.
    fn store(&mut self, value: ValueId, target: &Target) -> Result<(), Misaligned> {
        let (at, dtype) = (self.element(value)?, self.emitter.graph.dtype(value));
        let root = self.emitter.value(value, &at, &[])?;
        let is_row = self.emitter.graph.tensor_ty(value).elements() == self.space.n_rows();
        if let [Expr::Stage(stage)] = self.emitter.body[..]
            && (is_row || !self.is_one_per_row(stage))
        {
            let last = self.emitter.stages[stage as usize].body.len().saturating_sub(1) as ExprId;
            let store = self.emitter.store(last, &at, target);
            self.emitter.drop_body();
            self.emitter.stages[stage as usize].stores.push(store);
            return Ok(());
        }
        let inner = if self.is_per_row(value) { Vec::new() } else { self.inner() };
        let store = self.emitter.store(root, &at, target);
        self.emitter.finish_stage(inner, Anchor::Pointwise, (root, dtype), vec![store]);
        Ok(())
    }
}
