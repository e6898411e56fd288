//! `sequence_erase`: a sequence with one element less. ONNX `SequenceErase`.

use super::sequences::{check_object, check_position, elements, object_type, place, sequence};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `sequence` without the element at `position`, the last if that is absent.
    SequenceErase {}
}

impl OpDef for SequenceErase {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("sequence"), OperandSpec::optional("position")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        check_object(x, 0)?;
        check_position(x, 1)?;
        Ok(vec![object_type().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let mut list = elements(x, 0)?;
        list.remove(place(x, 1, list.len(), -1)?);
        Ok(sequence(list))
    }

    fn is_foldable(&self) -> bool {
        false
    }
}
