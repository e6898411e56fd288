//! `softmax`: normalized exponentials along one axis. ONNX `Softmax`, opset 13.

use crate::eval::{for_each_lane, from_reals, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::Tensor;

crate::attrs! {
    /// `exp(x - max(x)) / sum(exp(x - max(x)))` along `axis`.
    Softmax {
        /// The axis, counted from the end if negative.
        axis: i64 = -1
    }
}

impl OpDef for Softmax {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float(), "`x` must be of a float type, found {}", ty.dtype);
        super::axis_of(self.axis, ty.rank())?;
        Ok(vec![ty.clone().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let axis = super::axis_of(self.axis, input.rank())?;
        let mut values = reals(input)?;
        for_each_lane(input.shape(), axis, |lane| {
            let max = lane.iter().map(|&i| values[i]).fold(f64::NEG_INFINITY, f64::max);
            lane.iter().for_each(|&i| values[i] = libm::exp(values[i] - max));
            let sum: f64 = lane.iter().map(|&i| values[i]).sum();
            lane.iter().for_each(|&i| values[i] /= sum);
            Ok(())
        })?;
        Ok(vec![from_reals(input.dtype(), input.shape().to_vec(), values)?])
    }
}
