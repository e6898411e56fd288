//! `ic inspect`: what is in a model or an artifact.

use super::args::InspectArgs;
use super::output::Say;
use anyhow::{Context, Result};
use ic::import::{ImportOptions, import};
use ic_artifact::{
    ArtifactReader, Certificate, EntryState, KernelError, Manifest, Operand, Place, Plan, Port, State, Step, Target,
};
use ic_ir::Graph;
use ic_types::DType;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) fn inspect(args: &InspectArgs, say: &mut Say) -> Result<()> {
    let description = if args.file.extension().is_some_and(|extension| extension == "ica") {
        describe_artifact(&args.file)?
    } else {
        describe_model(&args.file)?
    };
    if args.json { say.json(&description) } else { say.text(&indented(&description, 0)) }
}

fn describe_model(path: &Path) -> Result<Value> {
    let imported = import(path, &ImportOptions::default()).map_err(super::diagnostics)?;
    let graph = &imported.graph;
    let port = |name: &str, value| format!("{name}: {}", graph.ty(value));
    let inputs = graph.inputs().iter().map(|&v| port(graph.value(v).name.as_deref().unwrap_or_default(), v));
    let outputs = graph.outputs().iter().zip(graph.output_names()).map(|(&v, name)| port(name, v));
    let mut ops = BTreeMap::new();
    count_ops(graph, &mut ops);
    let metadata: BTreeMap<_, _> = imported.metadata.iter().cloned().collect();
    Ok(json!({
        "model": path.display().to_string(),
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
        "ops": ops,
        "metadata": metadata,
        "warnings": imported.warnings.iter().map(|w| w.message.clone()).collect::<Vec<_>>(),
    }))
}

fn count_ops(graph: &Graph, ops: &mut BTreeMap<String, usize>) {
    for (_, node) in graph.nodes() {
        *ops.entry(node.op.name().to_string()).or_default() += 1;
        node.regions.iter().for_each(|region| count_ops(region, ops));
    }
}

fn describe_artifact(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let artifact = ArtifactReader::open(&bytes).with_context(|| path.display().to_string())?;
    let manifest = artifact.manifest();
    let port = |port: &Port| {
        let dtype = DType::from_code(port.dtype).map_or("?", DType::name);
        format!("{}: {dtype}[{}]", port.name, port.shape.join(", "))
    };
    let targets = manifest.targets.iter().enumerate().map(|(i, target)| {
        let plans = artifact.plans(i).with_context(|| format!("{}: target {}", path.display(), target.name))?;
        let named: BTreeMap<&str, Value> =
            manifest.entries.iter().zip(&plans).map(|(e, plan)| (e.name.as_str(), describe_plan(plan))).collect();
        let bytes = |section: u32| artifact.sections()[section as usize].length;
        Ok(json!({
            "name": target.name,
            "cpu_features": target.cpu_features,
            "code_section": target.code_section,
            "code_bytes": bytes(target.code_section),
            "plan_section": target.plan_section,
            "plan_bytes": bytes(target.plan_section),
            "entries": named,
        }))
    });
    Ok(json!({
        "artifact": path.display().to_string(),
        "producer": manifest.producer,
        "entries": manifest.callable().iter().map(|entry| json!({
            "name": entry.name,
            "inputs": entry.inputs.iter().map(port).collect::<Vec<_>>(),
            "outputs": entry.outputs.iter().map(port).collect::<Vec<_>>(),
            "states": entry.states.iter().map(|used| describe_use(manifest, used)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "states": manifest.states.iter().map(describe_state).collect::<Vec<_>>(),
        "targets": targets.collect::<Result<Vec<_>>>()?,
        "sections": artifact.sections().iter().enumerate().map(|(index, section)| json!({
            "kind": section.kind.name(), "offset": section.offset, "bytes": section.length,
            "targets": users(manifest, index as u32),
        })).collect::<Vec<_>>(),
        "certificate": describe_certificate(&manifest.certificate),
        "metadata": manifest.metadata.iter().cloned().collect::<BTreeMap<_, _>>(),
        "quantized in the model, run in float": manifest.float_contractions.iter()
            .map(|(node, reason)| format!("{node}: {reason}")).collect::<Vec<_>>(),
    }))
}

/// How the artifact came about.
fn describe_certificate(certificate: &Certificate) -> Value {
    let kernel = |error: &KernelError| {
        let KernelError { kernel, what, nodes, absolute, relative, ulps, .. } = error;
        format!("{kernel} {what}: {absolute:.2e}, {relative:.2e} of the scale, {ulps} ulps ({nodes})")
    };
    let of_entry = |(entry, errors): &(String, Vec<KernelError>)| {
        (entry.clone(), json!(errors.iter().map(kernel).collect::<Vec<_>>()))
    };
    json!({
        "options": certificate.options.join(" "),
        "rules": certificate.rules.iter().cloned().collect::<BTreeMap<_, _>>(),
        "errors of kernels": certificate.kernels.iter().map(of_entry).collect::<serde_json::Map<_, _>>(),
    })
}

/// The targets that read a section of code or plans.
fn users(manifest: &Manifest, section: u32) -> Vec<&str> {
    let reads = |t: &&Target| t.code_section == section || t.plan_section == section;
    manifest.targets.iter().filter(reads).map(|t| t.name.as_str()).collect()
}

/// A state buffer: its name, type and capacity, and the axis along which it grows.
fn describe_state(state: &State) -> String {
    let dtype = DType::from_code(state.dtype).map_or("?", DType::name);
    let grows = state.append_axis.map_or(String::new(), |axis| format!(", grows along axis {axis}"));
    format!("{}: {dtype}{:?}{grows}", state.name, state.capacity)
}

/// What an entry does with a state buffer.
fn describe_use(manifest: &Manifest, used: &EntryState) -> String {
    let name = manifest.states.get(used.state as usize).map_or("?", |state| &state.name);
    let reads = used.reads.as_ref().map(|port| format!(" reads `{}` [{}]", port.name, port.shape.join(", ")));
    let writes = used.writes.as_ref().map(|port| format!(" writes `{}` [{}]", port.name, port.shape.join(", ")));
    format!("{name}:{}{}", reads.unwrap_or_default(), writes.unwrap_or_default())
}

/// The element types of a kernel's operands in the weight section.
fn weight_types(plan: &Plan, operands: &[Option<Operand>]) -> String {
    let is_weight = |operand: &&Operand| {
        let buffer = plan.buffers.get(operand.buffer as usize);
        buffer.is_some_and(|buffer| matches!(buffer.place, Place::Weight { .. }))
    };
    let types = operands.iter().flatten().filter(is_weight).map(|operand| DType::from_code(operand.dtype));
    let types: BTreeSet<&str> = types.map(|dtype| dtype.map_or("?", DType::name)).collect();
    types.into_iter().collect::<Vec<_>>().join(", ")
}

/// Steps by kernel and element type of its weights, and sizes.
fn describe_plan(plan: &Plan) -> Value {
    let mut kernels: BTreeMap<String, usize> = BTreeMap::new();
    let mut contractions: BTreeMap<String, usize> = BTreeMap::new();
    for step in &plan.steps {
        if let Some(precision) = contraction(plan, step) {
            *contractions.entry(precision).or_default() += 1;
        }
        let name = match step {
            Step::Library { kernel, operands, .. } => {
                let name = plan.kernels.get(*kernel as usize).map_or("?", |k| k.name.as_str());
                match weight_types(plan, operands).as_str() {
                    "" => name.to_string(),
                    types => format!("{name}, weights {types}"),
                }
            }
            Step::Code { .. } => "generated".into(),
            Step::Branch { .. } => "branch".into(),
            Step::Jump { .. } => "jump".into(),
            Step::Launch { function, .. } => plan.functions.get(*function as usize).cloned().unwrap_or("?".into()),
            Step::Copy { .. } => "copy".into(),
            Step::Loop { .. } => "loop".into(),
            Step::Next { .. } => "next".into(),
            Step::Call { .. } => "call".into(),
        };
        *kernels.entry(name).or_default() += 1;
    }
    let contractions = contractions.iter().map(|(precision, n)| format!("{n} {precision}")).collect::<Vec<_>>();
    let contractions = contractions.join(", ");
    json!({ "steps": plan.steps.len(), "contractions": contractions, "kernels": kernels, "buffers": plan.buffers.len(), "functions": plan.functions.len() })
}

/// The precision of a step that contracts: the types of its factors and of its sums.
fn contraction(plan: &Plan, step: &Step) -> Option<String> {
    let Step::Library { kernel, operands, .. } = step else { return None };
    let name = plan.kernels.get(*kernel as usize)?.name.as_str();
    let contracts = ["matmul", "conv", "lstm", "gru", "rnn"].iter().any(|word| name.contains(word));
    let dtype = |i: usize| operands.get(i)?.as_ref().and_then(|operand| DType::from_code(operand.dtype));
    match name.split_once('_')? {
        _ if !contracts => None,
        ("int8", _) => match (dtype(0)?, dtype(1)?) {
            (DType::F32, weights) => Some(format!("int8 (f32 quantized at run time × {weights} → i32)")),
            (left, right) => Some(format!("int8 ({left} × {right} → i32)")),
        },
        (precision, _) => match dtype(1) {
            Some(weights @ (DType::I8 | DType::I4)) => Some(format!("{precision} ({weights} weights with scales)")),
            _ => Some(precision.into()),
        },
    }
}

/// A JSON value as indented lines that people read.
fn indented(value: &Value, depth: usize) -> String {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| match field {
                Value::Object(_) | Value::Array(_) => format!("{pad}{name}:\n{}", indented(field, depth + 1)),
                _ => format!("{pad}{name}: {}\n", plain(field)),
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Object(_) => indented(item, depth) + "\n",
                _ => format!("{pad}{}\n", plain(item)),
            })
            .collect(),
        _ => format!("{pad}{}\n", plain(value)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
