//! `string_pieces`: how many pieces strings have. ONNX `StringSplit`.

use super::strings::{pieces, string_type, text, texts};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// How many pieces each element has between occurrences of `delimiter`, one string, or between white space if that is
    /// empty.
    StringPieces {
        /// How many occurrences from the start count; a negative number is no limit.
        max_splits: i64 = -1
    }
}

impl OpDef for StringPieces {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("delimiter")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = string_type(x, 0)?;
        x.equal(&string_type(x, 1)?.elements(), &1.into(), "the number of delimiters and 1")?;
        Ok(vec![TensorType::new(DType::I64, ty.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let delimiter = text(x, 1)?;
        let count = |x: &String| pieces(x, delimiter, self.max_splits).len() as i64;
        Ok(vec![Tensor::from_elements(x.get(0)?.shape().to_vec(), texts(x, 0)?.iter().map(count).collect())])
    }
}
