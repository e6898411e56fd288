//! `scatter_nd`: slices written at tuples of indices. ONNX `ScatterND`, opset 18.

use super::gather_nd::tuple_width;
use super::scatter_elements::Reduction;
use crate::eval::wrap_index;
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// `y = data` but for the slices at the tuples along the last axis of `indices`, which are those of `updates`.
    ScatterNd {
        /// How updates combine with what is there.
        reduction: Reduction = Reduction::None
    }
}

impl OpDef for ScatterNd {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("data"), OperandSpec::required("indices"), OperandSpec::required("updates")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (data, indices) = (x.ty(0)?, x.ty(1)?);
        super::check_indices(indices)?;
        let width = tuple_width(indices)?;
        ensure!(width <= data.rank(), "`indices` index {width} axes of `data`, which is {data}");
        self.reduction.check(data.dtype)?;
        let shape = [&indices.shape[..indices.rank() - 1], &data.shape[width..]].concat();
        super::check_operand(x, 2, "updates", &TensorType::new(data.dtype, shape))?;
        Ok(vec![data.clone().into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        if self.reduction != Reduction::None { None } else { super::rearranged_content(self, x, &[0, 2]) }
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (indices, updates) = (x.get(1)?, x.get(2)?);
        let mut result = x.get(0)?.clone();
        let shape = result.shape().to_vec();
        let Some((&width, outer)) = indices.shape().split_last() else {
            return Err(OpError::new("`indices` must have an axis of tuples"));
        };
        ensure!(width <= shape.len(), "`indices` do not fit `data`");
        ensure!(updates.shape() == [outer, &shape[width..]].concat(), "`updates` do not fit `data` and `indices`");
        if updates.is_empty() {
            return Ok(vec![result]);
        }
        let positions = crate::eval::indices(indices)?;
        let run: usize = shape[width..].iter().product();
        for tuple in 0..outer.iter().product::<usize>() {
            let mut slice = 0;
            for (&index, &extent) in positions[tuple * width..][..width].iter().zip(&shape) {
                slice = slice * extent + wrap_index(index, extent)?;
            }
            for i in 0..run {
                self.reduction.apply(&mut result, slice * run + i, updates, tuple * run + i)?;
            }
        }
        Ok(vec![result])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_replaced() {
        let data = Tensor::from_elements(vec![2, 2], vec![1i64, 2, 3, 4]);
        let indices = Tensor::from_elements(vec![1, 1], vec![1i64]);
        let updates = Tensor::from_elements(vec![1, 2], vec![10i64, 20]);
        let operands = vec![Some(&data), Some(&indices), Some(&updates)];
        let x = Tensors { operands, regions: &[], symbols: &|_| None };
        let y = ScatterNd { reduction: Reduction::Max }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<i64>().unwrap(), [1, 2, 10, 20]);
    }
}
