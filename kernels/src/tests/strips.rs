//! Strips: the same bits on every instruction set, and within their bounds of f64 over the whole range.

use super::harness::assert_same_bits;
use crate::abi::Strip;
use crate::isa::Isa;
use crate::table::table;

fn run(strip: Strip, isa: Isa, source: &[f32]) -> Vec<f32> {
    let mut result = vec![0.0; source.len()];
    // SAFETY: both arrays have the length.
    unsafe { table(isa).strips[strip as usize](result.as_mut_ptr(), source.as_ptr(), source.len()) };
    result
}

/// Every 4099th float of both signs, and the special ones.
fn samples() -> Vec<f32> {
    let special = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        1.0,
        -1.0,
        f32::MAX,
        f32::MIN,
        1e-45,
        -1e-45,
        88.72,
        88.73,
        -87.33,
        -87.34,
        -103.9,
        -104.0,
    ];
    (0..u32::MAX).step_by(4099).map(f32::from_bits).chain(special).collect()
}

/// What a strip is, in f64.
fn exact(strip: Strip, x: f64) -> f64 {
    let sigmoid = |x: f64| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
    match strip {
        Strip::Exp => libm::exp(x),
        Strip::Log => libm::log(x),
        Strip::Erf => libm::erf(x),
        Strip::Tanh => libm::tanh(x),
        Strip::Sigmoid => sigmoid(x),
        Strip::Silu => x * sigmoid(x),
        Strip::Gelu => x * 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        Strip::GeluTanh => {
            x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + f64::from(0.044_715_f32) * x * x * x))
        }
        Strip::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Strip::Relu if x.is_nan() => x,
        Strip::Relu => x.max(0.0),
        Strip::Sin => libm::sin(x),
        Strip::Cos => libm::cos(x),
        Strip::Sqrt => x.sqrt(),
        Strip::Softplus => x.max(0.0) + libm::log1p((-x.abs()).exp()),
        Strip::Tan => libm::tan(x),
        Strip::Asin => libm::asin(x),
        Strip::Acos => libm::acos(x),
        Strip::Atan => libm::atan(x),
        Strip::Sinh => libm::sinh(x),
        Strip::Cosh => libm::cosh(x),
        Strip::Asinh => libm::asinh(x),
        Strip::Acosh if x < 1.0 => f64::NAN,
        Strip::Acosh => libm::acosh(x),
        Strip::Atanh => libm::atanh(x),
    }
}

/// The bound of a strip: units in the last place, and an absolute error relative to the argument.
fn bound(strip: Strip) -> (f64, f64) {
    match strip {
        Strip::Relu | Strip::Sqrt => (0.5, 0.0),
        Strip::Exp => (1.0, 0.0),
        Strip::Gelu | Strip::GeluTanh => (4.0, 0.5f64.powi(22)),
        Strip::HardSwish => (2.0, 0.5f64.powi(23)),
        // The sigmoid may be denormal.
        Strip::Silu => (4.0, 0.5f64.powi(149)),
        Strip::Sigmoid | Strip::Softplus => (3.0, 0.0),
        _ => (2.0, 0.0),
    }
}

/// The distance of neighbouring floats at `x`.
fn ulp(x: f64) -> f64 {
    let x = x.abs().clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
    2f64.powi(x.log2().floor() as i32 - 23)
}

#[test]
fn within_bounds_of_f64() {
    let samples = samples();
    for &strip in Strip::ALL {
        let (ulps, relative) = bound(strip);
        let mut worst = (0.0, 0.0f32);
        for (&x, y) in samples.iter().zip(run(strip, Isa::detect(), &samples)) {
            let exact = exact(strip, f64::from(x));
            if exact.is_nan() || (exact as f32).is_infinite() {
                // Where the argument is infinite, a product may be NaN for 0.
                let agrees = (exact.is_nan() && y.is_nan()) || y == exact as f32 || (x.is_infinite() && y.is_nan());
                let rounds = exact.is_finite() && y.abs() == f32::MAX;
                assert!(agrees || rounds, "{} of {x:e} is {y:e}, not {exact:e}", strip.name());
                continue;
            }
            if x.is_infinite() && y.is_nan() {
                continue;
            }
            let relative = if x.is_infinite() { 0.0 } else { relative * f64::from(x).abs() };
            let error = ((f64::from(y) - exact).abs() - relative) / ulp(exact);
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        println!("{:12} {:.3} ULP at {:e}", strip.name(), worst.0, worst.1);
        assert!(worst.0 <= ulps, "{}: {} ULP at {:e}", strip.name(), worst.0, worst.1);
    }
}

#[test]
fn instruction_sets_agree() {
    let samples = samples();
    for &strip in Strip::ALL {
        let expected = run(strip, Isa::Portable, &samples);
        for isa in Isa::supported() {
            assert_same_bits(&run(strip, isa, &samples), &expected, &format!("{} {}", strip.name(), isa.name()));
        }
    }
}

#[test]
fn lengths_around_a_vector() {
    for n in [0, 1, 15, 16, 17, 33] {
        let source: Vec<f32> = (0..n).map(|i| i as f32 / 7.0).collect();
        for isa in Isa::supported() {
            let mut result = vec![-1.0; n + 1];
            // SAFETY: both arrays hold `n` elements.
            unsafe { table(isa).strips[Strip::Exp as usize](result.as_mut_ptr(), source.as_ptr(), n) };
            assert_same_bits(&result[..n], &run(Strip::Exp, Isa::Portable, &source), &n);
            assert_eq!(result[n], -1.0);
        }
    }
}

#[test]
fn quantizes_alike_on_every_instruction_set() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.125, 0.375, -0.375, 1e30, -1e30, 1e-40];
    let x: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) * 0.125).chain(special).collect();
    for (scale, zero, low, high) in
        [(0.25, 0.0, -128.0, 127.0), (0.3, 17.0, 0.0, 255.0), (1e-3, 255.0, 0.0, 255.0), (7.0, -128.0, -128.0, 127.0)]
    {
        let expected: Vec<u8> = x
            .iter()
            .map(|x| ((x / scale).round_ties_even() + zero).clamp(low, high))
            .map(|x| if x.is_nan() { 0 } else { x as i32 as u8 })
            .collect();
        for isa in Isa::supported() {
            for n in [0, 1, 15, 16, 17, 63, 64, 65, x.len()] {
                // The last elements, so that the special ones are among them.
                let (x, expected) = (&x[x.len() - n..], &expected[expected.len() - n..]);
                let mut found = vec![0; n];
                // SAFETY: both arrays have the length.
                unsafe { (table(isa).quantize)(found.as_mut_ptr(), x.as_ptr(), n, scale, zero, low, high) };
                assert_eq!(found, expected, "{isa:?}, {n} elements, scale {scale}");
            }
        }
    }
}

#[test]
fn finds_extremes_and_keeps_nan() {
    for isa in Isa::supported() {
        for n in [0, 1, 2, 15, 16, 17, 63, 64, 65, 130, 1000] {
            let mut x: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1009) as f32 - 400.0).collect();
            let extremes = |x: &[f32]| {
                // SAFETY: the array has the length.
                unsafe { [(table(isa).smallest)(x.as_ptr(), n), (table(isa).greatest)(x.as_ptr(), n)] }
            };
            let expected =
                [x.iter().copied().fold(f32::INFINITY, f32::min), x.iter().copied().fold(f32::NEG_INFINITY, f32::max)];
            assert_eq!(extremes(&x), expected, "{isa:?}, {n} elements");
            for at in [0, n / 2, n.saturating_sub(1)].into_iter().filter(|&at| at < n) {
                let kept = std::mem::replace(&mut x[at], f32::NAN);
                assert!(extremes(&x).iter().all(|x| x.is_nan()), "{isa:?}, NaN at {at} of {n}");
                x[at] = kept;
            }
        }
    }
}
