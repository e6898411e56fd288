//! `string_case`: strings in lower or upper case.

use super::strings::{string_type, texts};
use crate::{OpDef, OpError, OperandSpec, Operands, Tensors, Type};
use ic_types::Tensor;

crate::attrs! {
    /// Every element in lower or upper case, by Unicode's rules.
    StringCase {
        /// Whether the case is upper.
        upper: bool
    }
}

impl OpDef for StringCase {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        Ok(vec![string_type(x, 0)?.clone().into()])
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let change = |x: &String| if self.upper { x.to_uppercase() } else { x.to_lowercase() };
        let texts = texts(x, 0)?.iter().map(change).collect();
        Ok(vec![Tensor::from_elements::<String>(x.get(0)?.shape().to_vec(), texts)])
    }
}
