//! Models evaluated by the reference and run as artifacts.

use super::models::{graph, import_model, model, typed, value};
use ic::import::{ImportOptions, import};
use ic::pipeline::{Options, Source, lower, write};
use ic_codegen::Target;
use ic_codegen::cpu::CpuTarget;
use ic_ir::Graph;
use ic_ir::eval::{Symbols, eval_graph};
use ic_runtime::Model;
use ic_types::{Element, Tensor, TensorView};
use onnx_protobuf::{Message, ModelProto, NodeProto, ValueInfoProto};

/// A declaration: `NAME:DIMS` for f32, `NAME#DIMS` for i64 and `NAME?DIMS` for bool.
pub(crate) fn port(text: &str) -> ValueInfoProto {
    let at = text.find([':', '#', '?']).unwrap();
    let dims: Vec<&str> = text[at + 1..].split_whitespace().collect();
    let code = [(':', 1), ('#', 7), ('?', 9)].into_iter().find(|(c, _)| text[at..].starts_with(*c)).unwrap().1;
    typed(code, value(&text[..at], &dims))
}

/// A model of nodes with these inputs and outputs.
pub(crate) fn of(nodes: Vec<NodeProto>, inputs: &[&str], outputs: &str) -> ModelProto {
    let outputs = outputs.split_whitespace().map(|name| value(name, &[])).collect();
    let mut built = model(graph(nodes, inputs.iter().map(|text| port(text)).collect(), outputs, vec![]));
    built.graph.as_mut().unwrap().output.iter_mut().for_each(|output| output.type_.clear());
    built
}

pub(crate) fn vector<T: Element>(elements: Vec<T>) -> Tensor {
    Tensor::from_elements(vec![elements.len()], elements)
}

/// 0, 1, 2 … as f32.
pub(crate) fn counting(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_elements(shape.to_vec(), (0..n).map(|i| i as f32).collect())
}

/// The outputs of a model, the same from the evaluator and from its artifact on one thread and on three, or the error
/// of the run.
///
/// # Panics
/// If the two differ, or the model does not compile.
pub(crate) fn run_model(model: &ModelProto, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let graph = import_model(model, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e:?}")).graph;
    run_file("model.onnx", &model.write_to_bytes().unwrap(), &graph, inputs)
}

/// [`run_model`] for a file of this name, which holds `graph`.
pub(crate) fn run_file(name: &str, bytes: &[u8], graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    assert_eq!(ic_ir::verify(graph), []);
    let expected = eval_graph(graph, inputs, &Symbols::new());
    let folder = tempfile::tempdir().unwrap();
    let (path, artifact) = (folder.path().join(name), folder.path().join("model.ica"));
    std::fs::write(&path, bytes).unwrap();
    assert!(import(&path, &ImportOptions::default()).is_ok());
    let targets = vec![Target::Cpu(CpuTarget::host().unwrap())];
    let options = Options { targets, ..Options::default() };
    let lowered = lower(&[Source::main(&path)], &options, &mut |_| {}, &mut |pass, graph| {
        assert_eq!(ic_ir::verify(graph), [], "after {pass}");
    });
    let lowered = lowered.unwrap_or_else(|e| panic!("{e}"));
    write(&lowered, &artifact, &options, &mut |_| {}).unwrap_or_else(|e| panic!("{e}"));
    // SAFETY: the artifact has just been written by this compiler.
    let model = unsafe { Model::load(&artifact) }.unwrap();
    let mut runs = Vec::new();
    for threads in [1, 3] {
        let session = model.session(&ic_runtime::Options::new().threads(threads)).unwrap();
        let names: Vec<String> = session.entry().inputs.iter().map(|port| port.name.clone()).collect();
        let views: Vec<(&str, TensorView)> =
            names.iter().zip(inputs).map(|(name, tensor)| (name.as_str(), tensor.view())).collect();
        let outputs = session.run(&views).map_err(|e| e.to_string());
        runs.push(outputs.map(|outputs| outputs.iter().map(|(_, tensor)| tensor.clone()).collect::<Vec<_>>()));
    }
    let (second, first) = (runs.pop().unwrap(), runs.pop().unwrap());
    assert_eq!(first, second, "results depend on the number of threads");
    match (&first, &expected) {
        (Ok(found), Ok(expected)) => found.iter().zip(expected).for_each(|(found, expected)| same(found, expected)),
        (Err(_), Err(_)) => {}
        (found, expected) => panic!("found {found:?}, expected {expected:?}"),
    }
    first
}

/// Equal, floats up to rounding.
fn same(found: &Tensor, expected: &Tensor) {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
    match (found.elements::<f32>(), expected.elements::<f32>()) {
        (Some(a), Some(b)) => {
            assert!(a.iter().zip(b).all(|(a, b)| a == b || (a - b).abs() <= 1e-5 * b.abs().max(1.0)), "{a:?} {b:?}");
        }
        _ => assert_eq!(found, expected),
    }
}
