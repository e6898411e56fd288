//! Contractions as loops over tiles for the cube unit, with their epilogue on the tile of the result.
//!
//! A block computes one tile of the result: it walks along the contracted axis, multiplies tiles on the cube unit, and
//! hands the sums to the vector cores if an epilogue follows. Grid axes are tiles along M, tiles along N, and batches.

use super::access::{Affine, natural};
use super::lanes::Lane;
use super::lower::{Lowering, Tiles};
use super::tree::{Function, TensorId, TensorOp, add_symbolic};
use crate::target::AscendTarget;
use ic_ir::Op;
use ic_ir::kernel::{Anchor, Kernel, Operand, Stage};
use ic_types::{DType, Dim};

/// A matrix product over batches, with an epilogue.
#[derive(Clone, PartialEq, Debug)]
pub struct CubeKernel {
    /// Extents of the batch axes.
    pub batch: Vec<Dim>,
    /// Rows of the result.
    pub m: Dim,
    /// Columns of the result.
    pub n: Dim,
    /// The contracted extent.
    pub k: Dim,
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
    pub offset: Dim,
    /// Distance between neighbours along each batch axis.
    pub batch: Vec<Dim>,
    /// Distance between rows.
    pub row: Dim,
    /// Distance between columns.
    pub column: Dim,
}

impl CubeKernel {
    /// Blocks along M, N and the batches.
    pub fn grid(&self) -> [Dim; 3] {
        let tiles = |extent: &Dim, tile: usize| extent.ceil_div(&Dim::constant(tile as i64));
        [tiles(&self.m, self.tile[0]), tiles(&self.n, self.tile[1]), self.batch.iter().cloned().product()]
    }

    /// Whether the vector cores have work. Sums are rounded to 16 bits on their way out of the cube unit.
    pub fn is_mixed(&self) -> bool {
        let is_moved_out = |id: &TensorId| {
            let value = &self.epilogue.values[*id as usize];
            let is_rounded =
                matches!(value.op, TensorOp::Cast(0)) && matches!(value.ty.dtype, DType::F16 | DType::BF16);
            *id == 0 || is_rounded
        };
        !self.epilogue.results.iter().all(is_moved_out) || self.stores.len() > 1
    }

    /// Every parameter in use, in order.
    pub fn params(&self) -> Vec<u32> {
        let all = [&self.a, &self.b].into_iter().chain(&self.loads).chain(&self.stores);
        let mut params: Vec<u32> = all.map(|access| access.param).collect();
        params.sort_unstable();
        params.dedup();
        params
    }

    /// Every extent, stride and offset that is no constant, once.
    pub fn symbolic_extents(&self) -> Vec<Dim> {
        let mut found = self.epilogue.symbolic_extents();
        add_symbolic(&mut found, &self.batch);
        add_symbolic(&mut found, &[self.m.clone(), self.n.clone(), self.k.clone()]);
        for access in [&self.a, &self.b].into_iter().chain(&self.loads).chain(&self.stores) {
            add_symbolic(&mut found, &access.batch);
            add_symbolic(&mut found, &[access.offset.clone(), access.row.clone(), access.column.clone()]);
        }
        found
    }

    /// The kernel with every extent replaced by what `bind` makes of it.
    pub(crate) fn bound<E>(&self, bind: &dyn Fn(&Dim) -> Result<Dim, E>) -> Result<CubeKernel, E> {
        let all = |dims: &[Dim]| dims.iter().map(bind).collect::<Result<Vec<_>, E>>();
        let mut cube = self.clone();
        cube.batch = all(&cube.batch)?;
        (cube.m, cube.n, cube.k) = (bind(&cube.m)?, bind(&cube.n)?, bind(&cube.k)?);
        cube.epilogue = cube.epilogue.bound(bind)?;
        for (access, _) in cube.accesses() {
            access.batch = all(&access.batch)?;
            access.offset = bind(&access.offset)?;
            (access.row, access.column) = (bind(&access.row)?, bind(&access.column)?);
        }
        Ok(cube)
    }

    fn accesses(&mut self) -> impl Iterator<Item = (&mut Access, bool)> {
        let (a, b) = (&mut self.a, &mut self.b);
        [(a, true), (b, false)].into_iter().chain(self.loads.iter_mut().chain(&mut self.stores).map(|x| (x, true)))
    }

    /// Makes the last batch axis part of M while every access allows it, so that tiles are full.
    fn merge_batches(&mut self) {
        while let Some(extent) = self.batch.last().cloned() {
            let m = self.m.clone();
            let fits = |(access, has_rows): (&mut Access, bool)| {
                let stride = access.batch.last().cloned().unwrap_or_default();
                extent.is(1) || stride == if has_rows { m.clone() * access.row.clone() } else { Dim::default() }
            };
            if !self.accesses().all(fits) {
                break;
            }
            self.accesses().for_each(|(access, _)| {
                access.batch.pop();
            });
            self.batch.pop();
            self.m = self.m.clone() * extent;
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
    space.extend([a.shape[a.shape.len() - 2].clone(), b.shape[b.shape.len() - 1].clone()]);
    if space.iter().any(|extent| extent.is(0)) {
        return Ok(None);
    }
    let result = results.first().copied().flatten();
    let tile = tile(&space[n_batch + 1], dtype, !rest.is_empty());
    let cube = tiled(kernel, (&a, &b), (rest, result), &space, tile)?;
    // A matrix of few rows has smaller tiles.
    match multiple_of_16(&cube.m) {
        Some(rows) if rows < tile[0] => {
            tiled(kernel, (&a, &b), (rest, result), &space, [rows, tile[1], tile[2]]).map(Some)
        }
        _ => Ok(Some(cube)),
    }
}

/// The contraction with tiles of these extents.
fn tiled(
    kernel: &Kernel,
    (a, b): (&Matrices, &Matrices),
    (stages, result): (&[Stage], Option<u32>),
    space: &[Dim],
    tile: [usize; 3],
) -> Result<CubeKernel, String> {
    let [batch @ .., m, n] = space else { return Err("`matmul` of a vector".into()) };
    let k = a.shape[a.shape.len() - 1].clone();
    if k.is(0) {
        return Err("a contraction of nothing".into());
    }
    let (dtype, rank) = (kernel.params[a.param as usize].dtype, space.len());
    let mut left = a.access(batch);
    // Any row stride is right where there is one row.
    if let Some(axis) = single_row_axis(space) {
        left.row = left.batch[axis].clone();
    }
    let tiles = Tiles { space: space.to_vec(), loads: vec![], stores: vec![] };
    let mut lowering = Lowering::of_tiles(kernel, tiles);
    let extents = [tile[0], tile[1]].map(|extent| Dim::constant(extent as i64));
    lowering.lanes.extents = vec![Dim::constant(1); rank];
    lowering.lanes.extents[rank - 2..].clone_from_slice(&extents);
    let sums = lowering.lanes.function.argument(DType::F32, extents.to_vec());
    let sums = Lane::Tensor { id: sums, axes: vec![rank - 2, rank - 1] };
    // The product has the operands' type, and its sums are f32.
    let product = lowering.lanes.cast(&sums, dtype);
    lowering.stages.push(product.clone());
    if let Some(param) = result {
        let strides = (0..rank).map(|axis| space[axis + 1..].iter().cloned().product()).collect();
        lowering.store_tile(param, Affine { offset: Dim::default(), coefficients: strides }, &product)?;
    }
    for stage in stages {
        if !stage.inner.is_empty() || !matches!(stage.anchor, Anchor::Pointwise) {
            return Err("a contraction whose rows are reduced".into());
        }
        lowering.pointwise(stage)?;
    }
    let (epilogue, Tiles { loads, stores, .. }) = lowering.into_tiles();
    let (a, b, batch) = (left, b.access(batch), batch.to_vec());
    let (m, n) = (m.clone(), n.clone());
    let mut cube = CubeKernel { batch, m, n, k, dtype, a, b, tile, epilogue, loads, stores };
    cube.merge_batches();
    Ok(cube)
}

/// The batch axis whose strides the row axis may take: the last of more than one matrix, if there is one row.
pub(crate) fn single_row_axis(space: &[Dim]) -> Option<usize> {
    let [batch @ .., rows, _] = space else { return None };
    batch.iter().rposition(|extent| !extent.is(1)).filter(|_| rows.is(1))
}

/// Extents of a tile: what fills the cube unit's buffers, or less where the matrix is smaller. With an epilogue the tile
/// must also fit the vector cores' memory, several times.
fn tile(n: &Dim, dtype: DType, is_mixed: bool) -> [usize; 3] {
    let extent = if is_mixed { 64 } else { 128 };
    [extent, multiple_of_16(n).map_or(extent, |n| n.min(extent)), if dtype == DType::F32 { 64 } else { 128 }]
}

/// A known extent, rounded up.
fn multiple_of_16(extent: &Dim) -> Option<usize> {
    Some(usize::try_from(extent.as_const()?).ok()?.next_multiple_of(16))
}

/// A strided view of matrices.
struct Matrices {
    param: u32,
    offset: Dim,
    shape: Vec<Dim>,
    strides: Vec<Dim>,
}

impl Matrices {
    fn new(operand: &Operand) -> Result<Matrices, String> {
        let strides = operand.strides.iter().map(|stride| natural(stride, "a reversed axis of a matrix"));
        let strides = strides.collect::<Result<_, _>>()?;
        let offset = natural(&operand.offset, "a matrix before its buffer")?;
        if operand.shape.len() < 2 {
            return Err("`matmul` of a vector".into());
        }
        Ok(Matrices { param: operand.param, offset, shape: operand.shape.clone(), strides })
    }

    /// The access of the matrices, repeated over `batch`.
    fn access(&self, batch: &[Dim]) -> Access {
        let own = self.shape.len() - 2;
        let missing = batch.len() - own;
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if !self.shape[own].is(1) => self.strides[own].clone(),
            _ => Dim::default(),
        };
        Access {
            param: self.param,
            offset: self.offset.clone(),
            batch: (0..batch.len()).map(stride).collect(),
            row: self.strides[own].clone(),
            column: self.strides[own + 1].clone(),
        }
    }
}

/// The batch axes of the product.
fn broadcast(a: &Matrices, b: &Matrices) -> Result<Vec<Dim>, String> {
    let (a, b) = (&a.shape[..a.shape.len() - 2], &b.shape[..b.shape.len() - 2]);
    let rank = a.len().max(b.len());
    let one = Dim::constant(1);
    let at =
        |shape: &[Dim], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(one.clone(), |i| shape[i].clone());
    let pair = |axis: usize| match (at(a, axis), at(b, axis)) {
        (x, y) if x == y || y == one => Ok(x),
        (x, y) if x == one => Ok(y),
        (x, y) => Err(format!("batches of {x} and {y}")),
    };
    (0..rank).map(pair).collect()
}
