//! ONNX `Attention`: scaled products of queries and keys, biased, normalized and applied to values.
//!
//! With fewer heads of keys than of queries, the heads that share a key become an axis of their own, so that keys and
//! values broadcast over it and are never repeated in memory.

use super::prelude::*;
use ic_ir::ops::{PadMode, ReduceFn, Softmax};

/// Queries, keys and values as `[batch, heads, length, width]`.
struct Operands {
    q: ValueId,
    k: ValueId,
    v: ValueId,
}

/// Axes of the scores `[batch, key heads, queries per key, length, total length]`; without grouping the third is left
/// out.
pub(super) struct Scores {
    batch: Dim,
    heads: Dim,
    /// Heads of keys, and heads of queries for each of them, where they are grouped.
    groups: Option<(Dim, Dim)>,
    length: Dim,
    total: Dim,
}

/// `Attention`.
pub(super) fn attention(cx: &mut Context, node: &NodeView) -> Results {
    let is_packed = cx.rank(node.input(0)?)? == 3;
    let Operands { q, k, v } = operands(cx, node)?;
    let scores = Scores::of(cx, q, k)?;
    let scale = Scale::of(cx, node, &cx.shape(q)?[3].clone())?;
    let raw = scores.products(cx, &scale, q, k)?;
    let capped = softcap(cx, node, raw)?;
    let bias = Bias::new(cx, node, &scores)?;
    let biased = match bias.value {
        Some(bias) => cx.binary(ScalarOp::Add, capped, bias)?,
        None => capped,
    };
    let dtype = cx.dtype(q)?;
    let probabilities = softmax(cx, node, biased, dtype)?;
    let probabilities = bias.without_empty_rows(cx, probabilities)?;
    let values = scores.grouped(cx, v)?;
    // Values may have a type of their own; the result has that of queries.
    let values = cx.cast(values, dtype)?;
    let y = cx.matmul(probabilities, values)?;
    let mut shape = cx.shape(q)?;
    shape[3] = cx.shape(v)?[3].clone();
    let mut y = cx.reshape(y, shape.clone())?;
    if is_packed {
        let [batch, heads, length, width] = <[Dim; 4]>::try_from(shape).map_err(|_| invalid!("`Q` has no heads"))?;
        y = cx.transpose(y, vec![0, 2, 1, 3])?;
        y = cx.reshape(y, vec![batch, length, heads * width])?;
    }
    let exposed = match node.int("qk_matmul_output_mode").unwrap_or(0) {
        _ if !node.wants(3) => raw,
        0 => raw,
        1 => capped,
        2 => biased,
        3 => probabilities,
        mode => return Err(invalid!("attribute `qk_matmul_output_mode` is {mode}")),
    };
    let exposed = if node.wants(3) { cx.reshape(exposed, scores.shape())? } else { exposed };
    Ok(vec![y, k, v, exposed])
}

/// Unpacks the heads of operands of rank 3, and puts past keys and values in front.
fn operands(cx: &mut Context, node: &NodeView) -> Result<Operands> {
    let q = unpacked(cx, node, 0, "q_num_heads")?;
    let mut k = unpacked(cx, node, 1, "kv_num_heads")?;
    let mut v = unpacked(cx, node, 2, "kv_num_heads")?;
    if let Some(past) = node.opt(4) {
        k = cx.concat(&[past, k], 2)?;
    }
    if let Some(past) = node.opt(5) {
        v = cx.concat(&[past, v], 2)?;
    }
    Ok(Operands { q, k, v })
}

fn unpacked(cx: &mut Context, node: &NodeView, index: usize, heads: &str) -> Result<ValueId> {
    let x = node.input(index)?;
    match cx.shape(x)?.as_slice() {
        [_, _, _, _] => Ok(x),
        [_, _, _] => split_heads(cx, x, positive(node, heads)?),
        shape => Err(invalid!("input {index} must have rank 3 or 4, found {}", shape.len())),
    }
}

/// `[batch, length, heads * width]` as `[batch, heads, length, width]`.
pub(super) fn split_heads(cx: &mut Context, x: ValueId, heads: i64) -> Result<ValueId> {
    let shape = cx.shape(x)?;
    let [batch, length, packed] = shape.as_slice() else {
        return Err(invalid!("heads are split of rank 3, found {}", shape.len()));
    };
    if packed.as_const().is_some_and(|width| width % heads != 0) {
        return Err(invalid!("the extent {packed} is not a multiple of the {heads} heads"));
    }
    let heads = Dim::constant(heads);
    let width = packed.floor_div(&heads);
    let split = cx.reshape(x, vec![batch.clone(), length.clone(), heads, width])?;
    cx.transpose(split, vec![0, 2, 1, 3])
}

/// The attribute `name`, which must be positive.
pub(super) fn positive(node: &NodeView, name: &str) -> Result<i64> {
    node.int(name).filter(|n| *n > 0).ok_or_else(|| invalid!("`{name}` must be positive"))
}

/// What products are multiplied by. The definition multiplies queries and keys by its root, an f32.
pub(super) enum Scale {
    Number(f32),
    /// An f32 of rank 0.
    Value(ValueId),
}

impl Scale {
    /// The attribute `scale`, or the inverse root of the width of heads.
    pub(super) fn of(cx: &mut Context, node: &NodeView, width: &Dim) -> Result<Scale> {
        match node.float("scale") {
            Some(scale) => Ok(Scale::Number(scale)),
            None => Scale::inverse_root(cx, width),
        }
    }

    /// The inverse root of the width of heads.
    pub(super) fn inverse_root(cx: &mut Context, width: &Dim) -> Result<Scale> {
        match width.as_const() {
            Some(width) if width > 0 => Ok(Scale::Number(1.0 / (width as f32).sqrt())),
            Some(width) => Err(invalid!("heads have the width {width}")),
            None => {
                let width = cx.dim_scalar(width.clone())?;
                let width = cx.cast(width, DType::F32)?;
                let root = cx.unary(ScalarOp::Sqrt, width)?;
                Ok(Scale::Value(cx.unary(ScalarOp::Reciprocal, root)?))
            }
        }
    }

    /// The square root, if there is one.
    fn root(&self, cx: &mut Context) -> Result<Option<Scale>> {
        match self {
            Scale::Number(scale) if *scale < 0.0 => Ok(None),
            Scale::Number(scale) => Ok(Some(Scale::Number(scale.sqrt()))),
            Scale::Value(scale) => Ok(Some(Scale::Value(cx.unary(ScalarOp::Sqrt, *scale)?))),
        }
    }

    /// `x` multiplied by it.
    fn applied(&self, cx: &mut Context, x: ValueId) -> Result<ValueId> {
        match self {
            Scale::Number(scale) => cx.with_scalar(ScalarOp::Mul, x, f64::from(*scale)),
            Scale::Value(scale) => {
                let scale = cx.cast(*scale, cx.dtype(x)?)?;
                cx.binary(ScalarOp::Mul, x, scale)
            }
        }
    }
}

impl Scores {
    /// The axes for queries and keys `[batch, heads, length, width]`.
    pub(super) fn of(cx: &Context, q: ValueId, k: ValueId) -> Result<Scores> {
        let (q, k) = (cx.shape(q)?, cx.shape(k)?);
        let (heads, key_heads) = (q[1].clone(), k[1].clone());
        let groups = match (heads.as_const(), key_heads.as_const()) {
            _ if heads == key_heads => None,
            (Some(h), Some(n)) if n > 0 && h % n == 0 => Some((key_heads, Dim::constant(h / n))),
            (Some(h), Some(n)) => return Err(invalid!("{h} heads of queries cannot share {n} heads of keys")),
            // A run checks that nothing is left.
            _ => Some((key_heads.clone(), heads.floor_div(&key_heads))),
        };
        Ok(Scores { batch: q[0].clone(), heads, groups, length: q[2].clone(), total: k[2].clone() })
    }

    /// Scaled products of queries and keys `[batch, heads, length, width]`.
    pub(super) fn products(&self, cx: &mut Context, scale: &Scale, q: ValueId, k: ValueId) -> Result<ValueId> {
        let (rows, keys) = (self.grouped_rows(cx, q)?, self.grouped(cx, k)?);
        let (rows, keys) = match scale.root(cx)? {
            Some(root) => (root.applied(cx, rows)?, root.applied(cx, keys)?),
            None => (scale.applied(cx, rows)?, keys),
        };
        let columns = cx.transpose_last(keys)?;
        cx.matmul(rows, columns)
    }

    /// The shape with the heads of queries on one axis.
    pub(super) fn shape(&self) -> Vec<Dim> {
        vec![self.batch.clone(), self.heads.clone(), self.length.clone(), self.total.clone()]
    }

    /// Queries with an axis for those that share a key.
    fn grouped_rows(&self, cx: &mut Context, q: ValueId) -> Result<ValueId> {
        let Some((heads, group)) = &self.groups else { return Ok(q) };
        let mut shape = cx.shape(q)?;
        shape.splice(1..2, [heads.clone(), group.clone()]);
        cx.reshape(q, shape)
    }

    /// Keys or values with an axis over which queries share them.
    pub(super) fn grouped(&self, cx: &mut Context, x: ValueId) -> Result<ValueId> {
        match self.groups {
            Some(_) => cx.unsqueeze(x, &[2]),
            None => Ok(x),
        }
    }

    /// A mask that broadcasts to `[batch, heads, length, total]`, with the axes of the scores.
    pub(super) fn grouped_mask(&self, cx: &mut Context, mask: ValueId) -> Result<ValueId> {
        let Some((heads, group)) = &self.groups else { return Ok(mask) };
        let mut shape = cx.shape(mask)?;
        let Some(axis) = shape.len().checked_sub(3) else { return Ok(mask) };
        let mut mask = mask;
        if shape[axis].as_const().is_none() && shape[axis] != self.heads {
            // One mask for all heads, or one for each.
            shape[axis] = self.heads.clone();
            mask = cx.expand(mask, shape.clone())?;
        }
        let split =
            if shape[axis].is(1) { [Dim::constant(1), Dim::constant(1)] } else { [heads.clone(), group.clone()] };
        shape.splice(axis..=axis, split);
        cx.reshape(mask, shape)
    }
}

/// `cap * tanh(x / cap)`, where there is a cap.
pub(super) fn softcap(cx: &mut Context, node: &NodeView, x: ValueId) -> Result<ValueId> {
    let Some(cap) = node.float("softcap").filter(|cap| *cap != 0.0) else { return Ok(x) };
    let quotient = cx.with_scalar(ScalarOp::Div, x, f64::from(cap))?;
    let tanh = cx.unary(ScalarOp::Tanh, quotient)?;
    cx.with_scalar(ScalarOp::Mul, tanh, f64::from(cap))
}

fn softmax(cx: &mut Context, node: &NodeView, x: ValueId, to: DType) -> Result<ValueId> {
    let precision = match node.int("softmax_precision").filter(|code| *code != 0) {
        Some(code) => dtype(i32::try_from(code).unwrap_or(-1))?,
        None => to,
    };
    let wide = cx.cast(x, precision)?;
    let probabilities = cx.push(Softmax { axis: -1 }, &[wide])?;
    cx.cast(probabilities, to)
}

/// What is added to the scores.
struct Bias {
    value: Option<ValueId>,
    /// Where all keys are disallowed, with extent 1 along the keys; such rows are zero, not NaN.
    empty_rows: Option<ValueId>,
}

impl Bias {
    /// The mask, the causal limit, windows and lengths without padding, together: each adds 0 or -∞.
    fn new(cx: &mut Context, node: &NodeView, scores: &Scores) -> Result<Bias> {
        let dtype = cx.dtype(node.input(0)?)?;
        let mut sum = match node.opt(3) {
            Some(mask) => Some(added(cx, mask, scores)?),
            None => None,
        };
        let windows = [node.int("left_window_size"), node.int("right_window_size")].map(|w| w.filter(|w| *w >= 0));
        let may_be_empty = sum.is_some() || node.opt(6).is_some() || windows.iter().any(Option::is_some);
        for limit in limits(cx, node, scores, windows)? {
            sum = Some(match sum {
                Some(sum) => {
                    let limit = cx.cast(limit, cx.dtype(sum)?)?;
                    cx.binary(ScalarOp::Add, sum, limit)?
                }
                None => limit,
            });
        }
        let Some(sum) = sum else { return Ok(Bias { value: None, empty_rows: None }) };
        let value = cx.cast(sum, dtype)?;
        let value = scores.grouped_mask(cx, value)?;
        let empty_rows = if may_be_empty {
            let last = cx.axis(value, -1)?;
            let max = cx.reduce(ReduceFn::Max, value, vec![last])?;
            Some(cx.with_scalar(ScalarOp::Eq, max, f64::NEG_INFINITY)?)
        } else {
            None
        };
        Ok(Bias { value: Some(value), empty_rows })
    }

    /// `x` with zeros in the rows that no key is allowed in.
    fn without_empty_rows(&self, cx: &mut Context, x: ValueId) -> Result<ValueId> {
        let Some(empty) = self.empty_rows else { return Ok(x) };
        let zero = cx.scalar_like(x, 0.0)?;
        cx.select(empty, zero, x)
    }
}

/// What the mask adds.
fn added(cx: &mut Context, mut mask: ValueId, scores: &Scores) -> Result<ValueId> {
    if cx.dtype(mask)? == DType::Bool {
        mask = hiding(cx, mask, Where::Unmarked)?;
    }
    padded_mask(cx, mask, &scores.total)
}

/// The mask, whose last axis may be shorter than that of the keys: nothing behind its end is allowed.
fn padded_mask(cx: &mut Context, mask: ValueId, total: &Dim) -> Result<ValueId> {
    let shape = cx.shape(mask)?;
    let Some(last) = shape.last() else { return Ok(mask) };
    if last == total || matches!((total.as_const(), last.as_const()), (Some(t), Some(l)) if l >= t) {
        return Ok(mask);
    }
    let missing = (total.clone() - last.clone()).maximum(&Dim::constant(0));
    let mut pads = vec![Dim::constant(0); 2 * shape.len()];
    *pads.last_mut().ok_or_else(|| invalid!("`attn_mask` is a scalar"))? = missing;
    let value = cx.scalar_like(mask, f64::NEG_INFINITY)?;
    super::slice::pad_or_crop(cx, mask, pads, PadMode::Constant, Some(value))
}

/// What a condition hides.
#[derive(Clone, Copy)]
enum Where {
    Marked,
    Unmarked,
}

/// -∞ where hidden, else 0, as f32.
fn hiding(cx: &mut Context, condition: ValueId, hidden: Where) -> Result<ValueId> {
    let (zero, never) = (cx.scalar(DType::F32, 0.0)?, cx.scalar(DType::F32, f64::NEG_INFINITY)?);
    match hidden {
        Where::Marked => cx.select(condition, never, zero),
        Where::Unmarked => cx.select(condition, zero, never),
    }
}

/// What hides keys from queries by position: causality, windows, and what is padding.
fn limits(cx: &mut Context, node: &NodeView, scores: &Scores, windows: [Option<i64>; 2]) -> Result<Vec<ValueId>> {
    let is_causal = node.flag("is_causal", false);
    let keys = cx.iota(scores.total.clone(), DType::I64)?;
    let lengths = match node.opt(6) {
        Some(lengths) => Some(cx.cast(lengths, DType::I64)?),
        None => None,
    };
    let mut limits = Vec::new();
    if is_causal || windows.iter().any(Option::is_some) {
        let position = position(cx, node, scores, lengths)?;
        if is_causal {
            let is_later = cx.binary(ScalarOp::Lt, position, keys)?;
            limits.push(hiding(cx, is_later, Where::Marked)?);
        }
        limits.extend(window(cx, position, keys, windows)?);
    }
    if let Some(lengths) = lengths {
        let lengths = cx.reshape(lengths, vec![scores.batch.clone(), Dim::constant(1)])?;
        let is_there = cx.binary(ScalarOp::Lt, keys, lengths)?;
        let padding = hiding(cx, is_there, Where::Unmarked)?;
        limits.push(cx.unsqueeze(padding, &[1, 2])?);
    }
    Ok(limits)
}

/// The position of each query among the keys, along the last axis but one.
fn position(cx: &mut Context, node: &NodeView, scores: &Scores, lengths: Option<ValueId>) -> Result<ValueId> {
    let rows = cx.iota(scores.length.clone(), DType::I64)?;
    let rows = cx.unsqueeze(rows, &[1])?;
    let offset = match (node.opt(4), lengths) {
        (Some(past), _) => cx.dim_scalar(cx.shape(past)?.get(2).cloned().unwrap_or(Dim::constant(0)))?,
        (None, Some(lengths)) => {
            let length = cx.dim_scalar(scores.length.clone())?;
            let offset = cx.binary(ScalarOp::Sub, lengths, length)?;
            let mut shape = vec![Dim::constant(1); 4];
            shape[0] = scores.batch.clone();
            cx.reshape(offset, shape)?
        }
        (None, None) => cx.scalar(DType::I64, 0.0)?,
    };
    cx.binary(ScalarOp::Add, rows, offset)
}

/// What a window to the left and to the right of the position hides.
fn window(
    cx: &mut Context,
    position: ValueId,
    keys: ValueId,
    [left, right]: [Option<i64>; 2],
) -> Result<Option<ValueId>> {
    let distance = cx.binary(ScalarOp::Sub, position, keys)?;
    let mut seen = match left {
        Some(left) => Some(cx.with_scalar(ScalarOp::Le, distance, left as f64)?),
        None => None,
    };
    if let Some(right) = right {
        let ahead = cx.unary(ScalarOp::Neg, distance)?;
        let is_near = cx.with_scalar(ScalarOp::Le, ahead, right as f64)?;
        seen = Some(match seen {
            Some(seen) => cx.binary(ScalarOp::And, seen, is_near)?,
            None => is_near,
        });
    }
    seen.map(|seen| hiding(cx, seen, Where::Unmarked)).transpose()
}
