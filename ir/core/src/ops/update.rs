//! `update`: a tensor with a part of it replaced. Appending to a state buffer becomes this op.

use crate::eval::{coordinates_of, offset, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// `x` with the elements from `start` on along `axis`, and from 0 on along the other axes, replaced by `part`.
    Update {
        /// The axis along which the part begins at `start`.
        axis: usize,
        /// First replaced element along `axis`.
        start: Dim
    }
}

impl OpDef for Update {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("part")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (ty, part) = (x.ty(0)?, x.ty(1)?);
        ensure!(part.dtype == ty.dtype, "operands must have one type, found {} and {}", ty.dtype, part.dtype);
        ensure!(part.rank() == ty.rank(), "operands must have one rank, found {ty} and {part}");
        ensure!(self.axis < ty.rank(), "`axis` must be below the rank {}, found {}", ty.rank(), self.axis);
        ensure!(self.start.as_const().is_none_or(|start| start >= 0), "`start` must not be negative");
        for (axis, (whole, part)) in ty.shape.iter().zip(&part.shape).enumerate() {
            let start = if axis == self.axis { self.start.clone() } else { Dim::constant(0) };
            if let (Some(end), Some(whole)) = ((start + part.clone()).as_const(), whole.as_const()) {
                ensure!(end <= whole, "the part ends at {end} on axis {axis} of extent {whole}");
            }
        }
        Ok(vec![ty.clone().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (whole, part) = (x.get(0)?, x.get(1)?);
        let fits = whole.rank() == part.rank() && whole.dtype() == part.dtype() && self.axis < whole.rank();
        ensure!(fits, "operands of shapes {:?} and {:?} do not fit", whole.shape(), part.shape());
        let mut starts = vec![0; whole.rank()];
        starts[self.axis] = usize::try_from(x.dim(&self.start)?).map_err(|_| OpError::new("`start` is negative"))?;
        for (axis, (&extent, &start)) in whole.shape().iter().zip(&starts).enumerate() {
            let end = start + part.shape()[axis];
            ensure!(end <= extent, "the part ends at {end} on axis {axis} of extent {extent}");
        }
        let mut data = whole.data().clone();
        data.append(part.data());
        let distances = strides(part.shape());
        let source = |i: usize| {
            let at = coordinates_of(i, whole.shape());
            let inside: Option<Vec<usize>> =
                at.iter().zip(&starts).map(|(&at, &start)| at.checked_sub(start)).collect();
            let inside = inside.filter(|at| at.iter().zip(part.shape()).all(|(&at, &extent)| at < extent));
            inside.map_or(i, |at| whole.len() + offset(&at, &distances))
        };
        Ok(vec![Tensor::new(whole.shape().to_vec(), data.gather((0..whole.len()).map(source)))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_replaces_what_is_at_its_place() {
        let whole = Tensor::from_elements(vec![2, 3], vec![0i64; 6]);
        let part = Tensor::from_elements(vec![2, 1], vec![7i64, 8]);
        let eval = |start: i64| {
            let x = Tensors { operands: vec![Some(&whole), Some(&part)], regions: &[], symbols: &|_| None };
            Update { axis: 1, start: start.into() }.eval(&x)
        };
        assert_eq!(eval(2).unwrap()[0], Tensor::from_elements(vec![2, 3], vec![0i64, 0, 7, 0, 0, 8]));
        assert!(eval(3).is_err());
    }
}
