//! `ic verify`: an artifact against the reference evaluation of its unoptimized model.

use super::args::{FeedArgs, SessionArgs, VerifyArgs};
use super::feed::feed;
use super::open::{open, session};
use super::output::Say;
use anyhow::{Context, Result, anyhow, bail, ensure};
use ic::import::{ImportOptions, import};
use ic_ir::Graph;
use ic_ir::eval::{Symbols, eval_graph};
use ic_runtime::{Entry, Model, Session};
use ic_types::{Data, Tensor, bf16_to_f32, f16_to_f32};
use serde_json::json;
use std::path::{Path, PathBuf};

pub(crate) fn verify(args: &VerifyArgs, say: &mut Say) -> Result<()> {
    let (entry, file) = named(&args.model);
    let model = open(&args.session)?;
    model.verify_weights()?;
    let arguments = SessionArgs { entry: args.session.entry.clone().or(entry), ..args.session.clone() };
    let session = session(&model, &arguments)?;
    say.phase("running the artifact");
    let run = Run::new(&model, &session, &args.feed)?;
    say.phase("evaluating the model");
    let wanted: Vec<String> = run.found.iter().map(|(name, _)| name.clone()).collect();
    let options = ImportOptions { outputs: Some(wanted), ..ImportOptions::default() };
    let imported = import(&file, &options).map_err(super::diagnostics)?;
    let reference = evaluate(&imported.graph, &run.fed)?;
    let mut rows = Vec::new();
    for ((name, found), expected) in run.found.iter().zip(&reference) {
        rows.push(compare(name, found, expected)?);
    }
    let worst = rows.iter().map(|row| row.relative).fold(0.0, f64::max);
    let agrees = rows.iter().all(|row| if row.exact { row.absolute == 0.0 } else { row.relative <= args.tolerance });
    if args.json {
        say.json(&json!({ "agrees": agrees, "outputs": rows.iter().map(Row::json).collect::<Vec<_>>() }))?;
    } else {
        for row in &rows {
            say.line(&format!(
                "{}: max error {:.3e}, {:.3e} of the output's scale",
                row.name, row.absolute, row.relative
            ))?;
        }
    }
    ensure!(agrees, "the artifact differs from its model: {worst:.3e} of an output's scale");
    if args.json { Ok(()) } else { say.line("the artifact agrees with its model") }
}

/// A run of an entry after those that were hoisted from it.
struct Run {
    /// The model's inputs, those that are states included.
    fed: Vec<(String, Tensor)>,
    /// The model's outputs, those that are states included.
    found: Vec<(String, Tensor)>,
}

impl Run {
    fn new(model: &Model, session: &Session, args: &FeedArgs) -> Result<Run> {
        let entry = session.entry();
        let is_hoisted =
            |other: &&Entry| other.name.strip_prefix(&entry.name).is_some_and(|rest| rest.starts_with('.'));
        let (mut fed, mut given) = (Vec::new(), Vec::new());
        for before in model.entries().iter().filter(is_hoisted) {
            let feed = feed(model, before, args)?;
            feed.write_states(session)?;
            session.sibling(&before.name)?.run(&feed.views())?;
            fed.extend(feed.inputs.into_iter().chain(feed.states));
            given.extend(before.states.iter().filter(|used| used.writes.is_some()).map(|used| used.state));
        }
        let mut feed = feed(model, entry, args)?;
        let name = |state: u32| model.manifest().states.get(state as usize).map(|state| state.name.as_str());
        feed.states.retain(|(state, _)| !given.iter().any(|&index| name(index) == Some(state)));
        feed.write_states(session)?;
        let mut found: Vec<(String, Tensor)> = session.run(&feed.views())?.into_iter().collect();
        for used in &entry.states {
            if let (Some(port), Some(state)) = (&used.writes, name(used.state)) {
                found.push((port.name.clone(), session.read_state(state)?));
            }
        }
        fed.extend(feed.inputs.into_iter().chain(feed.states));
        Ok(Run { fed, found })
    }
}

/// The entry and the path of `FILE` or `ENTRY=FILE`.
fn named(model: &str) -> (Option<String>, PathBuf) {
    match model.split_once('=') {
        Some((entry, file)) if !Path::new(model).exists() => (Some(entry.into()), file.into()),
        _ => (None, model.into()),
    }
}

fn evaluate(graph: &Graph, feed: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
    let inputs = graph.inputs().iter().map(|&input| {
        let name = graph.value(input).name.as_deref().unwrap_or_default();
        let found = feed.iter().find(|(n, _)| n == name);
        found.map(|(_, tensor)| tensor.clone()).with_context(|| format!("the artifact has no input `{name}`"))
    });
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    eval_graph(graph, &inputs, &Symbols::new()).map_err(|e| anyhow!("the model cannot be evaluated: {e}"))
}

/// How far one output is from the reference.
struct Row {
    name: String,
    /// Largest difference.
    absolute: f64,
    /// The same over the largest magnitude of the reference.
    relative: f64,
    /// Whether any difference is an error.
    exact: bool,
}

impl Row {
    fn json(&self) -> serde_json::Value {
        json!({ "name": self.name, "max_abs": self.absolute, "max_rel": self.relative })
    }
}

fn compare(name: &str, found: &Tensor, expected: &Tensor) -> Result<Row> {
    if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
        bail!(
            "output `{name}` is {}{:?}, the model gives {}{:?}",
            found.dtype(),
            found.shape(),
            expected.dtype(),
            expected.shape()
        );
    }
    let (Some(a), Some(b)) = (numbers(found), numbers(expected)) else {
        bail!("output `{name}`: elements of type {} cannot be compared", found.dtype());
    };
    // Equal values, infinities and NaNs at the same place count as no difference.
    let difference = |(x, y): (&f64, &f64)| if x == y || (x.is_nan() && y.is_nan()) { 0.0 } else { (x - y).abs() };
    let largest = |sum: f64, x: f64| if x.is_nan() || x > sum { x } else { sum };
    let absolute = a.iter().zip(&b).map(difference).fold(0.0, largest);
    let scale = b.iter().filter(|x| x.is_finite()).map(|x| x.abs()).fold(0.0, f64::max);
    let relative = if absolute == 0.0 { 0.0 } else { absolute / scale.max(f64::MIN_POSITIVE) };
    Ok(Row { name: name.into(), absolute, relative, exact: !found.dtype().is_float() })
}

/// Elements as f64; `None` for strings and complex numbers.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    macro_rules! each {
        ($v:expr, $f:expr) => {
            Some($v.iter().map($f).collect())
        };
    }
    match tensor.data() {
        Data::F64(v) => Some(v.clone()),
        Data::F32(v) => each!(v, |&x| f64::from(x)),
        Data::F16(v) => each!(v, |&x| f64::from(f16_to_f32(x))),
        Data::BF16(v) => each!(v, |&x| f64::from(bf16_to_f32(x))),
        Data::I64(v) => each!(v, |&x| x as f64),
        Data::I32(v) => each!(v, |&x| f64::from(x)),
        Data::I16(v) => each!(v, |&x| f64::from(x)),
        Data::I8(v) => each!(v, |&x| f64::from(x)),
        Data::U64(v) => each!(v, |&x| x as f64),
        Data::U32(v) => each!(v, |&x| f64::from(x)),
        Data::U16(v) => each!(v, |&x| f64::from(x)),
        Data::U8(v) => each!(v, |&x| f64::from(x)),
        Data::Bool(v) => each!(v, |&x| f64::from(u8::from(x))),
        _ => None,
    }
}
