//! A side's tiles in shared memory, and how threads copy them there.

mod elements;

use super::CHUNK_BYTES;
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Instruction, MmaKind, Operand, Reg, Ty};
use crate::nvptx::schedule::contraction::window::Origin;
use crate::nvptx::schedule::contraction::{Contraction, Place, Side, base, is_aligned};
use ic_types::Dim;

/// How tiles lie in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Row by row, for `ldmatrix`.
    Rows,
    /// In blocks of [`BLOCK_BYTES`] of each row, for `wgmma`.
    Blocks,
}

/// A ring of stages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    pub(crate) layout: Layout,
    /// Threads that copy.
    pub(crate) threads: i64,
    /// Bytes of K of a stage.
    pub(crate) depth_bytes: i64,
}

/// Bytes of a row of a block.
pub(crate) const BLOCK_BYTES: i64 = 128;

/// A side's tiles in shared memory.
pub(crate) struct Staged<'a> {
    side: &'a Side,
    pub(super) kind: MmaKind,
    /// Whether rows of the tile are along K.
    pub(crate) along_k: bool,
    /// Bytes of a row of the tile.
    pub(super) pitch: i64,
    /// Bytes from a row to the next in shared memory.
    row_bytes: i64,
    /// Steps of K of a stage.
    depth: i64,
    /// The start of the first stage.
    pub(crate) start: Reg,
    base: Reg,
    /// Rows of the tile, and how many all threads copy at a time.
    n_rows: i64,
    per_round: i64,
    /// First row or column of the tile in the matrix.
    first: Operand,
    /// The thread's row of the tile, and its first element there.
    row: Reg,
    element: Reg,
    /// Where it stores that in the first stage.
    to: Reg,
    from: Chunks,
}

/// Where a thread's chunks come from.
enum Chunks {
    /// 16 bytes at an address for `k` = 0, and so many elements further each round.
    Pointer { address: Reg, step: i64 },
    /// 16 bytes at an index for `k` = 0 each round.
    Indices(Vec<Operand>),
    /// 16 bytes in a window each round.
    Windows(Vec<Origin>),
    /// Elements one by one at a stride.
    Strided,
    /// Elements one by one in a window each round.
    Scattered(Vec<Origin>),
}

impl<'a> Staged<'a> {
    pub(crate) fn new(
        e: &mut Emitter,
        side: &'a Side,
        place: &Place,
        (first, width): (Operand, i64),
        thread: Reg,
        (ring, kind): (Ring, MmaKind),
        shared: u32,
        aligned: &[bool],
    ) -> Staged<'a> {
        let base = base(e, side, place, kind.bytes() as u32);
        let along_k = is_along_k(side);
        let is_async = is_async(side, kind, aligned);
        let depth = ring.depth_bytes / kind.bytes();
        let pitch = if along_k { ring.depth_bytes } else { width * kind.bytes() };
        let n_rows = if along_k { width } else { depth };
        let per_round = ring.threads * CHUNK_BYTES / pitch;
        debug_assert!(per_round % 8 == 0, "a thread's rows have one swizzle");
        let start = e.b.shared_address(shared);
        let (row, chunk) = e.b.div_rem(thread.into(), Operand::Int(pitch / CHUNK_BYTES));
        let row = e.b.in_register(Ty::B32, row);
        let chunk = e.b.in_register(Ty::B32, chunk);
        let element = e.b.binary(Binary::Shl, Ty::B32, chunk, i64::from(kind.chunk().ilog2()));
        let swizzle = swizzle(e, kind, pitch, row);
        let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
        let row_bytes = if ring.layout == Layout::Blocks { BLOCK_BYTES } else { pitch };
        let mut at = e.b.fma(Ty::S32, row, row_bytes, start);
        let mut in_row = chunk;
        if pitch > row_bytes {
            let per_block = BLOCK_BYTES / CHUNK_BYTES;
            let block = e.b.binary(Binary::Shr, Ty::U32, chunk, i64::from(per_block.ilog2()));
            at = e.b.fma(Ty::S32, block, depth * BLOCK_BYTES, at);
            in_row = e.b.binary(Binary::And, Ty::B32, chunk, per_block - 1);
        }
        let to = e.b.fma(Ty::S32, in_row, CHUNK_BYTES, at);
        let from = Chunks::Strided;
        let mut staged = Staged {
            side,
            kind,
            along_k,
            pitch,
            row_bytes,
            depth,
            start,
            base,
            n_rows,
            per_round,
            first,
            row,
            element,
            to,
            from,
        };
        staged.from = staged.chunks(e, is_async, width);
        staged
    }

    fn chunks(&self, e: &mut Emitter, is_async: bool, width: i64) -> Chunks {
        let side = self.side;
        if let Some(window) = &side.window {
            let rows = self.rows(e).into_iter();
            let origins = rows.map(|row| window.origin(e, row)).collect();
            return if is_async { Chunks::Windows(origins) } else { Chunks::Scattered(origins) };
        }
        if !is_async {
            return Chunks::Strided;
        }
        let bytes = self.kind.bytes() as u32;
        let is_whole = side.extent.exact_div(&Dim::constant(width)).is_some();
        let row_stride = if self.along_k { &side.stride } else { &side.k_stride };
        let element = self.first_element(e);
        let stride = e.dim(row_stride);
        if let Operand::Int(stride) = stride
            && (is_whole || !self.along_k)
        {
            let row = if self.along_k { e.b.add(self.first, self.row.into()) } else { self.row.into() };
            let index = e.b.mul(row, Operand::Int(stride));
            let index = e.b.add(index, element);
            return Chunks::Pointer { address: e.b.address(self.base, index, bytes), step: self.per_round * stride };
        }
        let rows = self.rows(e);
        Chunks::Indices(
            rows.into_iter()
                .map(|row| {
                    let index = e.b.mul(row, stride);
                    e.b.add(index, element)
                })
                .collect(),
        )
    }

    fn rounds(&self) -> i64 {
        self.n_rows / self.per_round
    }

    /// How much further a round stores.
    fn round_offset(&self, round: i64) -> i32 {
        (round * self.per_round * self.row_bytes) as i32
    }

    /// The thread's row each round, for `k` = 0. Rows beyond the matrix are its last, as nobody reads what comes of them.
    fn rows(&self, e: &mut Emitter) -> Vec<Operand> {
        let first = if self.along_k { self.first } else { Operand::Int(0) };
        let row = e.b.add(first, self.row.into());
        let extent = e.dim(&self.side.extent);
        let last = e.b.add(extent, Operand::Int(-1));
        let of_round = |round| {
            let row = e.b.add(row, Operand::Int(round * self.per_round));
            if self.along_k { e.b.binary(Binary::Min, Ty::S32, row, last).into() } else { row }
        };
        (0..self.rounds()).map(of_round).collect()
    }

    /// The thread's first element of a row, for `k` = 0; 0 beyond the matrix.
    fn first_element(&self, e: &mut Emitter) -> Operand {
        if self.along_k {
            return self.element.into();
        }
        let element = e.b.add(self.first, self.element.into());
        let extent = e.dim(&self.side.extent);
        let inside = e.b.compare(Compare::Lt, Ty::S32, element, extent);
        e.b.select(Ty::B32, inside, element, 0).into()
    }

    /// Copies the tile that begins at `k` into the stage at `stage`, zeros beyond K.
    pub(crate) fn copy(&self, e: &mut Emitter, problem: &Contraction, k: Operand, stage: Reg) {
        let to = e.b.binary(Binary::Add, Ty::S32, self.to, stage);
        match &self.from {
            Chunks::Pointer { address, step } => {
                let address = self.further(e, *address, k);
                self.copy_rounds(e, problem, k, to, |e, round| {
                    let index = Operand::Int(round * step);
                    e.b.address(address, index, self.kind.bytes() as u32)
                });
            }
            Chunks::Indices(indices) => {
                let base = self.further(e, self.base, k);
                self.copy_rounds(e, problem, k, to, |e, round| {
                    e.b.address(base, indices[round as usize], self.kind.bytes() as u32)
                });
            }
            Chunks::Windows(origins) => self.copy_windows(e, problem, k, to, origins),
            Chunks::Strided | Chunks::Scattered(_) => self.copy_elements(e, problem, k, to),
        }
    }

    /// An address `k` steps of K further.
    fn further(&self, e: &mut Emitter, address: Reg, k: Operand) -> Reg {
        let stride = e.dim(&self.side.k_stride);
        let distance = e.b.mul(k, stride);
        e.b.address(address, distance, self.kind.bytes() as u32)
    }

    /// Copies 16 bytes each round from an address.
    fn copy_rounds(
        &self,
        e: &mut Emitter,
        problem: &Contraction,
        k: Operand,
        to: Reg,
        mut from: impl FnMut(&mut Emitter, i64) -> Reg,
    ) {
        let extent = e.dim(&problem.k);
        let is_whole = problem.k.as_const().is_some_and(|extent| extent > 0 && extent % self.depth == 0);
        let guard = match k {
            _ if !is_whole => None,
            Operand::Int(k) if problem.k.as_const().is_some_and(|extent| k < extent) => None,
            k => {
                let k = e.b.in_register(Ty::B32, k);
                Some(e.b.compare(Compare::Lt, Ty::S32, k, extent))
            }
        };
        let of_row = (is_whole && self.along_k).then_some(Operand::Int(CHUNK_BYTES));
        let of_row = of_row.unwrap_or_else(|| self.bytes_of_row(e, problem, k));
        for round in 0..self.rounds() {
            let offset = self.round_offset(round);
            let bytes = if is_whole || self.along_k {
                of_row
            } else {
                let row = e.b.add(k, self.row.into());
                let row = e.b.add(row, Operand::Int(round * self.per_round));
                let inside = e.b.compare(Compare::Lt, Ty::S32, row, extent);
                e.b.select(Ty::B32, inside, of_row, 0).into()
            };
            let from = from(e, round);
            e.b.push(Instruction::CopyAsync { to: to.into(), offset, from, bytes, guard });
        }
    }

    /// How many bytes of the thread's chunk of a row are in the matrix.
    fn bytes_of_row(&self, e: &mut Emitter, problem: &Contraction, k: Operand) -> Operand {
        let (extent, first) = if self.along_k { (&problem.k, k) } else { (&self.side.extent, self.first) };
        let tile = if self.along_k { self.depth } else { self.pitch / self.kind.bytes() };
        if !self.along_k && extent.exact_div(&Dim::constant(tile)).is_some() {
            return Operand::Int(CHUNK_BYTES);
        }
        let element = e.b.add(first, self.element.into());
        let end = e.dim(extent);
        if extent.exact_div(&Dim::constant(self.kind.chunk())).is_some() {
            let inside = e.b.compare(Compare::Lt, Ty::S32, element, end);
            return e.b.select(Ty::B32, inside, CHUNK_BYTES, 0).into();
        }
        let rest = e.b.binary(Binary::Sub, Ty::S32, end, element);
        let count = e.b.binary(Binary::Min, Ty::S32, rest, self.kind.chunk());
        let count = e.b.binary(Binary::Max, Ty::S32, count, 0);
        e.b.binary(Binary::Shl, Ty::B32, count, i64::from(self.kind.bytes().ilog2())).into()
    }

    /// Copies 16 bytes of a window each round, zeros outside of the image.
    fn copy_windows(&self, e: &mut Emitter, problem: &Contraction, k: Operand, to: Reg, origins: &[Origin]) {
        let Some(window) = &self.side.window else { return };
        let element = e.b.add(k, self.element.into());
        let of_row = self.bytes_of_row(e, problem, k);
        let tap = window.tap(e, element);
        for (round, origin) in origins.iter().enumerate() {
            let offset = self.round_offset(round as i64);
            let (index, inside) = window.element(e, origin, &tap);
            let bytes = inside.map_or(of_row, |inside| e.b.select(Ty::B32, inside, of_row, 0).into());
            let from = e.b.address(self.base, index, self.kind.bytes() as u32);
            e.b.push(Instruction::CopyAsync { to: to.into(), offset, from, bytes, guard: None });
        }
    }
}

/// Whether rows of the tile are along K.
pub(crate) fn is_along_k(side: &Side) -> bool {
    side.window.is_some() || side.k_stride.is(1) || !side.stride.is(1)
}

/// Whether 16 bytes are copied at a time.
pub(crate) fn is_async(side: &Side, kind: MmaKind, aligned: &[bool]) -> bool {
    let (stride, k_stride) = (&side.stride, &side.k_stride);
    let (unit, other) = if is_along_k(side) { (k_stride, stride) } else { (stride, k_stride) };
    unit.is(1) && is_aligned(side, aligned, other, kind.chunk())
}

/// What the chunk's number in a row of `pitch` bytes is combined with.
pub(super) fn swizzle(e: &mut Emitter, kind: MmaKind, pitch: i64, row: Reg) -> Reg {
    match (pitch, kind) {
        // Two rows are 128 bytes.
        (64, _) => {
            let pair = e.b.binary(Binary::Shr, Ty::U32, row, 1);
            e.b.binary(Binary::And, Ty::B32, pair, 3)
        }
        // Four steps of K are read at a time, two chunks of each.
        (_, MmaKind::Tf32) => {
            let step = e.b.binary(Binary::And, Ty::B32, row, 3);
            e.b.binary(Binary::Shl, Ty::B32, step, 1)
        }
        _ => e.b.binary(Binary::And, Ty::B32, row, 7),
    }
}
