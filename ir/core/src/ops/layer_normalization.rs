//! `layer_normalization`: zero mean and unit variance over the last axes. ONNX `LayerNormalization`, opset 17.

use super::pointwise::source_index;
use crate::eval::{from_reals, reals};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, statistics over the axes from `axis` on.
    LayerNormalization {
        /// First normalized axis, counted from the end if negative.
        axis: i64 = -1,
        /// Added to the variance.
        epsilon: F32 = F32(1e-5)
    }
}

impl OpDef for LayerNormalization {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::optional("scale"), OperandSpec::optional("bias")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        infer_normalization(x, self.axis, &["scale", "bias"])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let epsilon = f64::from(self.epsilon.0);
        eval_normalization(x, self.axis, |row| {
            let n = row.len() as f64;
            let mean = row.iter().sum::<f64>() / n;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            let deviation = libm::sqrt(variance + epsilon);
            row.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
        })
    }
}

/// The type of a normalization over the axes from `axis` on, whose operands after the first, of these names, broadcast
/// to the normalized axes.
pub(super) fn infer_normalization(x: &Operands, axis: i64, names: &[&str]) -> Result<Vec<Type>, OpError> {
    let ty = x.ty(0)?;
    super::check_float(ty, "x")?;
    let axis = super::axis_of(axis, ty.rank())?;
    for (i, name) in names.iter().enumerate() {
        let Some(operand) = x.opt(i + 1) else { continue };
        super::check_float(operand, name)?;
        let normalized = &ty.shape[axis..];
        crate::ensure!(operand.rank() <= normalized.len(), "`{name}` must broadcast to the normalized axes of {ty}");
        for (extent, normalized) in operand.shape.iter().rev().zip(normalized.iter().rev()) {
            if !extent.is(1) {
                x.equal(normalized, extent, &format!("extents of `{name}` and of the normalized axes"))?;
            }
        }
    }
    Ok(vec![ty.clone().into()])
}

/// Normalizes each row with `normalize`, then multiplies by operand 1 and adds operand 2 where they are present.
pub(super) fn eval_normalization(
    x: &Tensors,
    axis: i64,
    normalize: impl Fn(&mut [f64]),
) -> Result<Vec<Tensor>, OpError> {
    let input = x.get(0)?;
    let axis = super::axis_of(axis, input.rank())?;
    if input.is_empty() {
        return Ok(vec![input.clone()]);
    }
    let normalized = &input.shape()[axis..];
    let parameter = |i: usize| -> Result<Option<Vec<f64>>, OpError> {
        let Some(tensor) = x.opt(i) else { return Ok(None) };
        let values = reals(tensor)?;
        let extents = tensor.shape().iter().rev().zip(normalized.iter().rev());
        let fits = tensor.rank() <= normalized.len() && extents.clone().all(|(&p, &n)| p == n || p == 1);
        crate::ensure!(fits, "{:?} does not broadcast to {normalized:?}", tensor.shape());
        let len = normalized.iter().product::<usize>();
        Ok(Some((0..len).map(|j| values[source_index(j, normalized, tensor.shape())]).collect()))
    };
    let (scale, bias) = (parameter(1)?, parameter(2)?);
    let mut values = reals(input)?;
    for row in values.chunks_mut(normalized.iter().product()) {
        normalize(row);
        for (j, value) in row.iter_mut().enumerate() {
            *value = *value * scale.as_ref().map_or(1.0, |s| s[j]) + bias.as_ref().map_or(0.0, |b| b[j]);
        }
    }
    Ok(vec![from_reals(input.dtype(), input.shape().to_vec(), values)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_mean_0_and_variance_1() {
        let input = Tensor::from_elements(vec![1, 2], vec![1.0f64, 3.0]);
        let bias = Tensor::from_elements(vec![2], vec![0.5f64, 0.0]);
        let x = Tensors { operands: vec![Some(&input), None, Some(&bias)], regions: &[], symbols: &|_| None };
        let y = LayerNormalization { axis: -1, epsilon: F32(0.0) }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<f64>().unwrap(), [-0.5, 1.0]);
    }
}
