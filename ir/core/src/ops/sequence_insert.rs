//! `sequence_insert`: a sequence with one more element. ONNX `SequenceInsert`.

use super::sequences::{check_object, check_position, element, elements, object_type, place, sequence};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `sequence` with `element`, a tensor or an object, before the one at `position`; at the end if that is absent.
    SequenceInsert {}
}

impl OpDef for SequenceInsert {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("sequence"), OperandSpec::required("element"), OperandSpec::optional("position")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        check_object(x, 0)?;
        x.ty(1)?;
        check_position(x, 2)?;
        Ok(vec![object_type().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (mut list, element) = (elements(x, 0)?, element(x, 1)?);
        let n = list.len();
        let position = x.opt(2).map(crate::eval::indices).transpose()?.and_then(|p| p.first().copied());
        let at = match position {
            Some(position) if position != n as i64 => place(x, 2, n, 0)?,
            _ => n,
        };
        list.insert(at, element);
        Ok(sequence(list))
    }

    fn is_foldable(&self) -> bool {
        false
    }
}
