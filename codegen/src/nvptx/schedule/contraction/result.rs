//! Accumulators of tensor cores to results: 16 bytes at a time where columns are neighbours in memory.
//!
//! A lane has two columns of each 8 (section 9.7.14.5.8). Four lanes that have a row exchange what they have of 32
//! columns, so that each has 8 neighbours.

use super::{Contraction, Place, finish};
use crate::nvptx::emit::{Emitter, is_vector};
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Operand, Reg, Ty};
use ic_types::Dim;

/// Runs the epilogue on a warp's accumulators: `blocks` of 8 columns from `first` (row, column) on, in each of which a lane
/// has two columns of row `lane / 4`, then of the row 8 further.
pub(super) fn store(
    e: &mut Emitter,
    problem: &Contraction,
    place: &Place,
    first: (Operand, Operand),
    lane: Reg,
    blocks: &[[Reg; 4]],
) -> Result<(), String> {
    let group = e.b.binary(Binary::Shr, Ty::U32, lane, 2);
    let in_group = e.b.binary(Binary::And, Ty::B32, lane, 3);
    let row = e.b.add(first.0, group.into());
    if !blocks.len().is_multiple_of(4) || !are_neighbours(problem) {
        let column = e.b.fma(Ty::S32, in_group, 2, first.1);
        for (i, block) in blocks.iter().enumerate() {
            let column = e.b.add(column.into(), Operand::Int(i as i64 * 8));
            for half in 0..2 {
                let row = e.b.add(row, Operand::Int(half as i64 * 8));
                finish(e, problem, place, row, column, &block[half * 2..half * 2 + 2])?;
            }
        }
        return Ok(());
    }
    let column = e.b.fma(Ty::S32, in_group, 8, first.1);
    let bits = [1, 2].map(|bit| {
        let bit = e.b.binary(Binary::And, Ty::B32, lane, bit);
        e.b.compare(Compare::Ne, Ty::S32, bit, 0)
    });
    for (i, four) in blocks.as_chunks::<4>().0.iter().enumerate() {
        let column = e.b.add(column.into(), Operand::Int(i as i64 * 32));
        for half in 0..2 {
            let row = e.b.add(row, Operand::Int(half as i64 * 8));
            let neighbours = exchange(e, bits, four.map(|block| [block[half * 2], block[half * 2 + 1]]));
            finish(e, problem, place, row, column, &neighbours)?;
        }
    }
    Ok(())
}

/// Whether 8 columns are stored, or loaded by the epilogue, as neighbours.
fn are_neighbours(problem: &Contraction) -> bool {
    let axis = match &problem.channels {
        Some(channels) => channels.axis,
        None => problem.batch.len() + problem.rows.len(),
    };
    let divides = problem.b.extent.exact_div(&Dim::constant(8)).is_some();
    divides && problem.epilogue.stores.iter().any(|put| is_vector(&put.at, axis, 8))
}

/// Of a lane's two columns of four blocks, and those of the three lanes beside it, the eight of block `lane % 4`. `bits`
/// are the two lowest of the lane.
fn exchange(e: &mut Emitter, bits: [Reg; 2], blocks: [[Reg; 2]; 4]) -> Vec<Reg> {
    let [first, second] = [0, 2].map(|i| swap(e, (bits[0], 1), &blocks[i], &blocks[i + 1]));
    swap(e, (bits[1], 2), &first, &second)
}

/// Gives one of two to the lane `lane ^ mask` for what that has of the other, and puts what the lower lane had first. Lanes
/// where `bit` holds keep the second.
fn swap(e: &mut Emitter, (bit, mask): (Reg, u32), first: &[Reg], second: &[Reg]) -> Vec<Reg> {
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for (&x, &y) in first.iter().zip(second) {
        let (kept, src) = (e.b.select(Ty::F32, bit, y, x), e.b.select(Ty::F32, bit, x, y));
        let dst = e.b.reg(Class::F32);
        e.b.push(Instruction::Shuffle { dst, src, mask });
        low.push(e.b.select(Ty::F32, bit, dst, kept));
        high.push(e.b.select(Ty::F32, bit, kept, dst));
    }
    low.extend(high);
    low
}
