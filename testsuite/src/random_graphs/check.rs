//! A graph, compiled and run against its evaluation.

use super::case::Case;
use ic::import::{ImportOptions, import};
use ic::pipeline::{CompileError, Options};
use ic::runner::Runner;
use ic_codegen::Target;
use ic_ir::Graph;
use ic_ir::eval::{Symbols, eval_altered, eval_graph, from_reals, reals};
use ic_ir::testing::Random;
use ic_runtime::LoadOptions;
use ic_types::{DType, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What is wrong with a graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Defect {
    /// The compiler refuses what the importer has taken.
    Refused,
    /// Something panics.
    Panic,
    /// The run fails.
    Fails,
    /// An output differs from its evaluation.
    Wrong,
    /// The evaluation of the whole differs from that of its nodes, one by one.
    Imported,
}

/// How a graph went.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The outputs are those of the evaluation.
    Right(Vec<Tensor>),
    /// The importer takes the nodes alone and not with these inputs; why.
    NotImported(String),
    /// The target has no code for it; why.
    Unsupported(String),
    /// Neither the evaluation nor the run takes these extents for symbols: both say so.
    OutOfBounds,
    /// What is wrong, in words.
    Broken(Defect, String),
}

/// What graphs are compiled for, and the device that runs them.
#[derive(Clone, Debug)]
pub struct Place {
    /// The target.
    pub target: Target,
    /// The device's name, as on command lines.
    pub device: String,
}

impl Place {
    /// This host.
    ///
    /// # Panics
    /// If there is no code for it.
    pub fn host() -> Place {
        Place { target: Target::host().expect("a host with code of its own"), device: "cpu".into() }
    }

    /// Whether this says that the compiler has no code for the target, rather than that the device does not take it.
    fn lacks(&self, error: &CompileError) -> bool {
        !matches!(self.target, Target::Cpu(_)) && !matches!(error, CompileError::Calibration(_))
    }
}

/// Compiles and runs a graph. `folder` is for files.
pub fn check(case: &Case, place: &Place, folder: &Path) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| checked(case, place, folder))) {
        Ok(verdict) => verdict,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Verdict::Broken(Defect::Panic, text.unwrap_or("panicked").to_string())
        }
    }
}

fn checked(case: &Case, place: &Place, folder: &Path) -> Verdict {
    let path = folder.join("graph.onnx");
    if let Err(error) = case.write(&path) {
        return Verdict::NotImported(error.to_string());
    }
    let graph = match import(&path, &ImportOptions::default()) {
        Ok(model) => model.graph,
        Err(problems) => {
            let text = problems.iter().map(|p| format!("{} {}", p.message, p.notes.join("; ")));
            return Verdict::NotImported(text.collect::<Vec<_>>().join(" | "));
        }
    };
    let inputs = inputs_of(case, &graph);
    let known: Vec<Tensor> = case.outputs.iter().filter_map(|name| case.known.get(name).cloned()).collect();
    let evaluated = eval_graph(&graph, &inputs, &Symbols::new());
    let expected = match &evaluated {
        Ok(outputs) => outputs.clone(),
        // Where extents are symbols, bounds may have been taken for granted; the run must find that out as well.
        Err(_) if has_symbols(case) => known.clone(),
        Err(error) => return Verdict::Broken(Defect::Imported, format!("the evaluation fails: {error}")),
    };
    if let Some(why) = difference(case, &graph, &inputs, &known, &expected) {
        return Verdict::Broken(Defect::Imported, why);
    }
    let (session, load) = (ic_runtime::Options::new(), LoadOptions::new().device(&place.device));
    let runner = match Runner::on(graph.clone(), &Options::default(), &session, place.target, &load) {
        Ok(runner) => runner,
        Err(error) if place.lacks(&error) => return Verdict::Unsupported(error.to_string()),
        Err(error) => return Verdict::Broken(Defect::Refused, format!("{error:?}")),
    };
    let found = match runner.run(&inputs) {
        Ok(found) => found,
        Err(_) if evaluated.is_err() => return Verdict::OutOfBounds,
        Err(error) => return Verdict::Broken(Defect::Fails, format!("{error:?}")),
    };
    match difference(case, &graph, &inputs, &expected, &found) {
        Some(why) => Verdict::Broken(Defect::Wrong, why),
        None => Verdict::Right(found),
    }
}

fn has_symbols(case: &Case) -> bool {
    case.leaves.values().filter_map(|leaf| leaf.symbolic.as_ref()).flatten().any(|&symbolic| symbolic)
}

fn inputs_of(case: &Case, graph: &Graph) -> Vec<Tensor> {
    let name = |v| graph.value(v).name.clone().unwrap_or_default();
    let tensor = |v| case.leaves.get(&*name(v)).map(|leaf| leaf.tensor.clone());
    graph.inputs().iter().filter_map(|&v| tensor(v)).collect()
}

/// The share of an output's scale that rounding may move it by: that of the narrowest float anywhere in the graph.
fn tolerance(case: &Case) -> f64 {
    let leaves = case.leaves.values().map(|leaf| &leaf.tensor);
    let of = |t: &Tensor| match t.dtype() {
        DType::BF16 => 6e-2,
        DType::F16 => 1e-2,
        DType::F32 => 1e-4,
        _ => 1e-9,
    };
    leaves.chain(case.known.values()).map(of).fold(0.0, f64::max)
}

/// How results differ from what is expected, if they do.
fn difference(case: &Case, graph: &Graph, inputs: &[Tensor], expected: &[Tensor], found: &[Tensor]) -> Option<String> {
    let share = tolerance(case);
    let mut moved = None;
    for (i, (want, got)) in expected.iter().zip(found).enumerate() {
        if (want.dtype(), want.shape()) != (got.dtype(), got.shape()) {
            let (a, b) = ((got.dtype(), got.shape()), (want.dtype(), want.shape()));
            return Some(format!("`{}` is {a:?}, expected {b:?}", case.outputs[i]));
        }
        let (Some((at, error)), scale) = largest(want, got) else { continue };
        if error <= share * scale {
            continue;
        }
        let moved = moved.get_or_insert_with(|| roundoff(graph, inputs, expected, share));
        if error <= 8.0 * moved.get(i).copied().unwrap_or(0.0) {
            continue;
        }
        let show = |t: &Tensor| reals(t).map_or_else(|_| format!("{:?}", t.data()), |v| format!("{:e}", v[at]));
        let text = |t: &Tensor| show(t).chars().take(200).collect::<String>();
        return Some(format!("`{}` is {} at {at}, expected {}", case.outputs[i], text(got), text(want)));
    }
    None
}

/// The largest difference with its place, if there is one, and the largest magnitude.
fn largest(want: &Tensor, got: &Tensor) -> (Option<(usize, f64)>, f64) {
    let (Ok(a), Ok(b)) = (reals(want), reals(got)) else {
        return ((want != got).then_some((0, f64::INFINITY)), 0.0);
    };
    let error = |(x, y): (&f64, &f64)| match (x - y).abs() {
        _ if x == y || (x.is_nan() && y.is_nan()) => 0.0,
        e if e.is_nan() => f64::INFINITY,
        e => e,
    };
    let errors = a.iter().zip(&b).map(error).enumerate();
    let worst = errors.filter(|(_, e)| *e > 0.0).max_by(|x, y| x.1.total_cmp(&y.1));
    (worst, a.iter().filter(|x| x.is_finite()).map(|x| x.abs()).fold(0.0, f64::max))
}

/// How far each output moves if every float on the way is rounded otherwise.
fn roundoff(graph: &Graph, inputs: &[Tensor], expected: &[Tensor], share: f64) -> Vec<f64> {
    let mut moved = vec![0.0f64; expected.len()];
    for seed in 0..3 {
        let mut random = Random(seed);
        let mut alter = |_: &ic_ir::Node, results: &mut [Tensor]| {
            for tensor in results.iter_mut().filter(|t| t.dtype().is_float()) {
                let Ok(values) = reals(tensor) else { continue };
                let step = share / 100.0;
                let nudged = values.iter().map(|x| x * (1.0 + if random.flag() { step } else { -step })).collect();
                if let Ok(changed) = from_reals(tensor.dtype(), tensor.shape().to_vec(), nudged) {
                    *tensor = changed;
                }
            }
        };
        let Ok(outputs) = eval_altered(graph, inputs, &Symbols::new(), &mut alter) else { continue };
        for (most, (want, got)) in moved.iter_mut().zip(expected.iter().zip(&outputs)) {
            let error = largest(want, got).0.map_or(0.0, |(_, e)| e);
            *most = most.max(error);
        }
    }
    moved
}
