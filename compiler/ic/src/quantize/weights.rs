//! `--quantize w4` with samples: 4-bit integers chosen by what weights are multiplied with.
//!
//! The model runs on the samples with the second moments of what its products multiply as outputs, some at a time, so
//! that memory is bounded; then its weights are rounded one at a time and go to a temporary file. The model as a whole
//! is compared with the f32 one, and where it is worse than the budget allows, weights have 8 bits instead: those whose
//! products are off most for the bytes that they have, as few as will do.

use super::Calibration;
use super::factor::Factor;
use super::report::{Layer, Report, work};
use super::rounding::round;
use super::samples;
use super::similarity::Reference;
use super::spill::Spill;
use crate::pipeline::{self, CompileError, Options};
use crate::runner::Runner;
use ic_codegen::constant_value;
use ic_ir::{Graph, ValueId};
use ic_passes::quantize_weights::{GROUP, Product, products, with_moments, with_rounded};
use ic_passes::{IntegerWeights, Rounded};
use ic_types::{Data, Tensor};

/// Bytes of moments that are in memory at once, unless those of one value take more.
const MOMENT_BYTES: usize = 256 << 20;

/// Samples on which the model as a whole is compared, at most.
const COMPARED: usize = 16;

/// How the weights of `graph`, which is as imported, are stored, in the order of the pass `quantize_weights`.
///
/// # Errors
/// If the samples do not fit the model, the model cannot be compiled or run, or there is no room for the integers.
pub(crate) fn round_weights(
    graph: &Graph,
    calibration: &Calibration,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> Result<(Vec<Rounded>, Report), CompileError> {
    let samples = samples::read(graph, &calibration.files)?;
    progress("optimizing before calibration");
    let graph = pipeline::before_weights(graph, options)?;
    let products = products(&graph);
    if products.is_empty() {
        return Err(refuse("nothing to quantize: no product of f32 has a large constant right operand"));
    }
    progress("rounding weights");
    let (rounded, errors) = round_all(&graph, &products, &samples, options)?;
    progress("measuring the quantized model");
    let rates = products.iter().zip(&errors).map(|(product, error)| error * error / elements(&graph, product) as f64);
    let order = greatest_first(&rates.collect::<Vec<_>>());
    let mut reference = Reference::new(Runner::new(graph.clone(), options)?, &samples);
    let few = reference.spread(COMPARED);
    let measure = |n_wide: usize| {
        let mut rounded = rounded.clone();
        order[..n_wide].iter().for_each(|&i| rounded[i] = Rounded::Nearest(IntegerWeights::I8));
        let runner = Runner::new(with_rounded(&graph, &rounded)?, options)?;
        Ok::<_, CompileError>((rounded, reference.similarity(&few, |sample| runner.run(sample))?))
    };
    let (rounded, cosine) = fewest(products.len(), measure, |cosine| 1.0 - cosine <= calibration.budget)?;
    let layer = |(i, product): (usize, &Product)| layer(&graph, product, &rounded[i], errors[i], &samples);
    let layers = products.iter().enumerate().map(layer).collect();
    Ok((rounded, Report { n_samples: samples.len(), cosine, budget: calibration.budget, layers }))
}

/// What `measure` gives for the least number, of those up to `most`, with which its cosine similarity `fits`; for `most`
/// if none does. More are taken to be better.
fn fewest<T>(
    most: usize,
    mut measure: impl FnMut(usize) -> Result<(T, f64), CompileError>,
    fits: impl Fn(f64) -> bool,
) -> Result<(T, f64), CompileError> {
    let mut best = measure(0)?;
    if fits(best.1) {
        return Ok(best);
    }
    let (mut low, mut high) = (0, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let found = measure(middle)?;
        if fits(found.1) {
            (high, best) = (middle, found);
        } else {
            low = middle;
        }
    }
    if high == most { measure(most) } else { Ok(best) }
}

/// Indices of numbers, of the greatest first.
fn greatest_first(numbers: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]).then(a.cmp(&b)));
    order
}

/// Every weight with 4 bits, and the relative error of its product.
fn round_all(
    graph: &Graph,
    products: &[Product],
    samples: &[Vec<Tensor>],
    options: &Options,
) -> Result<(Vec<Rounded>, Vec<f64>), CompileError> {
    let mut spill = Spill::new().map_err(no_room)?;
    let mut rounded = vec![Rounded::Nearest(IntegerWeights::I4); products.len()];
    let mut errors = vec![0.0; products.len()];
    for values in batches(graph, products) {
        let moments = moments(graph, &values, samples, options)?;
        for ((value, k), moments) in values.iter().zip(moments) {
            let factor = Factor::new(moments, *k);
            for (i, product) in products.iter().enumerate().filter(|(_, product)| product.activation == *value) {
                let weight = read(graph, product.weight)?;
                let n = weight.shape()[1];
                let found = round(weight.elements::<f32>().unwrap_or_default(), &factor, GROUP);
                let integers = Tensor::new(vec![*k, n], Data::I4(found.integers));
                let scales = Tensor::from_elements(vec![k.div_ceil(GROUP), n], found.scales);
                let integers = spill.literal(&integers).map_err(no_room)?;
                let scales = spill.literal(&scales).map_err(no_room)?;
                rounded[i] = Rounded::Chosen { integers, scales };
                errors[i] = found.error;
            }
        }
    }
    Ok((rounded, errors))
}

/// What products multiply, with the extent of the last axis, in lists whose moments fit into memory.
fn batches(graph: &Graph, products: &[Product]) -> Vec<Vec<(ValueId, usize)>> {
    let mut batches: Vec<Vec<(ValueId, usize)>> = Vec::new();
    let (mut seen, mut bytes) = (Vec::new(), MOMENT_BYTES);
    for product in products.iter() {
        if seen.contains(&product.activation) {
            continue;
        }
        seen.push(product.activation);
        let k = shape(graph, product)[0];
        // As a sum, and as what one sample adds.
        let own = k * k * (size_of::<f64>() + size_of::<f32>());
        if bytes + own > MOMENT_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        if let Some(batch) = batches.last_mut() {
            batch.push((product.activation, k));
        }
    }
    batches
}

/// The sums of the second moments of values over all samples. A sample in which they are not finite is left out.
fn moments(
    graph: &Graph,
    values: &[(ValueId, usize)],
    samples: &[Vec<Tensor>],
    options: &Options,
) -> Result<Vec<Vec<f64>>, CompileError> {
    let ids: Vec<ValueId> = values.iter().map(|(value, _)| *value).collect();
    let runner = Runner::new(with_moments(graph, &ids)?, options)?;
    let mut sums: Vec<Vec<f64>> = values.iter().map(|(_, k)| vec![0.0; k * k]).collect();
    for sample in samples {
        for (sum, found) in sums.iter_mut().zip(runner.run(sample)?) {
            let found = found.elements::<f32>().unwrap_or_default();
            if found.iter().all(|x| x.is_finite()) {
                sum.iter_mut().zip(found).for_each(|(sum, &x)| *sum += f64::from(x));
            }
        }
    }
    Ok(sums)
}

fn layer(graph: &Graph, product: &Product, rounded: &Rounded, error: f64, samples: &[Vec<Tensor>]) -> Layer {
    let [k, n] = shape(graph, product);
    let (precision, bytes) = match rounded {
        Rounded::Nearest(IntegerWeights::I8) => ("w8", k * n + 4 * n),
        _ => ("w4", k * n / 2 + 4 * n * k.div_ceil(GROUP)),
    };
    let node = graph.node(product.node);
    Layer {
        name: node.location.to_string(),
        precision,
        error,
        loss: None,
        multiply_adds: work(graph, (product.weight, 1), node.results[0], samples),
        float_bytes: 4 * (k * n) as u64,
        bytes: bytes as u64,
    }
}

/// The shape `[K, N]` of a product's weight.
fn shape(graph: &Graph, product: &Product) -> [usize; 2] {
    let shape = graph.tensor_ty(product.weight).constant_shape().unwrap_or_default();
    [shape[0], shape[1]]
}

fn elements(graph: &Graph, product: &Product) -> usize {
    shape(graph, product).iter().product::<usize>().max(1)
}

fn read(graph: &Graph, weight: ValueId) -> Result<Tensor, CompileError> {
    constant_value(graph, weight).map_err(|e| refuse(&format!("cannot read a weight: {e}")))
}

fn no_room(error: std::io::Error) -> CompileError {
    refuse(&format!("cannot keep quantized weights in a temporary file: {error}"))
}

fn refuse(message: &str) -> CompileError {
    CompileError::Calibration(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_as_will_do() {
        // The cosine is that of the number over ten.
        let measure = |n: usize| Ok((n, n as f64 / 10.0));
        for (least, expected) in [(0.0, 0), (0.05, 1), (0.7, 7), (0.75, 8), (1.0, 10), (2.0, 10)] {
            let (n, cosine) = fewest(10, measure, |cosine| cosine >= least).unwrap();
            assert_eq!((n, cosine), (expected, expected as f64 / 10.0), "{least}");
        }
        assert_eq!(greatest_first(&[0.5, 2.0, 0.5, 1.0]), [1, 3, 0, 2]);
    }
}
