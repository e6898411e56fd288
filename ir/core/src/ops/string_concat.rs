//! `string_concat`: strings put together. ONNX `StringConcat`.

use super::strings::{string_type, texts};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// `a` and `b` put together, element by element; they have one shape.
    StringConcat {}
}

impl OpDef for StringConcat {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("a"), OperandSpec::required("b")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty: &TensorType = string_type(x, 0)?;
        super::check_operand(x, 1, "b", ty)?;
        Ok(vec![ty.clone().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let (a, b) = (texts(x, 0)?, texts(x, 1)?);
        crate::ensure!(a.len() == b.len(), "`a` and `b` must have one shape");
        let texts = a.iter().zip(b).map(|(a, b)| format!("{a}{b}")).collect();
        Ok(vec![Tensor::from_elements::<String>(x.get(0)?.shape().to_vec(), texts)])
    }
}
