//! How well the extraction chooses: subgraphs of real models, each spelled in many ways and measured.
//!
//!     cargo run --release -p ic-testsuite --bin regret -- MODEL… [--dim NAME=N]… [--json OUT.json]
//!
//! Models are cut into windows where few values cross. Each is saturated, and beside the extraction's pick the choice of
//! least trees (egg's own) and seeded random choices are compiled, until there are 16 more that differ in their kernels
//! or draws find nothing new; windows with fewer are summed up apart, and left out where there is nothing but the pick.
//! All are measured in turns on one thread, and the regret of a window is the time of the pick over the least time of all.
//! Kernels are the same and so is the work: what differs is their choice.
#![expect(clippy::print_stdout, reason = "a program that says what it measures")]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use ic::import::{ImportOptions, import};
use ic::pipeline::Options;
use ic::runner::Runner;
use ic::tensors::random_tensor;
use ic_ir::{Graph, ScalarOp};
use ic_passes::PASSES;
use ic_passes::alternatives::{Extraction, spelled_by, windows};
use ic_runtime::{Outputs, TensorView};
use ic_types::Tensor;
use serde_json::json;
use std::collections::{BTreeMap, btree_map::Entry};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Draws for one window, at most.
const DRAWS: u64 = 400;

/// Draws in a row that may find nothing new.
const PATIENCE: u64 = 60;

/// What measuring a window takes at most, if the rounds allow it.
const LONGEST: Duration = Duration::from_secs(12);

/// Measurements of each choice at least.
const LEAST_ROUNDS: usize = 8;

/// How far draws are from the cost model, as a power of 2: from near it to anywhere.
const SPREADS: [u32; 4] = [1, 3, 6, 20];

/// What one measurement of a candidate takes at least.
const MEASUREMENT: Duration = Duration::from_micros(1500);

#[derive(Parser)]
#[command(about = "Measure the extraction's picks against other choices")]
struct Args {
    /// Models
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The value of a symbolic dim, NAME=N, in every model that has it; others are 1 on the first axis of inputs, else 64
    #[arg(long = "dim")]
    dims: Vec<String>,
    /// Nodes of a window, at most
    #[arg(long, default_value_t = 48)]
    window: usize,
    /// Windows of a model, at most
    #[arg(long, default_value_t = 8)]
    windows: usize,
    /// Choices beside the pick and the greedy one
    #[arg(long, default_value_t = 16)]
    choices: usize,
    /// Measurements of each choice
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Where to write all results
    #[arg(long)]
    json: Option<PathBuf>,
    /// The folder for the pick and the best of each window: artifacts, and their graphs as text
    #[arg(long)]
    save: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut found: Vec<Window> = Vec::new();
    let mut n_alone = 0;
    for model in &args.models {
        let name = model.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let graphs = distinct_windows(model, &args).unwrap_or_else(|error| {
            println!("{name} is left out: {error:#}");
            Vec::new()
        });
        for (index, graph) in graphs.into_iter().enumerate() {
            match Window::measured(&graph, &args, &format!("{name}.{index}")) {
                Ok(Some(window)) => {
                    println!("{name} {index}: {window}");
                    found.push(Window { model: name.clone(), index, ..window });
                }
                Ok(None) => n_alone += 1,
                Err(error) => println!("{name} {index} is left out: {error:#}"),
            }
        }
    }
    println!("{n_alone} windows have one choice of kernels");
    ensure!(!found.is_empty(), "no window has two choices of kernels");
    let is_rich = |window: &&Window| window.n_choices > args.choices;
    let (rich, poor): (Vec<&Window>, Vec<&Window>) = found.iter().partition(is_rich);
    let mut sums = BTreeMap::new();
    for (name, windows) in [("16 choices or more", &rich), ("fewer choices", &poor)] {
        if !windows.is_empty() {
            let [pick, trees] = [Window::regret, Window::greedy_regret].map(|number| Spread::of(windows, number));
            println!("{} windows with {name}: regret of the pick: {pick}; of least trees: {trees}", windows.len());
            sums.insert(name, json!({"windows": windows.len(), "pick": pick.json(), "trees": trees.json()}));
        }
    }
    if let Some(path) = &args.json {
        let list: Vec<_> = found.iter().map(Window::json).collect();
        let all = json!({"windows": list, "with_one_choice": n_alone, "sums": sums});
        std::fs::write(path, serde_json::to_string_pretty(&all)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The windows of a model that differ in their ops and types, evenly spread if there are more than wanted.
fn distinct_windows(model: &Path, args: &Args) -> Result<Vec<Graph>> {
    let options = Options::default();
    let mut graph = bound(model, &args.dims)?;
    for pass in PASSES.iter().take_while(|pass| pass.name != "saturate") {
        graph = (pass.run)(&graph, &options.passes)?;
    }
    let mut by_form: BTreeMap<String, Graph> = BTreeMap::new();
    let mut forms = Vec::new();
    for window in windows(&graph, args.window)? {
        let form = |(_, node): (_, &ic_ir::Node)| {
            let types: Vec<String> = node.results.iter().map(|&result| window.ty(result).to_string()).collect();
            format!("{} {}", node.op.name(), types.join(" "))
        };
        let form = window.nodes().map(form).collect::<Vec<_>>().join("\n");
        if let Entry::Vacant(place) = by_form.entry(form) {
            forms.push(place.key().clone());
            place.insert(window);
        }
    }
    let step = forms.len().div_ceil(args.windows.max(1)).max(1);
    Ok(forms.iter().step_by(step).filter_map(|form| by_form.remove(form)).collect())
}

/// A model with all its symbolic dims bound.
fn bound(model: &Path, given: &[String]) -> Result<Graph> {
    let failed = |problems: Vec<ic_ir::Diagnostic>| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", list.join("\n"))
    };
    let open = import(model, &ImportOptions::default()).map_err(failed)?;
    let firsts: Vec<String> = (open.graph.inputs().iter())
        .filter_map(|&input| open.graph.ty(input).as_tensor()?.shape.first()?.as_symbol().map(|name| name.to_string()))
        .collect();
    let mut dims: BTreeMap<String, i64> =
        open.dims.iter().map(|name| (name.clone(), if firsts.contains(name) { 1 } else { 64 })).collect();
    for pair in given {
        let (name, value) = pair.split_once('=').context("`--dim` takes NAME=N")?;
        if let Some(dim) = dims.get_mut(name) {
            *dim = value.parse().with_context(|| format!("`--dim {pair}`"))?;
        }
    }
    Ok(import(model, &ImportOptions { dims: dims.into_iter().collect(), ..Default::default() }).map_err(failed)?.graph)
}

/// What was measured of one window, in microseconds.
struct Window {
    model: String,
    index: usize,
    /// Choices with different kernels.
    n_choices: usize,
    pick: f64,
    greedy: f64,
    best: f64,
    /// Ops that the pick has and the best has not, or more of; and the other way round.
    differences: [String; 2],
}

impl Window {
    /// `None` if there is one choice.
    fn measured(graph: &Graph, args: &Args, name: &str) -> Result<Option<Window>> {
        let mut choices = Choices { graph, texts: Vec::new(), list: Vec::new() };
        let pick = choices.add(Extraction::Cheapest)?.context("the pick cannot be compiled")?;
        let greedy = choices.add(Extraction::Trees)?.context("the greedy choice cannot be compiled")?;
        let mut last_found = 0;
        for seed in 0..DRAWS {
            let n_found = choices.list.len();
            if n_found >= args.choices + 2 || seed - last_found > PATIENCE {
                break;
            }
            choices.add(Extraction::Drawn { seed, spread: SPREADS[seed as usize % SPREADS.len()] })?;
            if choices.list.len() > n_found {
                last_found = seed;
            }
        }
        if choices.list.len() < 2 {
            return Ok(None);
        }
        let times = choices.times(args.rounds)?;
        let best = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b])).context("there is a pick")?;
        if let Some(folder) = &args.save {
            choices.save(pick, folder, &format!("{name}.pick"))?;
            choices.save(best, folder, &format!("{name}.best"))?;
        }
        let ops = [pick, best].map(|i| ops_of(&choices.list[i].0));
        Ok(Some(Window {
            model: String::new(),
            index: 0,
            n_choices: times.len(),
            pick: times[pick],
            greedy: times[greedy],
            best: times[best],
            differences: [more(&ops[0], &ops[1]), more(&ops[1], &ops[0])],
        }))
    }

    fn regret(&self) -> f64 {
        self.pick / self.best
    }

    fn greedy_regret(&self) -> f64 {
        self.greedy / self.best
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "model": self.model, "window": self.index, "choices": self.n_choices, "regret": self.regret(),
            "pick_us": self.pick, "trees_us": self.greedy, "best_us": self.best,
            "only_in_pick": self.differences[0], "only_in_best": self.differences[1],
        })
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Window { n_choices, pick, greedy, best, .. } = self;
        write!(f, "regret {:.3}; pick {pick:.1} µs, trees {greedy:.1}, best of {n_choices} {best:.1}", self.regret())?;
        if self.regret() > 1.1 {
            write!(f, "; pick has {}; best has {}", self.differences[0], self.differences[1])?;
        }
        Ok(())
    }
}

/// Choices for one window that differ in their kernels.
struct Choices<'g> {
    graph: &'g Graph,
    /// Graphs that were tried, as text, with the choice that they are.
    texts: Vec<(String, Option<usize>)>,
    list: Vec<(Graph, Runner)>,
}

impl Choices<'_> {
    /// Adds a choice unless there is one with the same kernels, and returns which it is; `None` if it does not compile, as
    /// what no pick has may have no kernel.
    fn add(&mut self, extraction: Extraction) -> Result<Option<usize>> {
        let options = Options::default();
        let graph = spelled_by(self.graph, extraction, &options.passes)?;
        let text = ic_ir::text::print(&graph);
        if let Some((_, known)) = self.texts.iter().find(|(other, _)| *other == text) {
            return Ok(*known);
        }
        // Saturated already: the graph is taken as it is.
        let passes = ic_passes::Options { iterations: 0, ..options.passes.clone() };
        let options = Options { passes, ..options };
        let index = match Runner::with(graph.clone(), &options, &ic_runtime::Options::new().threads(1)) {
            Ok(runner) => {
                let same = self.list.iter().position(|(_, other)| other.kernels() == runner.kernels());
                Some(same.unwrap_or_else(|| {
                    self.list.push((graph, runner));
                    self.list.len() - 1
                }))
            }
            Err(_) => None,
        };
        self.texts.push((text, index));
        Ok(index)
    }

    /// Writes a choice, for `ic bench --profile` and for a look.
    fn save(&self, index: usize, folder: &Path, name: &str) -> Result<()> {
        let (graph, runner) = &self.list[index];
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        std::fs::write(folder.join(format!("{name}.ic")), ic_ir::text::print(graph)).context(name.to_string())?;
        std::fs::copy(runner.artifact(), folder.join(format!("{name}.ica"))).context(name.to_string())?;
        Ok(())
    }

    /// The least time of a run of each choice, in microseconds, measured in turns.
    fn times(&self, rounds: usize) -> Result<Vec<f64>> {
        let inputs: Vec<(String, Tensor)> =
            self.graph.inputs().iter().map(|&v| input(self.graph, v)).collect::<Result<_>>()?;
        let views: Vec<(&str, TensorView<'_>)> = inputs.iter().map(|(name, x)| (name.as_str(), x.view())).collect();
        let mut outputs: Vec<Outputs> = self.list.iter().map(|_| Outputs::new()).collect();
        let (mut repeats, mut of_round) = (Vec::new(), Duration::ZERO);
        for ((_, runner), outputs) in self.list.iter().zip(&mut outputs) {
            runner.session().run_into(&views, outputs)?;
            let start = Instant::now();
            runner.session().run_into(&views, outputs)?;
            let once = start.elapsed().max(Duration::from_nanos(200));
            let repeat = (MEASUREMENT.as_nanos() / once.as_nanos()) as u32 + 1;
            of_round += once * repeat;
            repeats.push(repeat);
        }
        let within = (LONGEST.as_nanos() / of_round.as_nanos().max(1)) as usize;
        let rounds = rounds.min(within.max(LEAST_ROUNDS));
        let mut times = vec![f64::INFINITY; self.list.len()];
        for round in 0..rounds {
            // None is always first, nor always after the same: what ran before decides what is in the caches.
            for turn in 0..self.list.len() {
                let turn = if round % 2 == 0 { turn } else { self.list.len() - 1 - turn };
                let i = (turn + round) % self.list.len();
                let runner = &self.list[i].1;
                let start = Instant::now();
                for _ in 0..repeats[i] {
                    runner.session().run_into(&views, &mut outputs[i])?;
                }
                times[i] = times[i].min(start.elapsed().as_secs_f64() * 1e6 / f64::from(repeats[i]));
            }
        }
        Ok(times)
    }
}

/// A random tensor for an input. Integers are 0: they are indices more often than anything else.
fn input(graph: &Graph, value: ic_ir::ValueId) -> Result<(String, Tensor)> {
    let ty = graph.ty(value).as_tensor().context("inputs of windows are tensors")?;
    let shape = ty.constant_shape().context("extents of windows are constant")?;
    let name = graph.value(value).name.as_deref().context("inputs have names")?;
    let tensor = if ty.dtype.is_float() {
        let Some(tensor) = random_tensor(ty.dtype, shape, value.index() as u64) else { bail!("no {}", ty.dtype) };
        tensor
    } else {
        Tensor::zeros(ty.dtype, shape)
    };
    Ok((name.to_string(), tensor))
}

/// How often each op occurs.
fn ops_of(graph: &Graph) -> BTreeMap<String, usize> {
    let mut ops = BTreeMap::new();
    for (_, node) in graph.nodes() {
        let name = match &node.op {
            ic_ir::Op::Pointwise(op) => ScalarOp::name(op.function).to_string(),
            op => op.name().to_string(),
        };
        *ops.entry(name).or_default() += 1;
    }
    ops
}

/// What `a` has more of than `b`.
fn more(a: &BTreeMap<String, usize>, b: &BTreeMap<String, usize>) -> String {
    let extra = a.iter().filter_map(|(op, &n)| {
        let n = n.saturating_sub(b.get(op).copied().unwrap_or(0));
        (n > 0).then(|| format!("{n} {op}"))
    });
    extra.collect::<Vec<_>>().join(", ")
}

/// The mean and the 95th percentile.
struct Spread {
    mean: f64,
    p95: f64,
}

impl Spread {
    fn of(windows: &[&Window], number: impl Fn(&Window) -> f64) -> Spread {
        let mut all: Vec<f64> = windows.iter().map(|window| number(window)).collect();
        all.sort_by(f64::total_cmp);
        let p95 = all[(all.len() * 95).div_ceil(100).clamp(1, all.len()) - 1];
        Spread { mean: all.iter().sum::<f64>() / all.len() as f64, p95 }
    }

    fn json(&self) -> serde_json::Value {
        json!({"mean": self.mean, "p95": self.p95})
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mean {:.3}, 95th percentile {:.3}", self.mean, self.p95)
    }
}
