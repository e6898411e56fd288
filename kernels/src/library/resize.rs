//! `resize`: every mode of ONNX `Resize` for tensors of any rank.
//!
//! Nearest moves elements; the others run one axis at a time over f64, as ONNX's reference does.

use super::args::{Args, MAX_RANK, Shape, error, kernels};
use super::codes::{CoordinateMode, NearestMode, ResizeMode};
use super::element::{Element, Number, by_number, by_width};
use super::resize_axis::{Axis, Filter};
use super::split::rows;
use crate::abi::{KernelError, Operand, Parallel};
use ic_types::DType;

kernels! {
    /// ONNX `Resize`, every mode. `mode` is a `ResizeMode`, `coordinate_mode` a `CoordinateMode`, `nearest_mode` a
    /// `NearestMode`; `cubic_a` and `extrapolation` f32 bits; `scales` f64 bits for every axis, 0 for the ratio of the
    /// extents. `roi` (f32 or f64, 2 × rank, all axes) is absent unless `tf_crop_and_resize`.
    RESIZE = "resize" ["x", "roi"] -> ["y"] {
        "mode", "coordinate_mode", "nearest_mode", "antialias", "exclude_outside", "cubic_a", "extrapolation", "scales[]"
    }, resize, scratch = scratch;
}

/// The axes of a call.
struct Axes {
    axes: [Axis; MAX_RANK],
    rank: usize,
}

impl Axes {
    fn all(&self) -> &[Axis] {
        &self.axes[..self.rank]
    }
}

/// The axes for these shapes, with no region of interest yet.
fn axes(input: &[i64], output: &[i64], attrs: &[i64]) -> Result<Axes, KernelError> {
    let scales = attrs.get(7..).unwrap_or_default();
    let rank = input.len();
    if output.len() != rank || scales.len() != rank || rank > MAX_RANK {
        return Err(error(format!("expected an output extent and a scale for each of {rank} axes")));
    }
    let mode = CoordinateMode::from_code(attrs[1])?;
    let mut found = Axes { axes: [Axis::new(1, 1, 1.0, mode); MAX_RANK], rank };
    for a in 0..rank {
        let scale = f64::from_bits(scales[a] as u64);
        let (input, output) = (input[a].max(0) as usize, output[a].max(0) as usize);
        found.axes[a] = Axis::new(input, output, scale, mode);
    }
    Ok(found)
}

fn filter(attrs: &[i64]) -> Result<Filter, KernelError> {
    let f32_attr = |index: usize| f64::from(f32::from_bits(attrs[index] as u32));
    Ok(Filter {
        mode: ResizeMode::from_code(attrs[0])?,
        antialias: attrs[3] != 0,
        exclude_outside: attrs[4] != 0,
        cubic_a: f32_attr(5),
    })
}

/// Elements of each of the two buffers that passes go between, and of the weights of one axis with the first taps.
fn sizes(axes: &Axes, filter: &Filter) -> (usize, usize) {
    let (mut largest, mut table) = (0usize, 0usize);
    for split in 0..=axes.rank {
        let extent = |(a, axis): (usize, &Axis)| if a < split { axis.output } else { axis.input };
        let count = axes.all().iter().enumerate().map(extent).fold(1usize, usize::saturating_mul);
        largest = largest.max(count);
    }
    for axis in axes.all() {
        table = table.max(axis.output.saturating_mul(filter.taps(axis) + 1));
    }
    (largest, table)
}

fn scratch(operands: &[Operand], attrs: &[i64], _: usize) -> usize {
    let (Some(x), Some(y)) = (operands.first(), operands.last()) else { return 0 };
    if attrs.len() < 7 || attrs[0] == ResizeMode::Nearest.code() {
        return 0;
    }
    let (Ok(axes), Ok(filter)) = (axes(x.shape, y.shape, attrs), filter(attrs)) else { return 0 };
    let (buffer, table) = sizes(&axes, &filter);
    buffer.saturating_mul(2).saturating_add(table).saturating_mul(size_of::<f64>())
}

fn resize(args: &mut Args) -> Result<(), KernelError> {
    let attrs = args.list(0);
    if attrs.len() < 7 {
        return Err(error("attributes are missing"));
    }
    let mut axes = axes(args.operand(0)?.shape, args.operand(2)?.shape, attrs)?;
    let rank = axes.rank;
    if args.is_present(1) && axes.axes[0].mode == CoordinateMode::TfCropAndResize {
        let at = |i: usize| -> Result<f64, KernelError> {
            let value = match args.dtype(1)? {
                DType::F64 => args.input::<f64>(1)?.get(i).copied(),
                _ => args.input::<f32>(1)?.get(i).map(|&v| f64::from(v)),
            };
            value.ok_or_else(|| error(format!("expected {} numbers in roi", 2 * rank)))
        };
        for a in 0..rank {
            axes.axes[a].roi = [at(a)?, at(rank + a)?];
        }
    }
    axes.all().iter().try_for_each(Axis::check)?;
    if ResizeMode::from_code(attrs[0])? == ResizeMode::Nearest {
        return nearest(args, &axes);
    }
    let filter = filter(attrs)?;
    let extrapolation = f64::from(args.attr_f32(6)?);
    let (buffer, table) = sizes(&axes, &filter);
    // SAFETY: `scratch` asked for two buffers and a table; this is the only use.
    let scratch = unsafe { args.scratch::<f64>(2 * buffer + table) };
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        let (mut from, rest) = scratch.split_at_mut(buffer);
        let (mut to, table) = rest.split_at_mut(buffer);
        if y.is_empty() {
            return Ok(());
        }
        from.iter_mut().zip(x).for_each(|(to, x)| *to = x.to_f64());
        let mut shape = args.shape(0)?;
        for (a, axis) in axes.all().iter().enumerate() {
            if !axis.is_identity() {
                pass(args.pool(), from, to, table, (&mut shape, a), axis, &filter, extrapolation);
                std::mem::swap(&mut from, &mut to);
            }
        }
        y.iter_mut().zip(from.iter()).for_each(|(y, &v)| *y = rounded(v));
        Ok(())
    })
}

/// `x` as a number of type `T`: integers are rounded to nearest even and saturate.
fn rounded<T: Number>(x: f64) -> T {
    // Only integers turn 0.5 into 0.
    if T::from_f64(0.5).to_f64() == 0.0 { T::from_f64(x.round_ties_even()) } else { T::from_f64(x) }
}

/// Resizes axis `a` of `from`, which has `shape`, to `to`, and updates `shape`.
fn pass(
    pool: &dyn Parallel,
    from: &[f64],
    to: &mut [f64],
    table: &mut [f64],
    (shape, a): (&mut Shape, usize),
    axis: &Axis,
    filter: &Filter,
    extrapolation: f64,
) {
    let taps = filter.taps(axis);
    for (i, row) in table.chunks_exact_mut(taps + 1).take(axis.output).enumerate() {
        let (first, weights) = row.split_at_mut(1);
        first[0] = filter.weights(axis, i, weights) as f64;
    }
    let table = &*table;
    let inner: usize = shape[a + 1..].iter().product();
    shape[a] = axis.output;
    let count = shape.count();
    rows(pool, &mut to[..count], inner, inner * taps, |first_row, part| {
        for (r, row) in part.chunks_exact_mut(inner).enumerate() {
            let (outer, i) = ((first_row + r) / axis.output, (first_row + r) % axis.output);
            if axis.is_extrapolated(axis.coordinate(i)) {
                row.fill(extrapolation);
                continue;
            }
            let entry = &table[i * (taps + 1)..(i + 1) * (taps + 1)];
            row.fill(0.0);
            for (k, &weight) in entry[1..].iter().enumerate() {
                let position = axis.clamp(entry[0] as i64 + k as i64);
                let source = &from[(outer * axis.input + position) * inner..][..inner];
                for (to, &x) in row.iter_mut().zip(source) {
                    *to += weight * x;
                }
            }
        }
    });
}

fn nearest(args: &mut Args, axes: &Axes) -> Result<(), KernelError> {
    let mode = NearestMode::from_code(args.attr(2)?)?;
    let extrapolation = args.attr_f32(6)?;
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let dtype = args.dtype(0)?;
    by_width!(dtype, T => {
        let fill = bits_of::<T>(dtype, extrapolation);
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        // Trailing axes that stay as they are move together.
        let kept = axes.all().iter().rev().take_while(|axis| axis.is_identity()).count();
        let inner: usize = to[to.len() - kept..].iter().product();
        let (axes, strides) = (&axes.all()[..to.len() - kept], shape.strides());
        let outer = Shape::new(&to[..axes.len()])?;
        rows(args.pool(), y, inner, inner + 8 * axes.len(), |first, part| {
            let mut at = outer.unravel(first);
            for row in part.chunks_exact_mut(inner) {
                let from = axes.iter().zip(at.iter()).zip(strides.iter()).try_fold(0, |offset, ((axis, &i), stride)| {
                    Some(offset + if axis.is_identity() { i } else { axis.nearest(i, mode)? } * stride)
                });
                match from {
                    Some(from) => row.copy_from_slice(&x[from..from + inner]),
                    None => row.fill(fill),
                }
                outer.advance(&mut at);
            }
        });
        Ok(())
    })
}

/// `x` as an element of `dtype`, in a raw type as wide; zero for types without arithmetic.
fn bits_of<T: Element>(dtype: DType, x: f32) -> T {
    fn raw<T: Element, N: Number>(value: N) -> T {
        let mut bits = T::default();
        if size_of::<T>() == size_of::<N>() {
            // SAFETY: The sizes agree and every bit pattern is a value of `T`.
            unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast::<T>(), &mut bits, 1) };
        }
        bits
    }
    let found: Result<T, KernelError> = by_number!(dtype, N => Ok(raw::<T, N>(N::from_f64(f64::from(x)))));
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::resize_nhwc::F32_RESIZE_NHWC;
    use crate::library::testing::{Buffer, Random, assert_close, run, run_f32};

    const X: [f32; 20] =
        [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0, 9.0, 7.0, 9.0, 3.0, 2.0, 3.0, 8.0, 4.0];

    struct Case {
        mode: ResizeMode,
        coordinates: CoordinateMode,
        nearest: NearestMode,
        antialias: i64,
        exclude_outside: i64,
        cubic_a: f32,
        extrapolation: f32,
        scales: [f64; 2],
        roi: Option<[f32; 4]>,
        shape: [usize; 2],
        y: &'static [f32],
    }

    /// `X` as [4, 5], resized by ONNX's reference implementation.
    const CASES: &[Case] = &[
        Case {
            mode: ResizeMode::Nearest,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [1.5, 2.0],
            roi: None,
            shape: [6, 10],
            y: &[
                3.0, 3.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 5.0, 5.0, 3.0, 3.0, 1.0, 1.0, 4.0, 4.0, 1.0, 1.0, 5.0, 5.0,
                9.0, 9.0, 2.0, 2.0, 6.0, 6.0, 5.0, 5.0, 3.0, 3.0, 5.0, 5.0, 8.0, 8.0, 9.0, 9.0, 7.0, 7.0, 9.0, 9.0,
                5.0, 5.0, 8.0, 8.0, 9.0, 9.0, 7.0, 7.0, 9.0, 9.0, 3.0, 3.0, 2.0, 2.0, 3.0, 3.0, 8.0, 8.0, 4.0, 4.0,
            ],
        },
        Case {
            mode: ResizeMode::Nearest,
            coordinates: CoordinateMode::Asymmetric,
            nearest: NearestMode::Floor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [2.0, 0.6000000238418579],
            roi: None,
            shape: [8, 3],
            y: &[
                3.0, 1.0, 1.0, 3.0, 1.0, 1.0, 9.0, 2.0, 5.0, 9.0, 2.0, 5.0, 5.0, 8.0, 7.0, 5.0, 8.0, 7.0, 3.0, 2.0,
                8.0, 3.0, 2.0, 8.0,
            ],
        },
        Case {
            mode: ResizeMode::Nearest,
            coordinates: CoordinateMode::AlignCorners,
            nearest: NearestMode::Ceil,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [1.75, 0.6],
            roi: None,
            shape: [7, 3],
            y: &[
                3.0, 4.0, 5.0, 9.0, 6.0, 3.0, 9.0, 6.0, 3.0, 5.0, 9.0, 9.0, 5.0, 9.0, 9.0, 3.0, 3.0, 4.0, 3.0, 3.0, 4.0,
            ],
        },
        Case {
            mode: ResizeMode::Nearest,
            coordinates: CoordinateMode::PytorchHalfPixel,
            nearest: NearestMode::RoundPreferCeil,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.25, 1.6],
            roi: None,
            shape: [1, 8],
            y: &[3.0, 3.0, 1.0, 4.0, 4.0, 1.0, 5.0, 5.0],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.6000000238418579, 1.399999976158142],
            roi: None,
            shape: [2, 6],
            y: &[
                5.0, 2.9047618, 2.2857144, 4.6666665, 2.9999998, 3.1904762, 5.0000005, 6.7142854, 8.285714, 9.0,
                7.5714283, 7.8571424,
            ],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::HalfPixelSymmetric,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.6000000238418579, 0.699999988079071],
            roi: None,
            shape: [2, 3],
            y: &[3.9523811, 5.3333335, 3.6666667, 5.285714, 7.0, 7.3333335],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::AlignCorners,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.75, 1.4],
            roi: None,
            shape: [3, 7],
            y: &[
                3.0, 1.6666666, 2.0, 4.0, 2.0, 2.3333333, 5.0, 7.0, 5.6666665, 5.8333335, 7.5, 6.5, 6.0, 6.0, 3.0,
                2.3333333, 2.3333333, 3.0, 6.3333335, 6.6666665, 4.0,
            ],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::PytorchHalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.25, 1.2],
            roi: None,
            shape: [1, 6],
            y: &[3.0, 1.5, 2.75, 2.75, 2.0, 5.0],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::Asymmetric,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [2.0, 1.0],
            roi: None,
            shape: [8, 5],
            y: &[
                3.0, 1.0, 4.0, 1.0, 5.0, 6.0, 1.5, 5.0, 3.0, 4.0, 9.0, 2.0, 6.0, 5.0, 3.0, 7.0, 5.0, 7.5, 6.0, 6.0,
                5.0, 8.0, 9.0, 7.0, 9.0, 4.0, 5.0, 6.0, 7.5, 6.5, 3.0, 2.0, 3.0, 8.0, 4.0, 3.0, 2.0, 3.0, 8.0, 4.0,
            ],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 1,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.6000000238418579, 0.6000000238418579],
            roi: None,
            shape: [2, 3],
            y: &[3.796875, 3.5, 3.59375, 5.4027777, 6.580247, 6.638889],
        },
        Case {
            mode: ResizeMode::Linear,
            coordinates: CoordinateMode::TfCropAndResize,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 10.0,
            scales: [0.75, 0.8],
            roi: Some([0.4, 0.6, 0.6, 1.3]),
            shape: [3, 4],
            y: &[6.12, 5.0, 10.0, 10.0, 6.9, 6.0000005, 10.0, 10.0, 7.6800003, 7.0000005, 10.0, 10.0],
        },
        Case {
            mode: ResizeMode::Cubic,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.800000011920929, 1.2999999523162842],
            roi: None,
            shape: [3, 6],
            y: &[
                3.845733, 1.5579414, 2.2781253, 3.9302652, 1.3951606, 3.7975755, 8.598962, 5.541793, 5.6556664,
                7.7298923, 6.1673408, 5.4110365, 3.3824992, 4.1067667, 4.8189573, 5.8767614, 7.742149, 6.6811624,
            ],
        },
        Case {
            mode: ResizeMode::Cubic,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 1,
            cubic_a: -0.5,
            extrapolation: 0.0,
            scales: [0.75, 1.2],
            roi: None,
            shape: [3, 6],
            y: &[
                3.8253424, 1.4248741, 3.0075371, 3.1573672, 1.968212, 4.827618, 7.576133, 5.7180343, 7.0082464,
                7.4631615, 6.0629773, 6.1875, 3.1998801, 2.7783086, 3.0128706, 5.6118417, 7.4714622, 4.513738,
            ],
        },
        Case {
            mode: ResizeMode::Cubic,
            coordinates: CoordinateMode::AlignCorners,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 0,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [1.5, 0.800000011920929],
            roi: None,
            shape: [6, 4],
            y: &[
                3.0, 1.8888893, 1.6666664, 4.9999986, 7.103999, 1.6135559, 3.9873326, 3.1279957, 8.920001, 3.8583732,
                6.46489, 3.9839978, 6.040001, 8.335708, 7.3128877, 8.375998, 3.7919989, 6.7799287, 7.4385886,
                7.7079964, 3.0, 1.9259294, 6.925925, 3.9999993,
            ],
        },
        Case {
            mode: ResizeMode::Cubic,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 1,
            exclude_outside: 0,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.6000000238418579, 0.800000011920929],
            roi: None,
            shape: [2, 4],
            y: &[4.5572324, 2.746313, 3.6092932, 3.666569, 5.6723676, 6.3042994, 7.348495, 6.6970944],
        },
        Case {
            mode: ResizeMode::Cubic,
            coordinates: CoordinateMode::HalfPixel,
            nearest: NearestMode::RoundPreferFloor,
            antialias: 1,
            exclude_outside: 1,
            cubic_a: -0.75,
            extrapolation: 0.0,
            scales: [0.6000000238418579, 0.800000011920929],
            roi: None,
            shape: [2, 4],
            y: &[4.646838, 2.7873907, 3.6936452, 3.6285305, 5.4304843, 5.9596667, 7.2121067, 6.562226],
        },
    ];

    impl Case {
        fn attrs(&self, scales: &[f64]) -> Vec<i64> {
            let bits = |x: f32| i64::from(x.to_bits());
            let modes = [self.mode.code(), self.coordinates.code(), self.nearest.code()];
            let rest = [self.antialias, self.exclude_outside, bits(self.cubic_a), bits(self.extrapolation)];
            modes.into_iter().chain(rest).chain(scales.iter().map(|scale| scale.to_bits() as i64)).collect()
        }
    }

    #[test]
    fn agrees_with_the_reference() {
        for case in CASES {
            let roi = case.roi.map_or(Buffer::absent(), |roi| Buffer::f32(&[4], &roi));
            let found = run_f32(&RESIZE, &[Buffer::f32(&[4, 5], &X), roi], &case.attrs(&case.scales), &case.shape);
            assert_close(&found, case.y, 1e-5);
        }
    }

    #[test]
    fn leaves_other_axes_alone() {
        let mut random = Random(1);
        let x = random.f32s(2 * 4 * 5 * 3);
        for case in CASES.iter().filter(|case| case.roi.is_none()) {
            let attrs = case.attrs(&[1.0, case.scales[0], case.scales[1], 1.0]);
            let shape = [2, case.shape[0], case.shape[1], 3];
            let found = run_f32(&RESIZE, &[Buffer::f32(&[2, 4, 5, 3], &x), Buffer::absent()], &attrs, &shape);
            for image in 0..2 {
                for c in 0..3 {
                    let plane: Vec<f32> = (0..20).map(|i| x[(image * 20 + i) * 3 + c]).collect();
                    let inputs = [Buffer::f32(&[4, 5], &plane), Buffer::absent()];
                    let expected = run_f32(&RESIZE, &inputs, &case.attrs(&case.scales), &case.shape);
                    let size = case.shape[0] * case.shape[1];
                    let part: Vec<f32> = (0..size).map(|i| found[(image * size + i) * 3 + c]).collect();
                    assert_close(&part, &expected, 1e-6);
                }
            }
            if case.mode == ResizeMode::Cubic || case.antialias != 0 {
                continue;
            }
            let bits = case.scales.map(|scale| scale.to_bits() as i64);
            let attrs = [case.mode.code(), case.coordinates.code(), case.nearest.code(), bits[0], bits[1]];
            let by_ratio = [&attrs[..3], &[0, 0]].concat();
            let ratio = run_f32(&F32_RESIZE_NHWC, &[Buffer::f32(&[2, 4, 5, 3], &x)], &by_ratio, &shape);
            let exact = (0..2).all(|i| case.scales[i] == case.shape[i] as f64 / [4.0, 5.0][i]);
            let fast = run_f32(&F32_RESIZE_NHWC, &[Buffer::f32(&[2, 4, 5, 3], &x)], &attrs, &shape);
            assert_close(&fast, &found, 1e-6);
            assert!(!exact || ratio == fast, "a scale of 0");
        }
    }

    #[test]
    fn rounds_and_saturates_integers() {
        let attrs = CASES[8].attrs(&[2.0]);
        let x = Buffer::new(DType::U8, &[3], &[0u8, 5, 255]);
        let found = run(&RESIZE, &[x, Buffer::absent()], &attrs, vec![Buffer::out::<u8>(DType::U8, &[6])]).unwrap();
        assert_eq!(found[0].values::<u8>(), [0, 2, 5, 130, 255, 255]);
    }

    #[test]
    fn refuses_what_it_cannot_resize() {
        let out = || vec![Buffer::out::<f32>(DType::F32, &[2])];
        let empty = [Buffer::f32(&[0], &[]), Buffer::absent()];
        assert!(run(&RESIZE, &empty, &CASES[0].attrs(&[2.0]), out()).is_err());
        let one = [Buffer::f32(&[1], &[1.0]), Buffer::absent()];
        assert!(run(&RESIZE, &one, &CASES[4].attrs(&[-1.0]), out()).is_err());
        assert!(run(&RESIZE, &one, &CASES[4].attrs(&[f64::NAN]), out()).is_err());
    }
}
