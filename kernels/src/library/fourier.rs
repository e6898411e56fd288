//! `dft`: spectra in f64, by the factors of their length (Cooley and Tukey, 1965; the order is Stockham's).

use super::args::{Args, error, kernels};
use super::element::Number;
use super::split::{MIN_WORK, Shared};
use crate::abi::{KernelError, Operand, Parallel, Serial};
use ic_types::DType;
use std::ops::Range;

kernels! {
    /// ONNX `DFT` of f32 or f64 `x[.., 1 or 2]`; the length of the transform is `length`. A one-sided inverse gives
    /// `y[.., 1]`.
    DFT = "dft" ["x"] -> ["y"] {"axis", "inverse", "onesided", "length"}, |args| match args.dtype(0)? {
        DType::F64 => dft::<f64>(args),
        _ => dft::<f32>(args),
    }, scratch = |_: &[Operand], attrs: &[i64], threads: usize| {
        let length = attrs.get(3).map_or(0, |&length| length.max(0) as usize);
        // The roots of unity, and for each thread the numbers before and after a step.
        length.saturating_mul(2 * threads + 1).saturating_mul(size_of::<Complex>())
    };
}

/// The real and the imaginary part.
type Complex = [f64; 2];

fn product([a, b]: Complex, [c, d]: Complex) -> Complex {
    [a * c - b * d, a * d + b * c]
}

fn sum(a: Complex, b: Complex) -> Complex {
    [a[0] + b[0], a[1] + b[1]]
}

fn difference(a: Complex, b: Complex) -> Complex {
    [a[0] - b[0], a[1] - b[1]]
}

/// Writes `e^(± 2 pi i k / n)` for each `k`, plus for an inverse transform.
fn write_roots(roots: &mut [Complex], inverse: bool) {
    let n = roots.len() as f64;
    for (k, root) in roots.iter_mut().enumerate() {
        let angle = 2.0 * std::f64::consts::PI * k as f64 / n;
        let sin = libm::sin(angle);
        *root = [libm::cos(angle), if inverse { sin } else { -sin }];
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
fn transform<'a>(roots: &[Complex], mut x: &'a mut [Complex], mut spare: &'a mut [Complex]) -> &'a [Complex] {
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
                        let (sign, [re, im]) = (roots[n / 4][1], difference(x(1), x(3)));
                        let (straight, turned) = (difference(x(0), x(2)), [-sign * im, sign * re]);
                        to[q] = sum(even, odd);
                        to[stride + q] = product(sum(straight, turned), twiddle(1));
                        to[2 * stride + q] = product(difference(even, odd), twiddle(2));
                        to[3 * stride + q] = product(difference(straight, turned), twiddle(3));
                    }
                    _ => {
                        for t in 0..p {
                            let (mut total, mut at) = (x(0), 0);
                            for r in 1..p {
                                at = if at + t >= p { at + t - p } else { at + t };
                                total = sum(total, product(x(r), roots[at * (n / p)]));
                            }
                            to[t * stride + q] = product(total, twiddle(t));
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

fn dft<T: Number>(args: &mut Args) -> Result<(), KernelError> {
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
    let numbers = unsafe { args.scratch::<f64>(2 * n * (2 * pool.threads() + 1)) };
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
    let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
    let body = |transforms: Range<usize>, thread: usize| {
        // SAFETY: Each thread has room of its own.
        let (now, next) = unsafe { room.part(2 * n * thread..2 * n * (thread + 1)) }.split_at_mut(n);
        for index in transforms {
            let (outer, column) = (index / inner, index % inner);
            let at = |i: usize| {
                let from = ((outer * len + i) * inner + column) * parts;
                [x[from].to_f64(), if parts == 2 { x[from + 1].to_f64() } else { 0.0 }]
            };
            for (i, number) in now.iter_mut().enumerate() {
                // The other half of a real signal's spectrum is the conjugate of this one.
                *number = if inverse && onesided {
                    mirrored(i, n, len, at)
                } else if i < len {
                    at(i)
                } else {
                    [0.0; 2]
                };
            }
            for (k, number) in transform(roots, now, next)[..out].iter().enumerate() {
                let first = ((outer * out + k) * inner + column) * out_parts;
                // SAFETY: Transforms write elements of their own, which are in the output.
                let to = unsafe { y.part(first..first + out_parts) };
                to.iter_mut().zip(number).for_each(|(to, v)| *to = T::from_f64(v * scale));
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
fn mirrored(i: usize, n: usize, len: usize, at: impl Fn(usize) -> [f64; 2]) -> [f64; 2] {
    let from = if i <= n / 2 { i } else { n - i };
    let [re, im] = if from < len { at(from) } else { [0.0, 0.0] };
    match i {
        _ if from == 0 || 2 * from == n => [re, 0.0],
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
    fn bin(x: &[f64], k: usize) -> Complex {
        let n = x.len() / 2;
        x.chunks_exact(2).enumerate().fold([0.0; 2], |total, (i, part)| {
            let angle = -2.0 * std::f64::consts::PI * (i * k % n) as f64 / n as f64;
            sum(total, product([part[0], part[1]], [libm::cos(angle), libm::sin(angle)]))
        })
    }

    #[test]
    fn all_lengths_follow_the_definition() {
        for n in (1..=40).chain([48, 60, 64, 77, 97, 121, 128, 210, 400]) {
            let x: Vec<f64> = pattern(2 * n, n).into_iter().map(f64::from).collect();
            let input = Buffer::new(DType::F64, &[1, n, 2], &x);
            let y = vec![Buffer::out::<f64>(DType::F64, &[1, n, 2])];
            let y = run(&DFT, &[input], &[1, 0, 0, n as i64], y).unwrap();
            for (k, found) in y[0].values::<f64>().chunks_exact(2).enumerate() {
                let error = difference([found[0], found[1]], bin(&x, k));
                assert!(error.iter().all(|e| e.abs() < 1e-11), "{n}, bin {k}: {error:?}");
            }
        }
    }
}
