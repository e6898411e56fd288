//! `sequence_concat`: the elements of a sequence joined. ONNX `ConcatFromSequence`.

use super::sequences::{check_object, elements, object_type, sequence, tensor};
use crate::ops::Concat;
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{Object, Tensor};

crate::attrs! {
    /// A sequence of one tensor: the elements joined along an axis. Its shape is known when the sequence is.
    SequenceConcat {
        /// The axis, of the elements or of the result; negative from the end.
        axis: i64,
        /// Whether the axis is a new one.
        new_axis: bool = false
    }
}

impl OpDef for SequenceConcat {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("sequence")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        check_object(x, 0)?;
        Ok(vec![object_type().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let list = elements(x, 0)?;
        let mut tensors = list.iter().map(|e| tensor(e).cloned()).collect::<Result<Vec<_>, _>>()?;
        let rank = tensors.first().map(Tensor::rank).ok_or_else(|| OpError::new("the sequence is empty"))?;
        let axis = super::axis_of(self.axis, rank + usize::from(self.new_axis))?;
        for tensor in &mut tensors {
            ensure!(tensor.rank() == rank, "the elements have different ranks");
            if self.new_axis {
                let mut shape = tensor.shape().to_vec();
                shape.insert(axis, 1);
                *tensor = tensor.clone().reshaped(shape);
            }
        }
        let operands = tensors.iter().map(Some).collect();
        let joined = Concat { axis }.eval(&Tensors { operands, regions: &[], symbols: x.symbols })?;
        Ok(sequence(joined.into_iter().map(Object::Tensor).collect()))
    }

    fn is_foldable(&self) -> bool {
        false
    }
}
