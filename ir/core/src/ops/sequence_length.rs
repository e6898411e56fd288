//! `sequence_length`: how many elements a sequence has. ONNX `SequenceLength`, `OptionalHasElement`.

use super::sequences::{check_object, elements};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// The number of elements of a sequence, or of an optional, as i64 `[]`.
    SequenceLength {}
}

impl OpDef for SequenceLength {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("sequence")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        check_object(x, 0)?;
        Ok(vec![TensorType::fixed(DType::I64, &[]).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        Ok(vec![Tensor::scalar(elements(x, 0)?.len() as i64)])
    }
}
