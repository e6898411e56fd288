//! Contractions as loops over tiles for the cube unit, with their epilogue on the tile of the result.
//!
//! A block computes one tile of the result: it walks along the contracted axis, multiplies tiles on the cube unit, and
//! hands the sums to the vector cores if an epilogue follows. Grid axes are tiles along M, tiles along N, and batches.

use super::access::{Affine, extents, number};
use super::lanes::Lane;
use super::lower::{Lowering, Tiles};
use super::tree::Function;
use crate::target::AscendTarget;
use ic_ir::Op;
use ic_ir::kernel::{Anchor, Kernel, Operand, Stage};
use ic_types::DType;

/// A matrix product over batches, with an epilogue.
#[derive(Clone, PartialEq, Debug)]
pub struct CubeKernel {
    /// Extents of the batch axes.
    pub batch: Vec<usize>,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The contracted extent.
    pub k: usize,
    /// Element type of both operands; sums are f32.
    pub dtype: DType,
    /// The left operand, `M × K`.
    pub a: Access,
    /// The right operand, `K × N`.
    pub b: Access,
    /// Extents of a tile along M, N and K.
    pub tile: [usize; 3],
    /// From a tile of sums, its first argument, and tiles of `loads` to tiles of the results.
    pub epilogue: Function,
    /// What the other arguments are: a matrix, a row, a column or one element, by the shape of the argument.
    pub loads: Vec<Access>,
    /// Where the results go.
    pub stores: Vec<Access>,
}

/// A strided matrix per batch in a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The kernel's parameter.
    pub param: u32,
    /// The first element.
    pub offset: usize,
    /// Distance between neighbours along each batch axis.
    pub batch: Vec<usize>,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

impl CubeKernel {
    /// Blocks along M, N and the batches.
    pub fn grid(&self) -> [usize; 3] {
        [self.m.div_ceil(self.tile[0]), self.n.div_ceil(self.tile[1]), self.batch.iter().product()]
    }

    /// Whether the vector cores have work.
    pub fn is_mixed(&self) -> bool {
        self.epilogue.results.iter().any(|&id| id != 0) || self.stores.len() > 1
    }

    /// Every parameter in use, in order.
    pub fn params(&self) -> Vec<u32> {
        let all = [&self.a, &self.b].into_iter().chain(&self.loads).chain(&self.stores);
        let mut params: Vec<u32> = all.map(|access| access.param).collect();
        params.sort_unstable();
        params.dedup();
        params
    }

    fn accesses(&mut self) -> impl Iterator<Item = (&mut Access, bool)> {
        let (a, b) = (&mut self.a, &mut self.b);
        [(a, true), (b, false)].into_iter().chain(self.loads.iter_mut().chain(&mut self.stores).map(|x| (x, true)))
    }

    /// Makes the last batch axis part of M while every access allows it, so that tiles are full.
    fn merge_batches(&mut self) {
        while let Some(&extent) = self.batch.last() {
            let m = self.m;
            let fits = |(access, has_rows): (&mut Access, bool)| {
                let stride = access.batch.last().copied().unwrap_or(0);
                extent == 1 || stride == if has_rows { m * access.row } else { 0 }
            };
            if !self.accesses().all(fits) {
                break;
            }
            self.accesses().for_each(|(access, _)| {
                access.batch.pop();
            });
            self.batch.pop();
            self.m *= extent;
        }
    }
}

/// Lowers a kernel whose first stage is a matrix product. `None` if it has nothing to do.
///
/// # Errors
/// What has no form that the vendor's compiler accepts.
pub fn lower_contraction(kernel: &Kernel, target: AscendTarget) -> Result<Option<CubeKernel>, String> {
    let [first, rest @ ..] = kernel.stages.as_slice() else { return Err("a kernel without stages".into()) };
    let Anchor::Op { op: Op::Matmul(_), operands, results } = &first.anchor else {
        return Err("a kernel that is no contraction".into());
    };
    let [Some(a), Some(b)] = operands.as_slice() else { return Err("`matmul` of a missing operand".into()) };
    let dtype = kernel.params[a.param as usize].dtype;
    target.check_cube(dtype)?;
    kernel.params.iter().try_for_each(|param| target.check_dtype(param.dtype))?;
    let (a, b) = (Matrices::new(a)?, Matrices::new(b)?);
    let mut space = broadcast(&a, &b)?;
    let n_batch = space.len();
    space.extend([a.shape[a.shape.len() - 2], b.shape[b.shape.len() - 1]]);
    if space.contains(&0) {
        return Ok(None);
    }
    let result = results.first().copied().flatten();
    let tile = tile(space[n_batch + 1], dtype, !rest.is_empty());
    let cube = tiled(kernel, (&a, &b), (rest, result), &space, tile)?;
    // A matrix of few rows has smaller tiles.
    let rows = cube.m.next_multiple_of(16);
    if rows >= tile[0] {
        return Ok(Some(cube));
    }
    tiled(kernel, (&a, &b), (rest, result), &space, [rows, tile[1], tile[2]]).map(Some)
}

/// The contraction with tiles of these extents.
fn tiled(
    kernel: &Kernel,
    (a, b): (&Matrices, &Matrices),
    (stages, result): (&[Stage], Option<u32>),
    space: &[usize],
    tile: [usize; 3],
) -> Result<CubeKernel, String> {
    let [batch @ .., m, n] = space else { return Err("`matmul` of a vector".into()) };
    let k = a.shape[a.shape.len() - 1];
    if k == 0 {
        return Err("a contraction of nothing".into());
    }
    let (dtype, rank) = (kernel.params[a.param as usize].dtype, space.len());
    let mut left = a.access(batch);
    // Any row stride is right where there is one row.
    if let Some(axis) = single_row_axis(space) {
        left.row = left.batch[axis];
    }
    let tiles = Tiles { space: space.to_vec(), loads: vec![], stores: vec![] };
    let mut lowering = Lowering::of_tiles(kernel, tiles);
    lowering.lanes.extents = vec![1; rank];
    lowering.lanes.extents[rank - 2] = tile[0];
    lowering.lanes.extents[rank - 1] = tile[1];
    let sums = lowering.lanes.function.argument(DType::F32, vec![tile[0], tile[1]]);
    let sums = Lane::Tensor { id: sums, axes: vec![rank - 2, rank - 1] };
    // The product has the operands' type, and its sums are f32.
    let product = lowering.lanes.cast(&sums, dtype);
    lowering.stages.push(product.clone());
    if let Some(param) = result {
        let strides = (0..rank).map(|axis| space[axis + 1..].iter().product::<usize>() as i64).collect();
        lowering.store_tile(param, Affine { offset: 0, coefficients: strides }, &product)?;
    }
    for stage in stages {
        if !stage.inner.is_empty() || !matches!(stage.anchor, Anchor::Pointwise) {
            return Err("a contraction whose rows are reduced".into());
        }
        lowering.pointwise(stage)?;
    }
    let (epilogue, Tiles { loads, stores, .. }) = lowering.into_tiles();
    let (a, b, batch) = (left, b.access(batch), batch.to_vec());
    let mut cube = CubeKernel { batch, m: *m, n: *n, k, dtype, a, b, tile, epilogue, loads, stores };
    cube.merge_batches();
    Ok(cube)
}

/// The batch axis whose strides the row axis may take: the last of more than one matrix, if there is one row.
pub(crate) fn single_row_axis(space: &[usize]) -> Option<usize> {
    let [batch @ .., 1, _] = space else { return None };
    batch.iter().rposition(|&extent| extent != 1)
}

/// Extents of a tile: what fills the cube unit's buffers, or less where the matrix is smaller. With an epilogue the tile
/// must also fit the vector cores' memory, several times.
fn tile(n: usize, dtype: DType, is_mixed: bool) -> [usize; 3] {
    let extent = if is_mixed { 64 } else { 128 };
    [extent, n.next_multiple_of(16).min(extent), if dtype == DType::F32 { 64 } else { 128 }]
}

/// A strided view of matrices.
struct Matrices {
    param: u32,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Matrices {
    fn new(operand: &Operand) -> Result<Matrices, String> {
        let shape = extents(&operand.shape)?;
        let strides = extents(&operand.strides).map_err(|_| "a reversed axis of a matrix".to_string())?;
        let offset = usize::try_from(number(&operand.offset)?).map_err(|_| "a matrix before its buffer".to_string())?;
        if shape.len() < 2 {
            return Err("`matmul` of a vector".into());
        }
        Ok(Matrices { param: operand.param, offset, shape, strides })
    }

    /// The access of the matrices, repeated over `batch`.
    fn access(&self, batch: &[usize]) -> Access {
        let own = self.shape.len() - 2;
        let missing = batch.len() - own;
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if self.shape[own] != 1 => self.strides[own],
            _ => 0,
        };
        Access {
            param: self.param,
            offset: self.offset,
            batch: (0..batch.len()).map(stride).collect(),
            row: self.strides[own],
            column: self.strides[own + 1],
        }
    }
}

/// The batch axes of the product.
fn broadcast(a: &Matrices, b: &Matrices) -> Result<Vec<usize>, String> {
    let (a, b) = (&a.shape[..a.shape.len() - 2], &b.shape[..b.shape.len() - 2]);
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let pair = |axis: usize| match (at(a, axis), at(b, axis)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        (x, y) => Err(format!("batches of {x} and {y}")),
    };
    (0..rank).map(pair).collect()
}
