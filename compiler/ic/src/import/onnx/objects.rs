//! Sequences and optionals that only a run knows: values of type `object[]`, and what is known of what they hold.
//!
//! A sequence whose number of elements is known stays a list of values ([`Context::sequence`]) until something needs it as
//! one value: an output, a branch, a loop, a place that a run computes.

use super::context::Context;
use super::error::{Result, unsupported};
use super::symbols::rank_of;
use super::tensor::dtype;
use ic_ir::ValueId;
use ic_ir::ops::{SequenceAt, SequenceOf, SequenceShape};
use ic_types::DType;
use onnx_protobuf::{TypeProto, type_proto};

/// What is known of a value that may be no tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A tensor, with its element type and its number of axes, where they are known.
    Tensor(Option<DType>, Option<usize>),
    /// A sequence.
    Sequence(Box<Kind>),
    /// An optional.
    Optional(Box<Kind>),
}

impl Kind {
    /// What a type says.
    ///
    /// # Errors
    /// If it is a map or a sparse tensor.
    pub(crate) fn of(ty: &TypeProto) -> Result<Kind> {
        let element = |ty: Option<&TypeProto>| match ty {
            Some(ty) => Kind::of(ty).map(Box::new),
            None => Ok(Box::new(Kind::Tensor(None, None))),
        };
        match &ty.value {
            Some(type_proto::Value::TensorType(tensor)) => {
                let dtype = (tensor.elem_type != 0).then(|| dtype(tensor.elem_type)).transpose()?;
                Ok(Kind::Tensor(dtype, rank_of(ty)))
            }
            Some(type_proto::Value::SequenceType(sequence)) => {
                Ok(Kind::Sequence(element(sequence.elem_type.as_ref())?))
            }
            Some(type_proto::Value::OptionalType(optional)) => {
                Ok(Kind::Optional(element(optional.elem_type.as_ref())?))
            }
            Some(_) => Err(unsupported!("maps and sparse tensors are not supported")),
            None => Ok(Kind::Tensor(None, None)),
        }
    }

    /// What an element of this is; of a tensor, the tensor.
    pub(crate) fn element(&self) -> Kind {
        match self {
            Kind::Sequence(element) | Kind::Optional(element) => (**element).clone(),
            Kind::Tensor(..) => self.clone(),
        }
    }

    /// What is known if both are.
    pub(crate) fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Tensor(a, m), Kind::Tensor(b, n)) => Kind::Tensor(a.or(b), m.or(n)),
            (Kind::Sequence(a), Kind::Sequence(b)) => Kind::Sequence(Box::new(a.and(*b))),
            (Kind::Optional(a), Kind::Optional(b)) => Kind::Optional(Box::new(a.and(*b))),
            (a, _) => a,
        }
    }
}

impl Context {
    /// What is known of a value: of a list of values, that it is a sequence of such.
    ///
    /// # Errors
    /// Never for values of tensors.
    pub(crate) fn kind(&self, value: ValueId) -> Result<Kind> {
        if let Some(elements) = self.sequence_of(value) {
            let unknown = Ok(Kind::Tensor(None, None));
            return Ok(Kind::Sequence(Box::new(elements.first().map_or(unknown, |&element| self.kind(element))?)));
        }
        let ty = self.ty(value)?;
        Ok(self.object_kind(value).unwrap_or(Kind::Tensor(Some(ty.dtype), Some(ty.rank()))))
    }

    /// Whether a value is an object.
    pub(crate) fn is_object(&self, value: ValueId) -> bool {
        self.graph().ty(value).as_tensor().is_some_and(|ty| ty.dtype == DType::Object)
    }

    /// A list of values as one object; anything else as it is.
    ///
    /// # Errors
    /// Never for lists of values.
    pub(crate) fn boxed(&mut self, value: ValueId) -> Result<ValueId> {
        let Some(elements) = self.sequence_of(value) else { return Ok(value) };
        let kind = self.kind(value)?;
        let elements = elements.into_iter().map(|element| self.boxed(element)).collect::<Result<Vec<_>>>()?;
        let object = self.push(SequenceOf { optional: false }, &elements)?;
        Ok(self.with_kind(object, kind))
    }

    /// A value as the declared kind wants it: one object where that is no tensor, an optional where it is one.
    ///
    /// # Errors
    /// If a tensor is wanted and the value is none.
    pub(crate) fn as_declared(&mut self, value: ValueId, declared: &Kind) -> Result<ValueId> {
        let found = self.kind(value)?;
        match (declared, &found) {
            (Kind::Optional(_), Kind::Optional(_)) | (Kind::Tensor(..), Kind::Tensor(..)) => Ok(value),
            (Kind::Optional(_), _) => {
                let element = self.boxed(value)?;
                let optional = self.push(SequenceOf { optional: true }, &[element])?;
                Ok(self.with_kind(optional, Kind::Optional(Box::new(found))))
            }
            _ => self.boxed(value),
        }
    }

    /// Notes what an object is.
    pub(crate) fn with_kind(&mut self, object: ValueId, kind: Kind) -> ValueId {
        self.frame().objects.insert(object, kind);
        object
    }

    /// The element of an object at a position, the first by default.
    ///
    /// # Errors
    /// If it is a tensor whose element type or rank is not known.
    pub(crate) fn element_at(&mut self, object: ValueId, position: Option<ValueId>) -> Result<ValueId> {
        let kind = self.kind(object)?.element();
        let operands: Vec<Option<ValueId>> = [Some(object), position].into();
        let Kind::Tensor(dtype, rank) = kind else {
            let at = self.push_all(SequenceAt { dtype: DType::Object, shape: Vec::new() }, &operands)?[0];
            return Ok(self.with_kind(at, kind));
        };
        let (Some(dtype), Some(rank)) = (dtype, rank) else {
            return Err(unsupported!("neither the model nor its values say the element type and rank of an element"));
        };
        let extents = self.push_all(SequenceShape { dtype, rank }, &operands)?[0];
        let shape = self.ints(extents, "element")?;
        Ok(self.push_all(SequenceAt { dtype, shape }, &operands)?[0])
    }
}
