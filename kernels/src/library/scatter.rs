//! `scatter_elements`, `scatter_nd` and `tensor_scatter`: a copy of a tensor with updates at indices.
//!
//! Updates are applied one after another, in row-major order: where two meet, the result is the same on any machine.

use super::args::{Args, Shape, error, kernels};
use super::codes::ScatterReduction;
use super::element::{Element, Number, by_number, by_width};
use super::gather::tuple_offset;
use super::indices::Indices;
use super::split::rows;
use super::strided::copy_dense;
use crate::abi::KernelError;

kernels! {
    /// ONNX `ScatterElements`; `reduction` is a `ScatterReduction`.
    SCATTER_ELEMENTS = "scatter_elements" ["data", "indices", "updates"] -> ["y"] {"axis", "reduction"}, scatter_elements;
    /// ONNX `ScatterND`; `reduction` is a `ScatterReduction`.
    SCATTER_ND = "scatter_nd" ["data", "indices", "updates"] -> ["y"] {"reduction"}, scatter_nd;
    /// ONNX `TensorScatter`. `write_indices` i64 may be absent (zeros).
    TENSOR_SCATTER = "tensor_scatter" ["past", "update", "write_indices"] -> ["present"] {"axis", "circular"}, tensor_scatter;
}

/// Runs `$body` with `$ty` the elements' type and `$join` the reduction.
macro_rules! by_reduction {
    ($args:expr, $reduction:expr, $ty:ident, $join:ident => $body:expr) => {{
        let dtype = $args.dtype(0)?;
        match $reduction {
            ScatterReduction::None => by_width!(dtype, $ty => { let $join = |_: $ty, new: $ty| new; $body }),
            ScatterReduction::Add => by_number!(dtype, $ty => { let $join = <$ty as Number>::add; $body }),
            ScatterReduction::Mul => by_number!(dtype, $ty => { let $join = <$ty as Number>::mul; $body }),
            ScatterReduction::Max => by_number!(dtype, $ty => { let $join = <$ty as Number>::larger; $body }),
            ScatterReduction::Min => by_number!(dtype, $ty => { let $join = <$ty as Number>::smaller; $body }),
        }
    }};
}

/// Copies the first input to the output and returns the updates and the output.
fn begin<'a, T: Element>(args: &mut Args<'a>) -> Result<(&'a [T], &'a mut [T]), KernelError> {
    let (data, updates, y) = (args.input::<T>(0)?, args.input::<T>(2)?, args.output::<T>()?);
    if data.len() != y.len() {
        return Err(error(format!("expected {} output elements, found {}", data.len(), y.len())));
    }
    copy_dense(args.pool(), y, data);
    Ok((updates, y))
}

fn scatter_elements(args: &mut Args) -> Result<(), KernelError> {
    let (shape, from) = (args.shape(0)?, args.shape(1)?);
    let axis = args.axis(0, shape.len())?;
    let reduction = ScatterReduction::from_code(args.attr(1)?)?;
    if from.len() != shape.len() || (0..from.len()).any(|a| a != axis && from[a] > shape[a]) {
        return Err(error(format!("indices of shape {:?} do not fit data of shape {:?}", &from[..], &shape[..])));
    }
    let indices = Indices::new(args, 1)?;
    indices.check(axis, shape[axis])?;
    by_reduction!(args, reduction, T, join => {
        let (updates, y) = begin::<T>(args)?;
        check_updates(updates.len(), indices.len())?;
        let strides = shape.strides();
        let mut at = Shape::zeros(from.len());
        for (i, &update) in updates.iter().enumerate() {
            let base: usize = (0..at.len()).filter(|&a| a != axis).map(|a| at[a] * strides[a]).sum();
            let to = &mut y[base + indices.position(i, shape[axis]) * strides[axis]];
            *to = join(*to, update);
            from.advance(&mut at);
        }
        Ok(())
    })
}

fn check_updates(found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected { Ok(()) } else { Err(error(format!("expected {expected} updates, found {found}"))) }
}

fn scatter_nd(args: &mut Args) -> Result<(), KernelError> {
    let (shape, tuples) = (args.shape(0)?, args.shape(1)?);
    let reduction = ScatterReduction::from_code(args.attr(0)?)?;
    let k = tuples.last().copied().unwrap_or(usize::MAX);
    if k > shape.len() {
        return Err(error(format!("indices of shape {:?} do not fit data of shape {:?}", &tuples[..], &shape[..])));
    }
    let n: usize = tuples[..tuples.len() - 1].iter().product();
    let inner: usize = shape[k..].iter().product();
    let indices = Indices::new(args, 1)?;
    let strides = shape.strides();
    for i in 0..n {
        tuple_offset(indices, i, 0, &shape[..k], &strides[..k])?;
    }
    by_reduction!(args, reduction, T, join => {
        let (updates, y) = begin::<T>(args)?;
        check_updates(updates.len(), n * inner)?;
        for (i, update) in updates.chunks_exact(inner.max(1)).enumerate() {
            let offset = tuple_offset(indices, i, 0, &shape[..k], &strides[..k])?;
            for (to, &new) in y[offset..offset + inner].iter_mut().zip(update) {
                *to = join(*to, new);
            }
        }
        Ok(())
    })
}

fn tensor_scatter(args: &mut Args) -> Result<(), KernelError> {
    let (shape, update_shape) = (args.shape(0)?, args.shape(1)?);
    let axis = args.axis(0, shape.len())?;
    let circular = args.flag(1)?;
    let fits = update_shape.len() == shape.len() && axis > 0;
    if !fits || (0..shape.len()).any(|a| a != axis && update_shape[a] != shape[a]) {
        return Err(error(format!("an update of shape {:?} does not fit {:?}", &update_shape[..], &shape[..])));
    }
    let (extent, steps) = (shape[axis], update_shape[axis]);
    let starts = args.optional::<i64>(2)?;
    if starts.is_some_and(|starts| starts.len() != shape[0]) {
        return Err(error(format!("expected {} write indices", shape[0])));
    }
    for &start in starts.unwrap_or_default() {
        let fits = usize::try_from(start).is_ok_and(|start| circular || start.saturating_add(steps) <= extent);
        if !fits {
            return Err(error(format!(
                "{steps} steps from index {start} are out of range for axis {axis} with {extent} elements"
            )));
        }
    }
    if steps > extent {
        return Err(error(format!("expected at most {extent} steps, found {steps}")));
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let middle: usize = shape[1..axis].iter().product();
    by_width!(args.dtype(0)?, T => {
        let (past, update, present) = (args.input::<T>(0)?, args.input::<T>(1)?, args.output::<T>()?);
        if past.len() != present.len() {
            return Err(error(format!("expected {} output elements, found {}", past.len(), present.len())));
        }
        rows(args.pool(), present, extent * inner, extent * inner, |first, part| {
            for (r, row) in part.chunks_exact_mut(extent * inner).enumerate() {
                let index = first + r;
                row.copy_from_slice(&past[index * extent * inner..][..extent * inner]);
                let start = starts.map_or(0, |starts| starts[index / middle] as usize);
                for step in 0..steps {
                    let to = (start + step) % extent;
                    let from = &update[(index * steps + step) * inner..][..inner];
                    row[to * inner..(to + 1) * inner].copy_from_slice(from);
                }
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run, run_f32};
    use ic_types::DType;

    #[test]
    fn scatters_elements_on_each_axis() {
        let mut random = Random(1);
        let shape = [3, 5, 4];
        let data = random.f32s(60);
        for axis in 0..3 {
            for &reduction in ScatterReduction::ALL {
                let mut from = [2, 3, 4];
                from[axis] = 6;
                let n = from.iter().product();
                let indices: Vec<i64> =
                    (0..n).map(|_| random.below(2 * shape[axis]) as i64 - shape[axis] as i64).collect();
                let updates = random.f32s(n);
                let mut expected = data.clone();
                for i in 0..n {
                    let mut at = [i / from[2] / from[1], i / from[2] % from[1], i % from[2]];
                    at[axis] = indices[i].rem_euclid(shape[axis] as i64) as usize;
                    let to = &mut expected[(at[0] * 5 + at[1]) * 4 + at[2]];
                    *to = match reduction {
                        ScatterReduction::None => updates[i],
                        ScatterReduction::Add => *to + updates[i],
                        ScatterReduction::Mul => *to * updates[i],
                        ScatterReduction::Max => to.max(updates[i]),
                        ScatterReduction::Min => to.min(updates[i]),
                    };
                }
                let inputs = [Buffer::f32(&shape, &data), Buffer::i64(&from, &indices), Buffer::f32(&from, &updates)];
                assert_eq!(run_f32(&SCATTER_ELEMENTS, &inputs, &[axis as i64, reduction.code()], &shape), expected);
            }
        }
    }

    #[test]
    fn scatters_slices() {
        let inputs = |indices: &[i64]| {
            [
                Buffer::f32(&[4, 2], &[0.0; 8]),
                Buffer::i64(&[3, 1], indices),
                Buffer::f32(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            ]
        };
        assert_eq!(run_f32(&SCATTER_ND, &inputs(&[1, -1, 1]), &[0], &[4, 2]), [0.0, 0.0, 5.0, 6.0, 0.0, 0.0, 3.0, 4.0]);
        assert_eq!(run_f32(&SCATTER_ND, &inputs(&[1, -1, 1]), &[1], &[4, 2]), [0.0, 0.0, 6.0, 8.0, 0.0, 0.0, 3.0, 4.0]);
        let refusal = run(&SCATTER_ND, &inputs(&[1, 4, 1]), &[0], vec![Buffer::out::<f32>(DType::F32, &[4, 2])]);
        assert_eq!(refusal.err().unwrap().0, "index 4 is out of range for axis 0 with 4 elements");
    }

    #[test]
    fn updates_a_cache() {
        let past: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let inputs = |at: &[i64]| {
            [
                Buffer::f32(&[2, 1, 3, 2], &past),
                Buffer::f32(&[2, 1, 2, 2], &[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0]),
                Buffer::i64(&[2], at),
            ]
        };
        let shape = [2, 1, 3, 2];
        let found = run_f32(&TENSOR_SCATTER, &inputs(&[0, 1]), &[-2, 0], &shape);
        assert_eq!(found, [-1.0, -2.0, -3.0, -4.0, 4.0, 5.0, 6.0, 7.0, -5.0, -6.0, -7.0, -8.0]);
        let found = run_f32(&TENSOR_SCATTER, &inputs(&[1, 2]), &[-2, 1], &shape);
        assert_eq!(found, [0.0, 1.0, -1.0, -2.0, -3.0, -4.0, -7.0, -8.0, 8.0, 9.0, -5.0, -6.0]);
        let out = vec![Buffer::out::<f32>(DType::F32, &shape)];
        assert!(run(&TENSOR_SCATTER, &inputs(&[0, 2]), &[-2, 0], out).is_err());
    }
}
