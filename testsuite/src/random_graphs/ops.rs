//! The ops of random graphs: each takes operands out of the graph or makes new ones, and adds a node.

mod contraction;
mod movement;
mod pointwise;
mod reduce;

use super::build::{Attribute, Builder, Id, Rounds, attribute};
use ic_types::DType;

/// Adds a node; `None` if it does not fit.
pub(super) type Maker = fn(&mut Builder) -> Option<()>;

/// All of them; what is listed twice is twice as frequent.
pub(super) const OPS: &[Maker] = &[
    pointwise::unary,
    pointwise::unary,
    pointwise::step,
    pointwise::binary,
    pointwise::binary,
    pointwise::binary,
    pointwise::divide,
    pointwise::compare,
    pointwise::logic,
    pointwise::bits,
    pointwise::select,
    pointwise::clip,
    pointwise::cast,
    pointwise::variadic,
    movement::transpose,
    movement::transpose,
    movement::reshape,
    movement::reshape,
    movement::unsqueeze,
    movement::squeeze,
    movement::flatten,
    movement::expand,
    movement::slice,
    movement::slice,
    movement::concat,
    movement::split,
    movement::tile,
    movement::pad,
    movement::gather,
    movement::gather_elements,
    movement::scatter_elements,
    movement::gather_nd,
    movement::scatter_nd,
    movement::depth_to_space,
    movement::trilu,
    movement::shape_of,
    movement::reverse_sequence,
    reduce::reduce,
    reduce::reduce,
    reduce::extreme,
    reduce::arg,
    reduce::top_k,
    reduce::cumulative,
    reduce::softmax,
    reduce::layer_normalization,
    reduce::channel_normalization,
    contraction::matmul,
    contraction::matmul,
    contraction::gemm,
    contraction::conv,
    contraction::conv,
    contraction::conv_transpose,
    contraction::pool,
    contraction::global_pool,
    contraction::einsum,
    contraction::quantize,
    contraction::matmul_integer,
];

const F: &[DType] = &[DType::F32, DType::F32, DType::F32, DType::F32, DType::F64, DType::F16, DType::BF16];
const INTS: &[DType] = &[DType::I64, DType::I32, DType::I16, DType::I8, DType::U8, DType::U16, DType::U32, DType::U64];
/// Floats as a rule.
const NUMBERS: &[DType] = &[
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::U8,
    DType::I8,
    DType::U32,
];
const ANY: &[DType] = &[
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::U8,
    DType::I16,
    DType::Bool,
    DType::U64,
];

/// An axis, counted from the front or the end.
fn signed(b: &mut Builder, axis: usize, rank: usize) -> i64 {
    if b.random.flag() { axis as i64 } else { axis as i64 - rank as i64 }
}

fn attr(name: &str, value: impl Into<Attribute>) -> onnx_protobuf::AttributeProto {
    attribute(name, value)
}

fn all(ids: &[Id]) -> Vec<Option<Id>> {
    ids.iter().copied().map(Some).collect()
}

/// Adds a node with one result.
fn one(
    b: &mut Builder,
    op: &str,
    operands: &[Id],
    attributes: Vec<onnx_protobuf::AttributeProto>,
    rounds: Rounds,
) -> Option<()> {
    b.push(op, &all(operands), attributes, 1, rounds).map(|_| ())
}
