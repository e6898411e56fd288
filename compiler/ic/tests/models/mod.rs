//! Small ONNX models, built as messages and written to a temporary folder.

use ic::import::{ImportOptions, Imported, import};
use ic_ir::Diagnostic;
use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{self, Value};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto,
};
use protobuf::MessageField;

/// An input or output of type f32 with these dims: numbers, names, or `?`.
pub(crate) fn value(name: &str, dims: &[&str]) -> ValueInfoProto {
    let dim = |text: &&str| {
        let value = match text.parse() {
            Ok(extent) => Some(dimension::Value::DimValue(extent)),
            Err(_) if *text == "?" => None,
            Err(_) => Some(dimension::Value::DimParam((*text).into())),
        };
        Dimension { value, ..Dimension::default() }
    };
    let shape = TensorShapeProto { dim: dims.iter().map(dim).collect(), ..TensorShapeProto::default() };
    let tensor = type_proto::Tensor { elem_type: 1, shape: MessageField::some(shape), ..type_proto::Tensor::default() };
    let ty = TypeProto { value: Some(Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), type_: MessageField::some(ty), ..ValueInfoProto::default() }
}

/// The same with another element type.
pub(crate) fn typed(code: i32, mut value: ValueInfoProto) -> ValueInfoProto {
    if let Some(Value::TensorType(tensor)) = &mut value.type_.as_mut().unwrap().value {
        tensor.elem_type = code;
    }
    value
}

/// A node; names are separated by blanks, and the node is called after its first output.
pub(crate) fn node(op: &str, inputs: &str, outputs: &str) -> NodeProto {
    let names = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<String>>();
    NodeProto {
        op_type: op.into(),
        name: format!("node {}", outputs.split_whitespace().next().unwrap_or("?")),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

/// The node with an attribute.
pub(crate) fn with(mut node: NodeProto, attribute: AttributeProto) -> NodeProto {
    node.attribute.push(attribute);
    node
}

pub(crate) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i, ..AttributeProto::default() }
}

pub(crate) fn tensor_attr(name: &str, tensor: TensorProto) -> AttributeProto {
    AttributeProto { name: name.into(), t: MessageField::some(tensor), ..AttributeProto::default() }
}

pub(crate) fn graph_attr(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { name: name.into(), g: MessageField::some(graph), ..AttributeProto::default() }
}

/// A constant of f32.
pub(crate) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: 1, raw_data, ..TensorProto::default() }
}

pub(crate) fn graph(
    nodes: Vec<NodeProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    initializer: Vec<TensorProto>,
) -> GraphProto {
    let name = "test".into();
    GraphProto { name, node: nodes, input: inputs, output: outputs, initializer, ..GraphProto::default() }
}

/// A model at opset 18.
pub(crate) fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { version: 18, ..OperatorSetIdProto::default() };
    ModelProto { ir_version: 8, opset_import: vec![opset], graph: MessageField::some(graph), ..ModelProto::default() }
}

/// Imports a model from a file of its own.
pub(crate) fn import_model(model: &ModelProto, options: &ImportOptions) -> Result<Imported, Vec<Diagnostic>> {
    import_bytes(&model.write_to_bytes().unwrap(), options)
}

/// Imports the bytes of a model.
pub(crate) fn import_bytes(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Vec<Diagnostic>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    import(&path, options)
}
