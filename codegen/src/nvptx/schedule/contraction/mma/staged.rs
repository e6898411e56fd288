//! A side's tiles in shared memory, and how threads copy them there.

use super::{CHUNK_BYTES, DEPTH_BYTES, Tile};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, Instruction, MmaKind, Operand, Reg, Space, Ty};
use crate::nvptx::schedule::contraction::window::{Origin, Window};
use crate::nvptx::schedule::contraction::{Contraction, Place, Side, base, is_aligned};
use ic_types::Dim;

/// A side's tiles in shared memory.
pub(super) struct Staged<'a> {
    side: &'a Side,
    pub(super) kind: MmaKind,
    /// Whether rows of the tile are along K.
    pub(super) along_k: bool,
    /// Bytes of a row of the tile.
    pub(super) pitch: i64,
    /// The start of the first stage.
    pub(super) start: Reg,
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
    pub(super) fn new(
        e: &mut Emitter,
        side: &'a Side,
        place: &Place,
        (first, width): (Operand, i64),
        thread: Reg,
        (tile, kind): (&Tile, MmaKind),
        shared: u32,
        aligned: &[bool],
    ) -> Staged<'a> {
        let base = base(e, side, place, kind.bytes() as u32);
        let along_k = is_along_k(side);
        let is_async = is_async(side, kind, aligned);
        let pitch = if along_k { DEPTH_BYTES } else { width * kind.bytes() };
        let n_rows = if along_k { width } else { kind.depth() };
        let per_round = tile.threads() * CHUNK_BYTES / pitch;
        debug_assert!(per_round % 8 == 0, "a thread's rows have one swizzle");
        let start = e.b.shared_address(shared);
        let (row, chunk) = e.b.div_rem(thread.into(), Operand::Int(pitch / CHUNK_BYTES));
        let row = e.b.in_register(Ty::B32, row);
        let chunk = e.b.in_register(Ty::B32, chunk);
        let element = e.b.binary(Binary::Shl, Ty::B32, chunk, i64::from(kind.chunk().ilog2()));
        let swizzle = swizzle(e, kind, pitch, row);
        let chunk = e.b.binary(Binary::Xor, Ty::B32, chunk, swizzle);
        let at = e.b.fma(Ty::S32, row, pitch, start);
        let to = e.b.fma(Ty::S32, chunk, CHUNK_BYTES, at);
        let from = Chunks::Strided;
        let mut staged =
            Staged { side, kind, along_k, pitch, start, base, n_rows, per_round, first, row, element, to, from };
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
    pub(super) fn copy(&self, e: &mut Emitter, problem: &Contraction, k: Operand, stage: Reg) {
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
        let is_whole = problem.k.as_const().is_some_and(|extent| extent > 0 && extent % self.kind.depth() == 0);
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
            let offset = (round * self.per_round * self.pitch) as i32;
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
        let tile = if self.along_k { self.kind.depth() } else { self.pitch / self.kind.bytes() };
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
            let offset = (round as i64 * self.per_round * self.pitch) as i32;
            let (index, inside) = window.element(e, origin, &tap);
            let bytes = inside.map_or(of_row, |inside| e.b.select(Ty::B32, inside, of_row, 0).into());
            let from = e.b.address(self.base, index, self.kind.bytes() as u32);
            e.b.push(Instruction::CopyAsync { to: to.into(), offset, from, bytes, guard: None });
        }
    }

    /// Copies chunks element by element.
    fn copy_elements(&self, e: &mut Emitter, problem: &Contraction, k: Operand, to: Reg) {
        let (side, k_extent) = (self.side, &problem.k);
        let (first_row, first_element) = if self.along_k { (self.first, k) } else { (k, self.first) };
        let (row_extent, element_extent) =
            if self.along_k { (&side.extent, k_extent) } else { (k_extent, &side.extent) };
        let (row_stride, element_stride) =
            if self.along_k { (&side.stride, &side.k_stride) } else { (&side.k_stride, &side.stride) };
        let (n, m) = (e.dim(row_extent), e.dim(element_extent));
        let (row_stride, element_stride) = (e.dim(row_stride), e.dim(element_stride));
        let element = e.b.add(first_element, self.element.into());
        let row = e.b.add(first_row, self.row.into());
        let rest = e.b.binary(Binary::Sub, Ty::S32, m, element);
        for round in 0..self.rounds() {
            let row = e.b.add(row, Operand::Int(round * self.per_round));
            let valid = e.b.compare(Compare::Lt, Ty::S32, row, n);
            let from = match (&self.side.window, &self.from) {
                (Some(window), Chunks::Scattered(origins)) => Source::Window(window, &origins[round as usize], element),
                _ => {
                    let of_row = e.b.mul(row, row_stride);
                    let of_element = e.b.mul(element, element_stride);
                    Source::Strided(e.b.add(of_row, of_element), element_stride)
                }
            };
            let words = gather(e, self, &from, rest, valid);
            let offset = (round * self.per_round * self.pitch) as i32;
            e.b.store(Space::Shared, Ty::B32, &words, to, offset, None);
        }
    }
}

/// Whether rows of the tile are along K.
pub(super) fn is_along_k(side: &Side) -> bool {
    side.window.is_some() || side.k_stride.is(1) || !side.stride.is(1)
}

/// Whether 16 bytes are copied at a time.
pub(super) fn is_async(side: &Side, kind: MmaKind, aligned: &[bool]) -> bool {
    let (stride, k_stride) = (&side.stride, &side.k_stride);
    let (unit, other) = if is_along_k(side) { (k_stride, stride) } else { (stride, k_stride) };
    unit.is(1) && is_aligned(side, aligned, other, kind.chunk())
}

/// What the chunk's number in a row of `pitch` bytes is combined with.
pub(super) fn swizzle(e: &mut Emitter, kind: MmaKind, pitch: i64, row: Reg) -> Reg {
    match (pitch, kind) {
        // Two rows are 128 bytes.
        (DEPTH_BYTES, _) => {
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
