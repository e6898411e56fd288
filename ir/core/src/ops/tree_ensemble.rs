//! `tree_ensemble`: decision trees, each of which sends a row to a leaf. ONNX-ML `TreeEnsemble`, opset 5, and the
//! classifiers and regressors before it.

use crate::eval::{checked_len, from_reals, indices, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Dim, Tensor};
use std::iter::once;

crate::word_attr! {
    /// How the weights of the leaves that a row reaches are put together.
    TreeFn {
        /// Their sum, in the order of the trees.
        Sum = "sum",
        /// The least.
        Min = "min",
        /// The largest.
        Max = "max",
    }
}

impl TreeFn {
    /// Where it begins.
    pub fn start(self) -> f64 {
        match self {
            TreeFn::Sum => 0.0,
            TreeFn::Min => f64::INFINITY,
            TreeFn::Max => f64::NEG_INFINITY,
        }
    }
}

crate::attrs! {
    /// `y[row, t]`, for each target `t` the weights of the leaves that a row of `x` reaches, one in each tree; 0 where no
    /// leaf has one for it.
    ///
    /// Nodes of all trees are rows `(split, step)` of one table, in integers of the width of `x`. The low `column_bits` of
    /// `step` are a column, the others, with their sign, an offset: where a row's key in that column is at most `split`, the
    /// next node is as many after this one, else one more. A leaf has step 0, and its `split` is its number in the tables
    /// of weights.
    ///
    /// Column 0 has the least integer for every row, so that it leads on always. Columns `1 + 2f` and `2 + 2f` have the key
    /// of feature f: the bits of its magnitude, negated if it is negative, so that keys are ordered as numbers are, and for
    /// NaN the largest integer in the former and the least in the latter.
    ///
    /// `x [N, F]` of f32 or f64, `nodes [n, 2]`, `roots [trees]`, `weights [leaves, k]`, `targets [leaves, k]`, -1 for
    /// what is no weight, or absent: then the weights of a leaf are for all targets in order.
    TreeEnsemble {
        /// How weights are put together.
        function: TreeFn,
        /// Bits of a column; 1 to 31.
        column_bits: usize,
        /// Steps from a root to the deepest leaf.
        depth: usize,
        /// Number of targets.
        targets: usize
    }
}

impl OpDef for TreeEnsemble {
    const OPERANDS: &'static [OperandSpec] = &[
        OperandSpec::required("x"),
        OperandSpec::required("nodes"),
        OperandSpec::required("roots"),
        OperandSpec::required("weights"),
        OperandSpec::optional("targets"),
    ];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (ty, nodes, roots, weights) = (x.ty(0)?, x.ty(1)?, x.ty(2)?, x.ty(3)?);
        let integer = match ty.dtype {
            DType::F32 => DType::I32,
            DType::F64 => DType::I64,
            other => return Err(OpError(format!("`x` must be f32 or f64, found {other}"))),
        };
        let targets = x.opt(4);
        for (table, name) in [(Some(nodes), "nodes"), (Some(roots), "roots"), (targets, "targets")] {
            let fits = table.is_none_or(|table| table.dtype == integer);
            ensure!(fits, "`{name}` must be {integer}, as `x` is {}", ty.dtype);
        }
        ensure!((1..=31).contains(&self.column_bits), "`column_bits` must be 1 to 31, found {}", self.column_bits);
        ensure!(nodes.rank() == 2, "`nodes` must have shape [n, 2], found {nodes}");
        x.equal(&nodes.shape[1], &Dim::constant(2), "columns of `nodes` and their fields")?;
        ensure!(roots.rank() == 1, "`roots` must have rank 1, found {roots}");
        let is_table = weights.rank() == 2 && weights.dtype == ty.dtype;
        ensure!(is_table, "`weights` must be {}[leaves, k], found {weights}", ty.dtype);
        if let Some(targets) = targets {
            ensure!(targets.rank() == 2, "`targets` must have the shape of `weights`, found {targets}");
            for (given, wanted) in targets.shape.iter().zip(&weights.shape) {
                x.equal(given, wanted, "extents of `targets` and `weights`")?;
            }
        } else {
            x.equal(&weights.shape[1], &Dim::constant(self.targets as i64), "weights of a leaf and targets")?;
        }
        let [rows, _] = ty.shape.as_slice() else { return Err(OpError(format!("`x` must have rank 2, found {ty}"))) };
        Ok(vec![TensorType::new(ty.dtype, vec![rows.clone(), Dim::constant(self.targets as i64)]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let &[rows, features] = input.shape() else { return Err(OpError::new("`x` must have rank 2")) };
        let keys = keys(input)?;
        let least = if input.dtype() == DType::F32 { i32::MIN.into() } else { i64::MIN };
        let (nodes, roots) = (indices(x.get(1)?)?, indices(x.get(2)?)?);
        let (weights, k) = (reals(x.get(3)?)?, x.get(3)?.shape()[1]);
        let targets = x.opt(4).map(indices).transpose()?;
        checked_len(&[rows, self.targets])?;
        let mut y = Vec::new();
        for row in 0..rows {
            let keys = &keys[row * features..(row + 1) * features];
            let keys: Vec<i64> = once(least).chain(keys.iter().flatten().copied()).collect();
            let mut sums = vec![None::<f64>; self.targets];
            for &root in &roots {
                let leaf = self.leaf(&keys, &nodes, root)?;
                for i in 0..k {
                    let at = leaf.checked_mul(k).map(|at| at + i).filter(|&at| at < weights.len());
                    let at = at.ok_or_else(|| OpError(format!("leaf {leaf} has no weights")))?;
                    let target = targets.as_ref().map_or(i as i64, |targets| targets[at]);
                    if target == -1 {
                        continue;
                    }
                    let sum = usize::try_from(target).ok().and_then(|target| sums.get_mut(target));
                    let sum = sum.ok_or_else(|| OpError(format!("leaf {leaf} has a target that is not there")))?;
                    let before = sum.unwrap_or(self.function.start());
                    *sum = Some(match self.function {
                        // Each sum is rounded, as it is where it is computed in the type of `x`.
                        TreeFn::Sum if input.dtype() == DType::F32 => f64::from((before + weights[at]) as f32),
                        TreeFn::Sum => before + weights[at],
                        TreeFn::Min => before.min(weights[at]),
                        TreeFn::Max => before.max(weights[at]),
                    });
                }
            }
            y.extend(sums.into_iter().map(|sum| sum.unwrap_or(0.0)));
        }
        Ok(vec![from_reals(input.dtype(), vec![rows, self.targets], y)?])
    }
}

impl TreeEnsemble {
    /// The number of the leaf where a row with these keys, by column, ends that begins at `root`.
    fn leaf(&self, keys: &[i64], nodes: &[i64], root: i64) -> Result<usize, OpError> {
        let outside = || OpError::new("a tree leads outside of its tables");
        let mut at = root;
        for _ in 0..=self.depth {
            let node = usize::try_from(at).ok().and_then(|at| nodes.get(2 * at..2 * at + 2)).ok_or_else(outside)?;
            let column = (node[1] & ((1 << self.column_bits) - 1)) as usize;
            let is_beyond = *keys.get(column).ok_or_else(outside)? > node[0];
            let next = at + (node[1] >> self.column_bits) + i64::from(is_beyond);
            if next == at {
                return usize::try_from(node[0]).map_err(|_| outside());
            }
            at = next;
        }
        Err(OpError(format!("no leaf is reached in {} steps", self.depth)))
    }
}

/// The keys of numbers, with NaN as the largest integer and as the least.
fn keys(x: &Tensor) -> Result<Vec<[i64; 2]>, OpError> {
    match x.data() {
        Data::F32(x) => Ok(x.iter().map(|&x| [false, true].map(|nan_first| key_f32(x, nan_first).into())).collect()),
        Data::F64(x) => Ok(x.iter().map(|&x| [false, true].map(|nan_first| key_f64(x, nan_first))).collect()),
        _ => Err(OpError::new("`x` must be f32 or f64")),
    }
}

/// The key of a number, before all others if it is NaN and `nan_first`; see [`TreeEnsemble`].
pub fn key_f32(x: f32, nan_first: bool) -> i32 {
    let magnitude = x.abs().to_bits() as i32;
    match x {
        x if x.is_nan() && nan_first => i32::MIN,
        x if x.is_nan() => i32::MAX,
        x if x < 0.0 => -magnitude,
        _ => magnitude,
    }
}

/// The key of a number, before all others if it is NaN and `nan_first`; see [`TreeEnsemble`].
pub fn key_f64(x: f64, nan_first: bool) -> i64 {
    let magnitude = x.abs().to_bits() as i64;
    match x {
        x if x.is_nan() && nan_first => i64::MIN,
        x if x.is_nan() => i64::MAX,
        x if x < 0.0 => -magnitude,
        _ => magnitude,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_numbers_are() {
        let tiny = f32::from_bits(1);
        let numbers =
            [f32::NEG_INFINITY, f32::MIN, -1.5, -1.0, -tiny, 0.0, tiny, 1.0, f32::MAX, f32::INFINITY, f32::NAN];
        assert!(numbers.windows(2).all(|pair| key_f32(pair[0], false) < key_f32(pair[1], false)));
        let numbers = numbers.map(f64::from);
        assert!(numbers.windows(2).all(|pair| key_f64(pair[0], false) < key_f64(pair[1], false)));
        assert_eq!((key_f32(-0.0, true), key_f64(-0.0, true)), (0, 0));
    }
}
