//! Batched matrix products with fused epilogues.
//!
//! f32 is a sequential FMA over K per output ([`fma`]): the bits of the CPU. f16, bf16 and, if the user allows it, f32
//! rounded to tf32 run on tensor cores with f32 accumulators ([`mma`], or [`wgmma`] where there are warpgroups). Batch
//! axes that only the left operand has are rows, so that a projection is one product.

mod attention;
pub(crate) mod convolution;
mod fma;
mod mma;
mod result;
mod wgmma;
mod window;

use super::{Cores, Scheduled};
use crate::backend::Products;
use crate::nvptx::emit::{Emitter, Point, Value};
use crate::nvptx::ptx::{Binary, Compare, MmaKind, Operand, Reg, Ty};
use crate::shared::form::{Pass, merge_pair, points_of};
use crate::shared::weights::{Packing, WidenedShape};
pub(crate) use attention::{attention, flash};
use ic_ir::kernel::{Anchor, Axis, Expr, Index, Kernel, Load, Operand as View, Param, Stage, Store};
use ic_ir::scalar::ScalarOp;
use ic_types::{DType, Dim};
use std::collections::HashMap;
use window::Window;

/// A side of a product: rows of A or columns of B, by K.
pub(crate) struct Side {
    /// The parameter.
    param: usize,
    /// First element.
    offset: Dim,
    /// Distance between neighbours on each batch axis.
    batch: Vec<Dim>,
    /// Distance between rows of A or columns of B.
    stride: Dim,
    /// Distance between neighbours on K.
    k_stride: Dim,
    /// Rows or columns.
    extent: Dim,
    /// Of which windows they are the places; strides are those of `window` then.
    window: Option<Window>,
}

/// A matrix product and what becomes of its elements.
pub(crate) struct Contraction {
    dtype: DType,
    a: Side,
    b: Side,
    /// Batch axes.
    batch: Vec<Dim>,
    /// Axes that are rows.
    rows: Vec<Dim>,
    k: Dim,
    /// What is stored, over batch axes, rows and columns.
    epilogue: Pass,
    /// The parameter that stands for the accumulator in the epilogue.
    accumulator: usize,
    params: Vec<DType>,
    /// Where columns are among the result's axes, for a convolution.
    channels: Option<Channels>,
    /// How constants are packed, by parameter.
    packings: Vec<(usize, Packing)>,
    /// The integers that B, which is constant, is made of.
    integers: Option<WidenedShape>,
}

/// Columns that are channels of an image.
struct Channels {
    /// The channel axis among the result's.
    axis: usize,
    /// Channels of a batch, which is a group.
    per_group: i64,
}

/// What is added along an axis of the result.
struct Bias {
    param: u32,
    axis: usize,
}

/// Rows from which on a product is bound by tensor cores and not by the bytes of its weights.
const MANY_ROWS: i64 = 128;

/// Generates a kernel that begins with a matrix product.
///
/// # Errors
/// What there is no code for.
pub(crate) fn contraction(
    problem: &Contraction,
    aligned: &[bool],
    products: Products,
    cores: Cores,
) -> Result<Scheduled, String> {
    let scheduled = match (problem.dtype, products) {
        (DType::F32, Products::F32) => fma::generate(problem, aligned),
        (DType::F32, Products::Tf32) => mma::generate(problem, MmaKind::Tf32, aligned),
        (DType::F16, _) => halves(problem, MmaKind::F16, aligned, cores),
        (DType::BF16, _) => halves(problem, MmaKind::Bf16, aligned, cores),
        (dtype, _) => Err(format!("`matmul` of {dtype} has no code for nvptx")),
    };
    let mut scheduled = scheduled?;
    scheduled.packings.extend_from_slice(&problem.packings);
    Ok(scheduled)
}

fn halves(problem: &Contraction, kind: MmaKind, aligned: &[bool], cores: Cores) -> Result<Scheduled, String> {
    // Only warps widen integers; where weights are read for many rows, warpgroups on 16 bits are faster all the same.
    let is_tall = problem.a.extent.as_const().is_some_and(|rows| rows >= MANY_ROWS);
    match wgmma::choose(problem, kind, aligned) {
        Some(tile) if cores == Cores::Warpgroups && (is_tall || mma::integers(problem, kind).is_none()) => {
            wgmma::generate(problem, tile, kind, aligned)
        }
        _ => mma::generate(problem, kind, aligned),
    }
}

impl Contraction {
    /// The product in a kernel whose first stage it is.
    ///
    /// # Errors
    /// What there is no code for.
    pub(crate) fn new(
        kernel: &Kernel,
        operands: &[Option<View>],
        results: &[Option<u32>],
        integers: &dyn Fn(usize) -> Option<WidenedShape>,
    ) -> Result<Contraction, String> {
        let [Some(a), Some(b)] = operands else { return Err("a product of other than two operands".into()) };
        let (a_rank, b_rank) = (a.shape.len(), b.shape.len());
        let n_batch = a_rank.max(b_rank) - 2;
        let extent = |view: &View, axis: usize| {
            let at = (axis + view.shape.len()).checked_sub(n_batch + 2);
            at.map_or(Dim::constant(1), |at| view.shape[at].clone())
        };
        let broadcast = |axis: usize| extent(a, axis).broadcast(&extent(b, axis));
        let mut batch: Vec<Dim> = (0..n_batch).map(broadcast).collect();
        let (m, k, n) = (a.shape[a_rank - 2].clone(), a.shape[a_rank - 1].clone(), b.shape[b_rank - 1].clone());
        let shape: Vec<Dim> = batch.iter().cloned().chain([m.clone(), n.clone()]).collect();
        let mut a_side = side(a, &batch, a_rank - 2, a_rank - 1);
        let mut b_side = side(b, &batch, b_rank - 1, b_rank - 2);
        let mut rows = vec![m];
        while let Some(axis) = batch.len().checked_sub(1) {
            let whole: Dim = rows.iter().cloned().product();
            let continues = a_side.batch[axis] == a_side.stride.clone() * whole && b_side.batch[axis].is(0);
            if !batch[axis].is(1) && !continues {
                break;
            }
            rows.insert(0, batch.remove(axis));
            a_side.batch.pop();
            b_side.batch.pop();
        }
        a_side.extent = rows.iter().cloned().product();
        let accumulator = kernel.params.len();
        let dtype = kernel.params[a.param as usize].dtype;
        let epilogue = epilogue(kernel, results, &shape, dtype, None)?;
        let params = kernel.params.iter().map(|param| param.dtype).collect();
        // Those of a whole matrix that all rows meet.
        let is_whole = batch.is_empty() && b.shape == kernel.params[b.param as usize].shape && b_rank == 2;
        let integers = if is_whole { integers(b.param as usize) } else { None };
        let (a, b, channels, packings) = (a_side, b_side, None, Vec::new());
        let problem =
            Contraction { dtype, a, b, batch, rows, k, epilogue, accumulator, params, channels, packings, integers };
        Ok(problem.with_merged_rows())
    }

    /// Makes row axes that the epilogue walks as one a single one, so that rows need not be taken apart.
    fn with_merged_rows(mut self) -> Contraction {
        for i in (1..self.rows.len()).rev() {
            let [before, after] = [i - 1, i].map(|i| self.axis_of_row(i));
            if after == before + 1 && merge_pair(&mut self.epilogue, before, &self.rows[i]) {
                self.rows[i - 1] = self.rows[i - 1].clone() * self.rows.remove(i);
                if let Some(channels) = self.channels.as_mut().filter(|channels| channels.axis > before) {
                    channels.axis -= 1;
                }
            }
        }
        self
    }

    /// Where row axis `i` is among the result's axes.
    fn axis_of_row(&self, i: usize) -> usize {
        match &self.channels {
            Some(channels) => i + usize::from(i >= channels.axis),
            None => self.batch.len() + i,
        }
    }

    /// The number of tiles of `rows × columns`.
    fn tiles(&self, rows: i64, columns: i64) -> Dim {
        let batch: Dim = self.batch.iter().cloned().product();
        super::ceil_div(&self.a.extent, rows) * super::ceil_div(&self.b.extent, columns) * batch
    }
}

/// An operand by its rows (or columns) axis and its K axis.
fn side(view: &View, batch: &[Dim], axis: usize, k: usize) -> Side {
    let missing = batch.len() + 2 - view.shape.len();
    let strides = (0..batch.len()).map(|i| match i.checked_sub(missing) {
        Some(own) => view.strides[own].clone() * view.shape[own].broadcast_factor(&batch[i]),
        None => Dim::constant(0),
    });
    Side {
        param: view.param as usize,
        offset: view.offset.clone(),
        batch: strides.collect(),
        stride: view.strides[axis].clone(),
        k_stride: view.strides[k].clone(),
        extent: view.shape[axis].clone(),
        window: None,
    }
}

/// The stages after the product as one pass over its result's axes, which reads the accumulator as a parameter.
fn epilogue(
    kernel: &Kernel,
    results: &[Option<u32>],
    shape: &[Dim],
    dtype: DType,
    bias: Option<Bias>,
) -> Result<Pass, String> {
    let axes: Vec<Index> = (0..shape.len()).map(Index::axis).collect();
    let mut params = kernel.params.clone();
    let accumulator = params.len() as u32;
    params.push(Param { dtype, shape: shape.to_vec(), is_output: false });
    let load = Load { param: accumulator, indices: axes.clone(), gathered: vec![], bounds: vec![], otherwise: None };
    let mut body = vec![Expr::Load(load)];
    if let Some(Bias { param, axis }) = bias {
        let indices = vec![Index::axis(axis)];
        body.push(Expr::Load(Load { param, indices, gathered: vec![], bounds: vec![], otherwise: None }));
        body.push(Expr::Apply(ScalarOp::Add, vec![0, 1]));
    }
    let value = body.len() as u32 - 1;
    let result = results.first().copied().flatten();
    let indices = match result {
        Some(param) if params[param as usize].shape.len() == shape.len() => axes,
        _ => vec![crate::shared::form::linear(&axes, &crate::shared::form::dense_strides(shape), &|_| false)],
    };
    let store = result.map(|param| Store { value, param, indices, bounds: vec![] });
    // Stage 0 gives the accumulator, and stores it where the product itself has a result.
    let first = Stage { inner: vec![], anchor: Anchor::Pointwise, body, stores: store.into_iter().collect() };
    let stages = [first].into_iter().chain(kernel.stages[1..].iter().cloned()).collect();
    let outer = shape.iter().map(|extent| Axis { extent: extent.clone() }).collect();
    points_of(&Kernel { params, outer, stages })
}

/// Where a block works.
struct Place {
    /// First row of its tile.
    row: Operand,
    /// First column of its tile.
    column: Operand,
    /// Batch axes.
    batch: Vec<Operand>,
}

/// The tile of block `block`: columns first, then rows, then batches.
fn place(e: &mut Emitter, problem: &Contraction, block: Reg, rows: i64, columns: i64) -> Place {
    let n_columns = e.dim(&super::ceil_div(&problem.b.extent, columns));
    let n_rows = e.dim(&super::ceil_div(&problem.a.extent, rows));
    let (rest, column) = e.b.div_rem(block.into(), n_columns);
    let (batch, row) = if problem.batch.is_empty() { (Operand::Int(0), rest) } else { e.b.div_rem(rest, n_rows) };
    let batch = e.unflatten(batch, &problem.batch);
    let row = e.b.mul(row, Operand::Int(rows));
    let column = e.b.mul(column, Operand::Int(columns));
    Place { row, column, batch }
}

/// Rows of tiles that are walked together.
const GROUP: i64 = 8;

/// The tile of block `block`: down a group of rows of tiles, then across, so that blocks at work at a time share both
/// rows of A and columns of B; then the next group, then the next batch.
fn place_in_groups(e: &mut Emitter, problem: &Contraction, block: Reg, rows: i64, columns: i64) -> Place {
    let n_columns = e.dim(&super::ceil_div(&problem.b.extent, columns));
    let n_rows = e.dim(&super::ceil_div(&problem.a.extent, rows));
    let n = e.b.mul(n_rows, n_columns);
    let (batch, tile) =
        if problem.batch.is_empty() { (Operand::Int(0), block.into()) } else { e.b.div_rem(block.into(), n) };
    let batch = e.unflatten(batch, &problem.batch);
    let per_group = e.b.mul(n_columns, Operand::Int(GROUP));
    let (group, tile) = e.b.div_rem(tile, per_group);
    let first = e.b.mul(group, Operand::Int(GROUP));
    let size = match n_rows {
        Operand::Int(n) if n % GROUP == 0 => Operand::Int(GROUP),
        n => {
            let n = e.b.in_register(Ty::B32, n);
            let left = e.b.binary(Binary::Sub, Ty::S32, n, first);
            e.b.binary(Binary::Min, Ty::S32, left, GROUP).into()
        }
    };
    let (column, row) = e.b.div_rem(tile, size);
    let row = e.b.add(first, row);
    let row = e.b.mul(row, Operand::Int(rows));
    let column = e.b.mul(column, Operand::Int(columns));
    Place { row, column, batch }
}

/// The address of a side's first element in the block's batch.
fn base(e: &mut Emitter, side: &Side, place: &Place, bytes: u32) -> Reg {
    let index = first_index(e, side, place);
    let buffer = e.buffer(side.param);
    e.b.address(buffer, index, bytes)
}

/// The index of a side's first element in the block's batch.
fn first_index(e: &mut Emitter, side: &Side, place: &Place) -> Operand {
    let mut index = e.dim(&side.offset);
    for (stride, &axis) in side.batch.iter().zip(&place.batch) {
        let stride = e.dim(stride);
        let term = e.b.mul(axis, stride);
        index = e.b.add(index, term);
    }
    index
}

/// Whether groups of `n` neighbours along an axis of stride 1 begin at multiples of `n` elements.
fn is_aligned(side: &Side, aligned: &[bool], other: &Dim, n: i64) -> bool {
    if side.window.as_ref().is_some_and(|window| !window.has_runs(n)) {
        return false;
    }
    let n = Dim::constant(n);
    let is_multiple = |dim: &Dim| dim.is(0) || dim.exact_div(&n).is_some();
    aligned[side.param] && is_multiple(&side.offset) && is_multiple(other) && side.batch.iter().all(is_multiple)
}

/// The result's axes at a row and a column, and which of them columns are along.
fn result_axes(
    e: &mut Emitter,
    problem: &Contraction,
    place: &Place,
    row: Operand,
    column: Operand,
) -> (Vec<Operand>, usize) {
    let rows = e.unflatten(row, &problem.rows);
    let Some(channels) = &problem.channels else {
        let axes: Vec<Operand> = place.batch.iter().copied().chain(rows).chain([column]).collect();
        let last = axes.len() - 1;
        return (axes, last);
    };
    let mut axes = rows;
    let group = place.batch.first().copied().unwrap_or(Operand::Int(0));
    let first = e.b.mul(group, Operand::Int(channels.per_group));
    let channel = e.b.add(first, column);
    axes.insert(channels.axis, channel);
    (axes, channels.axis)
}

/// Runs the epilogue on the accumulators of neighbouring columns of one row.
fn finish(
    e: &mut Emitter,
    problem: &Contraction,
    place: &Place,
    row: Operand,
    column: Operand,
    accumulators: &[Reg],
) -> Result<(), String> {
    let lanes = accumulators.len() as i64;
    let rows = e.dim(&problem.a.extent);
    let columns = e.dim(&problem.b.extent);
    let in_rows = e.b.compare(Compare::Lt, Ty::S32, row, rows);
    let divides = problem.b.extent.exact_div(&Dim::constant(lanes)).is_some();
    let guards = (0..if divides { 1 } else { lanes }).map(|lane| {
        let column = e.b.add(column, Operand::Int(lane));
        let in_columns = e.b.compare(Compare::Lt, Ty::S32, column, columns);
        e.b.binary(Binary::And, Ty::Pred, in_rows, in_columns)
    });
    let guards = guards.collect();
    let (axes, lane_axis) = result_axes(e, problem, place, row, column);
    let point = Point { lane_axis, axes, n_lanes: lanes as usize, guards, stores: None, from: None };
    let lanes = accumulators.iter().map(|&reg| reg.into()).collect();
    e.in_registers = Some((problem.accumulator, Value { lanes, dtype: problem.dtype }));
    let values = e.evaluate(&problem.epilogue, &point, &HashMap::new())?;
    e.put_all(&problem.epilogue, &point, &values)
}
