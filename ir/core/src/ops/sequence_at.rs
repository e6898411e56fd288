//! `sequence_at`: an element of a sequence. ONNX `SequenceAt`, `OptionalGetElement`.

use super::sequences::{check_object, check_position, elements, place};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Dim, Object, Tensor};

crate::attrs! {
    /// The tensor or object at `position`, the first if that is absent.
    SequenceAt {
        /// The element type, `object` if the element is no tensor.
        dtype: DType,
        /// The extents.
        shape: Vec<Dim>
    }
}

impl OpDef for SequenceAt {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("sequence"), OperandSpec::optional("position")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        check_object(x, 0)?;
        check_position(x, 1)?;
        Ok(vec![TensorType::new(self.dtype, self.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let list = elements(x, 0)?;
        Ok(match &list[place(x, 1, list.len(), 0)?] {
            Object::Tensor(tensor) => vec![tensor.clone()],
            object => vec![Tensor::scalar(object.clone())],
        })
    }
}
