//! How near the outputs of one model are to another's.

use crate::pipeline::CompileError;
use crate::runner::Runner;
use ic_types::Tensor;
use std::collections::BTreeMap;

/// Bytes of outputs that are kept.
const KEPT_BYTES: usize = 256 << 20;

/// A model with samples, on which others are compared with it.
pub(super) struct Reference<'a> {
    runner: Runner,
    samples: &'a [Vec<Tensor>],
    /// Outputs for some of the samples, of [`KEPT_BYTES`] at most.
    kept: BTreeMap<usize, Vec<Tensor>>,
    n_bytes: usize,
}

impl<'a> Reference<'a> {
    pub(super) fn new(runner: Runner, samples: &'a [Vec<Tensor>]) -> Reference<'a> {
        Reference { runner, samples, kept: BTreeMap::new(), n_bytes: 0 }
    }

    /// The indices of at most `n` samples, evenly spread.
    pub(super) fn spread(&self, n: usize) -> Vec<usize> {
        (0..self.samples.len()).step_by(self.samples.len().div_ceil(n).max(1)).collect()
    }

    /// The least cosine similarity of a float output of `run` to this model's, over these samples laid end to end.
    ///
    /// # Errors
    /// If a run fails.
    pub(super) fn similarity(
        &mut self,
        samples: &[usize],
        run: impl Fn(&[Tensor]) -> Result<Vec<Tensor>, CompileError>,
    ) -> Result<f64, CompileError> {
        let mut sums: Vec<Products> = Vec::new();
        for &index in samples {
            let found = run(&self.samples[index])?;
            if let Some(exact) = self.kept.get(&index) {
                add(&mut sums, exact, &found);
                continue;
            }
            let exact = self.runner.run(&self.samples[index])?;
            add(&mut sums, &exact, &found);
            let n_bytes: usize =
                exact.iter().filter_map(|x| Some(x.shape().iter().product::<usize>() * x.dtype().size()?)).sum();
            if self.n_bytes + n_bytes <= KEPT_BYTES {
                self.n_bytes += n_bytes;
                self.kept.insert(index, exact);
            }
        }
        Ok(sums.iter().map(Products::cosine).fold(1.0, f64::min))
    }
}

fn add(sums: &mut Vec<Products>, exact: &[Tensor], found: &[Tensor]) {
    sums.resize(exact.len(), Products::default());
    for ((sum, exact), found) in sums.iter_mut().zip(exact).zip(found) {
        let (Some(exact), Some(found)) = (exact.elements::<f32>(), found.elements::<f32>()) else { continue };
        // An output whose extents depend on data may have another shape.
        let pairs = exact.iter().zip(found).filter(|(a, b)| a.is_finite() && b.is_finite());
        pairs.for_each(|(&a, &b)| sum.add(a.into(), b.into()));
    }
}

/// Scalar products of two vectors.
#[derive(Clone, Default)]
struct Products {
    both: f64,
    left: f64,
    right: f64,
}

impl Products {
    fn add(&mut self, a: f64, b: f64) {
        self.both += a * b;
        self.left += a * a;
        self.right += b * b;
    }

    /// 1 for two vectors of zeros.
    fn cosine(&self) -> f64 {
        if self.left == self.right && self.left == self.both {
            return 1.0;
        }
        (self.both / (self.left * self.right).sqrt().max(f64::MIN_POSITIVE)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_is_of_directions() {
        let cosine = |pairs: &[(f64, f64)]| {
            let mut products = Products::default();
            pairs.iter().for_each(|&(a, b)| products.add(a, b));
            products.cosine()
        };
        assert_eq!(cosine(&[]), 1.0);
        assert!((cosine(&[(1.0, 2.0), (3.0, 6.0)]) - 1.0).abs() < 1e-15);
        assert_eq!(cosine(&[(1.0, 0.0), (0.0, 1.0)]), 0.0);
        assert_eq!(cosine(&[(1.0, 0.0)]), 0.0);
    }
}
