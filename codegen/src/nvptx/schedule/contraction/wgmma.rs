//! f16 and bf16 products of warpgroups: `wgmma` with f32 accumulators, both operands from a ring of swizzled stages of
//! shared memory that `cp.async` fills ahead. `sm_90a` only.
//!
//! A stage is 64 steps of K. In shared memory a tile is blocks of 128 bytes of each row, whose chunks of 16 bytes are
//! swizzled as the tensor cores have it (section 9.7.15.5.1): rows of K, or rows of M or N where those are contiguous.
//! There is no `fence.proxy.async` between copies and products, which the ISA asks for: it would wait for all copies in
//! flight. On hardware `cp.async.wait_group` and a barrier are enough, and CUTLASS relies on that too.
//!
//! While a stage is multiplied, the one before still may be; a ring of `n` stages holds `n - 2` that are copied.

use super::mma::staged::{BLOCK_BYTES, Layout, Ring, Staged, is_async};
use super::result::store;
use super::{Contraction, Scheduled, place_in_groups};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{
    Binary, Class, Compare, Instruction, Left, MmaKind, Operand, Reg, Rounding, Special, Ty, WarpgroupMma,
};

/// Bytes of K of a stage: four steps of tensor cores.
const DEPTH_BYTES: i64 = BLOCK_BYTES;
/// Steps of K of a stage, and of an instruction.
const DEPTH: i64 = 64;
const STEP: i64 = 16;
/// Rows of a warpgroup's product.
const ROWS: i64 = 64;
/// Blocks that keep a GPU busy, about.
const N_BLOCKS: i64 = 100;
/// Blocks that run at a time, one a multiprocessor.
const N_PROCESSORS: i64 = 132;
/// Rows that `mma.sync` has a tile for.
const FEW_ROWS: i64 = 16;

/// A block's tile, of 64 rows a warpgroup, and how many stages its ring has.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    rows: i64,
    columns: i64,
    stages: i64,
    name: &'static str,
}

/// Two warpgroups, 192 KiB: most products per byte from the cache.
const WIDE: Tile = Tile { rows: 128, columns: 256, stages: 4, name: "wgmma_128x256" };
/// Two warpgroups, 96 KiB, two blocks at a time.
const LARGE: Tile = Tile { rows: 128, columns: 128, stages: 3, name: "wgmma_128x128" };
/// One warpgroup, 96 KiB, two blocks at a time.
const SMALL: Tile = Tile { rows: 64, columns: 128, stages: 4, name: "wgmma_64x128" };
/// One warpgroup, 64 KiB, three blocks at a time.
const NARROW: Tile = Tile { rows: 64, columns: 64, stages: 4, name: "wgmma_64x64" };
/// Shared memory of the ring of a block that has a multiprocessor for itself.
const RING_BYTES: i64 = 192 << 10;

impl Tile {
    fn threads(&self) -> i64 {
        self.rows / ROWS * 128
    }

    /// Bytes of a stage: A's rows, then B's columns.
    fn stage_bytes(&self) -> i64 {
        (self.rows + self.columns) * DEPTH_BYTES
    }

    /// With all memory for copies.
    fn deep(self) -> Tile {
        Tile { stages: RING_BYTES / self.stage_bytes(), ..self }
    }
}

/// The largest tiles of which there are enough for a GPU, if operands can be copied 16 bytes at a time and fill tiles.
pub(super) fn choose(problem: &Contraction, kind: MmaKind, aligned: &[bool]) -> Option<Tile> {
    let is_deep = problem.k.as_const().is_some_and(|k| k >= DEPTH);
    let columns = problem.b.extent.as_const().filter(|&n| n >= NARROW.columns)?;
    let are_copied = [&problem.a, &problem.b].iter().all(|side| is_async(side, kind, aligned));
    if kind == MmaKind::Tf32 || !is_deep || !are_copied {
        return None;
    }
    let Some(rows) = problem.a.extent.as_const() else {
        return Some(if columns < SMALL.columns { NARROW } else { SMALL });
    };
    let n_blocks = |tile: &Tile| problem.tiles(tile.rows, tile.columns).as_const().unwrap_or(0);
    let enough = |tile: &Tile| n_blocks(tile) >= N_BLOCKS;
    // What windows need of registers is too much beside the widest tiles.
    let is_plain = problem.a.window.is_none();
    let tile = match rows {
        _ if rows <= FEW_ROWS => return None,
        _ if is_plain && rows >= 2 * WIDE.rows && columns >= WIDE.columns && enough(&WIDE) => return Some(WIDE),
        _ if rows >= LARGE.rows && columns >= LARGE.columns && enough(&LARGE) => LARGE,
        _ if columns < SMALL.columns || n_blocks(&NARROW) <= N_PROCESSORS => NARROW,
        _ => SMALL,
    };
    Some(if n_blocks(&tile) <= N_PROCESSORS { tile.deep() } else { tile })
}

pub(super) fn generate(
    problem: &Contraction,
    tile: Tile,
    kind: MmaKind,
    aligned: &[bool],
) -> Result<Scheduled, String> {
    let mut e = Emitter::new(&problem.params, aligned);
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let place = place_in_groups(&mut e, problem, block, tile.rows, tile.columns);
    let shared = e.b.shared((tile.stage_bytes() * tile.stages) as u32);
    let ring = Ring { layout: Layout::Blocks, threads: tile.threads(), depth_bytes: DEPTH_BYTES };
    let (rows, columns) = ((place.row, tile.rows), (place.column, tile.columns));
    let a = Staged::new(&mut e, &problem.a, &place, rows, thread, (ring, kind), shared, aligned);
    let shared = shared + (tile.rows * DEPTH_BYTES) as u32;
    let b = Staged::new(&mut e, &problem.b, &place, columns, thread, (ring, kind), shared, aligned);
    let group = e.b.binary(Binary::Shr, Ty::U32, thread, 7);
    let group_start = e.b.fma(Ty::S32, group, ROWS * DEPTH_BYTES, a.start);
    let accumulators: Vec<Reg> = (0..tile.columns / 2).map(|_| e.b.mov(Ty::F32, 0.0f32)).collect();
    let always = e.b.compare(Compare::Eq, Ty::S32, thread, thread);
    let products = Products {
        tile,
        kind,
        a: Factor { descriptor: descriptor(&mut e, group_start, DEPTH), across: !a.along_k },
        b: Factor { descriptor: descriptor(&mut e, b.start, DEPTH), across: !b.along_k },
        accumulators,
        always,
    };
    main_loop(&mut e, problem, [&a, &b], &products);
    let lane = e.b.binary(Binary::And, Ty::B32, thread, 31);
    let warp = e.b.binary(Binary::Shr, Ty::U32, thread, 5);
    let warp_row = e.b.mul(warp.into(), Operand::Int(16));
    let row = e.b.add(place.row, warp_row);
    let blocks: Vec<[Reg; 4]> = products.accumulators.as_chunks().0.to_vec();
    store(&mut e, problem, &place, (row, place.column), lane, &blocks)?;
    Ok(Scheduled::new(e, tile.threads() as u32, problem.tiles(tile.rows, tile.columns), tile.name))
}

/// A factor in the first stage.
#[derive(Clone, Copy)]
struct Factor {
    descriptor: Reg,
    /// Whether rows of memory are along M or N.
    across: bool,
}

impl Factor {
    /// The descriptor of step `step` of the stage `further` (in units of 16 bytes) after the first.
    fn at(self, e: &mut Emitter, step: i64, further: Reg) -> Reg {
        let bytes = if self.across { STEP * BLOCK_BYTES } else { STEP * 2 };
        let descriptor = e.b.binary(Binary::Add, Ty::S64, self.descriptor, further);
        if step == 0 { descriptor } else { e.b.binary(Binary::Add, Ty::S64, descriptor, step * bytes / 16) }
    }
}

/// The descriptor of a factor whose first block is at `start` (section 9.7.15.5.1.2.2): 8 rows of 128 swizzled bytes are
/// followed by the next 8, and blocks of `block_rows` rows by the next. Blocks only matter where rows are steps of K.
pub(super) fn descriptor(e: &mut Emitter, start: Reg, block_rows: i64) -> Reg {
    let (leading, stride, swizzle) = (block_rows * BLOCK_BYTES / 16, 8 * BLOCK_BYTES / 16, 1i64);
    let start = e.b.binary(Binary::Shr, Ty::U32, start, 4);
    let start = e.b.cvt(Rounding::None, Ty::U64, Ty::U32, start);
    e.b.binary(Binary::Add, Ty::S64, start, leading << 16 | stride << 32 | swizzle << 62)
}

/// What a warpgroup multiplies.
struct Products {
    tile: Tile,
    kind: MmaKind,
    a: Factor,
    b: Factor,
    accumulators: Vec<Reg>,
    /// A predicate that holds.
    always: Reg,
}

impl Products {
    /// Begins to multiply the stage at `stage`.
    fn begin(&self, e: &mut Emitter, stage: Reg) {
        let further = e.b.binary(Binary::Shr, Ty::U32, stage, 4);
        let further = e.b.cvt(Rounding::None, Ty::U64, Ty::U32, further);
        e.b.push(Instruction::WarpgroupFence);
        for step in 0..DEPTH / STEP {
            let (a, b) = (self.a.at(e, step, further), self.b.at(e, step, further));
            e.b.push(Instruction::WarpgroupMma(Box::new(WarpgroupMma {
                kind: self.kind,
                acc: self.accumulators.clone(),
                a: Left::Memory(a, self.a.across),
                b,
                b_across: self.b.across,
                accumulates: self.always,
            })));
        }
        e.b.push(Instruction::WarpgroupCommit);
    }
}

/// All of K, of which there is a stage at least.
fn main_loop(e: &mut Emitter, problem: &Contraction, sides: [&Staged; 2], products: &Products) {
    let tile = products.tile;
    let extent = e.dim(&problem.k);
    let ahead = tile.stages - 2;
    for stage in 0..ahead {
        let at = e.b.mov(Ty::B32, stage * tile.stage_bytes());
        sides.iter().for_each(|side| side.copy(e, problem, Operand::Int(stage * DEPTH), at));
        e.b.push(Instruction::CommitGroup);
    }
    // Where the stages begin that are multiplied and copied to.
    let (read, write) = (e.b.mov(Ty::B32, 0), e.b.mov(Ty::B32, ahead * tile.stage_bytes()));
    let k = e.b.reg(Class::B32);
    e.b.assign(Ty::B32, k, 0);
    let begin = e.b.label();
    e.b.place(begin);
    e.b.push(Instruction::NoUnroll);
    e.b.push(Instruction::WaitGroup(ahead as u32 - 1));
    // What was copied is there for all, and all are done with the stage before the last.
    e.b.push(Instruction::Barrier);
    products.begin(e, read);
    let next = e.b.add(k.into(), Operand::Int(ahead * DEPTH));
    sides.iter().for_each(|side| side.copy(e, problem, next, write));
    e.b.push(Instruction::CommitGroup);
    e.b.push(Instruction::WarpgroupWait(1));
    for at in [read, write] {
        let further = e.b.binary(Binary::Add, Ty::S32, at, tile.stage_bytes());
        let is_end = e.b.compare(Compare::Eq, Ty::S32, further, tile.stage_bytes() * tile.stages);
        let further = e.b.select(Ty::B32, is_end, 0, further);
        e.b.assign(Ty::B32, at, further);
    }
    let further = e.b.binary(Binary::Add, Ty::S32, k, DEPTH);
    e.b.assign(Ty::B32, k, further);
    let more = e.b.compare(Compare::Lt, Ty::S32, k, extent);
    e.b.push(Instruction::Branch { to: begin, guard: Some((more, true)) });
    e.b.push(Instruction::WarpgroupWait(0));
}
