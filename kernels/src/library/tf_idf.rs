//! `tf_idf`: how often n-grams of a vocabulary are in rows.

use super::args::{Args, error, kernels};
use super::split::rows;
use crate::abi::KernelError;
use std::collections::HashMap;

kernels! {
    /// For each row of 8-byte elements `x[rows, n]` and each n-gram of `pool`, how often it occurs, at the place that
    /// `indices` gives it. `starts` are the places of `pool` where n-grams of each length, 1 and up, begin. An occurrence has
    /// at most `max_skip` elements between neighbours, as many between all; its length is from `min` to `max`.
    TF_IDF = "tf_idf" ["x", "pool", "indices"] -> ["y"] {"min", "max", "max_skip", "starts[]"}, tf_idf;
}

/// The n-grams of one length with their places in the result.
fn vocabulary<'a>(
    pool: &'a [u64],
    indices: &[i64],
    starts: &[i64],
    length: usize,
    first: usize,
) -> Result<HashMap<&'a [u64], usize>, KernelError> {
    let start = |at: usize| starts.get(at).map_or(pool.len(), |&s| s.max(0) as usize);
    let part = pool.get(start(length - 1)..start(length)).ok_or_else(|| error("n-grams are outside of the pool"))?;
    if !part.len().is_multiple_of(length) {
        return Err(error(format!("{} elements are no n-grams of {length}", part.len())));
    }
    let mut places = HashMap::new();
    for (i, gram) in part.chunks_exact(length).enumerate() {
        let place = indices.get(first + i).and_then(|&place| usize::try_from(place).ok());
        places.insert(gram, place.ok_or_else(|| error("an n-gram has no place in the result"))?);
    }
    Ok(places)
}

fn tf_idf(args: &mut Args) -> Result<(), KernelError> {
    let (min, max, max_skip) = (args.extent(0)?, args.extent(1)?, args.extent(2)?);
    let starts = args.list(3);
    let (x, pool, indices) = (args.input::<u64>(0)?, args.input::<u64>(1)?, args.input::<i64>(2)?);
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let (n, width) = (shape.last().copied().unwrap_or(1), to.last().copied().unwrap_or(0));
    let mut lengths = Vec::new();
    let mut first = 0;
    for length in 1..=starts.len() {
        let places = vocabulary(pool, indices, starts, length, first)?;
        if places.values().any(|&place| place >= width) {
            return Err(error(format!("an n-gram has a place outside of {width}")));
        }
        let next = starts.get(length).map_or(pool.len(), |&s| s.max(0) as usize);
        first += (next - starts[length - 1].max(0) as usize) / length;
        if (min..=max).contains(&length) {
            lengths.push((length, places));
        }
    }
    let y = args.output::<f32>()?;
    rows(args.pool(), y, width, n.saturating_mul(max_skip + 1), |row, part| {
        for (i, counts) in part.chunks_exact_mut(width).enumerate() {
            counts.fill(0.0);
            let x = &x[(row + i) * n..(row + i + 1) * n];
            lengths.iter().for_each(|(length, places)| count(x, *length, places, max_skip, counts));
        }
    });
    Ok(())
}

/// Counts the n-grams of one length in a row.
fn count(x: &[u64], length: usize, places: &HashMap<&[u64], usize>, max_skip: usize, counts: &mut [f32]) {
    let mut gram = Vec::with_capacity(length);
    // Without neighbours, all distances are the same.
    let skips = if length == 1 { 0 } else { max_skip };
    for step in 1..=skips + 1 {
        for begin in 0..x.len() {
            if begin + (length - 1) * step >= x.len() {
                break;
            }
            gram.clear();
            gram.extend((0..length).map(|k| x[begin + k * step]));
            if let Some(&place) = places.get(gram.as_slice()) {
                counts[place] += 1.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, run};
    use ic_types::DType;

    #[test]
    fn pairs_may_skip() {
        let x = Buffer::i64(&[2, 5], &[1, 2, 3, 1, 3, 2, 2, 2, 2, 2]);
        let (pool, indices) = (Buffer::i64(&[5], &[1, 1, 3, 2, 2]), Buffer::i64(&[3], &[2, 0, 1]));
        let y = vec![Buffer::out::<f32>(DType::F32, &[2, 3])];
        let y = run(&TF_IDF, &[x, pool, indices], &[1, 2, 1, 0, 1], y).unwrap();
        assert_eq!(y[0].values::<f32>(), [2.0, 0.0, 2.0, 0.0, 7.0, 0.0]);
    }
}
