//! The walk over a model's nodes, nested graphs and functions.

use super::context::{Binding, Context, Frame, Opsets};
use super::error::{Refusal, Result, invalid, unsupported};
use super::node::NodeView;
use super::objects::Kind;
use super::order::{node_name, sort};
use super::{function, ops, tensor};
use ic_ir::ValueId;
use onnx_protobuf::{GraphProto, NodeProto, TensorProto};
use std::sync::Arc;

/// Nodes beyond which a model is refused: function calls can multiply without bound.
const MAX_NODES: usize = 1 << 20;

/// Puts a graph's constants in scope.
pub(crate) fn bind_initializers(cx: &mut Context, graph: &GraphProto) {
    for initializer in &graph.initializer {
        let name = &initializer.name;
        if cx.is_local(name) {
            cx.report(name, "", invalid!("value `{name}` is defined twice"));
        }
        match tensor::literal(initializer, &mut cx.files) {
            Ok(literal) => cx.bind_literal(name, literal),
            Err(refusal) => {
                cx.report(name, "initializer", refusal);
                cx.bind(name, Binding::Refused);
            }
        }
    }
    for sparse in &graph.sparse_initializer {
        let name = sparse.values.as_ref().map_or("", |values: &TensorProto| values.name.as_str());
        cx.report(name, "initializer", unsupported!("sparse tensors are not supported"));
        cx.bind(name, Binding::Refused);
    }
}

/// Imports the nodes that `outputs` depend on into the current scope.
pub(crate) fn import_nodes(cx: &mut Context, nodes: &[NodeProto], outputs: &[String]) {
    for (i, node) in nodes.iter().enumerate() {
        for name in &node.output {
            if cx.is_local(name) {
                cx.report(&node_name(node, i), &node.op_type, invalid!("value `{name}` is defined twice"));
            }
        }
    }
    let order = match sort(nodes, outputs, &|name| cx.find(name).is_some()) {
        Ok(order) => order,
        Err(problems) => {
            for problem in problems {
                let node = problem.node.map_or(String::new(), |i| cx.prefix.clone() + &node_name(&nodes[i], i));
                cx.report(&node, "", Refusal::Invalid(problem.message));
            }
            outputs.iter().for_each(|name| cx.bind(name, Binding::Refused));
            nodes.iter().flat_map(|n| &n.output).for_each(|name| cx.bind(name, Binding::Refused));
            return;
        }
    };
    for i in order {
        import_node(cx, &nodes[i], i);
    }
}

/// Imports one node and puts its results in scope.
fn import_node(cx: &mut Context, node: &NodeProto, index: usize) {
    let location = cx.prefix.clone() + &node_name(node, index);
    let outer = std::mem::replace(&mut cx.location, location.as_str().into());
    let op = if node.domain.is_empty() { node.op_type.clone() } else { format!("{}::{}", node.domain, node.op_type) };
    cx.n_nodes += 1;
    let results = if cx.n_nodes == MAX_NODES {
        Err(unsupported!("more than {MAX_NODES} nodes after functions are put in place"))
    } else if cx.n_nodes > MAX_NODES {
        Err(Refusal::Reported)
    } else {
        import_op(cx, node)
    };
    let results = results.unwrap_or_else(|refusal| {
        cx.report(&location, &op, refusal);
        Vec::new()
    });
    for (i, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        match results.get(i) {
            Some(&value) => {
                let graph = &mut cx.frame().graph;
                if graph.value(value).name.is_none() {
                    graph.set_name(value, name.as_str());
                }
                cx.bind(name, Binding::Value(value));
            }
            None => {
                if !results.is_empty() {
                    cx.report(&location, &op, unsupported!("output {i} is not supported"));
                }
                cx.bind(name, Binding::Refused);
            }
        }
    }
    cx.location = outer;
}

fn import_op(cx: &mut Context, node: &NodeProto) -> Result<Vec<ValueId>> {
    if let Some(function) = function::lookup(cx, node) {
        return function::call(cx, node, &function);
    }
    let domain = if node.domain == "ai.onnx" { "" } else { node.domain.as_str() };
    let Some(handler) = ops::handler(domain, &node.op_type) else {
        report_nested(cx, node);
        return Err(unsupported!("there is no such op"));
    };
    let opset = opset_of(&cx.opsets(), domain)?;
    // An input whose definition was refused is no problem of this node.
    let inputs = match resolve_inputs(cx, node) {
        Ok(inputs) => inputs,
        Err(refusal) => {
            report_nested(cx, node);
            return Err(refusal);
        }
    };
    if !(domain.is_empty() && ops::sequence::TAKERS.contains(&node.op_type.as_str())) {
        let present: Vec<ValueId> = inputs.iter().copied().flatten().collect();
        cx.refuse_sequences(&present, "an input")?;
    }
    handler(cx, &NodeView { proto: node, opset, inputs })
}

fn opset_of(opsets: &Opsets, domain: &str) -> Result<i64> {
    match opsets.get(domain) {
        Some(&version) => Ok(version),
        None if domain.is_empty() => Err(invalid!("the model imports no operator set of the default domain")),
        None => Ok(1),
    }
}

/// The values of a node's inputs.
pub(crate) fn resolve_inputs(cx: &mut Context, node: &NodeProto) -> Result<Vec<Option<ValueId>>> {
    let resolve = |name: &String| if name.is_empty() { Ok(None) } else { cx.resolve(name) };
    node.input.iter().map(resolve).collect()
}

/// Reports the ops in the nested graphs of a node that is itself refused.
fn report_nested(cx: &mut Context, node: &NodeProto) {
    let graphs = node.attribute.iter().flat_map(|a| a.g.as_ref().into_iter().chain(&a.graphs));
    for graph in graphs {
        for (i, inner) in graph.node.iter().enumerate() {
            let domain = if inner.domain == "ai.onnx" { "" } else { inner.domain.as_str() };
            if ops::handler(domain, &inner.op_type).is_none() && function::lookup(cx, inner).is_none() {
                let name = cx.prefix.clone() + &node_name(inner, i);
                let op = if domain.is_empty() { inner.op_type.clone() } else { format!("{domain}::{}", inner.op_type) };
                cx.report(&name, &op, unsupported!("there is no such op"));
            }
            report_nested(cx, inner);
        }
    }
}

/// Imports a nested graph in place and returns its outputs.
///
/// # Errors
/// If an output was refused.
pub(crate) fn inline(cx: &mut Context, graph: &GraphProto) -> Result<Vec<ValueId>> {
    inline_with(cx, graph, &[])
}

/// Imports a nested graph in place with these values as its inputs and returns its outputs.
///
/// # Errors
/// If an output was refused.
pub(crate) fn inline_with(cx: &mut Context, graph: &GraphProto, inputs: &[(&str, ValueId)]) -> Result<Vec<ValueId>> {
    cx.open_scope();
    inputs.iter().for_each(|&(name, value)| cx.bind(name, Binding::Value(value)));
    bind_initializers(cx, graph);
    let outputs: Vec<String> = graph.output.iter().map(|v| v.name.clone()).collect();
    import_nodes(cx, &graph.node, &outputs);
    let results = outputs.iter().map(|name| required(cx, name)).collect();
    cx.close_scope();
    results
}

/// Imports a nested graph as a region whose first inputs are `captures`.
///
/// # Errors
/// If an output was refused.
pub(crate) fn region(cx: &mut Context, graph: &GraphProto, captures: &[ValueId]) -> Result<Frame> {
    cx.open_frame(&graph.name, captures);
    let results = inline(cx, graph).and_then(|results| {
        let declared = graph.output.iter().map(|port| port.type_.as_ref().map(Kind::of).transpose());
        let ports = results.into_iter().zip(declared);
        let value = |(value, declared): (ValueId, Result<Option<Kind>>)| match declared? {
            Some(kind) => cx.as_declared(value, &kind),
            None => cx.boxed(value),
        };
        ports.map(value).collect::<Result<Vec<_>>>()
    });
    let mut frame = cx.close_frame();
    for (value, output) in results?.into_iter().zip(&graph.output) {
        frame.graph.add_output(Arc::from(output.name.as_str()), value);
    }
    Ok(frame)
}

/// The value called `name`, which must not be an absent argument.
///
/// # Errors
/// If it is not defined or was refused.
pub(crate) fn required(cx: &mut Context, name: &str) -> Result<ValueId> {
    cx.resolve(name)?.ok_or_else(|| invalid!("`{name}` is an argument that is left out"))
}
