//! `ic verify`: an artifact against the reference evaluation of its unoptimized model, or against stored outputs.
//!
//! Round-off that nothing fixes (the order of a sum, the last bit of an exponential) stays small in most models. Where
//! one rounds to integers on the way, as quantized models do, a value in the middle between two of them falls to either
//! side, and the output moves by far more. So an output beyond the tolerance is held against what round-off alone does
//! to the model's own output: see [`roundoff`].

mod compare;
mod kernels;
mod roundoff;

use self::compare::{Row, compare};
use super::args::{FeedArgs, SessionArgs, VerifyArgs};
use super::feed::feed;
use super::open::{open, session};
use super::output::Say;
use anyhow::{Context, Result, anyhow, ensure};
use ic::import::{ImportOptions, import};
use ic::tensors::read_npz;
use ic_ir::eval::{Symbols, eval_graph};
use ic_ir::{Graph, OpError};
use ic_runtime::{Entry, Model, Session};
use ic_types::Tensor;
use serde_json::json;
use std::path::{Path, PathBuf};

pub(crate) fn verify(args: &VerifyArgs, say: &mut Say) -> Result<()> {
    let (entry, file) = named(&args.model);
    ensure!(
        !args.per_kernel || file.extension().is_none_or(|extension| extension != "npz"),
        "`--per-kernel` needs the model, and not its outputs alone"
    );
    let model = open(&args.session)?;
    model.verify_weights()?;
    let arguments = SessionArgs { entry: args.session.entry.clone().or(entry), ..args.session.clone() };
    let session = session(&model, &arguments)?;
    say.phase("running the artifact");
    let run = Run::new(&model, &session, &args.feed)?;
    let is_stored = file.extension().is_some_and(|extension| extension == "npz");
    let (evaluated, reference) = if is_stored {
        (None, stored(&file, &run.found)?)
    } else {
        say.phase("evaluating the model");
        let wanted: Vec<String> = run.found.iter().map(|(name, _)| name.clone()).collect();
        let options = ImportOptions { outputs: Some(wanted), ..ImportOptions::default() };
        let imported = import(&file, &options).map_err(super::diagnostics)?;
        let inputs = in_order(&imported.graph, &run.fed)?;
        let reference = eval_graph(&imported.graph, &inputs, &Symbols::new()).map_err(not_evaluated)?;
        (Some((imported.graph, inputs)), reference)
    };
    let mut rows = Vec::new();
    for ((name, found), expected) in run.found.iter().zip(&reference) {
        rows.push(compare(name, found, expected)?);
    }
    if let Some((graph, inputs)) = &evaluated
        && !rows.iter().all(|row| row.agrees(args.tolerance))
    {
        say.phase("evaluating the model with other round-off");
        roundoff::measure(graph, inputs, &reference, &mut rows)?;
    }
    let worst = rows.iter().map(|row| row.relative).fold(0.0, f64::max);
    let agrees = rows.iter().all(|row| row.agrees(args.tolerance));
    let watched = match args.per_kernel {
        true => {
            say.phase("measuring kernels");
            Some(kernels::watch(&model, &file, &run.fed, args)?)
        }
        false => None,
    };
    if args.json {
        let kernels = watched.as_ref().map(kernels::json);
        let outputs: Vec<_> = rows.iter().map(Row::json).collect();
        say.json(&json!({ "agrees": agrees, "outputs": outputs, "kernels": kernels }))?;
    } else {
        if let Some(watched) = &watched {
            say.text(&kernels::table(watched))?;
        }
        for row in &rows {
            say.line(&row.line())?;
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

/// The arrays of a file that are named as these outputs are.
fn stored(file: &Path, found: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
    let arrays = read_npz(file)?;
    let of_name = |name: &str| {
        let array = arrays.iter().find(|(other, _)| other == name).map(|(_, array)| array.clone());
        array.with_context(|| format!("{} has no array `{name}`", file.display()))
    };
    found.iter().map(|(name, _)| of_name(name)).collect()
}

/// The entry and the path of `FILE` or `ENTRY=FILE`.
fn named(model: &str) -> (Option<String>, PathBuf) {
    match model.split_once('=') {
        Some((entry, file)) if !Path::new(model).exists() => (Some(entry.into()), file.into()),
        _ => (None, model.into()),
    }
}

/// The tensors of a graph's inputs, by name.
fn in_order(graph: &Graph, feed: &[(String, Tensor)]) -> Result<Vec<Tensor>> {
    let inputs = graph.inputs().iter().map(|&input| {
        let name = graph.value(input).name.as_deref().unwrap_or_default();
        let found = feed.iter().find(|(n, _)| n == name);
        found.map(|(_, tensor)| tensor.clone()).with_context(|| format!("the artifact has no input `{name}`"))
    });
    inputs.collect()
}

fn not_evaluated(error: OpError) -> anyhow::Error {
    anyhow!("the model cannot be evaluated: {error}")
}
