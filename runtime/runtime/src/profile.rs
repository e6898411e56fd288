//! Where the time of a run goes, step by step.

use ic_artifact::Plan;
use std::fmt;
use std::time::Duration;

/// Times of the steps of one entry, added up over runs.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    pub(crate) steps: Vec<StepTime>,
}

/// The time of one step.
#[derive(Clone, Debug)]
pub struct StepTime {
    /// The graph node that it came from.
    pub name: String,
    /// The library kernel or generated function that it calls.
    pub kernel: String,
    /// Time in all calls.
    pub time: Duration,
    /// How often it ran.
    pub calls: u64,
    /// How much it does in a call, in the latest run; `None` where that is not known.
    pub work: Option<Work>,
}

/// How much a step does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Work {
    /// Arithmetic operations, two for a multiply-add.
    pub operations: u64,
    /// Whether most of them are products of 8-bit integers.
    pub is_integer: bool,
    /// Bytes of activations that it reads and writes, each once.
    pub activations: u64,
    /// Bytes of weights that it reads, as they are stored.
    pub weights: u64,
}

impl Profile {
    /// A profile without times.
    pub fn new() -> Profile {
        Profile::default()
    }

    /// The steps in the order in which they run. Control flow has no time.
    pub fn steps(&self) -> &[StepTime] {
        &self.steps
    }

    /// Says how much each step does: `slots` are the values of the plan's dims.
    pub(crate) fn note_work(&mut self, plan: &Plan, slots: &[i64], symbols: &[i64]) {
        let mut values: Vec<Option<i64>> = slots.iter().copied().map(Some).collect();
        for op in &plan.work.dims {
            let value = op.apply(&|slot| values.get(slot as usize).copied().flatten(), &|symbol| {
                symbols.get(symbol as usize).copied()
            });
            values.push(value);
        }
        let value = |slot: u32| u64::try_from(values.get(slot as usize).copied().flatten()?).ok();
        for work in &plan.work.steps {
            let known = || {
                let [operations, activations, weights] =
                    [value(work.operations)?, value(work.activations)?, value(work.weights)?];
                Some(Work { operations, is_integer: work.is_integer, activations, weights })
            };
            if let Some(step) = self.steps.get_mut(work.step as usize) {
                step.work = known();
            }
        }
    }

    /// Time in all steps.
    pub fn total(&self) -> Duration {
        self.steps.iter().map(|step| step.time).sum()
    }
}

impl fmt::Display for Profile {
    /// One line per step, the slowest first: share, microseconds per call, calls, kernel, node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().as_secs_f64().max(f64::MIN_POSITIVE);
        let mut steps: Vec<&StepTime> = self.steps.iter().filter(|step| step.calls > 0).collect();
        steps.sort_by_key(|step| std::cmp::Reverse(step.time));
        writeln!(f, "{:>6}  {:>12}  {:>6}  {:<28}  node", "share", "µs/call", "calls", "kernel")?;
        for step in steps {
            let seconds = step.time.as_secs_f64();
            let (share, each) = (100.0 * seconds / total, 1e6 * seconds / step.calls as f64);
            writeln!(f, "{share:>5.1}%  {each:>12.1}  {:>6}  {:<28}  {}", step.calls, step.kernel, step.name)?;
        }
        Ok(())
    }
}
