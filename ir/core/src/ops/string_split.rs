//! `string_split`: the pieces of strings. ONNX `StringSplit`.

use super::strings::{pieces, string_type, text, texts};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// The pieces that `string_pieces` counts along a new last axis, empty strings behind them.
    StringSplit {
        /// How many occurrences of the delimiter from the start count; a negative number is no limit.
        max_splits: i64 = -1,
        /// Extent of the new axis.
        extent: Dim
    }
}

impl OpDef for StringSplit {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("delimiter")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = string_type(x, 0)?;
        x.equal(&string_type(x, 1)?.elements(), &1.into(), "the number of delimiters and 1")?;
        let shape = [&ty.shape[..], std::slice::from_ref(&self.extent)].concat();
        Ok(vec![TensorType::new(ty.dtype, shape).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (delimiter, extent) = (text(x, 1)?, x.extents(std::slice::from_ref(&self.extent))?[0]);
        let shape = [x.get(0)?.shape(), &[extent]].concat();
        let mut all: Vec<String> = Vec::new();
        crate::eval::checked_len(&shape)?;
        for x in texts(x, 0)? {
            let mut pieces = pieces(x, delimiter, self.max_splits);
            ensure!(pieces.len() <= extent, "{} pieces are more than {extent}", pieces.len());
            pieces.resize(extent, String::new());
            all.extend(pieces);
        }
        Ok(vec![Tensor::from_elements(shape, all)])
    }
}
