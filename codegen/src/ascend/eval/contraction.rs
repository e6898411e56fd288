//! Contractions block by block, as their text computes them.

use super::{eval_function, extent, extents};
use crate::ascend::contract::{Access, CubeKernel};
use ic_ir::OpError;
use ic_ir::scalar::Scalar;
use ic_types::{DType, Data, Tensor};

/// Runs a contraction on the elements of the kernel's parameters.
///
/// # Errors
/// If an extent is symbolic, or an access leaves its parameter.
pub fn eval_contraction(cube: &CubeKernel, params: &mut [Tensor]) -> Result<(), OpError> {
    let grid = extents(&cube.grid())?;
    let matrices = |list: &[Access]| list.iter().map(Matrix::new).collect::<Result<Vec<_>, _>>();
    let run = Run {
        cube,
        extents: [extent(&cube.m)?, extent(&cube.n)?, extent(&cube.k)?],
        operands: [Matrix::new(&cube.a)?, Matrix::new(&cube.b)?],
        loads: matrices(&cube.loads)?,
        stores: matrices(&cube.stores)?,
    };
    let batch = extents(&cube.batch)?;
    for block in 0..grid.iter().product() {
        let point = batch_point(block / (grid[0] * grid[1]), &batch);
        let (row, column) = (block % grid[0] * cube.tile[0], block / grid[0] % grid[1] * cube.tile[1]);
        run.block(params, &point, [row, column])?;
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

/// An access with numbers for its strides.
struct Matrix {
    param: usize,
    offset: usize,
    batch: Vec<usize>,
    row: usize,
    column: usize,
}

impl Matrix {
    fn new(access: &Access) -> Result<Matrix, OpError> {
        Ok(Matrix {
            param: access.param as usize,
            offset: extent(&access.offset)?,
            batch: extents(&access.batch)?,
            row: extent(&access.row)?,
            column: extent(&access.column)?,
        })
    }

    fn at(&self, batch: &[usize], i: usize, j: usize) -> usize {
        let start: usize = batch.iter().zip(&self.batch).map(|(b, stride)| b * stride).sum();
        self.offset + start + i * self.row + j * self.column
    }

    fn read(&self, params: &[Tensor], batch: &[usize], i: usize, j: usize) -> Result<Scalar, OpError> {
        let (data, place) = (params[self.param].data(), self.at(batch, i, j));
        if place < data.len() {
            Ok(Scalar::read(data, place))
        } else {
            Err(OpError(format!("element {place} is out of range")))
        }
    }
}

struct Run<'a> {
    cube: &'a CubeKernel,
    /// Rows, columns and the contracted extent.
    extents: [usize; 3],
    operands: [Matrix; 2],
    loads: Vec<Matrix>,
    stores: Vec<Matrix>,
}

impl Run<'_> {
    fn block(&self, params: &mut [Tensor], batch: &[usize], [row, column]: [usize; 2]) -> Result<(), OpError> {
        let ([tile_m, tile_n, _], [m, n, k]) = (self.cube.tile, self.extents);
        let is_inside = |i: usize, j: usize| row + i < m && column + j < n;
        let mut sums = vec![0.0f32; tile_m * tile_n];
        for (i, j) in (0..tile_m * tile_n).map(|at| (at / tile_n, at % tile_n)).filter(|&(i, j)| is_inside(i, j)) {
            for k in 0..k {
                let a = float(&self.operands[0].read(params, batch, row + i, k)?)?;
                let b = float(&self.operands[1].read(params, batch, k, column + j)?)?;
                sums[i * tile_n + j] += a * b;
            }
        }
        let mut arguments = vec![Tensor::from_elements(vec![tile_m, tile_n], sums)];
        for (matrix, ty) in self.loads.iter().zip(&self.cube.epilogue.arguments[1..]) {
            let shape = extents(&ty.shape)?;
            let mut data = Data::zeros(ty.dtype, shape.iter().product());
            let rows = if matrix.row == 0 { 1 } else { tile_m };
            let columns = if matrix.column == 0 { 1 } else { tile_n };
            let points = (0..rows * columns).map(|at| (at / columns, at % columns));
            for (i, j) in points.filter(|&(i, j)| is_inside(i, j)) {
                matrix.read(params, batch, row + i, column + j)?.write(&mut data, i * columns + j)?;
            }
            arguments.push(Tensor::new(shape, data));
        }
        let results = eval_function(&self.cube.epilogue, &arguments)?;
        for (matrix, result) in self.stores.iter().zip(&results) {
            for (i, j) in (0..tile_m * tile_n).map(|at| (at / tile_n, at % tile_n)).filter(|&(i, j)| is_inside(i, j)) {
                let to = matrix.at(batch, row + i, column + j);
                params[matrix.param].data_mut().set(to, result.data(), i * tile_n + j);
            }
        }
        Ok(())
    }
}

fn float(scalar: &Scalar) -> Result<f32, OpError> {
    match scalar {
        Scalar::F32(value, DType::F32 | DType::F16 | DType::BF16) => Ok(*value),
        other => Err(OpError(format!("a contraction of {other:?}"))),
    }
}
