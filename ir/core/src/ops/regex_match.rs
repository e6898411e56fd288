//! `regex_match`: whether strings match a regular expression. ONNX `RegexFullMatch`.

use super::strings::{string_type, text, texts};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type};
use ic_types::{DType, Tensor};

crate::attrs! {
    /// Whether all of each element matches `pattern`, one string in RE2's syntax.
    RegexMatch {}
}

impl OpDef for RegexMatch {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x"), OperandSpec::required("pattern")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = string_type(x, 0)?;
        x.equal(&string_type(x, 1)?.elements(), &1.into(), "the number of patterns and 1")?;
        Ok(vec![TensorType::new(DType::Bool, ty.shape.clone()).into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let whole = regex::Regex::new(&format!(r"\A(?:{})\z", text(x, 1)?)).map_err(|e| OpError(e.to_string()))?;
        let matches = texts(x, 0)?.iter().map(|x| whole.is_match(x)).collect();
        Ok(vec![Tensor::from_elements::<bool>(x.get(0)?.shape().to_vec(), matches)])
    }
}
