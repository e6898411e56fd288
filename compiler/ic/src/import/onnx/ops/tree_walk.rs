//! What the ops of tree ensembles have in common: trees as ONNX-ML has them, and the core op that they become.

use super::prelude::*;
use ic_ir::eval::{from_ints, from_reals};
use ic_ir::ops::{Softmax, TreeEnsemble, TreeFn, key_f32, key_f64};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How a node compares a feature with its threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
            && self.features.iter().all(|&feature| (0..i64::from(i32::MAX)).contains(&feature))
            && all < i64::from(i32::MAX >> 3)
            && !self.leaves.is_empty();
        if fits { Ok(()) } else { Err(invalid!("the lists of nodes do not describe trees")) }
    }

    /// Whether features are f64.
    fn is_wide(&self) -> bool {
        self.dtype == DType::F64
    }

    /// The least key of all, that of NaN, and one of no number.
    fn least_nan_none(&self) -> [i64; 3] {
        if self.is_wide() {
            [i64::MIN, i64::MAX, i64::MAX - 1]
        } else {
            [i32::MIN.into(), i32::MAX.into(), i64::from(i32::MAX) - 1]
        }
    }

    /// The range of keys for which a comparison with `split` holds, as its first key and how many follow.
    fn range(&self, mode: Mode, split: f64, missing: bool) -> [i64; 2] {
        let [least, nan, none] = self.least_nan_none();
        let key = if self.is_wide() { key_f64(split) } else { key_f32(split as f32).into() };
        // Keys go round: NaN, the greatest, comes before the least.
        let (first, last) = (if missing { nan } else { least }, if missing { nan } else { nan - 1 });
        let [from, to] = match mode {
            Mode::NotEqual if split.is_nan() => [least, nan],
            _ if split.is_nan() => {
                if missing {
                    [nan, nan]
                } else {
                    [none, none]
                }
            }
            Mode::AtMost => [first, key],
            Mode::Below => [first, key - 1],
            Mode::AtLeast => [key, last],
            Mode::Above => [key + 1, last],
            Mode::Equal | Mode::Member => [key, key],
            Mode::NotEqual => [key + 1, key - 1],
        };
        [from, to.wrapping_sub(from)]
    }

    /// The comparisons that decide node `i`: it leads to its first child where one of them holds. There is at least one.
    fn comparisons(&self, i: usize) -> Vec<[i64; 2]> {
        let (mode, missing) = (self.modes[i], self.missing[i]);
        let [_, nan, none] = self.least_nan_none();
        let mut ranges = match mode {
            Mode::Member => self.sets.get(&i).into_iter().flatten().map(|&x| self.range(mode, x, false)).collect(),
            Mode::Equal => vec![self.range(mode, self.splits[i], false)],
            _ => return vec![self.range(mode, self.splits[i], missing)],
        };
        if missing {
            ranges.push([nan, 0]);
        }
        ranges.sort_unstable();
        ranges.dedup();
        if ranges.is_empty() { vec![[none, 0]] } else { ranges }
    }

    /// Nodes as `TreeEnsemble` has them, tree by tree and level by level, and the roots among them.
    fn table(&self) -> (Vec<[i64; 4]>, Vec<i64>) {
        let n = self.features.len();
        // Whatever the key.
        let (least, always) = (self.least_nan_none()[0], -1);
        let mut places = HashMap::new();
        let (mut nodes, mut roots, mut waiting) = (Vec::new(), Vec::new(), VecDeque::new());
        for &root in &self.roots {
            roots.push(nodes.len() as i64);
            waiting.push_back((nodes.len(), root as usize));
            nodes.push([0; 4]);
            while let Some((at, i)) = waiting.pop_front() {
                if let Some(&place) = places.get(&i) {
                    nodes[at] = [place, 0, least, always];
                    continue;
                }
                places.insert(i, at as i64);
                if i >= n {
                    nodes[at] = [at as i64, 0, (i - n) as i64, always];
                    continue;
                }
                let (mut at, comparisons) = (at, self.comparisons(i));
                for (j, &[from, span]) in comparisons.iter().enumerate() {
                    let lead = nodes.len();
                    nodes.extend([[0; 4]; 2]);
                    nodes[at] = [lead as i64, self.features[i], from, span];
                    waiting.push_back((lead, self.next[0][i] as usize));
                    if j + 1 == comparisons.len() {
                        waiting.push_back((lead + 1, self.next[1][i] as usize));
                    }
                    at = lead + 1;
                }
            }
        }
        (nodes, roots)
    }
}

/// Steps from a root to the deepest leaf.
///
/// # Errors
/// If a node leads back to itself.
fn depth(nodes: &[[i64; 4]], roots: &[i64]) -> Result<usize> {
    let (mut level, mut depth) = (roots.to_vec(), 0);
    loop {
        level.sort_unstable();
        level.dedup();
        level.retain(|&at| nodes[at as usize][0] != at);
        if level.is_empty() {
            return Ok(depth);
        }
        if depth > nodes.len() {
            return Err(invalid!("a node leads back to itself"));
        }
        // What always holds has no second child.
        let children = |&at: &i64| {
            let [lead, _, _, span] = nodes[at as usize];
            (lead..=lead + i64::from(span != -1)).collect::<Vec<_>>()
        };
        level = level.iter().flat_map(children).collect();
        depth += 1;
    }
}

/// The aggregated weights `[rows, targets]` of the leaves that rows `x` reach.
pub(super) fn predicted(cx: &mut Context, x: ValueId, trees: &Trees, aggregate: &str) -> Result<ValueId> {
    trees.check()?;
    let ty = cx.ty(x)?;
    let [_, features] = &ty.shape[..] else { return Err(invalid!("`X` must have rank 2, found {ty}")) };
    let last = trees.features.iter().max().copied().unwrap_or(0);
    if !trees.features.is_empty() && features.as_const().is_some_and(|features| last >= features) {
        return Err(invalid!("feature {last} is outside of {features}"));
    }
    let function = match aggregate {
        "SUM" | "AVERAGE" => TreeFn::Sum,
        "MIN" => TreeFn::Min,
        "MAX" => TreeFn::Max,
        other => return Err(invalid!("attribute `aggregate_function` is `{other}`")),
    };
    let (float, integer) = if trees.is_wide() { (DType::F64, DType::I64) } else { (DType::F32, DType::I32) };
    let (nodes, roots) = trees.table();
    let op = TreeEnsemble { function, depth: depth(&nodes, &roots)?, targets: trees.n_targets };
    let (weights, targets) = weights(trees);
    let n_leaves = trees.leaves.len();
    let integers = |cx: &mut Context, shape: Vec<usize>, list: Vec<i64>| {
        cx.constant(from_ints(integer, shape, list.into_iter().map(i128::from).collect())?)
    };
    let mut operands = vec![
        cx.cast(x, float)?,
        integers(cx, vec![nodes.len(), 4], nodes.concat())?,
        integers(cx, vec![roots.len()], roots)?,
        cx.constant(from_reals(float, vec![n_leaves, weights.len() / n_leaves], weights)?)?,
    ];
    if let Some(targets) = targets {
        operands.push(integers(cx, vec![n_leaves, targets.len() / n_leaves], targets)?);
    }
    let y = cx.push(op, &operands)?;
    let y = cx.cast(y, trees.dtype)?;
    if aggregate == "AVERAGE" { cx.with_scalar(ScalarOp::Div, y, trees.roots.len() as f64) } else { Ok(y) }
}

/// The weights of all leaves, as many of each, and their targets unless each leaf has one for every target.
fn weights(trees: &Trees) -> (Vec<f64>, Option<Vec<i64>>) {
    let given = |leaf: &[Option<f64>]| leaf.iter().flatten().count();
    if trees.leaves.iter().all(|leaf| given(leaf) == trees.n_targets) {
        return (trees.leaves.iter().flatten().flatten().copied().collect(), None);
    }
    let k = trees.leaves.iter().map(|leaf| given(leaf)).max().unwrap_or(0);
    let padded = |leaf: &[Option<f64>]| {
        let given = leaf.iter().enumerate().filter_map(|(target, weight)| weight.map(|weight| (weight, target as i64)));
        given.chain(std::iter::repeat((0.0, -1))).take(k).collect::<Vec<_>>()
    };
    let (weights, targets) = trees.leaves.iter().flat_map(|leaf| padded(leaf)).unzip();
    (weights, Some(targets))
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
