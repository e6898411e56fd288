//! Normalizations: the same bits everywhere, and close to f64.

use super::harness::{Random, Tensor, Threads, assert_same_bits, run};
use crate::abi::{Parallel, Serial};
use crate::isa::Isa;
use crate::table::find;

const EPSILON: f32 = 1e-5;

/// Runs a kernel on every instruction set, alone and on threads; gives the result, which must be the same.
fn result(name: &str, operands: &[Tensor], attrs: &[i64]) -> Vec<f32> {
    let mut expected: Option<Vec<f32>> = None;
    for isa in Isa::supported() {
        for pool in [&Serial as &dyn Parallel, &Threads(2)] {
            let mut operands = operands.to_vec();
            run(find(name, 0, isa).expect("exists"), &mut operands, attrs, &[], None, pool).expect("runs");
            let y = operands.pop().expect("a result").data;
            match &expected {
                None => expected = Some(y),
                Some(expected) => assert_same_bits(&y, expected, &format!("{name} {}", isa.name())),
            }
        }
    }
    expected.expect("an instruction set")
}

fn check(actual: &[f32], exact: impl Iterator<Item = f64>) {
    for (i, (&actual, exact)) in actual.iter().zip(exact).enumerate() {
        assert!((f64::from(actual) - exact).abs() <= 2e-6 * exact.abs() + 1e-6, "element {i}: {actual}, not {exact}");
    }
}

const SHAPES: [[usize; 2]; 8] = [[0, 4], [3, 0], [2, 1], [3, 15], [3, 16], [5, 17], [2, 385], [70, 200]];

#[test]
fn softmax_is_close() {
    let mut random = Random::new(1);
    for shape in SHAPES {
        let mut x = Tensor::random(&shape, &mut random);
        x.data.iter_mut().for_each(|x| *x *= 30.0);
        let y = result("f32_softmax", &[x.clone(), Tensor::unset(&shape)], &[]);
        for (x, y) in x.data.chunks(shape[1].max(1)).zip(y.chunks(shape[1].max(1))) {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let e: Vec<f64> = x.iter().map(|&x| (f64::from(x) - f64::from(max)).exp()).collect();
            let sum: f64 = e.iter().sum();
            check(y, e.iter().map(|e| e / sum));
        }
    }
}

#[test]
fn softmax_of_special_values() {
    let inf = f32::INFINITY;
    let rows = [[0.0, -inf, 0.0], [-inf, -inf, -inf], [1.0, f32::NAN, 2.0], [inf, 0.0, 0.0]];
    let x = Tensor::dense(&[4, 3], rows.concat());
    let y = result("f32_softmax", &[x, Tensor::unset(&[4, 3])], &[]);
    assert_eq!(y[..3], [0.5, 0.0, 0.5]);
    assert!(y[3..].iter().all(|y| y.is_nan()), "{y:?}");
}

#[test]
fn norms_are_close() {
    let mut random = Random::new(2);
    for shape in SHAPES {
        let (n, attrs) = (shape[1], [i64::from(EPSILON.to_bits())]);
        let x = Tensor::random(&shape, &mut random);
        let [scale, bias] = [0; 2].map(|_| Tensor::random(&[n], &mut random));
        let mut absent = Tensor::dense(&[0], vec![]);
        absent.shape = vec![0];
        let y = result("f32_layer_norm", &[x.clone(), scale.clone(), bias.clone(), Tensor::unset(&shape)], &attrs);
        let r = result("f32_rms_norm", &[x.clone(), scale.clone(), Tensor::unset(&shape)], &attrs);
        let rows = x.data.chunks(n.max(1)).zip(y.chunks(n.max(1)).zip(r.chunks(n.max(1))));
        for (x, (y, r)) in rows {
            let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let mean = x.iter().sum::<f64>() / n as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let factor = 1.0 / (variance + f64::from(EPSILON)).sqrt();
            let affine = scale.data.iter().zip(&bias.data).map(|(&s, &b)| (f64::from(s), f64::from(b)));
            check(y, x.iter().zip(affine).map(|(x, (s, b))| (x - mean) * factor * s + b));
            let square = x.iter().map(|x| x * x).sum::<f64>() / n as f64;
            let factor = 1.0 / (square + f64::from(EPSILON)).sqrt();
            check(r, x.iter().zip(&scale.data).map(|(x, &s)| x * factor * f64::from(s)));
        }
    }
}

#[test]
fn layer_norm_without_bias() {
    let mut random = Random::new(3);
    let (x, scale) = (Tensor::random(&[3, 20], &mut random), Tensor::random(&[20], &mut random));
    let zeros = Tensor::dense(&[20], vec![0.0; 20]);
    let attrs = [i64::from(EPSILON.to_bits())];
    let expected = result("f32_layer_norm", &[x.clone(), scale.clone(), zeros, Tensor::unset(&[3, 20])], &attrs);
    let absent = Tensor { data: vec![], shape: vec![], strides: vec![] };
    let actual = result("f32_layer_norm", &[x, scale, absent, Tensor::unset(&[3, 20])], &attrs);
    for (a, b) in actual.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-6);
    }
}
