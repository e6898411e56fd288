//! How integers come to shared memory: as they lie in memory, a row of blocks after the other.

use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Instruction, Operand, Reg, Ty};
use crate::nvptx::schedule::contraction::mma::{CHUNK_BYTES, Tile};
use crate::shared::weights::WidenedShape;

/// What a thread copies of a stage.
pub(super) struct Copies<'a> {
    shape: &'a WidenedShape,
    /// Steps of K of a stage.
    depth: i64,
    /// Where its 16 bytes of a row of blocks come from for `k` = 0: several if the row has more than there are threads.
    from: Vec<Reg>,
    /// Whether it copies any.
    copies: Option<Reg>,
    /// Rows of blocks of a stage, how many are copied at a time, and which of those the thread's is.
    rows: i64,
    per_round: i64,
    row: Operand,
    threads: i64,
    /// Where it stores in the first stage.
    to: Reg,
}

impl<'a> Copies<'a> {
    /// Of the columns from `column` on, to `start` in the first stage, of a buffer at `base`.
    pub(super) fn new(
        e: &mut Emitter,
        shape: &'a WidenedShape,
        tile: &Tile,
        depth: i64,
        base: Reg,
        column: Operand,
        (thread, start): (Reg, Reg),
    ) -> Copies<'a> {
        // Chunks of 16 bytes of a row of blocks: of the tile, and of the whole matrix.
        let [in_tile, in_row] = [tile.columns, shape.columns() as i64].map(|columns| columns * shape.lane_chunks());
        let (row, chunk) = e.b.div_rem(thread.into(), Operand::Int(in_tile));
        let first = e.b.mul(column, Operand::Int(shape.lane_chunks()));
        let chunk = e.b.add(first, chunk);
        let of_row = e.b.mul(row, Operand::Int(in_row));
        let from = (0..in_tile).step_by(tile.threads() as usize).map(|further| {
            let chunk = e.b.add(chunk, Operand::Int(further));
            // What comes of columns beyond the matrix is not stored.
            let chunk = e.b.binary(Binary::Min, Ty::S32, chunk, in_row - 1);
            let index = e.b.add(of_row, chunk.into());
            e.b.address(base, index, CHUNK_BYTES as u32)
        });
        let from = from.collect();
        let (rows, threads) = (tile.splits, tile.threads());
        let per_round = (threads / in_tile).max(1);
        let copies = (per_round > rows).then(|| {
            let row = e.b.in_register(Ty::B32, row);
            e.b.compare(Compare::Lt, Ty::S32, row, rows)
        });
        let to = e.b.fma(Ty::S32, thread, CHUNK_BYTES, start);
        Copies { shape, depth, from, copies, rows, per_round, row, threads, to }
    }

    /// Copies what begins at `k` into the stage at `stage`, zeros beyond K.
    pub(super) fn copy(&self, e: &mut Emitter, k: Operand, stage: Reg) {
        let extent = self.shape.k as i64;
        let to = e.b.binary(Binary::Add, Ty::S32, self.to, stage);
        let step_bytes = (self.shape.row_bytes() / 32) as u32;
        let from: Vec<Reg> = self.from.iter().map(|&from| e.b.address(from, k, step_bytes)).collect();
        let is_whole = extent % self.depth == 0;
        let mut guard = self.copies;
        if is_whole && !matches!(k, Operand::Int(k) if k < extent) {
            let k = e.b.in_register(Ty::B32, k);
            let inside = e.b.compare(Compare::Lt, Ty::S32, k, extent);
            guard = e.b.both(guard, Some(inside));
        }
        let mut offset = 0;
        for row in (0..self.rows).step_by(self.per_round as usize) {
            let bytes = if is_whole { Operand::Int(CHUNK_BYTES) } else { self.bytes(e, k, row) };
            for &from in &from {
                let from = e.b.address(from, Operand::Int(row), self.shape.row_bytes() as u32);
                e.b.push(Instruction::CopyAsync { to: to.into(), offset, from, bytes, guard });
                offset += (self.threads * CHUNK_BYTES) as i32;
            }
        }
    }

    /// How much of the thread's 16 bytes there is of a row of blocks, `row` further than its first.
    fn bytes(&self, e: &mut Emitter, k: Operand, row: i64) -> Operand {
        let row = e.b.add(self.row, Operand::Int(row));
        let of_row = e.b.mul(row, Operand::Int(32));
        let first = e.b.add(k, of_row);
        let first = e.b.in_register(Ty::B32, first);
        let inside = e.b.compare(Compare::Lt, Ty::S32, first, self.shape.k as i64);
        e.b.select(Ty::B32, inside, CHUNK_BYTES, 0).into()
    }
}
