//! `random`: numbers drawn from a distribution.
//!
//! A number follows from the seed, the number of the run and its place alone, so that results depend neither on threads nor
//! on the order in which kernels run.

use super::args::{Args, kernels};
use super::split::rows;
use crate::abi::KernelError;
use ic_types::DType;

kernels! {
    /// f32 or f64 `y`, uniform in [0, 1) or, if `normal`, with mean 0 and variance 1.
    RANDOM = "random" [] -> ["y"] {"seed", "normal"}, |args| match args.dtype(0)? {
        DType::F64 => draw(args, |x| x),
        _ => draw(args, |x| x as f32),
    };
}

/// Bits that look random: a bijection in which each bit depends on all (the finalizer of SplitMix64).
fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The random bits of one place.
fn random_bits(seed: u64, run: u64, place: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let stream = mixed(mixed(seed.wrapping_add(ODD)) ^ run.wrapping_mul(ODD).rotate_left(32));
    mixed(stream.wrapping_add(place.wrapping_add(1).wrapping_mul(ODD)))
}

/// A number in [0, 1) with 24 random bits, so that it is one as f32 too.
fn uniform(seed: u64, run: u64, place: u64) -> f64 {
    (random_bits(seed, run, place) >> 40) as f64 / (1u64 << 24) as f64
}

/// A normal number, from two uniform ones by the transform of Box and Muller.
fn normal(seed: u64, run: u64, place: u64) -> f64 {
    let bits = |half: u64| random_bits(seed, run, 2 * place + half) >> 11;
    let unit = 1.0 / (1u64 << 53) as f64;
    let radius = libm::sqrt(-2.0 * libm::log((bits(0) + 1) as f64 * unit));
    radius * libm::cos(2.0 * std::f64::consts::PI * bits(1) as f64 * unit)
}

/// Element `place` of what the kernel draws.
fn random_number(seed: i64, run: u64, place: u64, is_normal: bool) -> f64 {
    let number = if is_normal { normal } else { uniform };
    number(seed as u64, run, place)
}

fn draw<T: super::element::Element>(args: &mut Args, of: impl Fn(f64) -> T + Sync) -> Result<(), KernelError> {
    let (seed, is_normal, run) = (args.attr(0)?, args.flag(1)?, args.host().run);
    let y = args.output::<T>()?;
    rows(args.pool(), y, 1, 16, |first, part| {
        for (i, y) in part.iter_mut().enumerate() {
            *y = of(random_number(seed, run, (first + i) as u64, is_normal));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Serial;
    use crate::host::Host;
    use crate::library::testing::{Buffer, call};

    fn moments(normal: i64, run: u64) -> (Vec<f32>, [f64; 4]) {
        let y = [Buffer::out::<f32>(DType::F32, &[100, 1000])];
        call(&RANDOM, &[], &[5, normal], &y, &Serial, &Host::new(run)).unwrap();
        let y = y[0].values::<f32>();
        let mean = |f: &dyn Fn(f64) -> f64| y.iter().map(|&x| f(x.into())).sum::<f64>() / y.len() as f64;
        let centre = mean(&|x| x);
        let moment = |k: i32| mean(&|x| (x - centre).powi(k));
        let found = [centre, moment(2), moment(3), moment(4)];
        (y, found)
    }

    #[test]
    fn distributions_have_their_moments() {
        let close = |found: [f64; 4], expected: [f64; 4], by: f64| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < by), "{found:?} is not {expected:?}");
        };
        let (y, found) = moments(0, 0);
        close(found, [0.5, 1.0 / 12.0, 0.0, 1.0 / 80.0], 0.01);
        assert!(y.iter().all(|x| (0.0..1.0).contains(x)));
        let (first, found) = moments(1, 0);
        close(found, [0.0, 1.0, 0.0, 3.0], 0.1);
        assert_eq!(first, moments(1, 0).0);
        assert_ne!(first, moments(1, 1).0);
    }
}
