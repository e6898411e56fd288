//! Tiles of queries, keys or values in shared memory, and how threads copy them there.

use super::{Block, STEP};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Instruction, Operand, Reg, Space, Ty};
use crate::nvptx::schedule::contraction::{Side, first_index, is_aligned};
use ic_types::Dim;

/// Elements and bytes that are copied at a time.
const CHUNK: i64 = 8;
const CHUNK_BYTES: i64 = 16;

/// Columns of whole steps of tensor cores.
pub(super) fn padded(columns: i64) -> i64 {
    (columns + STEP - 1) / STEP * STEP
}

/// How a tile lies in shared memory. Chunks are swizzled, so that 8 rows of one are in different banks.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Rows of a tile.
    pub(super) rows: i64,
    /// Columns that there is room for: whole steps of tensor cores.
    pub(super) columns: i64,
    /// Bytes of a row that are next to each other: all, or those of a block.
    pub(super) row_bytes: i64,
}

impl Layout {
    /// Row by row, for `ldmatrix`.
    pub(super) fn by_rows(rows: i64, columns: i64) -> Layout {
        let columns = padded(columns);
        Layout { rows, columns, row_bytes: columns * 2 }
    }

    /// In blocks of 64 columns, for `wgmma`.
    pub(super) fn in_blocks(rows: i64, columns: i64) -> Layout {
        Layout { rows, columns, row_bytes: 128 }
    }

    pub(super) fn bytes(self) -> i64 {
        self.rows * self.columns * 2
    }

    pub(super) fn block_bytes(self) -> i64 {
        self.rows * self.row_bytes
    }

    /// Chunks that are swizzled among themselves.
    pub(super) fn swizzled(self) -> i64 {
        let chunks = self.row_bytes / CHUNK_BYTES;
        (chunks & -chunks).min(8)
    }

    /// What the number of a row's chunk is combined with.
    pub(super) fn swizzle(self, e: &mut Emitter, row: Reg) -> Reg {
        let n = self.swizzled();
        let row = if n < 8 { e.b.binary(Binary::Shr, Ty::U32, row, i64::from((8 / n).ilog2())) } else { row };
        e.b.binary(Binary::And, Ty::B32, row, n - 1)
    }
}

/// How threads copy rows.
pub(super) struct Rows<'a> {
    side: &'a Side,
    layout: Layout,
    /// Columns that there are.
    width: i64,
    /// The thread's row of the tile and its first element there.
    row: Reg,
    element: Reg,
    /// Rows that all threads copy at a time.
    per_round: i64,
    /// Where tiles begin, and where the thread stores in the first.
    pub(super) start: Reg,
    to: Reg,
    /// The index of the thread's elements in the first tile: one register for all operands that lie alike.
    from: Operand,
    /// Threads that have columns, unless all have.
    has_columns: Option<Reg>,
    pub(super) is_async: bool,
}

impl<'a> Rows<'a> {
    /// Rows of `width` elements, whose tiles begin at byte `start` of shared memory, for `threads` threads.
    pub(super) fn new(
        e: &mut Emitter,
        side: &'a Side,
        block: &Block,
        (layout, width): (Layout, i64),
        (start, threads): (u32, i64),
        aligned: &[bool],
    ) -> Rows<'a> {
        let chunks = layout.columns / CHUNK;
        let lanes = chunks.unsigned_abs().next_power_of_two() as i64;
        let (row, chunk) = e.b.div_rem(block.thread.into(), Operand::Int(lanes));
        let (row, chunk) = (e.b.in_register(Ty::B32, row), e.b.in_register(Ty::B32, chunk));
        let has_columns = (chunks < lanes).then(|| e.b.compare(Compare::Lt, Ty::S32, chunk, chunks));
        let element = e.b.binary(Binary::Shl, Ty::B32, chunk, i64::from(CHUNK.ilog2()));
        let start = e.b.shared_address(start);
        let to = place_of_chunk(e, layout, start, row, chunk);
        let first = first_index(e, side, &block.place);
        let [stride, k_stride] = [&side.stride, &side.k_stride].map(|stride| e.dim(stride));
        let (of_row, of_element) = (e.b.mul(row.into(), stride), e.b.mul(element.into(), k_stride));
        let index = e.b.add(of_row, of_element);
        let from = e.b.add(first, index);
        let is_async = side.k_stride.is(1) && is_aligned(side, aligned, &side.stride, CHUNK);
        let per_round = threads / lanes;
        Rows { side, layout, width, row, element, per_round, start, to, from, has_columns, is_async }
    }

    /// Begins to copy the rows from `first` on to the slot at `slot`, zeros beyond the last.
    pub(super) fn copy(&self, e: &mut Emitter, first: Operand, slot: Operand) {
        let to = e.b.add(self.to.into(), slot);
        let to = e.b.in_register(Ty::B32, to);
        let (extent, stride) = (e.dim(&self.side.extent), e.dim(&self.side.stride));
        let is_whole = self.side.extent.exact_div(&Dim::constant(self.layout.rows)).is_some();
        // Of whole tiles all or nothing is copied.
        let all = is_whole.then(|| {
            let first = e.b.in_register(Ty::B32, first);
            e.b.compare(Compare::Lt, Ty::S32, first, extent)
        });
        let of_tile = e.b.mul(first, stride);
        let index = e.b.add(self.from, of_tile);
        let buffer = e.buffer(self.side.param);
        let from = e.b.address(buffer, index, 2);
        let row = e.b.add(first, self.row.into());
        for round in 0..self.layout.rows / self.per_round {
            let offset = (round * self.per_round * self.layout.row_bytes) as i32;
            let further = e.b.mul(Operand::Int(round * self.per_round), stride);
            let from = e.b.address(from, further, 2);
            let inside = match all {
                Some(all) => all,
                None => {
                    let row = e.b.add(row, Operand::Int(round * self.per_round));
                    e.b.compare(Compare::Lt, Ty::S32, row, extent)
                }
            };
            if !self.is_async {
                self.copy_elements(e, from, inside, (to, offset));
                continue;
            }
            let bytes = self.bytes_of_chunk(e);
            let (bytes, guard) = match all {
                Some(all) => (bytes, e.b.both(Some(all), self.has_columns)),
                None => (e.b.select(Ty::B32, inside, bytes, 0).into(), self.has_columns),
            };
            e.b.push(Instruction::CopyAsync { to: to.into(), offset, from, bytes, guard });
        }
    }

    /// How many bytes of the thread's chunk there are.
    fn bytes_of_chunk(&self, e: &mut Emitter) -> Operand {
        if self.width == self.layout.columns {
            return Operand::Int(CHUNK_BYTES);
        }
        let rest = e.b.binary(Binary::Sub, Ty::S32, self.width, self.element);
        let rest = e.b.binary(Binary::Min, Ty::S32, rest, CHUNK);
        let rest = e.b.binary(Binary::Max, Ty::S32, rest, 0);
        e.b.binary(Binary::Shl, Ty::B32, rest, 1).into()
    }

    /// Copies a chunk one by one.
    fn copy_elements(&self, e: &mut Emitter, from: Reg, inside: Reg, (to, offset): (Reg, i32)) {
        let stride = e.dim(&self.side.k_stride);
        let mut elements = Vec::new();
        for i in 0..CHUNK {
            let further = e.b.mul(Operand::Int(i), stride);
            let from = e.b.address(from, further, 2);
            let element = e.b.mov(Ty::B16, 0);
            let is_column = (self.width < self.layout.columns)
                .then(|| e.b.compare(Compare::Lt, Ty::S32, self.element, self.width - i));
            let guard = e.b.both(Some(inside), is_column);
            let guard = e.b.both(guard, self.has_columns);
            e.b.load(Space::Global, Ty::B16, &[element], from, 0, guard);
            elements.push(element);
        }
        let words: Vec<Reg> = elements.chunks(2).map(|pair| e.pair(pair[0], pair[1])).collect();
        e.b.store(Space::Shared, Ty::B32, &words, to, offset, self.has_columns);
    }
}

/// The address of a row's chunk in the tile at `start`, which is added last: tiles that lie alike have the rest in common.
fn place_of_chunk(e: &mut Emitter, layout: Layout, start: Reg, row: Reg, chunk: Reg) -> Reg {
    let swizzle = layout.swizzle(e, row);
    let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
    let per_block = layout.row_bytes / CHUNK_BYTES;
    let (block, in_row) = match layout.columns / CHUNK == per_block {
        true => (Operand::Int(0), chunk.into()),
        false => e.b.div_rem(chunk.into(), Operand::Int(per_block)),
    };
    let of_chunk = e.b.mul(in_row, Operand::Int(CHUNK_BYTES));
    let in_block = e.b.fma(Ty::S32, row, layout.row_bytes, of_chunk);
    let of_block = e.b.mul(block, Operand::Int(layout.block_bytes()));
    let at = e.b.add(of_block, in_block.into());
    e.b.binary(Binary::Add, Ty::S32, at, start)
}
