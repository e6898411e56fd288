//! Attention by products of warps (`mma.sync`), on any GPU since `sm_80`.
//!
//! A warp has 32 queries, so that it reads keys and values half as often; where sums of these take too many registers, it
//! has 16, whose fragments it keeps. Shared memory holds a block's queries and one tile each of keys and of values, so that
//! blocks share a multiprocessor: while scores are computed the values come, and while they are weighed and values are
//! added the next keys come.

use super::softmax::{Softmax, scale_rows};
use super::tiles::{Layout, Rows, padded};
use super::{Block, Flash, STEP, WARP_ROWS};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Operand, Reg, Special, Ty};
use crate::nvptx::schedule::contraction::Scheduled;
use crate::nvptx::schedule::contraction::result::store;

/// Keys of a tile.
const KEYS: i64 = 64;
/// Most columns of values for which registers hold the sums of 32 queries.
const COLUMNS_OF_TWO: i64 = 80;
/// Blocks that keep a GPU busy, about.
const N_BLOCKS: i64 = 100;

/// How queries of a block are divided.
#[derive(Clone, Copy)]
struct Tile {
    warps: i64,
    /// How many times 16 queries a warp has.
    groups: i64,
}

impl Tile {
    fn queries(self) -> i64 {
        self.warps * self.groups * WARP_ROWS
    }

    fn threads(self) -> i64 {
        self.warps * 32
    }
}

/// 128 queries, or 64 where these are few, or where a mask and limits of scores take more registers than leave room for
/// two blocks of eight warps.
fn choose(flash: &Flash) -> Tile {
    let narrow = flash.columns.max(flash.width) <= COLUMNS_OF_TWO && flash.mask.is_none();
    let tile = if narrow { Tile { warps: 4, groups: 2 } } else { Tile { warps: 8, groups: 1 } };
    let n_blocks = flash.product.tiles(tile.queries(), flash.columns).as_const();
    let are_few = n_blocks.is_some_and(|n| n < N_BLOCKS);
    let is_crowded = flash.mask.is_some() && flash.softcap != 0.0;
    if are_few || is_crowded { Tile { warps: 4, groups: 1 } } else { tile }
}

pub(super) fn generate(flash: &Flash, aligned: &[bool]) -> Result<Scheduled, String> {
    let problem = &flash.product;
    let tile = choose(flash);
    let mut e = Emitter::new(&problem.params, aligned);
    let special = [Special::Block, Special::Thread].map(|special| e.b.special(special));
    let block = Block::new(&mut e, flash, special, tile.queries(), KEYS);
    let layouts = [(tile.queries(), flash.width), (KEYS, flash.width), (KEYS, flash.columns)];
    let layouts = layouts.map(|(rows, columns)| Layout::by_rows(rows, columns));
    let bytes = layouts.map(Layout::bytes);
    let shared = e.b.shared(bytes.iter().sum::<i64>() as u32);
    let starts = [0, bytes[0], bytes[0] + bytes[1]].map(|at| shared + at as u32);
    let sides = [(&problem.a, flash.width), (&flash.keys, flash.width), (&flash.values, flash.columns)];
    let [queries, keys, values] = [0, 1, 2].map(|i| {
        let (side, width) = sides[i];
        Rows::new(&mut e, side, &block, (layouts[i], width), (starts[i], tile.threads()), aligned)
    });
    let (warp, lane) = (block.warp(&mut e), block.lane(&mut e));
    let first = e.b.binary(Binary::Mul, Ty::S32, warp, tile.groups * WARP_ROWS);
    let of_queries = e.b.fma(Ty::S32, first, layouts[0].row_bytes, queries.start);
    let row = e.b.add(block.place.row, first.into());
    let warp = Warp {
        block: &block,
        queries: Fragments::new(&mut e, layouts[0], of_queries, lane, Order::RowsFirst),
        keys: Fragments::new(&mut e, layouts[1], keys.start, lane, Order::ColumnsFirst),
        values: Fragments::new(&mut e, layouts[2], values.start, lane, Order::RowsFirst),
        groups: (0..tile.groups).map(|group| Group::new(&mut e, &block, row, group)).collect(),
    };
    warp.main_loop(&mut e, [&queries, &keys, &values]);
    for group in &warp.groups {
        group.softmax.finish(&mut e, &group.sums);
        store(&mut e, problem, &block.place, (group.row, Operand::Int(0)), lane, group.sums.as_chunks().0)?;
    }
    let n_blocks = problem.tiles(tile.queries(), flash.columns);
    Ok(Scheduled::new(e, tile.threads() as u32, n_blocks, "flash"))
}

/// Which bit of a lane is which half of the 16 rows by 16 columns that `ldmatrix` reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The third is of rows: operand A, or B of which rows are steps of K.
    RowsFirst,
    /// The third is of columns: operand B of which columns are steps of K.
    ColumnsFirst,
}

/// Where a lane reads fragments of a tile.
struct Fragments {
    layout: Layout,
    /// The address of the first 16 columns.
    start: Reg,
}

impl Fragments {
    fn new(e: &mut Emitter, layout: Layout, start: Reg, lane: Reg, order: Order) -> Fragments {
        let low = e.b.binary(Binary::And, Ty::B32, lane, 7);
        let [third, fourth] = [3, 4].map(|bit| {
            let bit = e.b.binary(Binary::Shr, Ty::U32, lane, bit);
            e.b.binary(Binary::And, Ty::B32, bit, 1)
        });
        let (upper, right) = if order == Order::RowsFirst { (third, fourth) } else { (fourth, third) };
        let row = e.b.fma(Ty::S32, upper, 8, low);
        let swizzle = layout.swizzle(e, row);
        let chunk = e.b.binary(Binary::Xor, Ty::B32, right, swizzle);
        let start = e.b.fma(Ty::S32, row, layout.row_bytes, start);
        let start = e.b.fma(Ty::S32, chunk, 16, start);
        Fragments { layout, start }
    }

    /// Reads 16 rows by 16 columns.
    fn load(&self, e: &mut Emitter, rows: i64, columns: i64, transposed: bool) -> [Reg; 4] {
        // Chunks are swizzled within as many bytes as rows are aligned to.
        let n = (self.layout.swizzled() / 2).max(1);
        let offset = rows * 16 * self.layout.row_bytes + columns / n * n * 32;
        let dst = [(); 4].map(|()| e.b.reg(Class::B32));
        let base = match columns % n {
            0 => self.start,
            columns => e.b.binary(Binary::Xor, Ty::B32, self.start, columns * 32),
        };
        e.b.push(Instruction::LoadMatrix { dst, base, offset: offset as i32, transposed });
        dst
    }
}

/// 16 queries of a warp.
struct Group<'a> {
    row: Operand,
    softmax: Softmax<'a>,
    /// Weights of a tile, two a register.
    weights: Vec<Reg>,
    /// The weighted sum of values.
    sums: Vec<Reg>,
}

impl<'a> Group<'a> {
    fn new(e: &mut Emitter, block: &Block<'a>, row: Operand, index: i64) -> Group<'a> {
        let row = e.b.add(row, Operand::Int(index * WARP_ROWS));
        let n_sums = padded(block.flash.columns) / 2;
        Group {
            row,
            softmax: Softmax::new(e, block, row),
            weights: (0..KEYS / 4).map(|_| e.b.reg(Class::B32)).collect(),
            sums: (0..n_sums).map(|_| e.b.mov(Ty::F32, 0.0f32)).collect(),
        }
    }
}

/// What a warp multiplies.
struct Warp<'a> {
    block: &'a Block<'a>,
    queries: Fragments,
    keys: Fragments,
    values: Fragments,
    groups: Vec<Group<'a>>,
}

impl Warp<'_> {
    /// The fragments of all queries of the warp and step `step`.
    fn load_queries(&self, e: &mut Emitter, step: i64) -> Vec<[Reg; 4]> {
        (0..self.groups.len()).map(|i| self.queries.load(e, i as i64, step, false)).collect()
    }

    /// Scores of all queries of the warp and the tile's keys. `kept` has fragments of queries, by step, or none.
    fn score(&self, e: &mut Emitter, kept: &[Vec<[Reg; 4]>]) {
        for group in &self.groups {
            group.softmax.scores.iter().for_each(|&score| e.b.assign(Ty::F32, score, 0.0f32));
        }
        for step in 0..self.queries.layout.columns / STEP {
            let queries = match kept.get(step as usize) {
                Some(queries) => queries.clone(),
                None => self.load_queries(e, step),
            };
            for keys in 0..KEYS / 16 {
                let b = self.keys.load(e, keys, step, false);
                for (group, a) in self.groups.iter().zip(&queries) {
                    self.multiply(e, &group.softmax.scores, keys, *a, b);
                }
            }
        }
    }

    /// Adds the tile's values by their weights.
    fn add_values(&self, e: &mut Emitter) {
        for step in 0..KEYS / STEP {
            for columns in 0..self.values.layout.columns / 16 {
                let b = self.values.load(e, step, columns, true);
                for group in &self.groups {
                    let a = group.weights.as_chunks().0[step as usize];
                    self.multiply(e, &group.sums, columns, a, b);
                }
            }
        }
    }

    /// Adds the product of `a` and 16 columns to the accumulators of these.
    fn multiply(&self, e: &mut Emitter, accumulators: &[Reg], columns: i64, a: [Reg; 4], b: [Reg; 4]) {
        let accumulators = accumulators.as_chunks::<4>().0;
        for half in 0..2 {
            let acc = accumulators[columns as usize * 2 + half];
            let b = [b[half * 2], b[half * 2 + 1]];
            e.b.push(Instruction::Mma { kind: self.block.flash.kind(), acc, a, b });
        }
    }

    /// All tiles that any query of the block sees.
    fn main_loop(&self, e: &mut Emitter, [queries, keys, values]: [&Rows; 3]) {
        let slot = Operand::Int(0);
        queries.copy(e, self.block.place.row, slot);
        keys.copy(e, Operand::Int(0), slot);
        let mut kept = Vec::new();
        if self.groups.len() == 1 {
            arrive(e);
            kept = (0..self.queries.layout.columns / STEP).map(|step| self.load_queries(e, step)).collect();
        }
        let first = e.b.mov(Ty::B32, 0);
        let (begin, end) = (e.b.label(), e.b.label());
        if self.block.flash.product.k.as_const().is_none_or(|n| n == 0) {
            let any = e.b.compare(Compare::Lt, Ty::S32, first, self.block.n_keys);
            e.b.push(Instruction::Branch { to: end, guard: Some((any, false)) });
        }
        e.b.place(begin);
        e.b.push(Instruction::NoUnroll);
        // Keys are there, and nobody reads values any more.
        arrive(e);
        values.copy(e, first.into(), slot);
        self.score(e, &kept);
        // Values are there, and nobody reads keys any more.
        arrive(e);
        let next = e.b.add(first.into(), Operand::Int(KEYS));
        keys.copy(e, next, slot);
        for group in &self.groups {
            let scales = group.softmax.go_on(e, self.block, first);
            scale_rows(e, &group.sums, scales);
            group.softmax.pack(e, &group.weights);
        }
        self.add_values(e);
        e.b.assign(Ty::B32, first, next);
        let more = e.b.compare(Compare::Lt, Ty::S32, first, self.block.n_keys);
        e.b.push(Instruction::Branch { to: begin, guard: Some((more, true)) });
        e.b.place(end);
    }
}

/// Waits for all copies, of all threads.
fn arrive(e: &mut Emitter) {
    e.b.push(Instruction::CommitGroup);
    e.b.push(Instruction::WaitGroup(0));
    e.b.push(Instruction::Barrier);
}
