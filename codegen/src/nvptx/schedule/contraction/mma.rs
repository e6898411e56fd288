//! f16, bf16 and tf32 products on tensor cores: `mma.sync` with f32 accumulators, operands through `ldmatrix` from a ring
//! of swizzled stages of shared memory that `cp.async` fills ahead.
//!
//! A tile lies in shared memory as it lies in memory: rows of K, or rows of M or N where those are contiguous; then
//! `ldmatrix` transposes halves, and words are loaded one by one. Chunks of 16 bytes are swizzled within 128 bytes, so
//! that what is read at a time hits all banks once. f32 is rounded to tf32, ties away from zero, as fragments are read.
//!
//! A stage is two steps of tensor cores. While the fragments of a step are multiplied, those of the next are read, across
//! the barrier between stages too.

mod fragments;
pub(super) mod staged;

use super::result::store;
use super::{Contraction, Scheduled, Side, place_in_groups};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Instruction, MmaKind, Operand, Reg, Special, Ty};
use fragments::{Fragments, Order};
use ic_types::Dim;
use staged::{Layout, Ring, Staged};

/// Bytes of K of a stage: two steps of tensor cores.
const DEPTH_BYTES: i64 = 64;
/// Bytes that are copied at a time.
const CHUNK_BYTES: i64 = 16;
/// Blocks that a GPU runs at a time, about.
const N_BLOCKS: i64 = 100;

/// Sizes in elements of the factors' type.
impl MmaKind {
    pub(super) fn bytes(self) -> i64 {
        if self == MmaKind::Tf32 { 4 } else { 2 }
    }

    /// Steps of K of a stage.
    fn depth(self) -> i64 {
        DEPTH_BYTES / self.bytes()
    }

    /// Elements that are copied at a time.
    fn chunk(self) -> i64 {
        CHUNK_BYTES / self.bytes()
    }

    /// What elements are in registers.
    fn ty(self) -> Ty {
        if self == MmaKind::Tf32 { Ty::B32 } else { Ty::B16 }
    }
}

/// A block's tile, how warps divide it, and how many stages its ring has.
struct Tile {
    rows: i64,
    columns: i64,
    warp_rows: i64,
    warp_columns: i64,
    stages: i64,
    name: &'static str,
}

/// Eight warps of 64 × 64, 96 KiB: most products per byte from the cache.
const WIDE: Tile = Tile { rows: 128, columns: 256, warp_rows: 64, warp_columns: 64, stages: 4, name: "mma_128x256" };
/// Four warps of 64 × 64, 48 KiB.
const LARGE: Tile = Tile { rows: 128, columns: 128, warp_rows: 64, warp_columns: 64, stages: 3, name: "mma_128x128" };
/// Eight warps of 64 × 32, 48 KiB, where conversions and addresses take registers.
const LARGE_EIGHT: Tile = Tile { warp_columns: 32, ..LARGE };
/// Four warps of 32 × 32, 32 KiB.
const SMALL: Tile = Tile { rows: 64, columns: 64, warp_rows: 32, warp_columns: 32, stages: 4, name: "mma_64x64" };

/// Two warps of 16 × 16, 48 KiB: few rows, so that much of B is on its way at a time.
const NARROW: Tile = Tile { rows: 16, columns: 32, warp_rows: 16, warp_columns: 16, stages: 16, name: "mma_16x32" };

impl Tile {
    fn warps_across(&self) -> i64 {
        self.columns / self.warp_columns
    }

    fn threads(&self) -> i64 {
        self.rows / self.warp_rows * self.warps_across() * 32
    }

    fn ring(&self) -> Ring {
        Ring { layout: Layout::Rows, threads: self.threads(), depth_bytes: DEPTH_BYTES }
    }

    /// Bytes of a stage: A's rows, then B's columns.
    fn stage_bytes(&self) -> i64 {
        (self.rows + self.columns) * DEPTH_BYTES
    }
}

/// The largest tiles of which there are enough for a GPU; large ones only where both extents are known to fill some.
fn choose(problem: &Contraction, kind: MmaKind, aligned: &[bool]) -> &'static Tile {
    let is_narrow = problem.a.extent.as_const().is_some_and(|extent| extent <= NARROW.rows);
    if is_narrow && kind != MmaKind::Tf32 && problem.a.window.is_none() && staged::is_along_k(&problem.a) {
        return &NARROW;
    }
    let fills = |dim: &Dim| dim.as_const().is_some_and(|extent| extent >= 256);
    if !fills(&problem.a.extent) || !fills(&problem.b.extent) {
        return &SMALL;
    }
    let enough = |tile: &Tile| problem.tiles(tile.rows, tile.columns).as_const().is_some_and(|n| n >= N_BLOCKS);
    let is_plain = |side: &Side| side.window.is_none() && staged::is_async(side, kind, aligned);
    if kind == MmaKind::Tf32 || !is_plain(&problem.a) || !is_plain(&problem.b) {
        &LARGE_EIGHT
    } else if enough(&WIDE) {
        &WIDE
    } else {
        &LARGE
    }
}

pub(super) fn generate(problem: &Contraction, kind: MmaKind, aligned: &[bool]) -> Result<Scheduled, String> {
    let tile = choose(problem, kind, aligned);
    let mut e = Emitter::new(&problem.params, aligned);
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let place = place_in_groups(&mut e, problem, block, tile.rows, tile.columns);
    let shared = e.b.shared((tile.stage_bytes() * tile.stages) as u32);
    let lane = e.b.binary(Binary::And, Ty::B32, thread, 31);
    let warp = e.b.binary(Binary::Shr, Ty::U32, thread, 5);
    let (warp_row, warp_column) = e.b.div_rem(warp.into(), Operand::Int(tile.warps_across()));
    let warp_row = e.b.mul(warp_row, Operand::Int(tile.warp_rows));
    let warp_column = e.b.mul(warp_column, Operand::Int(tile.warp_columns));
    let (rows, columns) = ((place.row, tile.rows), (place.column, tile.columns));
    let a = Staged::new(&mut e, &problem.a, &place, rows, thread, (tile.ring(), kind), shared, aligned);
    let shared = shared + (tile.rows * DEPTH_BYTES) as u32;
    let b = Staged::new(&mut e, &problem.b, &place, columns, thread, (tile.ring(), kind), shared, aligned);
    let a_fragments = Fragments::new(&mut e, &a, lane, warp_row, tile.warp_rows, Order::RowsFirst);
    let b_fragments = Fragments::new(&mut e, &b, lane, warp_column, tile.warp_columns, Order::DepthFirst);
    let n = (tile.warp_rows / 16 * tile.warp_columns / 8) as usize;
    let accumulators: Vec<[Reg; 4]> = (0..n).map(|_| [(); 4].map(|()| e.b.mov(Ty::F32, 0.0f32))).collect();
    let warp = Warp { tile, kind, a: a_fragments, b: b_fragments, accumulators };
    main_loop(&mut e, problem, [&a, &b], &warp);
    let row = e.b.add(place.row, warp_row);
    let column = e.b.add(place.column, warp_column);
    let across = (tile.warp_columns / 8) as usize;
    for (i, blocks) in warp.accumulators.chunks(across).enumerate() {
        let row = e.b.add(row, Operand::Int(i as i64 * 16));
        store(&mut e, problem, &place, (row, column), lane, blocks)?;
    }
    Ok(Scheduled::new(e, tile.threads() as u32, problem.tiles(tile.rows, tile.columns), tile.name))
}

/// What a warp multiplies.
struct Warp<'a> {
    tile: &'a Tile,
    kind: MmaKind,
    a: Fragments<'a>,
    b: Fragments<'a>,
    /// Rows of 16 by columns of 8.
    accumulators: Vec<[Reg; 4]>,
}

impl Warp<'_> {
    /// Reads the fragments of a step of the stage at `stage`.
    fn load(&self, e: &mut Emitter, step: usize, stage: Reg) {
        self.a.load(e, step, stage);
        self.b.load(e, step, stage);
    }

    /// Multiplies the fragments of a step.
    fn multiply(&self, e: &mut Emitter, step: usize) {
        let across = (self.tile.warp_columns / 8) as usize;
        for (i, &acc) in self.accumulators.iter().enumerate() {
            let (row, column) = (i / across, i % across);
            let pair = self.b.registers[step][column / 2];
            let b = if column % 2 == 0 { [pair[0], pair[1]] } else { [pair[2], pair[3]] };
            e.b.push(Instruction::Mma { kind: self.kind, acc, a: self.a.registers[step][row], b });
        }
    }
}

/// All of K. Of a ring of `n` stages one is multiplied while `n - 1` are copied.
fn main_loop(e: &mut Emitter, problem: &Contraction, sides: [&Staged; 2], warp: &Warp) {
    let (tile, depth) = (warp.tile, warp.kind.depth());
    let extent = e.dim(&problem.k);
    for stage in 0..tile.stages - 1 {
        let at = e.b.mov(Ty::B32, stage * tile.stage_bytes());
        let k = Operand::Int(stage * depth);
        sides.iter().for_each(|side| side.copy(e, problem, k, at));
        e.b.push(Instruction::CommitGroup);
    }
    let wait = |e: &mut Emitter| {
        e.b.push(Instruction::WaitGroup(tile.stages as u32 - 2));
        // What was copied is there for all, and nobody reads the stage before any more.
        e.b.push(Instruction::Barrier);
    };
    // Where the stages begin that are multiplied and copied to.
    let (read, write) = (e.b.mov(Ty::B32, 0), e.b.mov(Ty::B32, (tile.stages - 1) * tile.stage_bytes()));
    // What follows the stage that is multiplied.
    let next = e.b.mov(Ty::B32, depth);
    wait(e);
    warp.load(e, 0, read);
    let (begin, last) = (e.b.label(), e.b.label());
    let more = e.b.compare(Compare::Lt, Ty::S32, next, extent);
    e.b.push(Instruction::Branch { to: last, guard: Some((more, false)) });
    e.b.place(begin);
    // The fragments of two steps are all that registers have room for.
    e.b.push(Instruction::NoUnroll);
    warp.load(e, 1, read);
    let k = e.b.add(next.into(), Operand::Int((tile.stages - 2) * depth));
    sides.iter().for_each(|side| side.copy(e, problem, k, write));
    e.b.push(Instruction::CommitGroup);
    warp.multiply(e, 0);
    for at in [read, write] {
        let further = e.b.binary(Binary::Add, Ty::S32, at, tile.stage_bytes());
        let is_end = e.b.compare(Compare::Eq, Ty::S32, further, tile.stage_bytes() * tile.stages);
        let further = e.b.select(Ty::B32, is_end, 0, further);
        e.b.assign(Ty::B32, at, further);
    }
    let further = e.b.binary(Binary::Add, Ty::S32, next, depth);
    e.b.assign(Ty::B32, next, further);
    wait(e);
    warp.load(e, 0, read);
    warp.multiply(e, 1);
    let more = e.b.compare(Compare::Lt, Ty::S32, next, extent);
    e.b.push(Instruction::Branch { to: begin, guard: Some((more, true)) });
    e.b.place(last);
    warp.load(e, 1, read);
    warp.multiply(e, 0);
    warp.multiply(e, 1);
}
