//! `dft`: spectra by the factors of their length (Cooley and Tukey, 1965; the order is Stockham's), computed in the
//! type of their elements.

use super::args::{Args, error, kernels};
use super::element::Number;
use super::split::{MIN_WORK, Shared};
use crate::abi::{KernelError, Operand, Parallel, Serial};
use ic_types::DType;
use std::ops::{Add, Mul, Neg, Range, Sub};

kernels! {
    /// ONNX `DFT` of f32 or f64 `x[.., 1 or 2]`; the length of the transform is `length`. A one-sided inverse gives
    /// `y[.., 1]`.
    DFT = "dft" ["x"] -> ["y"] {"axis", "inverse", "onesided", "length"}, |args| match args.dtype(0)? {
        DType::F64 => dft::<f64>(args),
        _ => dft::<f32>(args),
    }, scratch = |operands: &[Operand], attrs: &[i64], threads: usize| {
        let length = attrs.get(3).map_or(0, |&length| length.max(0) as usize);
        let number = 2 * operands.first().and_then(|x| x.dtype.size()).unwrap_or(size_of::<f64>());
        // The roots of unity, and for each thread the numbers before and after a step.
        length.saturating_mul(2 * threads + 1).saturating_mul(number)
    };
}

/// What a transform computes in.
trait Float: Number + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self> {}
impl Float for f32 {}
impl Float for f64 {}

/// The real and the imaginary part.
type Complex<T> = [T; 2];

fn product<T: Float>([a, b]: Complex<T>, [c, d]: Complex<T>) -> Complex<T> {
    [a * c - b * d, a * d + b * c]
}

fn sum<T: Float>(a: Complex<T>, b: Complex<T>) -> Complex<T> {
    [a[0] + b[0], a[1] + b[1]]
}

fn difference<T: Float>(a: Complex<T>, b: Complex<T>) -> Complex<T> {
    [a[0] - b[0], a[1] - b[1]]
}

fn scaled<T: Float>(x: Complex<T>, by: T) -> Complex<T> {
    x.map(|part| part * by)
}

/// `x` multiplied by the square root of -1.
fn turned<T: Float>([re, im]: Complex<T>) -> Complex<T> {
    [-im, re]
}

/// Writes `e^(± 2 pi i k / n)` for each `k`, plus for an inverse transform.
fn write_roots<T: Float>(roots: &mut [Complex<T>], inverse: bool) {
    let n = roots.len() as f64;
    for (k, root) in roots.iter_mut().enumerate() {
        let angle = 2.0 * std::f64::consts::PI * k as f64 / n;
        let sin = libm::sin(angle);
        *root = [libm::cos(angle), if inverse { sin } else { -sin }].map(T::from_f64);
    }
}

/// The next factor of a length above 1 to take: 4, 2, or the least odd one.
fn factor(len: usize) -> usize {
    match len {
        _ if len.is_multiple_of(4) => 4,
        _ if len.is_multiple_of(2) => 2,
        _ => (3..).step_by(2).take_while(|p| p * p <= len).find(|&p| len.is_multiple_of(p)).unwrap_or(len),
    }
}

/// The sums of `x[k] roots[k bin]` over `k`, for each bin, in `x` or `spare`.
fn transform<'a, T: Float>(
    roots: &[Complex<T>],
    mut x: &'a mut [Complex<T>],
    mut spare: &'a mut [Complex<T>],
) -> &'a [Complex<T>] {
    let n = roots.len();
    // Transforms of `len` elements that are `stride` apart.
    let (mut len, mut stride) = (n, 1);
    while len > 1 {
        let p = factor(len);
        len /= p;
        for j in 0..len {
            // What the outputs of a butterfly are multiplied by.
            let twiddle = |t: usize| roots[j * t * stride];
            let from = &x[j * stride..];
            let to = &mut spare[p * j * stride..][..p * stride];
            for q in 0..stride {
                let x = |r: usize| from[q + r * len * stride];
                match p {
                    2 => {
                        to[q] = sum(x(0), x(1));
                        to[stride + q] = product(difference(x(0), x(1)), twiddle(1));
                    }
                    4 => {
                        let (even, odd) = (sum(x(0), x(2)), sum(x(1), x(3)));
                        // By the root of a quarter, which is i or -i.
                        let quarter = scaled(turned(difference(x(1), x(3))), roots[n / 4][1]);
                        let straight = difference(x(0), x(2));
                        to[q] = sum(even, odd);
                        to[stride + q] = product(sum(straight, quarter), twiddle(1));
                        to[2 * stride + q] = product(difference(even, odd), twiddle(2));
                        to[3 * stride + q] = product(difference(straight, quarter), twiddle(3));
                    }
                    _ => {
                        to[q] = (1..=p / 2).fold(x(0), |total, r| sum(total, sum(x(r), x(p - r))));
                        for t in 1..=p / 2 {
                            let [low, high] = odd_outputs(p, t, x, |power| roots[power * (n / p)]);
                            to[t * stride + q] = product(low, twiddle(t));
                            to[(p - t) * stride + q] = product(high, twiddle(p - t));
                        }
                    }
                }
            }
        }
        stride *= p;
        (x, spare) = (spare, x);
    }
    x
}

/// Outputs `t` and `p - t` of a butterfly of an odd number `p` of elements, whose roots are conjugates: of each pair of
/// elements `r` and `p - r` their sum is multiplied by the real parts, their difference by the imaginary ones.
fn odd_outputs<T: Float>(
    p: usize,
    t: usize,
    x: impl Fn(usize) -> Complex<T>,
    root: impl Fn(usize) -> Complex<T>,
) -> [Complex<T>; 2] {
    let (mut even, mut odd, mut power) = (x(0), [T::ZERO; 2], 0);
    for r in 1..=p / 2 {
        power = if power + t >= p { power + t - p } else { power + t };
        let [cos, sin] = root(power);
        even = sum(even, scaled(sum(x(r), x(p - r)), cos));
        odd = sum(odd, scaled(difference(x(r), x(p - r)), sin));
    }
    let odd = turned(odd);
    [sum(even, odd), difference(even, odd)]
}

fn dft<T: Float>(args: &mut Args) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let axis = args.axis(0, shape.len())?;
    let (inverse, onesided, n) = (args.flag(1)?, args.flag(2)?, args.extent(3)?);
    let parts = shape[shape.len() - 1];
    let (out, out_parts) = match (inverse, onesided) {
        (true, true) => (n, 1),
        (false, true) => (n / 2 + 1, 2),
        _ => (n, 2),
    };
    let same = (0..shape.len()).all(|a| a == axis || a + 1 == shape.len() || shape[a] == to[a]);
    if to.len() != shape.len()
        || axis + 1 == shape.len()
        || !same
        || to[axis] != out
        || to[to.len() - 1] != out_parts
        || !(1..=2).contains(&parts)
    {
        return Err(error(format!("a transform of {n} does not take {:?} to {:?}", &shape[..], &to[..])));
    }
    let pool = args.pool();
    // SAFETY: `scratch` asked for so many; this is the only use.
    let numbers = unsafe { args.scratch::<T>(2 * n * (2 * pool.threads() + 1)) };
    let (roots, room) = numbers.as_chunks_mut().0.split_at_mut(n);
    write_roots(roots, inverse);
    let (roots, len) = (&*roots, shape[axis]);
    let inner: usize = shape[axis + 1..shape.len() - 1].iter().product();
    let n_transforms = shape[..axis].iter().product::<usize>() * inner;
    let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
    if n == 0 || y.is_empty() {
        y.fill(T::ZERO);
        return Ok(());
    }
    let (room, y) = (Shared::new(room), Shared::new(y));
    let scale = if inverse { T::from_f64(1.0 / n as f64) } else { T::ONE };
    let body = |transforms: Range<usize>, thread: usize| {
        // SAFETY: Each thread has room of its own.
        let (now, next) = unsafe { room.part(2 * n * thread..2 * n * (thread + 1)) }.split_at_mut(n);
        for index in transforms {
            let (outer, column) = (index / inner, index % inner);
            let at = |i: usize| {
                let from = ((outer * len + i) * inner + column) * parts;
                [x[from], if parts == 2 { x[from + 1] } else { T::ZERO }]
            };
            for (i, number) in now.iter_mut().enumerate() {
                // The other half of a real signal's spectrum is the conjugate of this one.
                *number = if inverse && onesided {
                    mirrored(i, n, len, at)
                } else if i < len {
                    at(i)
                } else {
                    [T::ZERO; 2]
                };
            }
            for (k, number) in transform(roots, now, next)[..out].iter().enumerate() {
                let first = ((outer * out + k) * inner + column) * out_parts;
                // SAFETY: Transforms write elements of their own, which are in the output.
                let to = unsafe { y.part(first..first + out_parts) };
                to.iter_mut().zip(scaled(*number, scale)).for_each(|(to, part)| *to = part);
                // The spectrum of a real signal is that of its mirror image.
                if parts == 1 && out_parts == 2 && (k == 0 || 2 * k == n) {
                    to[1] = T::ZERO;
                }
            }
        }
    };
    let steps = usize::BITS - n.leading_zeros();
    let is_little = n_transforms.saturating_mul(n * steps as usize) < MIN_WORK;
    let parallel: &dyn Parallel = if is_little { &Serial } else { pool };
    parallel.run(n_transforms, &body);
    Ok(())
}

/// Element `i` of the spectrum of a real signal of `n`, of which the first `len` elements are given up to `n / 2`.
fn mirrored<T: Float>(i: usize, n: usize, len: usize, at: impl Fn(usize) -> Complex<T>) -> Complex<T> {
    let from = if i <= n / 2 { i } else { n - i };
    let [re, im] = if from < len { at(from) } else { [T::ZERO; 2] };
    match i {
        _ if from == 0 || 2 * from == n => [re, T::ZERO],
        _ if i == from => [re, im],
        _ => [re, -im],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, assert_close, run, run_f32};

    /// The values that the reference was run on.
    fn pattern(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed * 3) % 11) as f32 / 8.0 - 0.625).collect()
    }

    #[test]
    fn transforms_as_the_reference_does() {
        let x = || pattern(20, 11);
        let real: Vec<f32> = x().into_iter().step_by(2).collect();
        let check = |x: &[f32], shape: &[usize], attrs: [i64; 4], to: &[usize], expected: &[f32]| {
            assert_close(&run_f32(&DFT, &[Buffer::f32(shape, x)], &attrs, to), expected, 1e-6);
        };
        check(
            &x(),
            &[1, 5, 2, 2],
            [1, 0, 0, 6],
            &[1, 6, 2, 2],
            &[
                -1.125,
                0.5,
                0.75,
                -0.375,
                -0.8080127,
                -0.125,
                -0.6707532,
                0.73774046,
                -0.21650635,
                -0.46650636,
                0.29575318,
                0.7712341,
                -1.875,
                1.75,
                -1.5,
                -0.625,
                0.21650635,
                -0.03349365,
                0.07924683,
                1.8537658,
                0.0580127,
                -0.125,
                -0.45424682,
                1.3872595,
            ],
        );
        check(
            &real,
            &[1, 5, 2, 1],
            [-3, 0, 1, 5],
            &[1, 3, 2, 2],
            &[-1.125, 0.0, 0.75, 0.0, -0.5, -0.03468932, -0.5, -0.03468932, -0.5, -1.007185, -0.5, -1.007185],
        );
        check(
            &x(),
            &[1, 5, 2, 2],
            [1, 1, 0, 5],
            &[1, 5, 2, 2],
            &[
                -0.22500001,
                0.1,
                0.15,
                -0.075,
                -0.0070382594,
                0.044437867,
                -0.10693786,
                0.18193786,
                0.12174449,
                0.238937,
                -0.301437,
                0.376437,
                -0.3217445,
                -0.163937,
                0.101436995,
                -0.026436998,
                -0.19296174,
                0.030562133,
                -0.09306213,
                0.16806214,
            ],
        );
        check(
            &x()[..16],
            &[1, 4, 2, 2],
            [1, 1, 1, 6],
            &[1, 6, 2, 1],
            &[
                -0.1875,
                0.1875,
                -0.041666668,
                0.13875529,
                0.21650635,
                -0.18042195,
                -0.3541667,
                -0.3541667,
                -0.21650635,
                0.18042195,
                -0.04166668,
                -0.22208863,
            ],
        );
    }

    /// The definition.
    fn bin(x: &[f64], k: usize) -> Complex<f64> {
        let n = x.len() / 2;
        x.chunks_exact(2).enumerate().fold([0.0; 2], |total, (i, part)| {
            let angle = -2.0 * std::f64::consts::PI * (i * k % n) as f64 / n as f64;
            sum(total, product([part[0], part[1]], [libm::cos(angle), libm::sin(angle)]))
        })
    }

    /// Whether the transforms of `parts` numbers an element are the definition's to `tolerance`.
    fn follows_the_definition<T: Float>(dtype: DType, parts: usize, tolerance: f64) {
        for n in (1..=40).chain([48, 60, 64, 77, 97, 121, 128, 210, 400]) {
            let x: Vec<T> = pattern(parts * n, n).into_iter().map(|x| T::from_f64(x.into())).collect();
            let signal = x.chunks_exact(parts).flat_map(|x| [x[0].to_f64(), x.get(1).map_or(0.0, |&im| im.to_f64())]);
            let signal: Vec<f64> = signal.collect();
            let input = Buffer::new(dtype, &[1, n, parts], &x);
            let y = run(&DFT, &[input], &[1, 0, 0, n as i64], vec![Buffer::out::<T>(dtype, &[1, n, 2])]).unwrap();
            for (k, found) in y[0].values::<T>().chunks_exact(2).enumerate() {
                let error = difference([found[0].to_f64(), found[1].to_f64()], bin(&signal, k));
                assert!(error.iter().all(|e| e.abs() < tolerance), "{dtype}, {n} x {parts}, bin {k}: {error:?}");
                let is_own_mirror = parts == 1 && (2 * k).is_multiple_of(n);
                assert!(!is_own_mirror || found[1].to_f64() == 0.0, "{dtype}, {n}, bin {k} is not real");
            }
        }
    }

    #[test]
    fn all_lengths_follow_the_definition() {
        for parts in [1, 2] {
            follows_the_definition::<f64>(DType::F64, parts, 1e-11);
            follows_the_definition::<f32>(DType::F32, parts, 5e-5);
        }
    }
}
