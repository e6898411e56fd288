//! `gather_nd`: slices selected by tuples of indices. ONNX `GatherND`.

use super::gather_elements::check_inside;
use crate::eval::{offset, rearrange, strides, wrap_index};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// The slices of `data` at the tuples along the last axis of `indices`, which index the axes after `batch_dims`.
    GatherNd {
        /// Number of leading axes that `data` and `indices` share.
        batch_dims: usize = 0
    }
}

impl OpDef for GatherNd {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("data"), OperandSpec::required("indices")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (data, indices) = (x.ty(0)?, x.ty(1)?);
        super::check_indices(indices)?;
        let width = tuple_width(indices)?;
        let n_batch = self.batch_dims;
        ensure!(n_batch < indices.rank(), "`batch_dims` must be below the rank of `indices`, found {n_batch}");
        let indexed = n_batch + width;
        ensure!(indexed <= data.rank(), "`indices` index {indexed} axes of `data`, which is {data}");
        let mut shape = indices.shape[..indices.rank() - 1].to_vec();
        for (extent, other) in shape.iter_mut().zip(&data.shape[..n_batch]) {
            *extent = x.equal(extent, other, "batch extents of `data` and `indices`")?;
        }
        shape.extend_from_slice(&data.shape[indexed..]);
        Ok(vec![TensorType::new(data.dtype, shape).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        super::rearranged_content(self, x, &[0])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (data, indices) = (x.get(0)?, x.get(1)?);
        let Some((&width, outer)) = indices.shape().split_last() else {
            return Err(OpError::new("`indices` must have an axis of tuples"));
        };
        let (n_batch, indexed) = (self.batch_dims, self.batch_dims.saturating_add(width));
        ensure!(n_batch <= outer.len() && indexed <= data.rank(), "`indices` do not fit `data`");
        let positions = crate::eval::indices(indices)?;
        let (steps, tuple_steps) = (strides(data.shape()), strides(outer));
        let shape = [outer, &data.shape()[indexed..]].concat();
        let tensor = rearrange(data, shape, |at| {
            let tuple = &positions[offset(&at[..outer.len()], &tuple_steps) * width..][..width];
            let mut source = at[..n_batch].to_vec();
            for (&index, &extent) in tuple.iter().zip(&data.shape()[n_batch..]) {
                source.push(wrap_index(index, extent)?);
            }
            source.extend_from_slice(&at[outer.len()..]);
            check_inside(&source, data.shape())?;
            Ok(offset(&source, &steps))
        })?;
        Ok(vec![tensor])
    }
}

/// Length of the tuples along the last axis of `indices`.
///
/// # Errors
/// If there is no last axis, or its extent is not known.
pub(super) fn tuple_width(indices: &TensorType) -> Result<usize, OpError> {
    let width = indices.shape.last().and_then(Dim::as_const).and_then(|w| usize::try_from(w).ok());
    let width = width.filter(|&w| w <= 1 << 16);
    width.ok_or_else(|| OpError(format!("the last extent of `indices` must be constant, found {indices}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_select() {
        let data = Tensor::from_elements(vec![2, 2], vec![1i64, 2, 3, 4]);
        let indices = Tensor::from_elements(vec![2, 1], vec![1i64, 0]);
        let x = Tensors { operands: vec![Some(&data), Some(&indices)], regions: &[], symbols: &|_| None };
        let rows = GatherNd { batch_dims: 0 }.eval(&x).unwrap().remove(0);
        assert_eq!(rows, Tensor::from_elements(vec![2, 2], vec![3i64, 4, 1, 2]));
        let elements = GatherNd { batch_dims: 1 }.eval(&x).unwrap().remove(0);
        assert_eq!(elements, Tensor::from_elements(vec![2], vec![2i64, 3]));
    }
}
