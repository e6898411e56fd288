//! How far an output is from its reference.

use anyhow::{Result, bail};
use ic_ir::eval::{ints, reals};
use ic_types::{Data, Tensor, bf16_to_f32, f16_to_f32};
use serde_json::json;

/// How far one output is from the reference.
pub(super) struct Row {
    /// The output's name.
    pub(super) name: String,
    /// Largest difference.
    pub(super) absolute: f64,
    /// The same over the largest magnitude of the reference.
    pub(super) relative: f64,
    /// Whether the elements are no floats.
    pub(super) exact: bool,
    /// Largest difference between the reference and evaluations with other round-off, where it was asked for.
    pub(super) roundoff: Option<f64>,
}

impl Row {
    /// Whether the output is right: within `tolerance` of the reference's scale, equal to it if it has no floats, or no
    /// further from it than twice what round-off alone moves it.
    pub(super) fn agrees(&self, tolerance: f64) -> bool {
        let allowed = if self.exact { 0.0 } else { tolerance };
        self.relative <= allowed || self.roundoff.is_some_and(|moved| self.absolute <= 2.0 * moved)
    }

    pub(super) fn line(&self) -> String {
        let Row { name, absolute, relative, .. } = self;
        let error = format!("{name}: max error {absolute:.3e}, {relative:.3e} of the output's scale");
        match self.roundoff {
            Some(moved) => format!("{error}; round-off alone moves the model's own output by {moved:.3e}"),
            None => error,
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let Row { name, absolute, relative, roundoff, .. } = self;
        json!({ "name": name, "max_abs": absolute, "max_rel": relative, "roundoff": roundoff })
    }
}

/// Compares an output with its reference.
pub(super) fn compare(name: &str, found: &Tensor, expected: &Tensor) -> Result<Row> {
    if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
        bail!(
            "output `{name}` is {}{:?}, the model gives {}{:?}",
            found.dtype(),
            found.shape(),
            expected.dtype(),
            expected.shape()
        );
    }
    let (Some(a), Some(b)) = (numbers(found), numbers(expected)) else {
        let absolute = if found == expected { 0.0 } else { f64::INFINITY };
        return Ok(Row { name: name.into(), absolute, relative: absolute, exact: true, roundoff: None });
    };
    // Equal values, infinities and NaNs at the same place count as no difference.
    let difference = |(x, y): (&f64, &f64)| if x == y || (x.is_nan() && y.is_nan()) { 0.0 } else { (x - y).abs() };
    let largest = |sum: f64, x: f64| if x.is_nan() || x > sum { x } else { sum };
    let absolute = a.iter().zip(&b).map(difference).fold(0.0, largest);
    let scale = b.iter().filter(|x| x.is_finite()).map(|x| x.abs()).fold(0.0, f64::max);
    let relative = if absolute == 0.0 { 0.0 } else { absolute / scale.max(f64::MIN_POSITIVE) };
    let exact = !found.dtype().is_float() && !matches!(found.data(), Data::C64(_) | Data::C128(_));
    Ok(Row { name: name.into(), absolute, relative, exact, roundoff: None })
}

/// Elements as f64, both parts of complex ones; `None` for strings, sequences and optionals.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    macro_rules! each {
        ($v:expr, $f:expr) => {
            Some($v.iter().map($f).collect())
        };
    }
    match tensor.data() {
        Data::F64(v) => Some(v.clone()),
        Data::F32(v) => each!(v, |&x| f64::from(x)),
        Data::F16(v) => each!(v, |&x| f64::from(f16_to_f32(x))),
        Data::BF16(v) => each!(v, |&x| f64::from(bf16_to_f32(x))),
        Data::I64(v) => each!(v, |&x| x as f64),
        Data::I32(v) => each!(v, |&x| f64::from(x)),
        Data::I16(v) => each!(v, |&x| f64::from(x)),
        Data::I8(v) => each!(v, |&x| f64::from(x)),
        Data::U64(v) => each!(v, |&x| x as f64),
        Data::U32(v) => each!(v, |&x| f64::from(x)),
        Data::U16(v) => each!(v, |&x| f64::from(x)),
        Data::U8(v) => each!(v, |&x| f64::from(x)),
        Data::Bool(v) => each!(v, |&x| f64::from(u8::from(x))),
        Data::C64(v) => Some(v.iter().flatten().map(|&x| f64::from(x)).collect()),
        Data::C128(v) => Some(v.iter().flatten().copied().collect()),
        _ if tensor.dtype().is_float() => reals(tensor).ok(),
        _ if tensor.dtype().is_int() => ints(tensor).ok().map(|v| v.into_iter().map(|x| x as f64).collect()),
        _ => None,
    }
}
