//! `pad`: a tensor with a constant, its edge, its mirror image or itself again around it.

use super::args::{Args, MAX_RANK, Shape, error, kernels, normalize_axis};
use super::codes::PadMode;
use super::element::{Element, by_width};
use super::indices::Indices;
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `Pad`. `mode` is a `PadMode`; `value` is one element or absent (zero); `begins` is the number of elements
    /// before each axis, negative ones crop; ends are implied by `y`'s shape.
    PAD = "pad" ["x", "value"] -> ["y"] {"mode", "begins[]"}, pad;
    /// ONNX `Pad` with operands: `pads` and `axes` (may be absent), i32 or i64, as in ONNX.
    PAD_DYNAMIC = "pad_dynamic" ["x", "pads", "value", "axes"] -> ["y"] {"mode"}, pad_dynamic;
}

fn pad(args: &mut Args) -> Result<(), KernelError> {
    let begins = args.list(1);
    pad_from(args, begins, 1)
}

fn pad_dynamic(args: &mut Args) -> Result<(), KernelError> {
    let rank = args.shape(0)?.len();
    let pads = Indices::new(args, 1)?;
    let axes = args.is_present(3).then(|| Indices::new(args, 3)).transpose()?;
    let n = axes.map_or(rank, Indices::len);
    if pads.len() != 2 * n {
        return Err(error(format!("expected {} pads, found {}", 2 * n, pads.len())));
    }
    let mut begins = [0i64; MAX_RANK];
    for i in 0..n {
        begins[normalize_axis(axes.map_or(i as i64, |axes| axes.get(i)), rank)?] = pads.get(i);
    }
    pad_from(args, &begins[..rank], 2)
}

/// Pads with `begins` elements before each axis; operand `value` holds the constant.
fn pad_from(args: &mut Args, begins: &[i64], value: usize) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    if to.len() != shape.len() || begins.len() != shape.len() {
        return Err(error(format!("expected a pad and an output extent for {} axes", shape.len())));
    }
    let mode = PadMode::from_code(args.attr(0)?)?;
    if mode != PadMode::Constant && shape.count() == 0 && to.count() > 0 {
        return Err(error("there is nothing to pad with: the input is empty"));
    }
    by_width!(args.dtype(0)?, T => {
        let x = args.input::<T>(0)?;
        let fill = args.optional::<T>(value)?.and_then(|value| value.first().copied()).unwrap_or_default();
        let y = args.output::<T>()?;
        if to.is_empty() {
            y.copy_from_slice(x);
            return Ok(());
        }
        let width = to[to.len() - 1];
        rows(args.pool(), y, width, width, |first, part| {
            pad_rows(part, first, x, (&shape, &to, begins), mode, fill);
        });
        Ok(())
    })
}

/// Rows `first..` along the last axis of the output.
fn pad_rows<T: Element>(
    part: &mut [T],
    first: usize,
    x: &[T],
    (shape, to, begins): (&Shape, &Shape, &[i64]),
    mode: PadMode,
    fill: T,
) {
    let last = to.len() - 1;
    let (width, extent, begin) = (to[last], shape[last], begins[last]);
    let strides = shape.strides();
    let inside_begin = begin.clamp(0, width as i64) as usize;
    let inside_end = begin.saturating_add(extent as i64).clamp(inside_begin as i64, width as i64) as usize;
    let mut at = to.unravel(first * width);
    for row in part.chunks_exact_mut(width) {
        let offset = (0..last).try_fold(0, |offset, axis| {
            Some(offset + source(mode, at[axis] as i64 - begins[axis], shape[axis])? * strides[axis])
        });
        at[last] = width - 1;
        to.advance(&mut at);
        let Some(offset) = offset else {
            row.fill(fill);
            continue;
        };
        let from = &x[offset..offset + extent];
        if inside_begin < inside_end {
            let skip = (inside_begin as i64 - begin) as usize;
            row[inside_begin..inside_end].copy_from_slice(&from[skip..skip + inside_end - inside_begin]);
        }
        for i in (0..inside_begin).chain(inside_end..width) {
            row[i] = source(mode, i as i64 - begin, extent).map_or(fill, |i| from[i]);
        }
    }
}

/// Which of `extent` elements position `i`, perhaps outside of them, shows.
fn source(mode: PadMode, i: i64, extent: usize) -> Option<usize> {
    let n = extent as i64;
    if (0..n).contains(&i) {
        return Some(i as usize);
    }
    match mode {
        _ if n == 0 => None,
        PadMode::Constant => None,
        PadMode::Edge => Some(i.clamp(0, n - 1) as usize),
        PadMode::Wrap => Some(i.rem_euclid(n) as usize),
        PadMode::Reflect if n == 1 => Some(0),
        PadMode::Reflect => {
            let i = i.rem_euclid(2 * (n - 1));
            Some(i.min(2 * (n - 1) - i) as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run, run_f32};
    use ic_types::DType;

    fn row(mode: PadMode, x: &[f32], begin: i64, width: usize) -> Vec<f32> {
        run_f32(&PAD, &[Buffer::f32(&[x.len()], x), Buffer::f32(&[], &[9.0])], &[mode.code(), begin], &[width])
    }

    #[test]
    fn pads_rows_as_numpy_does() {
        let x = [1.0, 2.0, 3.0];
        assert_eq!(row(PadMode::Constant, &x, 2, 6), [9.0, 9.0, 1.0, 2.0, 3.0, 9.0]);
        assert_eq!(row(PadMode::Edge, &x, 2, 6), [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]);
        assert_eq!(row(PadMode::Reflect, &x, 5, 11), [2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]);
        assert_eq!(row(PadMode::Wrap, &x, 4, 9), [3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]);
        assert_eq!(row(PadMode::Constant, &x, -1, 3), [2.0, 3.0, 9.0]);
        assert_eq!(row(PadMode::Constant, &x, -5, 2), [9.0, 9.0]);
        assert_eq!(row(PadMode::Constant, &x, 7, 5), [9.0; 5]);
        assert_eq!(row(PadMode::Reflect, &[4.0], 2, 4), [4.0; 4]);
        assert_eq!(row(PadMode::Constant, &[], 1, 2), [9.0, 9.0]);
    }

    #[test]
    fn pads_every_axis() {
        let mut random = Random(1);
        for (shape, begins, to) in [
            ([2, 3, 5], [1, 0, 2], [4, 3, 9]),
            ([1, 17, 3], [0, 3, -1], [1, 21, 2]),
            ([3, 31, 64], [2, 5, 7], [6, 41, 80]),
        ] {
            let x = random.f32s(shape.iter().product());
            for &mode in PadMode::ALL {
                let attrs = [mode.code(), begins[0], begins[1], begins[2]];
                let found = run_f32(&PAD, &[Buffer::f32(&shape, &x), Buffer::absent()], &attrs, &to);
                let pads: Vec<i64> = (0..3).map(|a| begins[a]).chain([0; 3]).collect();
                let inputs = [Buffer::f32(&shape, &x), Buffer::i64(&[6], &pads), Buffer::absent(), Buffer::absent()];
                assert_eq!(run_f32(&PAD_DYNAMIC, &inputs, &[mode.code()], &to), found);
                for (flat, &value) in found.iter().enumerate() {
                    let at = [flat / to[2] / to[1], flat / to[2] % to[1], flat % to[2]];
                    let from: Option<Vec<usize>> =
                        (0..3).map(|a| source(mode, at[a] as i64 - begins[a], shape[a])).collect();
                    let expected = from.map_or(0.0, |f| x[(f[0] * shape[1] + f[1]) * shape[2] + f[2]]);
                    assert_eq!(value, expected);
                }
            }
        }
    }

    #[test]
    fn refuses_to_mirror_nothing() {
        let inputs = [Buffer::f32(&[0], &[]), Buffer::absent()];
        let out = vec![Buffer::out::<f32>(DType::F32, &[2])];
        assert!(run(&PAD, &inputs, &[PadMode::Reflect.code(), 1], out).is_err());
    }
}
