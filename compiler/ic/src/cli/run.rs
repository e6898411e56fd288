//! `ic run`.

use super::args::RunArgs;
use super::feed::feed;
use super::open::{open, place, session};
use super::output::Say;
use anyhow::{Context, Result};
use ic::tensors::{write_npz, write_proto};
use ic_runtime::{Outputs, Profile};
use ic_types::{Data, Tensor};
use serde_json::json;
use std::path::Path;
use std::time::Instant;

pub(crate) fn run(args: &RunArgs, say: &mut Say) -> Result<()> {
    let model = open(&args.session)?;
    let session = session(&model, &args.session)?;
    let feed = feed(&model, session.entry(), &args.feed)?;
    feed.write_states(&session)?;
    let views = feed.views();
    let mut outputs = Outputs::new();
    let mut profile = Profile::new();
    let start = Instant::now();
    if args.profile {
        session.run_profiled(&views, &mut outputs, &mut profile)?;
    } else {
        session.run_into(&views, &mut outputs)?;
    }
    let time = start.elapsed();
    if let Some(path) = &args.outputs {
        write_outputs(path, &outputs)?;
    }
    if args.json {
        return say.json(&json!({
            "outputs": outputs.iter().map(|(name, t)| json!({
                "name": name, "dtype": t.dtype().name(), "shape": t.shape(),
            })).collect::<Vec<_>>(),
            "ms": time.as_secs_f64() * 1e3,
        }));
    }
    for (name, tensor) in outputs.iter() {
        say.line(&format!("{name}: {}{:?}{}", tensor.dtype(), tensor.shape(), preview(tensor)))?;
        if let Some(labels) = &args.labels {
            say.line(&best_labels(labels, tensor)?)?;
        }
    }
    if args.profile {
        say.line(&profile.to_string())?;
    }
    let written = args.outputs.as_ref().map_or(String::new(), |path| format!(", outputs in {}", path.display()));
    say.line(&format!("ran in {:.2} ms on {}{written}", time.as_secs_f64() * 1e3, place(&model, &session)))
}

fn write_outputs(path: &Path, outputs: &Outputs) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "npz") {
        let tensors: Vec<(&str, &Tensor)> = outputs.iter().collect();
        return Ok(write_npz(path, &tensors)?);
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    for (i, (name, tensor)) in outputs.iter().enumerate() {
        write_proto(&path.join(format!("output_{i}.pb")), name, tensor)?;
    }
    Ok(())
}

/// The first elements as text.
fn preview(tensor: &Tensor) -> String {
    const SHOWN: usize = 6;
    let elements: Vec<String> = match tensor.data() {
        Data::F32(v) => v.iter().take(SHOWN).map(|x| format!("{x:.5}")).collect(),
        Data::F64(v) => v.iter().take(SHOWN).map(|x| format!("{x:.5}")).collect(),
        Data::I64(v) => v.iter().take(SHOWN).map(|x| x.to_string()).collect(),
        Data::I32(v) => v.iter().take(SHOWN).map(|x| x.to_string()).collect(),
        Data::Bool(v) => v.iter().take(SHOWN).map(|x| x.to_string()).collect(),
        _ => return String::new(),
    };
    let more = if tensor.len() > SHOWN { ", …" } else { "" };
    format!(" = {}{more}", elements.join(", "))
}

/// The three highest scores with their names.
fn best_labels(path: &Path, scores: &Tensor) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let names: Vec<&str> = text.lines().collect();
    let scores = scores.elements::<f32>().context("labels name f32 scores")?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let lines = order
        .iter()
        .take(3)
        .map(|&i| format!("  {:>6.2}%  {}", 100.0 * scores[i], names.get(i).copied().unwrap_or("(no label)")));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
