//! ONNX `Scan` of opset 8: a scan for each element of a batch, each over a sequence of its own length.

use super::loops::{Arguments, Given, Iteration, run};
use super::prelude::*;
use ic_ir::ops::{Pad, PadMode};

/// Elements of a batch up to which a scan is put in place for each.
const MAX_BATCH: i64 = 64;

/// `Scan` of opset 8. Inputs are lengths, which may be left out, then states and sequences with the batch as axis 0; scans
/// are zero behind the length of their sequence.
pub(super) fn scan(cx: &mut Context, node: &NodeView) -> Results {
    let lengths = node.opt(0);
    let inputs = (1..node.inputs.len()).map(|i| node.input(i)).collect::<Result<Vec<_>>>()?;
    let n_sources = node.int("num_scan_inputs").and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let n_states = n_sources.and_then(|n| inputs.len().checked_sub(n));
    let n_states = n_states.ok_or_else(|| invalid!("`num_scan_inputs` does not fit the inputs"))?;
    let batch = cx.shape(inputs[n_states])?.first().and_then(Dim::as_const).filter(|n| (1..=MAX_BATCH).contains(n));
    let batch = batch.ok_or_else(|| unsupported!("the batch must be a constant of at most {MAX_BATCH}"))?;
    let backwards: Vec<bool> = match node.ints("directions") {
        Some(directions) => directions.iter().map(|&d| d == 1).collect(),
        None => vec![false; inputs.len() - n_states],
    };
    if backwards.len() != inputs.len() - n_states {
        return Err(invalid!("`directions` has {} elements", backwards.len()));
    }
    if lengths.is_some() && backwards.contains(&true) {
        return Err(unsupported!("sequences of different lengths from their ends"));
    }
    let mut results: Vec<Vec<ValueId>> = Vec::new();
    for i in 0..batch {
        let of_batch = |cx: &mut Context, value: ValueId| -> Result<ValueId> {
            let slice = cx.slice(value, 0, Dim::constant(i), Dim::constant(1))?;
            cx.squeeze(slice, &[0])
        };
        let parts = inputs.iter().map(|&value| of_batch(cx, value)).collect::<Result<Vec<_>>>()?;
        let limit = lengths.map(|lengths| of_batch(cx, lengths)).transpose()?;
        let Given { carried, scans } = sequence(cx, node, &parts, n_states, limit, &backwards)?;
        let all: Vec<ValueId> = carried.into_iter().chain(scans).collect();
        results.resize(all.len(), Vec::new());
        for (list, value) in results.iter_mut().zip(all) {
            list.push(cx.unsqueeze(value, &[0])?);
        }
    }
    results.iter().map(|parts| cx.concat(parts, 0)).collect()
}

/// The scan of one sequence, of which `limit` elements count.
fn sequence(
    cx: &mut Context,
    node: &NodeView,
    parts: &[ValueId],
    n_states: usize,
    limit: Option<ValueId>,
    backwards: &[bool],
) -> Result<Given> {
    let length = cx.shape(parts[n_states])?.first().cloned().ok_or_else(|| invalid!("a sequence has no axis"))?;
    let sources = parts[n_states..].iter().zip(backwards).map(|(&source, &backwards)| (source, 0, backwards));
    let iteration = Iteration {
        body: node.graph("body")?,
        trips: Some(length.clone()),
        limit,
        condition: None,
        depth: cx.depth(),
        carried: parts[..n_states].to_vec(),
        arguments: Arguments::Scan(sources.collect(), &length),
    };
    let mut given = run(cx, &iteration)?;
    for scan in &mut given.scans {
        let shape = cx.shape(*scan)?;
        if shape[0] != length {
            let mut pads = vec![Dim::constant(0); 2 * shape.len()];
            pads[shape.len()] = length.clone() - shape[0].clone();
            *scan = cx.push(Pad { mode: PadMode::Constant, pads }, &[*scan])?;
        }
    }
    Ok(given)
}
