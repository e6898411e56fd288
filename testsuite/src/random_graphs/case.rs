//! A graph with values of its inputs, and its ONNX model.

use ic::tensors::tensor_to_proto;
use ic_types::{DType, Tensor};
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto,
};
use protobuf::MessageField;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The operator set of the graphs.
const OPSET: i64 = 21;

/// A value that no node computes.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its elements.
    pub tensor: Tensor,
    /// Which of its axes have a symbolic extent; `None` for a constant of the model.
    pub symbolic: Option<Vec<bool>>,
}

/// A graph with values of its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// Nodes in the order in which they run.
    pub nodes: Vec<NodeProto>,
    /// Inputs and constants.
    pub leaves: BTreeMap<String, Leaf>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// What the nodes compute, by name.
    pub known: BTreeMap<String, Tensor>,
}

impl Case {
    /// Drops what the outputs do not need.
    #[must_use]
    pub fn pruned(mut self) -> Case {
        let mut needed: BTreeSet<String> = self.outputs.iter().cloned().collect();
        self.nodes.reverse();
        self.nodes.retain(|node| {
            let is_needed = node.output.iter().any(|name| needed.contains(name));
            if is_needed {
                needed.extend(node.input.iter().cloned());
            }
            is_needed
        });
        self.nodes.reverse();
        self.leaves.retain(|name, _| needed.contains(name));
        self
    }

    /// The inputs with their values, in the model's order.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.leaves.iter().filter(|(_, leaf)| leaf.symbolic.is_some()).map(|(name, leaf)| (name.as_str(), &leaf.tensor))
    }

    /// Writes the model to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let input = self.leaves.iter().filter_map(|(name, leaf)| {
            leaf.symbolic.as_ref().map(|symbolic| declared(name, leaf.tensor.dtype(), leaf.tensor.shape(), symbolic))
        });
        let constants = self.leaves.iter().filter(|(_, leaf)| leaf.symbolic.is_none());
        // Types of outputs follow from the nodes.
        let output = self.outputs.iter().map(|name| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() });
        let graph = GraphProto {
            name: "random".into(),
            node: self.nodes.clone(),
            input: input.collect(),
            output: output.collect(),
            initializer: constants.map(|(name, leaf)| tensor_to_proto(name, &leaf.tensor)).collect(),
            ..GraphProto::default()
        };
        let opset = OperatorSetIdProto { version: OPSET, ..OperatorSetIdProto::default() };
        let model = ModelProto {
            ir_version: 10,
            opset_import: vec![opset],
            graph: MessageField::some(graph),
            ..ModelProto::default()
        };
        Ok(std::fs::write(path, model.write_to_bytes()?)?)
    }
}

fn declared(name: &str, dtype: DType, shape: &[usize], symbolic: &[bool]) -> ValueInfoProto {
    let dim = |(axis, (&extent, &symbolic)): (usize, (&usize, &bool))| {
        let value = match symbolic {
            true => dimension::Value::DimParam(format!("{name}_{axis}")),
            false => dimension::Value::DimValue(extent as i64),
        };
        Dimension { value: Some(value), ..Dimension::default() }
    };
    let dim = shape.iter().zip(symbolic).enumerate().map(dim).collect();
    let shape = TensorShapeProto { dim, ..TensorShapeProto::default() };
    let tensor = type_proto::Tensor { elem_type: dtype as i32, shape: MessageField::some(shape), ..Default::default() };
    let ty = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), type_: MessageField::some(ty), ..ValueInfoProto::default() }
}
