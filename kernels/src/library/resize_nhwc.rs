//! `f32_resize_nhwc`: nearest and linear resizing of images with channels last, vectors along the channels.

use super::args::{Args, error, kernels};
use super::codes::{CoordinateMode, NearestMode, ResizeMode};
use super::resize_axis::Axis;
use super::split::{rows, vectorized};
use crate::abi::{KernelError, Operand};

kernels! {
    /// ONNX `Resize` of `x[N, H, W, C]`, nearest or linear, without antialias or `tf_crop_and_resize`; scales f64
    /// bits, 0 for the ratio of the extents.
    F32_RESIZE_NHWC = "f32_resize_nhwc" ["x"] -> ["y"] {
        "mode", "coordinate_mode", "nearest_mode", "scale_h", "scale_w"
    }, resize, scratch = scratch;
}

/// The two neighbours of an output position and the weight of the second.
#[derive(Clone, Copy)]
struct Pair {
    left: usize,
    right: usize,
    weight: f32,
}

/// Numbers of a [`Pair`] in scratch memory.
const PAIR: usize = 3;

fn scratch(operands: &[Operand], _: &[i64], _: usize) -> usize {
    let extents = operands.last().and_then(|y| y.shape.get(1..3)).unwrap_or_default();
    extents.iter().map(|&extent| extent.max(0) as usize * PAIR * size_of::<f64>()).sum()
}

fn resize(args: &mut Args) -> Result<(), KernelError> {
    let (x_shape, y_shape) = (args.shape(0)?, args.output_shape(0)?);
    let (&[n, h, w, c], &[y_n, out_h, out_w, y_c]) = (&x_shape[..], &y_shape[..]) else {
        return Err(error("expected x and y of shape [N, H, W, C]"));
    };
    if (n, c) != (y_n, y_c) {
        return Err(error(format!("expected the batch and channels {n} and {c}, found {y_n} and {y_c}")));
    }
    let mode = CoordinateMode::from_code(args.attr(1)?)?;
    let axis = |input, output, attr| -> Result<Axis, KernelError> {
        let scale = f64::from_bits(args.attr(attr)? as u64);
        Ok(Axis::new(input, output, scale, mode))
    };
    let (axis_h, axis_w) = (axis(h, out_h, 3)?, axis(w, out_w, 4)?);
    axis_h.check()?;
    axis_w.check()?;
    let nearest = match ResizeMode::from_code(args.attr(0)?)? {
        ResizeMode::Nearest => Some(NearestMode::from_code(args.attr(2)?)?),
        ResizeMode::Linear => None,
        ResizeMode::Cubic => return Err(error("expected nearest or linear interpolation, found cubic")),
    };
    // SAFETY: `scratch` asked for a pair per row and column of `y`; this is the only use.
    let table = unsafe { args.scratch::<f64>((out_h + out_w) * PAIR) };
    let (table_h, table_w) = table.split_at_mut(out_h * PAIR);
    fill(table_h, &axis_h, nearest);
    fill(table_w, &axis_w, nearest);
    let (table_h, table_w) = (&*table_h, &*table_w);
    let (x, y) = (args.input::<f32>(0)?, args.output::<f32>()?);
    rows(args.pool(), y, c * out_w, c * out_w, |first, part| {
        for (r, row) in part.chunks_exact_mut(c * out_w).enumerate() {
            let (image, oh) = ((first + r) / out_h, (first + r) % out_h);
            let pair = pair(table_h, oh);
            let line = |position: usize| &x[(image * h + position) * w * c..][..w * c];
            if nearest.is_some() {
                nearest_row(row, line(pair.left), c, table_w);
            } else {
                linear_row(row, [line(pair.left), line(pair.right)], pair.weight, c, table_w);
            }
        }
    });
    Ok(())
}

fn fill(table: &mut [f64], axis: &Axis, nearest: Option<NearestMode>) {
    for (i, entry) in table.chunks_exact_mut(PAIR).enumerate() {
        let (left, right, weight) = match nearest {
            Some(mode) => axis.nearest(i, mode).map_or((0, 0, 0.0), |position| (position, position, 0.0)),
            None => axis.linear(i),
        };
        entry.copy_from_slice(&[left as f64, right as f64, weight]);
    }
}

#[inline(always)]
fn pair(table: &[f64], i: usize) -> Pair {
    let entry = &table[i * PAIR..(i + 1) * PAIR];
    Pair { left: entry[0] as usize, right: entry[1] as usize, weight: entry[2] as f32 }
}

fn nearest_row(row: &mut [f32], line: &[f32], c: usize, table: &[f64]) {
    for (i, pixel) in row.chunks_exact_mut(c).enumerate() {
        pixel.copy_from_slice(&line[pair(table, i).left * c..][..c]);
    }
}

vectorized! {
    fn linear_row(row: &mut [f32], lines: [&[f32]; 2], weight: f32, c: usize, table: &[f64]) {
        for (i, pixel) in row.chunks_exact_mut(c).enumerate() {
            let p = pair(table, i);
            let [a, b] = lines.map(|line| &line[p.left * c..][..c]);
            let [a_right, b_right] = lines.map(|line| &line[p.right * c..][..c]);
            for k in 0..c {
                let above = a[k] * (1.0 - p.weight) + a_right[k] * p.weight;
                let below = b[k] * (1.0 - p.weight) + b_right[k] * p.weight;
                pixel[k] = above * (1.0 - weight) + below * weight;
            }
        }
    }
}
