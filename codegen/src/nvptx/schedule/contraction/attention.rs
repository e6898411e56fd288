//! Attention of 16-bit floats in one kernel: scores are never stored.
//!
//! A block has some queries. For each tile of keys a warp holds the scores of its rows in registers, and carries greatest
//! score, total and weighted sum of values from one tile to the next ([`softmax`]). Weights go from accumulators to operand
//! A of the next product as they lie. Both products are those of warpgroups ([`warpgroups`]) or of warps ([`warps`]).

mod mask;
mod softmax;
mod tiles;
mod warpgroups;
mod warps;

use super::{Contraction, Cores, Place, Scheduled, Side, epilogue, side};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, MmaKind, Operand, Reg, Ty, Unary};
use ic_ir::kernel::{Kernel, Operand as View};
use ic_ir::ops::Attention;
use ic_types::{DType, Dim};
use mask::Mask;

/// Steps of K of a product of tensor cores.
const STEP: i64 = 16;
/// Rows of a warp's product.
const WARP_ROWS: i64 = 16;
/// Most columns of queries, keys and values.
const MOST_COLUMNS: i64 = 128;

/// Attention, and what becomes of its result.
pub(crate) struct Flash {
    /// Queries by values' columns, and what is stored.
    product: Contraction,
    keys: Side,
    values: Side,
    mask: Option<Mask>,
    /// Columns of queries and keys.
    width: i64,
    /// Columns of values.
    columns: i64,
    scale: f32,
    /// Scores are limited to this magnitude, unless it is 0.
    softcap: f32,
    /// Query `i` sees the keys `0..=i + causal` only.
    causal: Option<Dim>,
    nan_is_zero: bool,
}

/// Attention that a kernel begins with.
///
/// # Errors
/// What there is no code for: other types than 16-bit floats, and more than 128 columns.
pub(crate) fn flash(
    op: &Attention,
    kernel: &Kernel,
    operands: &[Option<View>],
    results: &[Option<u32>],
) -> Result<Flash, String> {
    let [Some(q), Some(k), Some(v), rest @ ..] = operands else { return Err("attention without operands".into()) };
    let dtype = kernel.params[q.param as usize].dtype;
    let [width, columns] = [q, v].map(|view| {
        let columns = view.shape.last().and_then(Dim::as_const);
        columns.filter(|columns| (1..=MOST_COLUMNS).contains(columns))
    });
    let (Some(width), Some(columns), DType::F16 | DType::BF16) = (width, columns, dtype) else {
        return Err("attention of these types or widths".into());
    };
    let mask = rest.first().and_then(Option::as_ref);
    let views: Vec<&View> = [q, k, v].into_iter().chain(mask).collect();
    let n_batch = views.iter().map(|view| view.shape.len()).max().unwrap_or(2).saturating_sub(2);
    let extent = |view: &View, axis: usize| match (axis + view.shape.len()).checked_sub(n_batch + 2) {
        Some(axis) => view.shape[axis].clone(),
        None => Dim::constant(1),
    };
    let broadcast =
        |axis: usize| views.iter().fold(Dim::constant(1), |whole, view| whole.broadcast(&extent(view, axis)));
    let batch: Vec<Dim> = (0..n_batch).map(broadcast).collect();
    let rows_of = |view: &View| side(view, &batch, view.shape.len() - 2, view.shape.len() - 1);
    let (a, keys, values) = (rows_of(q), rows_of(k), rows_of(v));
    let b = side(v, &batch, v.shape.len() - 1, v.shape.len() - 2);
    let mask = mask.map(|view| Mask::new(view, kernel, &batch, [&a.extent, &keys.extent], op.fill.0));
    let rows = vec![a.extent.clone()];
    let shape: Vec<Dim> = batch.iter().chain([&a.extent, &b.extent]).cloned().collect();
    let product = Contraction {
        dtype,
        a,
        b,
        batch,
        rows,
        k: keys.extent.clone(),
        epilogue: epilogue(kernel, results, &shape, dtype, None)?,
        accumulator: kernel.params.len(),
        params: kernel.params.iter().map(|param| param.dtype).collect(),
        channels: None,
        packings: Vec::new(),
        integers: None,
    };
    let (scale, softcap, causal, nan_is_zero) = (op.scale.0, op.softcap.0, op.causal.clone(), op.nan_is_zero);
    Ok(Flash { product, keys, values, mask, width, columns, scale, softcap, causal, nan_is_zero })
}

/// Generates a kernel of attention.
///
/// # Errors
/// What there is no code for.
pub(crate) fn attention(flash: &Flash, aligned: &[bool], cores: Cores) -> Result<Scheduled, String> {
    let has_tiles = [64, 128].contains(&flash.width) && flash.columns == flash.width;
    // Both beside the sums of warpgroups are more than registers hold.
    let is_simple = flash.mask.is_none() || flash.softcap == 0.0;
    match cores {
        Cores::Warpgroups if has_tiles && is_simple => warpgroups::generate(flash, aligned),
        _ => warps::generate(flash, aligned),
    }
}

impl Flash {
    fn kind(&self) -> MmaKind {
        if self.product.dtype == DType::F16 { MmaKind::F16 } else { MmaKind::Bf16 }
    }

    /// Whether a row may have seen no key after some tile.
    fn may_see_none(&self) -> bool {
        self.mask.is_some() || self.product.k.as_const().is_none()
    }
}

/// The part of the problem that a block has.
struct Block<'a> {
    flash: &'a Flash,
    place: Place,
    thread: Reg,
    /// Keys of a tile.
    keys: i64,
    /// Keys that any query of the block sees.
    n_keys: Operand,
}

impl<'a> Block<'a> {
    fn new(e: &mut Emitter, flash: &'a Flash, [block, thread]: [Reg; 2], queries: i64, keys: i64) -> Block<'a> {
        let place = place(e, flash, block, queries);
        let n_keys = n_keys(e, flash, place.row, queries);
        Block { flash, place, thread, keys, n_keys }
    }

    fn warp(&self, e: &mut Emitter) -> Reg {
        e.b.binary(Binary::Shr, Ty::U32, self.thread, 5)
    }

    fn lane(&self, e: &mut Emitter) -> Reg {
        e.b.binary(Binary::And, Ty::B32, self.thread, 31)
    }
}

/// The batch and the first query of a block. Where later queries see more keys, those come first in all batches.
fn place(e: &mut Emitter, flash: &Flash, block: Reg, queries: i64) -> Place {
    let problem = &flash.product;
    let n_tiles = e.dim(&crate::nvptx::schedule::ceil_div(&problem.a.extent, queries));
    let (batch, tile) = if flash.causal.is_none() {
        e.b.div_rem(block.into(), n_tiles)
    } else {
        let n_batches = e.dim(&problem.batch.iter().cloned().product());
        let (from_last, batch) = e.b.div_rem(block.into(), n_batches);
        let from_last = e.b.in_register(Ty::B32, from_last);
        let from_first = e.b.unary(Unary::Neg, Ty::S32, from_last);
        let last = e.b.add(n_tiles, Operand::Int(-1));
        (batch, e.b.add(from_first.into(), last))
    };
    let batch = e.unflatten(batch, &problem.batch);
    Place { row: e.b.mul(tile, Operand::Int(queries)), column: Operand::Int(0), batch }
}

/// How many keys any of a block's queries sees.
fn n_keys(e: &mut Emitter, flash: &Flash, row: Operand, queries: i64) -> Operand {
    let all = e.dim(&flash.product.k);
    let Some(offset) = &flash.causal else { return all };
    let offset = e.dim(offset);
    let seen = e.b.add(row, offset);
    let seen = e.b.add(seen, Operand::Int(queries));
    let seen = e.b.in_register(Ty::B32, seen);
    e.b.binary(Binary::Min, Ty::S32, seen, all).into()
}
