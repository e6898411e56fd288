//! `gather_elements`: elements selected along an axis, one index each. ONNX `GatherElements`.

use crate::eval::{offset, rearrange, strides, wrap_index};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// `y[.., i, ..] = data[.., indices[.., i, ..], ..]`.
    GatherElements {
        /// The axis.
        axis: usize
    }
}

impl OpDef for GatherElements {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("data"), OperandSpec::required("indices")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (data, indices) = (x.ty(0)?, x.ty(1)?);
        check_elements(data, indices, self.axis)?;
        Ok(vec![TensorType::new(data.dtype, indices.shape.clone()).into()])
    }

    fn content(&self, x: &Operands) -> Option<Vec<Dim>> {
        super::rearranged_content(self, x, &[0])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (data, indices) = (x.get(0)?, x.get(1)?);
        ensure!(self.axis < data.rank() && indices.rank() == data.rank(), "`data` and `indices` must have one rank");
        let positions = crate::eval::indices(indices)?;
        let (steps, index_steps) = (strides(data.shape()), strides(indices.shape()));
        let tensor = rearrange(data, indices.shape().to_vec(), |at| {
            let mut source = at.to_vec();
            source[self.axis] = wrap_index(positions[offset(at, &index_steps)], data.shape()[self.axis])?;
            check_inside(&source, data.shape())?;
            Ok(offset(&source, &steps))
        })?;
        Ok(vec![tensor])
    }
}

/// # Errors
/// If `indices` cannot select elements of `data` along `axis`.
pub(super) fn check_elements(data: &TensorType, indices: &TensorType, axis: usize) -> Result<(), OpError> {
    ensure!(axis < data.rank(), "`axis` must be below the rank {}, found {axis}", data.rank());
    super::check_indices(indices)?;
    ensure!(indices.rank() == data.rank(), "`indices` must have rank {}, found {indices}", data.rank());
    for (i, (data, index)) in data.shape.iter().zip(&indices.shape).enumerate() {
        let fits = data.as_const().zip(index.as_const()).is_none_or(|(data, index)| index <= data);
        ensure!(i == axis || fits, "`indices` must not exceed `data` on axis {i}, found {index} and {data}");
    }
    Ok(())
}

/// # Errors
/// If `coordinates` are outside of `shape`.
pub(super) fn check_inside(coordinates: &[usize], shape: &[usize]) -> Result<(), OpError> {
    let inside = coordinates.iter().zip(shape).all(|(c, d)| c < d);
    ensure!(inside, "element {coordinates:?} is outside of a tensor of shape {shape:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_index_per_element() {
        let data = Tensor::from_elements(vec![2, 2], vec![1i64, 2, 3, 4]);
        let indices = Tensor::from_elements(vec![2, 2], vec![0i64, 0, -1, 0]);
        let x = Tensors { operands: vec![Some(&data), Some(&indices)], regions: &[], symbols: &|_| None };
        let y = GatherElements { axis: 1 }.eval(&x).unwrap().remove(0);
        assert_eq!(y.elements::<i64>().unwrap(), [1, 1, 4, 3]);
    }
}
