//! `find`: the places of elements among keys. ONNX-ML `LabelEncoder` and `CategoryMapper` build on it.

use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Tensor};

crate::attrs! {
    /// For each element of `x`, the first place of an equal one in `keys`, or their number. NaNs equal each other, and zeros
    /// of either sign do.
    Find {}
}

impl OpDef for Find {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("keys")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (ty, keys) = (x.ty(0)?, x.ty(1)?);
        ensure!(keys.dtype == ty.dtype && keys.rank() == 1, "`keys` must be {}[n], found {keys}", ty.dtype);
        ensure!(!matches!(ty.dtype, DType::C64 | DType::C128 | DType::Object), "`x` has elements of {}", ty.dtype);
        Ok(vec![TensorType::new(DType::I64, ty.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, keys) = (x.get(0)?, x.get(1)?);
        let places: Vec<usize> = match (input.data(), keys.data()) {
            (Data::String(x), Data::String(keys)) => places(x, keys, |a, b| a == b),
            _ if input.dtype().is_float() => {
                let equal = |a: &f64, b: &f64| a == b || (a.is_nan() && b.is_nan());
                places(&crate::eval::reals(input)?, &crate::eval::reals(keys)?, equal)
            }
            _ => places(&crate::eval::ints(input)?, &crate::eval::ints(keys)?, |a, b| a == b),
        };
        Ok(vec![Tensor::from_elements(input.shape().to_vec(), places.into_iter().map(|at| at as i64).collect())])
    }
}

fn places<T>(x: &[T], keys: &[T], equal: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    x.iter().map(|x| keys.iter().position(|key| equal(x, key)).unwrap_or(keys.len())).collect()
}
