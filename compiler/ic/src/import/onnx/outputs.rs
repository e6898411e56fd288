//! A model's outputs: chosen by the user or declared, and compared with their declarations.

use super::context::Context;
use super::objects::Kind;
use super::symbols::dimensions;
use super::walk::required;
use crate::import::ImportOptions;
use ic_ir::{TensorType, Type};
use ic_types::DType;
use onnx_protobuf::tensor_shape_proto::dimension;
use onnx_protobuf::{GraphProto, TypeProto, ValueInfoProto, type_proto};

/// Names of the values to compute.
pub(crate) fn wanted(cx: &mut Context, graph: &GraphProto, options: &ImportOptions) -> Vec<String> {
    let Some(names) = &options.outputs else {
        return graph.output.iter().map(|v| v.name.clone()).collect();
    };
    let is_defined = |cx: &Context, name: &str| {
        cx.is_local(name) || graph.node.iter().any(|node| node.output.iter().any(|output| output == name))
    };
    for name in names.iter().filter(|name| !is_defined(cx, name)).cloned().collect::<Vec<_>>() {
        cx.report("", "", super::error::invalid!("the model has no value `{name}` to be an output"));
    }
    names.iter().filter(|name| is_defined(cx, name)).cloned().collect()
}

/// Declares the graph's outputs.
pub(crate) fn add(cx: &mut Context, graph: &GraphProto, wanted: &[String]) {
    for name in wanted {
        let value = required(cx, name);
        let declared =
            graph.output.iter().find(|v| v.name == *name).filter(|v| !v.type_.as_ref().is_some_and(is_of_maps));
        let value = value.and_then(|value| match declared.and_then(|v| v.type_.as_ref()) {
            Some(ty) => Kind::of(ty).and_then(|kind| cx.as_declared(value, &kind)),
            None => cx.boxed(value),
        });
        match value {
            Ok(value) => {
                cx.frame().graph.add_output(name.as_str(), value);
                let ty = cx.graph().ty(value).clone();
                if let (Some(declared), Type::Tensor(ty)) = (declared, ty)
                    && let Some(difference) = difference(declared, &ty)
                {
                    cx.location = name.as_str().into();
                    cx.warn(format!("output `{name}` is {ty}, but declared {difference}"));
                    cx.location = "".into();
                }
            }
            Err(refusal) => cx.report(name, "output", refusal),
        }
    }
}

/// Whether a type has maps, as the result of `ZipMap` is declared. There are none here: it is a tensor.
fn is_of_maps(ty: &TypeProto) -> bool {
    match &ty.value {
        Some(type_proto::Value::MapType(_)) => true,
        Some(type_proto::Value::SequenceType(sequence)) => sequence.elem_type.as_ref().is_some_and(is_of_maps),
        _ => false,
    }
}

/// How a declaration contradicts the inferred type. Names of dims are no contradiction.
fn difference(declared: &ValueInfoProto, ty: &TensorType) -> Option<String> {
    let declared = declared.type_.as_ref()?;
    let Some(type_proto::Value::TensorType(tensor)) = &declared.value else {
        return (ty.dtype != DType::Object).then(|| "to be no tensor".into());
    };
    if tensor.elem_type != 0 && tensor.elem_type != ty.dtype as i32 {
        let dtype = super::tensor::dtype(tensor.elem_type).map_or_else(|_| "unknown".into(), |d| d.to_string());
        return Some(format!("with elements of type {dtype}"));
    }
    let dims = dimensions(declared)?;
    if dims.len() != ty.rank() {
        return Some(format!("with rank {}", dims.len()));
    }
    dims.iter().zip(&ty.shape).enumerate().find_map(|(axis, (dim, extent))| match (&dim.value, extent.as_const()) {
        (Some(dimension::Value::DimValue(n)), Some(extent)) if *n > 0 && *n != extent => {
            Some(format!("with extent {n} of axis {axis}"))
        }
        _ => None,
    })
}
