//! `sequence_split`: the parts of a tensor along an axis. ONNX `SplitToSequence`.

use super::sequences::{object_type, sequence};
use crate::eval::{indices, rearrange};
use crate::eval::{offset, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{Object, Tensor};

crate::attrs! {
    /// Parts of `split` elements each, the last perhaps of fewer, if that has rank 0, else of as many as each of `split`
    /// says; of one element each if it is absent.
    SequenceSplit {
        /// The axis.
        axis: usize,
        /// Whether parts of one element keep the axis where `split` is absent.
        keep: bool = true
    }
}

impl OpDef for SequenceSplit {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::optional("split")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        super::check_axes(&[self.axis], x.ty(0)?.rank())?;
        if let Some(split) = x.opt(1) {
            super::check_indices(split)?;
            ensure!(split.rank() <= 1, "`split` must have rank 0 or 1, found {split}");
        }
        Ok(vec![object_type().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        super::check_axes(&[self.axis], input.rank())?;
        let extent = input.shape()[self.axis];
        let sizes: Vec<usize> = match x.opt(1) {
            None => vec![1; extent],
            Some(split) => {
                let split = indices(split)?;
                let sizes = split.iter().map(|&size| usize::try_from(size)).collect::<Result<Vec<_>, _>>();
                let sizes = sizes.map_err(|_| OpError::new("the size of a part is negative"))?;
                match (x.get(1)?.rank(), sizes.as_slice()) {
                    (0, &[size]) => {
                        ensure!(size > 0, "the size of parts is 0");
                        (0..extent).step_by(size).map(|first| size.min(extent - first)).collect()
                    }
                    _ => sizes,
                }
            }
        };
        let total = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
        ensure!(total == extent, "the parts have {total} elements of {extent}");
        let (steps, mut first, mut parts) = (strides(input.shape()), 0, Vec::new());
        for size in sizes {
            let mut shape = input.shape().to_vec();
            shape[self.axis] = size;
            let part = rearrange(input, shape.clone(), |at| {
                let mut from = at.to_vec();
                from[self.axis] += first;
                Ok(offset(&from, &steps))
            })?;
            if x.opt(1).is_none() && !self.keep {
                shape.remove(self.axis);
            }
            parts.push(Object::Tensor(part.reshaped(shape)));
            first += size;
        }
        Ok(sequence(parts))
    }

    fn is_foldable(&self) -> bool {
        false
    }
}
