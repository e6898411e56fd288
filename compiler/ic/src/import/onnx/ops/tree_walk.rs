//! What the ops of tree ensembles have in common: trees as ONNX-ML has them, and the core op that they become.

use super::prelude::*;
use super::tree_layout::Layout;
use ic_ir::eval::{from_ints, from_reals};
use ic_ir::ops::{Softmax, TreeEnsemble, TreeFn, key_f32, key_f64};
use std::collections::BTreeMap;
use std::slice;

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
            && self.features.iter().all(|&feature| (0..i64::from(i32::MAX >> 2)).contains(&feature))
            && all < i64::from(i32::MAX >> 3)
            && !self.leaves.is_empty();
        if fits { Ok(()) } else { Err(invalid!("the lists of nodes do not describe trees")) }
    }

    /// All nodes as tests of one threshold, and leaves: first those that have the model's numbers, then more.
    fn tests(&self, float: DType) -> Vec<Test> {
        let n = self.features.len();
        let key =
            |split: f64| if float == DType::F64 { key_f64(split, false) } else { key_f32(split as f32, false).into() };
        let least = if float == DType::F64 { i64::MIN } else { i32::MIN.into() };
        let mut tests: Vec<Test> = (0..n + self.leaves.len()).map(|i| Test::leaf(i.saturating_sub(n))).collect();
        for i in 0..n {
            let [yes, no] = self.next.each_ref().map(|next| next[i] as usize);
            let (mode, split, missing) = (self.modes[i], self.splits[i], self.missing[i]);
            let [nan_last, nan_first] = [1, 2].map(|nan| 2 * self.features[i] as usize + nan);
            let up_to = |split| Test::new(if missing { nan_first } else { nan_last }, split, [yes, no]);
            let above = |split| Test::new(if missing { nan_last } else { nan_first }, split, [no, yes]);
            tests[i] = match mode {
                Mode::Equal | Mode::NotEqual | Mode::Member => {
                    let set = self.sets.get(&i).map_or(slice::from_ref(&split), Vec::as_slice);
                    let mut keys: Vec<i64> = set.iter().filter(|x| !x.is_nan()).map(|&x| key(x)).collect();
                    keys.sort_unstable();
                    keys.dedup();
                    let leads = match mode {
                        Mode::NotEqual => [no, yes, yes],
                        _ => [yes, no, if missing { yes } else { no }],
                    };
                    member(&mut tests, [nan_last, nan_first], least, &keys, leads)
                }
                // No number compares.
                _ if split.is_nan() => up_to(least),
                Mode::AtMost => up_to(key(split)),
                Mode::Below => up_to(key(split) - 1),
                Mode::AtLeast => above(key(split) - 1),
                Mode::Above => above(key(split)),
            };
        }
        tests
    }
}

/// A node, by numbers of nodes: it leads to the first of `next` where the key in its column is at most `split`, else to the
/// second. A leaf leads nowhere; `split` is its number.
#[derive(Clone, Copy)]
pub(super) struct Test {
    pub(super) column: usize,
    pub(super) split: i64,
    pub(super) next: Option<[usize; 2]>,
}

impl Test {
    pub(super) fn new(column: usize, split: i64, next: [usize; 2]) -> Test {
        Test { column, split, next: Some(next) }
    }

    pub(super) fn leaf(number: usize) -> Test {
        Test { column: 0, split: number as i64, next: None }
    }
}

/// Leads to `within` from sorted `keys`, to `outside` from other numbers, and to `nan` from NaN.
fn member(
    tests: &mut Vec<Test>,
    [nan_last, nan_first]: [usize; 2],
    least: i64,
    keys: &[i64],
    [within, outside, nan]: [usize; 3],
) -> Test {
    let mut first = Test::new(0, 0, [outside; 2]);
    let mut rest = outside;
    for &key in keys.iter().rev() {
        tests.push(Test::new(nan_last, key, [within, rest]));
        first = Test::new(nan_last, key - 1, [outside, tests.len() - 1]);
        rest = tests.len();
        tests.push(first);
    }
    if nan == outside { first } else { Test::new(nan_first, least, [nan, rest]) }
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
    let as_given =
        if trees.dtype == DType::F64 { None } else { Layout::new(&trees.tests(DType::F32), &trees.roots, 32)? };
    let (float, integer) = if as_given.is_some() { (DType::F32, DType::I32) } else { (DType::F64, DType::I64) };
    // What does not fit 32 bits does fit 64.
    let layout = match as_given {
        Some(layout) => layout,
        None => {
            Layout::new(&trees.tests(DType::F64), &trees.roots, 64)?.ok_or_else(|| invalid!("trees are too large"))?
        }
    };
    let Layout { nodes, roots, column_bits, depth } = layout;
    let op = TreeEnsemble { function, column_bits, depth, targets: trees.n_targets };
    let (weights, targets) = weights(trees);
    let n_leaves = trees.leaves.len();
    let integers = |cx: &mut Context, shape: Vec<usize>, list: Vec<i64>| {
        cx.constant(from_ints(integer, shape, list.into_iter().map(i128::from).collect())?)
    };
    let mut operands = vec![
        cx.cast(x, float)?,
        integers(cx, vec![nodes.len(), 2], nodes.concat())?,
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
        "PROBIT" => probit(cx, y),
        other => Err(unsupported!("the transform `{other}` is not supported")),
    }
}

/// The number below which a share `y` of the standard normal distribution is, by Winitzki's approximation of the inverse
/// error function: √2 times the root of `√(v² - log / a) - v`, where `v = 2 / (π a) + log / 2`, with the sign of `2 y - 1`.
fn probit(cx: &mut Context, y: ValueId) -> Result<ValueId> {
    const A: f64 = 0.147;
    let twice = cx.with_scalar(ScalarOp::Mul, y, 2.0)?;
    let x = cx.with_scalar(ScalarOp::Sub, twice, 1.0)?;
    let rest = cx.with_scalar(ScalarOp::Mul, y, -1.0)?;
    let rest = cx.with_scalar(ScalarOp::Add, rest, 1.0)?;
    let product = cx.binary(ScalarOp::Mul, y, rest)?;
    // (1 - x) (1 + x)
    let product = cx.with_scalar(ScalarOp::Mul, product, 4.0)?;
    let log = cx.unary(ScalarOp::Log, product)?;
    let half = cx.with_scalar(ScalarOp::Mul, log, 0.5)?;
    let v = cx.with_scalar(ScalarOp::Add, half, 2.0 / (std::f64::consts::PI * A))?;
    let square = cx.binary(ScalarOp::Mul, v, v)?;
    let scaled = cx.with_scalar(ScalarOp::Mul, log, 1.0 / A)?;
    let inside = cx.binary(ScalarOp::Sub, square, scaled)?;
    let root = cx.unary(ScalarOp::Sqrt, inside)?;
    let difference = cx.binary(ScalarOp::Sub, root, v)?;
    let root = cx.unary(ScalarOp::Sqrt, difference)?;
    let size = cx.with_scalar(ScalarOp::Mul, root, std::f64::consts::SQRT_2)?;
    let sign = cx.unary(ScalarOp::Sign, x)?;
    cx.binary(ScalarOp::Mul, sign, size)
}
