//! A node of the model as the importers of ops see it.

use super::error::{Result, invalid};
use ic_ir::ValueId;
use onnx_protobuf::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// A node of the model with its inputs resolved.
#[derive(Debug)]
pub(crate) struct NodeView<'a> {
    /// The node.
    pub(crate) proto: &'a NodeProto,
    /// Version of the operator set that the node's domain is imported at.
    pub(crate) opset: i64,
    /// Inputs; `None` where an optional one is left out.
    pub(crate) inputs: Vec<Option<ValueId>>,
}

impl<'a> NodeView<'a> {
    /// The input of this index.
    ///
    /// # Errors
    /// If it is left out.
    pub(crate) fn input(&self, index: usize) -> Result<ValueId> {
        self.opt(index).ok_or_else(|| invalid!("input {index} is missing"))
    }

    /// The input of this index, unless it is left out.
    pub(crate) fn opt(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// All inputs.
    ///
    /// # Errors
    /// If one is left out.
    pub(crate) fn all_inputs(&self) -> Result<Vec<ValueId>> {
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    /// Whether the model uses the output of this index.
    pub(crate) fn wants(&self, index: usize) -> bool {
        self.proto.output.get(index).is_some_and(|name| !name.is_empty())
    }

    /// Number of outputs, trailing unnamed ones left out.
    pub(crate) fn n_outputs(&self) -> usize {
        self.proto.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1)
    }

    /// The attribute called `name`.
    pub(crate) fn attr(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    /// An integer attribute.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.attr(name).map(|a| a.i)
    }

    /// An integer attribute that is 0 or 1.
    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name).map_or(default, |i| i != 0)
    }

    /// A float attribute.
    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        self.attr(name).map(|a| a.f)
    }

    /// A list of integers.
    pub(crate) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attr(name).map(|a| a.ints.as_slice())
    }

    /// A list of floats.
    pub(crate) fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.attr(name).map(|a| a.floats.as_slice())
    }

    /// A text attribute; bytes that are not UTF-8 make it absent.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.attr(name).and_then(|a| std::str::from_utf8(&a.s).ok())
    }

    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.attr(name).map(|a| a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect())
    }

    /// A tensor attribute.
    pub(crate) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.attr(name).and_then(|a| a.t.as_ref())
    }

    /// A nested graph.
    ///
    /// # Errors
    /// If it is missing.
    pub(crate) fn graph(&self, name: &str) -> Result<&'a GraphProto> {
        self.attr(name).and_then(|a| a.g.as_ref()).ok_or_else(|| invalid!("the graph `{name}` is missing"))
    }
}
