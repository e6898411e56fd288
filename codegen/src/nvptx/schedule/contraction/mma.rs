//! f16, bf16 and tf32 products on tensor cores: `mma.sync` with f32 accumulators, operands through `ldmatrix` from two
//! swizzled stages of shared memory that `cp.async` fills.
//!
//! A tile lies in shared memory as it lies in memory: rows of K, or rows of M or N where those are contiguous; then
//! `ldmatrix` transposes halves, and words are loaded one by one. Chunks of 16 bytes are swizzled within 128 bytes, so
//! that what is read at a time hits all banks once. f32 is rounded to tf32, ties away from zero, as fragments are read.

use super::window::{Origin, Window};
use super::{Contraction, Place, Scheduled, Side, base, finish, is_aligned, place};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, MmaKind, Operand, Reg, Rounding, Space, Special, Ty};
use ic_types::Dim;

/// Bytes of K of a stage: two steps of tensor cores.
const DEPTH_BYTES: i64 = 64;
/// Bytes that are copied at a time.
const CHUNK_BYTES: i64 = 16;

/// Sizes in elements of the factors' type.
impl MmaKind {
    fn bytes(self) -> i64 {
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

/// A block's tile and how warps divide it.
struct Tile {
    rows: i64,
    columns: i64,
    warp_rows: i64,
    warp_columns: i64,
    name: &'static str,
}

/// Eight warps of 64 × 32.
const LARGE: Tile = Tile { rows: 128, columns: 128, warp_rows: 64, warp_columns: 32, name: "mma_128x128" };
/// Four warps of 32 × 32.
const SMALL: Tile = Tile { rows: 64, columns: 64, warp_rows: 32, warp_columns: 32, name: "mma_64x64" };

impl Tile {
    fn warps_across(&self) -> i64 {
        self.columns / self.warp_columns
    }

    fn threads(&self) -> i64 {
        self.rows / self.warp_rows * self.warps_across() * 32
    }
}

/// Large tiles where both extents are known to fill some.
fn choose(problem: &Contraction) -> &'static Tile {
    let fills = |dim: &Dim| dim.as_const().is_some_and(|extent| extent >= 256);
    if fills(&problem.a.extent) && fills(&problem.b.extent) { &LARGE } else { &SMALL }
}

/// A side's tiles in shared memory.
struct Staged<'a> {
    side: &'a Side,
    kind: MmaKind,
    base: Reg,
    /// Whether rows of the tile are along K.
    along_k: bool,
    /// Whether 16 bytes are copied at a time.
    is_async: bool,
    /// Rows or columns of the tile.
    width: i64,
    /// Bytes of a row of the tile.
    pitch: i64,
    /// First row or column of the tile in the matrix.
    first: Operand,
    /// The thread's row of the tile, and its first element there.
    row: Reg,
    element: Reg,
    /// Where it stores that in the first stage.
    to: Reg,
    /// The start of the first stage.
    start: Reg,
    /// The windows whose elements the thread copies, one per round.
    origins: Vec<Origin>,
}

pub(super) fn generate(problem: &Contraction, kind: MmaKind, aligned: &[bool]) -> Result<Scheduled, String> {
    let tile = choose(problem);
    let mut e = Emitter::new(&problem.params, aligned);
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let place = place(&mut e, problem, block, tile.rows, tile.columns);
    let a = stage(&mut e, &problem.a, &place, (place.row, tile.rows), thread, (tile, kind), aligned);
    let b = stage(&mut e, &problem.b, &place, (place.column, tile.columns), thread, (tile, kind), aligned);
    let lane = e.b.binary(Binary::And, Ty::B32, thread, 31);
    let warp = e.b.binary(Binary::Shr, Ty::U32, thread, 5);
    let (warp_row, warp_column) = e.b.div_rem(warp.into(), Operand::Int(tile.warps_across()));
    let warp_row = e.b.mul(warp_row, Operand::Int(tile.warp_rows));
    let warp_column = e.b.mul(warp_column, Operand::Int(tile.warp_columns));
    let a_at = fragments(&mut e, &a, lane, warp_row, tile.warp_rows, Order::RowsFirst);
    let b_at = fragments(&mut e, &b, lane, warp_column, tile.warp_columns, Order::DepthFirst);
    let n = (tile.warp_rows / 16 * tile.warp_columns / 8) as usize;
    let accumulators: Vec<[Reg; 4]> = (0..n).map(|_| [(); 4].map(|()| e.b.mov(Ty::F32, 0.0f32))).collect();
    main_loop(&mut e, problem, tile, [&a, &b], |e, offset| {
        multiply(e, tile, kind, (&a, &a_at), (&b, &b_at), offset, &accumulators);
    });
    // Section 9.7.14.5.8: a thread has two columns of rows `lane / 4` and 8 further.
    let group = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
    let pair = e.b.binary(Binary::And, Ty::B32, lane, 3);
    let row = e.b.add(place.row, warp_row);
    let row = e.b.add(row, group.into());
    let column = e.b.add(place.column, warp_column);
    let column = e.b.fma(Ty::S32, pair, 2, column);
    let across = (tile.warp_columns / 8) as usize;
    for (i, accumulator) in accumulators.iter().enumerate() {
        let column = e.b.add(column.into(), Operand::Int((i % across) as i64 * 8));
        for half in 0..2 {
            let row = e.b.add(row, Operand::Int((i / across) as i64 * 16 + half as i64 * 8));
            finish(&mut e, problem, &place, row, column, &accumulator[half * 2..half * 2 + 2])?;
        }
    }
    Ok(Scheduled::new(e, tile.threads() as u32, problem.tiles(tile.rows, tile.columns), tile.name))
}

/// Two stages: while one is multiplied, the next is copied.
fn main_loop(
    e: &mut Emitter,
    problem: &Contraction,
    tile: &Tile,
    sides: [&Staged; 2],
    multiply: impl FnOnce(&mut Emitter, [Operand; 2]),
) {
    let k = e.b.mov(Ty::B32, 0);
    // The number of the stage that is multiplied.
    let stage = e.b.mov(Ty::B32, 0);
    for side in sides {
        copy(e, problem, tile, side, k.into(), Operand::Int(0));
    }
    e.b.push(Instruction::CommitGroup);
    let depth = e.dim(&problem.k);
    let (begin, no_copy) = (e.b.label(), e.b.label());
    e.b.place(begin);
    e.b.push(Instruction::WaitGroup(0));
    // What was copied is there for all, and nobody reads the other stage any more.
    e.b.push(Instruction::Barrier);
    let next = e.b.binary(Binary::Add, Ty::S32, k, sides[0].kind.depth());
    let more = e.b.compare(Compare::Lt, Ty::S32, next, depth);
    e.b.push(Instruction::Branch { to: no_copy, guard: Some((more, false)) });
    let other = e.b.binary(Binary::Xor, Ty::B32, stage, 1);
    for side in sides {
        let offset = e.b.mul(other.into(), Operand::Int(side.bytes()));
        copy(e, problem, tile, side, next.into(), offset);
    }
    e.b.push(Instruction::CommitGroup);
    e.b.place(no_copy);
    let offsets = sides.map(|side| e.b.mul(stage.into(), Operand::Int(side.bytes())));
    multiply(e, offsets);
    let flipped = e.b.binary(Binary::Xor, Ty::B32, stage, 1);
    e.b.assign(Ty::B32, stage, flipped);
    e.b.assign(Ty::B32, k, next);
    e.b.push(Instruction::Branch { to: begin, guard: Some((more, true)) });
}

impl Staged<'_> {
    /// Bytes of a stage.
    fn bytes(&self) -> i64 {
        self.width * DEPTH_BYTES
    }
}

fn stage<'a>(
    e: &mut Emitter,
    side: &'a Side,
    place: &Place,
    (first, width): (Operand, i64),
    thread: Reg,
    (tile, kind): (&Tile, MmaKind),
    aligned: &[bool],
) -> Staged<'a> {
    let base = base(e, side, place, kind.bytes() as u32);
    let along_k = side.window.is_some() || side.k_stride.is(1) || !side.stride.is(1);
    let (unit, other) = if along_k { (&side.k_stride, &side.stride) } else { (&side.stride, &side.k_stride) };
    let is_async = unit.is(1) && is_aligned(side, aligned, other, kind.chunk());
    let pitch = if along_k { DEPTH_BYTES } else { width * kind.bytes() };
    let shared = e.b.shared((width * DEPTH_BYTES * 2) as u32);
    let start = e.b.shared_address(shared);
    let (row, chunk) = e.b.div_rem(thread.into(), Operand::Int(pitch / CHUNK_BYTES));
    let row = e.b.in_register(Ty::B32, row);
    let chunk = e.b.in_register(Ty::B32, chunk);
    let element = e.b.binary(Binary::Shl, Ty::B32, chunk, i64::from(kind.chunk().ilog2()));
    let swizzle = swizzle(e, kind, along_k, row);
    let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
    let at = e.b.fma(Ty::S32, row, pitch, start);
    let to = e.b.fma(Ty::S32, chunk, 16, at);
    let per_round = tile.threads() * 16 / pitch;
    let mut origins = Vec::new();
    if let Some(window) = &side.window {
        for round in 0..width / per_round {
            let row = e.b.add(first, row.into());
            let row = e.b.add(row, Operand::Int(round * per_round));
            origins.push(window.origin(e, row));
        }
    }
    debug_assert!(tile.threads() * 16 / pitch % 8 == 0, "a thread's rows have one swizzle");
    Staged { side, kind, base, along_k, is_async, width, pitch, first, row, element, to, start, origins }
}

/// What the chunk's number in a row is combined with.
fn swizzle(e: &mut Emitter, kind: MmaKind, along_k: bool, row: Reg) -> Reg {
    match (along_k, kind) {
        (true, _) => {
            let pair = e.b.binary(Binary::Shr, Ty::U32, row, 1);
            e.b.binary(Binary::And, Ty::B32, pair, 3)
        }
        // Four steps of K are read at a time, two chunks of each.
        (false, MmaKind::Tf32) => {
            let step = e.b.binary(Binary::And, Ty::B32, row, 3);
            e.b.binary(Binary::Shl, Ty::B32, step, 1)
        }
        (false, _) => e.b.binary(Binary::And, Ty::B32, row, 7),
    }
}

/// Copies the tile that begins at `k` into the stage at `offset`, zeros outside of the matrix.
fn copy(e: &mut Emitter, problem: &Contraction, tile: &Tile, side: &Staged, k: Operand, offset: Operand) {
    let kind = side.kind;
    let n_rows = if side.along_k { side.width } else { kind.depth() };
    let per_round = tile.threads() * 16 / side.pitch;
    let (first_row, first_element) = if side.along_k { (side.first, k) } else { (k, side.first) };
    let (row_extent, element_extent) =
        if side.along_k { (&side.side.extent, &problem.k) } else { (&problem.k, &side.side.extent) };
    let (row_stride, element_stride) =
        if side.along_k { (&side.side.stride, &side.side.k_stride) } else { (&side.side.k_stride, &side.side.stride) };
    let (n, m) = (e.dim(row_extent), e.dim(element_extent));
    let (row_stride, element_stride) = (e.dim(row_stride), e.dim(element_stride));
    let element = e.b.add(first_element, side.element.into());
    let row = e.b.add(first_row, side.row.into());
    let to = e.b.add(side.to.into(), offset);
    let rest = e.b.binary(Binary::Sub, Ty::S32, m, element);
    let windowed = side.side.window.as_ref().filter(|_| side.is_async).map(|window| (window, window.tap(e, element)));
    for round in 0..n_rows / per_round {
        let row = e.b.add(row, Operand::Int(round * per_round));
        let valid = e.b.compare(Compare::Lt, Ty::S32, row, n);
        let (index, valid) = match &windowed {
            Some((window, tap)) => {
                let (index, inside) = window.element(e, &side.origins[round as usize], tap);
                (index, e.b.both(Some(valid), inside).unwrap_or(valid))
            }
            None => {
                let of_row = e.b.mul(row, row_stride);
                let of_element = e.b.mul(element, element_stride);
                (e.b.add(of_row, of_element), valid)
            }
        };
        let at = (round * per_round * side.pitch) as i32;
        if side.is_async {
            let count = e.b.binary(Binary::Min, Ty::S32, rest, kind.chunk());
            let count = e.b.binary(Binary::Max, Ty::S32, count, 0);
            let count = e.b.select(Ty::B32, valid, count, 0);
            let bytes = e.b.binary(Binary::Shl, Ty::B32, count, i64::from(kind.bytes().ilog2()));
            let some = e.b.compare(Compare::Gt, Ty::S32, count, 0);
            let index = e.b.select(Ty::B32, some, index, 0);
            let from = e.b.address(side.base, index.into(), kind.bytes() as u32);
            e.b.push(Instruction::CopyAsync { to, offset: at, from, bytes: bytes.into() });
        } else {
            let from = match &side.side.window {
                Some(window) => Source::Window(window, &side.origins[round as usize], element),
                None => Source::Strided(index, element_stride),
            };
            let words = gather(e, side, &from, rest, valid);
            e.b.store(Space::Shared, Ty::B32, &words, to, at, None);
        }
    }
}

/// Where the elements of a chunk are.
enum Source<'a> {
    /// From an index on at a stride.
    Strided(Operand, Operand),
    /// In a window, from an element on.
    Window(&'a Window, &'a Origin, Operand),
}

/// Elements of a chunk one by one, zeros outside of the matrix.
fn gather(e: &mut Emitter, side: &Staged, from: &Source, rest: Reg, valid: Reg) -> Vec<Reg> {
    let kind = side.kind;
    let mut elements = Vec::new();
    for i in 0..kind.chunk() {
        let inside = e.b.compare(Compare::Gt, Ty::S32, rest, i);
        let mut guard = Some(e.b.binary(Binary::And, Ty::Pred, inside, valid));
        let index = match *from {
            Source::Strided(index, stride) => {
                let distance = e.b.mul(Operand::Int(i), stride);
                e.b.add(index, distance)
            }
            Source::Window(window, origin, element) => {
                let k = e.b.add(element, Operand::Int(i));
                let tap = window.tap(e, k);
                let (index, inside) = window.element(e, origin, &tap);
                guard = e.b.both(guard, inside);
                index
            }
        };
        let address = e.b.address(side.base, index, kind.bytes() as u32);
        let element = e.b.mov(kind.ty(), 0);
        e.b.load(Space::Global, kind.ty(), &[element], address, 0, guard);
        elements.push(element);
    }
    if kind == MmaKind::Tf32 {
        return elements;
    }
    elements.chunks(2).map(|pair| e.pair(pair[0], pair[1])).collect()
}

/// In which order registers have the four parts of 16 rows (or columns) by one step of tensor cores: 8 rows by 16 bytes
/// of K each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Rows 0–7 and 8–15, then the second half of K: operand A.
    RowsFirst,
    /// Both halves of K, then columns 8–15: operand B.
    DepthFirst,
}

/// Where four registers of a fragment come from, in the first stage.
#[derive(Clone, Copy)]
enum Fragment {
    /// `ldmatrix` at an address.
    Matrix(Reg, i32),
    /// A word each.
    Words([(Reg, i32); 4]),
}

/// Fragments: for each 16 rows or columns of the warp's tile, for each step of tensor cores.
fn fragments(
    e: &mut Emitter,
    side: &Staged,
    lane: Reg,
    warp_first: Operand,
    warp_width: i64,
    order: Order,
) -> Vec<[Fragment; 2]> {
    if !side.along_k && side.kind == MmaKind::Tf32 {
        return (0..warp_width / 16).map(|group| words(e, side, lane, warp_first, group, order)).collect();
    }
    let low = e.b.binary(Binary::And, Ty::B32, lane, 7);
    let bit = |e: &mut Emitter, n: i64| {
        let shifted = e.b.binary(Binary::Shr, Ty::U32, lane, n);
        e.b.binary(Binary::And, Ty::B32, shifted, 1)
    };
    let (third, fourth) = (bit(e, 3), bit(e, 4));
    let (of_rows, of_depth) = if order == Order::RowsFirst { (third, fourth) } else { (fourth, third) };
    let mut all = Vec::new();
    for group in 0..warp_width / 16 {
        let first = e.b.add(warp_first, Operand::Int(group * 16));
        if side.along_k {
            let row = e.b.fma(Ty::S32, of_rows, 8, low);
            let swizzle = swizzle(e, side.kind, true, row);
            let row = e.b.add(row.into(), first);
            let start = e.b.fma(Ty::S32, row, side.pitch, side.start);
            all.push([0, 1].map(|step| {
                let chunk = e.b.add(of_depth.into(), Operand::Int(step * 2));
                let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
                Fragment::Matrix(e.b.fma(Ty::S32, chunk, 16, start), 0)
            }));
        } else {
            let row = e.b.fma(Ty::S32, of_depth, 8, low);
            let start = e.b.fma(Ty::S32, row, side.pitch, side.start);
            let first = e.b.in_register(Ty::B32, first);
            let chunk = e.b.binary(Binary::Shr, Ty::U32, first, 3);
            let chunk = e.b.binary(Binary::Add, Ty::S32, chunk, of_rows);
            let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, low);
            let at = e.b.fma(Ty::S32, chunk, 16, start);
            all.push([0, 16 * side.pitch as i32].map(|offset| Fragment::Matrix(at, offset)));
        }
    }
    all
}

/// The words of 16 rows or columns where rows of the tile are steps of K: a lane has rows `lane / 4` and 8 further of
/// steps `lane % 4` and 4 further.
fn words(e: &mut Emitter, side: &Staged, lane: Reg, warp_first: Operand, group: i64, order: Order) -> [Fragment; 2] {
    let step = e.b.binary(Binary::And, Ty::B32, lane, 3);
    let row = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
    let start = e.b.fma(Ty::S32, step, side.pitch, side.start);
    let in_chunk = e.b.binary(Binary::And, Ty::B32, row, 3);
    let start = e.b.fma(Ty::S32, in_chunk, 4, start);
    let swizzle = swizzle(e, side.kind, false, step);
    let upper = e.b.binary(Binary::Shr, Ty::U32, row, 2);
    let first = e.b.add(warp_first, Operand::Int(group * 16));
    let first = e.b.in_register(Ty::B32, first);
    let chunk = e.b.binary(Binary::Shr, Ty::U32, first, 2);
    let chunk = e.b.binary(Binary::Add, Ty::S32, chunk, upper);
    let rows = [0, 2].map(|further| {
        let chunk = e.b.add(chunk.into(), Operand::Int(further));
        let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
        e.b.fma(Ty::S32, chunk, CHUNK_BYTES, start)
    });
    let pitch = side.pitch as i32;
    [0, 8].map(|first_step| {
        let at = |row: usize, half: i32| (rows[row], (first_step + 4 * half) * pitch);
        Fragment::Words(match order {
            Order::RowsFirst => [at(0, 0), at(1, 0), at(0, 1), at(1, 1)],
            Order::DepthFirst => [at(0, 0), at(0, 1), at(1, 0), at(1, 1)],
        })
    })
}

/// Loads a fragment of the stage at `stage`.
fn load(e: &mut Emitter, side: &Staged, fragment: Fragment, stage: Operand) -> [Reg; 4] {
    let dst = match fragment {
        Fragment::Matrix(at, offset) => {
            let base = e.b.add(at.into(), stage);
            let base = e.b.in_register(Ty::B32, base);
            let dst = [(); 4].map(|()| e.b.reg(Class::B32));
            e.b.push(Instruction::LoadMatrix { dst, base, offset, transposed: !side.along_k });
            dst
        }
        Fragment::Words(places) => places.map(|(at, offset)| {
            let base = e.b.add(at.into(), stage);
            let dst = e.b.reg(Class::B32);
            e.b.load(Space::Shared, Ty::B32, &[dst], base, offset, None);
            dst
        }),
    };
    match side.kind {
        MmaKind::Tf32 => dst.map(|reg| e.b.cvt(Rounding::Rna, Ty::Tf32, Ty::F32, reg)),
        MmaKind::F16 | MmaKind::Bf16 => dst,
    }
}

fn multiply(
    e: &mut Emitter,
    tile: &Tile,
    kind: MmaKind,
    (a, a_at): (&Staged, &[[Fragment; 2]]),
    (b, b_at): (&Staged, &[[Fragment; 2]]),
    offsets: [Operand; 2],
    accumulators: &[[Reg; 4]],
) {
    let across = (tile.warp_columns / 8) as usize;
    for step in 0..2 {
        let a: Vec<[Reg; 4]> = a_at.iter().map(|at| load(e, a, at[step], offsets[0])).collect();
        let b: Vec<[Reg; 4]> = b_at.iter().map(|at| load(e, b, at[step], offsets[1])).collect();
        for (i, &acc) in accumulators.iter().enumerate() {
            let (row, column) = (i / across, i % across);
            let pair = b[column / 2];
            let b = if column % 2 == 0 { [pair[0], pair[1]] } else { [pair[2], pair[3]] };
            e.b.push(Instruction::Mma { kind, acc, a: a[row], b });
        }
    }
}
