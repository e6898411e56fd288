//! `intern`: strings from their UTF-8. What the constants of strings become.

use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{DType, Dim, Tensor};

crate::attrs! {
    /// String `i` is what precedes `ends[i]` in the u8 `bytes` and follows the string before.
    Intern {
        /// The shape.
        shape: Vec<Dim>
    }
}

impl OpDef for Intern {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("bytes"), OperandSpec::required("ends")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let (bytes, ends) = (x.ty(0)?, x.ty(1)?);
        ensure!(bytes.dtype == DType::U8 && bytes.rank() == 1, "`bytes` must be u8[n], found {bytes}");
        ensure!(ends.dtype == DType::I64 && ends.rank() == 1, "`ends` must be i64[n], found {ends}");
        x.equal(&ends.elements(), &self.shape.iter().cloned().product(), "the number of ends and of strings")?;
        Ok(vec![TensorType::new(DType::String, self.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let shape = x.extents(&self.shape)?;
        let bytes = x.get(0)?.elements::<u8>().ok_or_else(|| OpError::new("`bytes` must be u8"))?;
        let ends = x.get(1)?.elements::<i64>().ok_or_else(|| OpError::new("`ends` must be i64"))?;
        let (mut begin, mut strings) = (0, Vec::new());
        for &end in ends {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let text = bytes.get(begin..end).and_then(|part| String::from_utf8(part.to_vec()).ok());
            strings.push(text.ok_or_else(|| OpError::new("`bytes` holds no UTF-8 there"))?);
            begin = end;
        }
        ensure!(crate::eval::checked_len(&shape)? == strings.len(), "{} strings do not fit {shape:?}", strings.len());
        Ok(vec![Tensor::from_elements(shape, strings)])
    }

    fn is_foldable(&self) -> bool {
        false
    }
}
