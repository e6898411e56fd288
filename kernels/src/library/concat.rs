//! `concat` and `split`: joining tensors along an axis, and taking them apart.

use super::args::{Args, Shape, error, kernels};
use super::element::by_width;
use super::split::rows;
use super::strided::copy_dense;
use crate::abi::KernelError;

kernels! {
    /// ONNX `Concat`.
    CONCAT = "concat" ["x[]"] -> ["y"] {"axis"}, concat;
    /// ONNX `Split`: the sizes are the outputs'. Absent outputs may not be left out.
    SPLIT = "split" ["x"] -> ["y[]"] {"axis"}, split;
}

/// Elements of `part`, a piece of `whole` along `axis`, in one row: what lies side by side in both.
fn piece(part: &Shape, whole: &Shape, axis: usize) -> Result<usize, KernelError> {
    let fits = part.len() == whole.len() && (0..part.len()).all(|a| a == axis || part[a] == whole[a]);
    if !fits {
        return Err(error(format!("shapes {:?} and {:?} differ outside of axis {axis}", &part[..], &whole[..])));
    }
    Ok(part[axis..].iter().product())
}

/// Fails unless pieces of `found` elements a row fill rows of `expected`.
fn check_total(found: usize, expected: usize) -> Result<(), KernelError> {
    if found == expected {
        return Ok(());
    }
    Err(error(format!("expected pieces of {expected} elements together, found {found}")))
}

fn concat(args: &mut Args) -> Result<(), KernelError> {
    let whole = args.output_shape(0)?;
    let axis = args.axis(0, whole.len())?;
    let total: usize = whole[axis..].iter().product();
    let mut found = 0;
    for i in 0..args.n_inputs() {
        found += piece(&args.shape(i)?, &whole, axis)?;
    }
    check_total(found, total)?;
    by_width!(args.dtype(0)?, T => {
        let y = args.output::<T>()?;
        if y.is_empty() {
            return Ok(());
        }
        let one_row = total == y.len();
        let mut begin = 0;
        for i in 0..args.n_inputs() {
            let x = args.input::<T>(i)?;
            let run = piece(&args.shape(i)?, &whole, axis)?;
            if one_row {
                copy_dense(args.pool(), &mut y[begin..begin + run], x);
            } else if run > 0 {
                rows(args.pool(), y, total, run, |first, part| {
                    for (row, from) in part.chunks_exact_mut(total).zip(x[first * run..].chunks_exact(run)) {
                        row[begin..begin + run].copy_from_slice(from);
                    }
                });
            }
            begin += run;
        }
        Ok(())
    })
}

fn split(args: &mut Args) -> Result<(), KernelError> {
    let whole = args.shape(0)?;
    let axis = args.axis(0, whole.len())?;
    let total: usize = whole[axis..].iter().product();
    let mut found = 0;
    for i in 0..args.n_outputs() {
        found += piece(&args.output_shape(i)?, &whole, axis)?;
    }
    check_total(found, total)?;
    by_width!(args.dtype(0)?, T => {
        let x = args.input::<T>(0)?;
        let one_row = total == x.len();
        let mut begin = 0;
        for i in 0..args.n_outputs() {
            let run = piece(&args.output_shape(i)?, &whole, axis)?;
            let y = args.output::<T>()?;
            if one_row {
                copy_dense(args.pool(), y, &x[begin..]);
            } else {
                rows(args.pool(), y, run, run, |first, part| {
                    for (row, from) in part.chunks_exact_mut(run).zip(x[first * total..].chunks_exact(total)) {
                        row.copy_from_slice(&from[begin..begin + run]);
                    }
                });
            }
            begin += run;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::{Buffer, Random, run};
    use ic_types::DType;

    #[test]
    fn split_undoes_concat() {
        let mut random = Random(1);
        for (outer, sizes, inner) in
            [(1, vec![2, 0, 5], 3), (7, vec![3, 1, 1], 1), (60, vec![17, 31], 41), (0, vec![1, 2], 5)]
        {
            let parts: Vec<Vec<f32>> = sizes.iter().map(|n| random.f32s(outer * n * inner)).collect();
            let buffers = |values: bool| -> Vec<Buffer> {
                let shape = |n: usize| [outer, n, inner];
                let make = |(&n, part): (&usize, &Vec<f32>)| {
                    if values { Buffer::f32(&shape(n), part) } else { Buffer::out::<f32>(DType::F32, &shape(n)) }
                };
                sizes.iter().zip(&parts).map(make).collect()
            };
            let total: usize = sizes.iter().sum();
            let out = vec![Buffer::out::<f32>(DType::F32, &[outer, total, inner])];
            let joined = run(&CONCAT, &buffers(true), &[1], out).unwrap();
            let mut expected = Vec::new();
            for o in 0..outer {
                for (n, part) in sizes.iter().zip(&parts) {
                    expected.extend_from_slice(&part[o * n * inner..][..n * inner]);
                }
            }
            assert_eq!(joined[0].values::<f32>(), expected);
            let found = run(&SPLIT, &joined, &[-2], buffers(false)).unwrap();
            for (found, part) in found.iter().zip(&parts) {
                assert_eq!(&found.values::<f32>(), part);
            }
        }
    }

    #[test]
    fn refuses_shapes_that_do_not_fit() {
        let inputs = [Buffer::f32(&[2, 2], &[0.0; 4]), Buffer::f32(&[3, 2], &[0.0; 6])];
        assert!(run(&CONCAT, &inputs, &[1], vec![Buffer::out::<f32>(DType::F32, &[2, 4])]).is_err());
        assert!(run(&CONCAT, &inputs, &[0], vec![Buffer::out::<f32>(DType::F32, &[4, 2])]).is_err());
    }
}
