//! `sequence_of`: a sequence of values, or an optional. ONNX `SequenceConstruct`, `SequenceEmpty`, `Optional`.

use super::sequences::{element, object_type};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{Object, Tensor};

crate::attrs! {
    /// The sequence of the operands, each a tensor or an object.
    SequenceOf {
        /// Whether this is an optional, of at most one operand.
        optional: bool = false
    }
}

impl OpDef for SequenceOf {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::variadic("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        ensure!(!self.optional || x.len() <= 1, "an optional has at most one element, found {}", x.len());
        (0..x.len()).try_for_each(|i| x.ty(i).map(|_| ()))?;
        Ok(vec![object_type().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let list = (0..x.operands.len()).map(|i| element(x, i)).collect::<Result<Vec<_>, _>>()?;
        let object = match self.optional {
            true => Object::Optional(list.into_iter().next().map(Box::new)),
            false => Object::Sequence(list),
        };
        Ok(vec![Tensor::scalar(object)])
    }

    fn is_foldable(&self) -> bool {
        false
    }
}
