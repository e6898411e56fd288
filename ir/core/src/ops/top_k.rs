//! `top_k`: the largest or smallest elements along an axis. ONNX `TopK`.

use crate::eval::{for_each_lane, ints, reals, zeros};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Dim, Tensor};
use std::cmp::Ordering;

crate::attrs! {
    /// The `k` largest or smallest elements along an axis, and their i64 indices. Equal elements come in the order of
    /// their indices; NaN is larger than any number.
    TopK {
        /// How many.
        k: Dim,
        /// The axis.
        axis: usize,
        /// Whether the largest are meant rather than the smallest.
        largest: bool = true,
        /// Whether they must be in order; evaluation always orders them.
        sorted: bool = true
    }
}

impl OpDef for TopK {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn n_results(&self) -> usize {
        2
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        ensure!(self.axis < ty.rank(), "`axis` must be below the rank {}, found {}", ty.rank(), self.axis);
        let mut shape = ty.shape.clone();
        if let (Some(k), Some(extent)) = (self.k.as_const(), shape[self.axis].as_const()) {
            ensure!((0..=extent).contains(&k), "`k` must be at most the extent {extent}, found {k}");
        }
        x.equal(&self.k, &self.k.minimum(&shape[self.axis]), "`k` and what is left of it within the extent")?;
        shape[self.axis] = self.k.clone();
        Ok(vec![TensorType::new(ty.dtype, shape.clone()).into(), TensorType::new(DType::I64, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        ensure!(self.axis < input.rank(), "`axis` must be below the rank {}", input.rank());
        let k = x.extents(std::slice::from_ref(&self.k))?[0];
        let extent = input.shape()[self.axis];
        ensure!(k <= extent, "`k` must be at most the extent {extent}, found {k}");
        if input.dtype().is_float() {
            let values = reals(input)?;
            let rank = |x: f64| (x.is_nan(), x);
            let order = |a: usize, b: usize| rank(values[a]).partial_cmp(&rank(values[b])).unwrap_or(Ordering::Equal);
            self.select(input, k, order)
        } else {
            let values = ints(input)?;
            self.select(input, k, |a, b| values[a].cmp(&values[b]))
        }
    }
}

impl TopK {
    fn select(
        &self,
        input: &Tensor,
        k: usize,
        order: impl Fn(usize, usize) -> Ordering,
    ) -> Result<Vec<Tensor>, OpError> {
        let mut shape = input.shape().to_vec();
        shape[self.axis] = k;
        let mut values = zeros(input.dtype(), shape.clone())?;
        let mut indices = vec![0i64; values.len()];
        if indices.is_empty() {
            return Ok(vec![values, Tensor::new(shape, Data::I64(indices))]);
        }
        let mut targets = Vec::new();
        for_each_lane(&shape, self.axis, |lane| {
            targets.push(lane.to_vec());
            Ok(())
        })?;
        let mut n = 0;
        for_each_lane(input.shape(), self.axis, |lane| {
            let mut positions: Vec<usize> = (0..lane.len()).collect();
            // The sort is stable, so equal elements stay in the order of their indices.
            positions.sort_by(|&a, &b| {
                let ascending = order(lane[a], lane[b]);
                if self.largest { ascending.reverse() } else { ascending }
            });
            for (&target, &position) in targets[n].iter().zip(&positions) {
                values.data_mut().set(target, input.data(), lane[position]);
                indices[target] = position as i64;
            }
            n += 1;
            Ok(())
        })?;
        Ok(vec![values, Tensor::new(shape, Data::I64(indices))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_elements_keep_their_order() {
        let input = Tensor::from_elements(vec![4], vec![2i64, 7, 7, 1]);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        let top = TopK { k: 3.into(), axis: 0, largest: true, sorted: true }.eval(&x).unwrap();
        assert_eq!(top[0].elements::<i64>().unwrap(), [7, 7, 2]);
        assert_eq!(top[1].elements::<i64>().unwrap(), [1, 2, 0]);
    }
}
