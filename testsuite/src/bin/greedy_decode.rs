//! Greedy decoding with an artifact of several entries over shared states, as of an encoder and a decoder: how the
//! runtime is used for it, and a check of what it gives.
//!
//!     ic compile encoder=encoder.onnx cross=cross.onnx decoder=decoder.onnx -o speech.ica \
//!         --dim batch=1 --dim past=0..448 --state hidden --state 'cross_*' --state 'past_*=present_*'
//!     greedy_decode speech.ica inputs.npz decoder 50256 2 encoder cross
//!
//! The arguments: the artifact, the inputs by name, the entry that is stepped, the token that ends the text, the length
//! of the prompt, and the entries that run once before. `tokens` among the inputs is the prompt; if it is longer, what
//! follows is the text that is expected. The stepped entry takes `input_ids` and gives `logits`.
#![expect(unsafe_code, clippy::print_stdout, reason = "a program that runs an artifact and says what it gives")]

use anyhow::{Context, Result, bail, ensure};
use ic::tensors::read_npz;
use ic_runtime::{Model, Options, Outputs, Profile, Session, Tensor, TensorView};
use std::time::{Duration, Instant};

/// Most tokens that are decoded.
const MAX_TOKENS: usize = 400;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [artifact, inputs, step, end, prompt, before @ ..] = args.as_slice() else {
        bail!("expected: ARTIFACT INPUTS.npz ENTRY END_TOKEN PROMPT_LENGTH [ENTRY…]");
    };
    let (end, prompt): (i64, usize) = (end.parse()?, prompt.parse()?);
    let arrays = read_npz(inputs.as_ref())?;
    let find = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor);
    let tokens = find("tokens").and_then(Tensor::elements::<i64>).context("no i64 array `tokens`")?;
    ensure!((1..=tokens.len()).contains(&prompt), "the prompt has {prompt} of {} tokens", tokens.len());
    // SAFETY: whoever calls the example trusts the artifact.
    let model = unsafe { Model::load(artifact) }?;
    let session = model.session_entry(step, &Options::new())?;
    for name in before {
        let entry = session.sibling(name)?;
        let named = entry.entry().inputs.iter().map(|port| {
            let tensor = find(&port.name).with_context(|| format!("no array `{}`", port.name))?;
            Ok((port.name.as_str(), tensor.view()))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        entry.run(&named)?;
        println!("{name}: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let decoded = decode(&session, &tokens[..prompt], end)?;
    println!("tokens: {decoded:?}");
    if tokens.len() > prompt {
        ensure!(decoded == tokens, "expected {tokens:?}");
        println!("as expected");
    }
    Ok(())
}

/// The prompt and what follows, up to the token `end`.
fn decode(session: &Session, prompt: &[i64], end: i64) -> Result<Vec<i64>> {
    let mut tokens = prompt.to_vec();
    let (mut outputs, mut profile, mut times) = (Outputs::new(), Profile::new(), Vec::new());
    let mut fed = 0;
    while tokens.len() < MAX_TOKENS && (fed < prompt.len() || tokens.last() != Some(&end)) {
        let shape = [1, tokens.len() - fed];
        let ids = TensorView::new(&shape, &tokens[fed..]).context("as many ids as the shape says")?;
        fed = tokens.len();
        let start = Instant::now();
        session.run_profiled(&[("input_ids", ids)], &mut outputs, &mut profile)?;
        times.push(start.elapsed());
        tokens.push(best(&outputs["logits"])?);
    }
    let steps = times.len().saturating_sub(1).max(1) as u32;
    println!("prompt: {:?}; {steps} steps, {:?} each", times[0], times[1..].iter().sum::<Duration>() / steps);
    if std::env::var_os("PROFILE").is_some() {
        println!("{profile}");
    }
    Ok(tokens)
}

/// The token with the largest of the last scores.
fn best(logits: &Tensor) -> Result<i64> {
    let scores = logits.elements::<f32>().context("scores are f32")?;
    let width = *logits.shape().last().context("scores have an axis of tokens")?;
    let last = &scores[scores.len() - width..];
    let best = (0..width).max_by(|&a, &b| last[a].total_cmp(&last[b]).then(b.cmp(&a)));
    Ok(best.context("no scores")? as i64)
}
