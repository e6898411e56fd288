//! f32 products without tensor cores: tiles of 64 × 64 in shared memory, 4 × 4 outputs per thread.
//!
//! Every output is the sum over K in order, each product fused with its addition.

use super::window::Origin;
use super::{Contraction, Place, Scheduled, Side, base, finish, is_aligned, place};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Operand, Reg, Space, Special, Ty};
use ic_types::Dim;

/// Rows and columns of a tile.
const TILE: i64 = 64;
/// Steps of K that are in shared memory at a time.
const DEPTH: i64 = 16;
/// Distance between steps of K in shared memory, in elements: rows of a tile, and room against bank conflicts.
const PITCH: i64 = TILE + 4;
const THREADS: u32 = 256;

/// How a thread loads its four elements of a tile.
struct Loader<'a> {
    side: &'a Side,
    base: Reg,
    /// Whether the four are neighbours on K rather than rows.
    along_k: bool,
    /// Whether the four are one access.
    is_vector: bool,
    /// The thread's row in the whole matrix.
    row: Operand,
    /// The thread's step of K in the tile.
    k: Reg,
    /// Where it stores, in shared memory.
    to: Reg,
    /// The window of the row, if rows are windows.
    origin: Option<Origin>,
}

pub(super) fn generate(problem: &Contraction, aligned: &[bool]) -> Result<Scheduled, String> {
    let mut e = Emitter::new(&problem.params, aligned);
    let (block, thread) = (e.b.special(Special::Block), e.b.special(Special::Thread));
    let place = place(&mut e, problem, block, TILE, TILE);
    let bytes = (DEPTH * PITCH * 4) as u32;
    let tiles = [e.b.shared(bytes), e.b.shared(bytes)];
    let a = loader(&mut e, problem, &problem.a, &place, place.row, thread, tiles[0], aligned);
    let b = loader(&mut e, problem, &problem.b, &place, place.column, thread, tiles[1], aligned);
    let (ty, tx) = (e.b.binary(Binary::Shr, Ty::U32, thread, 4), e.b.binary(Binary::And, Ty::B32, thread, 15));
    let addresses = [(tiles[0], ty), (tiles[1], tx)].map(|(tile, t)| {
        let start = e.b.shared_address(tile);
        e.b.fma(Ty::S32, t, 16, start)
    });
    let accumulators: Vec<Reg> = (0..16).map(|_| e.b.mov(Ty::F32, 0.0f32)).collect();
    let k = e.b.mov(Ty::B32, 0);
    let depth = e.dim(&problem.k);
    let (begin, end) = (e.b.label(), e.b.label());
    e.b.place(begin);
    let done = e.b.compare(Compare::Ge, Ty::S32, k, depth);
    e.b.push(Instruction::Branch { to: end, guard: Some((done, true)) });
    let elements = [&a, &b].map(|side| fetch(&mut e, problem, side, k));
    // Nobody reads the tiles of the last round any more.
    e.b.push(Instruction::Barrier);
    for (side, elements) in [&a, &b].into_iter().zip(&elements) {
        put(&mut e, side, elements);
    }
    e.b.push(Instruction::Barrier);
    multiply(&mut e, addresses, &accumulators);
    let next = e.b.binary(Binary::Add, Ty::S32, k, DEPTH);
    e.b.assign(Ty::B32, k, next);
    e.b.push(Instruction::Branch { to: begin, guard: None });
    e.b.place(end);
    let column = e.b.fma(Ty::S32, tx, 4, place.column);
    for i in 0..4 {
        let row = e.b.fma(Ty::S32, ty, 4, place.row);
        let row = e.b.add(row.into(), Operand::Int(i as i64));
        finish(&mut e, problem, &place, row, column.into(), &accumulators[i * 4..i * 4 + 4])?;
    }
    Ok(Scheduled::new(e, THREADS, problem.tiles(TILE, TILE), "fma"))
}

fn loader<'a>(
    e: &mut Emitter,
    problem: &Contraction,
    side: &'a Side,
    place: &Place,
    first: Operand,
    thread: Reg,
    tile: u32,
    aligned: &[bool],
) -> Loader<'a> {
    let base = base(e, side, place, 4);
    let along_k = side.window.is_some() || side.k_stride.is(1);
    let four = Dim::constant(4);
    let (unit, other, extent) = match along_k {
        true => (side.k_stride.is(1), &side.stride, &problem.k),
        false => (side.stride.is(1), &side.k_stride, &side.extent),
    };
    let is_vector = unit && extent.exact_div(&four).is_some() && is_aligned(side, aligned, other, 4);
    let (row, k) = if along_k {
        let row = e.b.binary(Binary::Shr, Ty::U32, thread, 2);
        let k = e.b.binary(Binary::And, Ty::B32, thread, 3);
        (row, e.b.binary(Binary::Shl, Ty::B32, k, 2))
    } else {
        let row = e.b.binary(Binary::And, Ty::B32, thread, 15);
        (e.b.binary(Binary::Shl, Ty::B32, row, 2), e.b.binary(Binary::Shr, Ty::U32, thread, 4))
    };
    let at = e.b.fma(Ty::S32, k, PITCH, row);
    let start = e.b.shared_address(tile);
    let to = e.b.fma(Ty::S32, at, 4, start);
    let row = e.b.add(row.into(), first);
    let origin = side.window.as_ref().map(|window| window.origin(e, row));
    Loader { side, base, along_k, is_vector, row, k, to, origin }
}

/// The thread's four elements of the tile that begins at `k0`, zeros outside of the matrix.
fn fetch(e: &mut Emitter, problem: &Contraction, loader: &Loader, k0: Reg) -> Vec<Reg> {
    let k = e.b.add(k0.into(), loader.k.into());
    let (rows, depth) = (e.dim(&loader.side.extent), e.dim(&problem.k));
    let (stride, k_stride) = (e.dim(&loader.side.stride), e.dim(&loader.side.k_stride));
    let (of_row, of_k) = (e.b.mul(loader.row, stride), e.b.mul(k, k_stride));
    let index = e.b.add(of_row, of_k);
    let registers: Vec<Reg> = (0..4).map(|_| e.b.mov(Ty::F32, 0.0f32)).collect();
    let guard = |e: &mut Emitter, row: Operand, k: Operand| {
        let (in_rows, in_k) =
            (e.b.compare(Compare::Lt, Ty::S32, row, rows), e.b.compare(Compare::Lt, Ty::S32, k, depth));
        e.b.binary(Binary::And, Ty::Pred, in_rows, in_k)
    };
    if let (Some(window), Some(origin)) = (&loader.side.window, &loader.origin) {
        let n = if loader.is_vector { 4 } else { 1 };
        for (i, chunk) in registers.chunks(n).enumerate() {
            let k = e.b.add(k, Operand::Int((i * n) as i64));
            let guard = guard(e, loader.row, k);
            let tap = window.tap(e, k);
            let (index, inside) = window.element(e, origin, &tap);
            let guard = e.b.both(Some(guard), inside);
            let address = e.b.address(loader.base, index, 4);
            e.b.load(Space::Global, Ty::F32, chunk, address, 0, guard);
        }
        return registers;
    }
    if loader.is_vector {
        let guard = guard(e, loader.row, k);
        let address = e.b.address(loader.base, index, 4);
        e.b.load(Space::Global, Ty::F32, &registers, address, 0, Some(guard));
        return registers;
    }
    for (i, &register) in registers.iter().enumerate() {
        let step = Operand::Int(i as i64);
        let (row, k, stride) = match loader.along_k {
            true => (loader.row, e.b.add(k, step), k_stride),
            false => (e.b.add(loader.row, step), k, stride),
        };
        let guard = guard(e, row, k);
        let distance = e.b.mul(step, stride);
        let index = e.b.add(index, distance);
        let address = e.b.address(loader.base, index, 4);
        e.b.load(Space::Global, Ty::F32, &[register], address, 0, Some(guard));
    }
    registers
}

/// Stores the thread's elements by step of K, so that rows are neighbours.
fn put(e: &mut Emitter, loader: &Loader, elements: &[Reg]) {
    if !loader.along_k {
        e.b.store(Space::Shared, Ty::F32, elements, loader.to, 0, None);
        return;
    }
    for (i, &element) in elements.iter().enumerate() {
        e.b.store(Space::Shared, Ty::F32, &[element], loader.to, i as i32 * PITCH as i32 * 4, None);
    }
}

fn multiply(e: &mut Emitter, addresses: [Reg; 2], accumulators: &[Reg]) {
    for k in 0..DEPTH as i32 {
        let [a, b] = addresses.map(|address| {
            let four: Vec<Reg> = (0..4).map(|_| e.b.reg(Class::F32)).collect();
            e.b.load(Space::Shared, Ty::F32, &four, address, k * PITCH as i32 * 4, None);
            four
        });
        for (i, &sum) in accumulators.iter().enumerate() {
            let (a, b, c) = (a[i / 4].into(), b[i % 4].into(), sum.into());
            e.b.push(Instruction::Fma { ty: Ty::F32, dst: sum, a, b, c });
        }
    }
}
