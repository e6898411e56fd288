//! `unique`: the distinct elements of a tensor, or the distinct slices along an axis. ONNX `Unique`.

use crate::eval::{ints, reals};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};
use std::cmp::Ordering;

crate::attrs! {
    /// The distinct slices along `axis`, or the distinct elements if it is none.
    ///
    /// Results: the slices, as a tensor with their number as the extent of the axis would hold them, in the first elements
    /// of a vector that has room for all of `x`; the index of the first slice equal to each, in the first elements of an
    /// i64 vector; for each slice of `x`, which of them it is; how many slices are equal to each, in the first elements
    /// of an i64 vector; and how many there are, as i64 `[1]`. What is behind them is unspecified. NaNs are equal, and last.
    Unique {
        /// The axis.
        axis: Option<usize> = None,
        /// Whether they are in ascending order rather than in that of `x`.
        sorted: bool = true
    }
}

impl OpDef for Unique {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn n_results(&self) -> usize {
        5
    }

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        ensure!(ty.dtype.is_float() || ty.dtype.is_int(), "`x` must be numbers, found {}", ty.dtype);
        let elements = ty.elements();
        let n = match self.axis {
            None => elements.clone(),
            Some(axis) => {
                super::check_axes(&[axis], ty.rank())?;
                ty.shape[axis].clone()
            }
        };
        let vector = |dtype, extent: &Dim| TensorType::new(dtype, vec![extent.clone()]).into();
        let mut types: Vec<Type> = vec![vector(ty.dtype, &elements)];
        types.extend((0..3).map(|_| vector(DType::I64, &n)));
        types.push(TensorType::fixed(DType::I64, &[1]).into());
        Ok(types)
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let (outer, n, inner) = match self.axis {
            None => (1, input.len(), 1),
            Some(axis) => {
                super::check_axes(&[axis], input.rank())?;
                let (before, after) = (&input.shape()[..axis], &input.shape()[axis + 1..]);
                (before.iter().product(), input.shape()[axis], after.iter().product())
            }
        };
        let places = |slice: usize| (0..outer).flat_map(move |o| (0..inner).map(move |i| (o * n + slice) * inner + i));
        let order = comparison(input)?;
        let compare = |a: usize, b: usize| {
            places(a).zip(places(b)).map(|(a, b)| order(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..n).collect();
        sorted.sort_by(|&a, &b| compare(a, b));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for slice in sorted {
            match groups.last_mut().filter(|group| compare(group[0], slice).is_eq()) {
                Some(group) => group.push(slice),
                None => groups.push(vec![slice]),
            }
        }
        if !self.sorted {
            groups.sort_by_key(|group| group[0]);
        }
        let found =
            |o: usize| groups.iter().flat_map(move |group| (0..inner).map(move |i| (o * n + group[0]) * inner + i));
        let picked: Vec<usize> = (0..outer).flat_map(found).collect();
        let mut values = Tensor::zeros(input.dtype(), vec![input.len()]);
        picked.iter().enumerate().for_each(|(to, &from)| values.data_mut().set(to, input.data(), from));
        let mut inverse = vec![0i64; n];
        for (number, group) in groups.iter().enumerate() {
            group.iter().for_each(|&slice| inverse[slice] = number as i64);
        }
        let in_room = |mut elements: Vec<i64>| {
            elements.resize(n, 0);
            Tensor::from_elements(vec![n], elements)
        };
        let first = in_room(groups.iter().map(|group| group[0] as i64).collect());
        let counts = in_room(groups.iter().map(|group| group.len() as i64).collect());
        Ok(vec![values, first, in_room(inverse), counts, Tensor::from_elements(vec![1], vec![groups.len() as i64])])
    }
}

/// How two elements of a tensor compare, by their numbers.
fn comparison(x: &Tensor) -> Result<Box<dyn Fn(usize, usize) -> Ordering>, OpError> {
    if x.dtype().is_float() {
        let values = reals(x)?;
        let rank = |x: f64| (x.is_nan(), if x.is_nan() { 0.0 } else { x });
        return Ok(Box::new(move |a, b| rank(values[a]).partial_cmp(&rank(values[b])).unwrap_or(Ordering::Equal)));
    }
    let values = ints(x)?;
    Ok(Box::new(move |a, b| values[a].cmp(&values[b])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_order_or_by_first_place() {
        let input = Tensor::from_elements(vec![4, 2], vec![2i64, 0, 1, 5, 2, 0, 1, 3]);
        let eval = |sorted| {
            let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
            Unique { axis: Some(0), sorted }.eval(&x).unwrap()
        };
        let list = |t: &Tensor| t.elements::<i64>().unwrap().to_vec();
        let y = eval(true);
        assert_eq!(list(&y[0]), [1, 3, 1, 5, 2, 0, 0, 0]);
        assert_eq!((list(&y[1]), list(&y[2])), (vec![3, 1, 0, 0], vec![2, 1, 2, 0]));
        assert_eq!((list(&y[3]), list(&y[4])), (vec![1, 1, 2, 0], vec![3]));
        assert_eq!(list(&eval(false)[0]), [2, 0, 1, 5, 1, 3, 0, 0]);
    }
}
