//! ONNX `LinearAttention`: a matrix for each head that every token decays, corrects and reads.
//!
//! The recurrence is the `Scan` over tokens by which ONNX defines the operator, so that a model which spells it out ends
//! in the same kernels.

use super::loops::{Arguments, Iteration, run};
use super::prelude::*;
use crate::import::onnx::context::Binding;
use onnx_protobuf::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};

pub(super) const OPS: &[super::Row] = &[("", "LinearAttention", linear_attention)];

/// How a token changes the state.
struct Rule {
    /// Whether the state decays.
    gated: bool,
    /// Whether what the state knows of the key already is taken off the value.
    corrected: bool,
    /// Whether several heads of queries read one state.
    shared: bool,
}

/// `LinearAttention`.
fn linear_attention(cx: &mut Context, node: &NodeView) -> Results {
    let heads = |name: &str| node.int(name).filter(|h| *h > 0).ok_or_else(|| invalid!("`{name}` must be positive"));
    let (q_heads, kv_heads) = (heads("q_num_heads")?, heads("kv_num_heads")?);
    if q_heads % kv_heads != 0 {
        return Err(invalid!("{q_heads} heads of queries cannot share {kv_heads} heads of keys"));
    }
    let (gated, corrected) = match node.text("update_rule") {
        Some("linear") => (false, false),
        Some("gated") => (true, false),
        Some("delta") => (false, true),
        None | Some("gated_delta") => (true, true),
        Some(other) => return Err(invalid!("attribute `update_rule` is `{other}`")),
    };
    let rule = Rule { gated, corrected, shared: q_heads != kv_heads };
    let query = node.input(0)?;
    let [batch, length, _] =
        <[Dim; 3]>::try_from(cx.shape(query)?).map_err(|_| invalid!("`query` must have rank 3"))?;
    let mut sources = vec![per_token(cx, query, Dim::constant(q_heads), None)?];
    for (index, _) in &inputs_of(&rule)[1..] {
        let input = node.input(*index)?;
        // Factors of corrections are one number for each head, or one for all.
        let width = Some(Dim::constant(1)).filter(|_| *index == BETA);
        sources.push(per_token(cx, input, Dim::constant(kv_heads), width)?);
    }
    let (width, values) = (cx.shape(sources[1])?[3].clone(), cx.shape(sources[2])?[3].clone());
    let state = match node.opt(3) {
        Some(past) => cx.cast(past, DType::F32)?,
        None => {
            let zero = cx.scalar(DType::F32, 0.0)?;
            cx.expand(zero, vec![batch.clone(), Dim::constant(kv_heads), width.clone(), values.clone()])?
        }
    };
    cx.open_scope();
    bind_constants(cx, node, &width)?;
    if rule.shared {
        let (group, state) = (Dim::constant(q_heads / kv_heads), [width, values.clone()]);
        let repeated = [&[batch.clone(), Dim::constant(kv_heads), group], &state[..]].concat();
        let read = [&[batch.clone(), Dim::constant(q_heads)], &state[..]].concat();
        for (name, shape) in [("repeated", repeated), ("read", read)] {
            let shape = cx.dims(shape)?;
            cx.bind(name, Binding::Value(shape));
        }
    }
    let body = step(&rule);
    let sources = sources.into_iter().map(|source| (source, 0, false)).collect();
    let (trips, depth) = (Some(length.clone()), cx.depth());
    let arguments = Arguments::Scan(sources, &length);
    let of = Iteration { body: &body, trips, limit: None, condition: None, depth, carried: vec![state], arguments };
    let given = run(cx, &of);
    cx.close_scope();
    let given = given?;
    let (&[state], &[y]) = (&given.carried[..], &given.scans[..]) else { return Err(invalid!("nothing is carried")) };
    let y = cx.transpose(y, vec![1, 0, 2, 3])?;
    let y = cx.reshape(y, vec![batch, length, values * Dim::constant(q_heads)])?;
    let state_dtype = cx.dtype(node.opt(3).unwrap_or(query))?;
    Ok(vec![y, cx.cast(state, state_dtype)?])
}

/// The input that corrections are multiplied by.
const BETA: usize = 5;

/// The inputs that the body reads for each token, and their names in it.
fn inputs_of(rule: &Rule) -> Vec<(usize, &'static str)> {
    let mut inputs = vec![(0, "q"), (1, "k"), (2, "v")];
    if rule.gated {
        inputs.push((4, "decay"));
    }
    if rule.corrected {
        inputs.push((BETA, "beta"));
    }
    inputs
}

/// `[batch, tokens, heads * width]` as `[tokens, batch, heads, width]`; with a width given, of as many heads as fit.
fn per_token(cx: &mut Context, x: ValueId, heads: Dim, width: Option<Dim>) -> Result<ValueId> {
    let [batch, length, packed] =
        <[Dim; 3]>::try_from(cx.shape(x)?).map_err(|_| invalid!("inputs must have rank 3"))?;
    let [heads, width] = match width {
        Some(width) => [packed.floor_div(&width), width],
        None => [heads.clone(), packed.floor_div(&heads)],
    };
    let split = cx.reshape(x, vec![batch, length, heads, width])?;
    cx.transpose(split, vec![1, 0, 2, 3])
}

/// Names for what the body takes from outside: axes, and what its results are multiplied by.
fn bind_constants(cx: &mut Context, node: &NodeView, width: &Dim) -> Result<()> {
    let scale = match node.float("scale").filter(|scale| *scale != 0.0) {
        Some(scale) => cx.scalar(DType::F32, scale.into())?,
        None => {
            let width = cx.dim_scalar(width.clone())?;
            let width = cx.cast(width, DType::F32)?;
            let root = cx.unary(ScalarOp::Sqrt, width)?;
            cx.unary(ScalarOp::Reciprocal, root)?
        }
    };
    cx.bind("scale", Binding::Value(scale));
    for (name, axis) in [("last", -1i64), ("before_last", -2), ("group", 2)] {
        let axis = cx.vector(vec![axis])?;
        cx.bind(name, Binding::Value(axis));
    }
    Ok(())
}

/// A node of the body.
fn op(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op_type.into(),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

/// What one token does: inputs are the state and what is read for the token, outputs the next state and what the queries
/// read of it.
fn step(rule: &Rule) -> GraphProto {
    let to_f32 = || vec![AttributeProto { name: "to".into(), i: 1, ..AttributeProto::default() }];
    let swap = || vec![AttributeProto { name: "perm".into(), ints: vec![0, 1, 3, 2], ..AttributeProto::default() }];
    let inputs = inputs_of(rule);
    let wide = |name: &str| format!("{name}_f32");
    let mut nodes: Vec<NodeProto> = inputs.iter().map(|(_, name)| op("Cast", &[name], &wide(name), to_f32())).collect();
    let mut push = |op_type: &str, inputs: &[&str], output: &str| nodes.push(op(op_type, inputs, output, Vec::new()));
    let mut state = "state";
    if rule.gated {
        push("Exp", &["decay_f32"], "decayed");
        push("Unsqueeze", &["decayed", "last"], "decayed_column");
        push("Mul", &["state", "decayed_column"], "decayed_state");
        state = "decayed_state";
    }
    push("Unsqueeze", &["k_f32", "last"], "column");
    let mut value = "v_f32";
    if rule.corrected {
        push("MatMul", &["state_rows", "column"], "known_column");
        push("Squeeze", &["known_column", "last"], "known");
        push("Sub", &["v_f32", "known"], "change");
        push("Mul", &["beta_f32", "change"], "correction");
        value = "correction";
    }
    push("Unsqueeze", &[value, "before_last"], "row");
    push("MatMul", &["column", "row"], "outer");
    push("Add", &[state, "outer"], "next_state");
    let mut read = "next_state";
    if rule.shared {
        push("Unsqueeze", &["next_state", "group"], "next_group");
        push("Expand", &["next_group", "repeated"], "next_repeated");
        push("Reshape", &["next_repeated", "read"], "next_read");
        read = "next_read";
    }
    push("Unsqueeze", &["q_f32", "before_last"], "query_row");
    push("MatMul", &["query_row", read], "answer_row");
    push("Squeeze", &["answer_row", "before_last"], "answer");
    push("Mul", &["scale", "answer"], "scaled");
    push("CastLike", &["scaled", "q"], "y");
    if rule.corrected {
        nodes.push(op("Transpose", &[state], "state_rows", swap()));
    }
    let port = |name: &str| ValueInfoProto { name: name.into(), ..ValueInfoProto::default() };
    GraphProto {
        name: "step".into(),
        node: nodes,
        input: std::iter::once("state").chain(inputs.iter().map(|(_, name)| *name)).map(port).collect(),
        output: ["next_state", "y"].map(port).to_vec(),
        ..GraphProto::default()
    }
}
