//! The Cholesky factor of second moments: how errors of a weight's elements weigh in what its product gives.

/// Rows that are eliminated before the rest of the matrix is touched.
const PANEL: usize = 64;

/// Share of the mean of the diagonal that is added to it, so that every matrix of moments has a factor.
const DAMPING: f64 = 0.01;

/// An upper triangular `U`, `[K, K]` row-major, with `UᵀU` close to the moments of what is multiplied: for an error `d`
/// of a column of the weight, the products' errors have `|U d|²` as the sum of their squares.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Factor {
    pub(super) k: usize,
    pub(super) upper: Vec<f32>,
}

impl Factor {
    /// The factor of moments `[K, K]`, symmetric. Of moments that have none, as where nothing was seen, it is the identity:
    /// every element weighs the same.
    pub(super) fn new(moments: Vec<f64>, k: usize) -> Factor {
        let trace: f64 = (0..k).map(|i| moments[i * k + i]).sum();
        let mut damping = DAMPING * trace / k.max(1) as f64;
        // Each attempt adds ten times as much; after the last the diagonal alone would have a factor.
        while damping.is_finite() && damping > 0.0 && damping < 1e3 * trace {
            let mut upper = moments.clone();
            (0..k).for_each(|i| upper[i * k + i] += damping);
            if cholesky(&mut upper, k) {
                return Factor { k, upper: upper.into_iter().map(|x| x as f32).collect() };
            }
            damping *= 10.0;
        }
        let identity = (0..k * k).map(|i| if i % (k + 1) == 0 { 1.0 } else { 0.0 }).collect();
        Factor { k, upper: identity }
    }

    /// Row `k`, from its diagonal on.
    pub(super) fn row(&self, k: usize) -> &[f32] {
        &self.upper[k * self.k + k..(k + 1) * self.k]
    }
}

/// Makes of a symmetric matrix its upper factor, above and on the diagonal; false if it has none.
fn cholesky(matrix: &mut [f64], k: usize) -> bool {
    for start in (0..k).step_by(PANEL) {
        let end = (start + PANEL).min(k);
        for row in start..k {
            let (above, rest) = matrix.split_at_mut(row * k);
            let own = &mut rest[row..k];
            for i in start..row.min(end) {
                let by = above[i * k + row];
                own.iter_mut().zip(&above[i * k + row..(i + 1) * k]).for_each(|(x, y)| *x -= by * y);
            }
            if row < end {
                if !(own[0].is_finite() && own[0] > 0.0) {
                    return false;
                }
                let pivot = own[0].sqrt();
                own.iter_mut().for_each(|x| *x /= pivot);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_multiply_to_the_moments() {
        // More rows than two panels, so that updates cross them.
        let k = 2 * PANEL + 3;
        let x: Vec<f64> = (0..2 * k * k).map(|i| ((i * 7919) % 1013) as f64 / 506.5 - 1.0).collect();
        let moment = |i: usize, j: usize| x.chunks(k).map(|row| row[i] * row[j]).sum::<f64>();
        let moments: Vec<f64> = (0..k * k).map(|at| moment(at / k, at % k)).collect();
        let factor = Factor::new(moments.clone(), k);
        let damping = DAMPING * (0..k).map(|i| moments[i * k + i]).sum::<f64>() / k as f64;
        for (i, j) in [(0, 0), (0, k - 1), (5, 70), (k - 1, k - 1), (100, 130), (64, 64)] {
            let at = |row: usize, column: usize| f64::from(factor.upper[row * k + column]);
            let found: f64 = (0..=i.min(j)).map(|row| at(row, i) * at(row, j)).sum();
            let expected = moments[i * k + j] + if i == j { damping } else { 0.0 };
            assert!((found - expected).abs() < 1e-4 * damping.max(1.0) * 100.0, "{i}, {j}: {found}, not {expected}");
        }
    }

    #[test]
    fn moments_without_a_factor_weigh_all_alike() {
        let identity = Factor { k: 2, upper: vec![1.0, 0.0, 0.0, 1.0] };
        assert_eq!(Factor::new(vec![0.0; 4], 2), identity);
        assert_eq!(Factor::new(vec![f64::NAN; 4], 2), identity);
    }
}
