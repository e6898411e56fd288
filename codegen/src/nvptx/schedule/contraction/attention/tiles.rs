//! Tiles of 128 rows of queries, keys or values in shared memory: blocks of 64 columns, in each of which a row is 128
//! swizzled bytes.

use super::{STEP, THREADS};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Class, Compare, Instruction, Operand, Reg, Rounding, Space, Ty};
use crate::nvptx::schedule::contraction::wgmma::descriptor;
use crate::nvptx::schedule::contraction::{Place, Side, base, is_aligned};
use ic_types::Dim;

/// Rows of a tile.
const ROWS: i64 = 128;
/// Bytes of a row in a block, and of a block.
const ROW_BYTES: i64 = 128;
const BLOCK_BYTES: i64 = ROWS * ROW_BYTES;
/// Elements and bytes that are copied at a time.
const CHUNK: i64 = 8;
const CHUNK_BYTES: i64 = 16;
/// Bytes of the rows of a warpgroup.
const GROUP_BYTES: i64 = 64 * ROW_BYTES;

/// How threads copy rows.
pub(super) struct Rows<'a> {
    side: &'a Side,
    base: Reg,
    /// The thread's row of the tile and its first element there.
    row: Reg,
    element: Reg,
    /// Rows that all threads copy at a time.
    per_round: i64,
    start: Reg,
    /// Where the thread stores in the first slot.
    to: Reg,
    pub(super) is_async: bool,
}

impl<'a> Rows<'a> {
    /// Rows of `width` elements, whose tiles begin at `start`.
    pub(super) fn new(
        e: &mut Emitter,
        side: &'a Side,
        place: &Place,
        thread: Reg,
        width: i64,
        start: Reg,
        aligned: &[bool],
    ) -> Rows<'a> {
        let base = base(e, side, place, 2);
        let (row, chunk) = e.b.div_rem(thread.into(), Operand::Int(width / CHUNK));
        let (row, chunk) = (e.b.in_register(Ty::B32, row), e.b.in_register(Ty::B32, chunk));
        let element = e.b.binary(Binary::Mul, Ty::S32, chunk, CHUNK);
        let swizzle = e.b.binary(Binary::And, Ty::B32, row, 7);
        let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
        let block = e.b.binary(Binary::Shr, Ty::U32, chunk, 3);
        let in_row = e.b.binary(Binary::And, Ty::B32, chunk, 7);
        let to = e.b.fma(Ty::S32, row, ROW_BYTES, start);
        let to = e.b.fma(Ty::S32, block, BLOCK_BYTES, to);
        let to = e.b.fma(Ty::S32, in_row, CHUNK_BYTES, to);
        let is_async = side.k_stride.is(1) && is_aligned(side, aligned, &side.stride, CHUNK);
        Rows { side, base, row, element, per_round: THREADS * CHUNK / width, start, to, is_async }
    }

    /// The tile in the first slot as a factor; a warpgroup's rows of it, if `group` is that.
    pub(super) fn factor(&self, e: &mut Emitter, group: Option<Reg>) -> Factor {
        let start = match group {
            Some(group) => e.b.fma(Ty::S32, group, GROUP_BYTES, self.start),
            None => self.start,
        };
        Factor(descriptor(e, start, ROWS))
    }

    /// Begins to copy the rows from `first` on to the slot at `slot`, zeros beyond the last.
    pub(super) fn copy(&self, e: &mut Emitter, first: Operand, slot: Reg) {
        let to = e.b.binary(Binary::Add, Ty::S32, self.to, slot);
        let (extent, stride) = (e.dim(&self.side.extent), e.dim(&self.side.stride));
        let first_row = e.b.add(first, self.row.into());
        let is_whole = self.side.extent.exact_div(&Dim::constant(ROWS)).is_some();
        // Of whole tiles all or nothing is copied.
        let guard = is_whole.then(|| {
            let first = e.b.in_register(Ty::B32, first);
            e.b.compare(Compare::Lt, Ty::S32, first, extent)
        });
        let of_row = e.b.mul(first_row, stride);
        for round in 0..ROWS / self.per_round {
            let offset = (round * self.per_round * ROW_BYTES) as i32;
            let row = e.b.add(first_row, Operand::Int(round * self.per_round));
            let inside = match guard {
                Some(guard) => guard,
                None => e.b.compare(Compare::Lt, Ty::S32, row, extent),
            };
            let further = e.b.mul(Operand::Int(round * self.per_round), stride);
            let index = e.b.add(of_row, further);
            if !self.is_async {
                self.copy_elements(e, index, inside, (to, offset));
                continue;
            }
            let index = e.b.add(index, self.element.into());
            let from = e.b.address(self.base, index, 2);
            let bytes = match guard {
                Some(_) => Operand::Int(CHUNK_BYTES),
                None => e.b.select(Ty::B32, inside, CHUNK_BYTES, 0).into(),
            };
            e.b.push(Instruction::CopyAsync { to: to.into(), offset, from, bytes, guard });
        }
    }

    /// Copies a chunk of the row at `index` one by one.
    fn copy_elements(&self, e: &mut Emitter, index: Operand, inside: Reg, (to, offset): (Reg, i32)) {
        let stride = e.dim(&self.side.k_stride);
        let mut elements = Vec::new();
        for i in 0..CHUNK {
            let column = e.b.add(self.element.into(), Operand::Int(i));
            let of_column = e.b.mul(column, stride);
            let index = e.b.add(index, of_column);
            let from = e.b.address(self.base, index, 2);
            let element = e.b.mov(Ty::B16, 0);
            e.b.load(Space::Global, Ty::B16, &[element], from, 0, Some(inside));
            elements.push(element);
        }
        let words: Vec<Reg> = elements.chunks(2).map(|pair| e.pair(pair[0], pair[1])).collect();
        e.b.store(Space::Shared, Ty::B32, &words, to, offset, None);
    }
}

/// A tile in the first slot as a factor of warpgroups, by its descriptor.
#[derive(Clone, Copy)]
pub(super) struct Factor(Reg);

impl Factor {
    /// The descriptor of step `step` along columns, of the slot at `slot`.
    pub(super) fn along(self, e: &mut Emitter, step: i64, slot: Reg) -> Reg {
        let per_block = ROW_BYTES / (2 * STEP);
        self.further(e, step / per_block * BLOCK_BYTES + step % per_block * 2 * STEP, slot)
    }

    /// The descriptor of step `step` along rows, of the slot at `slot`.
    pub(super) fn across(self, e: &mut Emitter, step: i64, slot: Reg) -> Reg {
        self.further(e, step * STEP * ROW_BYTES, slot)
    }

    fn further(self, e: &mut Emitter, bytes: i64, slot: Reg) -> Reg {
        let slot = e.b.binary(Binary::Shr, Ty::U32, slot, 4);
        let further = e.b.reg(Class::B64);
        e.b.push(Instruction::Cvt {
            rounding: Rounding::None,
            to: Ty::U64,
            from: Ty::U32,
            dst: further,
            a: slot.into(),
        });
        let descriptor = e.b.binary(Binary::Add, Ty::S64, self.0, further);
        if bytes == 0 { descriptor } else { e.b.binary(Binary::Add, Ty::S64, descriptor, bytes / 16) }
    }
}
