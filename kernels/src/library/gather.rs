//! `gather`, `gather_elements` and `gather_nd`: reading at indices.

use super::args::{Args, error, kernels};
use super::element::{Element, by_width};
use super::indices::{Indices, out_of_range};
use super::split::rows;
use crate::abi::KernelError;

kernels! {
    /// ONNX `Gather`. `data[.., k, ..]`, `indices` i32 or i64 of any shape; `y[.., indices.., ..]`.
    GATHER = "gather" ["data", "indices"] -> ["y"] {"axis"}, gather;
    /// ONNX `GatherElements`.
    GATHER_ELEMENTS = "gather_elements" ["data", "indices"] -> ["y"] {"axis"}, gather_elements;
    /// ONNX `GatherND`.
    GATHER_ND = "gather_nd" ["data", "indices"] -> ["y"] {"batch_dims"}, gather_nd;
}

fn gather(args: &mut Args) -> Result<(), KernelError> {
    let shape = args.shape(0)?;
    let axis = args.axis(0, shape.len())?;
    let indices = Indices::new(args, 1)?;
    indices.check(axis, shape[axis])?;
    let inner: usize = shape[axis + 1..].iter().product();
    by_width!(args.dtype(0)?, T => {
        let (data, y) = (args.input::<T>(0)?, args.output::<T>()?);
        let outer: usize = shape[..axis].iter().product();
        if y.len() != outer * indices.len() * inner {
            return Err(error(format!("expected {} output elements, found {}", outer * indices.len() * inner, y.len())));
        }
        rows(args.pool(), y, inner, inner, |first, part| {
            gather_rows(part, first, data, indices, shape[axis], inner);
        });
        Ok(())
    })
}

/// Rows `first..` of the result: row `o * n + i` is `data[o, indices[i]]`, `inner` elements long.
fn gather_rows<T: Element>(part: &mut [T], first: usize, data: &[T], indices: Indices, extent: usize, inner: usize) {
    let n = indices.len();
    let (mut outer, mut i) = (first / n, first % n);
    for row in part.chunks_exact_mut(inner) {
        let from = (outer * extent + indices.position(i, extent)) * inner;
        row.copy_from_slice(&data[from..from + inner]);
        i += 1;
        if i == n {
            (outer, i) = (outer + 1, 0);
        }
    }
}

fn gather_elements(args: &mut Args) -> Result<(), KernelError> {
    let (shape, to) = (args.shape(0)?, args.shape(1)?);
    let axis = args.axis(0, shape.len())?;
    if to.len() != shape.len() || (0..to.len()).any(|a| a != axis && to[a] > shape[a]) {
        return Err(error(format!("indices of shape {:?} do not fit data of shape {:?}", &to[..], &shape[..])));
    }
    let indices = Indices::new(args, 1)?;
    indices.check(axis, shape[axis])?;
    let strides = shape.strides();
    let width = to[to.len() - 1];
    by_width!(args.dtype(0)?, T => {
        let (data, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if y.len() != indices.len() {
            return Err(error(format!("expected {} output elements, found {}", indices.len(), y.len())));
        }
        rows(args.pool(), y, width, width, |first, part| {
            let mut at = to.unravel(first * width);
            for (r, row) in part.chunks_exact_mut(width).enumerate() {
                let base: usize = (0..to.len()).filter(|&a| a != axis).map(|a| at[a] * strides[a]).sum();
                let column = usize::from(axis != to.len() - 1);
                for (c, value) in row.iter_mut().enumerate() {
                    let position = indices.position((first + r) * width + c, shape[axis]);
                    *value = data[base + position * strides[axis] + c * column];
                }
                at[to.len() - 1] = width - 1;
                to.advance(&mut at);
            }
        });
        Ok(())
    })
}

/// The offset in `data` of the slice that tuple `i` of `indices` names. `extents` and `strides` are of the axes that the
/// tuple indexes, the first of which is axis `axis`.
pub(crate) fn tuple_offset(
    indices: Indices,
    i: usize,
    axis: usize,
    extents: &[usize],
    strides: &[usize],
) -> Result<usize, KernelError> {
    let mut offset = 0;
    for (k, (&extent, &stride)) in extents.iter().zip(strides).enumerate() {
        let index = indices.get(i * extents.len() + k);
        if index < -(extent as i64) || index >= extent as i64 {
            return Err(out_of_range(index, axis + k, extent));
        }
        offset += indices.position(i * extents.len() + k, extent) * stride;
    }
    Ok(offset)
}

fn gather_nd(args: &mut Args) -> Result<(), KernelError> {
    let (shape, tuples) = (args.shape(0)?, args.shape(1)?);
    let batch_dims = args.extent(0)?;
    let k = tuples.last().copied().unwrap_or(0);
    if tuples.is_empty() || batch_dims >= tuples.len() || batch_dims + k > shape.len() {
        return Err(error(format!("indices of shape {:?} do not fit data of shape {:?}", &tuples[..], &shape[..])));
    }
    let batches: usize = shape[..batch_dims].iter().product();
    let n: usize = tuples[batch_dims..tuples.len() - 1].iter().product();
    let indices = Indices::new(args, 1)?;
    if tuples[..batch_dims] != shape[..batch_dims] {
        return Err(error("the batch axes of data and indices differ"));
    }
    let strides = shape.strides();
    let (extents, strides) = (&shape[batch_dims..batch_dims + k], &strides[batch_dims..batch_dims + k]);
    for i in 0..batches * n {
        tuple_offset(indices, i, batch_dims, extents, strides)?;
    }
    let batch: usize = shape[batch_dims..].iter().product();
    let inner: usize = shape[batch_dims + k..].iter().product();
    by_width!(args.dtype(0)?, T => {
        let (data, y) = (args.input::<T>(0)?, args.output::<T>()?);
        if y.len() != batches * n * inner {
            return Err(error(format!("expected {} output elements, found {}", batches * n * inner, y.len())));
        }
        rows(args.pool(), y, inner, inner + k, |first, part| {
            for (r, row) in part.chunks_exact_mut(inner).enumerate() {
                let i = first + r;
                let offset = tuple_offset(indices, i, batch_dims, extents, strides).unwrap_or(0);
                let from = i / n * batch + offset;
                row.copy_from_slice(&data[from..from + inner]);
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
    fn gathers_slices() {
        let mut random = Random(1);
        for (outer, extent, inner, n) in [(1, 5, 1, 3), (3, 7, 17, 5), (2, 1, 3, 0), (4, 13, 257, 61), (0, 3, 2, 4)] {
            let data = random.f32s(outer * extent * inner);
            let indices: Vec<i64> = (0..n).map(|_| random.below(2 * extent) as i64 - extent as i64).collect();
            let found = run_f32(
                &GATHER,
                &[Buffer::f32(&[outer, extent, inner], &data), Buffer::i64(&[n], &indices)],
                &[-2],
                &[outer, n, inner],
            );
            let mut expected = Vec::new();
            for o in 0..outer {
                for &index in &indices {
                    let k = if index < 0 { index + extent as i64 } else { index } as usize;
                    expected.extend_from_slice(&data[(o * extent + k) * inner..][..inner]);
                }
            }
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn refuses_an_index_outside() {
        let inputs = [Buffer::f32(&[3], &[1.0, 2.0, 3.0]), Buffer::new(DType::I32, &[2], &[0i32, -4])];
        let refusal = run(&GATHER, &inputs, &[0], vec![Buffer::out::<f32>(DType::F32, &[2])]);
        assert_eq!(refusal.err().unwrap().0, "index -4 is out of range for axis 0 with 3 elements");
    }

    #[test]
    fn gathers_elements_on_each_axis() {
        let mut random = Random(2);
        let shape = [3, 5, 7];
        let data = random.f32s(105);
        for axis in 0..3 {
            let mut to = [2, 4, 6];
            to[axis] = 9;
            let n = to.iter().product();
            let indices: Vec<i64> = (0..n)
                .map(|_| random.below(shape[axis]) as i64 - (random.bits() as i64 & 1) * shape[axis] as i64)
                .collect();
            let found = run_f32(
                &GATHER_ELEMENTS,
                &[Buffer::f32(&shape, &data), Buffer::i64(&to, &indices)],
                &[axis as i64],
                &to,
            );
            for i in 0..n {
                let mut at = [i / to[2] / to[1], i / to[2] % to[1], i % to[2]];
                at[axis] = indices[i].rem_euclid(shape[axis] as i64) as usize;
                assert_eq!(found[i], data[(at[0] * 5 + at[1]) * 7 + at[2]]);
            }
        }
    }

    #[test]
    fn gathers_tuples() {
        let data: Vec<i64> = (0..8).collect();
        let run_nd = |indices: Buffer, batch_dims, shape: &[usize]| {
            let out = vec![Buffer::out::<i64>(DType::I64, shape)];
            run(&GATHER_ND, &[Buffer::i64(&[2, 2, 2], &data), indices], &[batch_dims], out)
        };
        let found = run_nd(Buffer::i64(&[2, 2], &[0, 1, -1, 0]), 0, &[2, 2]).unwrap();
        assert_eq!(found[0].values::<i64>(), [2, 3, 4, 5]);
        let found = run_nd(Buffer::i64(&[2, 1], &[1, 0]), 1, &[2, 2]).unwrap();
        assert_eq!(found[0].values::<i64>(), [2, 3, 4, 5]);
        let refusal = run_nd(Buffer::i64(&[2, 2], &[0, 1, 0, 2]), 0, &[2, 2]).err().unwrap();
        assert_eq!(refusal.0, "index 2 is out of range for axis 1 with 2 elements");
    }
}
