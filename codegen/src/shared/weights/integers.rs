//! Weights that a model, or `quantize_weights`, keeps as integers with scales.

use ic_ir::ops::{Op, axis_of};
use ic_ir::{Graph, ValueId};
use ic_types::DType;

/// A constant matrix `[K, N]` of floats that is made of signed integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Integers {
    /// The integers, i8 or i4, `[K, N]`.
    pub(crate) values: ValueId,
    /// Their scales, `[ceil(K / group), N]` or `[N]`.
    pub(crate) scales: ValueId,
    /// The type of the integers.
    pub(crate) dtype: DType,
    /// Elements of a column that share a scale.
    pub(crate) group: usize,
}

/// The integers that `value` is made of, if kernels can read them: a scale for each column, or for each block of a column,
/// and no zero point.
pub(crate) fn integers(graph: &Graph, value: ValueId) -> Option<Integers> {
    integers_of(graph, value, &[DType::F32])
}

/// The integers of which `value`, of 16-bit floats, is made: their floats, or f32 that are rounded.
pub(crate) fn narrow_integers(graph: &Graph, value: ValueId) -> Option<Integers> {
    match graph.def(value).map(|node| (&node.op, &node.operands[..])) {
        Some((Op::Cast(_), &[Some(wide)])) if graph.dtype(wide) == DType::F32 => integers(graph, wide),
        _ => integers_of(graph, value, &[DType::F16, DType::BF16]),
    }
}

/// The integers of which floats of one of these types are made.
fn integers_of(graph: &Graph, value: ValueId, to: &[DType]) -> Option<Integers> {
    let node = graph.def(value)?;
    let (Op::Dequantize(op), [Some(values), Some(scales)]) = (&node.op, &node.operands[..]) else { return None };
    let (ty, scale_ty) = (graph.ty(*values).as_tensor()?, graph.ty(*scales).as_tensor()?);
    let shape = ty.constant_shape().filter(|shape| shape.len() == 2)?;
    let axis = axis_of(op.axis, 2).ok()?;
    let group = match (op.block_size, axis) {
        (0, 1) if scale_ty.rank() == 1 && scale_ty.elements().is(shape[1] as i64) => shape[0].max(1),
        (block, 0) if block > 0 => block,
        _ => return None,
    };
    let is_narrow = ty.dtype == DType::I8 || ty.dtype == DType::I4 && (group.is_multiple_of(2) || group >= shape[0]);
    let fits = to.contains(&op.to) && (scale_ty.dtype == DType::F32 || scale_ty.dtype == op.to);
    (is_narrow && fits).then_some(Integers { values: *values, scales: *scales, dtype: ty.dtype, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Elements that share a scale in the weight of a product.
    fn group(dtype: &str, scale: &str, attributes: &str) -> Option<usize> {
        let text = format!(
            "graph @g(%x: f32[2, 6]) {{
  %w = constant() {{value = {dtype}[6, 4] splat 1}}
  %s = constant() {{value = f32{scale} splat 0.5}}
  %v = dequantize(%w, %s) {{{attributes}}}
  %y = matmul(%x, %v)
  return \"y\" = %y
}}
"
        );
        let graph = ic_ir::text::parse(&text).unwrap();
        let product = graph.nodes().find(|(_, node)| matches!(node.op, Op::Matmul(_))).unwrap().1;
        integers(&graph, product.operands[1].unwrap()).map(|found| found.group)
    }

    #[test]
    fn columns_and_blocks_of_columns_have_scales() {
        assert_eq!(group("i8", "[4]", "axis = 1"), Some(6));
        assert_eq!(group("i4", "[4]", "axis = -1"), Some(6));
        assert_eq!(group("i4", "[2, 4]", "axis = 0, block_size = 4"), Some(4));
        assert_eq!(group("i8", "[2, 4]", "axis = 0, block_size = 3"), Some(3));
        assert_eq!(group("i4", "[2, 4]", "axis = 0, block_size = 3"), None);
        assert_eq!(group("i8", "[6, 2]", "axis = 1, block_size = 2"), None);
        assert_eq!(group("i8", "[6]", "axis = 0"), None);
        assert_eq!(group("u8", "[4]", "axis = 1"), None);
    }
}
