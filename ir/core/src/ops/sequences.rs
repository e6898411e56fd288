//! What ops on sequences share. A sequence or an optional is an `object[]`; an optional has at most one element.

use crate::{OpError, Operands, TensorType, Tensors, ensure};
use ic_types::{DType, Object, Tensor};

/// The type of a sequence or an optional.
pub(super) fn object_type() -> TensorType {
    TensorType::fixed(DType::Object, &[])
}

/// # Errors
/// If operand `i` is not one object.
pub(super) fn check_object(x: &Operands, i: usize) -> Result<(), OpError> {
    let ty = x.ty(i)?;
    ensure!(*ty == object_type(), "operand {i} must be {}, found {ty}", object_type());
    Ok(())
}

/// # Errors
/// If operand `i` is present and not one integer.
pub(super) fn check_position(x: &Operands, i: usize) -> Result<(), OpError> {
    let Some(ty) = x.opt(i) else { return Ok(()) };
    super::check_indices(ty)?;
    x.equal(&ty.elements(), &1.into(), "the number of positions and 1")?;
    Ok(())
}

/// The elements of the object that operand `i` is.
pub(super) fn elements(x: &Tensors, i: usize) -> Result<Vec<Object>, OpError> {
    let object = x.get(i)?.elements::<Object>().and_then(|list| list.first());
    Ok(object.ok_or_else(|| OpError(format!("operand {i} is no object")))?.elements().to_vec())
}

/// Operand `i` as an element of a sequence.
pub(super) fn element(x: &Tensors, i: usize) -> Result<Object, OpError> {
    let tensor = x.get(i)?;
    Ok(match tensor.elements::<Object>().and_then(|list| list.first()) {
        Some(object) => object.clone(),
        None => Object::Tensor(tensor.clone()),
    })
}

/// The place among `n` that operand `i`, an integer, means; `or` if it is absent.
pub(super) fn place(x: &Tensors, i: usize, n: usize, or: i64) -> Result<usize, OpError> {
    let position = match x.opt(i) {
        Some(position) => crate::eval::indices(position)?.first().copied().unwrap_or(or),
        None => or,
    };
    crate::eval::wrap_index(position, n)
}

/// A result that is a sequence.
pub(super) fn sequence(elements: Vec<Object>) -> Vec<Tensor> {
    vec![Tensor::scalar(Object::Sequence(elements))]
}

/// The tensor that an element is.
pub(super) fn tensor(element: &Object) -> Result<&Tensor, OpError> {
    match element {
        Object::Tensor(tensor) => Ok(tensor),
        _ => Err(OpError::new("expected a tensor, found a sequence")),
    }
}
