//! Contractions block by block, as their text computes them.

use super::eval_function;
use crate::ascend::contract::{Access, CubeKernel};
use ic_ir::OpError;
use ic_ir::scalar::Scalar;
use ic_types::{DType, Data, Tensor};

/// Runs a contraction on the elements of the kernel's parameters.
///
/// # Errors
/// If an access leaves its parameter.
pub fn eval_contraction(cube: &CubeKernel, params: &mut [Tensor]) -> Result<(), OpError> {
    let [rows, columns, batches] = cube.grid();
    for block in 0..rows * columns * batches {
        let batch = batch_point(block / (rows * columns), &cube.batch);
        let (row, column) = (block % rows * cube.tile[0], block / rows % columns * cube.tile[1]);
        run_block(cube, params, &batch, [row, column])?;
    }
    Ok(())
}

fn batch_point(mut number: usize, extents: &[usize]) -> Vec<usize> {
    let mut point = vec![0; extents.len()];
    for (i, &extent) in extents.iter().enumerate().rev() {
        point[i] = number % extent;
        number /= extent;
    }
    point
}

fn run_block(
    cube: &CubeKernel,
    params: &mut [Tensor],
    batch: &[usize],
    [row, column]: [usize; 2],
) -> Result<(), OpError> {
    let [tile_m, tile_n, _] = cube.tile;
    let at = |access: &Access, i: usize, j: usize| {
        let start: usize = batch.iter().zip(&access.batch).map(|(b, stride)| b * stride).sum();
        access.offset + start + i * access.row + j * access.column
    };
    let read = |params: &[Tensor], access: &Access, i: usize, j: usize| {
        let (data, place) = (params[access.param as usize].data(), at(access, i, j));
        if place < data.len() {
            Ok(Scalar::read(data, place))
        } else {
            Err(OpError(format!("element {place} is out of range")))
        }
    };
    let mut sums = vec![0.0f32; tile_m * tile_n];
    for (i, j) in (0..tile_m * tile_n).map(|at| (at / tile_n, at % tile_n)) {
        if row + i < cube.m && column + j < cube.n {
            for k in 0..cube.k {
                let a = float(&read(params, &cube.a, row + i, k)?)?;
                let b = float(&read(params, &cube.b, k, column + j)?)?;
                sums[i * tile_n + j] += a * b;
            }
        }
    }
    let mut arguments = vec![Tensor::from_elements(vec![tile_m, tile_n], sums)];
    for (access, ty) in cube.loads.iter().zip(&cube.epilogue.arguments[1..]) {
        let mut data = Data::zeros(ty.dtype, ty.shape.iter().product());
        let (rows, columns) = (if access.row == 0 { 1 } else { tile_m }, if access.column == 0 { 1 } else { tile_n });
        for (i, j) in (0..rows * columns).map(|at| (at / columns, at % columns)) {
            if row + i < cube.m && column + j < cube.n {
                read(params, access, row + i, column + j)?.write(&mut data, i * columns + j)?;
            }
        }
        arguments.push(Tensor::new(ty.shape.clone(), data));
    }
    let results = eval_function(&cube.epilogue, &arguments)?;
    for (access, result) in cube.stores.iter().zip(&results) {
        for (i, j) in (0..tile_m * tile_n).map(|at| (at / tile_n, at % tile_n)) {
            if row + i < cube.m && column + j < cube.n {
                let to = at(access, row + i, column + j);
                params[access.param as usize].data_mut().set(to, result.data(), i * tile_n + j);
            }
        }
    }
    Ok(())
}

fn float(scalar: &Scalar) -> Result<f32, OpError> {
    match scalar {
        Scalar::F32(value, DType::F32 | DType::F16 | DType::BF16) => Ok(*value),
        other => Err(OpError(format!("a contraction of {other:?}"))),
    }
}
