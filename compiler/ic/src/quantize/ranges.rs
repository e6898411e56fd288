//! From what was observed of a value to the range that its integers cover.

/// How a range follows from the elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    /// From the least to the greatest.
    #[default]
    MinMax,
    /// Without the 0.01% that are farthest out, half of them at each end.
    Percentile,
    /// With the least square of the error over all elements.
    Mse,
}

/// Cells of a histogram.
const CELLS: usize = 4096;

/// Share of the elements that a percentile leaves out at each end.
const LEFT_OUT: f64 = 0.5e-4;

/// Steps in which the search for the least error moves an end of the range.
const STEPS: usize = 64;

/// The least and the greatest element.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Extremes {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Extremes {
    /// Those of nothing.
    pub(super) const NONE: Extremes = Extremes { low: f32::INFINITY, high: f32::NEG_INFINITY };

    /// With one element more; what is not finite is left out.
    pub(super) fn with(self, x: f32) -> Extremes {
        if x.is_finite() { Extremes { low: self.low.min(x), high: self.high.max(x) } } else { self }
    }

    /// With all that another has.
    pub(super) fn join(self, other: Extremes) -> Extremes {
        Extremes { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// With 0, and 0 alone for nothing.
    pub(super) fn around_zero(self) -> Extremes {
        Extremes { low: self.low.min(0.0), high: self.high.max(0.0) }
    }

    /// The greatest magnitude.
    pub(super) fn magnitude(self) -> f32 {
        let Extremes { low, high } = self.around_zero();
        high.max(-low)
    }
}

/// How many elements are in each of equal parts of a range.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Histogram {
    range: Extremes,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty one.
    pub(super) fn new(range: Extremes) -> Histogram {
        Histogram { range, counts: vec![0; CELLS] }
    }

    fn width(&self) -> f64 {
        (f64::from(self.range.high) - f64::from(self.range.low)) / CELLS as f64
    }

    /// Counts an element.
    pub(super) fn add(&mut self, x: f32) {
        if x.is_finite() {
            let cell = (f64::from(x) - f64::from(self.range.low)) / self.width().max(f64::MIN_POSITIVE);
            self.counts[(cell as usize).min(CELLS - 1)] += 1;
        }
    }

    /// The range by a method.
    pub(super) fn range(&self, method: Method) -> Extremes {
        match method {
            Method::MinMax => self.range,
            Method::Percentile => self.percentile(),
            Method::Mse => self.least_error(),
        }
    }

    fn percentile(&self) -> Extremes {
        let total: u64 = self.counts.iter().sum();
        let out = (total as f64 * LEFT_OUT) as u64;
        // Cells before the first that is not left out.
        let skipped = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0;
            counts.take_while(|&&count| (sum + count <= out).then(|| sum += count).is_some()).count()
        };
        let (first, last) = (skipped(&mut self.counts.iter()), skipped(&mut self.counts.iter().rev()));
        let low = f64::from(self.range.low) + first as f64 * self.width();
        let high = f64::from(self.range.high) - last as f64 * self.width();
        Extremes { low: low as f32, high: high as f32 }.around_zero()
    }

    /// Moves one end towards 0, then the other, each to where the error is least.
    fn least_error(&self) -> Extremes {
        let mut best = self.range.around_zero();
        for end in [End::High, End::Low] {
            let whole = best;
            let mut least = self.error(best);
            for step in 1..STEPS {
                let share = 1.0 - step as f32 / STEPS as f32;
                let moved = match end {
                    End::High => Extremes { high: whole.high * share, ..whole },
                    End::Low => Extremes { low: whole.low * share, ..whole },
                };
                let error = self.error(moved);
                if error < least {
                    (best, least) = (moved, error);
                }
            }
        }
        best
    }

    /// The sum of the squares of the errors of integers that cover `range`.
    fn error(&self, range: Extremes) -> f64 {
        let (low, high) = (f64::from(range.low), f64::from(range.high));
        let scale = (high - low) / 255.0;
        if scale <= 0.0 {
            return f64::INFINITY;
        }
        let zero = (-low / scale).round_ties_even();
        let mut sum = 0.0;
        for (cell, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let x = f64::from(self.range.low) + (cell as f64 + 0.5) * self.width();
            let integer = ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0);
            let error = (integer - zero) * scale - x;
            sum += error * error * count as f64;
        }
        sum
    }
}

#[derive(Clone, Copy)]
enum End {
    Low,
    High,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million small elements and one that is far out.
    fn with_outlier() -> Histogram {
        let mut histogram = Histogram::new(Extremes { low: -1.0, high: 100.0 });
        (0..1_000_000).for_each(|i| histogram.add((i % 2001) as f32 / 1000.0 - 1.0));
        histogram.add(100.0);
        histogram
    }

    #[test]
    fn methods_treat_what_is_far_out() {
        let histogram = with_outlier();
        assert_eq!(histogram.range(Method::MinMax), Extremes { low: -1.0, high: 100.0 });
        let percentile = histogram.range(Method::Percentile);
        assert!(percentile.low == -1.0 && (1.0..1.1).contains(&percentile.high), "{percentile:?}");
        let least = histogram.range(Method::Mse);
        assert!(least.high < 60.0 && histogram.error(least) < histogram.error(percentile), "{least:?}");
    }

    #[test]
    fn ranges_of_nothing_and_of_one_number_hold_zero() {
        for range in [Extremes::NONE.around_zero(), Extremes { low: 3.0, high: 3.0 }.around_zero()] {
            let mut histogram = Histogram::new(range);
            histogram.add(3.0);
            for method in [Method::MinMax, Method::Percentile, Method::Mse] {
                let found = histogram.range(method);
                assert!(found.low <= 0.0 && found.high >= 0.0, "{found:?}");
            }
        }
    }
}
