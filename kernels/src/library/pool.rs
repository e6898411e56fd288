//! `max_pool`, `average_pool`, `lp_pool` and `max_unpool` with channels first: any number of spatial axes, any type.

use super::args::{Args, Shape, error, kernels};
use super::element::{Number, Sum, Summable, by_number};
use super::pool_nhwc::Axis;
use super::split::{rows, rows2};
use crate::abi::KernelError;

kernels! {
    /// ONNX `MaxPool`, channels first, any number type and 1 to 3 spatial axes. `window` is kernel, strides, dilations,
    /// pad begins and pad ends, a list each. `indices` i64 may be absent.
    MAX_POOL = "max_pool" ["x"] -> ["y", "indices"] {"storage_order", "window[]"}, max_pool;
    /// ONNX `AveragePool`, channels first, floats; `window` as for `max_pool`.
    AVERAGE_POOL = "average_pool" ["x"] -> ["y"] {"count_include_pad", "window[]"}, average_pool;
    /// ONNX `LpPool`, channels first, floats; `window` as for `max_pool`.
    LP_POOL = "lp_pool" ["x"] -> ["y"] {"p", "window[]"}, lp_pool;
    /// ONNX `MaxUnpool`; `window` is kernel, strides, pad begins and pad ends.
    MAX_UNPOOL = "max_unpool" ["x", "indices"] -> ["y"] {"window[]"}, max_unpool;
}

/// Spatial axes at most.
const MAX_SPATIAL: usize = 3;

/// The geometry of a call.
struct Geometry {
    axes: [Axis; MAX_SPATIAL],
    pad_ends: [usize; MAX_SPATIAL],
    rank: usize,
    /// Spatial extents of input and output.
    from: Shape,
    to: Shape,
}

fn geometry(args: &Args, window: &[i64]) -> Result<Geometry, KernelError> {
    let (x, y) = (args.shape(0)?, args.output_shape(0)?);
    let rank = x.len().saturating_sub(2);
    if !(1..=MAX_SPATIAL).contains(&rank) || y.len() != x.len() || x[..2] != y[..2] || window.len() != 5 * rank {
        return Err(error(format!(
            "cannot pool {:?} to {:?} with a window of {} numbers",
            &x[..],
            &y[..],
            window.len()
        )));
    }
    let at = |list: usize, a: usize| {
        let value = window[list * rank + a];
        usize::try_from(value).map_err(|_| error(format!("expected a non-negative window, found {value}")))
    };
    let mut axes = [Axis { extent: 1, kernel: 1, stride: 1, dilation: 1, pad: 0 }; MAX_SPATIAL];
    let mut pad_ends = [0; MAX_SPATIAL];
    for a in 0..rank {
        axes[a] = Axis { extent: x[2 + a], kernel: at(0, a)?, stride: at(1, a)?, dilation: at(2, a)?, pad: at(3, a)? };
        pad_ends[a] = at(4, a)?;
    }
    let (from, to) = (Shape::new(&x[2..])?, Shape::new(&y[2..])?);
    Ok(Geometry { axes, pad_ends, rank, from, to })
}

impl Geometry {
    /// Calls `body` with the offset in its plane of each tap of the window at `out` that is in the input.
    fn taps(&self, out: &[usize], mut body: impl FnMut(usize)) {
        let mut counts = [1; MAX_SPATIAL];
        let mut begins = [0; MAX_SPATIAL];
        for a in 0..self.rank {
            let (taps, first) = self.axes[a].taps(out[a]);
            if taps.is_empty() {
                return;
            }
            counts[a] = taps.len();
            begins[a] = (first + (taps.start * self.axes[a].dilation) as isize) as usize;
        }
        let strides = self.from.strides();
        for i in 0..counts[0] {
            for j in 0..counts[1] {
                for k in 0..counts[2] {
                    let position = |a: usize, tap: usize| (begins[a] + tap * self.axes[a].dilation) * strides[a];
                    let taps = [i, j, k];
                    body((0..self.rank).map(|a| position(a, taps[a])).sum());
                }
            }
        }
    }

    /// Elements of one plane of the input.
    fn plane(&self) -> usize {
        self.from.count()
    }

    /// Cost of an output element.
    fn work(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).fold(2, usize::saturating_mul)
    }

    /// Calls `body(output, the input's plane, position)` for each output element of `y`.
    fn each<T: Number>(&self, args: &Args, x: &[T], y: &mut [T], body: impl Fn(&mut T, &[T], &[usize]) + Sync) {
        let (size, plane) = (self.to.count(), self.plane());
        rows(args.pool(), y, 1, self.work(), |first, part| {
            let mut at = self.to.unravel(first % size);
            for (r, to) in part.iter_mut().enumerate() {
                body(to, &x[(first + r) / size * plane..][..plane], &at);
                self.to.advance(&mut at);
            }
        });
    }
}

fn max_pool(args: &mut Args) -> Result<(), KernelError> {
    let column_major = args.flag(0)?;
    let g = geometry(args, args.list(1))?;
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        let Some(indices) = args.optional_output::<i64>()? else {
            g.each(args, x, y, |to, plane, at| {
                *to = T::LOWEST;
                g.taps(at, |offset| *to = plane[offset].larger(*to));
            });
            return Ok(());
        };
        let (size, plane) = (g.to.count(), g.plane());
        rows2(args.pool(), (y, 1), (indices, 1), g.work(), |first, y, indices| {
            let mut at = g.to.unravel(first % size);
            for (r, (to, index)) in y.iter_mut().zip(indices).enumerate() {
                let begin = (first + r) / size * plane;
                let (mut best, mut found) = (T::LOWEST, None);
                g.taps(&at, |offset| {
                    let value = x[begin + offset];
                    if found.is_none() || best.less(value) || (value.is_nan() && !best.is_nan()) {
                        (best, found) = (value, Some(offset));
                    }
                });
                let offset = found.unwrap_or(0);
                *to = best;
                *index = (begin + if column_major { transposed(&g.from, offset) } else { offset }) as i64;
                g.to.advance(&mut at);
            }
        });
        Ok(())
    })
}

/// The position of row-major `offset` when the first axis is the innermost.
fn transposed(shape: &Shape, offset: usize) -> usize {
    let at = shape.unravel(offset);
    at.iter().zip(shape.iter()).rev().fold(0, |flat, (&i, &extent)| flat * extent + i)
}

fn average_pool(args: &mut Args) -> Result<(), KernelError> {
    let include_pad = args.flag(0)?;
    let g = geometry(args, args.list(1))?;
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        g.each(args, x, y, |to, plane, at| {
            let (mut sum, mut inside) = (<T as Summable>::Sum::ZERO, 0usize);
            g.taps(at, |offset| {
                sum = sum.add(plane[offset].widen());
                inside += 1;
            });
            let padded = || (0..g.rank).map(|a| g.axes[a].padded_taps(at[a], g.pad_ends[a])).product();
            let count: usize = if include_pad { padded() } else { inside };
            *to = T::narrow(sum.div(<T as Summable>::Sum::from_f64(count as f64)));
        });
        Ok(())
    })
}

fn lp_pool(args: &mut Args) -> Result<(), KernelError> {
    let p = args.attr(0)?;
    let g = geometry(args, args.list(1))?;
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        g.each(args, x, y, |to, plane, at| {
            let mut sum = <T as Summable>::Sum::ZERO;
            g.taps(at, |offset| {
                let magnitude = plane[offset].widen().abs();
                sum = sum.add(match p {
                    1 => magnitude,
                    2 => magnitude.mul(magnitude),
                    _ => Sum::power(magnitude, p as f64),
                });
            });
            *to = T::narrow(match p {
                1 => sum,
                2 => sum.sqrt(),
                _ => Sum::power(sum, 1.0 / p as f64),
            });
        });
        Ok(())
    })
}

fn max_unpool(args: &mut Args) -> Result<(), KernelError> {
    let (from, to) = (args.shape(0)?, args.output_shape(0)?);
    let window = args.list(0);
    let rank = from.len().saturating_sub(2);
    if rank == 0 || window.len() != 4 * rank || to.len() != from.len() {
        return Err(error(format!("cannot unpool {:?} to {:?}", &from[..], &to[..])));
    }
    // Indices count in the tensor that the window implies, at the beginning of which `y` may be larger.
    let mut implied = from;
    for a in 0..rank {
        let at = |list: usize| window[list * rank + a];
        let extent = (from[2 + a] as i64 - 1).saturating_mul(at(1)).saturating_add(at(0) - at(2) - at(3));
        implied[2 + a] =
            usize::try_from(extent).map_err(|_| error(format!("axis {} has the extent {extent}", 2 + a)))?;
    }
    if (0..to.len()).any(|a| implied[a] > to[a]) {
        return Err(error(format!("expected an output of at least {:?}, found {:?}", &implied[..], &to[..])));
    }
    let indices = args.input::<i64>(1)?;
    let (count, strides) = (implied.count(), to.strides());
    by_number!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if x.len() != indices.len() {
            return Err(error(format!("expected {} indices, found {}", x.len(), indices.len())));
        }
        y.fill(T::ZERO);
        for (&value, &index) in x.iter().zip(indices) {
            let flat = usize::try_from(index).ok().filter(|&flat| flat < count);
            let flat = flat.ok_or_else(|| error(format!("index {index} is out of range for {count} elements")))?;
            let at = implied.unravel(flat);
            y[at.iter().zip(strides.iter()).map(|(i, stride)| i * stride).sum::<usize>()] = value;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::pool_nhwc::{F32_AVERAGE_POOL_NHWC, F32_MAX_POOL_NHWC};
    use crate::library::testing::{Buffer, Random, assert_close, run, run_f32};
    use ic_types::DType;

    #[test]
    fn agrees_with_channels_last() {
        let mut random = Random(1);
        for (shape, kernel, strides, dilations, pads, out) in [
            ([2, 3, 7, 9], [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], [4, 5]),
            ([1, 5, 11, 4], [2, 3], [1, 2], [3, 1], [0, 1, 1, 1], [9, 2]),
            ([1, 1, 5, 5], [3, 3], [2, 2], [1, 1], [0, 0, 0, 0], [3, 3]),
        ] {
            let [n, c, h, w] = shape;
            let x = random.f32s(n * c * h * w);
            let last: Vec<f32> =
                (0..x.len()).map(|i| x[((i / c / w / h * c + i % c) * h + i / c / w % h) * w + i / c % w]).collect();
            let window: Vec<i64> = [&kernel[..], &strides, &dilations, &pads].concat();
            let first_last = |found: &[f32]| -> Vec<f32> {
                let [oh, ow] = out;
                (0..found.len())
                    .map(|i| found[((i / c / ow / oh * c + i % c) * oh + i / c / ow % oh) * ow + i / c % ow])
                    .collect()
            };
            let input = || [Buffer::f32(&shape, &x)];
            let to = [n, c, out[0], out[1]];
            let outputs = vec![Buffer::out::<f32>(DType::F32, &to), Buffer::absent()];
            let attrs: Vec<i64> = [&[0], &window[..]].concat();
            let found = run(&MAX_POOL, &input(), &attrs, outputs).unwrap()[0].values::<f32>();
            let to_last = [n, out[0], out[1], c];
            let nhwc = run_f32(&F32_MAX_POOL_NHWC, &[Buffer::f32(&[n, h, w, c], &last)], &window[..8], &to_last);
            assert_eq!(first_last(&found), nhwc);
            for include_pad in [0, 1] {
                let attrs: Vec<i64> = [&[include_pad], &window[..]].concat();
                let found = run_f32(&AVERAGE_POOL, &input(), &attrs, &to);
                let attrs: Vec<i64> = [&window[..], &[include_pad]].concat();
                let nhwc = run_f32(&F32_AVERAGE_POOL_NHWC, &[Buffer::f32(&[n, h, w, c], &last)], &attrs, &to_last);
                assert_eq!(first_last(&found), nhwc);
            }
        }
    }

    #[test]
    fn max_pool_tells_where_and_unpool_puts_back() {
        let x: Vec<u8> = vec![1, 9, 3, 4, 5, 6, 7, 8, 2];
        let input = || [Buffer::new(DType::U8, &[1, 1, 3, 3], &x)];
        let outputs =
            || vec![Buffer::out::<u8>(DType::U8, &[1, 1, 2, 2]), Buffer::out::<i64>(DType::I64, &[1, 1, 2, 2])];
        let window = [2, 2, 1, 1, 1, 1, 0, 0, 0, 0];
        let found = run(&MAX_POOL, &input(), &[&[0], &window[..]].concat(), outputs()).unwrap();
        assert_eq!(found[0].values::<u8>(), [9, 9, 8, 8]);
        assert_eq!(found[1].values::<i64>(), [1, 1, 7, 7]);
        let found = run(&MAX_POOL, &input(), &[&[1], &window[..]].concat(), outputs()).unwrap();
        assert_eq!(found[1].values::<i64>(), [3, 3, 5, 5]);

        let inputs = [Buffer::f32(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]), Buffer::i64(&[1, 1, 2, 2], &[0, 3, 8, 15])];
        let attrs = [2, 2, 2, 2, 0, 0, 0, 0];
        let expected = [1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0];
        assert_eq!(run_f32(&MAX_UNPOOL, &inputs, &attrs, &[1, 1, 4, 4]), expected);
        let wide = run_f32(&MAX_UNPOOL, &inputs, &attrs, &[1, 1, 5, 5]);
        assert_eq!((wide[0], wide[3], wide[10], wide[18]), (1.0, 2.0, 3.0, 4.0));
        let outside = [Buffer::f32(&[1, 1, 1], &[1.0]), Buffer::i64(&[1, 1, 1], &[2])];
        assert!(run(&MAX_UNPOOL, &outside, &[2, 2, 0, 0], vec![Buffer::out::<f32>(DType::F32, &[1, 1, 2])]).is_err());
    }

    #[test]
    fn lp_pool_takes_norms() {
        let x = [1.0, -2.0, 3.0, -4.0];
        let of = |p| run_f32(&LP_POOL, &[Buffer::f32(&[1, 1, 4], &x)], &[p, 2, 2, 1, 0, 0], &[1, 1, 2]);
        assert_eq!(of(1), [3.0, 7.0]);
        assert_close(&of(2), &[5f32.sqrt(), 5.0], 1e-6);
        assert_close(&of(3), &[9f32.powf(1.0 / 3.0), 91f32.powf(1.0 / 3.0)], 1e-6);
    }

    #[test]
    fn pools_three_axes() {
        let x: Vec<f32> = (0..27).map(|i| i as f32).collect();
        let window = [[2i64; 3], [1; 3], [1; 3], [0; 3], [0; 3]].concat();
        let found = run_f32(
            &AVERAGE_POOL,
            &[Buffer::f32(&[1, 1, 3, 3, 3], &x)],
            &[&[0], &window[..]].concat(),
            &[1, 1, 2, 2, 2],
        );
        assert_eq!(found, [6.5, 7.5, 9.5, 10.5, 15.5, 16.5, 18.5, 19.5]);
    }
}
