//! Results against what was expected.

use ic_ir::scalar::Scalar;
use ic_types::Tensor;

/// Compares elements: each differs by at most `tolerance` times the largest magnitude, or 1 if that is larger.
///
/// # Errors
/// The first element that differs by more.
pub fn compare(expected: &Tensor, found: &Tensor, tolerance: f64) -> Result<(), String> {
    if expected.len() != found.len() {
        return Err(format!("{} elements, found {}", expected.len(), found.len()));
    }
    let (expected, found) = (numbers(expected), numbers(found));
    let scale = expected.iter().fold(1.0f64, |max, x| max.max(x.abs()));
    for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
        let is_close = (a - b).abs() <= tolerance * scale || a.is_nan() && b.is_nan() || a == b;
        if !is_close {
            return Err(format!("element {i} is {b}, expected {a}"));
        }
    }
    Ok(())
}

/// The largest difference as a share of the largest magnitude, or of 1 if that is larger.
pub fn largest_error(expected: &Tensor, found: &Tensor) -> f64 {
    let (expected, found) = (numbers(expected), numbers(found));
    let scale = expected.iter().fold(1.0f64, |max, x| max.max(x.abs()));
    let pairs = expected.iter().zip(&found).filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan()));
    pairs.map(|(a, b)| (a - b).abs() / scale).fold(0.0, |max, x| if x.is_nan() { f64::INFINITY } else { x.max(max) })
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let number = |i: usize| match Scalar::read(tensor.data(), i) {
        Scalar::F32(x, _) => f64::from(x),
        Scalar::F64(x) => x,
        Scalar::Int(x, _) => x as f64,
        Scalar::Bool(x) => f64::from(u8::from(x)),
        Scalar::Text(_) => f64::NAN,
    };
    (0..tensor.len()).map(number).collect()
}
