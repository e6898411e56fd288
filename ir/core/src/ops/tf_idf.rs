//! `tf_idf`: how often n-grams of a vocabulary are in rows. ONNX `TfIdfVectorizer` builds on it.

use crate::eval::{MAX_ELEMENTS, indices};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Data, Tensor};

crate::attrs! {
    /// For each row of `x`, how often each n-gram of `pool` occurs, at the place that `indices` gives it. An occurrence has
    /// as many elements between all neighbours, at most `max_skip`.
    TfIdf {
        /// The shortest n-grams that count.
        min: usize,
        /// The longest.
        max: usize,
        /// The most elements between neighbours.
        max_skip: usize = 0,
        /// Where in `pool` the n-grams of each length begin, from those of length 1 on.
        starts: Vec<usize>,
        /// Number of places.
        width: usize
    }
}

impl OpDef for TfIdf {
    const OPERANDS: &'static [OperandSpec] =
        &[OperandSpec::required("x"), OperandSpec::required("pool"), OperandSpec::required("indices")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (ty, pool, indices) = (x.ty(0)?, x.ty(1)?, x.ty(2)?);
        ensure!(matches!(ty.dtype, DType::I64 | DType::String), "`x` must be i64 or strings, found {}", ty.dtype);
        ensure!(pool.dtype == ty.dtype && pool.rank() == 1, "`pool` must be {}[n], found {pool}", ty.dtype);
        ensure!(indices.dtype == DType::I64, "`indices` must be i64, found {}", indices.dtype);
        ensure!(ty.rank() >= 1 && self.width <= MAX_ELEMENTS, "`x` must have rows");
        let mut shape = ty.shape[..ty.rank() - 1].to_vec();
        shape.push((self.width as i64).into());
        Ok(vec![TensorType::new(DType::F32, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (input, places) = (x.get(0)?, indices(x.get(2)?)?);
        match (input.data(), x.get(1)?.data()) {
            (Data::String(data), Data::String(pool)) => self.count(input, data, pool, &places),
            (Data::I64(data), Data::I64(pool)) => self.count(input, data, pool, &places),
            _ => Err(OpError::new("`x` and `pool` must be of one type")),
        }
    }
}

impl TfIdf {
    fn count<T: PartialEq>(&self, x: &Tensor, data: &[T], pool: &[T], places: &[i64]) -> Result<Vec<Tensor>, OpError> {
        let mut shape = x.shape().to_vec();
        let n = shape.pop().ok_or_else(|| OpError::new("`x` must have rows"))?;
        let n_rows = crate::eval::checked_len(&shape)?;
        shape.push(self.width);
        let mut counts = vec![0f32; crate::eval::checked_len(&shape)?];
        let mut first = 0;
        for length in 1..=self.starts.len() {
            let end = self.starts.get(length).copied().unwrap_or(pool.len());
            let part = pool.get(self.starts[length - 1]..end).filter(|part| part.len() % length == 0);
            let part = part.ok_or_else(|| OpError::new("n-grams are outside of `pool`"))?;
            for (i, gram) in part.chunks_exact(length).enumerate() {
                let place = places.get(first + i).and_then(|&p| usize::try_from(p).ok()).filter(|&p| p < self.width);
                let place = place.ok_or_else(|| OpError::new("an n-gram has no place"))?;
                if !(self.min..=self.max).contains(&length) {
                    continue;
                }
                for row in 0..n_rows {
                    let row_of = &data[row * n..(row + 1) * n];
                    counts[row * self.width + place] += self.occurrences(row_of, gram) as f32;
                }
            }
            first += part.len() / length;
        }
        Ok(vec![Tensor::from_elements(shape, counts)])
    }

    fn occurrences<T: PartialEq>(&self, row: &[T], gram: &[T]) -> usize {
        let max_skip = if gram.len() == 1 { 0 } else { self.max_skip.min(row.len()) };
        let is_at = |begin: usize, step: usize| {
            gram.iter().enumerate().all(|(k, element)| row.get(begin + k * step) == Some(element))
        };
        (1..=max_skip + 1).map(|step| (0..row.len()).filter(|&begin| is_at(begin, step)).count()).sum()
    }
}
