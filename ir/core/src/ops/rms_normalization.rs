//! `rms_normalization`: unit root mean square over the last axes. ONNX `RMSNormalization`, opset 23.

use super::layer_normalization::{eval_normalization, infer_normalization};
use crate::{F32, OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `x / sqrt(mean(x²) + epsilon) * scale`, the mean over the axes from `axis` on.
    RmsNormalization {
        /// First normalized axis, counted from the end if negative.
        axis: i64 = -1,
        /// Added to the mean square.
        epsilon: F32 = F32(1e-5)
    }
}

impl OpDef for RmsNormalization {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::optional("scale")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        infer_normalization(x, self.axis, &["scale"])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let epsilon = f64::from(self.epsilon.0);
        eval_normalization(x, self.axis, |row| {
            let mean_square = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
            let root = libm::sqrt(mean_square + epsilon);
            row.iter_mut().for_each(|v| *v /= root);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_unit_root_mean_square() {
        let input = Tensor::from_elements(vec![1, 2], vec![1.0f64, 7.0]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let y = RmsNormalization { axis: -1, epsilon: F32(0.0) }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<f64>().unwrap(), [0.2, 1.4]);
    }
}
