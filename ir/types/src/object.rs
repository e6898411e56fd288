//! Values that are no tensors: sequences and optionals.

use crate::Tensor;

/// An element of a sequence, a sequence or an optional. The default is the empty sequence.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// A tensor.
    Tensor(Tensor),
    /// A list.
    Sequence(Vec<Object>),
    /// Something or nothing.
    Optional(Option<Box<Object>>),
}

impl Default for Object {
    fn default() -> Object {
        Object::Sequence(Vec::new())
    }
}

impl Object {
    /// The elements: those of a sequence, that of an optional; none of a tensor.
    pub fn elements(&self) -> &[Object] {
        match self {
            Object::Sequence(elements) => elements,
            Object::Optional(Some(element)) => std::slice::from_ref(element),
            Object::Tensor(_) | Object::Optional(None) => &[],
        }
    }
}
