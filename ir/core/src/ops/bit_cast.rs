//! `bit_cast`: the bits of every element read as another type of the same size. ONNX `BitCast`, opset 26.

use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Tensor};

crate::attrs! {
    /// The bits of every element read as another type.
    BitCast {
        /// The result's element type, of the same number of bits.
        to: DType
    }
}

impl OpDef for BitCast {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        // What a run knows a string by is a u64; evaluation does not know it.
        let is_handle = matches!((ty.dtype, self.to), (DType::String, DType::U64) | (DType::U64, DType::String));
        let fits = ty.dtype.bits() == self.to.bits() && !self.to.is_handle() && !ty.dtype.is_handle();
        let fits = fits || is_handle;
        ensure!(fits, "`to` must have the size of {}, found {}", ty.dtype, self.to);
        Ok(vec![TensorType::new(self.to, ty.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        ensure!(!input.dtype().is_handle(), "strings have no bits");
        let bytes = input.data().to_le_bytes();
        let data = match self.to {
            DType::Bool => Some(Data::Bool(bytes.iter().map(|&b| b != 0).collect())),
            _ => Data::from_le_bytes(self.to, &bytes),
        };
        let data = data.filter(|data| data.len() == input.len());
        let data = data.ok_or_else(|| OpError(format!("cannot read the bits of {} as {}", input.dtype(), self.to)))?;
        Ok(vec![Tensor::new(input.shape().to_vec(), data)])
    }
}
