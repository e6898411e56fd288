//! `quantize`: floats divided by a scale and rounded to a narrow type. ONNX `QuantizeLinear`, opset 23.

use crate::eval::{checked_len, from_ints, from_reals_with, int_range, ints, reals, strides};
use crate::minifloat::{Overflow, decode, encode};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// `round(x / scale) + zero_point`, saturated to the range of the result's type. Rounds half to even.
    ///
    /// The scale is one element, or one for each position on `axis`, or of the rank of `x` with one for each block of
    /// `block_size` elements along `axis`.
    Quantize {
        /// The axis of the scales, counted from the end if negative.
        axis: i64 = 1,
        /// Elements that share a scale along `axis`; 0 if the scales are not blocked.
        block_size: usize = 0,
        /// The result's element type.
        to: DType,
        /// Whether what exceeds an 8-bit float becomes its largest value rather than infinity or NaN.
        saturate: bool = true
    }
}

impl OpDef for Quantize {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("scale"), OperandSpec::optional("zero_point")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        let narrow = self.to.is_int() || self.to.is_float();
        ensure!(narrow, "`to` must be a number type, found {}", self.to);
        super::check_float(x.ty(1)?, "scale")?;
        check_scale(x, ty, self.axis, self.block_size)?;
        check_zero_point(x, self.to)?;
        Ok(vec![TensorType::new(self.to, ty.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, scale) = (x.get(0)?, x.get(1)?);
        let shape = input.shape().to_vec();
        let sources = scale_indices(&shape, scale.shape(), self.axis, self.block_size)?;
        let (values, scales) = (numbers(input)?, reals(scale)?);
        // As the type of the scale divides, so that ties fall alike.
        let divide = |a: f64, b: f64| match scale.dtype() {
            DType::F64 => a / b,
            // What has an exponent alone holds no quotient.
            DType::F32 | DType::F8E8M0 => f64::from(a as f32 / b as f32),
            narrow => decode(narrow, encode(narrow, a / b, Overflow::Special)),
        };
        let quotients = values.iter().zip(&sources).map(|(&v, &s)| divide(v, scales[s]));
        let zero_points = x.opt(2).map(numbers).transpose()?;
        ensure!(
            zero_points.as_ref().is_none_or(|z| z.len() == scales.len()),
            "`zero_point` must have the shape of `scale`"
        );
        let zero_point = |source: usize| zero_points.as_ref().map_or(0.0, |z| z[source]);
        if self.to.is_float() {
            let overflow = if self.saturate { Overflow::Saturate } else { Overflow::Special };
            let sums = quotients.zip(&sources).map(|(q, &s)| q + zero_point(s)).collect();
            return Ok(vec![from_reals_with(self.to, shape, sums, overflow)?]);
        }
        let (lowest, highest) = int_range(self.to);
        let round = |(q, &s): (f64, &usize)| {
            // NaN becomes the zero point.
            let rounded = libm::rint(q).clamp(-1e18, 1e18) as i128 + zero_point(s) as i128;
            rounded.clamp(lowest, highest)
        };
        Ok(vec![from_ints(self.to, shape, quotients.zip(&sources).map(round).collect())?])
    }
}

/// The elements of a number tensor as f64.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, OpError> {
    if tensor.dtype().is_float() {
        return reals(tensor);
    }
    Ok(ints(tensor)?.into_iter().map(|x| x as f64).collect())
}

/// # Errors
/// If `scale`, operand 1, does not fit a tensor of type `ty`.
pub(super) fn check_scale(x: &Operands, ty: &TensorType, axis: i64, block_size: usize) -> Result<(), OpError> {
    let scale = x.ty(1)?;
    if scale.elements().is(1) && scale.rank() <= 1 && block_size == 0 {
        return Ok(());
    }
    let axis = super::axis_of(axis, ty.rank())?;
    if block_size == 0 {
        ensure!(scale.rank() == 1, "`scale` must have rank 0 or 1, found {scale}");
        x.equal(&ty.shape[axis], &scale.shape[0], "the extents of `scale` and of its axis")?;
        return Ok(());
    }
    ensure!(scale.rank() == ty.rank(), "a blocked `scale` must have the rank of `x`, found {scale}");
    for (i, (extent, scale)) in ty.shape.iter().zip(&scale.shape).enumerate() {
        let expected = if i == axis { extent.ceil_div(&super::spatial::dim(block_size)) } else { extent.clone() };
        x.equal(&expected, scale, &format!("extents of `scale` and of the blocks on axis {i}"))?;
    }
    Ok(())
}

/// # Errors
/// If `zero_point`, operand 2, is present and not of type `dtype`, or has not the shape of the scale.
pub(super) fn check_zero_point(x: &Operands, dtype: DType) -> Result<(), OpError> {
    let (Some(zero_point), scale) = (x.opt(2), x.ty(1)?) else { return Ok(()) };
    if zero_point.dtype == dtype && zero_point.elements().is(1) && scale.elements().is(1) {
        return Ok(());
    }
    super::check_operand(x, 2, "zero_point", &TensorType::new(dtype, scale.shape.clone()))
}

/// For each element of a tensor, the index of its scale.
pub(super) fn scale_indices(
    shape: &[usize],
    scale: &[usize],
    axis: i64,
    block_size: usize,
) -> Result<Vec<usize>, OpError> {
    let len = checked_len(shape)?;
    if scale.iter().product::<usize>() == 1 && scale.len() <= 1 && block_size == 0 {
        return Ok(vec![0; len]);
    }
    let axis = super::axis_of(axis, shape.len())?;
    let mut steps = vec![0; shape.len()];
    if block_size == 0 {
        ensure!(scale == [shape[axis]], "`scale` must have one element for each position on axis {axis}");
        steps[axis] = 1;
    } else {
        let mut blocks = shape.to_vec();
        blocks[axis] = blocks[axis].div_ceil(block_size);
        ensure!(scale == blocks, "`scale` must have shape {blocks:?}, found {scale:?}");
        steps = strides(scale);
    }
    let mut indices = Vec::with_capacity(len);
    crate::eval::for_each_coordinate(shape, |at| {
        let along = |i: usize| if i == axis && block_size > 0 { at[i] / block_size } else { at[i] };
        indices.push((0..at.len()).map(|i| along(i) * steps[i]).sum());
        Ok(())
    })?;
    Ok(indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::Data;

    #[test]
    fn rounds_half_to_even_and_saturates() {
        let input = Tensor::from_elements(vec![2, 3], vec![1.0f32, 3.0, 1e9, -1.0, -3.0, f32::NEG_INFINITY]);
        let scale = Tensor::from_elements(vec![2], vec![2.0f32, 2.0]);
        let zero = Tensor::new(vec![2], Data::I8(vec![0, 1]));
        let x = Tensors { operands: vec![Some(&input), Some(&scale), Some(&zero)], regions: &[], symbols: &|_| None };
        let y = Quantize { axis: 0, block_size: 0, to: DType::I8, saturate: true }.eval(&x).unwrap().remove(0);
        assert_eq!(y.data(), &Data::I8(vec![0, 2, 127, 1, -1, -128]));
    }
}
