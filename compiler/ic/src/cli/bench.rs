//! `ic bench`: latency with inputs and outputs in the caller's memory, and the memory that it takes.

use super::args::BenchArgs;
use super::feed::feed;
use super::open::{open, place, session};
use super::output::Say;
use super::roofline::Roofline;
use anyhow::{Result, ensure};
use ic_kernels::isa::Isa;
use ic_kernels::limits;
use ic_runtime::{Model, Outputs, Profile, Session};
use serde_json::json;
use std::time::{Duration, Instant};

pub(crate) fn bench(args: &BenchArgs, say: &mut Say) -> Result<()> {
    let start = Instant::now();
    let model = open(&args.session)?;
    let session = session(&model, &args.session)?;
    let load = start.elapsed();
    let feed = feed(&model, session.entry(), &args.feed)?;
    let views = feed.views();
    let mut outputs = Outputs::new();
    let mut run = || -> Result<Duration> {
        feed.write_states(&session)?;
        let start = Instant::now();
        session.run_into(&views, &mut outputs)?;
        Ok(start.elapsed())
    };
    say.phase("warming up");
    let first = run()?;
    for _ in 1..args.warmup {
        run()?;
    }
    let runs = args.runs.unwrap_or_else(|| (2.0 / first.as_secs_f64().max(1e-6)).clamp(10.0, 10_000.0) as usize);
    ensure!(runs > 0, "`--runs` must be at least 1");
    say.phase("measuring");
    let mut times = (0..runs).map(|_| run()).collect::<Result<Vec<_>>>()?;
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (median, min) = (ms(times[runs / 2]), ms(times[0]));
    let p95 = ms(times[(runs * 95 / 100).min(runs - 1)]);
    // In runs of their own: taking the time of each step takes time.
    let mut profile = Profile::new();
    if args.profile {
        for _ in 0..runs {
            feed.write_states(&session)?;
            session.run_profiled(&views, &mut outputs, &mut profile)?;
        }
    }
    let roofline = if args.profile { roofline(&model, &session) } else { None };
    if !args.json {
        say.line(&format!(
            "median {median:.3} ms, min {min:.3} ms, p95 {p95:.3} ms over {runs} runs on {}",
            place(&model, &session)
        ))?;
        return match &roofline {
            Some(roofline) => roofline.lines(&profile).iter().try_for_each(|line| say.line(line)),
            None if args.profile => say.line(profile.to_string().trim_end()),
            None => Ok(()),
        };
    }
    let memory = memory_of_process();
    say.json(&json!({
        "model": args.session.artifact.display().to_string(),
        "device": model.target(),
        "device_name": model.device(),
        "kernels": session.kernels(),
        "threads": session.threads(),
        "runs": runs,
        "median_ms": median,
        "min_ms": min,
        "p95_ms": p95,
        "load_ms": ms(load),
        "arena_bytes": session.arena_bytes(),
        "weight_bytes": model.weight_bytes(),
        "peak_rss_bytes": memory.peak,
        "rss_anon_bytes": memory.anonymous,
        "steps": args.profile.then(|| steps(&profile, roofline.as_ref())),
        "limits": roofline.as_ref().map(Roofline::limits),
        "limit_ms": roofline.as_ref().and_then(|roofline| roofline.least_ms(&profile, runs)),
    }))
}

/// What the steps of a run on this CPU are held against, measured now; `None` of another device.
fn roofline(model: &Model, session: &Session) -> Option<Roofline> {
    let isa = Isa::from_name(session.kernels())?;
    Some(Roofline::new(limits::measure(isa, session.threads()), model.weight_bytes() as u64))
}

/// The steps in the order in which they run.
fn steps(profile: &Profile, roofline: Option<&Roofline>) -> Vec<serde_json::Value> {
    let step = |step: &ic_runtime::StepTime| {
        let us = step.time.as_secs_f64() * 1e6 / step.calls.max(1) as f64;
        let work = roofline.zip(step.work).map(|(roofline, work)| roofline.step(&work));
        json!({ "name": step.name, "kernel": step.kernel, "calls": step.calls, "us": us, "work": work })
    };
    profile.steps().iter().map(step).collect()
}

/// Memory of this process in bytes; `None` where the system does not tell.
struct ProcessMemory {
    peak: Option<u64>,
    anonymous: Option<u64>,
}

fn memory_of_process() -> ProcessMemory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    };
    ProcessMemory { peak: field("VmHWM"), anonymous: field("RssAnon") }
}
