//! ONNX-ML tree ensembles: `TreeEnsemble`, `TreeEnsembleRegressor`, `TreeEnsembleClassifier`.

use super::labels::Labels;
use super::prelude::*;
use super::tree_walk::{MODES, Mode, Trees, predicted, transformed};
use crate::import::onnx::tensor::literal;
use ic_ir::eval::{from_reals, ints, reals};
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) const OPS: &[super::Row] = &[
    ("ai.onnx.ml", "TreeEnsemble", tree_ensemble),
    ("ai.onnx.ml", "TreeEnsembleClassifier", tree_ensemble_classifier),
    ("ai.onnx.ml", "TreeEnsembleRegressor", tree_ensemble_regressor),
];

/// Targets beyond which a model is refused.
const MAX_TARGETS: i64 = 1 << 16;

fn numbers(cx: &mut Context, node: &NodeView, name: &str) -> Result<Option<Tensor>> {
    let Some(proto) = node.tensor(name) else { return Ok(None) };
    Ok(Some(literal(proto, &mut cx.files)?.tensor().map_err(|e| invalid!("attribute `{name}`: {e}"))?))
}

/// The numbers of an attribute, which may be called `{name}_as_tensor` and have more digits.
fn floats(cx: &mut Context, node: &NodeView, name: &str) -> Result<Vec<f64>> {
    match numbers(cx, node, &format!("{name}_as_tensor"))? {
        Some(tensor) => Ok(reals(&tensor)?),
        None => Ok(node.floats(name).unwrap_or_default().iter().map(|&x| f64::from(x)).collect()),
    }
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

/// `TreeEnsembleRegressor`: one result for each target.
fn tree_ensemble_regressor(cx: &mut Context, node: &NodeView) -> Results {
    let trees = named_trees(cx, node, "target", n_targets(node)?)?;
    let mut y = predicted(cx, node.input(0)?, &trees, node.text("aggregate_function").unwrap_or("SUM"))?;
    let base = floats(cx, node, "base_values")?;
    if !base.is_empty() {
        let base = cx.constant(from_reals(trees.dtype, vec![base.len()], base)?)?;
        y = cx.binary(ScalarOp::Add, y, base)?;
    }
    let y = transformed(cx, y, node.text("post_transform").unwrap_or("NONE"))?;
    Ok(vec![cx.cast(y, DType::F32)?])
}

/// `TreeEnsembleClassifier`: the label of each row, and a score for each label.
///
/// Where all leaves are for one of two labels, their sum is the score of the second: a probability if no weight is
/// negative, else it decides by its sign, and the score of the first is its negative.
fn tree_ensemble_classifier(cx: &mut Context, node: &NodeView) -> Results {
    let labels = Labels::of(cx, node)?;
    let trees = named_trees(cx, node, "class", labels.n)?;
    let sum = predicted(cx, node.input(0)?, &trees, "SUM")?;
    let base = floats(cx, node, "base_values")?;
    let transform = node.text("post_transform").unwrap_or("NONE");
    let used: BTreeSet<i64> = list(node, "class_ids")?.iter().copied().collect();
    let based = |cx: &mut Context, sum: ValueId, base: &[f64]| -> Result<ValueId> {
        if base.is_empty() {
            return Ok(sum);
        }
        let base = cx.constant(from_reals(trees.dtype, vec![base.len()], base.to_vec())?)?;
        cx.binary(ScalarOp::Add, sum, base)
    };
    let (true, Some(&only)) = (labels.n == 2 && used.len() == 1, used.first()) else {
        let scores = based(cx, sum, &base)?;
        return labels.largest(cx, scores, transform);
    };
    let score = cx.slice(sum, 1, Dim::constant(only), Dim::constant(1))?;
    let score = based(cx, score, &base[base.len().saturating_sub(1)..])?;
    let is_share = floats(cx, node, "class_weights")?.iter().all(|&weight| weight >= 0.0);
    labels.of_two(cx, score, transform, is_share)
}

/// The trees of an op whose nodes are named by tree and number. `leaf` is what the names of the attributes that give leaves
/// their weights begin with; a leaf may have several.
fn named_trees(cx: &mut Context, node: &NodeView, leaf: &str, n_targets: usize) -> Result<Trees> {
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
    let values = floats(cx, node, "nodes_values")?;
    let weights = floats(cx, node, &format!("{leaf}_weights"))?;
    let mut leaves = vec![vec![None; n_targets]; order.len() - n];
    let trees = list(node, &format!("{leaf}_treeids"))?.iter();
    let targets = trees.zip(list(node, &format!("{leaf}_nodeids"))?).zip(list(node, &format!("{leaf}_ids"))?);
    for (((&tree, &id), &target), weight) in targets.zip(weights) {
        let at = usize::try_from(place((tree, id))?).ok().and_then(|at| at.checked_sub(n));
        let slot = at.zip(usize::try_from(target).ok()).and_then(|(leaf, target)| leaves[leaf].get_mut(target));
        let slot: &mut Option<f64> = slot.ok_or_else(|| invalid!("target {target} of node {id} has no place"))?;
        *slot = Some(slot.unwrap_or(0.0) + weight);
    }
    let next = [lead("nodes_truenodeids")?, lead("nodes_falsenodeids")?];
    let mut is_child = vec![false; order.len()];
    next.iter().flatten().for_each(|&at| is_child[at as usize] = true);
    let features = list(node, "nodes_featureids")?;
    let of = |i: &usize| features.get(*i).copied().ok_or_else(|| invalid!("`nodes_featureids` is too short"));
    let tracks = missing_tracks(node, names.len());
    Ok(Trees {
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
    })
}
