//! ONNX-ML tree ensembles: `TreeEnsemble`, `TreeEnsembleRegressor`.
//!
//! All trees go down one level at a time for all rows: a step gathers the feature, threshold and comparison of the node at
//! which each row is in each tree, and leaves lead to themselves. There are as many steps as the deepest tree has levels.

use super::prelude::*;
use crate::import::onnx::tensor::literal;
use ic_ir::eval::{from_reals, ints, reals};
use ic_ir::ops::{GatherElements, ReduceFn, Softmax};
use std::collections::{BTreeMap, HashMap};

pub(super) const OPS: &[super::Row] =
    &[("ai.onnx.ml", "TreeEnsemble", tree_ensemble), ("ai.onnx.ml", "TreeEnsembleRegressor", tree_ensemble_regressor)];

/// How a node compares a feature with its threshold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mode {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
    /// Whether the feature is in the node's set.
    Member,
}

const MODES: [Mode; 7] =
    [Mode::AtMost, Mode::Below, Mode::AtLeast, Mode::Above, Mode::Equal, Mode::NotEqual, Mode::Member];

/// Trees whose nodes come first, then their leaves.
struct Trees {
    dtype: DType,
    features: Vec<i64>,
    splits: Vec<f64>,
    modes: Vec<Mode>,
    /// Where a node leads if the comparison holds, and if not; counted over nodes and leaves.
    next: [Vec<i64>; 2],
    /// Whether NaN counts as if the comparison held.
    missing: Vec<bool>,
    /// For each node that asks for membership, its set.
    sets: BTreeMap<usize, Vec<f64>>,
    /// For each leaf, its weight for each target; `None` where it has none.
    leaves: Vec<Vec<Option<f64>>>,
    roots: Vec<i64>,
    n_targets: usize,
}

/// Targets beyond which a model is refused.
const MAX_TARGETS: i64 = 1 << 16;

fn numbers(cx: &mut Context, node: &NodeView, name: &str) -> Result<Option<Tensor>> {
    let Some(proto) = node.tensor(name) else { return Ok(None) };
    Ok(Some(literal(proto, &mut cx.files)?.tensor().map_err(|e| invalid!("attribute `{name}`: {e}"))?))
}

fn list<'a>(node: &NodeView<'a>, name: &str) -> Result<&'a [i64]> {
    node.ints(name).ok_or_else(|| invalid!("attribute `{name}` is missing"))
}

fn n_targets(node: &NodeView) -> Result<usize> {
    let n = node.int("n_targets").unwrap_or(1);
    usize::try_from(n).ok().filter(|_| (1..=MAX_TARGETS).contains(&n)).ok_or_else(|| invalid!("`n_targets` is {n}"))
}

/// `TreeEnsemble`, version 5 of the operator set.
fn tree_ensemble(cx: &mut Context, node: &NodeView) -> Results {
    let missing = || invalid!("attributes of the nodes are missing");
    let splits = numbers(cx, node, "nodes_splits")?.ok_or_else(missing)?;
    let modes = ints(&numbers(cx, node, "nodes_modes")?.ok_or_else(missing)?)?;
    let weights = reals(&numbers(cx, node, "leaf_weights")?.ok_or_else(missing)?)?;
    let n = splits.len();
    let mode = |code: &i128| usize::try_from(*code).ok().and_then(|code| MODES.get(code)).copied();
    let modes = modes.iter().map(mode).collect::<Option<Vec<_>>>().ok_or_else(|| invalid!("a mode is unknown"))?;
    let lead = |ids: &str, leaves: &str| -> Result<Vec<i64>> {
        let (ids, leaves) = (list(node, ids)?, list(node, leaves)?);
        Ok(ids.iter().zip(leaves).map(|(&id, &leaf)| if leaf != 0 { n as i64 + id } else { id }).collect())
    };
    let n_targets = n_targets(node)?;
    let mut leaves = vec![vec![None; n_targets]; weights.len()];
    for ((leaf, &target), weight) in leaves.iter_mut().zip(list(node, "leaf_targetids")?).zip(weights) {
        let slot = usize::try_from(target).ok().and_then(|target| leaf.get_mut(target));
        *slot.ok_or_else(|| invalid!("a leaf has target {target} of {n_targets}"))? = Some(weight);
    }
    let values = numbers(cx, node, "membership_values")?.map(|values| reals(&values)).transpose()?;
    let mut values = values.unwrap_or_default().into_iter();
    let mut sets = BTreeMap::new();
    for (i, _) in modes.iter().enumerate().filter(|(_, mode)| **mode == Mode::Member) {
        sets.insert(i, values.by_ref().take_while(|x| !x.is_nan()).collect());
    }
    let trees = Trees {
        dtype: splits.dtype(),
        features: list(node, "nodes_featureids")?.to_vec(),
        splits: reals(&splits)?,
        modes,
        next: [lead("nodes_truenodeids", "nodes_trueleafs")?, lead("nodes_falsenodeids", "nodes_falseleafs")?],
        missing: missing_tracks(node, n),
        sets,
        leaves,
        roots: list(node, "tree_roots")?.to_vec(),
        n_targets,
    };
    let aggregate = match node.int("aggregate_function").unwrap_or(1) {
        0 => "AVERAGE",
        1 => "SUM",
        2 => "MIN",
        3 => "MAX",
        other => return Err(invalid!("attribute `aggregate_function` is {other}")),
    };
    let transform = match node.int("post_transform").unwrap_or(0) {
        0 => "NONE",
        1 => "SOFTMAX",
        2 => "LOGISTIC",
        3 => "SOFTMAX_ZERO",
        4 => "PROBIT",
        other => return Err(invalid!("attribute `post_transform` is {other}")),
    };
    let y = predicted(cx, node.input(0)?, &trees, aggregate)?;
    Ok(vec![transformed(cx, y, transform)?])
}

fn missing_tracks(node: &NodeView, n: usize) -> Vec<bool> {
    let tracks = node.ints("nodes_missing_value_tracks_true").unwrap_or_default();
    (0..n).map(|i| tracks.get(i).is_some_and(|&track| track != 0)).collect()
}

/// `TreeEnsembleRegressor`: nodes are named by tree and number, and a leaf may have several targets.
fn tree_ensemble_regressor(cx: &mut Context, node: &NodeView) -> Results {
    let (tree_ids, node_ids) = (list(node, "nodes_treeids")?, list(node, "nodes_nodeids")?);
    let modes = node.texts("nodes_modes").ok_or_else(|| invalid!("attribute `nodes_modes` is missing"))?;
    let names: Vec<(i64, i64)> = tree_ids.iter().copied().zip(node_ids.iter().copied()).collect();
    let is_leaf = |i: usize| modes.get(i).is_some_and(|mode| mode == "LEAF");
    // Nodes first, then leaves.
    let mut order: Vec<usize> = (0..names.len()).filter(|&i| !is_leaf(i)).collect();
    let n = order.len();
    order.extend((0..names.len()).filter(|&i| is_leaf(i)));
    let places: HashMap<(i64, i64), usize> = order.iter().enumerate().map(|(at, &i)| (names[i], at)).collect();
    let place = |name: (i64, i64)| {
        places.get(&name).map(|&at| at as i64).ok_or_else(|| invalid!("tree {} has no node {}", name.0, name.1))
    };
    let lead = |attribute: &str| -> Result<Vec<i64>> {
        let ids = list(node, attribute)?;
        let id = |&i: &usize| ids.get(i).ok_or_else(|| invalid!("`{attribute}` is too short"));
        order[..n].iter().map(|i| place((names[*i].0, *id(i)?))).collect()
    };
    let mode = |&i: &usize| match modes[i].as_str() {
        "BRANCH_LEQ" => Ok(Mode::AtMost),
        "BRANCH_LT" => Ok(Mode::Below),
        "BRANCH_GTE" => Ok(Mode::AtLeast),
        "BRANCH_GT" => Ok(Mode::Above),
        "BRANCH_EQ" => Ok(Mode::Equal),
        "BRANCH_NEQ" => Ok(Mode::NotEqual),
        other => Err(invalid!("a mode is `{other}`")),
    };
    let wide = numbers(cx, node, "nodes_values_as_tensor")?;
    let dtype = wide.as_ref().map_or(DType::F32, Tensor::dtype);
    let floats = |name: &str| node.floats(name).unwrap_or_default().iter().map(|&x| f64::from(x)).collect();
    let values: Vec<f64> = wide.map_or_else(|| Ok(floats("nodes_values")), |values| reals(&values))?;
    let weights = numbers(cx, node, "target_weights_as_tensor")?;
    let weights: Vec<f64> = weights.map_or_else(|| Ok(floats("target_weights")), |weights| reals(&weights))?;
    let n_targets = n_targets(node)?;
    let mut leaves = vec![vec![None; n_targets]; order.len() - n];
    let targets = list(node, "target_treeids")?.iter().zip(list(node, "target_nodeids")?);
    for (((&tree, &id), &target), weight) in targets.zip(list(node, "target_ids")?).zip(weights) {
        let leaf = usize::try_from(place((tree, id))?).ok().and_then(|at| at.checked_sub(n));
        let slot = leaf.zip(usize::try_from(target).ok()).and_then(|(leaf, target)| leaves[leaf].get_mut(target));
        let slot: &mut Option<f64> = slot.ok_or_else(|| invalid!("target {target} of node {id} has no place"))?;
        *slot = Some(slot.unwrap_or(0.0) + weight);
    }
    let next = [lead("nodes_truenodeids")?, lead("nodes_falsenodeids")?];
    let mut is_child = vec![false; order.len()];
    next.iter().flatten().for_each(|&at| is_child[at as usize] = true);
    let features = list(node, "nodes_featureids")?;
    let of = |i: &usize| features.get(*i).copied().ok_or_else(|| invalid!("`nodes_featureids` is too short"));
    let tracks = missing_tracks(node, names.len());
    let trees = Trees {
        dtype,
        features: order[..n].iter().map(of).collect::<Result<_>>()?,
        splits: order[..n].iter().map(|&i| values.get(i).copied().unwrap_or(0.0)).collect(),
        modes: order[..n].iter().map(mode).collect::<Result<_>>()?,
        next,
        missing: order[..n].iter().map(|&i| tracks[i]).collect(),
        sets: BTreeMap::new(),
        leaves,
        roots: (0..order.len()).filter(|&at| !is_child[at]).map(|at| at as i64).collect(),
        n_targets,
    };
    let mut y = predicted(cx, node.input(0)?, &trees, node.text("aggregate_function").unwrap_or("SUM"))?;
    let base = numbers(cx, node, "base_values_as_tensor")?;
    let base: Vec<f64> = base.map_or_else(|| Ok(floats("base_values")), |base| reals(&base))?;
    if !base.is_empty() {
        let base = cx.constant(from_reals(dtype, vec![base.len()], base)?)?;
        y = cx.binary(ScalarOp::Add, y, base)?;
    }
    let y = transformed(cx, y, node.text("post_transform").unwrap_or("NONE"))?;
    Ok(vec![cx.cast(y, DType::F32)?])
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

/// The aggregated weights `[rows, targets]`.
fn predicted(cx: &mut Context, x: ValueId, trees: &Trees, aggregate: &str) -> Result<ValueId> {
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

fn transformed(cx: &mut Context, y: ValueId, transform: &str) -> Result<ValueId> {
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
