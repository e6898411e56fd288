//! Trees going down: what the ops of tree ensembles have in common.
//!
//! All trees go down one level at a time for all rows: a step gathers the feature, threshold and comparison of the node at
//! which each row is in each tree, and leaves lead to themselves. There are as many steps as the deepest tree has levels.

use super::prelude::*;
use ic_ir::eval::from_reals;
use ic_ir::ops::{GatherElements, ReduceFn, Softmax};
use std::collections::BTreeMap;

/// How a node compares a feature with its threshold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Mode {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
    /// Whether the feature is in the node's set.
    Member,
}

pub(super) const MODES: [Mode; 7] =
    [Mode::AtMost, Mode::Below, Mode::AtLeast, Mode::Above, Mode::Equal, Mode::NotEqual, Mode::Member];

/// Trees whose nodes come first, then their leaves.
pub(super) struct Trees {
    pub(super) dtype: DType,
    pub(super) features: Vec<i64>,
    pub(super) splits: Vec<f64>,
    pub(super) modes: Vec<Mode>,
    /// Where a node leads if the comparison holds, and if not; counted over nodes and leaves.
    pub(super) next: [Vec<i64>; 2],
    /// Whether NaN counts as if the comparison held.
    pub(super) missing: Vec<bool>,
    /// For each node that asks for membership, its set.
    pub(super) sets: BTreeMap<usize, Vec<f64>>,
    /// For each leaf, its weight for each target; `None` where it has none.
    pub(super) leaves: Vec<Vec<Option<f64>>>,
    pub(super) roots: Vec<i64>,
    pub(super) n_targets: usize,
}

impl Trees {
    /// Fails unless all lists have one element a node and everything that they name is there.
    fn check(&self) -> Result<()> {
        let n = self.features.len();
        let lengths = [self.splits.len(), self.modes.len(), self.next[0].len(), self.next[1].len(), self.missing.len()];
        let all = (n + self.leaves.len()) as i64;
        let inside = |&at: &i64| (0..all).contains(&at);
        let fits = lengths.iter().all(|&length| length == n)
            && self.next.iter().flatten().all(inside)
            && self.roots.iter().all(inside)
            && self.features.iter().all(|&feature| feature >= 0)
            && !self.leaves.is_empty();
        if fits { Ok(()) } else { Err(invalid!("the lists of nodes do not describe trees")) }
    }

    /// Levels of the deepest tree.
    fn depth(&self) -> Result<usize> {
        let (n, mut level, mut depth) = (self.features.len(), self.roots.clone(), 0);
        loop {
            level.sort_unstable();
            level.dedup();
            level.retain(|&at| (at as usize) < n);
            if level.is_empty() {
                return Ok(depth);
            }
            if depth > n {
                return Err(invalid!("a node leads back to itself"));
            }
            level = level.iter().flat_map(|&at| self.next.each_ref().map(|next| next[at as usize])).collect();
            depth += 1;
        }
    }
}

/// The aggregated weights `[rows, targets]` of the leaves that rows `x` reach.
pub(super) fn predicted(cx: &mut Context, x: ValueId, trees: &Trees, aggregate: &str) -> Result<ValueId> {
    trees.check()?;
    let ty = cx.ty(x)?;
    let [rows, features] = &ty.shape[..] else { return Err(invalid!("`X` must have rank 2, found {ty}")) };
    let last = trees.features.iter().max().copied().unwrap_or(0);
    if features.as_const().is_some_and(|features| last >= features) {
        return Err(invalid!("feature {last} is outside of {features}"));
    }
    let x =
        if ty.dtype.is_float() && ty.dtype != trees.dtype || ty.dtype.is_int() { cx.cast(x, trees.dtype)? } else { x };
    let n = trees.features.len();
    let leaf_places = (0..trees.leaves.len()).map(|leaf| (n + leaf) as i64);
    let with_leaves = |list: &[i64]| list.iter().copied().chain(leaf_places.clone()).collect::<Vec<i64>>();
    let padded = |list: &[i64]| list.iter().copied().chain(leaf_places.clone().map(|_| 0)).collect::<Vec<i64>>();
    let tables = Tables {
        features: cx.vector(padded(&trees.features))?,
        splits: table(cx, trees, trees.splits.clone())?,
        next: [cx.vector(with_leaves(&trees.next[0]))?, cx.vector(with_leaves(&trees.next[1]))?],
        modes: cx.vector(padded(&trees.modes.iter().map(|&mode| mode as i64).collect::<Vec<_>>()))?,
        missing: cx.vector((0..n + trees.leaves.len()).map(|i| trees.missing.get(i) == Some(&true)).collect())?,
    };
    let roots = cx.vector(trees.roots.clone())?;
    let mut at = cx.expand(roots, vec![rows.clone(), Dim::constant(trees.roots.len() as i64)])?;
    for _ in 0..trees.depth()? {
        at = descend(cx, x, trees, &tables, at)?;
    }
    let leaf = cx.with_scalar(ScalarOp::Sub, at, n as f64)?;
    aggregated(cx, trees, leaf, aggregate)
}

/// Nodes and leaves by place.
struct Tables {
    features: ValueId,
    splits: ValueId,
    next: [ValueId; 2],
    modes: ValueId,
    missing: ValueId,
}

/// One number for each node, and 0 for each leaf.
fn table(cx: &mut Context, trees: &Trees, mut numbers: Vec<f64>) -> Result<ValueId> {
    numbers.resize(numbers.len() + trees.leaves.len(), 0.0);
    cx.constant(from_reals(trees.dtype, vec![numbers.len()], numbers)?)
}

/// The places one level below `at`, `[rows, trees]`.
fn descend(cx: &mut Context, x: ValueId, trees: &Trees, tables: &Tables, at: ValueId) -> Result<ValueId> {
    let feature = cx.gather(tables.features, at, 0)?;
    let value = cx.push(GatherElements { axis: 1 }, &[x, feature])?;
    let split = cx.gather(tables.splits, at, 0)?;
    let mut present = trees.modes.clone();
    present.sort_unstable();
    present.dedup();
    let mut holds = None;
    for &mode in &present {
        let this = compared(cx, trees, mode, value, split, at)?;
        holds = Some(match holds {
            None => this,
            Some(others) => {
                let modes = cx.gather(tables.modes, at, 0)?;
                let is_it = cx.with_scalar(ScalarOp::Eq, modes, mode as i64 as f64)?;
                cx.select(is_it, this, others)?
            }
        });
    }
    let mut holds = holds.ok_or_else(|| invalid!("there are no nodes"))?;
    if trees.missing.contains(&true) {
        let tracks = cx.gather(tables.missing, at, 0)?;
        let is_nan = cx.unary(ScalarOp::IsNan, value)?;
        let counts = cx.binary(ScalarOp::And, is_nan, tracks)?;
        holds = cx.binary(ScalarOp::Or, holds, counts)?;
    }
    let (then, otherwise) = (cx.gather(tables.next[0], at, 0)?, cx.gather(tables.next[1], at, 0)?);
    cx.select(holds, then, otherwise)
}

/// Whether a comparison holds where it is the node's.
fn compared(
    cx: &mut Context,
    trees: &Trees,
    mode: Mode,
    value: ValueId,
    split: ValueId,
    at: ValueId,
) -> Result<ValueId> {
    let relation = match mode {
        Mode::AtMost => ScalarOp::Le,
        Mode::Below => ScalarOp::Lt,
        Mode::AtLeast => ScalarOp::Ge,
        Mode::Above => ScalarOp::Gt,
        Mode::Equal => ScalarOp::Eq,
        Mode::NotEqual => {
            let equal = cx.binary(ScalarOp::Eq, value, split)?;
            return cx.unary(ScalarOp::Not, equal);
        }
        Mode::Member => return is_member(cx, trees, value, at),
    };
    cx.binary(relation, value, split)
}

/// Whether values are in the sets of their nodes: rows of a table that ends in NaNs, which equal nothing.
fn is_member(cx: &mut Context, trees: &Trees, value: ValueId, at: ValueId) -> Result<ValueId> {
    let all = trees.features.len() + trees.leaves.len();
    let width = trees.sets.values().map(Vec::len).max().unwrap_or(0).max(1);
    let mut rows = vec![f64::NAN; all * width];
    for (&node, set) in &trees.sets {
        rows[node * width..node * width + set.len()].copy_from_slice(set);
    }
    let table = cx.constant(from_reals(trees.dtype, vec![all, width], rows)?)?;
    let set = cx.gather(table, at, 0)?;
    let value = cx.unsqueeze(value, &[2])?;
    let equal = cx.binary(ScalarOp::Eq, value, set)?;
    let any = cx.reduce(ReduceFn::Any, equal, vec![2])?;
    cx.squeeze(any, &[2])
}

/// The weights of the leaves `[rows, trees]`, put together over trees; targets that no leaf has are 0.
fn aggregated(cx: &mut Context, trees: &Trees, leaf: ValueId, aggregate: &str) -> Result<ValueId> {
    let shape = vec![trees.leaves.len(), trees.n_targets];
    let (function, absent) = match aggregate {
        "SUM" | "AVERAGE" => (ReduceFn::Sum, 0.0),
        "MIN" => (ReduceFn::Min, f64::INFINITY),
        "MAX" => (ReduceFn::Max, f64::NEG_INFINITY),
        other => return Err(invalid!("attribute `aggregate_function` is `{other}`")),
    };
    let weights = trees.leaves.iter().flatten().map(|weight| weight.unwrap_or(absent)).collect();
    let table = cx.constant(from_reals(trees.dtype, shape, weights)?)?;
    let weights = cx.gather(table, leaf, 0)?;
    let y = cx.reduce(function, weights, vec![1])?;
    let y = cx.squeeze(y, &[1])?;
    match aggregate {
        "SUM" => Ok(y),
        "AVERAGE" => cx.with_scalar(ScalarOp::Div, y, trees.roots.len() as f64),
        _ => {
            let is_absent = cx.unary(ScalarOp::IsInf, y)?;
            let zero = cx.scalar_like(y, 0.0)?;
            cx.select(is_absent, zero, y)
        }
    }
}

pub(super) fn transformed(cx: &mut Context, y: ValueId, transform: &str) -> Result<ValueId> {
    match transform {
        "NONE" => Ok(y),
        "SOFTMAX" => cx.push(Softmax { axis: -1 }, &[y]),
        "LOGISTIC" => cx.unary(ScalarOp::Sigmoid, y),
        "SOFTMAX_ZERO" => {
            let shares = cx.push(Softmax { axis: -1 }, &[y])?;
            let is_zero = cx.with_scalar(ScalarOp::Eq, y, 0.0)?;
            cx.select(is_zero, y, shares)
        }
        other => Err(unsupported!("the transform `{other}` is not supported")),
    }
}
