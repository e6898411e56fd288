//! Four-bit integers for a weight, chosen so that its products change least (GPTQ, Frantar et al. 2022).
//!
//! With the factor `U` of the second moments, a column `w` and its rounded form `q` give products whose errors have
//! `|U (w - q)|²` as the sum of their squares. Rows are rounded from the last to the first: as `U` is triangular, the
//! term of a row depends on that row and the later ones alone, and what they are off by moves the number that the row is
//! rounded to. The scale of a group is the best of some, for where its elements have moved to by then.
//!
//! Columns are independent, so threads share them and bits do not depend on their number.

use super::factor::Factor;
use std::num::NonZero;

/// Columns that are rounded together.
const COLUMNS: usize = 64;

/// The least and the greatest integer.
const INTEGERS: (f32, f32) = (-8.0, 7.0);

/// What a scale is tried with: its greatest element over these, of either sign, as there is one more integer below zero.
const STEPS: [f32; 10] = [7.0, 7.5, 8.0, 8.5, 9.0, 9.75, 10.5, 11.5, 12.75, 14.0];

/// The least scale: a column of zeros is 0 times this.
const LEAST_SCALE: f32 = f32::MIN_POSITIVE;

/// A rounded matrix.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RoundedMatrix {
    /// `[K, N]`.
    pub(super) integers: Vec<i8>,
    /// `[ceil(K / group), N]`.
    pub(super) scales: Vec<f32>,
    /// The root of the sum of the squares of its products' errors over that of its products.
    pub(super) error: f64,
}

/// Rounds `weight`, `[K, N]` row-major, with a scale for each `group` elements of a column.
pub(super) fn round(weight: &[f32], factor: &Factor, group: usize) -> RoundedMatrix {
    let (k, n) = (factor.k, weight.len() / factor.k.max(1));
    let starts: Vec<usize> = (0..n).step_by(COLUMNS).collect();
    let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = starts.len().div_ceil(n_threads).max(1);
    let blocks: Vec<Columns> = std::thread::scope(|scope| {
        let round = |starts: &[usize]| -> Vec<Columns> {
            starts.iter().map(|&start| Columns::rounded(weight, n, start, factor, group)).collect()
        };
        let threads: Vec<_> = starts.chunks(share).map(|starts| scope.spawn(move || round(starts))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("rounding does not panic"));
        joined.flatten().collect()
    });
    let (mut integers, mut scales) = (vec![0; k * n], vec![0.0; k.div_ceil(group) * n]);
    let (mut loss, mut power) = (0.0, 0.0);
    for (block, &start) in blocks.iter().zip(&starts) {
        let c = block.c;
        for (to, from) in integers.chunks_exact_mut(n).zip(block.integers.chunks_exact(c)) {
            to[start..start + c].copy_from_slice(from);
        }
        for (to, from) in scales.chunks_exact_mut(n).zip(block.scales.chunks_exact(c)) {
            to[start..start + c].copy_from_slice(from);
        }
        loss += block.loss;
        power += block.power;
    }
    RoundedMatrix { integers, scales, error: (loss / power.max(f64::MIN_POSITIVE)).sqrt() }
}

/// Some columns of a matrix, being rounded from the last row to the first.
struct Columns<'a> {
    factor: &'a Factor,
    /// How many.
    c: usize,
    /// `[K, c]`.
    weight: Vec<f32>,
    /// What each element is off by, exact less rounded: 0 where it is not rounded yet.
    off: Vec<f32>,
    integers: Vec<i8>,
    scales: Vec<f32>,
    loss: f64,
    power: f64,
}

impl<'a> Columns<'a> {
    fn rounded(weight: &[f32], n: usize, start: usize, factor: &'a Factor, group: usize) -> Columns<'a> {
        let (k, c) = (factor.k, COLUMNS.min(n - start));
        let mut columns = Columns {
            factor,
            c,
            weight: weight.chunks_exact(n).flat_map(|row| &row[start..start + c]).copied().collect(),
            off: vec![0.0; k * c],
            integers: vec![0; k * c],
            scales: vec![0.0; k.div_ceil(group) * c],
            loss: 0.0,
            power: 0.0,
        };
        for first in (0..k).step_by(group).rev() {
            columns.round_group(first, (first + group).min(k), first / group);
        }
        columns.power = columns.power_of_products();
        columns
    }

    /// Rounds the rows `first..end`, whose scales are row `group`.
    fn round_group(&mut self, first: usize, end: usize, group: usize) {
        let c = self.c;
        let later: Vec<f32> = (first..end).flat_map(|row| self.pull(row, end, &self.off)).collect();
        // Where the elements of the group would be best, if they were not rounded.
        let mut moved = vec![0.0; (end - first) * c];
        for row in (first..end).rev() {
            let target = self.target(row, end, &later[(row - first) * c..][..c]);
            for (column, &target) in target.iter().enumerate() {
                moved[(row - first) * c + column] = target;
                self.off[row * c + column] = self.weight[row * c + column] - target;
            }
        }
        let scales = self.best_scales(&moved, first);
        for row in (first..end).rev() {
            let target = self.target(row, end, &later[(row - first) * c..][..c]);
            let weight = f64::from(self.factor.row(row)[0]);
            for (column, &target) in target.iter().enumerate() {
                let (at, scale) = (row * c + column, scales[column]);
                let integer = nearest(target / scale);
                self.integers[at] = integer as i8;
                self.off[at] = self.weight[at] - integer * scale;
                let miss = weight * f64::from(target - integer * scale);
                self.loss += miss * miss;
            }
        }
        self.scales[group * c..][..c].copy_from_slice(&scales);
    }

    /// `Σ U[row, j] · x[j]` over the rows from `from` on.
    fn pull(&self, row: usize, from: usize, x: &[f32]) -> Vec<f32> {
        let mut sum = vec![0.0; self.c];
        let factors = &self.factor.row(row)[from - row..];
        for (factor, x) in factors.iter().zip(x[from * self.c..].chunks_exact(self.c)) {
            sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x);
        }
        sum
    }

    /// What the elements of a row should be, as later ones are off; `later` is the pull of those from `end` on.
    fn target(&self, row: usize, end: usize, later: &[f32]) -> Vec<f32> {
        let factors = self.factor.row(row);
        let mut sum = later.to_vec();
        for (factor, off) in factors[1..].iter().zip(self.off[(row + 1) * self.c..end * self.c].chunks_exact(self.c)) {
            sum.iter_mut().zip(off).for_each(|(sum, x)| *sum += factor * x);
        }
        let weight = &self.weight[row * self.c..][..self.c];
        sum.iter().zip(weight).map(|(sum, weight)| weight + sum / factors[0]).collect()
    }

    /// The scale of each column with the least weighted square error for `moved`, the rows from `first` on.
    fn best_scales(&self, moved: &[f32], first: usize) -> Vec<f32> {
        let c = self.c;
        let mut largest = vec![0.0f32; c];
        for row in moved.chunks_exact(c) {
            largest.iter_mut().zip(row).for_each(|(largest, x)| *largest = largest.max(x.abs()));
        }
        let (mut best, mut least) = (vec![LEAST_SCALE; c], vec![f32::INFINITY; c]);
        let (mut scales, mut errors) = (vec![0.0; c], vec![0.0; c]);
        for step in STEPS.iter().flat_map(|&step| [step, -step]) {
            scales
                .iter_mut()
                .zip(&largest)
                .for_each(|(scale, largest)| *scale = largest.max(LEAST_SCALE * 16.0) / step);
            errors.fill(0.0);
            for (row, x) in moved.chunks_exact(c).enumerate() {
                let weight = self.factor.row(first + row)[0];
                for ((error, x), scale) in errors.iter_mut().zip(x).zip(&scales) {
                    let miss = weight * (x - nearest(x / scale) * scale);
                    *error += miss * miss;
                }
            }
            for column in 0..c {
                if errors[column] < least[column] {
                    (best[column], least[column]) = (scales[column], errors[column]);
                }
            }
        }
        best
    }

    /// The sum of the squares of the products.
    fn power_of_products(&self) -> f64 {
        let squares =
            |row: usize| self.pull(row, row, &self.weight).iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
        (0..self.factor.k).map(squares).sum()
    }
}

/// The nearest of the integers, ties to even.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    // Adding it leaves no bits for fractions.
    const SHIFT: f32 = 12_582_912.0;
    (x.clamp(INTEGERS.0, INTEGERS.1) + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| (((i + seed) * 7919) % 1013) as f32 / 506.5 - 1.0).collect()
    }

    /// Rows whose channels depend on each other, and their moments.
    fn correlated(rows: usize, k: usize) -> (Vec<f32>, Vec<f64>) {
        let base = numbers(rows * 8, 3);
        let mix = numbers(8 * k, 11);
        let noise = numbers(rows * k, 5);
        let x: Vec<f32> = (0..rows * k)
            .map(|i| (0..8).map(|j| base[i / k * 8 + j] * mix[j * k + i % k]).sum::<f32>() + 0.1 * noise[i])
            .collect();
        let moment = |i: usize, j: usize| x.chunks(k).map(|row| f64::from(row[i]) * f64::from(row[j])).sum::<f64>();
        let moments = (0..k * k).map(|at| moment(at / k, at % k)).collect();
        (x, moments)
    }

    /// The root mean square error of `x` times the rounded weight, over its products.
    fn error(x: &[f32], k: usize, weight: &[f32], rounded: &RoundedMatrix, group: usize) -> f64 {
        let n = weight.len() / k;
        let (mut loss, mut power) = (0.0, 0.0);
        for row in x.chunks(k) {
            for column in 0..n {
                let (mut exact, mut found) = (0.0, 0.0);
                for (i, x) in row.iter().enumerate() {
                    let at = i * n + column;
                    exact += f64::from(x * weight[at]);
                    let q = f32::from(rounded.integers[at]) * rounded.scales[i / group * n + column];
                    found += f64::from(*x) * f64::from(q);
                }
                loss += (exact - found) * (exact - found);
                power += exact * exact;
            }
        }
        (loss / power).sqrt()
    }

    #[test]
    fn what_is_multiplied_decides_the_rounding() {
        // A last group that is not full, and more columns than one block.
        let (k, n, group) = (72, 70, 32);
        let (x, moments) = correlated(300, k);
        let weight = numbers(k * n, 17);
        let blind = round(&weight, &Factor::new(vec![0.0; k * k], k), group);
        let seeing = round(&weight, &Factor::new(moments, k), group);
        let [blind_error, seen] = [&blind, &seeing].map(|rounded| error(&x, k, &weight, rounded, group));
        assert!(seen < 0.5 * blind_error, "{seen}, blind {blind_error}");
        assert!((seen - seeing.error).abs() < 0.3 * seen, "{seen}, said {}", seeing.error);
        assert!(seeing.integers.iter().all(|q| (-8..=7).contains(q)));
    }

    #[test]
    fn without_moments_every_element_is_the_nearest() {
        let (k, n) = (40, 3);
        let weight = numbers(k * n, 2);
        let RoundedMatrix { integers, scales, .. } = round(&weight, &Factor::new(vec![0.0; k * k], k), 16);
        for (i, (&x, &q)) in weight.iter().zip(&integers).enumerate() {
            let scale = scales[i / n / 16 * n + i % n];
            assert_eq!(f32::from(q), (x / scale).round_ties_even().clamp(-8.0, 7.0), "{i}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let rounded = round(&[0.0; 20], &Factor::new(vec![0.0; 100], 10), 4);
        assert!(rounded.integers.iter().all(|&q| q == 0) && rounded.scales.iter().all(|s| s.is_finite()));
    }
}
