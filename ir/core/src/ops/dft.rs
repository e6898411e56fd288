//! `dft`: discrete Fourier transform along an axis. ONNX `DFT`, opset 20; `STFT` builds on it.

use crate::eval::{checked_len, for_each_coordinate, from_reals, offset, reals, strides};
use crate::{OpDef, OpError, OperandSpec, Operands, TensorType, Tensors, Type, ensure};
use ic_types::{Dim, Tensor};

crate::attrs! {
    /// Numbers are along the last axis: of extent 1 if they are real, 2 if they are complex.
    ///
    /// The signal is cut or padded with zeros to `length`. The result is complex; with `onesided` a forward transform
    /// gives the first `length / 2 + 1` values, and an inverse one takes as many and gives real numbers.
    Dft {
        /// The axis, not the last.
        axis: usize,
        /// Number of points.
        length: Dim,
        /// Whether this is the inverse transform, divided by `length`.
        inverse: bool = false,
        /// Whether the spectrum is that of a real signal and only half of it is held.
        onesided: bool = false
    }
}

impl OpDef for Dft {
    const OPERANDS: &'static [OperandSpec] = &[OperandSpec::required("x")];

    fn infer(&self, x: &Operands) -> Result<Vec<Type>, OpError> {
        let ty = x.ty(0)?;
        super::check_float(ty, "x")?;
        let last = ty.rank().saturating_sub(1);
        ensure!(self.axis < last, "`axis` must be below the last axis {last}, found {}", self.axis);
        let parts = &ty.shape[last];
        ensure!(
            parts.as_const().is_none_or(|n| matches!(n, 1 | 2)),
            "the last extent of `x` must be 1 or 2, found {parts}"
        );
        let mut shape = ty.shape.clone();
        shape[self.axis] = match self.onesided && !self.inverse {
            true => self.length.floor_div(&Dim::constant(2)) + Dim::constant(1),
            false => self.length.clone(),
        };
        shape[last] = Dim::constant(if self.onesided && self.inverse { 1 } else { 2 });
        Ok(vec![TensorType::new(ty.dtype, shape).into()])
    }

    /// The definition takes `length`² steps, a kernel `length` log `length`.
    fn is_foldable(&self) -> bool {
        false
    }

    fn eval(&self, x: &Tensors) -> Result<Vec<Tensor>, OpError> {
        let input = x.get(0)?;
        let last = input.rank().saturating_sub(1);
        ensure!(self.axis < last, "`axis` must be below the last axis {last}");
        let length = x.extents(std::slice::from_ref(&self.length))?[0];
        ensure!(length > 0, "`length` must be positive");
        let real_result = self.onesided && self.inverse;
        let mut shape = input.shape().to_vec();
        let n_parts = shape[last];
        ensure!(matches!(n_parts, 1 | 2), "the last extent of `x` must be 1 or 2, found {n_parts}");
        shape[self.axis] = if self.onesided && !self.inverse { length / 2 + 1 } else { length };
        shape[last] = if real_result { 1 } else { 2 };
        let n_results = shape[self.axis];
        let mut result = vec![0.0; checked_len(&shape)?];
        if result.is_empty() {
            return Ok(vec![from_reals(input.dtype(), shape, result)?]);
        }
        let (values, steps, result_steps) = (reals(input)?, strides(input.shape()), strides(&shape));
        let roots = roots_of_unity(length, if self.inverse { 1.0 } else { -1.0 })?;
        let mut lanes = shape.clone();
        (lanes[self.axis], lanes[last]) = (1, 1);
        for_each_coordinate(&lanes, |at| {
            let (from, to) = (offset(at, &steps), offset(at, &result_steps));
            let part = |i: usize, part: usize| {
                let inside = i < input.shape()[self.axis] && part < n_parts;
                if inside { values[from + i * steps[self.axis] + part] } else { 0.0 }
            };
            let signal: Vec<[f64; 2]> = (0..length).map(|i| self.element(i, length, &part)).collect();
            for k in 0..n_results {
                let (re, im) = transform(&signal, &roots, k);
                let scale = if self.inverse { length as f64 } else { 1.0 };
                let target = to + k * result_steps[self.axis];
                result[target] = re / scale;
                if !real_result {
                    result[target + 1] = im / scale;
                }
            }
            Ok(())
        })?;
        Ok(vec![from_reals(input.dtype(), shape, result)?])
    }
}

impl Dft {
    /// Element `i` of the whole signal; a one-sided spectrum continues with its conjugates.
    fn element(&self, i: usize, length: usize, part: &impl Fn(usize, usize) -> f64) -> [f64; 2] {
        if !(self.onesided && self.inverse) {
            return [part(i, 0), part(i, 1)];
        }
        match (2 * i).cmp(&length) {
            // What must be real is taken to be.
            _ if i == 0 => [part(0, 0), 0.0],
            std::cmp::Ordering::Equal => [part(i, 0), 0.0],
            std::cmp::Ordering::Less => [part(i, 0), part(i, 1)],
            std::cmp::Ordering::Greater => [part(length - i, 0), -part(length - i, 1)],
        }
    }
}

/// `e^(sign * 2πik/n)` for each `k`.
fn roots_of_unity(n: usize, sign: f64) -> Result<Vec<(f64, f64)>, OpError> {
    checked_len(&[n])?;
    let angle = |k: usize| sign * 2.0 * std::f64::consts::PI * k as f64 / n as f64;
    Ok((0..n).map(|k| (libm::cos(angle(k)), libm::sin(angle(k)))).collect())
}

/// Value `k` of the transform.
fn transform(signal: &[[f64; 2]], roots: &[(f64, f64)], k: usize) -> (f64, f64) {
    let mut root = 0;
    let mut sum = (0.0, 0.0);
    for &[re, im] in signal {
        let (cos, sin) = roots[root];
        sum = (sum.0 + re * cos - im * sin, sum.1 + re * sin + im * cos);
        root = (root + k) % roots.len();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dft(shape: &[usize], elements: Vec<f64>, length: i64, inverse: bool, onesided: bool) -> Tensor {
        let input = Tensor::from_elements(shape.to_vec(), elements);
        let x = Tensors { operands: vec![Some(&input)], regions: &[], symbols: &|_| None };
        Dft { axis: 0, length: length.into(), inverse, onesided }.eval(&x).unwrap().remove(0)
    }

    #[test]
    fn one_sided_transforms_invert() {
        let spectrum = dft(&[4, 1], vec![1.0, 2.0, 3.0, 5.0], 4, false, true);
        assert_eq!(spectrum.shape(), [3, 2]);
        let expected = [11.0, 0.0, -2.0, 3.0, -3.0, 0.0];
        let found = spectrum.elements::<f64>().unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        let signal = dft(&[3, 2], found.to_vec(), 4, true, true);
        assert!(signal.elements::<f64>().unwrap().iter().zip([1.0, 2.0, 3.0, 5.0]).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
