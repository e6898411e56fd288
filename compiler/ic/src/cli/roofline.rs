//! A profile held against the limits of this machine: how long each step would take if nothing but its multiply-adds or the
//! bytes that it moves took time.

use ic_kernels::limits::{Level, Limits};
use ic_runtime::{Profile, StepTime, Work};
use serde_json::{Value, json};

/// The least time of a step in seconds, and what takes it.
struct Bound {
    seconds: f64,
    by: &'static str,
}

/// What a profile is held against: weights come from the level of memory that holds all of the model's, activations from
/// that which holds the step's.
pub(super) struct Roofline {
    limits: Limits,
    weight_bytes: u64,
}

impl Roofline {
    pub(super) fn new(limits: Limits, weight_bytes: u64) -> Roofline {
        Roofline { limits, weight_bytes }
    }

    fn bound(&self, work: &Work) -> Bound {
        let Limits { float_operations, integer_operations, .. } = self.limits;
        let peak = if work.is_integer { integer_operations } else { float_operations };
        let arithmetic = work.operations as f64 / peak;
        let (near, far) = (self.limits.level_of(work.activations), self.limits.level_of(self.weight_bytes));
        let (activations, weights) = (work.activations as f64 / near.rate, work.weights as f64 / far.rate);
        let memory = activations + weights;
        match arithmetic >= memory {
            true => Bound { seconds: arithmetic, by: "compute" },
            false => Bound { seconds: memory, by: if activations >= weights { near.name } else { far.name } },
        }
    }

    /// The least time of a run in milliseconds, if the work of all steps is known that take a twentieth of it or more.
    pub(super) fn least_ms(&self, profile: &Profile, runs: usize) -> Option<f64> {
        let steps = || profile.steps().iter().filter(|step| step.calls > 0);
        let unknown = steps().filter(|step| step.work.is_none()).map(|step| step.time.as_secs_f64()).sum::<f64>();
        let known = steps().filter_map(|step| Some(step.calls as f64 * self.bound(&step.work?).seconds));
        (unknown <= 0.05 * profile.total().as_secs_f64()).then(|| 1e3 * known.sum::<f64>() / runs as f64)
    }

    /// The limits, then a line for each step, the slowest first.
    pub(super) fn lines(&self, profile: &Profile) -> Vec<String> {
        let giga = |rate: f64| rate / 1e9;
        let Limits { threads, float_operations, integer_operations, levels } = &self.limits;
        let of_level = |level: &Level| match level.bytes {
            Some(bytes) => format!(", {} of {} kB {:.0} GB/s", level.name, bytes >> 10, giga(level.rate)),
            None => format!(", {} {:.0} GB/s", level.name, giga(level.rate)),
        };
        let mut lines = vec![format!(
            "limits of {threads} thread{}: {:.0} GFLOP/s, on bytes {:.0} Gop/s{}",
            if *threads == 1 { "" } else { "s" },
            giga(*float_operations),
            giga(*integer_operations),
            levels.iter().map(of_level).collect::<String>()
        )];
        lines.push(format!(
            "{:>6}  {:>12}  {:>6}  {:>8}  {:>7}  {:>6}  {:<8}  {:<28}  node",
            "share", "µs/call", "calls", "GFLOP/s", "GB/s", "limit", "bound by", "kernel"
        ));
        let total = profile.total().as_secs_f64().max(f64::MIN_POSITIVE);
        let mut steps: Vec<&StepTime> = profile.steps().iter().filter(|step| step.calls > 0).collect();
        steps.sort_by_key(|step| std::cmp::Reverse(step.time));
        for step in steps {
            let seconds = step.time.as_secs_f64();
            let each = (seconds / step.calls as f64).max(f64::MIN_POSITIVE);
            let held = step.work.map_or_else(
                || format!("{:>8}  {:>7}  {:>6}  {:<8}", "", "", "", ""),
                |work| {
                    let Bound { seconds, by } = self.bound(&work);
                    let bytes = (work.activations + work.weights) as f64;
                    let rates = [work.operations as f64, bytes].map(|n| giga(n / each));
                    format!("{:>8.1}  {:>7.1}  {:>5.0}%  {by:<8}", rates[0], rates[1], 100.0 * seconds / each)
                },
            );
            let share = 100.0 * seconds / total;
            let (us, calls) = (1e6 * each, step.calls);
            lines.push(format!("{share:>5.1}%  {us:>12.1}  {calls:>6}  {held}  {:<28}  {}", step.kernel, step.name));
        }
        lines
    }

    /// The limits, with rates per second.
    pub(super) fn limits(&self) -> Value {
        let Limits { threads, float_operations, integer_operations, levels } = &self.limits;
        let level = |level: &Level| json!({ "name": level.name, "bytes": level.bytes, "bytes_per_s": level.rate });
        json!({
            "threads": threads,
            "float_operations_per_s": float_operations,
            "integer_operations_per_s": integer_operations,
            "levels": levels.iter().map(level).collect::<Vec<_>>(),
        })
    }

    /// What a step does and its bound.
    pub(super) fn step(&self, work: &Work) -> Value {
        let Bound { seconds, by } = self.bound(work);
        json!({
            "operations": work.operations,
            "is_integer": work.is_integer,
            "activation_bytes": work.activations,
            "weight_bytes": work.weights,
            "limit_us": 1e6 * seconds,
            "bound_by": by,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_bound_by_what_takes_longest() {
        let level = |name, bytes, rate| Level { name, bytes, rate };
        let levels = vec![level("L2", Some(1000), 100.0), level("memory", None, 10.0)];
        let limits = Limits { threads: 1, float_operations: 1000.0, integer_operations: 4000.0, levels };
        let roofline = Roofline::new(limits, 5000);
        let bound = |operations, is_integer, activations, weights| {
            let Bound { seconds, by } = roofline.bound(&Work { operations, is_integer, activations, weights });
            (seconds, by)
        };
        assert_eq!(bound(2000, false, 100, 0), (2.0, "compute"));
        assert_eq!(bound(2000, true, 100, 0), (1.0, "L2"));
        assert_eq!(bound(0, false, 100, 50), (6.0, "memory"));
        assert_eq!(bound(0, false, 2000, 0), (200.0, "memory"));
    }
}
