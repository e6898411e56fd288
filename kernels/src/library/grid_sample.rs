//! `grid_sample` and `affine_grid`: reading an image at given places, and places that an affine map gives.

use super::args::{Args, Shape, error, kernels};
use super::codes::{GridMode, GridPadding};
use super::element::Number;
use super::split::rows;
use crate::abi::KernelError;
use ic_types::DType;

kernels! {
    /// ONNX `GridSample` of f32 or f64 with 2 or 3 spatial axes; `mode` is a `GridMode`, `padding` a `GridPadding`.
    GRID_SAMPLE = "grid_sample" ["x", "grid"] -> ["y"] {"mode", "padding", "align_corners"}, |args| match args.dtype(0)? {
        DType::F64 => grid_sample::<f64>(args),
        _ => grid_sample::<f32>(args),
    };
    /// ONNX `AffineGrid` of f32 or f64; the size is implied by `y`'s shape.
    AFFINE_GRID = "affine_grid" ["theta"] -> ["y"] {"align_corners"}, |args| match args.dtype(0)? {
        DType::F64 => affine_grid::<f64>(args),
        _ => affine_grid::<f32>(args),
    };
}

/// Spatial axes at most.
const MAX_SPATIAL: usize = 3;

/// How an image is read.
#[derive(Clone, Copy)]
pub(crate) struct Sampler {
    pub(crate) mode: GridMode,
    pub(crate) padding: GridPadding,
    pub(crate) align_corners: bool,
}

/// The elements around a place along one axis, with their weights. `None` stands for a zero.
struct Taps {
    at: [Option<usize>; 4],
    weights: [f64; 4],
    len: usize,
}

impl Sampler {
    /// Lowest and highest place that belongs to an axis of `extent` elements.
    fn borders(&self, extent: usize) -> (f64, f64) {
        if self.align_corners { (0.0, extent as f64 - 1.0) } else { (-0.5, extent as f64 - 0.5) }
    }

    /// The element that place `i` shows.
    fn element(&self, i: i64, extent: usize) -> Option<usize> {
        let inside = (0..extent as i64).contains(&i);
        match self.padding {
            _ if inside => Some(i as usize),
            GridPadding::Zeros => None,
            GridPadding::Border => Some(i.clamp(0, extent as i64 - 1) as usize),
            GridPadding::Reflection => {
                Some((reflect(i as f64, self.borders(extent)) as i64).clamp(0, extent as i64 - 1) as usize)
            }
        }
    }

    /// What place `x`, in elements, reads on an axis of `extent` elements.
    fn taps(&self, x: f64, extent: usize) -> Taps {
        let x = if self.mode == GridMode::Nearest { x.round_ties_even() } else { x };
        let (low, high) = self.borders(extent);
        let x = match self.padding {
            _ if x >= low && x <= high => x,
            // A place that is not a number is outside.
            GridPadding::Zeros if x.is_nan() => return Taps { at: [None; 4], weights: [0.0; 4], len: 0 },
            GridPadding::Zeros => x.clamp(-1e9, 1e9),
            GridPadding::Border => x.max(0.0).min(extent as f64 - 1.0),
            GridPadding::Reflection => reflect(x, (low, high)),
        };
        let floor = x.floor();
        let (first, t) = (floor as i64, x - floor);
        let mut taps = Taps { at: [None; 4], weights: [0.0; 4], len: 1 };
        let begin = match self.mode {
            GridMode::Nearest => {
                taps.weights[0] = 1.0;
                x as i64
            }
            GridMode::Linear => {
                (taps.len, taps.weights) = (2, [1.0 - t, t, 0.0, 0.0]);
                first
            }
            GridMode::Cubic => {
                (taps.len, taps.weights) = (4, cubic(t));
                first - 1
            }
        };
        for (k, at) in taps.at.iter_mut().enumerate().take(taps.len) {
            *at = self.element(begin + k as i64, extent);
        }
        taps
    }

    /// Reads `plane`, which has `extents`, at `place`.
    pub(crate) fn read<T: Number>(&self, plane: &[T], extents: &[usize], place: &[f64]) -> f64 {
        match (extents, place) {
            ([extent, inner @ ..], [x, rest @ ..]) => {
                let stride: usize = inner.iter().product();
                let taps = self.taps(*x, *extent);
                let mut sum = 0.0;
                for (at, &weight) in taps.at.iter().zip(&taps.weights).take(taps.len) {
                    if let Some(at) = at {
                        sum += weight * self.read(&plane[at * stride..(at + 1) * stride], inner, rest);
                    }
                }
                sum
            }
            _ => plane[0].to_f64(),
        }
    }
}

/// `x`, mirrored at the borders until it lies between them.
fn reflect(x: f64, (low, high): (f64, f64)) -> f64 {
    let range = high - low;
    if range <= 0.0 || !x.is_finite() {
        return low;
    }
    let distance = if x < low { low - x } else { x - high };
    if distance <= 0.0 {
        return x;
    }
    let times = (distance / range).trunc();
    let rest = distance - times * range;
    if (times % 2.0 == 0.0) == (x < low) { low + rest } else { high - rest }
}

/// The weights of four elements, of which the place is `t` after the second.
fn cubic(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

fn grid_sample<T: Number>(args: &mut Args) -> Result<(), KernelError> {
    let (x_shape, grid_shape, to) = (args.shape(0)?, args.shape(1)?, args.output_shape(0)?);
    let rank = x_shape.len().saturating_sub(2);
    let fits = (1..=MAX_SPATIAL).contains(&rank)
        && grid_shape.len() == rank + 2
        && to.len() == rank + 2
        && grid_shape[0] == x_shape[0]
        && grid_shape[rank + 1] == rank
        && to[..2] == x_shape[..2]
        && to[2..] == grid_shape[1..=rank];
    if !fits {
        return Err(error(format!(
            "a grid of {:?} does not sample {:?} to {:?}",
            &grid_shape[..],
            &x_shape[..],
            &to[..]
        )));
    }
    let sampler = Sampler {
        mode: GridMode::from_code(args.attr(0)?)?,
        padding: GridPadding::from_code(args.attr(1)?)?,
        align_corners: args.flag(2)?,
    };
    let extents = Shape::new(&x_shape[2..])?;
    let (plane, size, channels) = (extents.count(), to[2..].iter().product::<usize>(), x_shape[1]);
    let (x, grid, y) = (args.input::<T>(0)?, args.input::<T>(1)?, args.output::<T>()?);
    if plane == 0 && !y.is_empty() {
        return Err(error("there is nothing to sample"));
    }
    rows(args.pool(), y, size, size * 32, |first, part| {
        for (r, to) in part.chunks_exact_mut(size).enumerate() {
            let image = (first + r) / channels;
            let plane = &x[(first + r) * plane..][..plane];
            for (i, to) in to.iter_mut().enumerate() {
                let at = &grid[(image * size + i) * rank..][..rank];
                let mut place = [0.0; MAX_SPATIAL];
                for (axis, place) in place.iter_mut().enumerate().take(rank) {
                    *place = denormalize(at[rank - 1 - axis], extents[axis], sampler.align_corners);
                }
                *to = T::from_f64(sampler.read(plane, &extents, &place[..rank]));
            }
        }
    });
    Ok(())
}

/// The place in elements that `x`, from -1 to 1, stands for. Computed in `T`, as ONNX's reference does.
fn denormalize<T: Number>(x: T, extent: usize, align_corners: bool) -> f64 {
    let number = |x: f64| T::from_f64(x);
    let length = extent as f64;
    let (shifted, half) = (x.add(T::ONE), number(0.5));
    match align_corners {
        true => shifted.mul(half).mul(number(length - 1.0)).to_f64(),
        false => shifted.mul(number(length)).add(number(-1.0)).mul(half).to_f64(),
    }
}

fn affine_grid<T: Number>(args: &mut Args) -> Result<(), KernelError> {
    let (theta_shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let align_corners = args.flag(0)?;
    let rank = to.len().saturating_sub(2);
    if !(2..=3).contains(&rank) || theta_shape[..] != [to[0], rank, rank + 1] || to[rank + 1] != rank {
        return Err(error(format!("maps of {:?} do not give a grid of {:?}", &theta_shape[..], &to[..])));
    }
    let extents = Shape::new(&to[1..=rank])?;
    let size = extents.count();
    let (theta, y) = (args.input::<T>(0)?, args.output::<T>()?);
    rows(args.pool(), y, rank, rank * 8, |first, part| {
        for (r, row) in part.chunks_exact_mut(rank).enumerate() {
            let (image, at) = ((first + r) / size, extents.unravel((first + r) % size));
            let map = &theta[image * rank * (rank + 1)..][..rank * (rank + 1)];
            for (map, to) in map.chunks_exact(rank + 1).zip(row) {
                // Coordinates run from the innermost axis outwards.
                let sum = (0..rank).fold(map[rank].to_f64(), |sum, i| {
                    let axis = rank - 1 - i;
                    sum + map[i].to_f64() * normalize(at[axis], extents[axis], align_corners)
                });
                *to = T::from_f64(sum);
            }
        }
    });
    Ok(())
}

/// Where element `i` of `extent` lies between -1 and 1.
fn normalize(i: usize, extent: usize, align_corners: bool) -> f64 {
    match (align_corners, extent) {
        (true, 1) => -1.0,
        (true, _) => -1.0 + i as f64 * 2.0 / (extent as f64 - 1.0),
        (false, _) => -1.0 + (2 * i + 1) as f64 / extent as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, assert_close, run_f32};

    /// The values that the reference was run on.
    fn pattern(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed * 3) % 11) as f32 / 8.0 - 0.625).collect()
    }

    const GRID: [f32; 16] = [-1.0, -1.0, -0.3, 0.7, 0.1, 0.2, 1.0, 1.0, 1.3, -0.4, -2.7, 0.9, 0.5, -1.9, 0.95, 0.97];

    /// What ONNX's reference implementation gives for mode, padding and `align_corners`.
    const CASES: &[(GridMode, GridPadding, i64, &[f32])] = &[
        (
            GridMode::Linear,
            GridPadding::Zeros,
            0,
            &[0.03125, 0.22500002, -0.18124998, 0.0625, 0.0, 0.0, 0.0, 0.08749999],
        ),
        (
            GridMode::Linear,
            GridPadding::Zeros,
            1,
            &[0.125, 0.06250006, -0.24999994, 0.25, -0.11000002, 0.0, 0.0, 0.15743756],
        ),
        (GridMode::Linear, GridPadding::Border, 0, &[0.125, 0.22500002, -0.18124998, 0.25, -0.325, -0.5, -0.125, 0.25]),
        (
            GridMode::Linear,
            GridPadding::Border,
            1,
            &[0.125, 0.06250006, -0.24999994, 0.25, -0.27499998, -0.3312499, 0.0, 0.15743756],
        ),
        (
            GridMode::Linear,
            GridPadding::Reflection,
            0,
            &[0.125, 0.22500002, -0.18124998, 0.25, -0.19999999, 0.03125, 0.19999999, 0.25],
        ),
        (
            GridMode::Linear,
            GridPadding::Reflection,
            1,
            &[0.125, 0.06250006, -0.24999994, 0.25, 0.02499996, -0.18874988, 0.33749998, 0.15743756],
        ),
        (GridMode::Nearest, GridPadding::Zeros, 0, &[0.125, 0.375, -0.375, 0.0, 0.0, 0.0, 0.0, 0.25]),
        (GridMode::Nearest, GridPadding::Zeros, 1, &[0.125, 0.375, -0.375, 0.25, 0.0, 0.0, 0.0, 0.25]),
        (GridMode::Nearest, GridPadding::Border, 0, &[0.125, 0.375, -0.375, 0.25, -0.25, -0.5, 0.0, 0.25]),
        (GridMode::Nearest, GridPadding::Border, 1, &[0.125, 0.375, -0.375, 0.25, -0.25, -0.5, 0.0, 0.25]),
        (GridMode::Nearest, GridPadding::Reflection, 0, &[0.125, 0.375, -0.375, 0.25, -0.25, 0.25, 0.25, 0.25]),
        (GridMode::Nearest, GridPadding::Reflection, 1, &[0.125, 0.375, -0.375, 0.25, 0.25, -0.625, 0.25, 0.25]),
        (
            GridMode::Cubic,
            GridPadding::Zeros,
            0,
            &[0.04296875, 0.35948774, -0.2322098, 0.12731934, 0.039122313, 0.0, 0.0, 0.17745852],
        ),
        (
            GridMode::Cubic,
            GridPadding::Zeros,
            1,
            &[0.125, 0.1433884, -0.32295984, 0.25, -0.1483993, 0.0, 0.0, 0.19125508],
        ),
        (
            GridMode::Cubic,
            GridPadding::Border,
            0,
            &[0.1484375, 0.3369142, -0.2322098, 0.3675537, -0.34731245, -0.62403107, -0.16601562, 0.3876354],
        ),
        (
            GridMode::Cubic,
            GridPadding::Border,
            1,
            &[0.125, 0.1115862, -0.32295984, 0.25, -0.28568742, -0.35276532, 0.0, 0.17073028],
        ),
        (
            GridMode::Cubic,
            GridPadding::Reflection,
            0,
            &[0.171875, 0.3369142, -0.2322098, 0.50927734, -0.21675627, 0.016876249, 0.3875937, 0.49467462],
        ),
        (
            GridMode::Cubic,
            GridPadding::Reflection,
            1,
            &[0.125, 0.16237785, -0.32295984, 0.25, 0.06394579, -0.24316747, 0.42814457, 0.22745423],
        ),
    ];

    #[test]
    fn samples_as_the_reference_does() {
        for (mode, padding, align_corners, expected) in CASES {
            let inputs = [Buffer::f32(&[1, 1, 4, 5], &pattern(20, 2)), Buffer::f32(&[1, 2, 4, 2], &GRID)];
            let attrs = [mode.code(), padding.code(), *align_corners];
            assert_close(&run_f32(&GRID_SAMPLE, &inputs, &attrs, &[1, 1, 2, 4]), expected, 2e-6);
        }
        let grid = [-0.5, 0.3, 0.1, 0.9, -0.9, 1.2];
        let inputs = [Buffer::f32(&[1, 2, 3, 2, 4], &pattern(48, 3)), Buffer::f32(&[1, 1, 1, 2, 3], &grid)];
        let expected = [-0.12687498, 0.052499954, 0.13125001, -0.031499974];
        assert_close(&run_f32(&GRID_SAMPLE, &inputs, &[0, 0, 0], &[1, 2, 1, 1, 2]), &expected, 2e-6);
    }

    #[test]
    fn places_that_are_not_numbers_are_outside() {
        for &padding in GridPadding::ALL {
            for &mode in GridMode::ALL {
                let inputs = [
                    Buffer::f32(&[1, 1, 1, 2], &[1.0, 2.0]),
                    Buffer::f32(&[1, 1, 3, 2], &[f32::NAN, 0.0, f32::INFINITY, 0.0, -1e30, 1e30]),
                ];
                let found = run_f32(&GRID_SAMPLE, &inputs, &[mode.code(), padding.code(), 1], &[1, 1, 1, 3]);
                let expected = match padding {
                    GridPadding::Zeros => [0.0, 0.0, 0.0],
                    GridPadding::Border => [1.0, 2.0, 1.0],
                    // The reflections of what is far away are multiples of the range, up to round-off.
                    GridPadding::Reflection => [1.0, 1.0, found[2]],
                };
                assert_eq!(found, expected, "{padding:?} {mode:?}");
            }
        }
    }

    #[test]
    fn maps_as_the_reference_does() {
        let theta = || [Buffer::f32(&[2, 2, 3], &pattern(12, 4))];
        let expected = [
            0.020833334,
            0.041666668,
            -0.3125,
            -0.375,
            -0.6458333,
            -0.7916667,
            0.39583334,
            0.29166666,
            0.0625,
            -0.125,
            -0.27083334,
            -0.5416667,
            -0.8541667,
            -0.8333333,
            -0.4375,
            -0.5,
            -0.020833334,
            -0.16666667,
            -0.7291667,
            -0.8333333,
            -0.3125,
            -0.5,
            0.104166664,
            -0.16666667,
        ];
        assert_close(&run_f32(&AFFINE_GRID, &theta(), &[0], &[2, 2, 3, 2]), &expected, 1e-6);
        let expected = [
            0.0, 0.125, -0.5, -0.5, -1.0, -1.125, 0.75, 0.625, 0.25, 0.0, -0.25, -0.625, -1.125, -1.0, -0.5, -0.5,
            0.125, 0.0, -0.875, -1.0, -0.25, -0.5, 0.375, 0.0,
        ];
        assert_close(&run_f32(&AFFINE_GRID, &theta(), &[1], &[2, 2, 3, 2]), &expected, 1e-6);
        let expected = [
            -0.29166666,
            0.27083334,
            -0.3125,
            -0.375,
            0.6875,
            -0.3125,
            -0.45833334,
            1.1041666,
            -0.3125,
            -0.041666668,
            -0.104166664,
            0.0625,
            -0.125,
            0.3125,
            0.0625,
            -0.20833333,
            0.7291667,
            0.0625,
        ];
        assert_close(
            &run_f32(&AFFINE_GRID, &[Buffer::f32(&[1, 3, 4], &pattern(12, 5))], &[0], &[1, 2, 1, 3, 3]),
            &expected,
            1e-6,
        );
    }
}
