//! ONNX ops on quantized tensors: `QuantizeLinear`, `DequantizeLinear`, `DynamicQuantizeLinear`, `MatMulInteger`,
//! `QLinearMatMul`, `ConvInteger`, `QLinearConv`.
//!
//! Contractions of 8-bit integers become `integer_matmul` and `integer_convolution`.

use super::prelude::*;
use super::sliding::{Window, spatial};
use ic_ir::ops::{
    ConvAlgorithm, Convolution, Dequantize, IntegerConvolution, IntegerMatmul, Layout, Quantize, ReduceFn,
};

fn type_attribute(node: &NodeView, name: &str) -> Result<Option<DType>> {
    let code = node.int(name).filter(|code| *code != 0);
    code.map(|code| dtype(i32::try_from(code).unwrap_or(-1))).transpose()
}

fn block_size(node: &NodeView) -> Result<usize> {
    usize::try_from(node.int("block_size").unwrap_or(0)).map_err(|_| invalid!("`block_size` is negative"))
}

/// The axis of scales; of no consequence where there is one scale.
fn scale_axis(cx: &Context, node: &NodeView) -> Result<i64> {
    let axis = node.int("axis").unwrap_or(1);
    match cx.ty(node.input(1)?)?.elements().is(1) {
        true => Ok(0),
        false => cx.axis(node.input(0)?, axis).map(|axis| axis as i64),
    }
}

/// `QuantizeLinear`.
pub(super) fn quantize_linear(cx: &mut Context, node: &NodeView) -> Results {
    let (mut x, mut scale, zero_point) = (node.input(0)?, node.input(1)?, node.opt(2));
    let to = match (zero_point, type_attribute(node, "output_dtype")?) {
        (Some(zero_point), _) => cx.dtype(zero_point)?,
        (None, Some(to)) => to,
        (None, None) => DType::U8,
    };
    if let Some(precision) = type_attribute(node, "precision")? {
        (x, scale) = (cx.cast(x, precision)?, cx.cast(scale, precision)?);
    }
    let axis = scale_axis(cx, node)?;
    let op = Quantize { axis, block_size: block_size(node)?, to, saturate: node.flag("saturate", true) };
    Ok(vec![cx.push_all(op, &[Some(x), Some(scale), zero_point])?[0]])
}

/// `DequantizeLinear`.
pub(super) fn dequantize_linear(cx: &mut Context, node: &NodeView) -> Results {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let to = match type_attribute(node, "output_dtype")? {
        Some(to) => to,
        None => cx.dtype(scale)?,
    };
    let op = Dequantize { axis: scale_axis(cx, node)?, block_size: block_size(node)?, to };
    Ok(vec![cx.push_all(op, &[Some(x), Some(scale), node.opt(2)])?[0]])
}

/// `DynamicQuantizeLinear`: scale and zero point from the range of `x` with 0 in it.
pub(super) fn dynamic_quantize_linear(cx: &mut Context, node: &NodeView) -> Results {
    Ok(dynamically_quantized(cx, node.input(0)?)?.into())
}

/// `x` as u8, its scale and its zero point.
pub(super) fn dynamically_quantized(cx: &mut Context, x: ValueId) -> Result<[ValueId; 3]> {
    let axes: Vec<usize> = (0..cx.rank(x)?).collect();
    let bound = |cx: &mut Context, reduction, function| -> Result<ValueId> {
        let bound = cx.reduce(reduction, x, axes.clone())?;
        let bound = cx.reshape(bound, vec![])?;
        cx.with_scalar(function, bound, 0.0)
    };
    let (low, high) = (bound(cx, ReduceFn::Min, ScalarOp::Min)?, bound(cx, ReduceFn::Max, ScalarOp::Max)?);
    let range = cx.binary(ScalarOp::Sub, high, low)?;
    let scale = cx.with_scalar(ScalarOp::Div, range, 255.0)?;
    // A tensor of zeros has no range; any scale represents it.
    let is_empty = cx.with_scalar(ScalarOp::Eq, scale, 0.0)?;
    let one = cx.scalar_like(scale, 1.0)?;
    let scale = cx.select(is_empty, one, scale)?;
    let quotient = cx.binary(ScalarOp::Div, low, scale)?;
    let offset = cx.unary(ScalarOp::Neg, quotient)?;
    let offset = cx.with_scalar(ScalarOp::Max, offset, 0.0)?;
    let offset = cx.with_scalar(ScalarOp::Min, offset, 255.0)?;
    let offset = cx.unary(ScalarOp::Round, offset)?;
    let zero_point = cx.cast(offset, DType::U8)?;
    let y = cx.push(Quantize { axis: 0, block_size: 0, to: DType::U8, saturate: true }, &[x, scale, zero_point])?;
    Ok([y, scale, zero_point])
}

/// `x - zero_point` in i32. `zero_point` is one element, or one for each position of `axis`.
fn centred(cx: &mut Context, x: ValueId, zero_point: Option<ValueId>, axis: usize) -> Result<ValueId> {
    let wide = cx.cast(x, DType::I32)?;
    let Some(zero_point) = zero_point else { return Ok(wide) };
    let zero_point = cx.cast(zero_point, DType::I32)?;
    let zero_point = along(cx, zero_point, wide, axis)?;
    cx.binary(ScalarOp::Sub, wide, zero_point)
}

/// A tensor of rank 1 with its elements along an axis of `like`; of more or less rank as it is.
pub(super) fn along(cx: &mut Context, value: ValueId, like: ValueId, axis: usize) -> Result<ValueId> {
    let (shape, rank) = (cx.shape(value)?, cx.rank(like)?);
    let [extent] = shape.as_slice() else { return Ok(value) };
    if extent.is(1) {
        return cx.reshape(value, vec![]);
    }
    let mut at = vec![Dim::constant(1); rank];
    *at.get_mut(axis).ok_or_else(|| invalid!("a scale or zero point does not fit rank {rank}"))? = extent.clone();
    cx.reshape(value, at)
}

/// The axis of rows of a matrix, or of the only axis of a vector.
pub(super) fn row_axis(cx: &Context, x: ValueId) -> Result<usize> {
    Ok(cx.rank(x)?.saturating_sub(2))
}

/// A factor of an integer contraction with its zero point.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    pub(super) value: ValueId,
    pub(super) zero_point: Option<ValueId>,
}

impl Factor {
    /// The factor whose value and zero point are these inputs of a node.
    fn of(node: &NodeView, value: usize, zero_point: usize) -> Result<Factor> {
        Ok(Factor { value: node.input(value)?, zero_point: node.opt(zero_point) })
    }
}

fn is_8_bit(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8)
}

/// Whether a zero point is absent or one element.
fn is_single(cx: &Context, zero_point: Option<ValueId>) -> Result<bool> {
    Ok(zero_point.map(|z| cx.ty(z)).transpose()?.is_none_or(|ty| ty.elements().is(1)))
}

/// A zero point of one element as rank 0, one of several as rank 1 if all other extents are 1.
fn flat_zero_point(cx: &mut Context, zero_point: Option<ValueId>) -> Result<Option<ValueId>> {
    let Some(value) = zero_point else { return Ok(None) };
    let shape = cx.shape(value)?.to_vec();
    let wide: Vec<Dim> = shape.iter().filter(|extent| !extent.is(1)).cloned().collect();
    let is_row = shape.last().is_some_and(|last| wide.is_empty() || !last.is(1));
    if wide.len() <= 1 && wide.len() < shape.len() && (wide.is_empty() || is_row) {
        return cx.reshape(value, wide).map(Some);
    }
    Ok(Some(value))
}

/// A zero point of which only a run knows whether it is one for all columns of `b`, one for each column.
fn for_each_column(cx: &mut Context, zero_point: Option<ValueId>, b: ValueId) -> Result<Option<ValueId>> {
    let Some(value) = zero_point else { return Ok(None) };
    let columns = cx.shape(b)?.last().cloned();
    match (cx.shape(value)?.as_slice(), columns) {
        ([extent], Some(columns)) if extent.as_const().is_none() => cx.expand(value, vec![columns]).map(Some),
        _ => Ok(Some(value)),
    }
}

/// The i32 product of centred factors, plus a bias.
pub(super) fn integer_product(cx: &mut Context, a: Factor, b: Factor, bias: Option<ValueId>) -> Result<ValueId> {
    let zeros = [flat_zero_point(cx, a.zero_point)?, flat_zero_point(cx, b.zero_point)?];
    let zeros = [zeros[0], for_each_column(cx, zeros[1], b.value)?];
    let b_fits = zeros[1].map(|z| cx.rank(z)).transpose()?.is_none_or(|rank| rank <= 1);
    if !is_8_bit(cx.dtype(a.value)?) || !is_8_bit(cx.dtype(b.value)?) || !b_fits {
        let (rows, columns) = (row_axis(cx, a.value)?, cx.rank(b.value)?.saturating_sub(1));
        let left = centred(cx, a.value, a.zero_point, rows)?;
        let right = centred(cx, b.value, b.zero_point, columns)?;
        let sum = super::matmul::product(cx, left, right)?;
        return bias.map_or(Ok(sum), |bias| cx.binary(ScalarOp::Add, sum, bias));
    }
    let single = is_single(cx, zeros[0])?;
    let sum = super::matmul::with_matrices(cx, a.value, b.value, |cx, a, b| {
        let a_zero = zeros[0].filter(|_| single);
        Ok(cx.push_all(IntegerMatmul {}, &[Some(a), Some(b), a_zero, zeros[1], bias])?[0])
    })?;
    if single {
        return Ok(sum);
    }
    // A zero point for each row is multiplied by the sums of the columns.
    let axis = row_axis(cx, b.value)?;
    let columns = cx.rank(b.value)?.saturating_sub(1);
    let right = centred(cx, b.value, b.zero_point, columns)?;
    let sums = cx.reduce(ReduceFn::Sum, right, vec![axis])?;
    let Some(zero_point) = a.zero_point else { return Ok(sum) };
    let zero_point = cx.cast(zero_point, DType::I32)?;
    let rows = row_axis(cx, sum)?;
    let zero_point = along(cx, zero_point, sum, rows)?;
    let excess = cx.binary(ScalarOp::Mul, zero_point, sums)?;
    cx.binary(ScalarOp::Sub, sum, excess)
}

/// `MatMulInteger`.
pub(super) fn matmul_integer(cx: &mut Context, node: &NodeView) -> Results {
    let (a, b) = (Factor::of(node, 0, 2)?, Factor::of(node, 1, 3)?);
    Ok(vec![integer_product(cx, a, b, None)?])
}

/// `QLinearMatMul`.
pub(super) fn qlinear_matmul(cx: &mut Context, node: &NodeView) -> Results {
    let (a, b) = (Factor::of(node, 0, 2)?, Factor::of(node, 3, 5)?);
    let sum = integer_product(cx, a, b, None)?;
    let rows = row_axis(cx, sum)?;
    let columns = cx.rank(sum)?.saturating_sub(1);
    requantized(cx, node, sum, [(1, rows), (4, columns), (6, rows)], 7)
}

/// `ConvInteger`.
pub(super) fn conv_integer(cx: &mut Context, node: &NodeView) -> Results {
    let (x, w) = (Factor::of(node, 0, 2)?, Factor::of(node, 1, 3)?);
    Ok(vec![convolution(cx, node, x, w, None)?])
}

/// `QLinearConv`.
pub(super) fn qlinear_conv(cx: &mut Context, node: &NodeView) -> Results {
    let (x, w) = (Factor::of(node, 0, 2)?, Factor::of(node, 3, 5)?);
    let sum = convolution(cx, node, x, w, node.opt(8))?;
    requantized(cx, node, sum, [(1, 1), (4, 1), (6, 1)], 7)
}

/// `com.microsoft::QLinearConv`: `QLinearConv`, with channels last on request.
pub(super) fn qlinear_conv_of_layout(cx: &mut Context, node: &NodeView) -> Results {
    if !node.flag("channels_last", false) {
        return qlinear_conv(cx, node);
    }
    let (x, w) = (Factor::of(node, 0, 2)?, Factor::of(node, 3, 5)?);
    let rank = cx.rank(x.value)?;
    if rank < 2 {
        return Err(invalid!("`x` must have rank 2 or more, found {rank}"));
    }
    let first = cx.transpose(x.value, [0, rank - 1].into_iter().chain(1..rank - 1).collect())?;
    let sum = convolution(cx, node, Factor { value: first, ..x }, w, node.opt(8))?;
    let y = requantized(cx, node, sum, [(1, 1), (4, 1), (6, 1)], 7)?[0];
    Ok(vec![cx.transpose(y, [0].into_iter().chain(2..rank).chain([1]).collect())?])
}

/// The i32 convolution of centred factors, plus a bias.
fn convolution(cx: &mut Context, node: &NodeView, x: Factor, w: Factor, bias: Option<ValueId>) -> Result<ValueId> {
    let (space, kernel) = (spatial(cx, x.value)?, spatial(cx, w.value)?);
    let Window { strides, dilations, pads, .. } = Window::new(node, &space, Some(&kernel))?;
    let groups = super::conv::groups(node)?;
    let op = Convolution {
        strides,
        pads,
        dilations,
        groups,
        layout: Layout::ChannelsFirst,
        algorithm: ConvAlgorithm::Direct,
    };
    let zeros = [flat_zero_point(cx, x.zero_point)?, flat_zero_point(cx, w.zero_point)?];
    if is_8_bit(cx.dtype(x.value)?) && is_8_bit(cx.dtype(w.value)?) && is_single(cx, zeros[0])? {
        let op = IntegerConvolution::from(op);
        return Ok(cx.push_all(op, &[Some(x.value), Some(w.value), zeros[0], zeros[1], bias])?[0]);
    }
    let (x, w) = (centred(cx, x.value, x.zero_point, 1)?, centred(cx, w.value, w.zero_point, 0)?);
    Ok(cx.push_all(op, &[Some(x), Some(w), bias])?[0])
}

/// `sum * (scale_a * scale_b / scale_y)`, rounded and saturated to the type of the zero point. Scales are inputs, each
/// with the axis of `sum` that it is along where it is not one element.
fn requantized(
    cx: &mut Context,
    node: &NodeView,
    sum: ValueId,
    scales: [(usize, usize); 3],
    zero_point: usize,
) -> Results {
    let mut factors = Vec::new();
    for (index, axis) in scales {
        let scale = cx.cast(node.input(index)?, DType::F32)?;
        factors.push(along(cx, scale, sum, axis)?);
    }
    let product = cx.binary(ScalarOp::Mul, factors[0], factors[1])?;
    let factor = cx.binary(ScalarOp::Div, product, factors[2])?;
    let wide = cx.cast(sum, DType::F32)?;
    let scaled = cx.binary(ScalarOp::Mul, wide, factor)?;
    let zero_point = node.input(zero_point)?;
    let (to, elements) = (cx.dtype(zero_point)?, cx.ty(zero_point)?.elements());
    let one = cx.scalar(DType::F32, 1.0)?;
    if !elements.is(1) {
        return Err(unsupported!("a result with several zero points"));
    }
    let zero_point = cx.reshape(zero_point, vec![])?;
    let op = Quantize { axis: 0, block_size: 0, to, saturate: true };
    Ok(vec![cx.push(op, &[scaled, one, zero_point])?])
}
