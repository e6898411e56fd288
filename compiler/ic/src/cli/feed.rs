//! Inputs of a run: from a folder of protos, from an archive, or seeded random ones.

use super::args::FeedArgs;
use anyhow::{Context, Result, bail, ensure};
use ic::tensors::{random_tensor, read_npz, read_object, read_proto};
use ic_ir::SymbolRange;
use ic_runtime::{Entry, Model, Port, Session};
use ic_types::{DType, Dim, Tensor, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// What a run gets.
#[derive(Default)]
pub(crate) struct Feed {
    /// Inputs by name, in the entry's order.
    pub(crate) inputs: Vec<(String, Tensor)>,
    /// What states hold before, by name.
    pub(crate) states: Vec<(String, Tensor)>,
}

impl Feed {
    /// The inputs as a session takes them.
    pub(crate) fn views(&self) -> Vec<(&str, TensorView<'_>)> {
        self.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect()
    }

    /// Lets the states of a session hold what they should before a run.
    pub(crate) fn write_states(&self, session: &Session) -> Result<()> {
        for (name, tensor) in &self.states {
            session.write_state(name, &tensor.view())?;
        }
        Ok(())
    }
}

/// What the arguments ask for. States that a file does not name are empty.
pub(crate) fn feed(model: &Model, entry: &Entry, args: &FeedArgs) -> Result<Feed> {
    match &args.inputs {
        None => random_feed(&read_ports(model, entry), &parse_bindings(&args.dims)?),
        Some(path) if path.is_dir() => read_folder(entry, path),
        Some(path) => read_archive(model, &read_ports(model, entry), path),
    }
}

/// Something that an entry reads.
struct ReadPort<'a> {
    port: &'a Port,
    /// Whether it is a state, and then the axis along which runs append to it.
    state: Option<Option<u32>>,
}

/// An entry's inputs, then the states that it reads.
fn read_ports<'a>(model: &'a Model, entry: &'a Entry) -> Vec<ReadPort<'a>> {
    let inputs = entry.inputs.iter().map(|port| ReadPort { port, state: None });
    let states = entry.states.iter().filter_map(|used| {
        let state = model.manifest().states.get(used.state as usize)?;
        Some(ReadPort { port: used.reads.as_ref()?, state: Some(state.append_axis) })
    });
    inputs.chain(states).collect()
}

/// `NAME=N` bindings.
pub(crate) fn parse_bindings(texts: &[String]) -> Result<BTreeMap<String, i64>> {
    let parse = |text: &String| {
        let (name, value) = text.rsplit_once('=').with_context(|| format!("`--dim {text}`: expected NAME=N"))?;
        let value: i64 = value.parse().with_context(|| format!("`--dim {text}`: expected a number after `=`"))?;
        ensure!(value >= 0, "`--dim {text}`: an extent is not negative");
        Ok((name.to_string(), value))
    };
    texts.iter().map(parse).collect()
}

/// `NAME=N` bindings and `NAME=LO..HI` ranges.
pub(crate) fn parse_dims(texts: &[String]) -> Result<(BTreeMap<String, i64>, BTreeMap<String, SymbolRange>)> {
    let (ranged, bound): (Vec<String>, Vec<String>) = texts.iter().cloned().partition(|text| text.contains(".."));
    let parse = |text: &String| {
        let shape = || format!("`--dim {text}`: expected NAME=LO..HI");
        let (name, range) = text.rsplit_once('=').with_context(shape)?;
        let (low, high) = range.split_once("..").with_context(shape)?;
        let (min, max): (i64, i64) = (low.parse().with_context(shape)?, high.parse().with_context(shape)?);
        ensure!(0 <= min && min <= max, "`--dim {text}`: expected 0 <= LO <= HI");
        Ok((name.to_string(), SymbolRange { min, max }))
    };
    Ok((parse_bindings(&bound)?, ranged.iter().map(parse).collect::<Result<_>>()?))
}

fn read_folder(entry: &Entry, folder: &Path) -> Result<Feed> {
    let read = |(i, port): (usize, &Port)| {
        let path = folder.join(format!("input_{i}.pb"));
        let is_object = port.dtype == DType::Object as u8;
        let tensor = if is_object { read_object(&path)? } else { read_proto(&path)?.1 };
        Ok((port.name.clone(), tensor))
    };
    let inputs = entry.inputs.iter().enumerate().map(read).collect::<Result<_>>()?;
    Ok(Feed { inputs, states: Vec::new() })
}

/// The arrays of an archive that are among `ports`. The others must be what another entry reads.
fn read_archive(model: &Model, ports: &[ReadPort], path: &Path) -> Result<Feed> {
    let mut arrays = read_npz(path)?;
    let known: Vec<&str> = ports.iter().map(|p| p.port.name.as_str()).collect();
    let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
    for name in ports.iter().filter(|p| p.state.is_none()).map(|p| p.port.name.as_str()) {
        ensure!(names.contains(&name), "{}: no array `{name}`; it holds {}", path.display(), names.join(", "));
    }
    let is_elsewhere =
        |name: &str| model.entries().iter().any(|entry| read_ports(model, entry).iter().any(|p| p.port.name == name));
    for name in &names {
        ensure!(
            known.contains(name) || is_elsewhere(name),
            "{}: array `{name}` is no input; inputs are {}",
            path.display(),
            known.join(", ")
        );
    }
    arrays.retain(|(name, _)| known.contains(&name.as_str()));
    let is_state = |name: &str| ports.iter().any(|p| p.port.name == name && p.state.is_some());
    let (states, inputs) = arrays.into_iter().partition(|(name, _)| is_state(name));
    Ok(Feed { inputs, states })
}

/// Seeded random values. Unbound dims are 1 on the first axis, and 0 where a state grows.
fn random_feed(ports: &[ReadPort], bindings: &BTreeMap<String, i64>) -> Result<Feed> {
    let values = bound_dims(ports, bindings)?;
    let mut feed = Feed::default();
    for (i, ReadPort { port, state }) in ports.iter().enumerate() {
        let extent = |text: &String| -> Result<usize> {
            let dim: Dim = text.parse()?;
            Ok(usize::try_from(dim.eval(&|name| values.get(name).copied())?)?)
        };
        let shape = port.shape.iter().map(extent).collect::<Result<Vec<_>>>();
        let shape = shape.with_context(|| format!("input `{}`", port.name))?;
        let elements = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d)).filter(|&n| n <= 1 << 32);
        ensure!(elements.is_some(), "input `{}` would have shape {shape:?}", port.name);
        let dtype = DType::from_code(port.dtype).context("the artifact names an unknown element type")?;
        let tensor = random_tensor(dtype, shape, i as u64 + 1);
        let tensor = tensor.with_context(|| format!("input `{}`: no random {dtype}; give `--inputs`", port.name))?;
        let list = if state.is_some() { &mut feed.states } else { &mut feed.inputs };
        list.push((port.name.clone(), tensor));
    }
    Ok(feed)
}

/// The bindings, and what dims are that nobody binds.
fn bound_dims(ports: &[ReadPort], bindings: &BTreeMap<String, i64>) -> Result<BTreeMap<String, i64>> {
    let mut values = bindings.clone();
    let mut unbound = Vec::new();
    for ReadPort { port, state } in ports {
        for (axis, text) in port.shape.iter().enumerate() {
            let dim: Dim = text.parse().with_context(|| format!("input `{}` of the artifact", port.name))?;
            let Some(name) = dim.as_symbol().filter(|name| !values.contains_key(&***name)) else { continue };
            if *state == Some(Some(axis as u32)) {
                values.insert(name.to_string(), 0);
            } else if axis == 0 {
                values.insert(name.to_string(), 1);
            } else {
                unbound.push(format!("`{name}` of `{}`", port.name));
            }
        }
    }
    if unbound.is_empty() {
        return Ok(values);
    }
    bail!("bind these dims with `--dim NAME=N`, or give `--inputs`: {}", unbound.join(", "))
}
