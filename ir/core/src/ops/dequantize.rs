//! `dequantize`: a narrow type multiplied by a scale. ONNX `DequantizeLinear`, opset 23.

use super::quantize::{check_scale, check_zero_point, numbers, scale_indices};
use crate::eval::{from_reals, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// `(x - zero_point) * scale`. The scale is as that of `quantize`.
    Dequantize {
        /// The axis of the scales, counted from the end if negative.
        axis: i64 = 1,
        /// Elements that share a scale along `axis`; 0 if the scales are not blocked.
        block_size: usize = 0,
        /// The result's element type.
        to: DType = DType::F32
    }
}

impl OpDef for Dequantize {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("scale"), OperandSpec::optional("zero_point")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        ensure!(self.to.is_float(), "`to` must be a float type, found {}", self.to);
        super::check_float(x.ty(1)?, "scale")?;
        check_scale(x, ty, self.axis, self.block_size)?;
        check_zero_point(x, ty.dtype)?;
        Ok(vec![TensorType::new(self.to, ty.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, scale) = (x.get(0)?, x.get(1)?);
        let shape = input.shape().to_vec();
        let sources = scale_indices(&shape, scale.shape(), self.axis, self.block_size)?;
        let (values, scales) = (numbers(input)?, reals(scale)?);
        let zero_points = x.opt(2).map(numbers).transpose()?;
        ensure!(
            zero_points.as_ref().is_none_or(|z| z.len() == scales.len()),
            "`zero_point` must have the shape of `scale`"
        );
        let zero_point = |source: usize| zero_points.as_ref().map_or(0.0, |z| z[source]);
        let product = |(&v, &s): (&f64, &usize)| (v - zero_point(s)) * scales[s];
        Ok(vec![from_reals(self.to, shape, values.iter().zip(&sources).map(product).collect())?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_types::Data;

    #[test]
    fn blocks_have_their_own_scales() {
        let input = Tensor::new(vec![1, 3], Data::I4(vec![1, 2, 3]));
        let scale = Tensor::from_elements(vec![1, 2], vec![2.0f32, 10.0]);
        let x = Tensors { operands: vec![Some(&input), Some(&scale)], regions: &[], symbols: &|_| None };
        let y = Dequantize { axis: 1, block_size: 2, to: DType::F32 }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<f32>().unwrap(), [2.0, 4.0, 30.0]);
    }
}
