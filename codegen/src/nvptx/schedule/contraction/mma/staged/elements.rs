//! Copies of chunks element by element, where 16 bytes are not neighbours in memory.

use super::{Chunks, Staged};
use crate::nvptx::emit::Emitter;
use crate::nvptx::ptx::{Binary, Compare, MmaKind, Operand, Reg, Space, Ty};
use crate::nvptx::schedule::contraction::Contraction;
use crate::nvptx::schedule::contraction::window::{Origin, Window};

impl Staged<'_> {
    /// Copies chunks element by element.
    pub(super) fn copy_elements(&self, e: &mut Emitter, problem: &Contraction, k: Operand, to: Reg) {
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
            let offset = self.round_offset(round);
            e.b.store(Space::Shared, Ty::B32, &words, to, offset, None);
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
