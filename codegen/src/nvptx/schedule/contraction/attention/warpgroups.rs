//! Attention by products of warpgroups, `sm_90a` only: heads of 64 or 128.
//!
//! A block has 128 queries, two warpgroups of 64. While the tensor cores add a tile's values, its successor's scores are
//! computed and turned into weights; keys and values are copied a tile ahead.

use super::softmax::{Softmax, scale_rows};
use super::tiles::{Layout, Rows};
use super::{Block, Flash, STEP, WARP_ROWS};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Left, Operand, Reg, Rounding, Special, Ty, WarpgroupMma};
use crate::nvptx::schedule::contraction::Scheduled;
use crate::nvptx::schedule::contraction::result::store;
use crate::nvptx::schedule::contraction::wgmma::descriptor;

/// Queries of a block, 64 a warpgroup.
const QUERIES: i64 = 128;
/// Keys of a tile.
const KEYS: i64 = 128;
const THREADS: i64 = 256;

pub(super) fn generate(flash: &Flash, aligned: &[bool]) -> Result<Scheduled, String> {
    let problem = &flash.product;
    let mut e = Emitter::new(&problem.params, aligned);
    let special = [Special::Block, Special::Thread].map(|special| e.b.special(special));
    let block = Block::new(&mut e, flash, special, QUERIES, KEYS);
    let layout = Layout::in_blocks(KEYS, flash.width);
    let shared = e.b.shared((5 * layout.bytes()) as u32);
    let sides = [(&problem.a, 0), (&flash.keys, 1), (&flash.values, 3)];
    let [queries, keys, values] = sides.map(|(side, tile)| {
        let start = shared + (tile * layout.bytes()) as u32;
        Rows::new(&mut e, side, &block, (layout, flash.width), (start, THREADS), aligned)
    });
    let group = e.b.binary(Binary::Shr, Ty::U32, block.thread, 7);
    let of_group = e.b.fma(Ty::S32, group, layout.block_bytes() / 2, queries.start);
    let (warp, lane) = (block.warp(&mut e), block.lane(&mut e));
    let row = e.b.mul(warp.into(), Operand::Int(WARP_ROWS));
    let row = e.b.add(block.place.row, row);
    let products = Products {
        block: &block,
        needs_fence: [&queries, &keys, &values].iter().any(|rows| !rows.is_async),
        queries: Factor::new(&mut e, layout, of_group),
        keys: Factor::new(&mut e, layout, keys.start),
        values: Factor::new(&mut e, layout, values.start),
        always: e.b.compare(Compare::Eq, Ty::S32, lane, lane),
        never: e.b.compare(Compare::Ne, Ty::S32, lane, lane),
        sums: (0..flash.width / 2).map(|_| e.b.mov(Ty::F32, 0.0f32)).collect(),
        weights: (0..KEYS / 4).map(|_| e.b.reg(Class::B32)).collect(),
        softmax: Softmax::new(&mut e, &block, row),
    };
    products.main_loop(&mut e, [&queries, &keys, &values]);
    products.softmax.finish(&mut e, &products.sums);
    store(&mut e, problem, &block.place, (row, Operand::Int(0)), lane, products.sums.as_chunks().0)?;
    Ok(Scheduled::new(e, THREADS as u32, problem.tiles(QUERIES, flash.width), "flash"))
}

/// A tile in the first slot as a factor, by its descriptor.
#[derive(Clone, Copy)]
struct Factor {
    descriptor: Reg,
    layout: Layout,
}

impl Factor {
    fn new(e: &mut Emitter, layout: Layout, start: Reg) -> Factor {
        Factor { descriptor: descriptor(e, start, layout.rows), layout }
    }

    /// The descriptor of step `step` along columns, of the slot at `slot`.
    fn along(self, e: &mut Emitter, step: i64, slot: Reg) -> Reg {
        let per_block = self.layout.row_bytes / (2 * STEP);
        self.further(e, step / per_block * self.layout.block_bytes() + step % per_block * 2 * STEP, slot)
    }

    /// The descriptor of step `step` along rows, of the slot at `slot`.
    fn across(self, e: &mut Emitter, step: i64, slot: Reg) -> Reg {
        self.further(e, step * STEP * self.layout.row_bytes, slot)
    }

    fn further(self, e: &mut Emitter, bytes: i64, slot: Reg) -> Reg {
        let slot = e.b.binary(Binary::Shr, Ty::U32, slot, 4);
        let further = e.b.cvt(Rounding::None, Ty::U64, Ty::U32, slot);
        let descriptor = e.b.binary(Binary::Add, Ty::S64, self.descriptor, further);
        if bytes == 0 { descriptor } else { e.b.binary(Binary::Add, Ty::S64, descriptor, bytes / 16) }
    }
}

/// What a warpgroup multiplies.
struct Products<'a> {
    block: &'a Block<'a>,
    /// Whether anything is stored to shared memory other than by `cp.async`.
    needs_fence: bool,
    queries: Factor,
    keys: Factor,
    values: Factor,
    /// A predicate that holds, and one that does not.
    always: Reg,
    never: Reg,
    softmax: Softmax<'a>,
    /// The weighted sum of values.
    sums: Vec<Reg>,
    /// Weights of a tile, two a register.
    weights: Vec<Reg>,
}

impl Products<'_> {
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
        for step in 0..self.block.flash.width / STEP {
            let (a, b) = (self.queries.along(e, step, zero), self.keys.along(e, step, slot));
            e.b.push(Instruction::WarpgroupMma(Box::new(WarpgroupMma {
                kind: self.block.flash.kind(),
                acc: self.softmax.scores.clone(),
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
                kind: self.block.flash.kind(),
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
    fn main_loop(&self, e: &mut Emitter, [queries, keys, values]: [&Rows; 3]) {
        let tile_bytes = KEYS * self.block.flash.width * 2;
        let (this, other) = (e.b.mov(Ty::B32, 0), e.b.mov(Ty::B32, tile_bytes));
        queries.copy(e, self.block.place.row, Operand::Int(0));
        keys.copy(e, Operand::Int(0), this.into());
        e.b.push(Instruction::CommitGroup);
        keys.copy(e, Operand::Int(KEYS), other.into());
        values.copy(e, Operand::Int(0), this.into());
        e.b.push(Instruction::CommitGroup);
        self.arrive(e, 1);
        e.b.push(Instruction::WarpgroupFence);
        self.begin_scores(e, this);
        e.b.push(Instruction::WarpgroupWait(0));
        let first = e.b.mov(Ty::B32, 0);
        self.softmax.begin(e, self.block, first);
        self.softmax.pack(e, &self.weights);
        // The first key of the tile after that whose weights are there.
        let next = e.b.mov(Ty::B32, KEYS);
        let (begin, last) = (e.b.label(), e.b.label());
        let more = e.b.compare(Compare::Lt, Ty::S32, next, self.block.n_keys);
        e.b.push(Instruction::Branch { to: last, guard: Some((more, false)) });
        e.b.place(begin);
        e.b.push(Instruction::NoUnroll);
        self.arrive(e, 0);
        e.b.push(Instruction::WarpgroupFence);
        self.begin_scores(e, other);
        self.begin_sums(e, this);
        let following = e.b.add(next.into(), Operand::Int(KEYS));
        keys.copy(e, following, this.into());
        values.copy(e, next.into(), other.into());
        e.b.push(Instruction::CommitGroup);
        e.b.push(Instruction::WarpgroupWait(1));
        let scales = self.softmax.go_on(e, self.block, next);
        e.b.push(Instruction::WarpgroupWait(0));
        scale_rows(e, &self.sums, scales);
        self.softmax.pack(e, &self.weights);
        let swapped = e.b.mov(Ty::B32, this);
        e.b.assign(Ty::B32, this, other);
        e.b.assign(Ty::B32, other, swapped);
        e.b.assign(Ty::B32, next, following);
        let more = e.b.compare(Compare::Lt, Ty::S32, next, self.block.n_keys);
        e.b.push(Instruction::Branch { to: begin, guard: Some((more, true)) });
        e.b.place(last);
        self.arrive(e, 0);
        e.b.push(Instruction::WarpgroupFence);
        self.begin_sums(e, this);
        e.b.push(Instruction::WarpgroupWait(0));
    }
}
