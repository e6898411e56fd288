//! Which inputs and outputs of which entries are state buffers, how large those are, and what is hoisted into entries of
//! its own.

use super::{CompileError, Source};
use crate::import::Imported;
use ic_artifact::State;
use ic_ir::{Diagnostic, Graph, Location, TensorType, ValueId};
use ic_passes::{Append, PassError, StatePort, append_axis, split_by_input};
use ic_types::Dim;
use std::collections::BTreeSet;

/// One `IN=OUT`: an input and an output, by name, that are one state. A `*` in both stands for the same text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StatePair {
    /// The input's name, which is the state's.
    pub input: String,
    /// The output's name.
    pub output: String,
}

/// The state buffers of an artifact and the ports of each entry that they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    pub(super) list: Vec<State>,
    pub(super) ports: Vec<Vec<StatePort>>,
}

/// Moves what depends on one of `inputs` alone from each model that has other inputs too to an entry before it, called
/// `ENTRY.INPUT`. Returns the pairs that connect the two.
///
/// # Errors
/// If no model has the input beside others.
pub(super) fn hoist(models: &mut Vec<(Source, Imported)>, inputs: &[String]) -> Result<Vec<StatePair>, CompileError> {
    let (mut pairs, mut errors) = (Vec::new(), Vec::new());
    for input in inputs {
        let mut split_models = Vec::new();
        let n_models = models.len();
        for (source, model) in models.drain(..) {
            let entry = format!("{}.{input}", source.entry);
            let Some(split) = split_by_input(&model.graph, input, &source.entry).map_err(PassError::Graph)? else {
                split_models.push((source, model));
                continue;
            };
            pairs.extend(
                split.shared.iter().map(|name| StatePair { input: name.to_string(), output: name.to_string() }),
            );
            let before = Imported { graph: split.hoisted, warnings: Vec::new(), ..model.clone() };
            split_models.push((Source { entry, file: source.file.clone() }, before));
            split_models.push((source, Imported { graph: split.rest, ..model }));
        }
        *models = split_models;
        if models.len() == n_models {
            errors.push(report("--hoist", format!("no model has an input `{input}` beside others")));
        }
    }
    if errors.is_empty() { Ok(pairs) } else { Err(CompileError::Model(errors)) }
}

/// Finds the states that `pairs` name.
///
/// # Errors
/// If a pair names nothing, an input and an output do not fit together, or a capacity is not known.
pub(super) fn resolve(models: &[(Source, Imported)], pairs: &[StatePair]) -> Result<States, CompileError> {
    let mut errors = Vec::new();
    let mut states = States { list: Vec::new(), ports: vec![Vec::new(); models.len()] };
    for pair in pairs {
        let found = expand(models, pair);
        if found.is_empty() {
            let message = format!("no model has an input `{}` or an output `{}`", pair.input, pair.output);
            errors.push(report("--state", message));
        }
        for pair in found {
            match state(models, &pair) {
                Ok((state, append)) => add(&mut states, models, &pair, state, append),
                Err(message) => errors.push(report(&format!("--state {}={}", pair.input, pair.output), message)),
            }
        }
    }
    if errors.is_empty() { Ok(states) } else { Err(CompileError::Model(errors)) }
}

fn report(option: &str, message: String) -> Diagnostic {
    Diagnostic::new(Location { file: option.into(), node: "".into() }, message)
}

fn add(states: &mut States, models: &[(Source, Imported)], pair: &StatePair, state: State, append: Option<Append>) {
    let index = states.list.len() as u32;
    for ((_, model), ports) in models.iter().zip(&mut states.ports) {
        let input = input(&model.graph, &pair.input).map(|_| pair.input.as_str().into());
        let output = output(&model.graph, &pair.output).map(|_| pair.output.as_str().into());
        if input.is_some() || output.is_some() {
            let (name, append) = (pair.input.as_str().into(), append.clone());
            ports.push(StatePort { state: index, name, input, output, append });
        }
    }
    states.list.push(state);
}

/// The pairs without `*` that a pair stands for, in the order of the models' inputs and outputs.
fn expand(models: &[(Source, Imported)], pair: &StatePair) -> Vec<StatePair> {
    let mut seen = BTreeSet::new();
    let mut pairs = Vec::new();
    for (_, model) in models {
        let graph = &model.graph;
        let inputs = graph.inputs().iter().filter_map(|&v| star(&pair.input, graph.value(v).name.as_deref()?));
        let outputs = graph.output_names().iter().filter_map(|name| star(&pair.output, name));
        for text in inputs.chain(outputs) {
            if seen.insert(text) {
                let with = |pattern: &str| pattern.replacen('*', text, 1);
                pairs.push(StatePair { input: with(&pair.input), output: with(&pair.output) });
            }
        }
    }
    pairs
}

/// What the `*` of a pattern stands for in a name; nothing if it has none and is the name.
fn star<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    match pattern.split_once('*') {
        None => (pattern == name).then_some(""),
        Some((before, after)) => name.strip_prefix(before)?.strip_suffix(after),
    }
}

fn input(graph: &Graph, name: &str) -> Option<ValueId> {
    graph.inputs().iter().copied().find(|&v| graph.value(v).name.as_deref() == Some(name))
}

fn output(graph: &Graph, name: &str) -> Option<ValueId> {
    graph.output_names().iter().position(|n| **n == *name).map(|i| graph.outputs()[i])
}

/// The state that a pair of names is in all models.
fn state(models: &[(Source, Imported)], pair: &StatePair) -> Result<(State, Option<Append>), String> {
    let graphs = || models.iter().map(|(_, model)| &model.graph);
    let reads: Vec<(&Graph, ValueId)> = graphs().filter_map(|g| Some((g, input(g, &pair.input)?))).collect();
    let writes: Vec<(&Graph, ValueId)> = graphs().filter_map(|g| Some((g, output(g, &pair.output)?))).collect();
    if reads.is_empty() {
        return Err(format!("no model has an input `{}`", pair.input));
    }
    if writes.is_empty() {
        return Err(format!("no model has an output `{}`", pair.output));
    }
    let mut types = Vec::new();
    for (graph, value) in reads.iter().chain(&writes) {
        let ty = graph.ty(*value).as_tensor().ok_or("a state is a tensor")?;
        types.push((*graph, ty));
    }
    let first = types[0].1;
    if let Some((_, other)) = types.iter().find(|(_, ty)| ty.dtype != first.dtype || ty.rank() != first.rank()) {
        return Err(format!("it is {first} and {other} in two places"));
    }
    let mut axis = None;
    for graph in graphs().filter(|g| input(g, &pair.input).is_some() && output(g, &pair.output).is_some()) {
        axis = axis.or(append_axis(graph, &pair.input, &pair.output)?);
    }
    let capacity = capacity(&pair.input, &types, reads.len(), axis)?;
    let name = pair.input.clone();
    let append = axis.map(|axis| Append { axis, capacity: capacity.clone() });
    let append_axis = axis.map(|axis| axis as u32);
    Ok((State { name, dtype: first.dtype as u8, capacity, append_axis }, append))
}

/// The largest extents of a state. Along the axis on which it grows, those of the `n_reads` inputs, which come first in
/// `types`, decide.
fn capacity(
    name: &str,
    types: &[(&Graph, &TensorType)],
    n_reads: usize,
    append_axis: Option<usize>,
) -> Result<Vec<i64>, String> {
    let mut capacity = Vec::new();
    for axis in 0..types[0].1.rank() {
        let grows = append_axis == Some(axis);
        let bounds = types.iter().enumerate().filter(|(i, _)| !grows || *i < n_reads);
        let mut most = None;
        for (_, (graph, ty)) in bounds {
            let dim = &ty.shape[axis];
            if grows && dim.as_const().is_some() {
                return Err(format!(
                    "it grows along axis {axis}, so give the range of that dim rather than bind it: `--dim NAME=0..{dim}`"
                ));
            }
            most = most.max(largest(graph, dim));
        }
        let unknown = || {
            let dim = &types[0].1.shape[axis];
            let low = if grows { 0 } else { 1 };
            format!(
                "the largest extent of `{name}` on axis {axis}, `{dim}`, is not known; state its range: `--dim {dim}={low}..N`"
            )
        };
        capacity.push(most.ok_or_else(unknown)?);
    }
    Ok(capacity)
}

/// The largest value of a constant or of a symbol with a known range.
fn largest(graph: &Graph, dim: &Dim) -> Option<i64> {
    dim.as_const().or_else(|| graph.symbols.get(dim.as_symbol()?).map(|range| range.max).filter(|&max| max < i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_same_text() {
        assert_eq!(star("past_*", "past_k_0"), Some("k_0"));
        assert_eq!(star("past_key.*.decoder", "past_key.3.decoder"), Some("3"));
        assert_eq!(star("past_*", "pas"), None);
        assert_eq!(star("h", "h"), Some(""));
        assert_eq!(star("h", "hh"), None);
    }
}
