//! Which values are known when the model is compiled: they depend on constants alone.

use crate::rebuild::Rebuild;
use ic_ir::{Graph, GraphError, Op, Type, ValueDef, ValueId};
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

/// The new value of an old one that is known, built if it is not yet.
pub(crate) fn build_known(rebuild: &mut Rebuild, old: ValueId) -> Result<ValueId, GraphError> {
    if !rebuild.is_built(old)
        && let Some(node) = rebuild.old.def(old)
    {
        for operand in node.operands.iter().flatten() {
            build_known(rebuild, *operand)?;
        }
        rebuild.copy(node, Vec::new())?;
    }
    Ok(rebuild.value(old))
}
