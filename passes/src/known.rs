//! Which values are known when the model is compiled: they depend on constants alone.

use ic_ir::{Graph, Op, Type, ValueDef};
use ic_types::Dim;

/// Whether each value is known, by value.
pub(crate) fn known_values(graph: &Graph) -> Vec<bool> {
    let mut known: Vec<bool> = Vec::with_capacity(graph.values().len());
    for (_, value) in graph.values() {
        known.push(match value.def {
            ValueDef::Input(_) => false,
            ValueDef::Result(node, _) => {
                let node = graph.node(node);
                let operands_known = node.operands.iter().flatten().all(|v| known[v.index()]);
                operands_known && node.regions.is_empty() && is_fixed(&node.op, [&value.ty])
            }
        });
    }
    known
}

/// Whether the results of an op with these types depend on its operands alone, and on no symbol.
pub(crate) fn is_fixed<'a>(op: &Op, types: impl IntoIterator<Item = &'a Type>) -> bool {
    let fixed = |dims: &[Dim]| dims.iter().all(|dim| dim.as_const().is_some());
    let attributes_fixed = match op {
        Op::Dims(op) => fixed(&op.value),
        Op::Slice(op) => fixed(&op.starts),
        Op::Attention(op) => fixed(op.causal.as_slice()),
        Op::Pad(op) => fixed(&op.pads),
        Op::Convolution(op) => fixed(&op.pads),
        Op::IntegerConvolution(op) => fixed(&op.pads),
        Op::ConvTranspose(op) => fixed(&op.pads),
        Op::Pool(op) => fixed(&op.pads),
        Op::Col2Im(op) => fixed(&op.image) && fixed(&op.block),
        _ => true,
    };
    op.is_foldable()
        && attributes_fixed
        && types.into_iter().all(|ty| ty.as_tensor().is_some_and(|ty| fixed(&ty.shape)))
}
