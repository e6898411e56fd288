//! `iota`: 0, 1, … along one axis. ONNX `Range`, `EyeLike`, `Trilu`, `OneHot` build on it.

use crate::eval::{checked_len, from_ints, from_reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// `0, 1, …, extent - 1` as a tensor of rank 1.
    Iota {
        /// Number of elements.
        extent: Dim,
        /// Element type, a number type.
        dtype: DType = DType::I64
    }
}

impl OpDef for Iota {
    const OPERANDS: &'static [OperandSpec] = &[];

    fn infer(&self, _x: &Operands) -> Result<Vec<Type>, OpError> {
        ensure!(self.dtype.is_int() || self.dtype.is_float(), "`dtype` must be a number type, found {}", self.dtype);
        Ok(vec![TensorType::new(self.dtype, vec![self.extent.clone()]).into()])
    }

    fn content(&self, _x: &Operands) -> Option<Vec<Dim>> {
        self.extent.as_const().map(|extent| (0..extent).map(Dim::constant).collect())
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let shape = x.extents(std::slice::from_ref(&self.extent))?;
        let len = checked_len(&shape)?;
        Ok(vec![if self.dtype.is_float() {
            from_reals(self.dtype, shape, (0..len).map(|i| i as f64).collect())?
        } else {
            from_ints(self.dtype, shape, (0..len).map(|i| i as i128).collect())?
        }])
    }
}
