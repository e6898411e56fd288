//! `reverse_sequence`: the first elements of each sequence in reverse. ONNX `ReverseSequence`.

use crate::eval::{indices, offset, rearrange, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::Tensor;

crate::attrs! {
    /// Of each entry of the batch, the first `lengths[i]` elements along the time axis in reverse, the others in place.
    ReverseSequence {
        /// Axis of the batch.
        batch_axis: usize,
        /// Axis of the time.
        time_axis: usize
    }
}

impl OpDef for ReverseSequence {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("lengths")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (ty, lengths) = (x.ty(0)?, x.ty(1)?);
        super::check_axes(&[self.batch_axis, self.time_axis], ty.rank())?;
        super::check_indices(lengths)?;
        let expected = TensorType::new(lengths.dtype, vec![ty.shape[self.batch_axis].clone()]);
        super::check_operand(x, 1, "lengths", &expected)?;
        Ok(vec![ty.clone().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, lengths) = (x.get(0)?, indices(x.get(1)?)?);
        super::check_axes(&[self.batch_axis, self.time_axis], input.rank())?;
        ensure!(lengths.len() == input.shape()[self.batch_axis], "`lengths` must have one element an entry");
        let (time, steps) = (input.shape()[self.time_axis], strides(input.shape()));
        let tensor = rearrange(input, input.shape().to_vec(), |at| {
            let length = usize::try_from(lengths[at[self.batch_axis]]).ok().filter(|&l| l <= time);
            let length = length.ok_or_else(|| OpError(format!("`lengths` must be in 0..={time}")))?;
            let mut source = at.to_vec();
            if at[self.time_axis] < length {
                source[self.time_axis] = length - 1 - at[self.time_axis];
            }
            Ok(offset(&source, &steps))
        })?;
        Ok(vec![tensor])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_stays() {
        let input = Tensor::from_elements(vec![2, 3], vec![1i64, 2, 3, 4, 5, 6]);
        let lengths = Tensor::from_elements(vec![2], vec![2i64, 3]);
        let x = Tensors { operands: vec![Some(&input), Some(&lengths)], regions: &[], symbols: &|_| None };
        let y = ReverseSequence { batch_axis: 0, time_axis: 1 }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<i64>().unwrap(), [2, 1, 3, 6, 5, 4]);
    }
}
