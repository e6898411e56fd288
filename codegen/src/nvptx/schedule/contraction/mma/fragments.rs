//! Fragments: what lanes of a warp hold of a step of tensor cores, and where they read it.

use super::staged::{Staged, swizzle};
use super::{CHUNK_BYTES, DEPTH_BYTES};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Instruction, MmaKind, Operand, Reg, Rounding, Space, Ty};

/// In which order registers have the four parts of 16 rows (or columns) by one step of tensor cores: 8 rows by 16 bytes
/// of K each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
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

/// A warp's part of a side: 16 rows or columns each, for each step of a stage.
pub(super) struct Fragments<'a> {
    side: &'a Staged<'a>,
    places: Vec<[Fragment; 2]>,
    /// Where they are, by step.
    pub(super) registers: [Vec<[Reg; 4]>; 2],
}

impl<'a> Fragments<'a> {
    /// Those of a warp's rows or columns, and of its part `split` of a stage's steps.
    pub(super) fn new(
        e: &mut Emitter,
        side: &'a Staged,
        lane: Reg,
        (warp_first, warp_width): (Operand, i64),
        split: Operand,
        order: Order,
    ) -> Fragments<'a> {
        let groups = warp_width / 16;
        let places = if !side.along_k && side.kind == MmaKind::Tf32 {
            (0..groups).map(|group| words(e, side, lane, warp_first, group, order)).collect()
        } else {
            matrices(e, side, lane, warp_first, split, groups, order)
        };
        let mut registers = || (0..groups).map(|_| [(); 4].map(|()| e.b.reg(Class::B32))).collect();
        Fragments { side, places, registers: [registers(), registers()] }
    }

    /// Reads those of a step of the stage at `stage`.
    pub(super) fn load(&self, e: &mut Emitter, step: usize, stage: Reg) {
        for (place, &dst) in self.places.iter().zip(&self.registers[step]) {
            match place[step] {
                Fragment::Matrix(at, offset) => {
                    let base = e.b.binary(Binary::Add, Ty::S32, at, stage);
                    e.b.push(Instruction::LoadMatrix { dst, base, offset, transposed: !self.side.along_k });
                }
                Fragment::Words(places) => {
                    for ((at, offset), dst) in places.into_iter().zip(dst) {
                        let base = e.b.binary(Binary::Add, Ty::S32, at, stage);
                        e.b.load(Space::Shared, Ty::B32, &[dst], base, offset, None);
                    }
                }
            }
            if self.side.kind == MmaKind::Tf32 {
                for dst in dst {
                    let (rounding, a) = (Rounding::Rna, dst.into());
                    e.b.push(Instruction::Cvt { rounding, to: Ty::Tf32, from: Ty::F32, dst, a });
                }
            }
        }
    }
}

/// Where `ldmatrix` reads.
fn matrices(
    e: &mut Emitter,
    side: &Staged,
    lane: Reg,
    warp_first: Operand,
    split: Operand,
    groups: i64,
    order: Order,
) -> Vec<[Fragment; 2]> {
    let low = e.b.binary(Binary::And, Ty::B32, lane, 7);
    let bit = |e: &mut Emitter, n: i64| {
        let shifted = e.b.binary(Binary::Shr, Ty::U32, lane, n);
        e.b.binary(Binary::And, Ty::B32, shifted, 1)
    };
    let (third, fourth) = (bit(e, 3), bit(e, 4));
    let (of_rows, of_depth) = if order == Order::RowsFirst { (third, fourth) } else { (fourth, third) };
    if side.along_k {
        let row = e.b.fma(Ty::S32, of_rows, 8, low);
        // That of rows 16 further is the same.
        let swizzle = swizzle(e, side.kind, side.pitch, row);
        let row = e.b.add(row.into(), warp_first);
        let start = e.b.fma(Ty::S32, row, side.pitch, side.start);
        let of_split = e.b.mul(split, Operand::Int(DEPTH_BYTES / CHUNK_BYTES));
        let of_depth = e.b.add(of_split, of_depth.into());
        let steps = [0, 2].map(|first_chunk| {
            let chunk = e.b.add(of_depth, Operand::Int(first_chunk));
            let chunk = e.b.in_register(Ty::B32, chunk);
            let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
            e.b.fma(Ty::S32, chunk, CHUNK_BYTES, start)
        });
        let of_group = |group: i64| steps.map(|at| Fragment::Matrix(at, (group * 16 * side.pitch) as i32));
        return (0..groups).map(of_group).collect();
    }
    let row = e.b.fma(Ty::S32, of_depth, 8, low);
    let of_split = e.b.mul(split, Operand::Int(side.kind.depth()));
    let row = e.b.add(of_split, row.into());
    let start = e.b.fma(Ty::S32, row, side.pitch, side.start);
    let swizzle = swizzle(e, side.kind, side.pitch, low);
    let of_group = |group: i64| {
        let first = e.b.add(warp_first, Operand::Int(group * 16));
        let first = e.b.in_register(Ty::B32, first);
        let chunk = e.b.binary(Binary::Shr, Ty::U32, first, 3);
        let chunk = e.b.binary(Binary::Add, Ty::S32, chunk, of_rows);
        let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
        let at = e.b.fma(Ty::S32, chunk, CHUNK_BYTES, start);
        [0, 16 * side.pitch as i32].map(|offset| Fragment::Matrix(at, offset))
    };
    (0..groups).map(of_group).collect()
}

/// The words of 16 rows or columns where rows of the tile are steps of K: a lane has rows `lane / 4` and 8 further of
/// steps `lane % 4` and 4 further.
fn words(e: &mut Emitter, side: &Staged, lane: Reg, warp_first: Operand, group: i64, order: Order) -> [Fragment; 2] {
    let step = e.b.binary(Binary::And, Ty::B32, lane, 3);
    let row = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
    let start = e.b.fma(Ty::S32, step, side.pitch, side.start);
    let in_chunk = e.b.binary(Binary::And, Ty::B32, row, 3);
    let start = e.b.fma(Ty::S32, in_chunk, 4, start);
    let swizzle = swizzle(e, side.kind, side.pitch, step);
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
