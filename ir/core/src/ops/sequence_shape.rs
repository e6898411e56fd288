//! `sequence_shape`: the extents of a tensor in a sequence.

use super::sequences::{check_object, check_position, elements, place, tensor};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// The extents of the tensor at `position`, the first if that is absent, as i64 `[rank]`.
    SequenceShape {
        /// The element type that the tensor must have.
        dtype: DType,
        /// How many axes it must have.
        rank: usize
    }
}

impl OpDef for SequenceShape {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("sequence"), OperandSpec::optional("position")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        check_object(x, 0)?;
        check_position(x, 1)?;
        ensure!(self.rank <= 64, "`rank` is {}", self.rank);
        Ok(vec![TensorType::fixed(DType::I64, &[self.rank as i64]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let list = elements(x, 0)?;
        let found = tensor(&list[place(x, 1, list.len(), 0)?])?;
        let fits = found.dtype() == self.dtype && found.rank() == self.rank;
        ensure!(fits, "the element is {}{:?}", found.dtype(), found.shape());
        let extents = found.shape().iter().map(|&d| d as i64).collect();
        Ok(vec![Tensor::from_elements(vec![self.rank], extents)])
    }
}
