//! f16, bf16 and tf32 products on tensor cores: `mma.sync` with f32 accumulators, operands through `ldmatrix` from a ring
//! of swizzled stages of shared memory that `cp.async` fills ahead.
//!
//! A tile lies in shared memory as it lies in memory: rows of K, or rows of M or N where those are contiguous; then
//! `ldmatrix` transposes halves, and words are loaded one by one. Chunks of 16 bytes are swizzled within 128 bytes, so
//! that what is read at a time hits all banks once. f32 is rounded to tf32, ties away from zero, as fragments are read.
//!
//! A stage is two steps of tensor cores for each warp. While the fragments of a step are multiplied, those of the next are
//! read, across the barrier between stages too. Under few rows, warps share the steps of a stage instead of columns, and
//! add up their sums in the end ([`reduce`]).
//!
//! Constant right operands that are made of integers are stored as those, and widened in registers ([`packed`]).

mod fragments;
mod packed;
mod reduce;
pub(super) mod staged;

use super::result::store;
use super::{Contraction, Place, Scheduled, Side, place_in_groups};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Instruction, MmaKind, Operand, Reg, Special, Ty};
use crate::shared::weights::{Packing, WidenedShape};
use fragments::{Fragments, Order};
use ic_types::Dim;
use packed::Packed;
use staged::{Layout, Ring, Staged};

/// Bytes of K of a warp's part of a stage: two steps of tensor cores.
const DEPTH_BYTES: i64 = 64;
/// Bytes that are copied at a time.
const CHUNK_BYTES: i64 = 16;
/// Blocks that a GPU runs at a time, about.
const N_BLOCKS: i64 = 100;
/// Blocks whose copies in flight are enough for memory to be busy.
const N_COPYING: i64 = 64;

/// Sizes in elements of the factors' type.
impl MmaKind {
    pub(super) fn bytes(self) -> i64 {
        if self == MmaKind::Tf32 { 4 } else { 2 }
    }

    /// Steps of K of a warp's part of a stage.
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
    /// Warps that share the steps of a stage.
    splits: i64,
    stages: i64,
    name: &'static str,
}

/// Eight warps of 64 × 64, 96 KiB: most products per byte from the cache.
const WIDE: Tile = Tile { columns: 256, stages: 4, name: "mma_128x256", ..LARGE };
/// Four warps of 64 × 64, 48 KiB.
const LARGE: Tile =
    Tile { rows: 128, columns: 128, warp_rows: 64, warp_columns: 64, splits: 1, stages: 3, name: "mma_128x128" };
/// Eight warps of 64 × 32, 48 KiB, where conversions and addresses take registers.
const LARGE_EIGHT: Tile = Tile { warp_columns: 32, ..LARGE };
/// Four warps of 32 × 32, 32 KiB.
const SMALL: Tile =
    Tile { rows: 64, columns: 64, warp_rows: 32, warp_columns: 32, splits: 1, stages: 4, name: "mma_64x64" };

/// Four warps that share steps of 16 × 64, 80 KiB: few rows, so that much of B is on its way at a time.
const FLAT: Tile =
    Tile { rows: 16, columns: 64, warp_rows: 16, warp_columns: 64, splits: 4, stages: 4, name: "mma_16x64" };
/// Four warps that share steps of 16 × 32, 60 KiB.
const NARROW: Tile = Tile { columns: 32, warp_columns: 32, stages: 5, name: "mma_16x32", ..FLAT };

impl Tile {
    fn warps_across(&self) -> i64 {
        self.columns / self.warp_columns
    }

    fn warps_down(&self) -> i64 {
        self.rows / self.warp_rows
    }

    fn threads(&self) -> i64 {
        self.warps_down() * self.warps_across() * self.splits * 32
    }

    /// Steps of K of a stage.
    fn depth(&self, kind: MmaKind) -> i64 {
        self.splits * kind.depth()
    }

    fn ring(&self) -> Ring {
        Ring { layout: Layout::Rows, threads: self.threads(), depth_bytes: self.splits * DEPTH_BYTES }
    }

    /// Bytes of A's rows in a stage.
    fn left_bytes(&self) -> i64 {
        self.rows * self.splits * DEPTH_BYTES
    }

    /// Bytes of B's columns in a stage.
    fn right_bytes(&self, integers: Option<&WidenedShape>) -> i64 {
        let plain = self.columns * self.splits * DEPTH_BYTES;
        integers.map_or(plain, |shape| plain * i64::from(shape.bits) / 16)
    }
}

/// What of a block's tile a warp has.
struct WarpPlace {
    row: Operand,
    column: Operand,
    /// Its part of the steps of a stage.
    split: Operand,
}

impl WarpPlace {
    fn new(e: &mut Emitter, tile: &Tile, thread: Reg) -> WarpPlace {
        let warp = e.b.binary(Binary::Shr, Ty::U32, thread, 5);
        let (rest, column) = e.b.div_rem(warp.into(), Operand::Int(tile.warps_across()));
        let (split, row) =
            if tile.splits == 1 { (Operand::Int(0), rest) } else { e.b.div_rem(rest, Operand::Int(tile.warps_down())) };
        let row = e.b.mul(row, Operand::Int(tile.warp_rows));
        let column = e.b.mul(column, Operand::Int(tile.warp_columns));
        WarpPlace { row, column, split }
    }
}

/// The largest tiles of which there are enough for a GPU; large ones only where both extents are known to fill some.
fn choose(problem: &Contraction, kind: MmaKind, aligned: &[bool], integers: Option<&WidenedShape>) -> &'static Tile {
    let enough =
        |tile: &Tile, n: i64| problem.tiles(tile.rows, tile.columns).as_const().is_some_and(|tiles| tiles >= n);
    let is_narrow = problem.a.extent.as_const().is_some_and(|extent| extent <= NARROW.rows);
    if is_narrow && kind != MmaKind::Tf32 && problem.a.window.is_none() && staged::is_along_k(&problem.a) {
        return if enough(&FLAT, N_COPYING) { &FLAT } else { &NARROW };
    }
    let fills = |dim: &Dim| dim.as_const().is_some_and(|extent| extent >= 256);
    if !fills(&problem.a.extent) || !fills(&problem.b.extent) {
        return &SMALL;
    }
    let is_plain = |side: &Side| side.window.is_none() && staged::is_async(side, kind, aligned);
    let are_plain = is_plain(&problem.a) && (integers.is_some() || is_plain(&problem.b));
    if kind == MmaKind::Tf32 || !are_plain {
        &LARGE_EIGHT
    } else if enough(&WIDE, N_BLOCKS) {
        &WIDE
    } else {
        &LARGE
    }
}

/// How the right operand is stored as integers, where fragments can be made of them.
pub(super) fn integers(problem: &Contraction, kind: MmaKind) -> Option<&WidenedShape> {
    problem.integers.as_ref().filter(|shape| packed::takes(shape, kind))
}

pub(super) fn generate(problem: &Contraction, kind: MmaKind, aligned: &[bool]) -> Result<Scheduled, String> {
    let integers = integers(problem, kind);
    let tile = choose(problem, kind, aligned, integers);
    let mut e = Emitter::new(&problem.params, aligned);
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let place = place_in_groups(&mut e, problem, block, tile.rows, tile.columns);
    let stage_bytes = tile.left_bytes() + tile.right_bytes(integers);
    // Of integers, the memory holds more stages.
    let stages = tile.stages * (tile.left_bytes() + tile.right_bytes(None)) / stage_bytes;
    let ring = e.b.shared((stage_bytes * stages) as u32);
    let lane = e.b.binary(Binary::And, Ty::B32, thread, 31);
    let at = WarpPlace::new(&mut e, tile, thread);
    let rows = (place.row, tile.rows);
    let a = Staged::new(&mut e, &problem.a, &place, rows, thread, (tile.ring(), kind), ring, aligned);
    let shared = ring + tile.left_bytes() as u32;
    let b = match integers {
        Some(shape) => {
            let source = (e.buffer(problem.b.param), place.column);
            Right::Packed(Packed::new(&mut e, shape, kind, tile, source, &at, (thread, lane), shared))
        }
        None => {
            let columns = (place.column, tile.columns);
            Right::Staged(Staged::new(
                &mut e,
                &problem.b,
                &place,
                columns,
                thread,
                (tile.ring(), kind),
                shared,
                aligned,
            ))
        }
    };
    let a_fragments = Fragments::new(&mut e, &a, lane, (at.row, tile.warp_rows), at.split, Order::RowsFirst);
    let b_fragments = match &b {
        Right::Staged(b) => {
            let columns = (at.column, tile.warp_columns);
            RightFragments::Loaded(Fragments::new(&mut e, b, lane, columns, at.split, Order::DepthFirst))
        }
        Right::Packed(b) => RightFragments::Widened(b),
    };
    let n = (tile.warp_rows / 16 * tile.warp_columns / 8) as usize;
    let accumulators: Vec<[Reg; 4]> = (0..n).map(|_| [(); 4].map(|()| e.b.mov(Ty::F32, 0.0f32))).collect();
    let warp = Warp { tile, kind, stages, stage_bytes, a: a_fragments, b: b_fragments, accumulators };
    main_loop(&mut e, problem, &a, &b, &warp);
    if let Right::Packed(b) = &b {
        b.scale(&mut e, &warp.accumulators);
    }
    finish_warp(&mut e, problem, &place, &warp, &at, lane, ring)?;
    let mut scheduled = Scheduled::new(e, tile.threads() as u32, problem.tiles(tile.rows, tile.columns), tile.name);
    if let Some(shape) = integers {
        scheduled.packings.push((problem.b.param, Packing::Widened(shape.clone())));
    }
    Ok(scheduled)
}

/// Stores what a warp has, or what warps that shared steps have together.
fn finish_warp(
    e: &mut Emitter,
    problem: &Contraction,
    place: &Place,
    warp: &Warp,
    at: &WarpPlace,
    lane: Reg,
    shared: u32,
) -> Result<(), String> {
    let row = e.b.add(place.row, at.row);
    let column = e.b.add(place.column, at.column);
    if warp.tile.splits > 1 {
        let sums = reduce::sums(e, &warp.accumulators, (at.split, warp.tile.splits), lane, shared);
        let column = e.b.add(column, sums.column);
        store(e, problem, place, (row, column), lane, &sums.blocks)?;
        e.b.place(sums.end);
        return Ok(());
    }
    let across = (warp.tile.warp_columns / 8) as usize;
    for (i, blocks) in warp.accumulators.chunks(across).enumerate() {
        let row = e.b.add(row, Operand::Int(i as i64 * 16));
        store(e, problem, place, (row, column), lane, blocks)?;
    }
    Ok(())
}

/// How the right operand comes to shared memory.
enum Right<'a> {
    Staged(Staged<'a>),
    Packed(Packed<'a>),
}

impl Right<'_> {
    /// Copies the tile that begins at `k` into the stage at `stage`.
    fn copy(&self, e: &mut Emitter, problem: &Contraction, k: Operand, stage: Reg) {
        match self {
            Right::Staged(side) => side.copy(e, problem, k, stage),
            Right::Packed(side) => side.copy(e, k, stage),
        }
    }
}

/// How the right operand's fragments come to registers.
enum RightFragments<'a> {
    Loaded(Fragments<'a>),
    Widened(&'a Packed<'a>),
}

/// What a warp multiplies.
struct Warp<'a> {
    tile: &'a Tile,
    kind: MmaKind,
    stages: i64,
    stage_bytes: i64,
    a: Fragments<'a>,
    b: RightFragments<'a>,
    /// Rows of 16 by columns of 8.
    accumulators: Vec<[Reg; 4]>,
}

impl Warp<'_> {
    /// Reads what is needed for a step of the stage at `stage`.
    fn load(&self, e: &mut Emitter, step: usize, stage: Reg) {
        self.a.load(e, step, stage);
        match &self.b {
            RightFragments::Loaded(b) => b.load(e, step, stage),
            RightFragments::Widened(b) => b.load(e, step, stage),
        }
    }

    /// Prepares for the stage whose steps of K begin `next - depth`, of which the first step has been read.
    fn begin(&self, e: &mut Emitter, next: Reg) {
        if let RightFragments::Widened(b) = &self.b {
            b.begin(e, next);
        }
    }

    /// Multiplies what was read for a step.
    fn multiply(&self, e: &mut Emitter, step: usize) {
        let across = (self.tile.warp_columns / 8) as usize;
        for group in 0..across / 2 {
            let b = match &self.b {
                RightFragments::Loaded(b) => b.registers[step][group],
                RightFragments::Widened(b) => b.fragment(e, step, group),
            };
            for (row, blocks) in self.accumulators.chunks(across).enumerate() {
                let a = self.a.registers[step][row];
                for (acc, b) in [(blocks[2 * group], [b[0], b[1]]), (blocks[2 * group + 1], [b[2], b[3]])] {
                    e.b.push(Instruction::Mma { kind: self.kind, acc, a, b });
                }
            }
        }
    }
}

/// All of K. Of a ring of `n` stages one is multiplied while `n - 1` are copied.
fn main_loop(e: &mut Emitter, problem: &Contraction, a: &Staged, b: &Right, warp: &Warp) {
    let (stages, depth) = (warp.stages, warp.tile.depth(warp.kind));
    let extent = e.dim(&problem.k);
    let copy = |e: &mut Emitter, k: Operand, stage: Reg| {
        a.copy(e, problem, k, stage);
        b.copy(e, problem, k, stage);
        e.b.push(Instruction::CommitGroup);
    };
    for stage in 0..stages - 1 {
        let at = e.b.mov(Ty::B32, stage * warp.stage_bytes);
        copy(e, Operand::Int(stage * depth), at);
    }
    let wait = |e: &mut Emitter| {
        e.b.push(Instruction::WaitGroup(stages as u32 - 2));
        // What was copied is there for all, and nobody reads the stage before any more.
        e.b.push(Instruction::Barrier);
    };
    // Where the stages begin that are multiplied and copied to.
    let (read, write) = (e.b.mov(Ty::B32, 0), e.b.mov(Ty::B32, (stages - 1) * warp.stage_bytes));
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
    warp.begin(e, next);
    warp.load(e, 1, read);
    let k = e.b.add(next.into(), Operand::Int((stages - 2) * depth));
    copy(e, k, write);
    warp.multiply(e, 0);
    for at in [read, write] {
        let further = e.b.binary(Binary::Add, Ty::S32, at, warp.stage_bytes);
        let is_end = e.b.compare(Compare::Eq, Ty::S32, further, warp.stage_bytes * stages);
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
    warp.begin(e, next);
    warp.load(e, 1, read);
    warp.multiply(e, 0);
    warp.multiply(e, 1);
}
