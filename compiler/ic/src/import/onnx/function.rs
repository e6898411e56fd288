//! Model-local functions: calls are replaced by the bodies.

use super::context::{Binding, Context};
use super::error::{Result, invalid, unsupported};
use super::walk::{import_nodes, required};
use ic_ir::ValueId;
use onnx_protobuf::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};
use std::collections::BTreeMap;
use std::rc::Rc;

type Key = (String, String, String);

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    (domain.into(), name.into(), overload.into())
}

/// The functions of a model.
pub(crate) fn functions_of(model: &mut ModelProto) -> super::context::Functions {
    let functions = std::mem::take(&mut model.functions).into_iter();
    functions.map(|f| (key(&f.domain, &f.name, &f.overload), Rc::new(f))).collect()
}

/// The function that a node calls, if it calls one.
pub(crate) fn lookup(cx: &Context, node: &NodeProto) -> Option<Rc<FunctionProto>> {
    cx.functions.get(&key(&node.domain, &node.op_type, &node.overload)).cloned()
}

/// Imports the body of a function in place of a call.
///
/// # Errors
/// If the function calls itself, the arguments do not fit, or a result was refused.
pub(crate) fn call(cx: &mut Context, node: &NodeProto, function: &FunctionProto) -> Result<Vec<ValueId>> {
    let key = key(&function.domain, &function.name, &function.overload);
    if cx.calls.contains(&key) {
        return Err(invalid!("function `{}` calls itself", function.name));
    }
    if node.input.len() > function.input.len() {
        return Err(invalid!("takes {} inputs, found {}", function.input.len(), node.input.len()));
    }
    let body = instantiate(node, function)?;
    let mut arguments = Vec::new();
    for (i, formal) in function.input.iter().enumerate() {
        let actual = node.input.get(i).filter(|name| !name.is_empty());
        let value = match actual {
            Some(name) => cx.resolve(name)?,
            None => None,
        };
        arguments.push((formal, value.map_or(Binding::Absent, Binding::Value)));
    }
    let opsets = match function.opset_import.is_empty() {
        true => cx.opsets(),
        false => super::opsets_of(&function.opset_import),
    };
    cx.open_closed_scope(opsets);
    arguments.into_iter().for_each(|(formal, binding)| cx.bind(formal, binding));
    let outer = cx.prefix.clone();
    cx.prefix = format!("{}/", cx.location);
    cx.calls.push(key);
    import_nodes(cx, &body, &function.output);
    let results = function.output.iter().take(node.output.len()).map(|name| required(cx, name)).collect();
    cx.calls.pop();
    cx.prefix = outer;
    cx.close_scope();
    results
}

/// The nodes of the function with the attributes of the call put in place of references to them.
fn instantiate(node: &NodeProto, function: &FunctionProto) -> Result<Vec<NodeProto>> {
    let mut attributes: BTreeMap<&str, &AttributeProto> =
        function.attribute_proto.iter().map(|a| (a.name.as_str(), a)).collect();
    for attribute in &node.attribute {
        if !attribute.ref_attr_name.is_empty() {
            return Err(unsupported!("attribute `{}` refers to an attribute outside of a function", attribute.name));
        }
        attributes.insert(&attribute.name, attribute);
    }
    let mut body = function.node.clone();
    body.iter_mut().for_each(|node| substitute(node, &attributes));
    Ok(body)
}

/// Replaces references to attributes; one to an attribute that the call leaves out vanishes.
fn substitute(node: &mut NodeProto, attributes: &BTreeMap<&str, &AttributeProto>) {
    node.attribute.retain_mut(|attribute| {
        if attribute.ref_attr_name.is_empty() {
            return true;
        }
        let Some(&actual) = attributes.get(attribute.ref_attr_name.as_str()) else { return false };
        let name = std::mem::take(&mut attribute.name);
        *attribute = AttributeProto { name, ..actual.clone() };
        true
    });
    for attribute in &mut node.attribute {
        let single = attribute.g.as_mut().into_iter();
        single.chain(&mut attribute.graphs).for_each(|graph: &mut GraphProto| {
            graph.node.iter_mut().for_each(|node| substitute(node, attributes));
        });
    }
}
