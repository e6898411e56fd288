//! Attention of 16-bit floats on warpgroups, `sm_90a` only: scores are never stored.
//!
//! A block has 128 queries, two warpgroups of 64. For each tile of 128 keys a warpgroup holds scores in registers, and
//! carries greatest score, total and weighted sum of values from one tile to the next ([`softmax`]). Weights go from
//! accumulators to operand A of the next product as they lie. While the tensor cores add a tile's values, its successor's
//! scores are computed and turned into weights; keys and values are copied a tile ahead ([`tiles`]).

mod softmax;
mod tiles;

use super::result::store;
use super::{Contraction, Place, Scheduled, Side, epilogue, side};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Left, MmaKind, Operand, Reg, Special, Ty, WarpgroupMma};
use ic_ir::kernel::{Kernel, Operand as View};
use ic_ir::ops::Attention;
use ic_types::{DType, Dim};
use softmax::Softmax;
use tiles::{Factor, Rows};

/// Queries of a block, 64 a warpgroup.
const QUERIES: i64 = 128;
/// Keys of a tile.
const KEYS: i64 = 128;
const THREADS: i64 = 256;
/// Steps of K of an instruction.
const STEP: i64 = 16;

/// Attention without a mask of data.
pub(crate) struct Flash {
    /// Queries by values' columns, and what is stored.
    product: Contraction,
    keys: Side,
    values: Side,
    /// Columns of queries, keys and values.
    width: i64,
    scale: f32,
    /// Query `i` sees the keys `0..=i + causal` only.
    causal: Option<Dim>,
}

/// Attention that a kernel begins with.
///
/// # Errors
/// What there is no code for: masks of data, limited scores, other types than 16-bit floats, other widths than 64 and 128.
pub(crate) fn flash(
    op: &Attention,
    kernel: &Kernel,
    operands: &[Option<View>],
    results: &[Option<u32>],
) -> Result<Flash, String> {
    let [Some(q), Some(k), Some(v), rest @ ..] = operands else { return Err("attention without operands".into()) };
    let dtype = kernel.params[q.param as usize].dtype;
    let [width, columns] = [q, v].map(|view| view.shape.last().and_then(Dim::as_const));
    let width = width.filter(|width| [64, 128].contains(width) && columns == Some(*width));
    let is_plain = rest.iter().all(Option::is_none) && op.softcap.0 == 0.0 && op.scale.0 > 0.0;
    let (Some(width), true, DType::F16 | DType::BF16) = (width, is_plain, dtype) else {
        return Err("attention with a mask or a limit, or of these types or widths".into());
    };
    let n_batch = [q, k, v].iter().map(|view| view.shape.len()).max().unwrap_or(2) - 2;
    let extent = |view: &View, axis: usize| match (axis + view.shape.len()).checked_sub(n_batch + 2) {
        Some(axis) => view.shape[axis].clone(),
        None => Dim::constant(1),
    };
    let broadcast = |axis: usize| {
        let [q, k, v] = [q, k, v].map(|view| extent(view, axis));
        q.broadcast(&k).broadcast(&v)
    };
    let batch: Vec<Dim> = (0..n_batch).map(broadcast).collect();
    let rows_of = |view: &View| side(view, &batch, view.shape.len() - 2, view.shape.len() - 1);
    let (a, keys, values) = (rows_of(q), rows_of(k), rows_of(v));
    let b = side(v, &batch, v.shape.len() - 1, v.shape.len() - 2);
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
    };
    Ok(Flash { product, keys, values, width, scale: op.scale.0, causal: op.causal.clone() })
}

/// What a block works on.
struct Block<'a> {
    flash: &'a Flash,
    kind: MmaKind,
    place: Place,
    thread: Reg,
    /// Whether anything is stored to shared memory other than by `cp.async`.
    needs_fence: bool,
    /// Keys that any query of the block sees.
    n_keys: Operand,
    queries: Factor,
    keys: Factor,
    values: Factor,
    /// A predicate that holds, and one that does not.
    always: Reg,
    never: Reg,
    /// Scores of a tile, and the weighted sum of values.
    scores: Vec<Reg>,
    sums: Vec<Reg>,
    /// Weights of a tile, two a register.
    weights: Vec<Reg>,
}

pub(crate) fn attention(flash: &Flash, aligned: &[bool]) -> Result<Scheduled, String> {
    let problem = &flash.product;
    let mut e = Emitter::new(&problem.params, aligned);
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let place = place(&mut e, flash, block);
    let tile_bytes = KEYS * flash.width * 2;
    let shared = e.b.shared((5 * tile_bytes) as u32);
    let start = e.b.shared_address(shared);
    let rows = |e: &mut Emitter, side, first: i64| {
        let start = e.b.binary(Binary::Add, Ty::S32, start, first * tile_bytes);
        Rows::new(e, side, &place, thread, flash.width, start, aligned)
    };
    let queries = rows(&mut e, &problem.a, 0);
    let (keys, values) = (rows(&mut e, &flash.keys, 1), rows(&mut e, &flash.values, 3));
    let group = e.b.binary(Binary::Shr, Ty::U32, thread, 7);
    let always = e.b.compare(Compare::Eq, Ty::S32, thread, thread);
    let never = e.b.compare(Compare::Ne, Ty::S32, thread, thread);
    let n_keys = n_keys(&mut e, flash, place.row);
    let registers = |e: &mut Emitter, class, n: i64| (0..n).map(|_| e.b.reg(class)).collect::<Vec<_>>();
    let block = Block {
        flash,
        kind: if problem.dtype == DType::F16 { MmaKind::F16 } else { MmaKind::Bf16 },
        thread,
        needs_fence: [&queries, &keys, &values].iter().any(|rows| !rows.is_async),
        n_keys,
        queries: queries.factor(&mut e, Some(group)),
        keys: keys.factor(&mut e, None),
        values: values.factor(&mut e, None),
        always,
        never,
        scores: registers(&mut e, Class::F32, KEYS / 2),
        sums: (0..flash.width / 2).map(|_| e.b.mov(Ty::F32, 0.0f32)).collect(),
        weights: registers(&mut e, Class::B32, KEYS / 4),
        place,
    };
    let mut softmax = Softmax::new(&mut e, &block);
    block.main_loop(&mut e, [&queries, &keys, &values], &mut softmax);
    softmax.finish(&mut e, &block.sums);
    let lane = e.b.binary(Binary::And, Ty::B32, thread, 31);
    let row = block.warp_row(&mut e);
    let blocks = block.sums.as_chunks().0;
    store(&mut e, problem, &block.place, (row, Operand::Int(0)), lane, blocks)?;
    Ok(Scheduled::new(e, THREADS as u32, problem.tiles(QUERIES, flash.width), "flash"))
}

/// The batch and the first query of a block. Where later queries see more keys, those come first in all batches.
fn place(e: &mut Emitter, flash: &Flash, block: Reg) -> Place {
    let problem = &flash.product;
    let n_tiles = e.dim(&crate::nvptx::schedule::ceil_div(&problem.a.extent, QUERIES));
    let (batch, tile) = if flash.causal.is_none() {
        e.b.div_rem(block.into(), n_tiles)
    } else {
        let n_batches = e.dim(&problem.batch.iter().cloned().product());
        let (from_last, batch) = e.b.div_rem(block.into(), n_batches);
        let from_last = e.b.in_register(Ty::B32, from_last);
        let from_first = e.b.unary(crate::nvptx::ptx::Unary::Neg, Ty::S32, from_last);
        let last = e.b.add(n_tiles, Operand::Int(-1));
        (batch, e.b.add(from_first.into(), last))
    };
    let batch = e.unflatten(batch, &problem.batch);
    Place { row: e.b.mul(tile, Operand::Int(QUERIES)), column: Operand::Int(0), batch }
}

/// How many keys any of a block's queries sees.
fn n_keys(e: &mut Emitter, flash: &Flash, row: Operand) -> Operand {
    let all = e.dim(&flash.product.k);
    let Some(offset) = &flash.causal else { return all };
    let offset = e.dim(offset);
    let seen = e.b.add(row, offset);
    let seen = e.b.add(seen, Operand::Int(QUERIES));
    let seen = e.b.in_register(Ty::B32, seen);
    e.b.binary(Binary::Min, Ty::S32, seen, all).into()
}

impl Block<'_> {
    /// The first row of the thread's warp.
    fn warp_row(&self, e: &mut Emitter) -> Operand {
        let warp = e.b.binary(Binary::Shr, Ty::U32, self.thread, 5);
        let row = e.b.mul(warp.into(), Operand::Int(16));
        e.b.add(self.place.row, row)
    }

    /// Waits for copies that were made before the last `pending` groups, for all threads.
    fn arrive(&self, e: &mut Emitter, pending: u32) {
        e.b.push(Instruction::WaitGroup(pending));
        if self.needs_fence {
            e.b.push(Instruction::ProxyFence);
        }
        e.b.push(Instruction::Barrier);
    }

    /// Begins the products of queries and the keys at `slot`.
    fn begin_scores(&self, e: &mut Emitter, slot: Reg) {
        let zero = e.b.mov(Ty::B32, 0);
        for step in 0..self.flash.width / STEP {
            let (a, b) = (self.queries.along(e, step, zero), self.keys.along(e, step, slot));
            e.b.push(Instruction::WarpgroupMma(Box::new(WarpgroupMma {
                kind: self.kind,
                acc: self.scores.clone(),
                a: Left::Memory(a, false),
                b,
                b_across: false,
                accumulates: if step == 0 { self.never } else { self.always },
            })));
        }
        e.b.push(Instruction::WarpgroupCommit);
    }

    /// Begins to add the values at `slot` by their weights.
    fn begin_sums(&self, e: &mut Emitter, slot: Reg) {
        for (step, weights) in self.weights.as_chunks().0.iter().enumerate() {
            let b = self.values.across(e, step as i64, slot);
            e.b.push(Instruction::WarpgroupMma(Box::new(WarpgroupMma {
                kind: self.kind,
                acc: self.sums.clone(),
                a: Left::Registers(*weights),
                b,
                b_across: true,
                accumulates: self.always,
            })));
        }
        e.b.push(Instruction::WarpgroupCommit);
    }

    /// All tiles. Of two slots each, the scores' keys and the sums' values are in different ones.
    fn main_loop(&self, e: &mut Emitter, [queries, keys, values]: [&Rows; 3], softmax: &mut Softmax) {
        let tile_bytes = KEYS * self.flash.width * 2;
        let (this, other) = (e.b.mov(Ty::B32, 0), e.b.mov(Ty::B32, tile_bytes));
        let zero = e.b.mov(Ty::B32, 0);
        queries.copy(e, self.place.row, zero);
        keys.copy(e, Operand::Int(0), this);
        e.b.push(Instruction::CommitGroup);
        keys.copy(e, Operand::Int(KEYS), other);
        values.copy(e, Operand::Int(0), this);
        e.b.push(Instruction::CommitGroup);
        self.arrive(e, 1);
        e.b.push(Instruction::WarpgroupFence);
        self.begin_scores(e, this);
        e.b.push(Instruction::WarpgroupWait(0));
        let first = e.b.mov(Ty::B32, 0);
        softmax.begin(e, self, first);
        // The first key of the tile after that whose weights are there.
        let next = e.b.mov(Ty::B32, KEYS);
        let (begin, last) = (e.b.label(), e.b.label());
        let more = e.b.compare(Compare::Lt, Ty::S32, next, self.n_keys);
        e.b.push(Instruction::Branch { to: last, guard: Some((more, false)) });
        e.b.place(begin);
        e.b.push(Instruction::NoUnroll);
        self.arrive(e, 0);
        e.b.push(Instruction::WarpgroupFence);
        self.begin_scores(e, other);
        self.begin_sums(e, this);
        let following = e.b.add(next.into(), Operand::Int(KEYS));
        keys.copy(e, following, this);
        values.copy(e, next.into(), other);
        e.b.push(Instruction::CommitGroup);
        e.b.push(Instruction::WarpgroupWait(1));
        softmax.go_on(e, self, next);
        let swapped = e.b.mov(Ty::B32, this);
        e.b.assign(Ty::B32, this, other);
        e.b.assign(Ty::B32, other, swapped);
        e.b.assign(Ty::B32, next, following);
        let more = e.b.compare(Compare::Lt, Ty::S32, next, self.n_keys);
        e.b.push(Instruction::Branch { to: begin, guard: Some((more, true)) });
        e.b.place(last);
        self.arrive(e, 0);
        e.b.push(Instruction::WarpgroupFence);
        self.begin_sums(e, this);
        e.b.push(Instruction::WarpgroupWait(0));
    }
}
