//! Sums of warps that have had different steps of K, added up in shared memory.

use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Label, Operand, Reg, Space, Ty};

/// Blocks of 8 columns whose results are stored together, 16 bytes a lane.
const BLOCKS: usize = 4;
/// Bytes of a lane's part of a block.
const LANE_BYTES: i64 = 16;
const BLOCK_BYTES: i64 = 32 * LANE_BYTES;

/// What a warp stores.
pub(super) struct Sums {
    /// Its first column among those that the warps shared.
    pub(super) column: Operand,
    pub(super) blocks: Vec<[Reg; 4]>,
    /// Where warps go that store nothing.
    pub(super) end: Label,
}

/// Adds up the accumulators of all warps, which are of the same results, in the order of K. The first warps have
/// [`BLOCKS`] of the result each. Nobody needs what was in shared memory from `shared` on.
pub(super) fn sums(
    e: &mut Emitter,
    accumulators: &[[Reg; 4]],
    (split, splits): (Operand, i64),
    lane: Reg,
    shared: u32,
) -> Sums {
    debug_assert!(accumulators.len().is_multiple_of(BLOCKS), "whole groups of blocks");
    let split_bytes = accumulators.len() as i64 * BLOCK_BYTES;
    let start = e.b.shared_address(shared);
    let of_lane = e.b.fma(Ty::S32, lane, LANE_BYTES, start);
    let split = e.b.in_register(Ty::B32, split);
    let to = e.b.fma(Ty::S32, split, split_bytes, of_lane);
    e.b.push(Instruction::WaitGroup(0));
    e.b.push(Instruction::Barrier);
    for (i, block) in accumulators.iter().enumerate() {
        e.b.store(Space::Shared, Ty::F32, block, to, (i as i64 * BLOCK_BYTES) as i32, None);
    }
    e.b.push(Instruction::Barrier);
    let end = e.b.label();
    let stores = e.b.compare(Compare::Lt, Ty::S32, split, (accumulators.len() / BLOCKS) as i64);
    e.b.push(Instruction::Branch { to: end, guard: Some((stores, false)) });
    let from = e.b.fma(Ty::S32, split, BLOCKS as i64 * BLOCK_BYTES, of_lane);
    let blocks = (0..BLOCKS as i64).map(|block| {
        let part = |e: &mut Emitter, of: i64| {
            let part = [(); 4].map(|()| e.b.reg(Class::F32));
            let offset = of * split_bytes + block * BLOCK_BYTES;
            e.b.load(Space::Shared, Ty::F32, &part, from, offset as i32, None);
            part
        };
        let first = part(e, 0);
        (1..splits).fold(first, |sum, of| {
            let part = part(e, of);
            std::array::from_fn(|i| e.b.binary(Binary::Add, Ty::F32, sum[i], part[i]))
        })
    });
    let blocks = blocks.collect();
    let column = e.b.mul(split.into(), Operand::Int(8 * BLOCKS as i64));
    Sums { column, blocks, end }
}
