//! ONNX `LinearAttention`: a matrix for each head that every token decays, corrects and reads.
//!
//! The recurrence is unrolled, so the number of tokens must be a constant.

use super::prelude::*;

pub(super) const OPS: &[super::Row] = &[("", "LinearAttention", linear_attention)];

/// Tokens beyond which the recurrence is refused.
const MAX_TOKENS: i64 = 256;

/// What the recurrence reads for each token, on axis 2, in f32.
struct Tokens {
    /// `[batch, key heads, tokens, queries per key, key width]`.
    q: ValueId,
    /// `[batch, key heads, tokens, key width]`.
    k: ValueId,
    /// `[batch, key heads, tokens, value width]`.
    v: ValueId,
    /// What the state is multiplied by: `[batch, key heads, tokens, 1 or key width]`.
    decay: Option<ValueId>,
    /// What the correction is multiplied by: `[batch, 1 or key heads, tokens, 1]`.
    beta: Option<ValueId>,
}

/// `LinearAttention`.
fn linear_attention(cx: &mut Context, node: &NodeView) -> Results {
    let heads = |name: &str| node.int(name).filter(|h| *h > 0).ok_or_else(|| invalid!("`{name}` must be positive"));
    let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    if q_heads % kv_heads != 0 {
        return Err(invalid!("{q_heads} heads of queries cannot share {kv_heads} heads of keys"));
    }
    let query = node.input(0)?;
    let shape = <[Dim; 3]>::try_from(cx.shape(query)?).map_err(|_| invalid!("`query` must have rank 3"))?;
    let n_tokens = shape[1].as_const().filter(|n| *n <= MAX_TOKENS);
    let n_tokens = n_tokens.ok_or_else(|| {
        unsupported!("a recurrence over {} tokens; at most {MAX_TOKENS} are unrolled, use `--dim`", shape[1])
    })?;
    let tokens = tokens(cx, node, q_heads, kv_heads)?;
    let width = cx.shape(tokens.k)?[3].clone();
    let scale = match node.float("scale").filter(|scale| *scale != 0.0) {
        Some(scale) => f64::from(scale),
        None => 1.0 / (width.as_const().ok_or_else(|| unsupported!("the width of heads is symbolic"))? as f64).sqrt(),
    };
    let (dtype, state_dtype) = (cx.dtype(query)?, cx.dtype(node.opt(3).unwrap_or(query))?);
    let mut state = match node.opt(3) {
        Some(past) => cx.cast(past, DType::F32)?,
        None => {
            let zero = cx.scalar(DType::F32, 0.0)?;
            let values = cx.shape(tokens.v)?[3].clone();
            cx.expand(zero, vec![shape[0].clone(), Dim::constant(kv_heads), width, values])?
        }
    };
    let mut outputs = Vec::new();
    for i in 0..n_tokens {
        let y;
        (state, y) = step(cx, &tokens, state, i)?;
        outputs.push(cx.unsqueeze(y, &[2])?);
    }
    let [batch, length, _] = shape;
    let values = cx.shape(tokens.v)?[3].clone() * Dim::constant(q_heads);
    let y = match outputs.is_empty() {
        true => cx.scalar(DType::F32, 0.0)?,
        false => {
            let y = cx.concat(&outputs, 2)?;
            let y = cx.with_scalar(ScalarOp::Mul, y, scale)?;
            cx.transpose(y, vec![0, 2, 1, 3, 4])?
        }
    };
    let target = vec![batch, length, values];
    let y = if outputs.is_empty() { cx.expand(y, target)? } else { cx.reshape(y, target)? };
    Ok(vec![cx.cast(y, dtype)?, cx.cast(state, state_dtype)?])
}

fn tokens(cx: &mut Context, node: &NodeView, q_heads: i64, kv_heads: i64) -> Result<Tokens> {
    let q = per_head(cx, node.input(0)?, q_heads)?;
    let shape = cx.shape(q)?;
    let group = vec![shape[0].clone(), Dim::constant(kv_heads), Dim::constant(q_heads / kv_heads)];
    let q = cx.reshape(q, [group, shape[2..].to_vec()].concat())?;
    let q = cx.transpose(q, vec![0, 1, 3, 2, 4])?;
    let (k, v) = (per_head(cx, node.input(1)?, kv_heads)?, per_head(cx, node.input(2)?, kv_heads)?);
    let (gated, corrected) = match node.text("update_rule") {
        Some("linear") => (false, false),
        Some("gated") => (true, false),
        Some("delta") => (false, true),
        None | Some("gated_delta") => (true, true),
        Some(other) => return Err(invalid!("attribute `update_rule` is `{other}`")),
    };
    let mut tokens = Tokens { q, k, v, decay: None, beta: None };
    if gated {
        let logarithm = per_head(cx, node.input(4)?, kv_heads)?;
        tokens.decay = Some(cx.unary(ScalarOp::Exp, logarithm)?);
    }
    if corrected {
        let beta = node.input(5)?;
        let heads = if cx.shape(beta)?.last().is_some_and(|d| d.is(1)) { 1 } else { kv_heads };
        tokens.beta = Some(per_head(cx, beta, heads)?);
    }
    Ok(tokens)
}

/// `[batch, tokens, heads * width]` as f32 `[batch, heads, tokens, width]`.
fn per_head(cx: &mut Context, x: ValueId, heads: i64) -> Result<ValueId> {
    let [batch, length, packed] =
        <[Dim; 3]>::try_from(cx.shape(x)?).map_err(|_| invalid!("inputs must have rank 3"))?;
    let heads = Dim::constant(heads);
    let width = packed.floor_div(&heads);
    let split = cx.reshape(x, vec![batch, length, heads, width])?;
    let split = cx.transpose(split, vec![0, 2, 1, 3])?;
    cx.cast(split, DType::F32)
}

/// The state after token `i`, and what its queries read: `[batch, key heads, queries per key, value width]`.
fn step(cx: &mut Context, tokens: &Tokens, mut state: ValueId, i: i64) -> Result<(ValueId, ValueId)> {
    let at = |cx: &mut Context, x: ValueId| cx.slice(x, 2, Dim::constant(i), Dim::constant(1));
    let (q, k, mut v) = (at(cx, tokens.q)?, at(cx, tokens.k)?, at(cx, tokens.v)?);
    if let Some(decay) = tokens.decay {
        let decay = at(cx, decay)?;
        let decay = cx.transpose_last(decay)?;
        state = cx.binary(ScalarOp::Mul, state, decay)?;
    }
    if let Some(beta) = tokens.beta {
        let known = cx.matmul(k, state)?;
        let change = cx.binary(ScalarOp::Sub, v, known)?;
        let beta = at(cx, beta)?;
        v = cx.binary(ScalarOp::Mul, beta, change)?;
    }
    let column = cx.transpose_last(k)?;
    let outer = cx.binary(ScalarOp::Mul, column, v)?;
    state = cx.binary(ScalarOp::Add, state, outer)?;
    let rows = cx.squeeze(q, &[2])?;
    Ok((state, cx.matmul(rows, state)?))
}
