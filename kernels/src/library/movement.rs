//! Copies by strides: `copy`, `copy_strided`, `transpose`, `expand`, `tile`, `slice` and `slice_dynamic`.

use super::args::{Args, MAX_RANK, Shape, error, kernels, normalize_axis};
use super::element::by_width;
use super::indices::Indices;
use super::strided::{Source, Walk, copy_dense, copy_walk};
use crate::abi::KernelError;
use ic_types::DType;

kernels! {
    /// The elements of `x` in the shape of `y`, which has as many.
    COPY = "copy" ["x"] -> ["y"] {}, copy;
    /// ONNX `BitCast`: the bytes of `x` as elements of `y`, of the same size.
    BIT_CAST = "bit_cast" ["x"] -> ["y"] {}, bit_cast;
    /// `y` is `x` read by its strides (0 and negative ones too); same shape. `x.data` points to element (0, …).
    COPY_STRIDED = "copy_strided" ["x"] -> ["y"] {}, copy_strided;
    /// ONNX `Transpose`; `perm` in full.
    TRANSPOSE = "transpose" ["x"] -> ["y"] {"perm[]"}, transpose;
    /// ONNX `Expand`: the shape is `y`'s, with which `x`'s broadcasts.
    EXPAND = "expand" ["x"] -> ["y"] {}, expand;
    /// ONNX `Tile`: the repeats are `y`'s extents over `x`'s.
    TILE = "tile" ["x"] -> ["y"] {}, tile;
    /// ONNX `Slice` of `y`'s shape; `window` is the start on every axis, within the extents, then the step on every axis.
    SLICE = "slice" ["x"] -> ["y"] {"window[]"}, slice;
    /// ONNX `Slice` with operands: `starts`, `axes` (may be absent), `steps` (may be absent), i32 or i64. Ends are implied
    /// by `y`'s shape.
    SLICE_DYNAMIC = "slice_dynamic" ["x", "starts", "axes", "steps"] -> ["y"] {}, slice_dynamic;
}

fn copy(args: &mut Args) -> Result<(), KernelError> {
    by_width!(args.dtype(0)?, T => {
        let (x, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if x.len() != y.len() {
            return Err(error(format!("expected {} elements, found {}", y.len(), x.len())));
        }
        copy_dense(args.pool(), y, x);
        Ok(())
    })
}

fn bit_cast(args: &mut Args) -> Result<(), KernelError> {
    let (from, to) = (args.dtype(0)?, args.dtype(1)?);
    if from.size() != to.size() {
        return Err(error(format!("the bits of {from} are not those of {to}")));
    }
    if to == DType::Bool {
        let (x, y) = (args.input::<u8>(0)?, args.output::<u8>()?);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = u8::from(x != 0));
        return Ok(());
    }
    copy(args)
}

/// Walks `x`, whose first element is `first`, to `y`.
fn walk_to_output(args: &mut Args, first: usize, walk: &Walk) -> Result<(), KernelError> {
    by_width!(args.dtype(0)?, T => {
        let (data, y) = (args.input::<T>(0)?, args.output::<T>()?);
        copy_walk(args.pool(), y, Source { data, first }, walk)
    })
}

fn copy_strided(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let mut walk = Walk::new();
    for (&extent, &stride) in shape.iter().zip(args.operand(0)?.strides) {
        walk.push(extent, stride as isize)?;
    }
    by_width!(args.dtype(0)?, T => {
        let ((data, first), y) = (args.strided_input::<T>(0)?, args.output::<T>()?);
        copy_walk(args.pool(), y, Source { data, first }, &walk)
    })
}

fn transpose(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let strides = shape.strides();
    let perm = args.list(0);
    if perm.len() != shape.len() {
        return Err(error(format!("expected a permutation of {} axes, found {}", shape.len(), perm.len())));
    }
    let mut walk = Walk::new();
    for &axis in perm {
        let axis = normalize_axis(axis, shape.len())?;
        walk.push(shape[axis], strides[axis] as isize)?;
    }
    walk_to_output(args, 0, &walk)
}

/// `y`'s extents with `x`'s extents and strides, aligned at the last axis.
fn aligned(args: &Args) -> Result<(Shape, Shape, Shape), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    let Some(lead) = to.len().checked_sub(shape.len()) else {
        return Err(error(format!("expected at most {} axes, found {}", to.len(), shape.len())));
    };
    let (mut extents, mut strides) = (to, Shape::zeros(to.len()));
    extents[..lead].fill(1);
    extents[lead..].copy_from_slice(&shape);
    strides[lead..].copy_from_slice(&shape.strides());
    Ok((to, extents, strides))
}

fn expand(args: &mut Args) -> Result<(), KernelError> {
    let (to, extents, strides) = aligned(args)?;
    let mut walk = Walk::new();
    for axis in 0..to.len() {
        if extents[axis] != to[axis] && extents[axis] != 1 {
            return Err(error(format!("axis {axis} of {} elements does not expand to {}", extents[axis], to[axis])));
        }
        walk.push(to[axis], if extents[axis] == 1 { 0 } else { strides[axis] as isize })?;
    }
    walk_to_output(args, 0, &walk)
}

fn tile(args: &mut Args) -> Result<(), KernelError> {
    let (to, extents, strides) = aligned(args)?;
    let mut walk = Walk::new();
    for axis in 0..to.len() {
        if !to[axis].is_multiple_of(extents[axis].max(1)) {
            return Err(error(format!("axis {axis}: {} is not a multiple of {}", to[axis], extents[axis])));
        }
        walk.push(to[axis] / extents[axis].max(1), 0)?;
        walk.push(extents[axis], strides[axis] as isize)?;
    }
    walk_to_output(args, 0, &walk)
}

/// Copies from `starts` on with `steps`, both one number an axis, as many elements as `y` has.
fn slice_from(args: &mut Args, starts: &[i64], steps: &[i64]) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.output_shape(0)?);
    if to.len() != shape.len() || starts.len() != shape.len() || steps.len() != shape.len() {
        return Err(error(format!("expected a start, a step and an output extent for {} axes", shape.len())));
    }
    let strides = shape.strides();
    let mut walk = Walk::new();
    let mut first = 0usize;
    for axis in 0..shape.len() {
        let last = steps[axis].saturating_mul(to[axis] as i64 - 1).saturating_add(starts[axis]);
        if to[axis] > 0 {
            let inside = 0..shape[axis] as i64;
            if !inside.contains(&starts[axis]) || !inside.contains(&last) {
                let start = starts[axis];
                return Err(error(format!(
                    "slice {start}..={last} of axis {axis} is outside of its {} elements",
                    shape[axis]
                )));
            }
            first += starts[axis] as usize * strides[axis];
        }
        let stride = if to[axis] > 1 { steps[axis] as isize * strides[axis] as isize } else { 0 };
        walk.push(to[axis], stride)?;
    }
    walk_to_output(args, first, &walk)
}

fn slice(args: &mut Args) -> Result<(), KernelError> {
    let window = args.list(0);
    let (starts, steps) = window.split_at(window.len() / 2);
    slice_from(args, starts, steps)
}

fn slice_dynamic(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let given = Indices::new(args, 1)?;
    let axes = args.is_present(2).then(|| Indices::new(args, 2)).transpose()?;
    let given_steps = args.is_present(3).then(|| Indices::new(args, 3)).transpose()?;
    let (mut starts, mut steps) = ([0i64; MAX_RANK], [1i64; MAX_RANK]);
    for i in 0..given.len() {
        let axis = normalize_axis(axes.map_or(i as i64, |axes| axes.get(i)), shape.len())?;
        let extent = shape[axis] as i64;
        let step = given_steps.map_or(1, |steps| steps.get(i));
        let start = given.get(i);
        let start = if start < 0 { start.saturating_add(extent) } else { start };
        starts[axis] = if step < 0 { start.clamp(0, (extent - 1).max(0)) } else { start.clamp(0, extent) };
        steps[axis] = step;
    }
    slice_from(args, &starts[..shape.len()], &steps[..shape.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run, run_f32};
    use ic_types::DType;

    /// `x` read at every index of `to` through `position`.
    fn expected(x: &[f32], to: &[usize], position: impl Fn(&[usize]) -> usize) -> Vec<f32> {
        let shape = Shape::new(to).unwrap();
        (0..shape.count()).map(|flat| x[position(&shape.unravel(flat))]).collect()
    }

    fn ravel(shape: &[usize], index: &[usize]) -> usize {
        shape.iter().zip(index).fold(0, |flat, (&extent, &i)| flat * extent + i)
    }

    #[test]
    fn transposes_every_permutation() {
        let mut random = Random(1);
        for shape in [vec![2, 3, 5, 7], vec![1, 17, 33, 2], vec![3, 40, 35, 1], vec![64, 1, 65, 3]] {
            for code in 0..256 {
                let perm: Vec<usize> = (0..4).map(|i| code >> (2 * i) & 3).collect();
                if (0..4).any(|axis| !perm.contains(&axis)) {
                    continue;
                }
                let x = random.f32s(shape.iter().product());
                let to: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
                let attrs: Vec<i64> = perm.iter().map(|&axis| axis as i64).collect();
                let found = run_f32(&TRANSPOSE, &[Buffer::f32(&shape, &x)], &attrs, &to);
                let from = |index: &[usize]| {
                    let mut at = [0; 4];
                    perm.iter().zip(index).for_each(|(&axis, &i)| at[axis] = i);
                    ravel(&shape, &at)
                };
                assert_eq!(found, expected(&x, &to, from), "{shape:?} {perm:?}");
            }
        }
    }

    #[test]
    fn transposes_every_width_and_large_matrices() {
        let x: Vec<u64> = (0..6).collect();
        for (dtype, size) in [(DType::U8, 1), (DType::I16, 2), (DType::I64, 8)] {
            let (input, output) = match size {
                1 => (
                    Buffer::new(dtype, &[2, 3], &x.iter().map(|&v| v as u8).collect::<Vec<_>>()),
                    Buffer::out::<u8>(dtype, &[3, 2]),
                ),
                2 => (
                    Buffer::new(dtype, &[2, 3], &x.iter().map(|&v| v as u16).collect::<Vec<_>>()),
                    Buffer::out::<u16>(dtype, &[3, 2]),
                ),
                _ => (Buffer::new(dtype, &[2, 3], &x), Buffer::out::<u64>(dtype, &[3, 2])),
            };
            run(&TRANSPOSE, &[input], &[1, 0], vec![output]).unwrap();
        }
        let x = Random(2).f32s(211 * 307);
        let found = run_f32(&TRANSPOSE, &[Buffer::f32(&[211, 307], &x)], &[1, 0], &[307, 211]);
        assert_eq!(found, expected(&x, &[307, 211], |at| at[1] * 307 + at[0]));
    }

    #[test]
    fn expands_and_tiles() {
        let x = Random(3).f32s(3 * 5);
        let found = run_f32(&EXPAND, &[Buffer::f32(&[3, 1, 5], &x)], &[], &[2, 3, 4, 5]);
        assert_eq!(found, expected(&x, &[2, 3, 4, 5], |at| at[1] * 5 + at[3]));
        let found = run_f32(&TILE, &[Buffer::f32(&[3, 5], &x)], &[], &[6, 15]);
        assert_eq!(found, expected(&x, &[6, 15], |at| at[0] % 3 * 5 + at[1] % 5));
        assert_eq!(run_f32(&EXPAND, &[Buffer::f32(&[1], &[7.0])], &[], &[0, 3]), []);
        assert!(run(&EXPAND, &[Buffer::f32(&[3], &x[..3])], &[], vec![Buffer::out::<f32>(DType::F32, &[4])]).is_err());
    }

    #[test]
    fn slices() {
        let x = Random(4).f32s(7 * 11);
        let found = run_f32(&SLICE, &[Buffer::f32(&[7, 11], &x)], &[5, 1, -2, 3], &[3, 4]);
        assert_eq!(found, expected(&x, &[3, 4], |at| (5 - 2 * at[0]) * 11 + 1 + 3 * at[1]));
        let outside =
            run(&SLICE, &[Buffer::f32(&[7, 11], &x)], &[5, 1, 1, 3], vec![Buffer::out::<f32>(DType::F32, &[3, 4])]);
        assert_eq!(outside.err().unwrap().0, "slice 5..=7 of axis 0 is outside of its 7 elements");
        let inputs =
            [Buffer::f32(&[7, 11], &x), Buffer::i64(&[1], &[-1]), Buffer::i64(&[1], &[-1]), Buffer::i64(&[1], &[-3])];
        let found = run_f32(&SLICE_DYNAMIC, &inputs, &[], &[7, 4]);
        assert_eq!(found, expected(&x, &[7, 4], |at| at[0] * 11 + 10 - 3 * at[1]));
        let empty = [Buffer::f32(&[7, 11], &x), Buffer::i64(&[1], &[100]), Buffer::absent(), Buffer::absent()];
        assert_eq!(run_f32(&SLICE_DYNAMIC, &empty, &[], &[0, 11]), []);
    }

    #[test]
    fn copies_by_strides() {
        let x = Random(5).f32s(200 * 300);
        let input = Buffer::strided(DType::F32, &[2, 150, 300], vec![-300 * 100, 0, -1], 299 + 300 * 150, &x);
        let found = run_f32(&COPY_STRIDED, &[input], &[], &[2, 150, 300]);
        assert_eq!(found, expected(&x, &[2, 150, 300], |at| 300 * (150 - 100 * at[0]) + 299 - at[2]));
        assert_eq!(run_f32(&COPY, &[Buffer::f32(&[200, 300], &x)], &[], &[60000]), x);
        assert!(run(&COPY, &[Buffer::f32(&[2], &[0.0; 2])], &[], vec![Buffer::out::<f32>(DType::F32, &[3])]).is_err());
    }
}
