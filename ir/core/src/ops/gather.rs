//! `gather`: slices selected along an axis. ONNX `Gather`.

use crate::eval::{offset, rearrange, strides, wrap_index};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// The slices of `data` at `indices` along an axis; the axes of `indices` take the axis's place.
    Gather {
        /// The axis.
        axis: usize
    }
}

impl OpDef for Gather {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("data"), OperandSpec::required("indices")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (data, indices) = (x.ty(0)?, x.ty(1)?);
        ensure!(self.axis < data.rank(), "`axis` must be below the rank {}, found {}", data.rank(), self.axis);
        super::check_indices(indices)?;
        let shape = [&data.shape[..self.axis], &indices.shape, &data.shape[self.axis + 1..]].concat();
        Ok(vec![TensorType::new(data.dtype, shape).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        super::rearranged_content(self, x, &[0])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (data, indices) = (x.get(0)?, x.get(1)?);
        ensure!(self.axis < data.rank(), "`axis` must be below the rank {}, found {}", data.rank(), self.axis);
        let positions = crate::eval::indices(indices)?;
        let extent = data.shape()[self.axis];
        let shape = [&data.shape()[..self.axis], indices.shape(), &data.shape()[self.axis + 1..]].concat();
        let (steps, index_steps) = (strides(data.shape()), strides(indices.shape()));
        let after = self.axis + indices.rank();
        let tensor = rearrange(data, shape, |at| {
            let index = wrap_index(positions[offset(&at[self.axis..after], &index_steps)], extent)?;
            let rest = offset(&at[..self.axis], &steps) + offset(&at[after..], &steps[self.axis + 1..]);
            Ok(rest + index * steps[self.axis])
        })?;
        Ok(vec![tensor])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_indices_count_from_the_end() {
        let data = Tensor::from_elements(vec![2, 3], vec![1i64, 2, 3, 4, 5, 6]);
        let indices = Tensor::from_elements(vec![2], vec![-1i32, 0]);
        let x = Tensors { operands: vec![Some(&data), Some(&indices)], regions: &[], symbols: &|_| None };
        let y = Gather { axis: 1 }.eval(&x).unwrap().remove(0);
        assert_eq!(y, Tensor::from_elements(vec![2, 2], vec![3i64, 1, 6, 4]));
    }
}
